"""One picture file enlarged into another, with what belongs to it."""

import tempfile
from functools import partial
from pathlib import Path

from tqdm import tqdm

from fsrcnn.errors import FailureError
from fsrcnn.files import written_whole
from fsrcnn.network import Network
from fsrcnn.pictures.formats import Library, format_of, written_format_of
from fsrcnn.pictures.png import write_png
from fsrcnn.pictures.reading import failing, layout_of, read_picture, read_windows
from fsrcnn.pictures.restoration import Restoration
from fsrcnn.pictures.strips import enlarged_strips, strip_count
from fsrcnn.pictures.writing import (
    enlarged_png_header,
    gathered,
    is_too_deep,
    stoppable,
    why_not_held,
    write_picture,
)


def upscale_picture(
    source: Path, target: Path, network: Network, restoration: Restoration | None = None
) -> tuple[str, ...]:
    """Enlarges the picture file `source` into the file `target`, in the format of its suffix; returns a line for each
    thing that the user should know. restoration: None: it is not restored.

    Kept: 8 or, where the format has them, 16 bits, ICC profile, EXIF, resolution; EXIF's orientation is applied. Memory
    is bounded, but for BMP: pixels of a large result wait in a temporary file. `target` is written whole or not at all;
    a file of that name is replaced. Several threads may call it at once, with one network.

    Raises RequestError for a suffix of no format, or of one that is only read; FailureError, naming the file, where it
    cannot be read, written, or enlarged without damage.
    """
    from_format, to_format, scale = format_of(source), written_format_of(target), network.upscale_factor
    with failing(target, "cannot be written"), written_whole(target) as unfinished:
        unfinished.touch()  # a folder that cannot be written to is found out before the work
        picture = read_picture(source)
        if objection := why_not_held(picture, scale, to_format):
            raise FailureError(f"{source}: {objection}")
        layout = layout_of(picture)
        strength = partial(restoration.of_picture, source, layout) if restoration else None
        strips = tqdm(  # a second bar, for pictures that take long
            enlarged_strips(layout, partial(read_windows, picture, source), network, strength),
            total=strip_count(layout),
            desc=source.name,
            unit="strip",
            leave=False,
            delay=2,
            dynamic_ncols=True,
            disable=None,
        )
        if to_format.written_by is Library.ISAL:
            write_png(unfinished, enlarged_png_header(picture, scale), strips)
        else:
            with tempfile.TemporaryDirectory() as folder:
                result = gathered(strips, picture, scale, Path(folder) / "pixels")
                stoppable(result, partial(write_picture, result, unfinished, to_format, source), network.stopped)
                del result  # Windows removes no file that is still mapped
    shallower = ["16 bits a channel became 8, all that the format has"] * is_too_deep(picture, to_format)
    lost = [what for mark, what in from_format.lost if mark.is_in(source)]
    return (*shallower, *(f"the result is without the {what}, which libvips does not write" for what in lost))

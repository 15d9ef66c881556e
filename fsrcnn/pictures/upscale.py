"""One picture file enlarged into another, with what belongs to it."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

from tqdm import tqdm

from fsrcnn.errors import FailureError, RequestError, shown
from fsrcnn.files import written_whole
from fsrcnn.network import Network
from fsrcnn.pictures.formats import MEMORY_LIMIT, Library, format_in, format_of, written_format_of
from fsrcnn.pictures.memory import check_memory
from fsrcnn.pictures.metadata import true_of
from fsrcnn.pictures.metadata_reading import metadata_of
from fsrcnn.pictures.metadata_writing import embed, lost_in_png
from fsrcnn.pictures.pixels import Layout
from fsrcnn.pictures.png import png_header, write_png
from fsrcnn.pictures.reading import failing, failing_to_read, layout_of, read_picture, read_windows
from fsrcnn.pictures.restoration import Restoration
from fsrcnn.pictures.sized import sized_count, sized_layout, sized_memory, sized_strips
from fsrcnn.pictures.writing import (
    gathered,
    is_too_deep,
    stoppable,
    why_not_held,
    write_picture,
)
from fsrcnn.sizes import Size, Steps, steps_to
from fsrcnn.stamp import stamp


def upscale_picture(
    source: Path,
    target: Path,
    network: Network,
    restoration: Restoration | None = None,
    *,
    accept_damaged: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    size: Size | None = None,
) -> tuple[str, ...]:
    """Enlarges the picture file `source` into the file `target`, in the format of its suffix; returns a line for each
    thing that the user should know. restoration: None: it is not restored. size: None: the network's scale. A picture
    that is as large already is copied, a larger one reduced.

    `source` is read as what it is, whatever its suffix. accept_damaged: a JPEG of which a part is lost is enlarged, in
    place of being refused. memory_limit: bytes that decoding it may need.

    Kept: 8 or, where the format has them, 16 bits, and what belongs to the picture, made true of the result (see
    metadata.py); the orientation is applied. Memory is bounded, but for BMP and AVIF: pixels of a large result wait in
    a temporary file. `target` is written whole or not at all; a file of that name is replaced. Several threads may call
    it at once, with one network.

    Raises RequestError for a suffix of no format, or of one that is only read; FailureError, naming the file, where it
    cannot be read, written, or enlarged without damage.
    """
    format_of(source)  # a suffix of no format is refused before anything is written
    to_format = written_format_of(target)
    with failing(target, "cannot be written"), written_whole(target) as unfinished:
        picture, notes = read_picture(source, accept_damaged=accept_damaged, memory_limit=memory_limit)
        layout = layout_of(picture)
        steps = _steps(size, network, layout, source)
        result = sized_layout(layout, steps)
        if objection := why_not_held(picture, result, to_format):
            raise FailureError(f"{source}: {objection}")
        notes = (*notes, *steps.remark(layout.width, layout.height))
        check_memory(source, sized_memory(layout, network, steps), memory_limit)
        windows = partial(read_windows, picture, source)
        if steps.is_copy and to_format is format_in(source):
            for _ in sized_strips(layout, windows, network, steps):
                pass  # read for its damage alone: what cannot be read is refused, not copied
            shutil.copyfile(source, unfinished)
            stamp(unfinished, 1)
            return notes
        colours = layout.bands - layout.has_alpha
        with failing_to_read(source):
            found = metadata_of(source, format_in(source).name)
        across, down = steps.width / layout.width, steps.height / layout.height
        metadata = true_of(found, steps.width, steps.height, colours, across, down)
        strength = partial(restoration.of_picture, source, layout) if restoration else None
        strips = tqdm(  # a second bar, for pictures that take long
            sized_strips(layout, windows, network, steps, strength),
            total=sized_count(layout, steps),
            desc=shown(source.name),
            unit="strip",
            leave=False,
            delay=2,
            dynamic_ncols=True,
            disable=None,
        )
        if to_format.written_by is Library.ISAL:
            write_png(unfinished, png_header(result, metadata), strips)
            lost = lost_in_png(metadata)
        else:
            with tempfile.TemporaryDirectory() as folder:
                large = gathered(strips, picture, result, Path(folder) / "pixels")
                stoppable(large, partial(write_picture, large, unfinished, to_format, source), network.stopped)
                del large  # Windows removes no file that is still mapped
            lost = embed(unfinished, to_format.name, metadata, grey=colours == 1)
        stamp(unfinished, across)
    shallower = ["16 bits a channel became 8, all that the format has"] * is_too_deep(picture, to_format)
    missed = [f"the result is without {', '.join(lost)}, which {to_format.name.upper()} cannot hold"] if lost else []
    return (*notes, *shallower, *metadata.lines, *missed)


def _steps(size: Size | None, network: Network, layout: Layout, source: Path) -> Steps:
    try:
        return steps_to(size, network, layout.width, layout.height)
    except RequestError as error:
        raise FailureError(f"{source}: {error}") from error

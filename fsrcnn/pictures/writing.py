"""Enlarged pictures written by libvips or Pillow, which take a whole picture, and the metadata that every format gets.

A large picture's strips wait in a temporary file.
"""

import errno
import os
import struct
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import numpy as np
import pyvips
from PIL import Image

from fsrcnn.pictures.formats import Library, PictureFormat, format_of
from fsrcnn.pictures.pixels import Pixels
from fsrcnn.pictures.png import png_header
from fsrcnn.pictures.reading import INCH, failing, layout_of

IN_MEMORY = 2**26  # bytes that an enlarged picture may have without a temporary file
LARGE = 2**31  # bytes of an enlarged picture beyond which its format's `large_options` are added
# The metadata that stays true of the enlarged picture, besides EXIF.
KEPT = {"icc-profile-data", "xmp-data", "iptc-data", "image-description", "resolution-unit"}


def is_too_deep(picture: pyvips.Image, format_: PictureFormat) -> bool:
    """Whether the picture has more bits than the format."""
    return layout_of(picture).bits > format_.bits


def why_not_held(picture: pyvips.Image, upscale_factor: int, format_: PictureFormat) -> str | None:
    """Why the format cannot hold the enlarged picture, and what to do; None: it can."""
    if picture.hasalpha() and not format_.alpha:
        return f"has transparency, which {format_.name} cannot hold; add --format tif"
    if picture.interpretation == "cmyk" and not format_.cmyk:
        return f"has CMYK, which {format_.name} cannot hold; add --format tif"
    size, most = f"{picture.width} x {picture.height} pixels", format_.most_bytes
    if most is not None and layout_of(picture).nbytes * upscale_factor**2 > most:
        return f"{size}, enlarged, is more than the {most / 2**30:.0f} GB of a {format_.name.upper()}; add --format png"
    if upscale_factor * max(picture.width, picture.height) > format_.longest:
        return f"{size}, enlarged, is more than {format_.name} can hold ({format_.longest} a side); add --format png"
    return None


def gathered(strips: Iterable[Pixels], picture: pyvips.Image, upscale_factor: int, file: Path) -> pyvips.Image:
    """The picture enlarged to these strips, with its metadata. The pixels are in memory or, where they are many, in
    `file`, which is there as long as this picture.
    """
    size = (upscale_factor * picture.width, upscale_factor * picture.height, picture.bands)
    kind = {"format": picture.format, "interpretation": picture.interpretation}
    if layout_of(picture).nbytes * upscale_factor**2 <= IN_MEMORY:
        result = pyvips.Image.new_from_memory(np.concatenate(list(strips)), *size, picture.format).copy(**kind)
    else:
        with failing(file, "temporary file cannot be written"), file.open("wb") as content:
            for strip in strips:
                content.write(strip.data)
        result = pyvips.Image.rawload(str(file), *size, **kind)
    return _with_metadata(result, picture)


def enlarged_png_header(picture: pyvips.Image, upscale_factor: int) -> bytes:
    """What comes before the pixels in the PNG file of the enlarged picture."""
    black = pyvips.Image.black(upscale_factor * picture.width, upscale_factor * picture.height, bands=picture.bands)
    black = black.cast(picture.format).copy(interpretation=picture.interpretation)
    return png_header(_with_metadata(black, picture), keep=_keep(picture))


def write_picture(picture: pyvips.Image, path: Path, format_: PictureFormat, source: Path) -> None:
    """Writes the picture in the format; losslessly if the file `source`, which it was made from, is a lossless one of
    this format.
    """
    if is_too_deep(picture, format_):
        shallow = (picture * (255 / 65535)).rint().cast("uchar")
        picture = shallow.copy(interpretation="b-w" if picture.bands < 3 else "srgb")
    if format_.written_by is Library.PILLOW:
        _write_by_pillow(picture, path, format_)
        return
    lossless = format_.lossless
    if lossless and format_of(source) is format_ and lossless.mark.is_in(source):
        options = lossless.options
    else:
        options = {**format_.options, **(format_.large_options if layout_of(picture).nbytes > LARGE else {})}
    getattr(picture, f"{format_.name}save")(os.fsencode(path), keep=_keep(picture), **options)


def stoppable(picture: pyvips.Image, work: Callable[[], None], stopped: Event) -> None:
    """Works on the picture in a thread of its own, until `stopped` is set or this thread is interrupted, of which
    Python hears only outside libvips.
    """
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            while not wait([working], timeout=0.2).done:
                if stopped.is_set():
                    picture.set_kill(True)
            working.result()
        except BaseException:
            picture.set_kill(True)
            raise


def _write_by_pillow(picture: pyvips.Image, path: Path, format_: PictureFormat) -> None:
    dpi = (picture.xres * INCH, picture.yres * INCH)
    Image.fromarray(picture.numpy()).save(path, format=format_.name.upper(), dpi=dpi)
    with path.open("rb") as file:
        _, size = struct.unpack("<HI", file.read(6))  # of a BMP, from its header
    if path.stat().st_size < size:  # Pillow does not notice that the end did not fit on the disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _keep(picture: pyvips.Image) -> int:
    """What libvips is to write of the metadata: not EXIF where the picture has none, or libvips makes some up."""
    kept = pyvips.enums.ForeignKeep
    return kept.ALL if "exif-data" in picture.get_fields() else kept.ALL & ~kept.EXIF


def _with_metadata(enlarged: pyvips.Image, picture: pyvips.Image) -> pyvips.Image:
    """The enlarged picture with the metadata of the one it was made from."""
    result = enlarged.copy(xres=picture.xres, yres=picture.yres)
    for field in picture.get_fields():
        if field in KEPT or field.startswith("exif-"):
            result.set_type(picture.get_typeof(field), field, picture.get(field))
    result.set_type(pyvips.GValue.gint_type, "orientation", 1)  # or EXIF's own, which has been applied, is written
    return result

"""Enlarged pictures written by libvips or Pillow, which take a whole picture; metadata is added by metadata_writing.py.

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

from fsrcnn.pictures.bmp import write_bmp_with_alpha
from fsrcnn.pictures.formats import Library, PictureFormat, format_in
from fsrcnn.pictures.pixels import Layout, Pixels
from fsrcnn.pictures.reading import failing, layout_of

IN_MEMORY = 2**26  # bytes that an enlarged picture may have without a temporary file
LARGE = 2**31  # bytes of an enlarged picture beyond which its format's `large_options` are added


def is_too_deep(picture: pyvips.Image, format_: PictureFormat) -> bool:
    """Whether the picture has more bits than the format."""
    return layout_of(picture).bits > format_.bits


def why_not_held(picture: pyvips.Image, result: Layout, format_: PictureFormat) -> str | None:
    """Why the format cannot hold the result, of this layout, of the picture, and what to do; None: it can."""
    if picture.hasalpha() and not format_.alpha:
        return f"has transparency, which {format_.name} cannot hold; add --format tif"
    if picture.interpretation == "cmyk" and not format_.cmyk:
        return f"has CMYK, which {format_.name} cannot hold; add --format tif"
    size = f"{picture.width} x {picture.height} pixels, enlarged to {result.width} x {result.height},"
    if format_.most_bytes is not None and result.nbytes > format_.most_bytes:
        most = f"{format_.most_bytes / 2**30:.0f} GB"
        return f"{size} is more than the {most} of a {format_.name.upper()}; add --format png"
    if max(result.width, result.height) > format_.longest:
        return f"{size} is more than {format_.name} can hold ({format_.longest} a side); add --format png"
    return None


def gathered(strips: Iterable[Pixels], picture: pyvips.Image, result: Layout, file: Path) -> pyvips.Image:
    """The picture enlarged to these strips, together of this layout. The pixels are in memory or, where they are many,
    in `file`, which is there as long as this picture.
    """
    size = (result.width, result.height, result.bands)
    kind = {"format": picture.format, "interpretation": picture.interpretation}
    if result.nbytes <= IN_MEMORY:
        return pyvips.Image.new_from_memory(np.concatenate(list(strips)), *size, picture.format).copy(**kind)
    with failing(file, "temporary file cannot be written"), file.open("wb") as content:
        for strip in strips:
            content.write(strip.data)
    return pyvips.Image.rawload(str(file), *size, **kind)


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
    if lossless and format_in(source) is format_ and lossless.mark.is_in(source):
        options = lossless.options
    else:
        options = {**format_.options, **(format_.large_options if layout_of(picture).nbytes > LARGE else {})}
    getattr(picture, f"{format_.name}save")(os.fsencode(path), keep=pyvips.enums.ForeignKeep.NONE, **options)


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
    pixels = picture.numpy()
    if picture.hasalpha():
        write_bmp_with_alpha(path, pixels[..., [0, 0, 0, 1]] if picture.bands == 2 else pixels)
    else:
        Image.fromarray(pixels).save(path, format=format_.name.upper())
    with path.open("rb") as file:
        _, size = struct.unpack("<HI", file.read(6))  # of a BMP, from its header
    if path.stat().st_size < size:  # Pillow does not notice that the end did not fit on the disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

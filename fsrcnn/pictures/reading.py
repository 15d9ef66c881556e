"""Picture files read: checked, upright, and a window of rows at a time.

libvips reads every format but BMP: it alone takes pictures of any size part by part, in 8 and 16 bits, with palette,
alpha, CMYK, ICC profile, EXIF and resolution (OpenCV loses the resolution and accepts truncated files, Pillow has no
16-bit colour). BMP, which libvips' wheels leave out, is Pillow's.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image

from fsrcnn.errors import FailureError
from fsrcnn.parts import Span
from fsrcnn.pictures.formats import Library, PictureFormat, format_of
from fsrcnn.pictures.pixels import Layout, Pixels
from fsrcnn.pictures.strips import LARGEST

BITS = {"uchar": 8, "ushort": 16}  # of a sample, by libvips' name of its type
BANDS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4,)}  # by libvips' interpretation
UNREADABLE = "not a readable picture of its suffix's format"
INCH = 25.4  # mm; libvips has the resolution in pixels per mm

pyvips.cache_set_max(0)  # nothing is read twice, and what is kept would stay open


@contextmanager
def failing(path: Path, what: str) -> Iterator[None]:
    """Turns errors of libvips and of the system into a FailureError of one line that names the file."""
    try:
        yield
    except (pyvips.Error, OSError) as error:
        reason = error.detail if isinstance(error, pyvips.Error) else error.strerror or str(error)
        lines = dict.fromkeys(filter(None, reason.splitlines()))
        why = f" ({'; '.join(list(lines)[:2])})" if lines else ""
        raise FailureError(f"{path}: {what}{why}") from error


def read_picture(path: Path) -> pyvips.Image:
    """The picture of a file, upright. Its pixels are read when they are asked for, from top to bottom; where the file
    turns it, they wait in memory.

    Raises FailureError, naming the file, for what cannot be read, or not be enlarged without damage.
    """
    format_ = format_of(path)
    with failing(path, UNREADABLE):
        if not path.stat().st_size:
            raise FailureError(f"{path}: the file is empty; replace or remove it")
        if format_.read_by is Library.PILLOW:
            picture = _read_by_pillow(path, format_)
        else:
            picture = _read_by_libvips(path, format_, access="sequential")
        if objection := _objection(picture, path, format_):
            raise FailureError(f"{path}: {objection}")
        if picture.get_typeof("orientation") and picture.get("orientation") > 1:
            return _read_by_libvips(path, format_, access="random").autorot()
    return picture


def layout_of(picture: pyvips.Image) -> Layout:
    return Layout(picture.height, picture.width, picture.bands, BITS[picture.format], bool(picture.hasalpha()))


def read_windows(picture: pyvips.Image, path: Path, rows: Iterable[Span]) -> Iterator[Pixels]:
    """The picture's pixels in the window of each span, h x W x bands; the spans go down, and no row is read twice.

    Raises FailureError, naming the file, where it turns out to be damaged.
    """
    dtype, region = layout_of(picture).dtype, pyvips.Region.new(picture)
    window, read = np.empty((0, picture.width, picture.bands), dtype), 0
    for span in rows:
        window = window[len(window) - (read - span.first) :]
        if span.last > read:
            with failing(path, UNREADABLE):
                new = region.fetch(0, read, picture.width, span.last - read)
            new = np.frombuffer(new, dtype).reshape(-1, picture.width, picture.bands)
            window, read = np.concatenate([window, new]), span.last
        yield window


def _read_by_libvips(path: Path, format_: PictureFormat, access: str) -> pyvips.Image:
    return getattr(pyvips.Image, f"{format_.name}load")(os.fsencode(path), fail_on="error", access=access)


def _read_by_pillow(path: Path, format_: PictureFormat) -> pyvips.Image:
    Image.MAX_IMAGE_PIXELS = LARGEST
    name = format_.name.upper()
    try:
        with Image.open(path, formats=[name]) as image:
            if "A" in image.getbands():
                raise FailureError(f"{path}: a {name} with alpha, which cannot be written; convert it to PNG")
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
            dpi = image.info.get("dpi", (96, 96))
    except Image.DecompressionBombError as error:
        raise FailureError(f"{path}: {error}") from error
    return pyvips.Image.new_from_array(pixels).copy(xres=dpi[0] / INCH, yres=dpi[1] / INCH)


def _objection(picture: pyvips.Image, path: Path, format_: PictureFormat) -> str | None:
    """Why the picture cannot be enlarged without damage, and what to do; None: it can."""
    pages = picture.get("n-pages") if picture.get_typeof("n-pages") else 1
    if pages > 1 or (format_.animation and format_.animation.is_in(path)):
        return "an animation or several pages; save the pictures one by one"
    if picture.format not in BITS:
        return f"samples of type {picture.format}; convert it to 8 or 16 bits a channel"
    if picture.bands not in BANDS.get(picture.interpretation, ()):
        return f"{picture.bands} channels of type {picture.interpretation}; convert it to grey, RGB or CMYK"
    if picture.width * picture.height > LARGEST:
        # A file that promises more is taken for a decompression bomb.
        return f"{picture.width} x {picture.height} pixels is more than is read ({LARGEST:,} in all); cut it"
    return None

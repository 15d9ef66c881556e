"""Picture files read: checked, upright, and a window of rows at a time.

libvips reads every format but BMP: it alone takes pictures of any size part by part, in 8 and 16 bits, with palette,
alpha, CMYK, ICC profile, EXIF and resolution (OpenCV loses the resolution and accepts truncated files, Pillow has no
16-bit colour). BMP, which libvips' wheels leave out, is Pillow's, and so are the pixels of AVIF.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyvips
from PIL.AvifImagePlugin import AvifImageFile

from fsrcnn.errors import Error, FailureError, SeveralPicturesError
from fsrcnn.files import FULL, MAKE_ROOM
from fsrcnn.parts import Span
from fsrcnn.pictures.avif import decoded_by_pillow
from fsrcnn.pictures.bmp import read_bmp
from fsrcnn.pictures.containers import bmff_boxes, png_chunks, tiff_tags
from fsrcnn.pictures.damage import UNKNOWN, Damage, jpeg_damage, why_unreadable
from fsrcnn.pictures.formats import MEMORY_LIMIT, Library, PictureFormat, format_in, format_of
from fsrcnn.pictures.memory import check_memory, decoding_memory
from fsrcnn.pictures.pixels import Layout, Pixels
from fsrcnn.pictures.samples import samples_as_meant, why_samples_not_read
from fsrcnn.pictures.strips import LARGEST

BITS = {"uchar": 8, "ushort": 16}  # of a sample, by libvips' name of its type
BANDS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4,)}  # by libvips' interpretation
TURNED = 2  # copies of a picture that is turned: as decoded, and turned
SUBFILE, REDUCED = 254, 1  # TIFF's NewSubfileType, and its bit for a smaller version of another page

pyvips.cache_set_max(0)  # nothing is read twice, and what is kept would stay open


@contextmanager
def failing(path: Path, what: str) -> Iterator[None]:
    """Turns errors of libvips and of the system in writing into a FailureError of one line that names the file."""
    try:
        yield
    except (pyvips.Error, OSError) as error:
        reason = _system_error(error.detail) if isinstance(error, pyvips.Error) else error.strerror or str(error)
        advice = f"; {MAKE_ROOM}" if any(os.strerror(number) in reason for number in FULL) else ""
        raise FailureError(f"{path}: {what}" + (f" ({reason})" if reason else "") + advice) from error


@contextmanager
def failing_to_read(path: Path) -> Iterator[None]:
    """Turns whatever a decoder raises of a file into a FailureError of one line that names it."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            reason = error.strerror
        elif isinstance(error, MemoryError):
            reason = "not enough memory"
        else:
            reason = why_unreadable(path)
            if reason == UNKNOWN and not isinstance(error, pyvips.Error):
                reason = str(error) if isinstance(error, OSError | ValueError | SyntaxError) else repr(error)
        raise FailureError(f"{path}: not a readable picture ({reason})") from error


def _system_error(detail: str) -> str:
    """The line of libvips' errors that the system gave, as for a full disk. The others may be another thread's: libvips
    keeps one text for the whole process.
    """
    return next((line for line in detail.splitlines() if "system error" in line or "unix error" in line), "")


def read_picture(
    path: Path, *, accept_damaged: bool = False, memory_limit: int = MEMORY_LIMIT
) -> tuple[pyvips.Image, tuple[str, ...]]:
    """The picture of a file, upright, and what the user should know of it. Its pixels are read when they are asked for,
    from top to bottom; where the file turns it, they wait in memory.

    Raises FailureError, naming the file, for what cannot be read, or not be enlarged without damage, for a damaged JPEG
    unless `accept_damaged`, and for a picture whose decoder needs more than `memory_limit` bytes.
    """
    with failing_to_read(path):
        if not path.stat().st_size:
            raise FailureError(f"{path}: the file is empty; replace or remove it")
        format_ = format_in(path)
        what = "an AVIF" if format_.name == "heif" else f"a {format_.name.upper()}"
        notes = [] if format_ is format_of(path) else [f"is {what} in spite of its suffix; read as that"]
        if format_.name == "tiff" and (objection := why_samples_not_read(path)):
            raise FailureError(f"{path}: {objection}")
        if format_.read_by is Library.PILLOW:
            picture = _read_by_pillow(path, memory_limit)
        else:
            picture = _read_by_libvips(path, format_, access="sequential")
        if _has_several_pictures(picture, path, format_):
            raise SeveralPicturesError(f"{path}: an animation or several pages; save the pictures one by one")
        if objection := _objection(picture):
            raise FailureError(f"{path}: {objection}")
        if format_.read_by is Library.LIBVIPS:
            check_memory(path, decoding_memory(picture, path, format_), memory_limit)
        if format_.name == "jpeg":
            damage = jpeg_damage(path)
            notes += _jpeg_notes(path, damage, accept_damaged)
            if not damage.checked:
                picture = _read_by_libvips(path, format_, access="sequential", fail_on="error")
        if format_.name == "heif":
            picture = decoded_by_pillow(picture, path)
        if picture.get_typeof("orientation") and picture.get("orientation") > 1:
            check_memory(path, TURNED * layout_of(picture).nbytes, memory_limit)
            picture = _read_by_libvips(path, format_, access="random").autorot()
    return picture, tuple(notes)


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
            with failing_to_read(path):
                new = region.fetch(0, read, picture.width, span.last - read)
            new = np.frombuffer(new, dtype).reshape(-1, picture.width, picture.bands)
            window, read = np.concatenate([window, new]), span.last
        yield window


def _read_by_libvips(path: Path, format_: PictureFormat, access: str, fail_on: str | None = None) -> pyvips.Image:
    # What is wrong with a JPEG, `jpeg_damage` knows better.
    fail_on = fail_on or ("none" if format_.name == "jpeg" else "error")
    picture = getattr(pyvips.Image, f"{format_.name}load")(os.fsencode(path), fail_on=fail_on, access=access)
    return samples_as_meant(picture, path) if format_.name == "tiff" else picture


def _read_by_pillow(path: Path, memory_limit: int) -> pyvips.Image:
    pixels = read_bmp(path, memory_limit)
    interpretation = "b-w" if pixels.shape[2] == 1 else "srgb"
    return pyvips.Image.new_from_array(pixels, interpretation=interpretation)


def _jpeg_notes(path: Path, damage: Damage, accept_damaged: bool) -> list[str]:
    """What the user should know of a JPEG file's damage. Raises FailureError if part of the picture is lost."""
    lost, doubtful, harmless, _ = damage
    if lost and not accept_damaged:
        raise FailureError(f"{path}: damaged ({lost}); --accept-damaged enlarges what is there")
    accepted = [f"damaged ({lost}), enlarged as far as it is there"] if lost else []
    return [*accepted, *(f"perhaps damaged: {each}; look at the result" for each in doubtful), *harmless]


def _objection(picture: pyvips.Image) -> str | None:
    """Why the picture cannot be enlarged without damage, and what to do; None: it can."""
    if picture.format not in BITS:
        return f"samples of type {picture.format}; convert it to 8 or 16 bits a channel"
    if picture.bands not in BANDS.get(picture.interpretation, ()):
        return f"{picture.bands} channels of type {picture.interpretation}; convert it to grey, RGB or CMYK"
    if picture.width * picture.height > LARGEST:
        # A file that promises more is taken for a decompression bomb.
        return f"{picture.width} x {picture.height} pixels is more than is read ({LARGEST:,} in all); cut it"
    return None


def _has_several_pictures(picture: pyvips.Image, path: Path, format_: PictureFormat) -> bool:
    """Whether a file has more than one picture, not counting smaller versions of its first."""
    if format_.name == "png":
        return _is_animated(path)
    if format_.name == "heif" and any(type_ == b"moov" for type_, _ in bmff_boxes(path)):  # libvips sees one picture
        with AvifImageFile(path) as image:
            return bool(image.n_frames > 1)
    pages = picture.get("n-pages") if picture.get_typeof("n-pages") else 1
    if format_.name == "tiff" and pages > 1:
        first, *others = (bool(int(page.get(SUBFILE, (0,))[0]) & REDUCED) for page in tiff_tags(path))
        return first or not all(others)
    return bool(pages > 1)


def _is_animated(path: Path) -> bool:
    """Whether a PNG file has more than one frame, or one that is not the picture that other readers show."""
    frames, is_frame = 0, False
    for type_, payload in png_chunks(path):
        if type_ == b"IDAT":
            break
        frames = int.from_bytes(payload[:4], "big") if type_ == b"acTL" else frames
        is_frame = is_frame or type_ == b"fcTL"
    return frames > 1 or (frames == 1 and not is_frame)

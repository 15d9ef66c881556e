"""One picture file enlarged: read, see colour.py for its pixels, and written with what belongs to it.

libvips reads every format but BMP and writes most (PNG is png.py's): it alone takes pictures of any size part by part,
in 8 and 16 bits, with palette, alpha, CMYK, ICC profile, EXIF and resolution (OpenCV loses the resolution and accepts
truncated files, Pillow has no 16-bit colour). BMP, which libvips' wheels leave out, is Pillow's.
"""

import errno
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image
from tqdm import tqdm

from errors import FailureError
from files import written_whole
from inference.ahead import each_ahead
from inference.colour import Enlarger, Pixels
from inference.parts import Span, spans
from inference.png import png_header, write_png
from inference.runner import Runner

PART = 256  # rows enlarged at once, and a quarter of the columns
IN_MEMORY = 2**26  # bytes that an enlarged picture may have without a temporary file
LARGEST = 2**30  # pixels of an input; a file that promises more is taken for a decompression bomb

pyvips.cache_set_max(0)  # nothing is read twice, and what is kept would stay open

# The formats by suffix, called as in libvips' operations, how they are written, and how long a side they can have.
FORMATS = {
    ".avif": "heif",
    ".bmp": "bmp",
    ".gif": "gif",
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
}
READ_ONLY = {".avif", ".gif"}  # AVIF is not written by all of libvips' wheels, and GIF has 256 colours
OPTIONS = {
    "jpeg": {"Q": 95, "subsample_mode": "off"},
    "tiff": {"compression": "deflate", "predictor": "horizontal"},
    "webp": {"Q": 95},
    "lossless webp": {"lossless": True, "exact": True},
}
EIGHT_BITS, NO_ALPHA, NO_CMYK = {"jpeg", "webp", "bmp"}, {"jpeg", "bmp"}, {"png", "webp", "bmp"}
LONGEST = {"jpeg": 65_500, "webp": 16_383}
DTYPES = {"uchar": np.uint8, "ushort": np.uint16}
BANDS = {"b-w": (1, 2), "grey16": (1, 2), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4,)}
# What libvips does not carry over, by the bytes that tell of it: TIFF's tag that points to EXIF, in both byte orders.
LOST = [
    ("tiff", b"\x69\x87\x04\x00", "EXIF"),
    ("tiff", b"\x87\x69\x00\x04", "EXIF"),
    ("jpeg", b"hdrgm:Version", "HDR gain map"),
]
# The metadata that stays true of the enlarged picture, besides EXIF.
KEPT = {"icc-profile-data", "xmp-data", "iptc-data", "image-description", "resolution-unit"}


def upscale_picture(source: Path, target: Path, runner: Runner) -> tuple[str, ...]:
    """Enlarges the picture file `source` into the file `target`, in the format of its suffix; returns what the user
    should know.

    Kept: 8 or, where the format has them, 16 bits, ICC profile, EXIF, resolution; EXIF's orientation is applied. Memory
    is bounded, but for BMP: pixels of a large result are gathered in a temporary file. Several threads may call it at
    once, with one runner. Raises FailureError, naming the file, where it cannot be read, written, or enlarged without
    damage.
    """
    with (
        _failing(target, "cannot be written"),
        written_whole(target) as unfinished,
        tempfile.TemporaryDirectory() as folder,
    ):
        unfinished.touch()  # a folder that cannot be written to is found out before the work
        with _failing(source, "not a readable picture of its suffix's format"):
            picture = read_picture(source, runner.upscale_factor, FORMATS[target.suffix.lower()])
        strips = upscaled_strips(picture, runner, source)
        if FORMATS[target.suffix.lower()] == "png":
            write_png(unfinished, _png_header(picture, runner.upscale_factor), strips)
        else:
            result = _gathered(strips, picture, runner.upscale_factor, Path(folder) / "pixels")
            result = _with_metadata(result, picture)
            _stoppable(result, partial(write_picture, result, unfinished, like=source), runner)
            del result  # Windows removes no file that is still mapped
    format_ = FORMATS[target.suffix.lower()]
    shallower = ["16 bits a channel became 8, all that the format has"] * _is_too_deep(picture, format_)
    lost = [what for kind, mark, what in LOST if kind == FORMATS[source.suffix.lower()] and _contains(source, mark)]
    return (*shallower, *(f"the result is without the {what}, which libvips does not write" for what in lost))


def read_picture(path: Path, upscale_factor: int, target_format: str) -> pyvips.Image:
    """The picture of a file, upright, to be enlarged by `upscale_factor` and written in a format, called as in FORMATS;
    its pixels are read when they are asked for, from top to bottom.

    Raises FailureError for what cannot be enlarged without damage, pyvips.Error or OSError for what cannot be read.
    """
    if not path.stat().st_size:
        raise FailureError(f"{path}: the file is empty; replace or remove it")
    format_ = FORMATS[path.suffix.lower()]
    load = getattr(pyvips.Image, f"{format_}load", None)  # there is none for BMP
    picture = load(str(path), fail_on="error", access="sequential") if load else _read_bmp(path)
    if objection := _objection(picture, path, upscale_factor, target_format):
        raise FailureError(f"{path}: {objection}")
    if picture.get_typeof("orientation") and picture.get("orientation") > 1:
        return load(str(path), fail_on="error").autorot()
    return picture


def write_picture(picture: pyvips.Image, path: Path, like: Path) -> None:
    """Writes the picture in the format of the suffix; as a lossless WebP if the file `like` is one."""
    format_ = FORMATS[path.suffix.lower()]
    if _is_too_deep(picture, format_):
        shallow = (picture * (255 / 65535)).rint().cast("uchar")
        picture = shallow.copy(interpretation="b-w" if picture.bands < 3 else "srgb")
    if format_ == "bmp":
        dpi = (picture.xres * 25.4, picture.yres * 25.4)
        Image.fromarray(picture.numpy()).save(path, format="BMP", dpi=dpi)
        with path.open("rb") as file:
            _, size = struct.unpack("<HI", file.read(6))
        if path.stat().st_size < size:  # Pillow does not notice that the end did not fit on the disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    is_lossless = format_ == "webp" and like.suffix.lower() == ".webp" and _contains(like, b"VP8L")
    options = OPTIONS["lossless webp" if is_lossless else format_]
    if format_ == "tiff":
        options = {**options, "bigtiff": pixel_bytes(picture) > 2**31}
    getattr(picture, f"{format_}save")(str(path), keep=_keep(picture), **options)


def pixel_bytes(picture: pyvips.Image) -> int:
    """Bytes of the uncompressed picture."""
    return picture.width * picture.height * picture.bands * np.dtype(DTYPES[picture.format]).itemsize


def upscaled_strips(picture: pyvips.Image, runner: Runner, source: Path) -> Iterator[Pixels]:
    """The enlarged picture from top to bottom in strips, h x scale*W x bands of the picture's own dtype.

    Reading, the network and what is done with the strips overlap. `source` is named on the progress bar and in the
    FailureError for a file that turns out to be damaged.
    """
    scale, width, height = runner.upscale_factor, picture.width, picture.height
    dtype = DTYPES[picture.format]
    enlarger = Enlarger(runner, (height, width), dtype, picture.hasalpha())
    parts = list(spans(width, 4 * PART, enlarger.margin))

    def enlarge(rows: Span, window: Pixels) -> Pixels:
        if len(parts) == 1:
            return enlarger(window, rows, parts[0])
        strip = np.empty((scale * (rows.stop - rows.start), scale * width, picture.bands), dtype)
        for columns in parts:
            strip[:, columns.enlarged(scale)] = enlarger(window[:, columns.window], rows, columns)
        return strip

    windows = read_windows(picture, enlarger.margin, source)
    number = -(-height // PART)
    # A second bar, for pictures that take long.
    with (
        each_ahead(lambda each: enlarge(*each), windows, runner.pool, runner.threads + 1) as strips,
        tqdm(
            total=number, desc=source.name, unit="strip", leave=False, delay=2, dynamic_ncols=True, disable=None
        ) as bar,
    ):
        for strip in strips:
            yield strip
            bar.update()


def read_windows(picture: pyvips.Image, margin: int, source: Path) -> Iterator[tuple[Span, Pixels]]:
    """The picture's rows in parts with a margin, h x W x bands, each row read once."""
    dtype, region = DTYPES[picture.format], pyvips.Region.new(picture)
    window, read = np.empty((0, picture.width, picture.bands), dtype), 0
    for rows in spans(picture.height, PART, margin):
        window = window[len(window) - (read - rows.first) :]
        if rows.last > read:
            with _failing(source, "not a readable picture of its suffix's format"):
                new = region.fetch(0, read, picture.width, rows.last - read)
            new = np.frombuffer(new, dtype).reshape(-1, picture.width, picture.bands)
            window, read = np.concatenate([window, new]), rows.last
        yield rows, window


def _is_too_deep(picture: pyvips.Image, format_: str) -> bool:
    return picture.format == "ushort" and format_ in EIGHT_BITS


def _objection(picture: pyvips.Image, path: Path, upscale_factor: int, target_format: str) -> str | None:
    """Why the picture cannot be enlarged without damage, if so, and what to do."""
    format_, fields = FORMATS[path.suffix.lower()], picture.get_fields()
    if ("n-pages" in fields and picture.get("n-pages") > 1) or (format_ == "png" and _contains(path, b"acTL", b"IDAT")):
        return "an animation or several pages; save the pictures one by one"
    if picture.format not in DTYPES:
        return f"samples of type {picture.format}; convert it to 8 or 16 bits a channel"
    if picture.bands not in BANDS.get(picture.interpretation, ()):
        return f"{picture.bands} channels of type {picture.interpretation}; convert it to grey, RGB or CMYK"
    if (picture.hasalpha() and target_format in NO_ALPHA) or (
        picture.interpretation == "cmyk" and target_format in NO_CMYK
    ):
        what = "transparency" if picture.hasalpha() else "CMYK"
        return f"has {what}, which {target_format} cannot hold; add --format tif"
    size = f"{picture.width} x {picture.height} pixels"
    if picture.width * picture.height > LARGEST:
        return f"{size} is more than is read ({LARGEST:,} in all); cut it"
    if target_format == "bmp" and pixel_bytes(picture) * upscale_factor**2 > 2**32 - 2**20:
        return f"{size}, enlarged, is more than the 4 GB of a BMP; add --format png"
    longest = LONGEST.get(target_format, 2**31 - 1)
    if upscale_factor * max(picture.width, picture.height) > longest:
        return f"{size}, enlarged, is more than {target_format} can hold ({longest} a side); add --format png"
    return None


def _read_bmp(path: Path) -> pyvips.Image:
    Image.MAX_IMAGE_PIXELS = LARGEST
    try:
        with Image.open(path, formats=["BMP"]) as image:
            if "A" in image.getbands():
                raise FailureError(f"{path}: a BMP with alpha, which cannot be written; convert it to PNG")
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
            dpi = image.info.get("dpi", (96, 96))
    except Image.DecompressionBombError as error:
        raise FailureError(f"{path}: {error}") from error
    return pyvips.Image.new_from_array(pixels).copy(xres=dpi[0] / 25.4, yres=dpi[1] / 25.4)


def _gathered(strips: Iterator[Pixels], picture: pyvips.Image, upscale_factor: int, file: Path) -> pyvips.Image:
    """The enlarged picture of these strips, which wait in memory or, where they are large, in the file."""
    size = (upscale_factor * picture.width, upscale_factor * picture.height, picture.bands)
    kind = {"format": picture.format, "interpretation": picture.interpretation}
    if pixel_bytes(picture) * upscale_factor**2 <= IN_MEMORY:
        return pyvips.Image.new_from_memory(np.concatenate(list(strips)), *size, picture.format).copy(**kind)
    with _failing(file, "temporary file cannot be written"), file.open("wb") as content:
        for strip in strips:
            content.write(strip)
    return pyvips.Image.rawload(str(file), *size, **kind)


def _png_header(picture: pyvips.Image, upscale_factor: int) -> bytes:
    """What comes before the pixels in the PNG file of the enlarged picture."""
    black = pyvips.Image.black(upscale_factor * picture.width, upscale_factor * picture.height, bands=picture.bands)
    black = black.cast(picture.format).copy(interpretation=picture.interpretation)
    return png_header(_with_metadata(black, picture), keep=_keep(picture))


def _keep(picture: pyvips.Image) -> int:
    """libvips makes up an EXIF block for pictures that have none."""
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


def _contains(path: Path, mark: bytes, before: bytes = b"") -> bool:
    """Whether the bytes occur in the file, before the first of some others."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        end = content.find(before) if before else len(content)
        return content.find(mark, 0, end) >= 0


def _stoppable(picture: pyvips.Image, work: Callable[[], None], runner: Runner) -> None:
    """Works on the picture in a thread of its own, until the runner is stopped or this thread is interrupted: Python
    hears of that only outside libvips.
    """
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            while not wait([working], timeout=0.2).done:
                if runner.stopped.is_set():
                    picture.set_kill(True)
            working.result()
        except BaseException:
            picture.set_kill(True)
            raise


@contextmanager
def _failing(path: Path, what: str) -> Iterator[None]:
    """Turns errors of libvips and of the system into a FailureError of one line that names the file."""
    try:
        yield
    except (pyvips.Error, OSError) as error:
        reason = error.detail if isinstance(error, pyvips.Error) else error.strerror or str(error)
        lines = dict.fromkeys(filter(None, reason.splitlines()))
        why = f" ({'; '.join(list(lines)[:2])})" if lines else ""
        raise FailureError(f"{path}: {what}{why}") from error

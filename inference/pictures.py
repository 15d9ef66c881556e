"""One picture file enlarged: FSRCNN on its luma, bicubic interpolation on its chroma and alpha.

libvips reads and writes every format but BMP: it alone takes pictures of any size part by part, in 8 and 16 bits, with
palette, alpha, CMYK, ICC profile, EXIF and resolution (OpenCV loses the resolution and accepts truncated files, Pillow
has no 16-bit colour). BMP, which libvips' wheels leave out, is Pillow's.
"""

import errno
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pyvips
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from tqdm import tqdm

from errors import FailureError
from files import written_whole
from imgproc import FloatImage, resize_axis, resize_matrix, rgb_to_ycbcr, ycbcr_to_rgb
from inference.parts import Span, reach, spans, upscale_luma

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

PART = 352  # LR pixels enlarged at once, along each axis
LARGEST = 2**30  # pixels of an input; a file that promises more is taken for a decompression bomb
LEVELS = {np.uint8: 256, np.uint16: 8192}  # flat pictures on which the network's error is measured, by their depth

# The formats by suffix, called as in libvips' operations, how they are written, and how long a side they can have.
FORMATS = {
    ".bmp": "bmp",
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
}
OPTIONS = {
    "jpeg": {"Q": 95, "subsample_mode": "off"},
    "png": {"filter": "up", "compression": 3},
    "tiff": {"compression": "deflate", "predictor": "horizontal"},
    "webp": {"Q": 95},
    "lossless webp": {"lossless": True, "exact": True},
}
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


def upscale_picture(source: Path, target: Path, network: nn.Module) -> tuple[str, ...]:
    """Enlarges the picture file `source` into the file `target` of the same format; returns what the user should know.

    network: as `FSRCNN.fuse` makes it, on any device. Kept: 8 or 16 bits, ICC profile, EXIF, resolution; EXIF's
    orientation is applied. Memory is bounded, but for BMP: the result's pixels are gathered in a temporary file.
    Raises FailureError, naming the file, where it cannot be read, written, or enlarged without damage.
    """
    with (
        _failing(target, "cannot be written"),
        written_whole(target) as unfinished,
        tempfile.TemporaryDirectory() as folder,
    ):
        unfinished.touch()  # a folder that cannot be written to is found out before the work
        with _failing(source, "not a readable picture of its suffix's format"):
            picture = read_picture(source, network.upscale_factor)
        pixels = Path(folder) / "pixels"
        with _failing(pixels, "temporary file cannot be written"), pixels.open("wb") as file:
            for strip in upscaled_strips(picture, network, source):
                file.write(strip)
        result = _with_metadata(picture, pixels, network.upscale_factor)
        _stoppable(result, lambda: write_picture(result, unfinished, like=source))
    return tuple(
        f"the result is without the {what}, which libvips does not write"
        for format_, mark, what in LOST
        if format_ == FORMATS[source.suffix.lower()] and _contains(source, mark)
    )


def read_picture(path: Path, upscale_factor: int) -> pyvips.Image:
    """The picture of a file, upright, to be enlarged by `upscale_factor`; its pixels are read when they are asked for.

    Raises FailureError for what cannot be enlarged without damage, pyvips.Error or OSError for what cannot be read.
    """
    if not path.stat().st_size:
        raise FailureError(f"{path}: the file is empty; replace or remove it")
    format_ = FORMATS[path.suffix.lower()]
    load = getattr(pyvips.Image, f"{format_}load", None)  # there is none for BMP
    picture = load(str(path), fail_on="error") if load else _read_bmp(path)
    if objection := _objection(picture, path, upscale_factor):
        raise FailureError(f"{path}: {objection}")
    return picture.autorot()


def write_picture(picture: pyvips.Image, path: Path, like: Path) -> None:
    """Writes the picture in the format of the suffix; as a lossless WebP if the file `like` is one."""
    format_ = FORMATS[path.suffix.lower()]
    if format_ == "bmp":
        dpi = (picture.xres * 25.4, picture.yres * 25.4)
        Image.fromarray(picture.numpy()).save(path, format="BMP", dpi=dpi)
        with path.open("rb") as file:
            _, size = struct.unpack("<HI", file.read(6))
        if path.stat().st_size < size:  # Pillow does not notice that the end did not fit on the disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    options = OPTIONS["lossless webp" if format_ == "webp" and _contains(like, b"VP8L") else format_]
    if format_ == "tiff":
        options = {**options, "bigtiff": pixel_bytes(picture) > 2**31}
    kept = pyvips.enums.ForeignKeep
    # libvips makes up an EXIF block for pictures that have none.
    keep = kept.ALL if "exif-data" in picture.get_fields() else kept.ALL & ~kept.EXIF
    getattr(picture, f"{format_}save")(str(path), keep=keep, **options)


def pixel_bytes(picture: pyvips.Image) -> int:
    """Bytes of the uncompressed picture."""
    return picture.width * picture.height * picture.bands * np.dtype(DTYPES[picture.format]).itemsize


def upscaled_strips(picture: pyvips.Image, network: nn.Module, source: Path) -> Iterator[Pixels]:
    """The enlarged picture from top to bottom in strips, h x scale*W x bands of the picture's own dtype.

    `source` is named on the progress bar and in the FailureError for a file that turns out to be damaged.
    """
    scale, width, height, bands = network.upscale_factor, picture.width, picture.height, picture.bands
    dtype = DTYPES[picture.format]
    enlarger = Enlarger(network, (height, width), dtype, picture.hasalpha())
    region = pyvips.Region.new(picture)
    parts = list(spans(height, PART, enlarger.margin))
    # A second bar, for pictures that take long.
    for rows in tqdm(parts, source.name, unit="strip", leave=False, delay=2, dynamic_ncols=True, disable=None):
        strip = np.empty((scale * (rows.stop - rows.start), scale * width, bands), dtype)
        for columns in spans(width, PART, enlarger.margin):
            size = (columns.last - columns.first, rows.last - rows.first)
            with _failing(source, "not a readable picture of its suffix's format"):
                window = region.fetch(columns.first, rows.first, *size)
            window = np.frombuffer(window, dtype).reshape(*size[::-1], bands)
            strip[:, columns.enlarged(scale)] = enlarger(window, rows, columns)
        yield strip


class Enlarger:
    """Enlarges the parts of one picture; what comes out is the same as if the picture was enlarged as a whole.

    The network's own error on flat pictures, up to a level inside and seven at the border, where it takes what is
    beyond for black, is measured once and taken off, so that flat colours stay what they are, in 16 bits too. Alpha is
    enlarged by bicubic interpolation, which, unlike the network, keeps opaque opaque and empty empty.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, int], dtype: type, has_alpha: bool) -> None:
        """shape: height and width of the picture in LR pixels; dtype: numpy's uint8 or uint16, of its samples."""
        self._network, self._scale, self._has_alpha = network, network.upscale_factor, has_alpha
        reached = reach(network)
        # Bicubic interpolation of alpha reaches 2 pixels; what is seen there depends on `reached` more.
        self._fill = reached + 2
        self.margin = reached + self._fill if has_alpha else reached
        measured = tuple(min(length, 2 * reached + 1) for length in shape)
        self._flat_error = flat_error(network, *measured, LEVELS[dtype])
        self._places = [_places(length, size, reached) for length, size in zip(shape, measured, strict=True)]
        self._bicubic = [resize_matrix(length, self._scale * length, self._scale) for length in shape]

    def __call__(self, window: Pixels, rows: Span, columns: Span) -> Pixels:
        """window: the pixels of the spans' windows, h x w x bands of L, LA, RGB, RGBA or CMYK. Returns those of the
        spans themselves, enlarged, in the same dtype.
        """
        peak, spans_ = np.iinfo(window.dtype).max, (rows, columns)
        lr = window * (255 / peak)
        colours = 3 if window.shape[2] > 2 else 1
        colour, other = lr[..., :colours], lr[..., colours:]
        if self._has_alpha:
            colour = fill_transparent(colour, other, self._fill)
        if colours == 1:
            enlarged = [self._upscale_grey(colour, spans_)]
        else:
            ycbcr = rgb_to_ycbcr(colour)
            y, chroma = self._upscale_luma(ycbcr[..., 0], spans_), self._upscale_bicubic(ycbcr[..., 1:], spans_)
            enlarged = [ycbcr_to_rgb(np.dstack([y, chroma]))]
        if other.shape[2]:
            upscale = self._upscale_bicubic if self._has_alpha else self._upscale_grey
            enlarged.append(upscale(other, spans_))
        return np.clip(np.floor(np.dstack(enlarged) * (peak / 255) + 0.5), 0, peak).astype(window.dtype)

    def _upscale_grey(self, grey: FloatImage, spans_: tuple[Span, Span]) -> FloatImage:
        """A grey picture, h x w x 1 in 0..255, by the luma it would have in colour, which is in 16..235."""
        return (self._upscale_luma(grey[..., 0] * (219 / 255) + 16, spans_)[..., None] - 16) * (255 / 219)

    def _upscale_luma(self, y: FloatImage, spans_: tuple[Span, Span]) -> FloatImage:
        """The network's result without its error on flat pictures. y: h x w."""
        scale, (rows, columns) = self._scale, spans_
        sr = upscale_luma(self._network, y)[rows.inside(scale), columns.inside(scale)]
        level = (y[rows.inside(1), columns.inside(1)] - 16) / 219 * (len(self._flat_error) - 1)
        below = np.clip(level.astype(np.intp), 0, len(self._flat_error) - 2)
        down, across = (places[span.start : span.stop] for places, span in zip(self._places, spans_, strict=True))
        error, next_ = (self._flat_error[index, down[:, None], across] for index in (below, below + 1))
        error = error + (level - below)[..., None, None] * (next_ - error)
        return sr - error.transpose(0, 2, 1, 3).reshape(sr.shape)

    def _upscale_bicubic(self, planes: FloatImage, spans_: tuple[Span, Span]) -> FloatImage:
        """Part of what `imresize` makes of the whole picture, to the last bit. planes: h x w x n."""
        for axis, (span, matrix) in enumerate(zip(spans_, self._bicubic, strict=True)):
            planes = resize_axis(planes, matrix[span.enlarged(self._scale), span.window], axis)
        return planes


@lru_cache(maxsize=2)
def flat_error(network: nn.Module, height: int, width: int, levels: int) -> NDArray[np.float32]:
    """What the network adds to flat pictures of `levels` lumas from 16 to 235, height x width LR pixels small.

    Returns levels x height x width x scale x scale: for every LR pixel that of its SR pixels.
    """
    scale, device = network.upscale_factor, next(network.parameters()).device
    errors = []
    for luma in torch.linspace(16 / 255, 235 / 255, levels, device=device).view(-1, 1, 1, 1).split(128):
        with torch.inference_mode():
            error = network(luma.expand(-1, 1, height, width).contiguous()) - luma
        blocks = error.cpu().numpy().reshape(-1, height, scale, width, scale) * np.float32(255)
        errors.append(np.ascontiguousarray(blocks.transpose(0, 1, 3, 2, 4)))
    return np.concatenate(errors)


def _places(length: int, size: int, reached: int) -> NDArray[np.intp]:
    """For each pixel of an axis one as far from the ends of an axis of `size`; those out of their reach are alike."""
    along = np.arange(length)
    return np.where(along < reached, along, np.maximum(min(reached, size - 1), size - (length - along)))


def fill_transparent(colour: FloatImage, alpha: FloatImage, radius: int) -> FloatImage:
    """Gives fully transparent pixels, whose colour means nothing, the mean premultiplied colour around them, the near
    ones counting most, so that it does not seep into the edges. Where nothing visible is near, they stay as they are.

    colour: h x w x 1 or 3; alpha: h x w x 1, 0..255; radius: LR pixels that are near.
    """
    around = (2 * radius + 1, 2 * radius + 1)
    blurred = cv2.GaussianBlur(np.dstack([colour * alpha, alpha]), around, radius / 3, borderType=cv2.BORDER_CONSTANT)
    fillable = (alpha[..., 0] == 0) & (blurred[..., -1] > 0)
    filled = colour.copy()
    filled[fillable] = blurred[fillable, :-1] / blurred[fillable, -1:]
    return filled


def _objection(picture: pyvips.Image, path: Path, upscale_factor: int) -> str | None:
    """Why the picture cannot be enlarged without damage, if so, and what to do."""
    format_, fields = FORMATS[path.suffix.lower()], picture.get_fields()
    if ("n-pages" in fields and picture.get("n-pages") > 1) or (format_ == "png" and _contains(path, b"acTL", b"IDAT")):
        return "an animation or several pages; save the pictures one by one"
    if picture.format not in DTYPES:
        return f"samples of type {picture.format}; convert it to 8 or 16 bits a channel"
    if picture.bands not in BANDS.get(picture.interpretation, ()):
        return f"{picture.bands} channels of type {picture.interpretation}; convert it to grey, RGB or CMYK"
    size = f"{picture.width} x {picture.height} pixels"
    if picture.width * picture.height > LARGEST:
        return f"{size} is more than is read ({LARGEST:,} in all); cut it"
    if format_ == "bmp" and pixel_bytes(picture) * upscale_factor**2 > 2**32 - 2**20:
        return f"{size}, enlarged, is more than the 4 GB of a BMP; convert it to PNG or TIFF"
    longest = LONGEST.get(format_, 2**31 - 1)
    if upscale_factor * max(picture.width, picture.height) > longest:
        return f"{size}, enlarged, is more than {format_} can hold ({longest} a side); convert it to PNG or TIFF"
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


def _with_metadata(picture: pyvips.Image, pixels: Path, upscale_factor: int) -> pyvips.Image:
    """The raw pixels in a file as an enlarged picture, with the metadata of the one it was made from."""
    size = (upscale_factor * picture.width, upscale_factor * picture.height, picture.bands)
    raw = pyvips.Image.rawload(str(pixels), *size, format=picture.format, interpretation=picture.interpretation)
    result = raw.copy(xres=picture.xres, yres=picture.yres)
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


def _stoppable(picture: pyvips.Image, work: Callable[[], None]) -> None:
    """Works on the picture in a thread of its own: Python hears of a Ctrl-C only outside libvips."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
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

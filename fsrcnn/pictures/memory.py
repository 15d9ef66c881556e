"""How much memory the decoder of a picture file needs, by its headers, before anything is decoded.

Most pictures are decoded strip by strip. The factors are measured: bytes at the peak, by bytes of the whole picture.
"""

from pathlib import Path

import pyvips

from fsrcnn.errors import FailureError
from fsrcnn.pictures.containers import PROGRESSIVE, SOF, SOS, bmff_boxes, jpeg_segments, mapped, png_chunks, tiff_tags
from fsrcnn.pictures.formats import PictureFormat

GIB = 2**30
BLOCK = 8  # pixels of a side
COEFFICIENT = 2  # bytes
SUBSAMPLED = 0b1100  # of AV1's configuration: chroma has half the columns and rows
ROWS_PER_STRIP, TILE_LENGTH = 278, 323  # TIFF's tags


def check_memory(path: Path, need: int, limit: int) -> None:
    """Raises FailureError, naming the file, if it needs more than `limit` bytes."""
    if need > limit:
        raise FailureError(
            f"{path}: needs {need / GIB:.1f} GiB of memory, more than the limit of {limit / GIB:.2g} GiB; "
            f"--memory-limit {-(-need // GIB)} allows it"
        )


def decoding_memory(picture: pyvips.Image, path: Path, format_: PictureFormat) -> int:
    """Bytes that decoding the picture needs at its peak, besides strips of it."""
    pixels = int(picture.width * picture.height)
    whole = pixels * picture.bands * (2 if picture.format == "ushort" else 1)
    match format_.name:
        case "jpeg":
            return _jpeg_coefficients(path)
        case "png":
            interlaced = any(type_ == b"IHDR" and payload[12:13] == b"\1" for type_, payload in png_chunks(path))
            return whole if interlaced else 0
        case "tiff":
            return _tiff_strip(picture, path, whole)
        case "gif":
            return 6 * pixels
        case "webp":
            return 2 * whole
        case "heif":
            return _avif_bytes(path) * pixels * (2 if picture.format == "ushort" else 1)
    return 0


def _jpeg_coefficients(path: Path) -> int:
    """Bytes of the picture's coefficients, if they come in several scans and wait in memory for the last one."""
    components: list[tuple[int, int]] = []
    height = width = 0
    with mapped(path) as content:
        for marker, payload in jpeg_segments(content):
            if marker in SOF and len(payload) >= 6:
                height, width = (int.from_bytes(payload[at : at + 2], "big") for at in (1, 3))
                components = [(each >> 4, each & 15) for each in payload[7::3]]
                progressive = marker in PROGRESSIVE
            if marker == SOS and components and (progressive or payload[0] < len(components)):
                across, down = (max(1, *(each[side] for each in components)) for side in (0, 1))
                columns, rows = -(-width // (BLOCK * across)), -(-height // (BLOCK * down))
                return sum(columns * x * rows * y * BLOCK**2 * COEFFICIENT for x, y in components)
    return 0


def _avif_bytes(path: Path) -> int:
    """Bytes of a pixel of 8 bits: its planes, the decoder's copies of them, and its R, G, B and alpha."""
    meta = next((payload for type_, payload in bmff_boxes(path) if type_ == b"meta"), b"")
    at = meta.find(b"av1C") + 4
    is_subsampled = at >= 4 and at + 2 < len(meta) and meta[at + 2] & SUBSAMPLED == SUBSAMPLED
    return (15 if is_subsampled else 19) + 4 * (meta.count(b"av1C") > 1)


def _tiff_strip(picture: pyvips.Image, path: Path, whole: int) -> int:
    """Bytes of the rows that are decoded at once."""
    tags = next(tiff_tags(path), {})
    rows = tags.get(TILE_LENGTH) or tags.get(ROWS_PER_STRIP) or (picture.height,)
    return whole * min(int(rows[0]), picture.height) // picture.height

"""PNG files written by ISA-L, strip by strip, while the network enlarges the next strips.

libvips' PNGs are a tenth smaller, but it takes a whole picture at once, and half the network's time to write it. ISA-L
needs a quarter of that.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from isal import isal_zlib
from numpy.typing import NDArray

from fsrcnn.pictures.pixels import Pixels

COMPRESSION = 1  # of ISA-L's 0 to 3; 2 and 3 take longer and do not make enlarged pictures smaller
UP = 2  # the filter that subtracts the row above


def write_png(path: Path, header: bytes, strips: Iterable[Pixels]) -> None:
    """Writes strips, h x W x bands, from top to bottom. header: of `png_header`."""
    compressor = isal_zlib.compressobj(COMPRESSION)
    with path.open("wb") as file:
        file.write(header)
        above = np.zeros(1, np.uint8)
        for strip in strips:
            rows = _rows(strip)
            file.write(_chunk(b"IDAT", compressor.compress(_filtered(rows, above))))
            above = rows[-1]
        file.write(_chunk(b"IDAT", compressor.flush()) + _chunk(b"IEND", b""))


def png_header(picture: pyvips.Image, **options: Any) -> bytes:
    """What comes before the pixels in the PNG file that libvips' pngsave writes of the picture with these options.

    Raises pyvips.Error where pngsave refuses the picture.
    """
    written, target = bytearray(), pyvips.TargetCustom()

    def write(content: bytes) -> int:
        written.extend(content)
        return len(content) if _pixels_at(written) is None else -1  # an error, at which libvips stops

    target.on_write(write)
    try:
        picture.pngsave_target(target, compression=0, **options)
    except pyvips.Error:
        if _pixels_at(written) is None:
            raise
    return bytes(written[: _pixels_at(written)])


def _pixels_at(content: bytearray) -> int | None:
    """Where a PNG file's first chunk of pixels begins; None: not yet."""
    at = 8  # after the signature
    while at + 8 <= len(content):
        if content[at + 4 : at + 8] == b"IDAT":
            return at
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return None


def _rows(strip: Pixels) -> NDArray[np.uint8]:
    """The strip's bytes, h x bytes of a row; 16 bits in PNG's order, the high byte first."""
    ordered = strip.astype(strip.dtype.newbyteorder(">"), copy=False)
    return ordered.reshape(len(strip), -1).view(np.uint8)


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes that PNG compresses: of each row the filter's number, then its difference from the row above."""
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0] - above
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _chunk(type_: bytes, content: bytes) -> bytes:
    checksum = isal_zlib.crc32(content, isal_zlib.crc32(type_))
    return struct.pack(">I", len(content)) + type_ + content + struct.pack(">I", checksum)

"""PNG files written by ISA-L, strip by strip, while the network enlarges the next strips.

libvips' PNGs are a tenth smaller, but it takes a whole picture at once, and half the network's time to write it. ISA-L
needs a quarter of that.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from fsrcnn.pictures.metadata import Metadata
from fsrcnn.pictures.metadata_writing import png_chunk, png_chunks_of
from fsrcnn.pictures.pixels import Layout, Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of bands

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
            file.write(png_chunk(b"IDAT", compressor.compress(_filtered(rows, above))))
            above = rows[-1]
        file.write(png_chunk(b"IDAT", compressor.flush()) + png_chunk(b"IEND", b""))


def png_header(layout: Layout, metadata: Metadata) -> bytes:
    """What comes before the pixels in the PNG file of a picture of this layout."""
    kind = struct.pack(">IIBB3x", layout.width, layout.height, layout.bits, COLOUR_TYPES[layout.bands])
    return SIGNATURE + png_chunk(b"IHDR", kind) + png_chunks_of(metadata)


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

"""How strongly a picture file says that it was compressed, in libjpeg's scale of quality, read from its header.

A file that is damaged, or of a kind that says nothing of it, has no quality here; whether it can be read at all is
for reading.py to say.
"""

import struct
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcnn.pictures.containers import SOF, Content, jpeg_segments, mapped, riff_chunks
from fsrcnn.pictures.quality import QUALITIES, standard_tables

JPEG, QUANTISATION_TABLES = b"\xff\xd8", 0xDB  # how a file begins, and a marker (T.81, table B.1)
LARGEST_STEP = 255  # of a table of 8 bits

# The index of VP8's quantiser (RFC 6386, section 9.6), and the JPEG's quality for which the restoring weights help as
# much: measured with fsrcnn x2 on the validation pictures, saved as WebP at libwebp's 0 to 100.
VP8_INDICES = (0, 4, 8.5, 13.5, 19, 28, 38, 51, 60, 73, 84, 127)
VP8_QUALITIES = (100, 98, 95.5, 93, 89.5, 85, 79.5, 68.5, 57, 44, 38, 20)
VP8_FRAME = struct.Struct("<3s3sHH")
VP8_START = b"\x9d\x01\x2a"
VP8_BYTES = 256  # of a frame's start, which hold all that is read of it


def _zigzag() -> list[int]:
    """The places, row by row, of a table's steps in their order in a file: along the diagonals, to and fro."""
    diagonals = [[(row, order - row) for row in range(8) if 0 <= order - row < 8] for order in range(15)]
    return [8 * row + column for order, each in enumerate(diagonals) for row, column in each[:: 1 if order % 2 else -1]]


ZIGZAG = np.array(_zigzag())


def file_quality(path: Path) -> float | None:
    """The quality that a JPEG or a lossy WebP was saved at, 1..100; None where its header does not tell.

    A JPEG's is that of the standard table nearest to its luma's in the logarithm: the quality itself for libjpeg's, a
    neighbour for other programs'. Of a JPEG without YCbCr it is the first channel's. Raises OSError.
    """
    with mapped(path) as content:
        if content[:2] == JPEG:
            table = jpeg_table(content)
            return None if table is None else table_quality(table)
    index = webp_quantiser(path)
    return None if index is None else float(np.interp(index, VP8_INDICES, VP8_QUALITIES))


# --- JPEG ---


def jpeg_table(content: Content) -> NDArray[np.int64] | None:
    """The quantisation steps of a JPEG's first channel, 64 row by row; None where there are none before its pixels."""
    tables: dict[int, NDArray[np.int64]] = {}
    number = None
    for marker, payload in jpeg_segments(content):
        if marker == QUANTISATION_TABLES:
            tables |= _tables_in(payload)
        elif marker in SOF and len(payload) > 8:
            number = payload[8]
    return tables.get(number) if number is not None else None


def _tables_in(content: bytes) -> dict[int, NDArray[np.int64]]:
    """The tables of a segment by their numbers; what is cut off is left out."""
    tables = {}
    while content:
        wide, number = divmod(content[0], 16)
        size = 1 + (128 if wide else 64)
        if len(content) < size:
            break
        steps = np.frombuffer(content[1:size], ">u2" if wide else "u1").astype(np.int64)
        tables[number] = np.empty(64, np.int64)
        tables[number][ZIGZAG] = steps
        content = content[size:]
    return tables


@cache
def _standard_logarithms() -> NDArray[np.float64]:
    return np.log(np.minimum(standard_tables().reshape(-1, 64), LARGEST_STEP))


def table_quality(table: NDArray[np.int64]) -> float:
    """The quality of the standard table nearest to this one, 64 steps row by row, in the logarithm."""
    steps = np.log(np.clip(table, 1, LARGEST_STEP))
    return float(QUALITIES[np.abs(_standard_logarithms() - steps).sum(1).argmin()])


# --- WebP ---


def webp_quantiser(source: Path | bytes) -> float | None:
    """The index of the quantiser of a lossy WebP, 0 (finest) to 127, the mean over its segments; None for others."""
    for type_, frame in riff_chunks(source):
        if type_ == b"VP8 " and len(frame) > VP8_FRAME.size and frame[3:6] == VP8_START:
            return _vp8_quantiser(frame[VP8_FRAME.size : VP8_BYTES])
    return None


class _Bits:
    """VP8's boolean decoder (RFC 6386, section 7.3). After the end of the content it reads zeros."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content.ljust(VP8_BYTES, b"\0"), "big")
        self._left = 8 * VP8_BYTES - 8  # bits of the content below the window of 8 that is compared
        self._range = 255

    def flag(self, probability: int = 128) -> bool:
        split = 1 + ((self._range - 1) * probability >> 8)
        below = split << self._left
        found = self._value >= below
        if found:
            self._value -= below
            self._range -= split
        else:
            self._range = split
        while self._range < 128:
            self._range <<= 1
            self._left -= 1
        return found

    def number(self, bits: int) -> int:
        value = 0
        for _ in range(bits):
            value = 2 * value + self.flag()
        return value

    def signed(self, bits: int) -> int:
        """A number and its sign, where a flag says that they follow; else 0."""
        if not self.flag():
            return 0
        value = self.number(bits)
        return -value if self.flag() else value


def _vp8_quantiser(content: bytes) -> float:
    """The mean index of the quantisers of a key frame's segments, each as frequent as the header says that it is.

    content: the first partition of the frame (RFC 6386, sections 9.2 to 9.6).
    """
    bits = _Bits(content)
    bits.number(2)  # colour space and clamping
    quantisers, absolute, shares = [0, 0, 0, 0], False, [1.0, 0.0, 0.0, 0.0]
    if bits.flag():
        has_map, has_data = bits.flag(), bits.flag()
        if has_data:
            absolute = bits.flag()
            quantisers = [bits.signed(7) for _ in range(4)]
            for _ in range(4):
                bits.signed(6)  # the loop filter's
        if has_map:
            first, low, high = ((bits.number(8) if bits.flag() else 255) / 255 for _ in range(3))
            shares = [first * low, first * (1 - low), (1 - first) * high, (1 - first) * (1 - high)]
    bits.number(10)  # the loop filter's kind, level and sharpness
    if bits.flag() and bits.flag():
        for _ in range(8):
            bits.signed(6)
    bits.number(2)  # how many partitions there are
    index = bits.number(7)
    indices = np.clip(np.array(quantisers) + (0 if absolute else index), 0, 127)
    return float(indices @ shares)

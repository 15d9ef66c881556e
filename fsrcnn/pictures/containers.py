"""The parts that picture files are made of: JPEG's segments, the chunks of PNG and RIFF, ISO's boxes, TIFF's tags.

Nothing is decoded, and the pixels are skipped, so that this takes as long for a large file as for a small one. A file
that is damaged is read as far as its structure makes sense; nothing is raised but OSError.
"""

import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

Content = bytes | mmap

MOST = 2**24  # bytes of a part that are read; what is longer comes cut
HEAD = 2**12  # bytes that are read of a part that holds pixels

SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's markers of a frame's header
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})  # of these
RST, SOI, EOI, SOS = frozenset(range(0xD0, 0xD8)), 0xD8, 0xD9, 0xDA
WITHOUT_PAYLOAD = RST | {0x01, SOI, EOI}
ENDS_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # a marker that is no part of the pixels

PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = {b"IDAT", b"fdAT"}
WEBP_PIXELS = {b"VP8 ", b"VP8L", b"ALPH", b"ANMF"}

TIFF_PIXELS = {273, 279, 324, 325}  # where its strips and tiles are; many, and of no use here
MOST_PAGES = 10_000
MOST_TAGS = 4096  # of a page
FURTHEST = 2**62  # position in a file
# A TIFF value's letter in `struct`, by its type; 2 and 7, of bytes, come as they are.
TIFF_TYPES = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
TIFF_TYPES |= {2: "s", 7: "s", 16: "Q", 17: "q", 18: "Q"}

Tags = dict[int, bytes | tuple[int, ...] | tuple[float, ...]]


class Part(NamedTuple):
    """A segment of a JPEG file: its marker, where that is, and where its payload begins and ends."""

    marker: int
    at: int
    start: int
    stop: int


# --- JPEG ---


def jpeg_segments(content: Content) -> Iterator[tuple[int, bytes]]:
    """Marker (0xE1: APP1) and payload, without its length, of each segment before the pixels; the last is SOS."""
    for part in jpeg_parts(content):
        if part.marker not in WITHOUT_PAYLOAD:
            yield part.marker, content[part.start : part.stop]
        if part.marker == SOS:
            return


def jpeg_parts(content: Content) -> Iterator[Part]:
    """Each segment of a JPEG file to its end marker, with the positions of its payload. The compressed pixels that
    follow SOS, restart markers included, are skipped, and so are bytes between segments that belong to none.
    """
    at = 0
    while (at := content.find(b"\xff", at)) >= 0 and at + 1 < len(content):
        marker = content[at + 1]
        if marker in (0x00, 0xFF):  # no marker; a byte that fills
            at += 1
            continue
        start = stop = at + 2
        if marker not in WITHOUT_PAYLOAD:
            start, stop = at + 4, at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
            if not start <= stop <= len(content):
                return
        yield Part(marker, at, start, stop)
        if marker == EOI:
            return
        at = stop
        if marker == SOS:
            end = ENDS_SCAN.search(content, at)
            if end is None:
                return
            at = end.start()


# --- PNG, RIFF, ISO's boxes ---


def png_chunks(source: Path | bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type (b"iCCP") and payload of each chunk of a PNG file; of pixels (IDAT, fdAT) the first HEAD bytes."""
    with _opened(source) as file:
        if file.read(8) != PNG:
            return
        while len(head := file.read(8)) == 8:
            size, type_ = struct.unpack(">I4s", head)
            yield type_, _payload(file, size, type_ in PNG_PIXELS)
            file.seek(4, io.SEEK_CUR)  # its checksum
            if type_ == b"IEND":
                return


def riff_chunks(source: Path | bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type (b"EXIF") and payload of each chunk of a RIFF file, as WebP is one; of pixels the first HEAD bytes."""
    with _opened(source) as file:
        if file.read(12)[:4] != b"RIFF":
            return
        while len(head := file.read(8)) == 8:
            type_, size = struct.unpack("<4sI", head)
            yield type_, _payload(file, size, type_ in WEBP_PIXELS)
            file.seek(size % 2, io.SEEK_CUR)


def bmff_boxes(source: Path | bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type (b"ftyp") and payload of each box of an ISO media file, as AVIF is one, or of a box's payload; of b"mdat"
    the first HEAD bytes. The boxes inside b"meta" begin after 4 bytes, as it has a version.
    """
    with _opened(source) as file:
        while len(head := file.read(8)) == 8:
            size, type_ = struct.unpack(">I4s", head)
            if size == 1:  # a longer size follows
                size = int.from_bytes(file.read(8), "big") - 8
            elif size == 0:  # to the end
                size = 8 + MOST
            if size < 8:
                return
            yield type_, _payload(file, size - 8, type_ == b"mdat")


# --- TIFF ---


def tiff_tags(source: Path | bytes, at: int | None = None) -> Iterator[Tags]:
    """The tags of each page (IFD) of a TIFF file, BigTIFF too, or of EXIF, whose content is a TIFF file. at: where the
    first page is that is read, of a pointer such as EXIF's 0x8769; None: the file's first.

    A value is bytes (texts, undefined) or a tuple of numbers, twice as many for fractions. Left out: where strips and
    tiles are, values longer than MOST, and those that lie outside the file.
    """
    with _opened(source) as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return
        (version,) = struct.unpack_from(order + "H", head, 2)
        big = version == 43
        if version not in (42, 43) or (big and len(head) < 16):
            return
        where = at if at is not None else struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]
        seen: set[int] = set()
        while where and where not in seen and len(seen) < MOST_PAGES:
            seen.add(where)
            file.seek(min(where, FURTHEST))
            tags, where = _page(file, order, big)
            yield tags


def _page(file: BinaryIO, order: str, big: bool) -> tuple[Tags, int]:
    """The tags of the page that the file is at, and where the next one is; 0: there is none."""
    count_size, entry_size, pointer = (8, 20, "Q") if big else (2, 12, "I")
    count = _number(file.read(count_size), order)
    entries = file.read(min(count, MOST_TAGS) * entry_size)
    next_ = _number(file.read(struct.calcsize(pointer)), order) if count <= MOST_TAGS else 0
    tags: Tags = {}
    for entry in _cut(entries, entry_size):
        tag, type_, number = struct.unpack_from(order + "HH" + pointer, entry)
        letters = TIFF_TYPES.get(type_)
        if letters is None or tag in TIFF_PIXELS:
            continue
        size = number * struct.calcsize("=" + letters)
        value = entry[-struct.calcsize(pointer) :]
        if size > MOST:
            continue
        if size > len(value):
            file.seek(min(_number(value, order), FURTHEST))
            value = file.read(size)
        if len(value) < size:
            continue
        value = value[:size]
        tags[tag] = value if letters == "s" else struct.unpack(f"{order}{number * len(letters)}{letters[0]}", value)
    return tags, next_


def _cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content) - size + 1, size))


def _number(content: bytes, order: str) -> int:
    return int.from_bytes(content, "little" if order == "<" else "big")


# --- files ---


@contextmanager
def mapped(path: Path) -> Iterator[Content]:
    """The content of a file as far as it is read; b"" of an empty one."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            yield b""
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            yield content


def _opened(source: Path | bytes) -> BinaryIO:
    return source.open("rb") if isinstance(source, Path) else io.BytesIO(source)


def _payload(file: BinaryIO, size: int, pixels: bool) -> bytes:
    """The next `size` bytes, or the first of them; the file is then behind them all."""
    payload = file.read(min(size, HEAD if pixels else MOST))
    file.seek(size - len(payload), io.SEEK_CUR)
    return payload

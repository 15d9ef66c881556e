"""The mark in every file that this package enlarges, by which it knows its results again, whatever they are called.

It is the text "Enlarged 2x by FSRCNN" (or 3x, 1.5x, ...), where the format keeps text or skips what it does not know:
in a JPEG a comment before the picture, elsewhere the last thing in the file. Comments and tags of the source stay as
they are. A program that saves the file anew may drop it.
"""

import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

STAMP = re.compile(rb"Enlarged [0-9]+(\.[0-9]+)?x by FSRCNN")
TAIL = 512  # bytes at the end of a file among which the mark is
BLOCK = 2**20  # bytes that are moved at once

SOI, COMMENT, APPLICATION = 0xD8, 0xFE, range(0xE0, 0xF0)  # JPEG's markers; ITU-T T.81, table B.1
PICTURE_BEGINS = 0xDA
MPF = 0xE2, b"MPF\0"  # of the list of further pictures, which counts their places from itself; CIPA DC-007, section 5.1

IS_TS, TS_PACKET, M2TS_PACKET = 0x47, 188, 192  # ISO/IEC 13818-1, 2.4.3.2; M2TS puts four bytes before each packet


def stamp(path: Path, upscale_factor: float) -> None:
    """Marks the finished file of a picture or video, in the format of its suffix, as enlarged. Raises OSError if it
    cannot be written.
    """
    text = f"Enlarged {f'{upscale_factor:.2f}'.rstrip('0').rstrip('.')}x by FSRCNN".encode()
    with path.open("r+b") as file:
        MARKS.get(path.suffix.lower(), _at_the_end)(file, text)


def is_stamped(path: Path) -> bool:
    """Whether a file has the mark. Reads a few hundred bytes; False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            if file.read(2) == bytes([0xFF, SOI]):
                return any(STAMP.fullmatch(comment) for comment in _jpeg_comments(file))
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - TAIL, 0))
            return bool(STAMP.search(file.read()))
    except OSError:
        return False


def _at_the_end(file: BinaryIO, text: bytes) -> None:
    """After the end of what a format's readers look at: TIFF's point to what is theirs, Ogg's look for pages."""
    file.seek(0, os.SEEK_END)
    file.write(text)


# --- pictures ---


def _png(file: BinaryIO, text: bytes) -> None:
    """A tEXt chunk before IEND, of a keyword that hides no other text; PNG specification, 11.3.3."""
    end = file.seek(-12, os.SEEK_END)
    last = file.read()
    chunk = b"tEXt" + b"FSRCNN\0" + text
    if last[4:8] != b"IEND":  # a copy of a file that has other bytes behind it, or lacks it
        end, last = end + len(last), b""
    file.seek(end)
    file.write(struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + last)


def _jpeg(file: BinaryIO, text: bytes) -> None:
    """A comment after the application's segments, which readers expect first; before a list of further pictures, so
    that it stays true in a copy.
    """
    file.seek(2)
    at = 2
    while (segment := _jpeg_segment(file)) and segment[0] in APPLICATION:
        marker, length = segment
        if (marker, file.read(len(MPF[1]))) == MPF:
            break
        at = file.seek(at + 4 + length)
    comment = struct.pack(">BBH", 0xFF, COMMENT, len(text) + 2) + text
    for start in reversed(range(at, file.seek(0, os.SEEK_END), BLOCK)):
        file.seek(start)
        block = file.read(BLOCK)
        file.seek(start + len(comment))
        file.write(block)
    file.seek(at)
    file.write(comment)


def _jpeg_comments(file: BinaryIO) -> list[bytes]:
    """The comments before the picture. file: after SOI."""
    comments = []
    while (segment := _jpeg_segment(file)) and segment[0] != PICTURE_BEGINS:
        marker, length = segment
        if marker == COMMENT:
            comments.append(file.read(length))
        else:
            file.seek(length, os.SEEK_CUR)
    return comments


def _jpeg_segment(file: BinaryIO) -> tuple[int, int] | None:
    """The marker of the segment that begins here and how many bytes follow; None: there is none."""
    header = file.read(4)
    if len(header) < 4 or header[0] != 0xFF:
        return None
    _, marker, length = struct.unpack(">BBH", header)
    return marker, length - 2


def _webp(file: BinaryIO, text: bytes) -> None:
    """A chunk of its own at the end of RIFF; WebP's readers must ignore chunks that they do not know."""
    chunk = b"FSRC" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    file.seek(4)
    (size,) = struct.unpack("<I", file.read(4))
    end = file.seek(0, os.SEEK_END)
    file.write(chunk)
    if size + 8 == end:  # not so in a copy of a file that has other bytes behind RIFF, where they may stay
        file.seek(4)
        file.write(struct.pack("<I", size + len(chunk)))


def _bmp(file: BinaryIO, text: bytes) -> None:
    """After the pixels, inside the size of the file that the header says."""
    _at_the_end(file, text)
    size = file.tell()
    file.seek(2)
    file.write(struct.pack("<I", size))


# --- videos: what their formats have for filling up ---


def _unit(make: Callable[[bytes], bytes]) -> Callable[[BinaryIO, bytes], None]:
    return lambda file, text: _at_the_end(file, make(text))


def _transport_stream(file: BinaryIO, text: bytes) -> None:
    """A null packet, PID 0x1FFF."""
    extra = b"" if file.read(1)[0] == IS_TS else b"\0" * (M2TS_PACKET - TS_PACKET)
    _at_the_end(file, extra + struct.pack(">BHB", IS_TS, 0x1FFF, 0x10) + text.rjust(TS_PACKET - 4, b"\xff"))


def _matroska(file: BinaryIO, text: bytes) -> None:
    """A Void element at the end of the segment; RFC 8794, 11.3.2. Its size has eight bytes, as FFmpeg writes it."""
    void = bytes([0xEC, 0x80 | len(text)]) + text
    head = file.read(TAIL)
    _at_the_end(file, void)
    segment = re.search(rb"\x18\x53\x80\x67(\x01.{7})", head, re.DOTALL)
    if segment and segment[1][1:] != b"\xff" * 7:  # which stands for an unknown size
        file.seek(segment.start(1))
        file.write((int.from_bytes(segment[1], "big") + len(void)).to_bytes(8, "big"))


def _flash_tag(text: bytes) -> bytes:
    """A tag of a type that is none. Adobe Flash Video File Format Specification 10.1, annex E."""
    tag = b"\x0f" + len(text).to_bytes(3, "big") + bytes(7) + text
    return tag + struct.pack(">I", len(tag))


_mp4 = _unit(lambda text: struct.pack(">I", len(text) + 8) + b"free" + text)  # a box; ISO/IEC 14496-12, 8.1.2
_avi = _unit(lambda text: b"JUNK" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2))
_program_stream = _unit(lambda text: b"\0\0\1\xbe" + struct.pack(">H", len(text)) + text)  # ISO/IEC 13818-1, 2.4.3.7

MARKS: dict[str, Callable[[BinaryIO, bytes], None]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _jpeg),
    ".png": _png,
    ".webp": _webp,
    ".bmp": _bmp,
    **dict.fromkeys((".mp4", ".m4v", ".mov"), _mp4),
    **dict.fromkeys((".mkv", ".webm"), _matroska),
    ".avi": _avi,
    **dict.fromkeys((".ts", ".m2ts", ".mts"), _transport_stream),
    **dict.fromkeys((".mpg", ".mpeg"), _program_stream),
    ".flv": _unit(_flash_tag),
}

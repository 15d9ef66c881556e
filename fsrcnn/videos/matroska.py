"""The display size of a finished Matroska or WebM file, by which pixels are other than square.

FFmpeg's muxer writes it from a field that PyAV cannot set. So the video's track gets a title that is longer than its
own while the file is written (`reserved`), and its entry is laid out anew in the bytes that are there once it is whole.

Elements as in RFC 9559; identifiers and sizes of variable length as in RFC 8794, 4 and 5.
"""

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from fsrcnn.errors import FailureError

SEGMENT, TRACKS, CRC32, VOID = 0x18538067, 0x1654AE6B, 0xBF, 0xEC
TRACK_ENTRY, NAME, VIDEO = 0xAE, 0x536E, 0xE0
DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT = 0x54B0, 0x54BA, 0x54B2
AS_RATIO = 3  # the unit
RESERVE = "\u2007" * 12  # 36 bytes: more than two sizes, their headers and a filler need


def reserved(title: str) -> str:
    """The title to write a track with, whose display size is to be set."""
    return title + RESERVE


def set_display_size(path: Path, width: int, height: int, sample_aspect_ratio: Fraction) -> None:
    """Gives the track whose title was `reserved` the size that it is shown in, and its own title back. Raises
    FailureError if there is no such track.
    """
    shown = _display_size(width, height, sample_aspect_ratio, is_webm=path.suffix.lower() == ".webm")
    with path.open("r+b") as file:
        start, length = _tracks(file, path)
        file.seek(start)
        laid_out = _with_display_size(file.read(length), shown)
        if laid_out is None:
            raise FailureError(f"{path}: has no room for the shape of its pixels; choose .mp4")
        file.seek(start)
        file.write(laid_out)


def _display_size(width: int, height: int, sample_aspect_ratio: Fraction, is_webm: bool) -> dict[int, int]:
    """The elements that say the size. In pixels: one side is stretched, so that nothing is shown smaller than it is. If
    that is not a whole number: as a ratio; in WebM, which has pixels alone, with the side changed that tells it better.
    """
    ratio = width * sample_aspect_ratio / height
    across = max(1, round(width * sample_aspect_ratio)), height
    down = width, max(1, round(height / sample_aspect_ratio))
    larger, smaller = (across, down) if sample_aspect_ratio > 1 else (down, across)
    if is_webm:
        larger = min((larger, smaller), key=lambda sides: abs(Fraction(*sides) / ratio - 1))
    if is_webm or Fraction(*larger) == ratio:
        return {DISPLAY_WIDTH: larger[0], DISPLAY_HEIGHT: larger[1]}
    return {DISPLAY_WIDTH: ratio.numerator, DISPLAY_HEIGHT: ratio.denominator, DISPLAY_UNIT: AS_RATIO}


def _with_display_size(tracks: bytes, shown: dict[int, int]) -> bytes | None:
    """The content of Tracks with the display size in it, as many bytes; None: no track is reserved."""
    entries = [(kind, content) for kind, content in _elements(tracks) if kind not in (CRC32, VOID)]
    found = False
    for number, (kind, content) in enumerate(entries):
        if kind == TRACK_ENTRY and RESERVE.encode() in content:
            entries[number], found = (kind, _shown_entry(content, shown)), True
    body = b"".join(_element(kind, content) for kind, content in entries)
    checked = len(_element(CRC32, bytes(4)))
    room = len(tracks) - checked - len(body)
    if not found or room < 0 or room == 1:
        return None
    body += _void(room) if room else b""
    return _element(CRC32, zlib.crc32(body).to_bytes(4, "little")) + body


def _shown_entry(entry: bytes, shown: dict[int, int]) -> bytes:
    """The track's entry without the reserve, with the display size."""
    parts = []
    for kind, content in _elements(entry):
        if kind == NAME:
            content = content.removesuffix(RESERVE.encode())
        if kind == VIDEO:
            kept = [e for e in _elements(content) if e[0] not in (DISPLAY_WIDTH, DISPLAY_HEIGHT, DISPLAY_UNIT)]
            kept += [(name, size.to_bytes(-(-size.bit_length() // 8), "big")) for name, size in shown.items()]
            content = b"".join(_element(name, each) for name, each in kept)
        if kind != VOID and (kind != NAME or content):
            parts.append(_element(kind, content))
    return b"".join(parts)


# --- elements ---


def _tracks(file: BinaryIO, path: Path) -> tuple[int, int]:
    """Where the content of Tracks starts, and its length. file: at its start."""
    while head := file.read(12):
        kind, size, used = _header(head)
        at = file.seek(used - len(head), 1)
        if kind == TRACKS:
            return at, size
        if kind != SEGMENT:
            file.seek(size, 1)
    raise FailureError(f"{path}: Matroska's Tracks are not there")


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The identifier and content of each element."""
    at = 0
    while at < len(content):
        kind, size, used = _header(content[at : at + 12])
        yield kind, content[at + used : at + used + size]
        at += used + size


def _header(data: bytes) -> tuple[int, int, int]:
    """An element's identifier, the size of its content, and how many bytes say these."""
    name = 9 - data[0].bit_length()
    size = 9 - data[name].bit_length()
    number = int.from_bytes(data[name : name + size], "big") & (1 << 7 * size) - 1
    return int.from_bytes(data[:name], "big"), number, name + size


def _element(kind: int, content: bytes) -> bytes:
    name = kind.to_bytes(-(-kind.bit_length() // 8), "big")
    size = next(n for n in range(1, 9) if len(content) < (1 << 7 * n) - 1)
    return name + (len(content) | 1 << 7 * size).to_bytes(size, "big") + content


def _void(length: int) -> bytes:
    """A filler of so many bytes, two or more."""
    size = 1 if length < 100 else 8
    return b"\xec" + ((length - 1 - size) | 1 << 7 * size).to_bytes(size, "big") + bytes(length - 1 - size)

"""What is wrong with a picture file: whether a JPEG is whole, and why a decoder gives up.

JPEG has no checksum, and its decoders fill what is missing with grey and go on. libjpeg-turbo warns where its data make
no sense; the first warning is what simplejpeg's strict mode raises. libvips misses some and refuses harmless ones.
Damage that leaves another valid file cannot be found.
"""

import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import simplejpeg

from fsrcnn.pictures.containers import EOI, PNG, PROGRESSIVE, SOF, SOS, Content, Part, jpeg_parts, mapped

END = b"\xff\xd9"
METADATA = {*range(0xE0, 0xF0), 0xFE}  # markers of segments that no pixel depends on: APP0 to APP15, COM
COEFFICIENTS = 64  # of a block
SEQUENTIAL = {0xC0, 0xC1}  # of SOF's markers, with Huffman codes
DHT = 0xC4  # marker of tables of Huffman codes
APP2, MPF_HEAD = 0xE2, b"MPF\0"  # marker, and head, of the list of further pictures
FILL = b"\0\xff"  # bytes that disks and cameras fill up with
SAMSUNG_END, SAMSUNG_FILM = b"SEFT", b"MotionPhoto_Data"
READ_AHEAD = 8  # bytes that libjpeg-turbo may have read and does not count as left over
HOLE = bytes(32)  # in compressed pixels: a part of the file that was not written, unless zeros mean flat blocks

# libjpeg-turbo's warnings behind which there may be worse, and which a copy without their cause is free of.
MENDABLE = re.compile("Premature end of JPEG file|extraneous bytes|bad ICC|unknown JFIF|Unknown Adobe")
UNCHECKED = "Could not determine subsampling"
BEFORE_END = re.compile("([0-9]+) extraneous bytes before marker 0xd9")

UNKNOWN = "its content is damaged, or of a kind that is not supported"
JPEG, GIF_END = b"\xff\xd8", b";"
# How files begin that are taken for pictures, and what they are.
OTHERS = {
    rb".{4}ftyp(.{4}){0,6}(hei[cx]|hevc|heim|heis)": "HEIC",
    rb"\s*<(!doctype|html|\?xml|svg)": "a page or drawing in XML or HTML",
    rb"\0\0\0\x0cJXL |\xff\x0a": "JPEG XL",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "JPEG 2000",
    rb"%PDF": "a PDF",
    rb"\0\x05\x16\x07": "what macOS keeps beside a file",
}


class Damage(NamedTuple):
    """What is wrong with a JPEG file, in words. lost: the picture is not whole. doubtful: it may have wrong pixels.
    harmless: the file is not as it should be, the picture is. checked: simplejpeg takes its sampling of chroma.
    """

    lost: str | None = None
    doubtful: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    checked: bool = True


def jpeg_damage(path: Path) -> Damage:
    """What is wrong with a JPEG file. Raises OSError if it cannot be read."""
    with mapped(path) as content:
        return content_damage(content)


def content_damage(content: Content) -> Damage:
    """What is wrong with the content of a JPEG file."""
    parts = list(jpeg_parts(content))
    ended, missing = bool(parts) and parts[-1].marker == EOI, _missing_scans(content, parts)
    lost, doubtful, harmless = _warning(content), list[str](), list[str]()
    if not ended:
        harmless.append("the file lacks its end marker; the picture is whole")
    elif after := _foreign_after(content, parts):
        harmless.append(f"{after} bytes after the end of the picture are no part of it")
    if lost and UNCHECKED in lost and not missing and any(part.marker == SOS for part in parts):
        return Damage(None, (), ("its rare sampling of chroma was not checked for damage",), checked=False)
    if lost and MENDABLE.search(lost):
        first, mended = lost, _mended(content, parts, ended)
        lost = _warning(mended)
        if lost and (left_over := BEFORE_END.search(lost)):
            lost, doubt = _left_over(mended, int(left_over[1]))
            doubtful += [doubt] if doubt else []
        elif ended:
            harmless.append(f"the file has bytes that belong to nothing; the picture is whole ({_short(first)})")
    if not lost and _has_hole(content, parts):
        lost = f"{len(HOLE)} zeros and more in place of pixels"
    if missing:
        lost, doubtful = (lost, [*doubtful, missing]) if ended else (lost or missing, doubtful)
    return Damage(lost and _short(lost), tuple(doubtful), () if lost else tuple(harmless))


def jpeg_faults(content: Content) -> tuple[str, ...]:
    """Why pixels of a JPEG file's content are lost or may be wrong, in words; none, also of other formats."""
    if content[: len(JPEG)] != JPEG:
        return ()
    lost, doubtful, *_ = content_damage(content)
    return (lost, *doubtful) if lost else doubtful


def _warning(content: Content) -> str | None:
    """libjpeg-turbo's first warning, or its error; None: there is none."""
    try:
        # Of an eighth of the height, and grey: all that is compressed is read, and little is computed.
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except (ValueError, RuntimeError, MemoryError) as error:
        return str(error) or type(error).__name__
    return None


def _short(warning: str) -> str:
    return re.sub(r"^(Corrupt JPEG data|tj\w+\(\)): ", "", warning)


def _mended(content: Content, parts: list[Part], ended: bool) -> bytes:
    """The file without what lies between the segments before its pixels, or is metadata, and with an end marker."""
    scan = next((part.at for part in parts if part.marker == SOS), len(content))
    kept = [content[part.at : part.stop] for part in parts if part.at < scan and part.marker not in METADATA]
    stop = parts[-1].at if ended else len(content)
    return b"".join([*kept, content[scan:stop], END])


def _left_over(content: bytes, size: int) -> tuple[str | None, str | None]:
    """What it means that about `size` bytes before the end marker were not decoded though every pixel was: that the
    picture is lost, or else doubtful, in words.
    """
    pixels = content[_scan_start(content) : -len(END)]
    filled = len(pixels) - len(pixels.rstrip(pixels[-1:]))
    if filled > size + READ_AHEAD:
        return f"{filled} equal bytes, in place of pixels", None
    return None, f"{size} bytes are left over behind the last pixel: pixels may be wrong"


def _has_hole(content: Content, parts: list[Part]) -> bool:
    """Whether the pixels, in one scan, have zeros that no encoder writes.

    Bits of zeros are the first code of each table in turn. They make flat blocks if it means "no difference" and "end
    of block"; else blocks of one repeated coefficient, more than one of which is not to be had.
    """
    frame = next((part for part in parts if part.marker in SOF), None)
    scan = next((part for part in parts if part.marker == SOS), None)
    if frame is None or scan is None or frame.marker not in SEQUENTIAL or scan.start == scan.stop:
        return False
    is_flat, first_table = True, 17  # of a table: its number, how many codes have 1 to 16 bits, and what these mean
    for part in parts:
        at = part.start
        while part.marker == DHT and part.at < scan.at and at + first_table < part.stop:
            is_flat = is_flat and content[at + first_table] == 0
            at += first_table + sum(content[at + 1 : at + first_table])
    one_scan = content[scan.start] == content[frame.start + 5]
    stop = parts[-1].at if parts[-1].marker == EOI else len(content)
    return one_scan and not is_flat and content.find(HOLE, scan.stop, stop) >= 0


def _scan_start(content: bytes) -> int:
    return next(part.stop for part in jpeg_parts(content) if part.marker == SOS)


def _foreign_after(content: Content, parts: list[Part]) -> int:
    """How many bytes follow the end marker that a user should know of: not those that only fill, nor pictures that the
    file itself lists (MPF), of which metadata_reading.py tells, nor what Samsung's phones note behind every picture.
    """
    if any(part.marker == APP2 and content[part.start : part.start + len(MPF_HEAD)] == MPF_HEAD for part in parts):
        return 0
    after = content[parts[-1].stop :]
    is_note = after.endswith(SAMSUNG_END) and SAMSUNG_FILM not in after
    return 0 if is_note or not after.strip(FILL) else len(after)


def _missing_scans(content: Content, parts: list[Part]) -> str | None:
    """That a component of the picture, or some precision of it, is in none of the scans, in words; None: all are there.

    Source: ITU-T T.81, B.2.2 and B.2.3 (headers of frames and scans), G.1.1.1 (progressive scans).
    """
    frame = next((part for part in parts if part.marker in SOF), None)
    if frame is None:
        return None
    header = content[frame.start : frame.stop]
    progressive = frame.marker in PROGRESSIVE
    # For each component the bits of each coefficient that are still missing; all: 255.
    left = {identifier: bytearray(b"\xff" * COEFFICIENTS) for identifier in header[6::3]}
    for part in parts:
        scan = content[part.start : part.stop]
        if part.marker != SOS or len(scan) < 4 or len(scan) != 4 + 2 * scan[0]:
            continue
        first, last, precision = (scan[-3], scan[-2], scan[-1] & 15) if progressive else (0, COEFFICIENTS - 1, 0)
        for identifier in scan[1:-3:2]:
            if identifier in left:
                for each in range(first, min(last, COEFFICIENTS - 1) + 1):
                    left[identifier][each] = precision
    if any(map(any, left.values())):
        return "scans of the picture are missing: it lacks detail or colour"
    return None


def why_unreadable(path: Path) -> str:
    """Why no decoder reads a picture file, in words of its own structure. libvips' words may be of another thread's
    file, as it keeps one text of errors for the whole process.
    """
    with mapped(path) as content:
        for start, what in OTHERS.items():
            if re.match(start, content, re.DOTALL | re.IGNORECASE):
                return f"it is {what}, which is not read; convert it"
        if content[:2] == JPEG:
            return content_damage(content).lost or UNKNOWN
        if content[:8] == PNG:
            return _png_fault(content) or UNKNOWN
        if content[:4] == b"RIFF":
            return _cut(content, 8 + int.from_bytes(content[4:8], "little"))
        if content[:4] == b"GIF8":
            return UNKNOWN if content[-1:] == GIF_END else "its end is missing"
        if content[:2] == b"BM":
            return _cut(content, int.from_bytes(content[2:6], "little"))
        if content[4:8] == b"ftyp":
            return _cut(content, _boxes_end(content))
    return UNKNOWN


def _png_fault(content: Content) -> str | None:
    at = len(PNG)
    while at + 12 <= len(content):
        size, type_ = struct.unpack(">I4s", content[at : at + 8])
        stop = at + 8 + size
        if stop + 4 > len(content):
            break
        if zlib.crc32(content[at + 4 : stop]) != int.from_bytes(content[stop : stop + 4], "big"):
            return f"the checksum of a chunk {type_.decode('latin1')!r} is wrong"
        if type_ == b"IEND":
            return None
        at = stop + 4
    return "its end is missing"


def _boxes_end(content: Content) -> int:
    """Where an ISO media file should end, by the sizes of its boxes."""
    at = 0
    while at + 8 <= len(content) and (size := int.from_bytes(content[at : at + 4], "big")) >= 8:
        at += size
    return at


def _cut(content: Content, size: int) -> str:
    return f"{size - len(content)} of its {size} bytes are missing" if size > len(content) else UNKNOWN

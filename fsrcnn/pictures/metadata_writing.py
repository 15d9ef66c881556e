"""What belongs to a picture put into the file that a library has written of its pixels, by each format's structure.

Each function returns what the format cannot hold, as a list of names.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from isal import isal_zlib

from fsrcnn.pictures import exif
from fsrcnn.pictures.exif import Directory, Field
from fsrcnn.pictures.metadata import Metadata, Resolution, Text
from fsrcnn.pictures.metadata_reading import (
    APP0,
    APP1,
    APP2,
    APP13,
    APP14,
    COM,
    EXIF_HEAD,
    ICC_HEAD,
    IPTC,
    PHOTOSHOP_HEAD,
    XMP_HEAD,
    XMP_KEYWORD,
)
from fsrcnn.pictures.profiles import is_like_srgb, profile_for

MOST_SEGMENT = 2**16 - 3  # bytes of a JPEG segment's payload
BLOCK = 2**20  # bytes that are moved at once
EXIF_TAGS = {  # that PNG's texts become where a format has no texts of its own; the first of a tag counts
    "Description": exif.IMAGE_DESCRIPTION,
    "Comment": exif.IMAGE_DESCRIPTION,
    "Title": exif.DOCUMENT_NAME,
    "Author": exif.ARTIST,
    "Copyright": exif.COPYRIGHT,
    "Software": exif.SOFTWARE,
}
UNMISSED = ("Software", "Creation Time", "date:")  # texts of programs


def embed(path: Path, format_name: str, metadata: Metadata, grey: bool) -> list[str]:
    """Adds the metadata to a file without any, but PNG's, which come first."""
    profile, is_whole = profile_for(metadata.colours, grey)
    lost = [] if is_whole else ["the tags of its colours (cICP)"]
    return lost + EMBEDDING[format_name](path, metadata, profile)


# --- PNG ---


def png_chunks_of(metadata: Metadata) -> bytes:
    """The chunks that belong between PNG's header and its pixels."""
    colours, chunks = metadata.colours, []
    if colours.cicp:
        chunks.append((b"cICP", bytes([colours.cicp.primaries, colours.cicp.transfer, 0, colours.cicp.full])))
    chunks += colours.high_range.items()
    if colours.icc is not None:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(colours.icc)))
    elif colours.srgb is not None:
        chunks.append((b"sRGB", colours.srgb))
    if colours.gamma is not None:
        chunks.append((b"gAMA", struct.pack(">I", colours.gamma)))
    if colours.chromaticities is not None:
        chunks.append((b"cHRM", struct.pack(">8I", *colours.chromaticities)))
    if metadata.resolution:
        chunks.append((b"pHYs", _physical(metadata.resolution)))
    if metadata.exif is not None:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp is not None:
        chunks.append((b"iTXt", XMP_KEYWORD.encode() + bytes(5) + metadata.xmp))
    chunks += [text.chunk or _text_chunk(text) for text in metadata.texts]
    return b"".join(png_chunk(*chunk) for chunk in chunks)


def lost_in_png(metadata: Metadata) -> list[str]:
    return ["IPTC"] if metadata.iptc is not None else []


def png_chunk(type_: bytes, content: bytes) -> bytes:
    checksum = isal_zlib.crc32(content, isal_zlib.crc32(type_))
    return struct.pack(">I", len(content)) + type_ + content + struct.pack(">I", checksum)


def _physical(resolution: Resolution) -> bytes:
    """The content of PNG's pHYs."""
    if metres := resolution.per("m"):
        return struct.pack(">IIB", *(min(round(each), 2**31 - 1) for each in metres), 1)
    ratio = (resolution.x / resolution.y).limit_denominator(2**15)
    return struct.pack(">IIB", min(ratio.numerator, 2**31 - 1), ratio.denominator, 0)


def _text_chunk(text: Text) -> tuple[bytes, bytes]:
    try:
        return b"tEXt", text.keyword.encode("latin-1") + b"\0" + text.text.encode("latin-1")
    except UnicodeEncodeError:
        return b"iTXt", text.keyword.encode("latin-1") + bytes(5) + text.text.encode()


# --- JPEG ---


def _into_jpeg(path: Path, metadata: Metadata, profile: bytes | None) -> list[str]:
    """Before all else in the file, JFIF's head first, which is not for CMYK."""
    lost, segments = [], b""
    with path.open("rb+") as file:
        is_cmyk = file.read(4)[2:] == bytes([0xFF, APP14])  # Adobe's, which says how CMYK is meant
        if not is_cmyk:
            segments += segment(APP0, b"JFIF\0\1\1" + _density(metadata.resolution) + b"\0\0")
        block = metadata.exif
        if block is None and is_cmyk and metadata.resolution and metadata.resolution.unit:
            block = exif.written_exif(Directory(_resolution_fields(metadata.resolution)))
        iptc = None if metadata.iptc is None else _as_resource(metadata.iptc)
        for what, marker, head, content in (
            ("EXIF", APP1, EXIF_HEAD, block),
            ("XMP", APP1, XMP_HEAD, metadata.xmp),
            ("IPTC", APP13, PHOTOSHOP_HEAD, iptc),
        ):
            if content is not None and len(head + content) > MOST_SEGMENT:
                lost.append(what)
            elif content is not None:
                segments += segment(marker, head + content)
        parts = list(_parts(profile or b"", MOST_SEGMENT - len(ICC_HEAD) - 2))
        if len(parts) > 255:
            lost.append("the colour profile")
        else:
            heads = (ICC_HEAD + bytes([number, len(parts)]) for number in range(1, len(parts) + 1))
            segments += b"".join(segment(APP2, head + part) for head, part in zip(heads, parts, strict=True))
        for text in metadata.texts:
            content = (text.text if text.keyword == "Comment" else f"{text.keyword}: {text.text}").encode()
            if len(content) > MOST_SEGMENT:
                lost.append(f"the text {text.keyword!r}")
            else:
                segments += segment(COM, content)
        _insert(file, 2, segments)
    return lost


def _density(resolution: Resolution | None) -> bytes:
    """Unit and numbers of pixels in JFIF; 0, 1, 1: not known."""
    if resolution is None:
        return struct.pack(">BHH", 0, 1, 1)
    if resolution.unit is None:
        ratio = (resolution.x / resolution.y).limit_denominator(2**8)
        return struct.pack(">BHH", 0, min(ratio.numerator, 2**16 - 1), ratio.denominator)
    unit = "cm" if resolution.unit == "cm" else "inch"
    x, y = (round(each) for each in resolution.per(unit) or ())
    if not (0 < x < 2**16 and 0 < y < 2**16):
        return struct.pack(">BHH", 0, 1, 1)
    return struct.pack(">BHH", 2 if unit == "cm" else 1, x, y)


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _as_resource(iptc: bytes) -> bytes:
    """IPTC's records as one of Photoshop's resources, without a name."""
    return b"8BIM" + struct.pack(">HHI", IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def _parts(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def _insert(file: BinaryIO, at: int, content: bytes) -> None:
    """Inserts bytes into a file, whose end moves block by block, the last one first."""
    file.seek(0, 2)
    stop = file.tell()
    while stop > at:
        start = max(at, stop - BLOCK)
        file.seek(start)
        block = file.read(stop - start)
        file.seek(start + len(content))
        file.write(block)
        stop = start
    file.seek(at)
    file.write(content)


# --- WebP ---


def _into_webp(path: Path, metadata: Metadata, profile: bytes | None) -> list[str]:
    """Into the extended format (RFC 9649, section 2.7), if there is anything."""
    block, lost = _exif_with_texts(metadata)
    if not (profile or block or metadata.xmp):
        return lost
    with path.open("rb+") as file:
        head = file.read(30)
        is_extended = head[12:16] == b"VP8X"
        flags = head[20] if is_extended else 0
        if head[12:16] == b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            sides, flags = [bits & 0x3FFF, bits >> 14 & 0x3FFF], bits >> 24 & 0x10  # less 1; alpha
        else:
            sides = [(int.from_bytes(head[at : at + 2], "little") & 0x3FFF) - 1 for at in (26, 28)]
        flags |= (0x20 if profile else 0) | (0x08 if block else 0) | (0x04 if metadata.xmp else 0)
        behind = _chunk_of(b"EXIF", block) + _chunk_of(b"XMP ", metadata.xmp)
        file.seek(0, 2)
        file.write(behind)
        if is_extended:
            file.seek(20)
            file.write(bytes([flags]))
            _insert(file, 30, _chunk_of(b"ICCP", profile))
        else:
            size = b"".join(side.to_bytes(3, "little") for side in sides)
            _insert(file, 12, _chunk_of(b"VP8X", bytes([flags, 0, 0, 0]) + size) + _chunk_of(b"ICCP", profile))
        file.seek(0, 2)
        nbytes = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", nbytes))
    return lost


def _chunk_of(type_: bytes, content: bytes | None) -> bytes:
    """A RIFF chunk; nothing where there is no content."""
    if content is None:
        return b""
    return type_ + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _exif_with_texts(metadata: Metadata) -> tuple[bytes | None, list[str]]:
    """EXIF, with texts and the resolution where it has none; and what is lost."""
    lost = ["IPTC"] if metadata.iptc is not None else []
    block = metadata.exif or exif.written_exif(Directory({}))
    there = exif.first_directory(block)[0].fields if metadata.exif else {}
    resolution = metadata.resolution
    fields = _resolution_fields(resolution) if resolution and resolution.unit and exif.X_RESOLUTION not in there else {}
    texts, left = _text_fields(metadata.texts, there)
    fields |= {tag: field for tag, field in texts.items() if tag not in there}
    return (exif.with_fields(block, fields) if fields else metadata.exif), lost + _names(left)


# --- TIFF ---


def _into_tiff(path: Path, metadata: Metadata, profile: bytes | None) -> list[str]:
    """A new directory behind all that is in the file, with the entries of the one that was written, and more."""
    lost, fields = [], {}
    with path.open("rb+") as file:
        head = file.read(16)
        order, big = exif.ORDERS[head[:2]], head[2:4] in (b"\x2b\0", b"\0\x2b")
        if metadata.exif is not None:
            directory, of_exif = exif.first_directory(metadata.exif)
            kept = {tag: directory.fields[tag] for tag in exif.KEPT_OF_TIFF if tag in directory.fields}
            fields = dict(exif.moved(Directory(kept), of_exif, order).fields)
            lost += ["the camera's own notes (MakerNote)"] if exif.has_maker_note(Directory(kept)) else []
        fields, left = _text_fields(metadata.texts, fields)
        lost += _names(left)
        for tag, content in ((exif.XMP, metadata.xmp), (exif.IPTC, metadata.iptc), (exif.ICC, profile)):
            if content is not None:
                fields[tag] = Field(exif.BYTE if tag == exif.XMP else exif.UNDEFINED, len(content), content)
        fields |= exif.moved(Directory(_resolution_fields(metadata.resolution)), "<", order).fields
        exif.add_to_first_directory(file, order, big, fields)
    return lost


# --- BMP ---


def _into_bmp(path: Path, metadata: Metadata, profile: bytes | None) -> list[str]:
    metres = metadata.resolution.per("m") if metadata.resolution else None
    with path.open("rb+") as file:
        file.seek(38)
        file.write(struct.pack("<ii", *(min(round(each), 2**31 - 1) for each in metres or (0, 0))))
    block = None if metadata.exif is None or exif.says_little(metadata.exif) else metadata.exif
    blocks = {"EXIF": block, "XMP": metadata.xmp, "IPTC": metadata.iptc}
    lost = [what for what, content in blocks.items() if content is not None]
    if profile is not None and not is_like_srgb(profile):
        lost.insert(0, "the colour profile")
    return lost + _names(metadata.texts)


# --- shared ---


def _names(texts: tuple[Text, ...]) -> list[str]:
    """How a message calls texts that are lost, but those that nobody misses."""
    return list(dict.fromkeys(f"the text {each.keyword!r}" for each in texts if not each.keyword.startswith(UNMISSED)))


def _text_fields(
    texts: tuple[Text, ...], fields: Mapping[int, Field | Directory]
) -> tuple[dict[int, Field | Directory], tuple[Text, ...]]:
    """The fields with those that hold texts, which are not there yet; and the texts that find no place."""
    fields, left = dict(fields), []
    for keyword, tag in EXIF_TAGS.items():
        for text in (each for each in texts if each.keyword == keyword):
            if tag not in fields:
                fields[tag] = exif.text_field(text.text)
            elif fields[tag] != exif.text_field(text.text):
                left.append(text)
    return fields, (*left, *(text for text in texts if text.keyword not in EXIF_TAGS))


def _resolution_fields(resolution: Resolution | None) -> dict[int, Field | Directory]:
    """TIFF's three tags, in the order "<"; without a unit where it is not known."""
    x, y, unit = resolution or (Fraction(1), Fraction(1), None)
    if unit == "m":
        x, y, unit = x / 100, y / 100, "cm"
    numbers = {exif.X_RESOLUTION: x, exif.Y_RESOLUTION: y}
    fields: dict[int, Field | Directory] = {
        tag: exif.number_field(exif.RATIONAL, *_of_32_bits(number)) for tag, number in numbers.items()
    }
    fields[exif.RESOLUTION_UNIT] = exif.number_field(exif.SHORT, {None: 1, "inch": 2, "cm": 3}[unit])
    return fields


def _of_32_bits(number: Fraction) -> tuple[int, int]:
    nearest = number.limit_denominator(10_000)
    return min(nearest.numerator, 2**32 - 1), nearest.denominator


EMBEDDING: dict[str, Callable[[Path, Metadata, bytes | None], list[str]]] = {
    "bmp": _into_bmp,
    "jpeg": _into_jpeg,
    "tiff": _into_tiff,
    "webp": _into_webp,
}

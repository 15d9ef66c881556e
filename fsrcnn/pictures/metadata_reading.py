"""What belongs to a picture found in its file, by the file's own structure: nothing that a library makes up."""

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyvips

from fsrcnn.pictures import containers, exif
from fsrcnn.pictures.avif import number_colours
from fsrcnn.pictures.containers import jpeg_segments, mapped, png_chunks, riff_chunks
from fsrcnn.pictures.exif import DamagedError, Directory, Field
from fsrcnn.pictures.metadata import Metadata, Text, resolution_in, resolution_of
from fsrcnn.pictures.profiles import Cicp, Colours, are_possible
from fsrcnn.pictures.samples import left_out_channels
from fsrcnn.stamp import STAMP

MOST_TEXT = 2**23  # bytes of all of a file's texts
MOST = containers.MOST  # bytes of anything else
MOST_SEGMENTS = 2**26  # bytes of what a JPEG has before its pixels
MOST_TEXTS = 1000  # as libpng takes
MOST_NAMES = 3  # in a message
HIGH_RANGE = {b"mDCV": 24, b"cLLI": 8}  # bytes of PNG's chunks

EXIF_HEAD, XMP_HEAD, EXTENDED_XMP_HEAD = (
    b"Exif\0\0",
    b"http://ns.adobe.com/xap/1.0/\0",
    b"http://ns.adobe.com/xmp/extension/\0",
)
ICC_HEAD, MPF_HEAD, GAIN_MAP_HEAD = b"ICC_PROFILE\0", b"MPF\0", b"urn:iso:std:iso:ts:21496:-1\0"
PHOTOSHOP_HEAD = b"Photoshop 3.0\0"
XMP_KEYWORD = "XML:com.adobe.xmp"
GAIN_MAPS = (b"hdrgm:Version", b"HDRGainMap")  # what XMP says of one
MOTION = re.compile(rb":(?:MotionPhoto|MicroVideo)(?:\s*=\s*[\"']1|>\s*1)")  # in XMP
STALE_DESCRIPTIONS = (b'{"shape"', b"ImageJ=")  # by programs, of the samples
AVIF_FIELDS = ("icc-profile-data", "exif-data", "xmp-data")  # of libvips
GIF_XMP_TRAILER = 258  # bytes, which are no part of the packet
MP_ENTRY, PREVIEWS = 0xB002, {0x010001, 0x010002, 0x030000}  # of MPF: the tag; kinds that nobody misses
IPTC = 0x0404  # Photoshop's number of them
APP0, APP1, APP2, APP13, APP14, COM = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE

DAMAGED_PROFILE = "its colour profile is damaged and was left out"


def metadata_of(path: Path, name: str) -> Metadata:
    """What the picture file has beside its pixels. name: of its format."""
    found = READERS[name](path)
    texts = tuple(text for text in found.texts if not STAMP.fullmatch(text.text.encode()))  # the result gets its own
    return replace(found, texts=texts)


# --- PNG ---


def _in_png(path: Path) -> Metadata:
    found, refused = Metadata(), dict[str, None]()
    for type_, content in png_chunks(path):
        colours = found.colours
        match type_:
            case b"iCCP":
                icc = _inflated(content.partition(b"\0")[2][1:], MOST)
                if icc is None:
                    found = found.saying(DAMAGED_PROFILE)
                else:
                    found = replace(found, colours=replace(colours, icc=icc))
            case b"cICP" if len(content) == 4 and content[2] == 0:
                found = replace(found, colours=replace(colours, cicp=Cicp(content[0], content[1], content[3] == 1)))
            case b"mDCV" | b"cLLI" if len(content) == HIGH_RANGE[type_]:
                found = replace(found, colours=replace(colours, high_range={**colours.high_range, type_: content}))
            case b"sRGB" if len(content) == 1:
                found = replace(found, colours=replace(colours, srgb=content))
            case b"gAMA" if len(content) == 4 and any(content):
                found = replace(found, colours=replace(colours, gamma=int.from_bytes(content, "big")))
            case b"cHRM" if len(content) == 32 and are_possible(numbers := struct.unpack(">8I", content)):
                found = replace(found, colours=replace(colours, chromaticities=numbers))
            case b"pHYs" if len(content) == 9:
                x, y, unit = struct.unpack(">IIB", content)
                found = replace(found, resolution=resolution_of(x, y, "m" if unit == 1 else None))
            case b"eXIf":
                found = replace(found, exif=content.removeprefix(EXIF_HEAD))
            case b"tEXt" | b"zTXt" | b"iTXt":
                keyword = content[:80].partition(b"\0")[0].decode("latin-1")
                if with_text := _with_png_text(found, keyword, type_, content):
                    found = with_text
                elif len(refused) <= MOST_NAMES:
                    refused[keyword] = None
    if refused:
        names = ", ".join(map(repr, list(refused)[:MOST_NAMES])) + (" and others" if len(refused) > MOST_NAMES else "")
        found = found.saying(f"texts of it are damaged or too long, and were left out ({names})")
    return found


def _with_png_text(found: Metadata, keyword: str, type_: bytes, content: bytes) -> Metadata | None:
    """Adds a text of a PNG chunk, or what is written as text: XMP, and what ImageMagick calls raw profiles. None: it is
    damaged, or too long.
    """
    if len(found.texts) == MOST_TEXTS:
        return None
    there = sum(len(text.text) for text in found.texts)
    text = _png_text(type_, content, MOST if keyword == XMP_KEYWORD else max(MOST_TEXT - there, 0))
    if text is None:
        return None
    if keyword == XMP_KEYWORD:
        return replace(found, xmp=text.encode())
    raw = re.fullmatch(r"Raw profile type (\w+)", keyword)
    if raw and (data := _raw_profile(text)) is not None:
        return _with_raw_profile(found, raw[1].lower(), data)
    return replace(found, texts=(*found.texts, Text(keyword, text, (type_, content))))


def _png_text(type_: bytes, content: bytes, most: int) -> str | None:
    """The text of one of PNG's text chunks; None: it is damaged, or has more than `most` bytes."""
    _, _, rest = content.partition(b"\0")
    data: bytes | None = rest
    if type_ == b"zTXt":
        data = _inflated(rest[1:], most)
    elif type_ == b"iTXt":
        parts = rest[2:].split(b"\0", 2)  # after whether it is compressed and how: language, keyword translated, text
        data = parts[2] if len(parts) == 3 else None
        if data is not None and rest[0]:
            data = _inflated(data, most)
    if data is None or len(data) > most or len(content) > most:
        return None
    return data.decode("utf-8" if type_ == b"iTXt" else "latin-1", "replace")


def _raw_profile(text: str) -> bytes | None:
    """The bytes that ImageMagick writes in hexadecimal after a name and their number."""
    parts = text.split(maxsplit=2)
    try:
        return bytes.fromhex("".join(parts[2].split()))
    except (IndexError, ValueError):
        return None


def _with_raw_profile(found: Metadata, kind: str, data: bytes) -> Metadata:
    """Adds what a PNG file has as a text, if it does not have it otherwise."""
    if kind in ("exif", "app1") and data.startswith(EXIF_HEAD):
        return replace(found, exif=found.exif or data.removeprefix(EXIF_HEAD))
    if kind in ("xmp", "app1"):
        return replace(found, xmp=found.xmp or data.removeprefix(XMP_HEAD))
    if kind == "iptc":
        return replace(found, iptc=found.iptc or _iptc_in(data) or data)
    if kind in ("icc", "icm"):
        return replace(found, colours=replace(found.colours, icc=found.colours.icc or data))
    return found


def _inflated(content: bytes, most: int) -> bytes | None:
    """Decompressed; None: it is damaged, or has more than `most` bytes."""
    inflating = zlib.decompressobj()
    try:
        inflated = inflating.decompress(content, most + 1)
    except zlib.error:
        return None
    return inflated if inflating.eof and len(inflated) <= most else None


# --- JPEG ---


def _in_jpeg(path: Path) -> Metadata:
    with mapped(path) as content:
        segments = _up_to(jpeg_segments(content), MOST_SEGMENTS)
        found = _of_segments(segments)
        others = any(_is_of_several(payload) for payload in _payloads(segments, APP2, MPF_HEAD))
        has_gain_map = (
            any(_payloads(segments, APP2, GAIN_MAP_HEAD))
            or any(each in (found.xmp or b"") for each in GAIN_MAPS)
            or (others and any(content.find(each) >= 0 for each in GAIN_MAPS))
        )
    if has_gain_map:
        found = found.saying("the result is without the HDR gain map")
    elif others:
        found = found.saying("the result is without the file's other pictures")
    if found.xmp is not None and MOTION.search(found.xmp):
        found = found.saying("the result is without the film that follows the picture")
    return found


def _of_segments(segments: list[tuple[int, bytes]]) -> Metadata:
    """What JPEG's segments before the pixels hold."""
    found = Metadata()
    for jfif in _payloads(segments, APP0, b"JFIF\0"):
        if len(jfif) >= 7:
            unit, x, y = struct.unpack_from(">BHH", jfif, 2)
            found = replace(found, resolution=resolution_of(x, y, {1: "inch", 2: "cm"}.get(unit)))
        break
    comments = _up_to((each for each in segments if each[0] == COM), MOST_TEXT)[:MOST_TEXTS]
    found = replace(
        found,
        exif=next(_payloads(segments, APP1, EXIF_HEAD), None),
        xmp=next(_payloads(segments, APP1, XMP_HEAD), None),
        iptc=_iptc_in(b"".join(_payloads(segments, APP13, PHOTOSHOP_HEAD))),
        texts=tuple(Text("Comment", text) for text in map(_comment, _payloads(comments, COM, b"")) if text),
    )
    if any(_payloads(segments, APP1, EXTENDED_XMP_HEAD)):
        found = found.saying("the result is without the extended XMP")
    if parts := sorted(_payloads(segments, APP2, ICC_HEAD)):
        numbers = [part[:2] for part in parts]
        if numbers != [bytes([number, len(parts)]) for number in range(1, len(parts) + 1)]:
            return found.saying(DAMAGED_PROFILE)
        found = replace(found, colours=Colours(icc=b"".join(part[2:] for part in parts)))
    return found


def _up_to(segments: Iterable[tuple[int, bytes]], most: int) -> list[tuple[int, bytes]]:
    """The segments from the first, as far as they have no more than `most` bytes together."""
    taken: list[tuple[int, bytes]] = []
    for segment in segments:
        most -= len(segment[1]) + 4  # with its marker and length
        if most < 0:
            break
        taken.append(segment)
    return taken


def _payloads(segments: list[tuple[int, bytes]], wanted: int, head: bytes) -> Iterator[bytes]:
    """What follows the head in the segments of the marker that begin with it."""
    for marker, payload in segments:
        if marker == wanted and payload.startswith(head):
            yield payload[len(head) :]


def _comment(content: bytes) -> str:
    content = content.strip(b"\0")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _is_of_several(mpf: bytes) -> bool:
    """Whether a file has other pictures than the one and previews of it (CIPA DC-007, section 5.2.3)."""
    try:
        directory, order = exif.first_directory(mpf)
    except DamagedError:
        return False
    entries = directory.fields.get(MP_ENTRY)
    if not isinstance(entries, Field):
        return False
    kinds = [
        kind & 0xFFFFFF
        for kind, *_ in struct.iter_unpack(order + "I12x", entries.content[: len(entries.content) // 16 * 16])
    ]
    return any(kind not in PREVIEWS for kind in kinds[1:])


def _iptc_in(resources: bytes) -> bytes | None:
    """IPTC's records among Photoshop's resources."""
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        number, name = struct.unpack_from(">HB", resources, at + 4)
        at += 6 + (name + 2) // 2 * 2
        size = int.from_bytes(resources[at : at + 4], "big")
        if number == IPTC:
            return resources[at + 4 : at + 4 + size] or None
        at += 4 + (size + 1) // 2 * 2
    return None


# --- TIFF ---


def _in_tiff(path: Path) -> Metadata:
    found = Metadata()
    with mapped(path) as content:
        try:
            directory, order = exif.first_directory(content)
        except DamagedError:
            return found
    texts = {tag: directory.fields[tag] for tag in exif.KEPT_OF_TIFF if tag in directory.fields}
    description = texts.get(exif.IMAGE_DESCRIPTION)
    if isinstance(description, Field) and description.content.startswith(STALE_DESCRIPTIONS):
        del texts[exif.IMAGE_DESCRIPTION]
    if texts:
        moved = exif.moved(Directory(texts), order)
        found = replace(found, exif=exif.written_exif(moved))
        if exif.has_maker_note(Directory(texts)):
            found = found.saying("the result is without the camera's own notes (MakerNote)")
    iptc = _bytes_of(directory, exif.IPTC) or _iptc_in(_bytes_of(directory, exif.PHOTOSHOP) or b"")
    found = replace(
        found,
        colours=Colours(icc=_bytes_of(directory, exif.ICC)),
        xmp=_bytes_of(directory, exif.XMP),
        iptc=iptc,
        resolution=resolution_in(directory, order),
    )
    if many := left_out_channels(path):
        what = "a channel that is" if many == 1 else f"{many} channels that are"
        found = found.saying(f"the result is without {what} neither colour nor transparency")
    return found


def _bytes_of(directory: Directory, tag: int) -> bytes | None:
    field = directory.fields.get(tag)
    return field.content if isinstance(field, Field) else None


# --- the others ---


def _in_webp(path: Path) -> Metadata:
    chunks: dict[bytes, bytes] = {}
    for type_, content in riff_chunks(path):
        if type_ in (b"ICCP", b"EXIF", b"XMP "):
            chunks.setdefault(type_, content)
    block = chunks.get(b"EXIF")
    colours = Colours(icc=chunks.get(b"ICCP"))
    return Metadata(colours, block and block.removeprefix(EXIF_HEAD), chunks.get(b"XMP "))


def _in_gif(path: Path) -> Metadata:
    """What stands before the first picture."""
    with path.open("rb") as file:
        content = file.read(MOST)
    found, at = Metadata(), 13 + (3 << (content[10] & 7) + 1 if len(content) > 10 and content[10] & 0x80 else 0)
    while content[at : at + 1] == b"!" and at + 2 < len(content):
        label, start = content[at + 1], at + 2
        blocks, at = _sub_blocks(content, start)
        if label == 0xFE and any(blocks):
            found = replace(found, texts=(*found.texts, Text("Comment", _comment(b"".join(blocks)))))
        elif label == 0xFF and blocks[:1] == [b"XMP DataXMP"]:
            found = replace(found, xmp=content[start + 12 : at - GIF_XMP_TRAILER])
        elif label == 0xFF and blocks[:1] == [b"ICCRGBG1012"]:
            found = replace(found, colours=Colours(icc=b"".join(blocks[1:])))
    return found


def _sub_blocks(content: bytes, at: int) -> tuple[list[bytes], int]:
    """GIF's blocks of up to 255 bytes, and where the empty one after them ends."""
    blocks = []
    while at < len(content) and (size := content[at]):
        blocks.append(content[at + 1 : at + 1 + size])
        at += 1 + size
    return blocks, at + 1


def _in_bmp(path: Path) -> Metadata:
    with path.open("rb") as file:
        head = file.read(138)
        if len(head) < 54 or int.from_bytes(head[14:18], "little") < 40:
            return Metadata()
        x, y = struct.unpack_from("<ii", head, 38)
        found = Metadata(resolution=resolution_of(x, y, "m"))
        if int.from_bytes(head[14:18], "little") >= 124 and head[70:74] == b"DEBM":
            place, size = struct.unpack_from("<II", head, 126)
            file.seek(14 + place)
            found = replace(found, colours=Colours(icc=file.read(min(size, MOST))))
    return found


def _in_avif(path: Path) -> Metadata:
    picture = pyvips.Image.heifload(os.fsencode(path))
    icc, block, xmp = (picture.get(each) if picture.get_typeof(each) else None for each in AVIF_FIELDS)
    numbers = None if icc else number_colours(path)
    colours = Colours(icc=icc, cicp=Cicp(*numbers, full=True) if numbers else None)  # which decoders make of all
    return Metadata(colours, block and block.removeprefix(EXIF_HEAD), xmp)


READERS: dict[str, Callable[[Path], Metadata]] = {
    "bmp": _in_bmp,
    "gif": _in_gif,
    "heif": _in_avif,
    "jpeg": _in_jpeg,
    "png": _in_png,
    "tiff": _in_tiff,
    "webp": _in_webp,
}

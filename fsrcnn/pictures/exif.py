"""Directories of tags, as TIFF files and EXIF blocks have them: read, made true of an enlarged picture, written.

TIFF 6.0, section 2; EXIF 2.32, section 4.6; BigTIFF's longer numbers besides.
"""

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from io import BytesIO
from mmap import mmap
from typing import BinaryIO, NamedTuple, Union

import numpy as np

ORDERS = {b"II": "<", b"MM": ">"}  # of bytes, by the two that a block begins with
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
ORDERED = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # bytes that have an order
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, IFD8 = 1, 2, 3, 4, 5, 7, 18

# Tags, by EXIF's names.
IMAGE_WIDTH, IMAGE_LENGTH, IMAGE_DESCRIPTION, MAKE, MODEL, ORIENTATION = 0x0100, 0x0101, 0x010E, 0x010F, 0x0110, 0x0112
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
SOFTWARE, DATE_TIME, ARTIST, HOST_COMPUTER, COPYRIGHT = 0x0131, 0x0132, 0x013B, 0x013C, 0x8298
EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
POINTERS = {EXIF, GPS, INTEROPERABILITY}  # each to a directory
MAKER_NOTE, PIXEL_X_DIMENSION, PIXEL_Y_DIMENSION, RELATED_WIDTH, RELATED_LENGTH = 0x927C, 0xA002, 0xA003, 0x1001, 0x1002
THUMBNAIL, THUMBNAIL_LENGTH, YCBCR_POSITIONING = 0x0201, 0x0202, 0x0213
WIDTHS = {IMAGE_WIDTH, PIXEL_X_DIMENSION, RELATED_WIDTH}
LENGTHS = {IMAGE_LENGTH, PIXEL_Y_DIMENSION, RELATED_LENGTH}

# Tags of TIFF that tell the same as EXIF, or what other formats have in parts of their own.
DOCUMENT_NAME, RATING, XP_TEXTS = 0x010D, 0x4746, range(0x9C9B, 0x9CA0)
KEPT_OF_TIFF = (DOCUMENT_NAME, IMAGE_DESCRIPTION, MAKE, MODEL, SOFTWARE, DATE_TIME, ARTIST, HOST_COMPUTER, COPYRIGHT)
KEPT_OF_TIFF += (RATING, *XP_TEXTS, EXIF, GPS)
OF_PROGRAMS = {ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, SOFTWARE, HOST_COMPUTER, YCBCR_POSITIONING}
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675

MOST_ENTRIES = 4096  # of a directory
MOST_BYTES = 2**24  # of a directory's values


class DamagedError(ValueError):
    """A block that is not what it says."""


class Field(NamedTuple):
    """A tag's values: their type, how many there are, and their bytes in the order of the block. `entry` and `at`:
    where the directory's entry and the values are in the block that they were read from.
    """

    type: int
    length: int
    content: bytes
    entry: int = 0
    at: int = 0


class Directory(NamedTuple):
    """What a directory holds, by its tags; and, of one that was read, where it is, and the next one (0: nowhere)."""

    fields: Mapping[int, Union[Field, "Directory"]]
    at: int = 0
    end: int = 0
    next: int = 0


class Block(NamedTuple):
    """A TIFF file or an EXIF block: its bytes, their order, "<" or ">", and whether it is a BigTIFF."""

    content: bytes | bytearray | mmap
    order: str
    big: bool

    def number(self, at: int, size: int) -> int:
        if at + size > len(self.content):
            raise DamagedError("a directory lies outside")
        return int.from_bytes(self.content[at : at + size], "little" if self.order == "<" else "big")

    @property
    def first(self) -> int:
        """Where its first directory is."""
        return self.number(8, 8) if self.big else self.number(4, 4)


def block_of(content: bytes | bytearray | mmap) -> Block:
    """Raises DamagedError for what is neither TIFF nor EXIF."""
    order = ORDERS.get(bytes(content[:2]))
    version = struct.unpack_from(order + "H", content, 2)[0] if order and len(content) >= 8 else 0
    if order is None or version not in (42, 43):
        raise DamagedError("it does not begin as it should")
    return Block(content, order, version == 43)


def read_directory(block: Block, at: int, depth: int = 0) -> Directory:
    """The directory at a place of the block, with those that it points to.

    A value that lies outside the block is left out, and so are those beyond MOST_BYTES in all, and a directory that is
    damaged; for the one at `at` DamagedError is raised.
    """
    size = 8 if block.big else 4  # of a pointer
    head, width = (8, 20) if block.big else (2, 12)
    count = block.number(at, head)
    end = at + head + count * width
    if not 0 < count <= MOST_ENTRIES or end > len(block.content):
        raise DamagedError("a directory lies outside")
    fields: dict[int, Field | Directory] = {}
    left = MOST_BYTES
    for entry in range(at + head, end, width):
        tag, type_, many = block.number(entry, 2), block.number(entry + 2, 2), block.number(entry + 4, size)
        nbytes, value = SIZES.get(type_, 0) * many, entry + 4 + size
        pointed = block.number(value, size)
        if tag in fields:
            continue
        if tag in POINTERS and depth < 2:
            with contextlib.suppress(DamagedError):
                fields[tag] = read_directory(block, pointed, depth + 1)
            continue
        value = value if nbytes <= size else pointed
        if 0 < nbytes <= left and value + nbytes <= len(block.content):
            left -= nbytes
            fields[tag] = Field(type_, many, bytes(block.content[value : value + nbytes]), entry, value)
    next_ = block.number(end, size) if end + size <= len(block.content) else 0
    return Directory(fields, at, end + size, next_)


# --- made true of the result ---


def true_exif(exif: bytes, width: int, height: int) -> bytes:
    """The EXIF block of a picture made upright and `width` x `height` pixels large: its orientation and sizes changed,
    its thumbnail taken out. Everything else stays where it was, as a camera's own notes point to places in the block.

    Raises DamagedError where the block or its first directory is damaged.
    """
    block = block_of(exif)
    first = read_directory(block, block.first)
    content = bytearray(exif)
    for directory in _directories(first):
        for tag, field in directory.fields.items():
            if isinstance(field, Field):
                new = 1 if tag == ORIENTATION else width if tag in WIDTHS else height if tag in LENGTHS else None
                if new is not None and field.length == 1 and directory.at != _gps_at(first):
                    _set_number(content, block.order, field.entry, new)
    _take_out_thumbnail(content, block, first)
    return bytes(content)


def _gps_at(first: Directory) -> int:
    """Where the GPS directory is, whose tags mean something else; 0: there is none."""
    gps = first.fields.get(GPS)
    return gps.at if isinstance(gps, Directory) else 0


def _directories(directory: Directory) -> Iterator[Directory]:
    yield directory
    for field in directory.fields.values():
        if isinstance(field, Directory):
            yield from _directories(field)


def _set_number(content: bytearray, order: str, entry: int, value: int) -> None:
    """Sets an entry to one number, which needs no more room than there is for a pointer."""
    type_ = SHORT if value < 2**16 and struct.unpack_from(order + "H", content, entry + 2)[0] == SHORT else LONG
    struct.pack_into(order + "HI", content, entry + 2, type_, 1)
    content[entry + 8 : entry + 12] = struct.pack(
        order + "HH" if type_ == SHORT else order + "I", value, *[0] * (type_ == SHORT)
    )


def _take_out_thumbnail(content: bytearray, block: Block, first: Directory) -> None:
    """Clears the directories after the first, which are the thumbnail's, and the thumbnail."""
    if not first.next:
        return
    struct.pack_into(block.order + "I", content, first.end - 4, 0)
    at, used = first.next, max(_end(each) for each in _directories(first))
    try:
        thumbnail = read_directory(block, at)
    except DamagedError:
        return
    taken = [(thumbnail.at, thumbnail.end)]
    place, length = (thumbnail.fields.get(tag) for tag in (THUMBNAIL, THUMBNAIL_LENGTH))
    if isinstance(place, Field) and isinstance(length, Field):
        start = number_in(place, block.order)
        taken.append((start, start + number_in(length, block.order)))
    taken += [
        (field.at, field.at + len(field.content)) for field in thumbnail.fields.values() if isinstance(field, Field)
    ]
    for start, stop in taken:
        if start >= used:  # what lies elsewhere may be anything
            content[start:stop] = bytes(len(content[start:stop]))
    del content[max(used, len(content.rstrip(b"\0"))) :]


def _end(directory: Directory) -> int:
    """Where the directory and its values end."""
    ends = [field.at + len(field.content) for field in directory.fields.values() if isinstance(field, Field)]
    return max([directory.end, *ends])


# --- values ---


def first_directory(content: bytes | mmap) -> tuple[Directory, str]:
    """The first directory of a block, and the order of its bytes. Raises DamagedError where they are damaged."""
    block = block_of(content)
    return read_directory(block, block.first), block.order


def number_in(field: Field, order: str) -> int:
    """The first of a field's whole numbers."""
    return int.from_bytes(field.content[: ORDERED.get(field.type, 1)], "little" if order == "<" else "big")


def resolution_fields(directory: Directory, order: str) -> tuple[Fraction, Fraction, int]:
    """X, Y (0: not there) and the number of the unit, which is inches (2) where it is not there."""
    x, y, unit = (directory.fields.get(tag) for tag in (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT))
    return _fraction(x, order), _fraction(y, order), number_in(unit, order) if isinstance(unit, Field) else 2


def _fraction(field: Field | Directory | None, order: str) -> Fraction:
    if not isinstance(field, Field) or field.type != RATIONAL:
        return Fraction(0)
    numerator, denominator = struct.unpack_from(order + "II", field.content)
    return Fraction(numerator, denominator) if denominator else Fraction(0)


# --- written ---


def moved(directory: Directory, order: str, wanted: str = "<") -> Directory:
    """The directory's values, to be written elsewhere and in another order, without a camera's own notes, which point
    to places that nobody else knows.
    """
    fields: dict[int, Field | Directory] = {}
    for tag, field in directory.fields.items():
        if isinstance(field, Directory):
            fields[tag] = moved(field, order, wanted)
        elif tag != MAKER_NOTE:
            size = ORDERED.get(field.type)
            swapped = (
                np.frombuffer(field.content, f"u{size}").byteswap().tobytes() if size and order != wanted else None
            )
            fields[tag] = field if swapped is None else field._replace(content=swapped)
    return Directory(fields)


def has_maker_note(directory: Directory) -> bool:
    return any(MAKER_NOTE in each.fields for each in _directories(directory))


def written_directory(
    directory: Directory, at: int, order: str, big: bool = False, entries: Sequence[bytes] = ()
) -> bytes:
    """The bytes of a directory that will lie at `at` of a block, its values and further directories behind it.

    entries: more of them, as they will be.
    """
    count, pointer, size = ("Q", "Q", 8) if big else ("H", "I", 4)
    written, behind = list(entries), b""
    end = at + struct.calcsize("=" + count) + (len(directory.fields) + len(entries)) * (4 + 2 * size) + size
    for tag, field in directory.fields.items():
        place = struct.pack(order + pointer, end + len(behind))
        if isinstance(field, Directory):
            type_, many, value = IFD8 if big else LONG, 1, place
            behind += written_directory(field, end + len(behind), order, big)
        elif len(field.content) <= size:
            type_, many, value = field.type, field.length, field.content.ljust(size, b"\0")
        else:
            type_, many, value = field.type, field.length, place
            behind += field.content
        behind += bytes(len(behind) % 2)  # values begin at even places
        written.append(struct.pack(order + "HH" + pointer, tag, type_, many) + value)
    written.sort(key=lambda entry: struct.unpack_from(order + "H", entry))
    return struct.pack(order + count, len(written)) + b"".join(written) + bytes(size) + behind


def written_exif(directory: Directory) -> bytes:
    """An EXIF block of its own of the directory, whose values are in the order "<"."""
    return b"II*\0" + struct.pack("<I", 8) + written_directory(directory, 8, "<")


def with_fields(exif: bytes, fields: Mapping[int, Field | Directory]) -> bytes:
    """The EXIF block with fields, whose values are in the order "<", added to its first directory."""
    file, order = BytesIO(exif), ORDERS[exif[:2]]
    add_to_first_directory(file, order, False, moved(Directory(fields), "<", order).fields)
    return file.getvalue()


def text_field(text: str) -> Field:
    """Texts are ASCII in EXIF; everyone reads and writes UTF-8."""
    content = text.encode() + b"\0"
    return Field(ASCII, len(content), content)


def number_field(type_: int, *numbers: int) -> Field:
    """In the order "<". type_: SHORT, LONG, or RATIONAL, whose numbers are numerators and denominators in turn."""
    content = struct.pack(f"<{len(numbers)}{'H' if type_ == SHORT else 'I'}", *numbers)
    return Field(type_, len(content) // SIZES[type_], content)


def says_little(exif: bytes) -> bool:
    """Whether an EXIF block has only what programs write of themselves and of samples."""
    return first_directory(exif)[0].fields.keys() <= OF_PROGRAMS


def add_to_first_directory(file: BinaryIO, order: str, big: bool, fields: Mapping[int, Field | Directory]) -> None:
    """Adds fields to the first directory of a TIFF file, which is written anew at the file's end; those of the same
    tags are replaced. Its other values and the pixels stay where they are.
    """
    count, pointer, width = ("Q", "Q", 20) if big else ("H", "I", 12)
    pointer_at = 8 if big else 4
    (at,) = _unpacked(file, pointer_at, order + pointer)
    (entries,) = _unpacked(file, at, order + count)
    old = file.read(entries * width)
    kept = [old[each : each + width] for each in range(0, len(old), width)]
    kept = [entry for entry in kept if struct.unpack_from(order + "H", entry)[0] not in fields]
    end = file.seek(0, 2)
    file.write(bytes(-end % 8))
    start = file.tell()
    content = written_directory(Directory(fields), start, order, big, kept)
    file.write(content)
    file.seek(pointer_at)
    file.write(struct.pack(order + pointer, start))


def _unpacked(file: BinaryIO, at: int, code: str) -> tuple[int, ...]:
    file.seek(at)
    return struct.unpack(code, file.read(struct.calcsize(code)))

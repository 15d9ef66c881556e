"""The picture formats, one record each: to add a format that libvips reads, add its record to FORMATS."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from fsrcnn.errors import RequestError
from fsrcnn.pictures.containers import mapped

MEMORY_LIMIT = 2 * 2**30  # bytes that decoding a picture may need


class Library(Enum):
    """What reads or writes a format."""

    LIBVIPS = "libvips"
    PILLOW = "Pillow"
    ISAL = "ISA-L, by png.py"


class Mark(NamedTuple):
    """Bytes in a file that tell something of it."""

    content: bytes

    def is_in(self, path: Path) -> bool:
        """Whether the file has the mark."""
        with mapped(path) as content:
            return content.find(self.content) >= 0


class Lossless(NamedTuple):
    """A format's lossless kind: the mark of such files, and libvips' options that write one."""

    mark: Mark
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class PictureFormat:
    """What this package knows of a format. `name` is what messages call it, and libvips' operations: {name}load."""

    name: str
    suffixes: tuple[str, ...]
    signature: re.Pattern[bytes]  # of the first bytes of a file
    read_by: Library = Library.LIBVIPS
    written_by: Library | None = Library.LIBVIPS  # None: it is only read

    # What a file can hold.
    bits: int = 16  # a sample, at most
    alpha: bool = True
    cmyk: bool = False
    longest: int = 2**31 - 1  # pixels of a side
    most_bytes: int | None = None  # of the pixels

    # How libvips writes it: options of its save operation.
    options: Mapping[str, Any] = field(default_factory=dict)
    large_options: Mapping[str, Any] = field(default_factory=dict)  # besides, for more than 2 GiB of pixels
    lossless: Lossless | None = None


FORMATS = (
    PictureFormat(
        "bmp",
        (".bmp",),
        re.compile(rb"BM"),
        read_by=Library.PILLOW,
        written_by=Library.PILLOW,  # libvips' wheels leave it out
        bits=8,
        most_bytes=2**32 - 2**20,
    ),
    PictureFormat("gif", (".gif",), re.compile(rb"GIF8[79]a"), written_by=None),  # it has 256 colours
    # Not all of libvips' wheels write it. Its brand is the file's main one or among the first others.
    PictureFormat("heif", (".avif",), re.compile(rb".{4}ftyp(.{4}){0,6}avi[fs]", re.DOTALL), written_by=None),
    PictureFormat(
        "jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        re.compile(rb"\xff\xd8\xff"),
        bits=8,
        alpha=False,
        cmyk=True,
        longest=65_500,
        options={"Q": 95, "subsample_mode": "off"},
    ),
    PictureFormat("png", (".png",), re.compile(rb"\x89PNG\r\n\x1a\n"), written_by=Library.ISAL),
    PictureFormat(
        "tiff",
        (".tif", ".tiff"),
        re.compile(rb"II[*+]\0|MM\0[*+]"),
        cmyk=True,
        options={"compression": "deflate", "predictor": "horizontal"},
        large_options={"bigtiff": True},
    ),
    PictureFormat(
        "webp",
        (".webp",),
        re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
        bits=8,
        longest=16_383,
        options={"Q": 95},
        lossless=Lossless(Mark(b"VP8L"), {"lossless": True, "exact": True}),
    ),
)
MOST_SIGNATURE = 64  # bytes
BY_SUFFIX = {suffix: format_ for format_ in FORMATS for suffix in format_.suffixes}


def format_of(path: Path) -> PictureFormat:
    """The format that the file's suffix names. Raises RequestError for a suffix that no format has."""
    if format_ := BY_SUFFIX.get(path.suffix.lower()):
        return format_
    raise RequestError(f"{path}: no known picture ({' '.join(sorted(BY_SUFFIX))}); choose another suffix")


def format_in(path: Path) -> PictureFormat:
    """The format that the file's content is of, whatever its suffix; the suffix's, where the content is of none. Raises
    RequestError for a suffix that no format has.
    """
    named = format_of(path)
    with path.open("rb") as file:
        head = file.read(MOST_SIGNATURE)
    return next((format_ for format_ in FORMATS if format_.signature.match(head)), named)


def written_format_of(path: Path) -> PictureFormat:
    """As `format_of`, of a file to write. Raises RequestError for a format that is only read, too."""
    format_ = format_of(path)
    if format_.written_by is None:
        written = sorted(suffix for suffix, each in BY_SUFFIX.items() if each.written_by)
        raise RequestError(f"{path}: {path.suffix} is only read; choose one of {' '.join(written)}")
    return format_

"""Films as numbered pictures: a row of them found and read, and a film's frames written as PNG files."""

import glob
import re
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pyvips
from PIL import Image

from fsrcnn.errors import RequestError
from fsrcnn.files import is_file, is_folder, is_hidden, written_whole
from fsrcnn.pictures.formats import BY_SUFFIX
from fsrcnn.pictures.metadata import Metadata
from fsrcnn.pictures.metadata_writing import png_chunk
from fsrcnn.pictures.pixels import Layout, Pixels
from fsrcnn.pictures.png import png_header, write_png
from fsrcnn.pictures.reading import failing_to_read, read_picture
from fsrcnn.stamp import stamp
from fsrcnn.videos.rgb import frame_of

DIGITS = re.compile(r"([0-9]+)")
PLACE = re.compile(r"%0?[0-9]*d")  # of the number in a pattern as FFmpeg has it: frame_%04d.png
FILES_AT_ONCE = 16  # that are looked into
MOST_NAMED = 3  # rows that a message names
SDR_TRANSFERS = {1, 2, 6, 13, 14, 15}  # ITU-T H.273: BT.709 and the like, sRGB, unspecified
# A frame's mark is in a chunk of our own, within so many bytes of a file's start. It is "unsafe to copy", so no program
# gives it to a picture that it makes of this one.
MARK_CHUNK, MARK_WITHIN = b"fsRC", 400
FRAME_NAME = re.compile(r"[0-9]{6,}\.png")


class Row(NamedTuple):
    """Numbered pictures of one size, in their order, and what the user wrote for them."""

    name: str
    paths: list[Path]


# --- pictures to a film ---


def row_of(text: str) -> Row:
    """The numbered pictures in a folder or of a pattern ("shots/*.png", "shots/%04d.png"). Raises RequestError, naming
    what the user wrote, if they are not one row without gaps, of one format and one size.
    """
    rows: dict[tuple[str, ...], list[Path]] = {}
    for path in _pictures(text):
        rows.setdefault((*DIGITS.split(path.stem)[::2], path.suffix.lower()), []).append(path)
    if not rows:
        raise RequestError(f"{text}: no pictures there")
    if len(rows) > 1:
        names = [f"{'#'.join(key[:-1])}{key[-1]} ({len(paths)})" for key, paths in rows.items()]
        more = ", ..." if len(names) > MOST_NAMED else ""
        raise RequestError(
            f"{text}: {len(rows)} rows of pictures, {', '.join(names[:MOST_NAMED])}{more}; name one by a quoted "
            'pattern, such as "shots/frame_*.png"'
        )
    (paths,) = rows.values()
    row = Row(text, _in_order(text, paths))
    _check_sizes(row)
    return row


def is_row(text: str) -> bool:
    """Whether a user's input may be a row of pictures: a folder or a pattern, no file."""
    named = Path(text)
    return not is_file(named) and (is_folder(named) or glob.has_magic(text) or bool(PLACE.search(named.name)))


def _pictures(text: str) -> list[Path]:
    named = Path(text)
    if is_folder(named):
        paths = [path for path in named.iterdir() if not is_hidden(Path(path.name))]
    elif PLACE.search(named.name):
        before, after = map(re.escape, PLACE.split(named.name, maxsplit=1))
        wanted = re.compile(f"{before}[0-9]+{after}")
        there = named.parent.iterdir() if is_folder(named.parent) else ()
        paths = [path for path in there if wanted.fullmatch(path.name)]
    else:
        paths = [Path(path) for path in glob.glob(text)]  # noqa: PTH207, pathlib's takes no absolute pattern
    return [path for path in paths if path.suffix.lower() in BY_SUFFIX and is_file(path)]


def _in_order(text: str, paths: list[Path]) -> list[Path]:
    """The files of one kind of name by the number that differs."""
    if len(paths) == 1:
        return paths
    numbers = np.array([[int(number) for number in DIGITS.split(path.stem)[1::2]] for path in paths], dtype=object)
    differ = [column for column in range(numbers.shape[1]) if len(set(numbers[:, column])) > 1]
    if len(differ) != 1:
        several = "several numbers differ" if differ else "the same number again"
        raise RequestError(f"{text}: {several} in {paths[0].name} and {paths[1].name}; name one row by a pattern")
    by_number: dict[int, Path] = {}
    for number, path in zip(numbers[:, differ[0]], paths, strict=True):
        if number in by_number:
            raise RequestError(f"{text}: {by_number[number].name} and {path.name} have one number; remove one")
        by_number[number] = path
    first, last = min(by_number), max(by_number)
    if missing := last - first + 1 - len(by_number):
        gap = next(number for number in range(first, last) if number not in by_number)
        raise RequestError(
            f"{text}: after {by_number[gap - 1].name} number {gap} is missing ({missing} in all); put the pictures "
            "there, or number them anew"
        )
    return [by_number[number] for number in range(first, last + 1)]


def _check_sizes(row: Row) -> None:
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        sizes = list(pool.map(_size, row.paths))
    for path, size in zip(row.paths, sizes, strict=True):
        if size != sizes[0]:
            (width, height), (other, tall) = size, sizes[0]
            raise RequestError(
                f"{path}: is {width} x {height}, and {row.paths[0].name} is {other} x {tall}; a film has one size"
            )


def _size(path: Path) -> tuple[int, int]:
    with failing_to_read(path), Image.open(path) as picture:
        return picture.size


def pixels_of(path: Path) -> tuple[Pixels, bool]:
    """A picture as sRGB, H x W x 3, uint8 or uint16, and whether it has an alpha, which is left out. Raises
    FailureError for one that cannot be read.
    """
    picture, _ = read_picture(path)
    with failing_to_read(path):
        has_alpha = bool(picture.hasalpha())
        if has_alpha:
            picture = picture.extract_band(0, n=picture.bands - 1)
        if picture.get_typeof("icc-profile-data") and picture.bands > 1:
            depth = 16 if picture.format == "ushort" else 8
            picture = picture.icc_transform("srgb", embedded=True, depth=depth)
        elif picture.interpretation == "cmyk":
            picture = picture.colourspace("srgb")
        pixels: Pixels = np.frombuffer(picture.write_to_memory(), _dtype(picture))
    pixels = pixels.reshape(picture.height, picture.width, picture.bands)
    return (pixels if picture.bands == 3 else np.repeat(pixels, 3, axis=2)), has_alpha


def _dtype(picture: pyvips.Image) -> type[np.uint8] | type[np.uint16]:
    return np.uint16 if picture.format == "ushort" else np.uint8


def frame_at(path: Path, like: av.VideoFrame | None) -> av.VideoFrame:
    """A picture of a row as a frame, see `rgb.frame_of`, with the bits of the first one's. Raises FailureError for one
    that cannot be read, RequestError for one of another size.
    """
    pixels, _ = pixels_of(path)
    if like is None:
        return frame_of(pixels)
    height, width = pixels.shape[:2]
    if (width, height) != (like.width, like.height):
        raise RequestError(
            f"{path}: is {width} x {height}, and the first is {like.width} x {like.height}; a film has one size"
        )
    is_deep = like.format.components[0].bits > 8
    if is_deep and pixels.dtype == np.uint8:
        return frame_of(pixels.astype(np.uint16) * np.uint16(257))
    if not is_deep and pixels.dtype == np.uint16:
        return frame_of((pixels // 257).astype(np.uint8))
    return frame_of(pixels)


def frames_of(row: Row, first: av.VideoFrame) -> Iterator[av.VideoFrame]:
    """The row as frames, without a time. first: its first one, of `frame_at`."""
    yield first
    for path in row.paths[1:]:
        yield frame_at(path, first)


# --- a film to pictures ---


def name_of(number: int) -> str:
    """The file of a frame, counted from 0."""
    return f"{number + 1:06}.png"


def check_folder(folder: Path, mark: str, overwrite: bool) -> set[str]:
    """The names of the frames that are there already, with the mark of this film and request. Raises RequestError if
    there are others that would be mixed with these, unless they are to be replaced.
    """
    if overwrite or not folder.exists():
        return set()
    if not is_folder(folder):
        raise RequestError(f"frames: {folder} is a file, expected a folder")
    there = sorted(path for path in folder.iterdir() if FRAME_NAME.fullmatch(path.name))
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        marks = list(pool.map(_mark_of, there))
    for path, found in zip(there, marks, strict=True):
        if not mark or found != mark:
            raise RequestError(
                f"frames: {path} is no frame of this film as it is asked for; choose another folder, or add --overwrite"
            )
    return {path.name for path in there}


def _mark_of(path: Path) -> str:
    with path.open("rb") as file:
        found = re.search(MARK_CHUNK + rb"([0-9a-f]{32})", file.read(MARK_WITHIN))
    return found[1].decode() if found else ""


def write_frame(path: Path, pixels: Pixels, chunks: bytes, upscale_factor: float) -> None:
    """Writes a frame as a PNG file, whole or not at all. pixels: of `rgb.picture_of`; chunks: of `chunks_of`."""
    height, width, bands = pixels.shape
    layout = Layout(height, width, bands, 8 * pixels.itemsize, bands == 4)
    with written_whole(path) as unfinished:
        write_png(unfinished, png_header(layout, Metadata()) + chunks, [pixels])
        stamp(unfinished, upscale_factor)


def chunks_of(first: av.VideoFrame, shape: "tuple[int, int]", mark: str) -> bytes:
    """What the PNG files of a film's frames have between the header and the pixels: its transfer and primaries, where
    sRGB's would show it wrongly (cICP, PNG 3rd edition, 11.3.2.6); the shape of its pixels, width and height; the mark.
    """
    chunks = b""
    if first.color_trc not in SDR_TRANSFERS:
        chunks += png_chunk(b"cICP", bytes([first.color_primaries, first.color_trc, 0, 1]))
    if shape[0] != shape[1]:
        chunks += png_chunk(b"pHYs", struct.pack(">IIB", shape[1], shape[0], 0))
    return chunks + (png_chunk(MARK_CHUNK, mark.encode()) if mark else b"")

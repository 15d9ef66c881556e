"""AVIF files decoded by Pillow, whose libavif interpolates chroma as browsers do.

libvips' libheif repeats each sample of chroma, which is up to 60 levels away at the edge of a colour. It stays where
Pillow cannot do: for more than 8 bits, and where the file asks for a part of its picture only.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyvips
from PIL import ImageOps
from PIL.AvifImagePlugin import AvifImageFile

from fsrcnn.pictures.containers import bmff_boxes

HIGH_BIT_DEPTH = 0x40  # in the third byte of av1C (AV1 in ISOBMFF, section 2.3.3)


def decoded_by_pillow(picture: pyvips.Image, path: Path) -> pyvips.Image:
    """The picture, upright, that libvips has opened of an AVIF file, with the pixels of Pillow, where it can."""
    if any(len(each) < 3 or each[2] & HIGH_BIT_DEPTH for each in properties(path, b"av1C")) or properties(
        path, b"clap"
    ):
        return picture
    with AvifImageFile(path) as image:  # not Image.open, whose limit of pixels is one for the whole process
        pixels = np.asarray(ImageOps.exif_transpose(image))
    if pixels.shape[:2] != (picture.height, picture.width):
        return picture
    grey = pixels.ndim == 2 or pixels.shape[2] == 2
    return pyvips.Image.new_from_array(pixels, interpretation="b-w" if grey else "srgb")


def number_colours(path: Path) -> tuple[int, int] | None:
    """The numbers, of H.273, of an AVIF file's primaries and transfer function (ISO/IEC 14496-12, section 12.1.5);
    None: it has none, or none that can be meant.
    """
    for content in properties(path, b"colr"):
        if content[:4] == b"nclx" and len(content) >= 8:
            primaries, transfer = struct.unpack_from(">HH", content, 4)
            return (primaries, transfer) if max(primaries, transfer) < 256 else None
    return None


def properties(path: Path, wanted: bytes) -> list[bytes]:
    """The properties of that type of an AVIF file's main picture (ISO/IEC 23008-12, section 9.3)."""
    meta = next((content for type_, content in bmff_boxes(path) if type_ == b"meta"), b"")
    boxes = dict(bmff_boxes(meta[4:]))
    main = boxes.get(b"pitm", b"")
    item = int.from_bytes(main[4 : 8 if main[:1] > b"\0" else 6], "big")
    inside = list(bmff_boxes(boxes.get(b"iprp", b"")))
    all_ = [each for type_, content in inside if type_ == b"ipco" for each in bmff_boxes(content)]
    numbers = [number for type_, content in inside if type_ == b"ipma" for number in _associated(content, item)]
    return [all_[number - 1][1] for number in numbers if 0 < number <= len(all_) and all_[number - 1][0] == wanted]


def _associated(ipma: bytes, wanted: int) -> Iterator[int]:
    """The numbers, from 1, of an item's properties."""
    item_size, size = 4 if ipma[:1] > b"\0" else 2, 2 if ipma[3:4] and ipma[3] & 1 else 1
    at = 8
    while at + item_size < len(ipma):
        item, many = int.from_bytes(ipma[at : at + item_size], "big"), ipma[at + item_size]
        at += item_size + 1
        if item == wanted:
            for place in range(at, at + many * size, size):
                yield int.from_bytes(ipma[place : place + size], "big") & (2 ** (8 * size - 1) - 1)
        at += many * size

"""The parts of picture files, as other programs write them."""

import io
import struct
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from fsrcnn.pictures.containers import (
    HEAD,
    SOF,
    bmff_boxes,
    jpeg_parts,
    jpeg_segments,
    png_chunks,
    riff_chunks,
    tiff_tags,
)

PICTURE = Image.effect_noise((90, 70), 80).convert("RGB")


def saved(format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, format_, **options)
    return file.getvalue()


def test_segments_of_a_jpeg_end_before_its_pixels():
    exif = Image.Exif()
    exif[0x010E] = "text"
    found = list(jpeg_segments(saved("JPEG", exif=exif, comment=b"a comment")))
    assert [marker for marker, _ in found].count(0xDA) == 1
    assert found[-1][0] == 0xDA
    assert (0xFE, b"a comment") in found
    assert next(payload for marker, payload in found if marker == 0xE1).startswith(b"Exif\0\0")
    height, width = struct.unpack(">HH", next(payload for marker, payload in found if marker in SOF)[1:5])
    assert (height, width) == (70, 90)


def test_parts_of_a_jpeg_skip_what_belongs_to_none():
    content = saved("JPEG", restart_marker_blocks=2)
    markers = [part.marker for part in jpeg_parts(content)]
    assert (markers[0], markers[-2:]) == (0xD8, [0xDA, 0xD9])
    foreign = content[:2] + b"\x00foreign\xff\xff" + content[2:] + b"trailer"
    assert [part.marker for part in jpeg_parts(foreign)] == markers
    assert [part.marker for part in jpeg_parts(content[:-2])] == markers[:-1]


def test_chunks_of_a_png(tmp_path: Path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a picture")
    (tmp_path / "a.png").write_bytes(saved("PNG", pnginfo=text))
    found = list(png_chunks(tmp_path / "a.png"))
    assert (found[0][0], len(found[0][1]), found[-1]) == (b"IHDR", 13, (b"IEND", b""))
    assert (b"tEXt", b"Title\0a picture") in found
    assert all(len(payload) <= HEAD for type_, payload in found if type_ == b"IDAT")


def test_chunks_of_a_webp():
    found = dict(riff_chunks(saved("WEBP", icc_profile=b"a profile", xmp=b"odd")))
    assert found[b"ICCP"] == b"a profile"
    assert found[b"XMP "] == b"odd"
    assert b"VP8 " in found


def test_boxes_of_an_avif():
    boxes = dict(bmff_boxes(saved("AVIF")))
    assert boxes[b"ftyp"].startswith(b"avif")
    properties = dict(bmff_boxes(dict(bmff_boxes(boxes[b"meta"][4:]))[b"iprp"]))
    assert struct.unpack(">4xII", dict(bmff_boxes(properties[b"ipco"]))[b"ispe"]) == (90, 70)


def test_tags_of_a_tiff_and_of_exif():
    frames = [PICTURE.resize((20, 10))]
    pages = list(tiff_tags(saved("TIFF", save_all=True, append_images=frames, dpi=(300, 300), description="text")))
    assert [(page[256], page[257]) for page in pages] == [((90,), (70,)), ((20,), (10,))]
    assert pages[0][270] == b"text\0"
    numerator, denominator = pages[0][282]
    assert numerator / denominator == 300
    big = next(tiff_tags(saved("TIFF", big_tiff=True)))
    assert (big[256], big[258]) == ((90,), (8, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x829A] = 0.125
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    tags = next(tiff_tags(content))
    assert tags[0x0112] == (6,)
    assert next(tiff_tags(content, tags[0x8769][0]))[0x829A] == (0.125,)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_no_damage_raises_or_loops(format_: str):
    readers = {"PNG": png_chunks, "WEBP": riff_chunks, "AVIF": bmff_boxes, "TIFF": tiff_tags}
    content = saved(format_)
    read = readers.get(format_, jpeg_segments)
    for at in range(0, min(len(content), 400), 3):
        for value in (0, 1, 255):
            changed = bytearray(content)
            changed[at] = value
            assert len(list(read(bytes(changed)))) < 1000
        assert len(list(read(content[:at]))) < 100

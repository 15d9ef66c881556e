"""What belongs to a picture is kept and true of the result, or its loss is said, whatever the formats are."""

import struct
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import network, noise
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from fsrcnn.pictures.exif import DamagedError, block_of, first_directory, read_directory, true_exif
from fsrcnn.pictures.formats import format_of
from fsrcnn.pictures.metadata_reading import metadata_of
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.pictures.xmp import true_xmp

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WRITTEN = ("png", "jpg", "tif", "webp", "bmp")
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:t="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:FullPanoWidthPixels="4000" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" t:Orientation="6" '
    "t:ImageWidth = '11' dc:format=\"image/jpeg\">"
    "<exif:PixelXDimension>11</exif:PixelXDimension><exif:PixelYDimension>9</exif:PixelYDimension>"
    "<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/4AAQ</rdf:li></rdf:Alt></xmp:Thumbnails>"
    '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Kätzchen</rdf:li></rdf:Alt></dc:title>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def enlarged(source: Path, suffix: str) -> tuple[Path, tuple[str, ...]]:
    target = source.with_name(f"result.{suffix}")
    return target, upscale_picture(source, target, network("fsrcnn_s", 2))


def rgb() -> Image.Image:
    return Image.fromarray(noise(9, 11, 3))


def exif_block(order: str = "<", orientation: int = 6, thumbnail: bool = True) -> bytes:
    """An EXIF block, made by hand: IFD0 with orientation, maker and EXIF directory; IFD1 with a thumbnail."""
    note, jpeg = b"MakerNote of a camera", b"\xff\xd8 thumbnail \xff\xd9"
    maker, exif = 8 + 2 + 3 * 12 + 4, 8 + 2 + 3 * 12 + 4 + 8
    values = exif + 2 + 3 * 12 + 4
    ifd1 = values + len(note) + 1
    entry = lambda tag, type_, count, value: struct.pack(order + "HHI", tag, type_, count) + value  # noqa: E731
    long = lambda value: struct.pack(order + "I", value)  # noqa: E731
    short = lambda value: struct.pack(order + "HH", value, 0)  # noqa: E731
    block = (b"II*\0" if order == "<" else b"MM\0*") + long(8)
    block += struct.pack(order + "H", 3) + entry(0x010F, 2, 6, long(maker)) + entry(0x0112, 3, 1, short(orientation))
    block += entry(0x8769, 4, 1, long(exif)) + long(ifd1 if thumbnail else 0) + b"Maker\0\0\0"
    block += struct.pack(order + "H", 3) + entry(0x927C, 7, len(note), long(values))
    block += entry(0xA002, 3, 1, short(11)) + entry(0xA003, 4, 1, long(9)) + long(0) + note + b"\0"
    if thumbnail:
        block += struct.pack(order + "H", 3) + entry(0x0112, 3, 1, short(orientation))
        block += entry(0x0201, 4, 1, long(ifd1 + 42)) + entry(0x0202, 4, 1, long(len(jpeg))) + long(0) + jpeg
    return block


# --- every pair of formats ---


def save_with_everything(path: Path) -> None:
    """A picture with a profile, EXIF, XMP, resolution and a text, as far as Pillow can write them in the format."""
    exif = Image.Exif()
    exif.update({0x010F: "Maker", 0x0131: "Software"})
    exif.get_ifd(0x8769)[0x829A] = 0.125  # exposure time
    options: dict[str, Any] = {"icc_profile": SRGB, "exif": exif, "xmp": XMP.encode(), "dpi": (300, 300)}
    match path.suffix:
        case ".png":
            texts = PngInfo()
            texts.add_text("Description", "a text")
            texts.add_itxt("XML:com.adobe.xmp", XMP)
            del options["xmp"]
            options["pnginfo"] = texts
        case ".jpg":
            options["comment"] = "a text"
        case ".tif":
            exif[0x010E], exif[700], exif[0x8769] = "a text", XMP.encode(), {0x829A: 0.125}
            del options["xmp"]
        case ".gif":
            options = {"comment": b"a text"}
        case ".bmp":
            options = {"dpi": (300, 300)}
        case _:  # WebP and AVIF
            exif.update({0x010E: "a text", 0x011A: 300.0, 0x011B: 300.0, 0x0128: 2})
    rgb().save(path, **options)


def kept(path: Path) -> set[str]:
    """What of the picture of `save_with_everything` is in a file, by readers that are not ours."""
    with Image.open(path) as image:
        image.load()
        exif, info = image.getexif(), image.info
        in_exif = float(exif.get(0x011A, 0)) * (2.54 if exif.get(0x0128) == 3 else 1)
        texts = [str(each) for each in (exif.get(0x010E), info.get("comment"), getattr(image, "text", None)) if each]
        there = {
            "profile": info.get("icc_profile") == SRGB,
            "EXIF": exif.get_ifd(0x8769).get(0x829A) == 0.125 and exif.get(0x010F) == "Maker",
            "XMP": b"K\xc3\xa4tzchen" in bytes(info.get("xmp", b"")),
            "resolution": 300 in (round(info.get("dpi", (0,))[0]), round(in_exif)),
            "text": any("a text" in each for each in texts),
        }
    return {what for what, is_there in there.items() if is_there}


@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp", "bmp", "avif", "gif"])
def test_each_pair_of_formats_keeps_or_says(tmp_path: Path, source: str):
    """A profile that says what is true without it, sRGB's, may go in silence."""
    save_with_everything(original := tmp_path / f"a.{source}")
    there = kept(original)
    assert there >= {"bmp": {"resolution"}, "gif": {"text"}}.get(
        source, {"profile", "EXIF", "XMP", "resolution", "text"}
    )
    for suffix in WRITTEN:
        result, lines = enlarged(original, suffix)
        lost = there - kept(result) - {"profile"} if suffix == "bmp" else there - kept(result)
        unsaid = {what for what in lost if what not in " ".join(lines)}
        if "EXIF" in lost and source in ("tif", "webp", "avif"):
            unsaid -= {"text"}  # which is in EXIF
        assert (suffix, unsaid) == (suffix, set()), lines
        assert (suffix == "bmp" and source not in ("bmp",)) or not lines, (suffix, lines)


@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp", "bmp", "avif", "gif"])
def test_no_resolution_is_made_up(tmp_path: Path, source: str):
    rgb().save(tmp_path / f"a.{source}")
    if source == "bmp":  # Pillow makes one up too
        content = bytearray((tmp_path / "a.bmp").read_bytes())
        content[38:46] = bytes(8)
        (tmp_path / "a.bmp").write_bytes(content)
    for suffix in WRITTEN:
        result, lines = enlarged(tmp_path / f"a.{source}", suffix)
        assert not lines
        assert metadata_of(result, format_of(result).name).resolution is None
        with Image.open(result) as image:
            assert "dpi" not in image.info or image.info["dpi"] == (0, 0)
            assert 0x011A not in image.getexif() or image.getexif()[0x0128] == 1  # no unit
            assert image.info.get("jfif_unit", 0) == 0


def test_a_ratio_of_pixels_stays_one(tmp_path: Path):
    rgb().save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    content[13:18] = struct.pack(">BHH", 0, 4, 3)
    (tmp_path / "a.jpg").write_bytes(content)
    with Image.open(enlarged(tmp_path / "a.jpg", "jpg")[0]) as image:
        assert (image.info["jfif_unit"], image.info["jfif_density"]) == (0, (4, 3))
    with Image.open(enlarged(tmp_path / "a.jpg", "png")[0]) as image:
        assert image.info["aspect"] == (4, 3)
    with Image.open(enlarged(tmp_path / "a.jpg", "tif")[0]) as image:
        assert Fraction(*image.tag_v2[282].limit_rational(99)) / Fraction(
            *image.tag_v2[283].limit_rational(99)
        ) == Fraction(4, 3)
        assert image.tag_v2[296] == 1


# --- made true ---


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_is_made_true_where_it_stands(order: str):
    block = exif_block(order)
    true = true_exif(block, 70_000, 18)
    directory, _ = first_directory(true)
    plain = Image.Exif()
    plain.load(b"Exif\0\0" + true)
    assert (plain[0x0112], plain.get_ifd(0x8769)[0xA002], plain.get_ifd(0x8769)[0xA003]) == (1, 70_000, 18)
    assert directory.next == 0
    assert b"thumbnail" not in true
    assert len(true) < len(block) - 40  # the thumbnail was at its end
    assert true.index(b"MakerNote") == block.index(b"MakerNote")
    assert true_exif(true, 70_000, 18) == true


@pytest.mark.parametrize("cut", range(0, 230, 3))
def test_exif_cut_short_is_damaged_or_made_true(cut: int):
    try:
        true_exif(exif_block()[:cut], 22, 18)
    except DamagedError:
        return
    assert cut > 44  # the first directory is there


def test_exif_that_goes_in_circles_ends():
    """Directories that point to themselves, thousands of times, and values that all are the whole block."""
    entries = [struct.pack("<HHII", tag % 7 + 0x8766, 4, 1, 8) for tag in range(4000)]
    entries += [struct.pack("<HHII", tag, 7, 48_000, 8) for tag in range(90)]
    block = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + struct.pack("<I", 8)
    assert len(read_directory(block_of(block), 8).fields) < 100
    true_exif(block, 22, 18)


def test_a_turned_picture_is_upright_for_every_reader(tmp_path: Path):
    for suffix in ("jpg", "webp", "png"):
        path = tmp_path / f"a.{suffix}"
        extra = {"pnginfo": (texts := PngInfo())} if suffix == "png" else {"xmp": XMP.encode()}
        texts.add_itxt("XML:com.adobe.xmp", XMP) if suffix == "png" else None
        rgb().save(path, exif=b"Exif\0\0" + exif_block(), **extra)
        for target in ("jpg", "png", "webp", "tif"):
            result, lines = enlarged(path, target)
            with Image.open(result) as image:
                assert image.size == (18, 22)
                exif = image.getexif()
                assert exif[0x0112] == 1
                assert [exif.get_ifd(0x8769)[side] for side in (0xA002, 0xA003)] == [18, 22]
                xmp = bytes(image.info["xmp"]).decode()
                assert b"thumbnail" not in result.read_bytes()
            assert lines == (() if target != "tif" else lines)
            for said in (
                't:Orientation="1"',
                "t:ImageWidth = '18'",
                "<exif:PixelXDimension>18<",
                "Dimension>22<",
                'Pixels="8000"',
            ):
                assert said in xmp
            assert "Thumbnails" not in xmp
            assert ("MakerNote" in " ".join(lines)) == (target == "tif")  # it points to places in its own file


@pytest.mark.parametrize(
    ("exif", "xmp", "named"),
    [
        (b"II*\0\xff\xff\xff\x7f", None, "its EXIF is damaged"),
        (b"garbage, and more of it", None, "its EXIF is damaged"),
        (None, b"<x:xmpmeta", "its XMP is damaged"),
        (None, b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "its XMP is damaged"),
        (None, b"\xff\xfe<\0a\0", "its XMP is damaged"),
    ],
)
def test_what_is_damaged_is_left_out_and_said(tmp_path: Path, exif: bytes | None, xmp: bytes | None, named: str):
    rgb().save(tmp_path / "a.webp", exif=exif or b"", xmp=xmp or b"")
    result, lines = enlarged(tmp_path / "a.webp", "webp")
    assert named in "; ".join(lines)
    with Image.open(result) as image:
        assert not {"exif", "xmp"} & image.info.keys()


def jpeg_with(path: Path, *segments: tuple[int, bytes]) -> Path:
    """A JPEG with these segments after JFIF's."""
    content = BytesIO()
    rgb().save(content, "JPEG", quality=95)
    data = content.getvalue()
    inserted = b"".join(struct.pack(">BBH", 255, marker, len(payload) + 2) + payload for marker, payload in segments)
    path.write_bytes(data[:20] + inserted + data[20:])
    return path


def test_what_other_parts_of_the_file_belong_to_is_said(tmp_path: Path):
    gain = XMP.replace("dc:format", 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0" dc:format')
    head = b"http://ns.adobe.com/xap/1.0/\0"
    result, lines = enlarged(jpeg_with(tmp_path / "a.jpg", (0xE1, head + gain.encode())), "jpg")
    assert lines == ("the result is without the HDR gain map",)
    assert b"hdrgm:Version" not in result.read_bytes()

    def mpf(kind: int) -> bytes:
        entries = struct.pack("<4I", 0x030000, 9, 0, 0) + struct.pack("<4I", kind, 9, 99, 0)
        return b"MPF\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0xB002, 7, 32, 26, 0) + entries

    assert enlarged(jpeg_with(tmp_path / "b.jpg", (0xE2, mpf(0))), "jpg")[1] == (
        "the result is without the file's other pictures",
    )
    assert enlarged(jpeg_with(tmp_path / "c.jpg", (0xE2, mpf(0x010001))), "jpg")[1] == ()  # a preview


def test_the_first_exif_and_all_parts_of_a_profile(tmp_path: Path):
    profile = SRGB + bytes(70_000 - len(SRGB))
    parts = [(0xE2, b"ICC_PROFILE\0" + bytes([n + 1, 3]) + profile[n * 30_000 : (n + 1) * 30_000]) for n in (1, 0, 2)]
    first, second = (b"Exif\0\0" + exif_block(orientation=each, thumbnail=False) for each in (1, 3))
    source = jpeg_with(tmp_path / "a.jpg", (0xE1, first), (0xE1, second), *parts, (0xFE, b""))
    for suffix in ("jpg", "png", "webp", "tif"):
        result, _ = enlarged(source, suffix)
        with Image.open(result) as image:
            assert image.info["icc_profile"] == profile
            assert image.getexif()[0x0112] == 1
    result, lines = enlarged(jpeg_with(tmp_path / "b.jpg", *parts[:2]), "jpg")
    assert "its colour profile is damaged and was left out" in lines


def test_xmp_of_any_form_is_read_once():
    """Prefixes, nesting, comments and thousands of elements."""
    tiff, xap = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/xap/1.0/"
    nested = "<t:Thumbnails>" * 20_000 + "</t:Thumbnails>" * 20_000
    comment = f"<!-- {'<t:Thumbnails>' * 20_000} o:Orientation='6' -->"
    inner = "<o:Orientation>6</o:Orientation><b xmlns:o='urn:other' o:Orientation='6'/><t:Thumbnails a='>'/>"
    for other in ("", comment):
        xmp = f"<a xmlns:o='{tiff}' xmlns:t='{xap}' é='o:Orientation=\"6\"' o:Orientation = '6'>{other}{inner}</a>"
        true = xmp.replace(inner, inner.replace(">6<", ">1<", 1).removesuffix("<t:Thumbnails a='>'/>"))
        true = true.replace("o:Orientation = '6'>", "o:Orientation = '1'>")
        assert true_xmp(xmp.replace(inner, nested + inner).encode(), 2, 2, 2, 2).decode() == true


def test_a_panorama_that_is_stretched_has_both_its_sizes():
    names = ["FullPanoWidth", "FullPanoHeight", "CroppedAreaImageWidth", "CroppedAreaImageHeight"]
    names += ["CroppedAreaLeft", "CroppedAreaTop"]
    namespace = 'xmlns:G="http://ns.google.com/photos/1.0/panorama/"'
    packet, true = (
        f"<a {namespace} "
        + " ".join(f"G:{name}Pixels='{each}'" for name, each in zip(names, sizes, strict=True))
        + "/>"
        for sizes in ((4000, 2000, 3000, 900, 500, 300), (8000, 1000, 6000, 450, 1000, 150))
    )
    assert true_xmp(packet.encode(), 6000, 450, 2, 0.5).decode() == true


# --- texts ---


def test_png_texts_stay_what_they_were(tmp_path: Path):
    texts = PngInfo()
    texts.add_text("Comment", "")
    texts.add_text("Title", "T" * 500, zip=True)
    texts.add_itxt("Author", "Ä 猫", lang="de", tkey="Autor", zip=True)
    rgb().save(tmp_path / "a.png", pnginfo=texts, dpi=(300, 300))
    result, lines = enlarged(tmp_path / "a.png", "png")
    assert not lines
    chunks = [
        {content[at - 4 : at + 40] for kind in (b"tEXt", b"zTXt", b"iTXt") if (at := content.find(kind)) > 0}
        for content in ((tmp_path / "a.png").read_bytes(), result.read_bytes())
    ]
    assert chunks[0] == chunks[1]
    assert len(chunks[0]) == 3
    with Image.open(result) as image:
        assert (image.text["Author"], image.text["Author"].lang, image.text["Title"]) == ("Ä 猫", "de", "T" * 500)


def test_texts_in_other_formats(tmp_path: Path):
    texts = PngInfo()
    texts.add_text("Comment", "a comment")
    texts.add_text("parameters", "a cat, seed 5")
    texts.add_text("date:create", "2020")
    rgb().save(tmp_path / "a.png", pnginfo=texts)
    comments = metadata_of(enlarged(tmp_path / "a.png", "jpg")[0], "jpeg").texts
    assert [each.text for each in comments] == ["a comment", "parameters: a cat, seed 5", "date:create: 2020"]
    for suffix in ("webp", "tif"):
        result, lines = enlarged(tmp_path / "a.png", suffix)
        with Image.open(result) as image:
            assert image.getexif()[0x010E] == "a comment"
        assert lines == (
            f"the result is without the text 'parameters', which {format_of(result).name.upper()} cannot hold",
        )
    rgb().save(tmp_path / "b.jpg", comment="Größe 猫")
    with Image.open(enlarged(tmp_path / "b.jpg", "png")[0]) as image:
        assert image.text["Comment"] == "Größe 猫"


def test_texts_without_bound_are_left_out_and_said(tmp_path: Path):
    rgb().save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    bomb = b"zTXtKey\0\0" + zlib.compress(bytes(2**24))
    damaged = b"zTXtOther\0\0garbage"
    inserted = b"".join(
        struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (bomb, damaged)
    )
    (tmp_path / "a.png").write_bytes(content[:33] + inserted + content[33:])
    result, lines = enlarged(tmp_path / "a.png", "png")
    assert lines == ("texts of it are damaged or too long, and were left out ('Key', 'Other')",)
    assert b"zTXt" not in result.read_bytes()


def test_iptc_goes_where_it_can(tmp_path: Path):
    records = b"\x1c\x02\x78\x00\x09a caption"
    resource = b"8BIM\x03\xed\0\0\0\0\0\x03abc\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
    source = jpeg_with(tmp_path / "a.jpg", (0xED, b"Photoshop 3.0\0" + resource))
    for suffix, name in (("jpg", "jpeg"), ("tif", "tiff")):
        result, lines = enlarged(source, suffix)
        assert (metadata_of(result, name).iptc, lines) == (records, ())
    assert enlarged(source, "png")[1] == ("the result is without IPTC, which PNG cannot hold",)
    assert enlarged(tmp_path / "result.tif", "jpg")[1] == ()
    assert metadata_of(tmp_path / "result.jpg", "jpeg").iptc == records


def test_a_cmyk_jpeg_keeps_its_profile_and_resolution(tmp_path: Path):
    profile = b"".join([struct.pack(">I", 132), bytes(12), b"CMYKLab ", bytes(12), b"acsp", bytes(92)])
    cmyk = Image.fromarray(np.dstack([noise(9, 11, 3), noise(9, 11)]), "CMYK")
    cmyk.save(tmp_path / "a.jpg", icc_profile=profile, dpi=(300, 300), quality=98)
    for suffix in ("jpg", "tif"):
        result, lines = enlarged(tmp_path / "a.jpg", suffix)
        assert not lines
        found = metadata_of(result, format_of(result).name)
        assert found.colours.icc == profile
        with Image.open(result) as image:
            assert image.mode == "CMYK"
            assert image.info["dpi"] == pytest.approx((300, 300))

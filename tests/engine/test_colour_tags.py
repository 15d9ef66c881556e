"""What a file says of its colours, by PNG's chunks, AVIF's numbers or an ICC profile, holds for the result too."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from made import network, noise
from numpy.typing import NDArray
from PIL import Image, ImageCms

from fsrcnn.pictures.metadata_reading import metadata_of
from fsrcnn.pictures.profiles import (
    BRADFORD,
    CURVES,
    D50,
    PRIMARIES,
    SRGB_PRIMARIES,
    Cicp,
    Colours,
    are_possible,
    made_profile,
    profile_for,
)
from fsrcnn.pictures.reading import read_picture
from fsrcnn.pictures.upscale import upscale_picture

ADOBE_RGB = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
SRGB_CHUNK = ("sRGB", b"\0")
LINEAR = ("gAMA", struct.pack(">I", 100_000))
ADOBE = ("cHRM", struct.pack(">8I", *ADOBE_RGB))
PQ = ("cICP", bytes([9, 16, 0, 1]))
P3 = ("cICP", bytes([12, 13, 0, 1]))


def icc_chunk(profile: bytes) -> tuple[str, bytes]:
    return "iCCP", b"name\0\0" + zlib.compress(profile)


def png(path: Path, *chunks: tuple[str, bytes], mode: str = "RGB") -> Path:
    """A PNG with these chunks after its header."""
    content = BytesIO()
    Image.fromarray(noise(9, 11, 3)).convert(mode).save(content, "PNG")
    data = content.getvalue()
    inserted = b""
    for name, payload in chunks:
        body = name.encode() + payload
        inserted += struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(data[:33] + inserted + data[33:])
    return path


def chunks_of(path: Path) -> list[tuple[str, bytes]]:
    content, at, chunks = path.read_bytes(), 8, []
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8].decode(), content[at + 8 : at + 8 + size]))
        assert zlib.crc32(content[at + 4 : at + 8 + size]) == int.from_bytes(content[at + 8 + size :][:4], "big")
        at += 12 + size
    return chunks


def enlarged(source: Path, suffix: str) -> tuple[Path, tuple[str, ...]]:
    target = source.with_name(f"result.{suffix}")
    return target, upscale_picture(source, target, network("fsrcnn_s", 2))


def profile_in(path: Path) -> bytes | None:
    with Image.open(path) as image:
        return image.info.get("icc_profile")


def light_in(curve: object, samples: NDArray[np.float64]) -> NDArray[np.float64]:
    gamma, a, b, c, above = curve  # type: ignore[misc]
    return np.where(samples >= above, (a * samples + b) ** gamma, c * samples)


def in_srgb(samples: NDArray[np.uint8], primaries: tuple[int, ...], curve: object) -> NDArray[np.float64]:
    """The samples, n x 3, of sRGB that show the colours that these are, by the definitions of colorimetry; outside of
    0..255 where sRGB does not have them.
    """
    matrices = []
    for each in (SRGB_PRIMARIES, primaries):
        xy = np.array(each).reshape(4, 2) / 1e5
        xyz = np.column_stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
        adapted = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ xyz[0])) @ BRADFORD
        matrices.append(adapted @ xyz[1:].T * np.linalg.solve(xyz[1:].T, xyz[0]))
    light = light_in(curve, samples / 255) @ (np.linalg.inv(matrices[0]) @ matrices[1]).T
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("primaries", [SRGB_PRIMARIES, ADOBE_RGB, PRIMARIES[9], PRIMARIES[11], PRIMARIES[12]])
@pytest.mark.parametrize("number", sorted(CURVES))
def test_a_made_profile_says_what_the_tags_said(primaries: tuple[int, ...], number: int):
    """LittleCMS converts by the profile to within 2 levels of what the definitions give."""
    colours = np.random.default_rng(0).integers(0, 256, (2000, 3), dtype=np.uint8)
    profile = ImageCms.ImageCmsProfile(BytesIO(made_profile(primaries, CURVES[number], grey=False)))
    converted = ImageCms.profileToProfile(Image.fromarray(colours[None]), profile, ImageCms.createProfile("sRGB"))
    expected = in_srgb(colours, primaries, CURVES[number])
    held = ((expected >= 0) & (expected <= 255)).all(axis=1)
    assert held.sum() > 400
    assert np.abs(np.asarray(converted)[0] - expected)[held].max() < 2


def test_tags_that_say_srgb_need_no_profile():
    srgb = Colours(srgb=b"\0", gamma=45455, chromaticities=SRGB_PRIMARIES)
    for colours in (Colours(), srgb, Colours(gamma=45455), Colours(cicp=Cicp(1, 13, full=True))):
        assert profile_for(colours, grey=False) == (None, True)


def test_a_grey_picture_gets_a_grey_profile(tmp_path: Path):
    source = png(tmp_path / "a.png", LINEAR, mode="L")
    for suffix in ("jpg", "tif", "webp"):
        result, lines = enlarged(source, suffix)
        profile = profile_in(result)
        assert (profile or b"")[16:20] == b"GRAY"
        assert not lines
    grey = ImageCms.ImageCmsProfile(BytesIO(profile or b""))
    levels = Image.fromarray(np.array([[0, 64, 128, 255]], np.uint8))
    seen = ImageCms.profileToProfile(levels, grey, ImageCms.createProfile("sRGB"), outputMode="RGB")
    np.testing.assert_allclose(np.asarray(seen)[0, :, 0], [0, 137, 188, 255], atol=1)  # linear light to sRGB


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "I;16"])
def test_a_png_keeps_its_chunks(tmp_path: Path, mode: str):
    tags = [PQ, ("mDCV", bytes(range(24))), ("cLLI", bytes(8)), SRGB_CHUNK, LINEAR, ADOBE]
    result, lines = enlarged(png(tmp_path / "a.png", *tags, mode=mode), "png")
    chunks = chunks_of(result)
    assert [chunk for chunk in chunks if chunk in tags] == tags
    assert max(map(chunks.index, tags)) < [name for name, _ in chunks].index("IDAT")
    assert not lines


def test_which_of_several_tags_counts(tmp_path: Path):
    adobe = made_profile(ADOBE_RGB, CURVES[4], grey=False)
    p3 = made_profile(PRIMARIES[12], CURVES[13], grey=False)
    linear = made_profile(SRGB_PRIMARIES, CURVES[8], grey=False)
    for tags, expected in (
        ([P3, icc_chunk(adobe), LINEAR], p3),
        ([icc_chunk(adobe), LINEAR], adobe),
        ([SRGB_CHUNK, LINEAR], None),
        ([LINEAR], linear),
        ([("cICP", bytes([2, 2, 0, 1])), LINEAR], linear),  # unspecified
        ([PQ, icc_chunk(adobe)], adobe),
    ):
        result, lines = enlarged(png(tmp_path / "a.png", *tags), "webp")
        assert profile_in(result) == expected
        assert ("cICP" in " ".join(lines)) == (PQ in tags)


def test_colours_that_cannot_be_held_are_said(tmp_path: Path):
    hdr = ("the result is without the tags of its colours (cICP), which JPEG cannot hold",)
    assert enlarged(png(tmp_path / "a.png", PQ), "jpg")[1] == hdr
    assert enlarged(png(tmp_path / "a.png", ("cICP", bytes([1, 13, 0, 0]))), "jpg")[1] == hdr  # from 16 to 235
    garbled = bytearray(made_profile(ADOBE_RGB, CURVES[4], grey=False))
    garbled[16:20], garbled[500:] = b"RGB ", bytes(len(garbled) - 500)
    bmp = ("the result is without the colour profile, which BMP cannot hold",)
    assert enlarged(png(tmp_path / "a.png", LINEAR), "bmp")[1] == bmp
    assert enlarged(png(tmp_path / "a.png", icc_chunk(bytes(garbled))), "bmp")[1] == bmp
    assert enlarged(png(tmp_path / "a.png", SRGB_CHUNK, LINEAR), "bmp")[1] == ()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert enlarged(png(tmp_path / "a.png", icc_chunk(srgb)), "bmp")[1] == ()
    assert enlarged(png(tmp_path / "a.png", icc_chunk(srgb), mode="L"), "png")[1] == ()  # which grey is anyway


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_a_profile_that_cannot_be_meant_is_left_out_and_said(tmp_path: Path, suffix: str):
    grey, rgb = (made_profile(SRGB_PRIMARIES, CURVES[8], grey=each) for each in (True, False))
    for chunk, mode, what in (
        (icc_chunk(grey), "RGB", "of another kind of picture"),
        (icc_chunk(rgb), "L", "of another kind of picture"),
        (icc_chunk(rgb[:300]), "RGB", "damaged"),
        (icc_chunk(b"no profile at all, but long enough to be one" * 5), "RGB", "damaged"),
        (("iCCP", b"name\0\0" + zlib.compress(rgb)[:40]), "RGB", "damaged"),
    ):
        result, lines = enlarged(png(tmp_path / "a.png", chunk, mode=mode), suffix)
        assert lines == (f"its colour profile is {what} and was left out",)
        assert profile_in(result) is None


@pytest.mark.parametrize(
    "chromaticities",
    [(0,) * 8, (31270, 0, *ADOBE_RGB[2:]), (*ADOBE_RGB[:4], *ADOBE_RGB[2:4], *ADOBE_RGB[6:]), (2**31,) * 8],
)
def test_chromaticities_that_cannot_be_meant_are_none(tmp_path: Path, chromaticities: tuple[int, ...]):
    assert not are_possible(chromaticities)
    source = png(tmp_path / "a.png", ("cHRM", struct.pack(">8I", *chromaticities)), ("gAMA", bytes(4)))
    result, lines = enlarged(source, "jpg")
    assert (profile_in(result), lines) == (None, ())


# --- AVIF ---


def avif(path: Path, primaries: int, transfer: int) -> Path:
    """An AVIF that says these numbers."""
    Image.fromarray(noise(32, 32, 3)).save(path, quality=95, subsampling="4:4:4")
    content = path.read_bytes()
    at = content.index(b"nclx")
    path.write_bytes(content[: at + 4] + struct.pack(">HH", primaries, transfer) + content[at + 8 :])
    return path


def test_the_numbers_of_an_avif_are_kept(tmp_path: Path):
    p3 = avif(tmp_path / "a.avif", 12, 13)
    assert metadata_of(p3, "heif").colours.cicp == Cicp(12, 13, full=True)
    result, lines = enlarged(p3, "png")
    assert P3 in chunks_of(result)
    assert not lines
    assert profile_in(enlarged(p3, "jpg")[0]) == made_profile(PRIMARIES[12], CURVES[13], grey=False)
    pq = avif(tmp_path / "b.avif", 9, 16)
    assert PQ in chunks_of(enlarged(pq, "png")[0])
    assert "tags of its colours" in enlarged(pq, "tif")[1][0]


def test_chroma_of_an_avif_is_interpolated(tmp_path: Path):
    """Along a ramp from blue to red of 4 levels a pixel, the mean error is 1.6 levels where chroma is repeated."""
    ramp = np.zeros((32, 64, 3), np.uint8)
    ramp[..., 0], ramp[..., 2] = np.arange(64) * 4, 255 - np.arange(64) * 4
    Image.fromarray(ramp).save(tmp_path / "a.avif", quality=100, subsampling="4:2:0")
    read = read_picture(tmp_path / "a.avif")[0].numpy()
    assert np.abs(read.astype(int) - ramp).mean() < 0.8


def test_an_avif_is_turned_as_it_says(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    dark = np.zeros((16, 24, 4), np.uint8)
    dark[8:] = 255
    Image.fromarray(dark).save(tmp_path / "a.avif", exif=exif, quality=100)
    upscale_picture(tmp_path / "a.avif", tmp_path / "b.png", network("fsrcnn_s", 2))
    with Image.open(tmp_path / "b.png") as image:
        assert (image.size, image.mode, image.getexif().get(0x0112, 1)) == ((32, 48), "RGBA", 1)
        assert np.asarray(image)[:, [0, -1], 3].mean(axis=0).tolist() == [255, 0]  # the first row is on the right

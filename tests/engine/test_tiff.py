"""TIFF files of every kind of samples: enlarged as what they mean, or refused in one line."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from made import load, network, noise, save
from numpy.typing import NDArray
from PIL import Image

from fsrcnn.errors import FailureError
from fsrcnn.pictures.reading import read_picture
from fsrcnn.pictures.samples import left_out_channels
from fsrcnn.pictures.upscale import upscale_picture

Picture = NDArray[Any]


def smooth(*shape: int) -> NDArray[np.uint8]:
    return cv2.resize(noise(5, 6, shape[2]), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


RGB = smooth(20, 24, 3)
GREY, ALPHA = np.ascontiguousarray(RGB[..., 1]), np.ascontiguousarray(smooth(20, 24, 2)[..., 1])
WITH_ALPHA = np.dstack([RGB, ALPHA])


def ycbcr(rgb: Picture) -> Picture:
    """JFIF's, of full range; unrounded where the samples are."""
    matrix = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    return np.clip(np.rint(rgb @ np.transpose(matrix) + [0, 128, 128]), 0, 255).astype(np.uint8)


def tiff(path: Path, pixels: Picture, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return path


def by_hand(
    path: Path, bits: int, kind: int, data: bytes, samples: int = 1, *more: tuple[int, int, int, bytes]
) -> Path:
    """A TIFF of RGB's size in one strip, uncompressed. more: tag, type, count and four bytes of further entries."""
    short = lambda value: struct.pack("<HH", value, 0)  # noqa: E731
    height, width = GREY.shape
    entries = [(256, 3, 1, short(width)), (257, 3, 1, short(height)), (259, 3, 1, short(1)), (262, 3, 1, short(kind))]
    entries += [(258, 3, 1, short(bits)), (277, 3, 1, short(samples)), (278, 3, 1, short(height)), *more]
    entries.append((279, 4, 1, struct.pack("<I", len(data))))
    entries.append((273, 4, 1, struct.pack("<I", 8 + 2 + 12 * (len(entries) + 1) + 4)))
    directory = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in sorted(entries))
    path.write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + data)
    return path


def pixels_of(path: Path) -> Picture:
    return read_picture(path)[0].numpy()


# --- YCbCr ---


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_ycbcr_becomes_rgb(tmp_path: Path, compression: str | None):
    if compression == "lzw":
        Image.fromarray(ycbcr(RGB), "YCbCr").save(tmp_path / "a.tif", compression="tiff_lzw")
    else:
        tiff(tmp_path / "a.tif", ycbcr(RGB), photometric="ycbcr", compression=compression)
    assert np.abs(pixels_of(tmp_path / "a.tif").astype(int) - RGB).max() <= 2  # rounded twice
    upscale_picture(tmp_path / "a.tif", tmp_path / "b.tif", network("fsrcnn_s", 2))
    assert np.abs(load(tmp_path / "b.tif").mean(axis=(0, 1)) - RGB.mean(axis=(0, 1))).max() < 1


def test_ycbcr_of_limited_range_and_other_coefficients(tmp_path: Path):
    """ITU-R BT.709's, black 16, white 235, chroma from 16 to 240, as video is; 255 of 127 codes stand for 112."""
    red, green, blue = 0.2126, 0.7152, 0.0722
    y = RGB @ [red, green, blue]
    chroma = [(RGB[..., channel] - y) / (2 - 2 * part) for channel, part in ((2, blue), (0, red))]
    coded = np.dstack([16 + y * 219 / 255, *(128 + each * 112 / 127 for each in chroma)])
    fractions = [(529, "2I", 3, (2126, 10_000, 7152, 10_000, 722, 10_000), True)]
    fractions.append((532, "2I", 6, (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1), True))
    tiff(tmp_path / "a.tif", np.rint(coded).astype(np.uint8), photometric="ycbcr", extratags=fractions)
    assert np.abs(pixels_of(tmp_path / "a.tif").astype(int) - RGB).max() <= 2


def test_ycbcr_with_fewer_samples_of_chroma(tmp_path: Path):
    coded = ycbcr(np.repeat(np.repeat(RGB[::2, ::2], 2, axis=0), 2, axis=1))
    blocks = coded.reshape(10, 2, 12, 2, 3).transpose(0, 2, 1, 3, 4)
    data = np.concatenate([blocks[..., 0].reshape(10, 12, 4), blocks[:, :, 0, 0, 1:]], axis=2).tobytes()
    by_hand(tmp_path / "a.tif", 8, 6, data, 3, (530, 3, 2, struct.pack("<HH", 2, 2)))
    read = pixels_of(tmp_path / "a.tif")
    assert read.shape == RGB.shape
    assert np.abs(read[::2, ::2].astype(int) - RGB[::2, ::2]).max() <= 3


def test_ycbcr_in_planes_is_refused(tmp_path: Path):
    planes = np.ascontiguousarray(ycbcr(RGB).transpose(2, 0, 1))
    tiff(tmp_path / "a.tif", planes, photometric="ycbcr", planarconfig="separate")
    with pytest.raises(FailureError, match="channels in planes of their own"):
        read_picture(tmp_path / "a.tif")


# --- channels that are neither colour nor transparency ---


@pytest.mark.parametrize(
    ("extra", "photometric", "kept"),
    [
        (["unspecified"], "rgb", [0, 1, 2]),
        (["unspecified", "unspecified"], "rgb", [0, 1, 2]),
        (["unassalpha", "unspecified"], "rgb", [0, 1, 2, 3]),
        (["unspecified"], "minisblack", [0]),
        (["unassalpha"], "rgb", [0, 1, 2, 3]),
        (["unassalpha"], "minisblack", [0, 1]),
        (["unspecified"], "separated", [0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_only_alpha_is_transparency(tmp_path: Path, extra: list[str], photometric: str, kept: list[int], planes: str):
    colours = {"rgb": 3, "minisblack": 1, "separated": 4}[photometric]
    pixels = noise(20, 24, colours + len(extra))
    stored = pixels if planes == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tiff(tmp_path / "a.tif", stored, photometric=photometric, extrasamples=extra, planarconfig=planes)
    if (photometric, planes) == ("minisblack", "separate"):
        with pytest.raises(FailureError, match="planes of their own"):
            read_picture(tmp_path / "a.tif")
        return
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.tif").reshape(20, 24, -1), pixels[..., kept])
    assert left_out_channels(tmp_path / "a.tif") == pixels.shape[2] - len(kept)
    lines = upscale_picture(tmp_path / "a.tif", tmp_path / "b.tif", network("fsrcnn_s", 2))
    assert len(lines) == ("unspecified" in extra)
    assert load(tmp_path / "b.tif").shape[2:] in ((len(kept),), ())


def test_colours_under_a_channel_that_is_no_alpha_stay(tmp_path: Path):
    """Under transparency, colours are those of the pixels around; a mask leaves them as they are."""
    tiff(tmp_path / "a.tif", np.dstack([RGB, 0 * ALPHA]), photometric="rgb", extrasamples=["unspecified"])
    save(tmp_path / "b.tif", RGB)
    for name in "ab":
        upscale_picture(tmp_path / f"{name}.tif", tmp_path / f"{name}.png", network("fsrcnn_s", 2))
    np.testing.assert_array_equal(load(tmp_path / "a.png"), load(tmp_path / "b.png"))


def test_premultiplied_colours_are_divided(tmp_path: Path):
    opaque = np.maximum(ALPHA, 100)
    premultiplied = np.rint(RGB * (opaque[..., None] / 255)).astype(np.uint8)
    tiff(tmp_path / "a.tif", np.dstack([premultiplied, opaque]), photometric="rgb", extrasamples=["assocalpha"])
    read = pixels_of(tmp_path / "a.tif")
    np.testing.assert_array_equal(read[..., 3], opaque)
    assert np.abs(read[..., :3].astype(int) - RGB).max() <= 3  # of 255 / 100 / 2, and rounding


# --- every other kind ---


@pytest.mark.parametrize(
    ("pixels", "options", "expected"),
    [
        (RGB.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}, RGB),
        (RGB, {"photometric": "rgb", "tile": (16, 16)}, RGB),
        (RGB.astype(">u2") * 257, {"photometric": "rgb", "byteorder": ">"}, RGB * np.uint16(257)),
        (GREY, {"photometric": "miniswhite"}, 255 - GREY),
        (GREY * np.uint16(257), {"photometric": "miniswhite"}, (255 - GREY) * np.uint16(257)),
        (GREY > 127, {"photometric": "minisblack"}, np.where(GREY > 127, 255, 0)),
        (GREY > 127, {"photometric": "miniswhite"}, np.where(GREY > 127, 0, 255)),
    ],
)
def test_samples_are_read_as_what_they_mean(
    tmp_path: Path, pixels: Picture, options: dict[str, Any], expected: Picture
):
    read = pixels_of(tiff(tmp_path / "a.tif", np.ascontiguousarray(pixels), **options))
    np.testing.assert_array_equal(read.reshape(expected.shape), expected)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("kind", [0, 1])
def test_grey_of_few_bits(tmp_path: Path, bits: int, kind: int):
    levels = (GREY >> (8 - bits)).reshape(20, -1, 8 // bits)
    packed = (levels << np.arange(8 - bits, -1, -bits)).sum(axis=2).astype(np.uint8)
    read = pixels_of(by_hand(tmp_path / "a.tif", bits, kind, packed.tobytes()))
    expected = levels.reshape(GREY.shape).astype(int) * 255 // (2**bits - 1)
    np.testing.assert_array_equal(read.reshape(GREY.shape), 255 - expected if kind == 0 else expected)


def test_a_palette_becomes_its_colours(tmp_path: Path):
    palette = noise(3, 256).astype(np.uint16) * 257
    tiff(tmp_path / "a.tif", GREY, photometric="palette", colormap=palette)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.tif"), (palette // 257).T[GREY])


@pytest.mark.parametrize(
    ("pixels", "kind", "named"),
    [
        (RGB.astype(np.float32) / 255, "rgb", "samples of type float"),
        (RGB.astype(np.int16), "rgb", "samples of type short"),
        (RGB.astype(np.int8), "rgb", "samples of type char"),
        (RGB.astype(np.uint32), "rgb", "samples of type uint"),
        (RGB, "cielab", "CIELab"),
        (RGB, "icclab", "CIELab"),
        (GREY, "cfa", "a camera's raw samples"),
        (np.dstack([WITH_ALPHA, GREY]), "separated", "5 channels"),
    ],
)
def test_other_samples_are_refused(tmp_path: Path, pixels: Picture, kind: str, named: str):
    options = {"extrasamples": ["unassalpha"]} if kind == "separated" else {}
    tiff(tmp_path / "a.tif", pixels, photometric=kind, **options)
    with pytest.raises(FailureError) as complaint:
        upscale_picture(tmp_path / "a.tif", tmp_path / "b.png", network("fsrcnn_s", 2))
    assert str(complaint.value).startswith(f"{tmp_path / 'a.tif'}: {named}")
    assert "convert it to" in str(complaint.value)
    assert not (tmp_path / "b.png").exists()

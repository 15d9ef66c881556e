"""The pixels of an enlarged picture: parts, colours, depth and alpha."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from made import network, noise, posix, save
from numpy.typing import NDArray

from fsrcnn.chroma import padded, plain_bicubic
from fsrcnn.geometry import SCALES
from fsrcnn.pictures import pixels
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.resize import phase_weights
from imgproc import imresize

ROOT = Path(__file__).parents[2]


def upscaled(picture: NDArray[np.unsignedinteger], variant: str, scale: int) -> NDArray[np.unsignedinteger]:
    return enlarge_array(picture, network(variant, scale))


@pytest.mark.parametrize(("scale", "bands"), [(2, 4), (3, 3), (4, 2)])
def test_picture_in_parts_is_picture_as_a_whole(monkeypatch: pytest.MonkeyPatch, scale: int, bands: int):
    picture = noise(61, 47, bands, dtype=np.uint16)
    picture[10:50, 5:30, -1] = 0
    whole = upscaled(picture, "fsrcnn_s", scale)
    monkeypatch.setattr("fsrcnn.pictures.strips.ROWS", 11)
    monkeypatch.setattr("fsrcnn.pictures.strips.COLUMNS", 13)
    parts = upscaled(picture, "fsrcnn_s", scale)
    assert parts.shape == (61 * scale, 47 * scale, bands)
    # 16-bit levels: the network's float32 rounding alone, a few millionths of the range.
    assert np.abs(parts.astype(int) - whole).max() <= 1
    if bands % 2 == 0:  # alpha, without the network
        expected = np.floor(imresize(picture[..., -1] * (255 / 65535), scale) * (65535 / 255) + 0.5).clip(0, 65535)
        assert np.abs(whole[..., -1] - expected).max() <= 1


@pytest.mark.parametrize("shape", [(31, 45, 3), (17, 16, 1), (31, 20, 4), (1, 1, 3), (5, 130, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", SCALES)
def test_compiled_colours_are_the_plain_ones_to_one_level(
    monkeypatch: pytest.MonkeyPatch, scale: int, dtype: type, shape: tuple[int, int, int]
):
    picture = noise(*shape, dtype=dtype)
    compiled = upscaled(picture, "fsrcnn_s", scale)
    monkeypatch.setattr(pixels, "bicubic", plain_bicubic)
    monkeypatch.setattr(pixels, "compose", pixels.plain_compose)
    plain = upscaled(picture, "fsrcnn_s", scale)
    assert compiled.dtype == plain.dtype
    assert np.abs(compiled.astype(int) - plain).max() <= 1
    assert np.mean(compiled != plain) < (0.001 if dtype == np.uint8 else 0.05)


@pytest.mark.parametrize("scale", SCALES)
def test_plain_bicubic_is_matlabs(scale: int):
    plane = noise(9, 14).astype(np.float32)
    sr = np.empty((9 * scale, 14 * scale), np.float32)
    plain_bicubic(padded(plane), np.stack([phase_weights(scale)] * 2), sr)
    np.testing.assert_allclose(sr, imresize(plane, scale), atol=1e-4)


# Enlarges a picture and prints how much memory that took, in MiB, without the result if it is an array.
FILE = "upscale_picture(source, source.with_suffix('.sr.png'), network); array = 0"
SIZED = FILE.replace("network)", "network, size=checked_size(1.7))")
ARRAY = "lr = pyvips.Image.new_from_file(str(source)).numpy(); array = lr.nbytes + enlarge_array(lr, network).nbytes"
MEMORY = """
import resource, sys, pyvips
from pathlib import Path
from fsrcnn.network import load_network
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.sizes import checked_size
from fsrcnn.weights import shipped_weights
source, network = Path(sys.argv[1]), load_network(shipped_weights("fsrcnn_s", 2), 2, "cpu")
{}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - array / 2**20)
"""


@posix
@pytest.mark.parametrize("work", [FILE, SIZED, ARRAY], ids=["file", "file of another size", "array"])
def test_memory_is_bounded_by_the_parts(tmp_path: Path, work: str):
    """Four times the pixels do not need more memory once a picture has several parts."""
    peaks = []
    for side in (800, 1600):
        source = save(tmp_path / f"{side}.png", noise(side, side, 3))
        command = [sys.executable, "-c", MEMORY.format(work), source]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        peaks.append(float(output.split()[-1]))
    assert peaks[1] - peaks[0] < 60, peaks  # the larger result alone has 29 MiB, in float64 it would have 234


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(20, 23, 3), (3, 2, 3), (20, 20, 1)])
@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn", 2), ("fsrcnn", 4), ("fsrcnn_s", 4)])
def test_flat_colours_stay(variant: str, scale: int, shape: tuple[int, int, int], dtype: type):
    peak, extremes = np.iinfo(dtype).max, [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]]
    for flat in [*extremes, *np.random.default_rng(0).random((8, 3))]:
        flat = np.round(np.array(flat[: shape[2]]) * peak).astype(dtype)
        enlarged = upscaled(np.broadcast_to(flat, shape).copy(), variant, scale)
        assert np.abs(enlarged.astype(int) - flat).max() <= 1


def test_the_network_does_the_luma():
    """A photograph, reduced and enlarged again, is closer to the original than by bicubic interpolation."""
    hr = skimage.data.astronaut()
    lr = np.clip(np.round(imresize(hr, 1 / 2)), 0, 255).astype(np.uint8)
    sr = upscaled(lr, "fsrcnn", 2)
    error = [np.mean((enlarged - hr.astype(float)) ** 2) for enlarged in (sr, imresize(lr, 2))]
    assert 10 * np.log10(error[1] / error[0]) > 1  # dB


def test_edges_of_transparency_have_no_fringe():
    """A red disc on transparent black stays red to its edge, and what is opaque or empty stays so."""
    y, x = np.mgrid[-20:20, -20:20]
    alpha = np.clip((15 - np.hypot(x, y)) * 255, 0, 255).astype(np.uint8)
    picture = np.dstack([np.where(alpha > 0, channel, 0) for channel in (200, 30, 40)] + [alpha]).astype(np.uint8)
    enlarged = upscaled(picture, "fsrcnn", 3).astype(int)
    visible = enlarged[..., 3] > 0
    assert np.abs(enlarged[visible][:, :3] - (200, 30, 40)).max() <= 1
    assert (enlarged[54:66, 54:66, 3] == 255).all()
    assert (enlarged[:9, :9, 3] == 0).all()


def test_fill_transparent_by_hand():
    grey = np.array([[[90.0], [7.0], [30.0], [5.0], [5.0], [5.0]]], np.float32)
    alpha = np.array([[[255.0], [0.0], [85.0], [0.0], [0.0], [0.0]]], np.float32)
    filled = pixels.fill_transparent(grey, alpha, 1)
    # Both neighbours are equally near: (90 * 255 + 30 * 85) / (255 + 85); the last two have no visible neighbour.
    np.testing.assert_allclose(filled[0, :, 0], [90, 75, 30, 30, 5, 5])


def test_same_distance_by_hand():
    # Three pixels from each end differ; a picture of seven pixels has one more, which stands for all those between.
    np.testing.assert_array_equal(pixels.same_distance(10, 7, 3), [0, 1, 2, 3, 3, 3, 3, 4, 5, 6])
    np.testing.assert_array_equal(pixels.same_distance(4, 4, 3), [0, 1, 2, 3])

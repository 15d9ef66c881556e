"""The pixels of an enlarged picture: parts, colours, depth and alpha."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from made import network, noise, other_targets, posix, save
from numpy.typing import NDArray
from plain import random_weights, with_ranges

from fsrcnn import integers
from fsrcnn.chroma import padded, plain_bicubic
from fsrcnn.geometry import SCALES, variant_sizes
from fsrcnn.integers import IntegerNetwork, LumaSteps, integer_network, luma_of
from fsrcnn.limits import extremes
from fsrcnn.native import colour
from fsrcnn.native.target import Target, host
from fsrcnn.network import network_of
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


def test_luma_in_steps_is_exact_integer_arithmetic():
    colour = noise(256, 256, 3)
    colour[0, :2] = [[0] * 3, [255] * 3]
    for samples in (colour, colour[..., :1]):
        y = pixels.luma_and_chroma(samples.astype(np.float32), in_steps=True)[0]
        assert np.array_equal(y, luma_of(samples))
        assert y[0, :2].tolist() == [32 * 16, 32 * 235]


@pytest.mark.parametrize("scale", SCALES)
def test_compiled_colours_of_luma_in_steps_are_the_plain_ones(monkeypatch: pytest.MonkeyPatch, scale: int):
    network = network_of(with_ranges(random_weights(variant_sizes("fsrcnn_s", scale))), "cpu")
    for picture in (noise(31, 45, 4), noise(5, 130)):
        compiled = enlarge_array(picture, network)
        with monkeypatch.context() as patched:
            patched.setattr(pixels, "bicubic", plain_bicubic)
            patched.setattr(pixels, "compose", pixels.plain_compose)
            plain = enlarge_array(picture, network)
            patched.setattr("fsrcnn.pictures.strips.ROWS", 11)
            patched.setattr("fsrcnn.pictures.strips.COLUMNS", 13)
            in_parts = enlarge_array(picture, network)
        assert np.abs(compiled.astype(int) - plain).max() <= 1
        assert np.mean(compiled != plain) < 0.001
        assert np.array_equal(in_parts, plain)


def plain_errors(network: IntegerNetwork, height: int, width: int) -> NDArray[np.int16]:
    """On flat pictures of this size, in blocks of SR pixels."""
    scale = network.sizes.upscale_factor
    lumas = [integers.flat_luma(level) for level in range(integers.FLAT_LEVELS)]
    errors = np.stack([integers.enlarge(network, np.full((height, width), luma, np.int16)) - luma for luma in lumas])
    return errors.reshape(-1, height, scale, width, scale).transpose(0, 1, 3, 2, 4).astype(np.int16)


def plain_luma(network: IntegerNetwork, y: LumaSteps) -> LumaSteps:
    """The luma of the enlarged picture, the LR luma's every pixel having an error of its own."""
    errors = plain_errors(network, *y.shape)
    sr = integers.enlarge(network, y)
    return integers.corrected_and_limited(sr, y, *extremes(y), errors, *map(np.arange, y.shape))


@pytest.mark.parametrize(("scale", "shape"), [(2, (14, 17)), (3, (9, 4)), (4, (1, 13))])
def test_grey_is_the_plain_integers_to_the_byte(monkeypatch: pytest.MonkeyPatch, scale: int, shape: tuple[int, int]):
    monkeypatch.setattr(Target, "prefers_integers", True)
    weights, picture = with_ranges(random_weights(variant_sizes("fsrcnn_s", scale))), noise(*shape)
    network, plain = network_of(weights, "cpu"), integer_network(weights)
    assert network.in_integers
    expected = integers.to_grey(plain_luma(plain, luma_of(picture[..., None])))
    assert np.mean((expected > 0) & (expected < 255)) > 0.1
    assert np.array_equal(enlarge_array(picture, network), expected)
    with_alpha = enlarge_array(np.dstack([picture, np.full_like(picture, 255)]), network)
    assert np.array_equal(with_alpha[..., 0], expected)
    monkeypatch.setattr("fsrcnn.pictures.strips.ROWS", 5)
    monkeypatch.setattr("fsrcnn.pictures.strips.COLUMNS", 6)
    assert np.array_equal(enlarge_array(picture, network), expected)
    monkeypatch.setattr(pixels, "compose", pixels.plain_compose)
    assert np.array_equal(enlarge_array(picture, network), expected)


@pytest.mark.parametrize("scale", SCALES)
def test_luma_of_colour_is_the_plain_integers_to_the_byte_on_every_level(scale: int):
    """What the compiled function leaves in the plane of luma, of any luma and errors that there can be."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, integers.PEAK_STEPS + 1, (6, 21), np.int16)
    y[0, :4] = [0, 512, 7520, integers.PEAK_STEPS]
    sr = generator.integers(-(2**14), 2**14, (6 * scale, 21 * scale), np.int16)
    sr[::2] = generator.integers(0, integers.PEAK_STEPS + 1, sr[::2].shape, np.int16)
    errors = generator.integers(-24000, 16000, (integers.FLAT_LEVELS, 3, 4, scale, scale), np.int16)
    errors[:, :2] //= 100
    down, across = generator.integers(0, 3, 6), generator.integers(0, 4, 21)
    planes = generator.random((2, *sr.shape), np.float32) * np.float32(255)
    matrix = pixels.to_samples_matrix(3, 255)
    luma = integers.corrected_and_limited(sr, y, *extremes(y), errors, down, across)
    expected = pixels.plain_compose(y, *extremes(y), sr, errors, down, across, planes, matrix, False, 8)
    for target in [host(), *other_targets()]:
        given = sr.copy()
        colours = colour.compose(y, *extremes(y), given, errors, down, across, planes, matrix, False, 8, target)
        assert np.array_equal(given, luma)
        assert np.abs(colours.astype(int) - expected).max() <= 1
        grey = colour.compose(
            y, *extremes(y), sr.copy(), errors, down, across, planes[:0], matrix[:1, 2:], False, 8, target
        )
        assert np.array_equal(grey[..., 0], integers.to_grey(luma))


@pytest.mark.parametrize("shape", [(20, 23, 3), (3, 2, 3), (20, 20, 1)])
def test_flat_colours_stay_in_integers(shape: tuple[int, int, int]):
    network = network_of(with_ranges(random_weights(variant_sizes("fsrcnn_s", 2))), "cpu")
    for flat in [*np.eye(4, 3), *np.random.default_rng(0).random((8, 3))]:
        picture = np.broadcast_to(np.round(255 * flat[: shape[2]]).astype(np.uint8), shape)
        assert np.abs(enlarge_array(picture, network).astype(int) - picture[0, 0]).max() <= 1


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

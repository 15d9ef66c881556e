"""The mean of the eight turned and mirrored results."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from made import load, make_clip, network, noise, save
from numpy.typing import NDArray
from plain import random_weights, with_ranges

import fsrcnn
from fsrcnn import cli, integers
from fsrcnn.ensemble import Ensemble
from fsrcnn.geometry import SCALES, VARIANTS, variant_sizes
from fsrcnn.limits import limit_samples
from fsrcnn.native.target import Target
from fsrcnn.network import Network, SamplePlane, TorchNetwork, network_of, sample_type
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.pictures.pixels import Layout
from fsrcnn.pictures.restoration import Restoration
from fsrcnn.pictures.strips import strip_memory
from fsrcnn.videos import frames
from fsrcnn.videos.upscale import upscale_video
from fsrcnn.weights import load_weights, shipped_weights


def plain_mean(network: Callable[[NDArray[Any]], NDArray[Any]], lr: NDArray[Any]) -> NDArray[np.float64]:
    """By np.rot90 and np.fliplr: each form enlarged by itself and turned back."""
    results = []
    for turns, mirrored in itertools.product(range(4), (False, True)):
        form = np.rot90(np.fliplr(lr) if mirrored else lr, turns)
        back = np.rot90(network(form.copy()), -turns)
        results.append(np.fliplr(back) if mirrored else back)
    return np.mean(results, axis=0, dtype=np.float64)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (20, 3), (37, 53)])
def test_it_is_the_mean_of_eight(variant: str, scale: int, shape: tuple[int, int]):
    plain = network_of(random_weights(variant_sizes(variant, scale)), "cpu")
    lr = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected = plain_mean(plain, lr)
    np.testing.assert_allclose(Ensemble(plain)(lr), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert shape == (1, 1) or np.abs(plain(lr) - expected).max() > 0.01  # the forms do differ


@pytest.mark.parametrize("scale", SCALES)
def test_a_turned_picture_gives_the_turned_result(scale: int):
    finest, lr = Ensemble(network("fsrcnn", scale)), np.random.default_rng(0).random((30, 41), dtype=np.float32)
    for turn in (np.rot90, np.fliplr, np.flipud, np.transpose):
        np.testing.assert_allclose(finest(turn(lr)), turn(finest(lr)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_rows_of_a_plane_are_those_of_the_whole(scale: int):
    """As strips of pictures and the threads take them: of planes whose rows have gaps too."""
    lr = np.random.default_rng(0).random((150, 60), dtype=np.float32)[:, 7:40]
    by_pytorch = TorchNetwork(load_weights(shipped_weights("fsrcnn", scale)), torch.device("cpu"))
    for plain in (network("fsrcnn", scale), by_pytorch):
        finest = Ensemble(plain)
        whole = finest(lr)
        np.testing.assert_allclose(whole, plain_mean(plain, lr), rtol=0, atol=1e-6)
        for first, last in ((0, 150), (0, 1), (5, 6), (20, 90), (149, 150)):
            np.testing.assert_allclose(finest.rows(lr, first, last), whole[scale * first : scale * last], atol=1e-6)


@pytest.mark.parametrize("shape", [(17, 17), (17, 5), (1, 17)])
def test_a_flat_plane_needs_no_eight_results(shape: tuple[int, int]):
    finest, luma = Ensemble(network("fsrcnn_s", 3)), np.float32(0.4)
    np.testing.assert_array_equal(finest.flat(luma, *shape), Network.flat(finest, luma, *shape))


@pytest.mark.parametrize(("scale", "bands", "dtype"), [(2, 4, np.uint8), (3, 3, np.uint16), (4, 1, np.uint8)])
def test_picture_in_parts_is_picture_as_a_whole(monkeypatch: pytest.MonkeyPatch, scale: int, bands: int, dtype: type):
    picture, finest = noise(61, 47, bands, dtype=dtype), Ensemble(network("fsrcnn_s", scale))
    picture[10:50, 5:30, -1] = 0
    whole = enlarge_array(picture, finest)
    assert np.abs(enlarge_array(picture, network("fsrcnn_s", scale)).astype(int) - whole).max() > 1
    monkeypatch.setattr("fsrcnn.pictures.strips.ROWS", 11)
    monkeypatch.setattr("fsrcnn.pictures.strips.COLUMNS", 13)
    assert np.abs(enlarge_array(picture, finest).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(20, 23, 3), (3, 2, 3), (20, 20, 1)])
def test_flat_colours_stay(shape: tuple[int, int, int], dtype: type):
    peak, finest = np.iinfo(dtype).max, Ensemble(network("fsrcnn_s", 2))
    for flat in [[0, 0, 0], [1, 1, 1], [1, 0, 0], *np.random.default_rng(0).random((4, 3))]:
        flat = np.round(np.array(flat[: shape[2]]) * peak).astype(dtype)
        enlarged = enlarge_array(np.broadcast_to(flat, shape).copy(), finest)
        assert np.abs(enlarged.astype(int) - flat).max() <= 1


def test_a_dot_of_light_ends_where_the_limiter_says():
    picture = np.zeros((31, 31), np.uint8)
    picture[15, 15] = 255
    enlarged = enlarge_array(picture, Ensemble(network("fsrcnn", 2)))
    lit = np.argwhere(enlarged)
    assert lit.min() >= 2 * (15 - 2)
    assert lit.max() < 2 * (15 + 3)
    np.testing.assert_array_equal(enlarged, enlarged[::-1])  # which one result alone is not
    np.testing.assert_array_equal(enlarged, enlarged.T)


def test_restored_it_is_the_mean_of_restored_results():
    plain = network("fsrcnn_s", 2)
    finest, lr = Ensemble(plain), np.random.default_rng(0).random((20, 30), dtype=np.float32)
    assert finest.can_restore
    assert finest.restored(0) is finest
    restored = finest.restored(0.5)
    assert restored is finest.restored(0.5)
    assert (restored.pool, restored.stopped) == (plain.pool, plain.stopped)
    np.testing.assert_allclose(restored(lr), plain_mean(plain.restored(0.5), lr), rtol=0, atol=1e-6)
    picture = noise(20, 30, 3)
    by_auto = enlarge_array(picture, finest, Restoration(0.5, finest))
    np.testing.assert_array_equal(by_auto, enlarge_array(picture, restored))


def test_weights_without_restoring_ones():
    finest = Ensemble(network_of(load_weights(shipped_weights("fsrcnn_s", 2)), "cpu"))
    assert not finest.can_restore


# Bits, range; a sample of luma s becomes (gain * s + offset) / 255.
SAMPLES = [(8, False, 1.0, 0), (8, True, 219 / 255, 16), (10, False, 1 / 4, 0), (10, True, 219 / 1023, 16)]


@pytest.mark.parametrize(("bits", "full_range", "gain", "offset"), SAMPLES)
def test_samples_of_films_are_rounded_once_in_float32(bits: int, full_range: bool, gain: float, offset: int):
    weights = load_weights(shipped_weights("fsrcnn_s", 2))
    plain = network_of(dataclasses.replace(weights, additions={}), "cpu")  # without ranges for integers
    lr = noise(24, 32) * sample_type(bits)(2 ** (bits - 8))
    sr = np.empty((48, 64), lr.dtype)
    Ensemble(plain).enlarge_samples(lr, sr, bits, full_range)
    exact = (255 * plain_mean(plain, ((gain * lr + offset) / 255).astype(np.float32)) - offset) / gain
    assert np.abs(sr - exact.clip(0, 2**bits - 1)).max() < 0.5 + 1e-3 * 2 ** (bits - 8)


@pytest.mark.parametrize("shape", [(1, 1), (20, 3), (17, 23)])
@pytest.mark.parametrize("scale", SCALES)
def test_in_integers_it_is_the_mean_of_eight_to_the_byte(
    monkeypatch: pytest.MonkeyPatch, scale: int, shape: tuple[int, int]
):
    monkeypatch.setattr(Target, "prefers_integers", True)
    weights = with_ranges(random_weights(variant_sizes("fsrcnn_s", scale)))
    plain, finest = integers.integer_network(weights), Ensemble(network_of(weights, "cpu"))
    assert finest.in_integers

    def mean(lr: NDArray[np.int16]) -> NDArray[np.int16]:
        """Rounded, halves up."""
        exact = plain_mean(lambda form: integers.enlarge(plain, form), lr)  # eighths, which float64 holds
        return np.floor(exact + 0.5).astype(np.int16)

    samples = noise(*shape)
    for full_range, to_samples in ((False, integers.to_limited), (True, integers.to_grey)):
        lr, sr = integers.from_samples(samples, full_range), np.empty([scale * side for side in shape], np.uint8)
        expected = mean(lr)
        for first, last in ((0, len(lr)), (len(lr) // 3, len(lr) // 3 + 1)):
            rows = slice(scale * first, scale * last)
            np.testing.assert_array_equal(finest.rows_in_steps(lr, first, last), expected[rows])
        finest.enlarge_samples(samples, sr, 8, full_range)
        np.testing.assert_array_equal(sr, to_samples(expected))
    assert shape == (1, 1) or (integers.enlarge(plain, lr) != expected).any()
    flat = np.full(shape, 4321, np.int16)
    np.testing.assert_array_equal(finest.flat_in_steps(flat[0, 0], *shape), mean(flat))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_mean_of_clipped_results_is_made_in_float32(monkeypatch: pytest.MonkeyPatch, variant: str):
    """Of noise in black and white, whose results go thousands of levels too far, beyond what 16 bits hold."""
    monkeypatch.setattr(Target, "prefers_integers", True)
    finest = Ensemble(network_of(load_weights(shipped_weights(variant, 4)), "cpu"))
    samples = np.random.default_rng(0).integers(0, 2, (30, 41), np.uint8) * np.uint8(219) + np.uint8(16)
    sr, exact = np.empty((120, 164), np.uint8), finest(samples / np.float32(255)) * 255
    assert np.abs(exact).max() > 512
    finest.enlarge_samples(samples, sr, 8, full_range=False)
    assert np.abs(sr - exact.clip(0, 255)).max() <= 1
    rows = finest.rows_in_steps(integers.from_samples(samples, full_range=False), 3, 9)
    assert np.abs(rows / 32 - exact[12:36].clip(-1024, 1024)).max() <= 1 / 16


def test_every_way_in_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    picture = noise(23, 31, 3)
    source = save(tmp_path / "a.png", picture)
    expected = enlarge_array(picture, Ensemble(network("fsrcnn_s", 3)))
    arguments = [source, "--upscale-factor", 3, "--variant", "fsrcnn_s", "--ensemble", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["upscale.py", *map(str, arguments)])
    assert cli.upscale() == 0
    np.testing.assert_array_equal(load(tmp_path / "a_x3.png"), expected)
    settings = {"variant": "fsrcnn_s", "ensemble": True, "device": "cpu"}
    assert fsrcnn.enlarge_file(source, tmp_path / "b.png", 3, **settings) == ()
    np.testing.assert_array_equal(load(tmp_path / "b.png"), expected)
    np.testing.assert_array_equal(fsrcnn.enlarge(picture, 3, **settings), expected)
    loaded = fsrcnn.load("fsrcnn_s", 3, ensemble=True)
    assert fsrcnn.load("fsrcnn_s", 3, ensemble=True) is loaded is not fsrcnn.load("fsrcnn_s", 3)
    lr = np.asfortranarray(picture[..., 0] / np.float32(255))
    np.testing.assert_array_equal(loaded(lr), Ensemble(network("fsrcnn_s", 3))(lr))


def test_a_film_takes_it(tmp_path: Path):
    source, target = make_clip(tmp_path / "lr.mkv"), tmp_path / "sr.mkv"
    upscale_video(source, target, Ensemble(network("fsrcnn_s", 2)), "ffv1")
    for small, large in zip(luma_planes(source), luma_planes(target), strict=True):
        expected = np.empty_like(large)
        Ensemble(network("fsrcnn_s", 2)).enlarge_samples(small, expected, 8, full_range=False)
        limit_samples(small, expected)
        np.testing.assert_array_equal(large, expected)


def luma_planes(path: Path) -> list[SamplePlane]:
    with av.open(str(path)) as container:
        return [frames.sample_planes(frame)[0].copy() for frame in container.decode(video=0)]


def test_memory_is_counted():
    plain = network("fsrcnn_s", 2)
    for height, width, part in ((9000, 5000, 256 * 1024), (10, 20, 10 * 20)):
        layout = Layout(height, width, bands=3, bits=8, has_alpha=False)
        more = strip_memory(layout, Ensemble(plain)) - strip_memory(layout, plain)
        assert more == min(plain.threads, math.ceil(height / 256)) * 3 * (4 * part) * 4  # three planes of a part each


@pytest.mark.parametrize("lr", [np.zeros((4, 5), np.uint8), [[0.5]], np.zeros((0, 5), np.float32)])
def test_it_takes_planes_of_luma_alone(lr: object):
    with pytest.raises(fsrcnn.Error, match="lr: got "):
        Ensemble(network("fsrcnn_s", 2))(lr)


@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_the_argument_is_a_boolean(wrong: object):
    with pytest.raises(fsrcnn.Error, match=r"ensemble: got .*, expected True or False"):
        fsrcnn.enlarge(noise(4, 5), ensemble=wrong)


def test_two_networks_in_a_row_are_both_ensembles(monkeypatch: pytest.MonkeyPatch):
    picture, steps = noise(20, 16, 3), []
    for name in ("rows", "rows_in_steps"):
        mean = getattr(Ensemble, name)

        def noted(self: Ensemble, *given: object, mean: Callable[..., object] = mean) -> object:
            steps.append(self.upscale_factor)
            return mean(self, *given)

        monkeypatch.setattr(Ensemble, name, noted)
    fsrcnn.enlarge(picture, width=6 * 16, ensemble=True)
    assert set(steps) == {2, 3}

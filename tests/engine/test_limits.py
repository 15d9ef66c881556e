"""Enlarged pictures and videos stay near the range of the small picture's pixels around each of their own."""

from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest
from made import network, noise, other_targets
from numpy.typing import NDArray

from fsrcnn.geometry import SCALES
from fsrcnn.limits import extremes, limit_samples, plain_limit
from fsrcnn.native import limits as compiled
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.videos.frames import enlarged, sample_planes

SHAPES = [(1, 1), (1, 9), (7, 1), (3, 4), (20, 37), (33, 70)]


def bounds(lr: NDArray[np.generic], scale: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By hand: the range within two pixels, widened by one and a half of it on both sides, for each enlarged pixel."""
    values = lr.astype(np.float64)
    least, greatest = (
        np.array(
            [
                [of(values[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]) for x in range(lr.shape[1])]
                for y in range(lr.shape[0])
            ]
        )
        for of in (np.min, np.max)
    )
    wide = np.ones((scale, scale))
    return np.kron(2.5 * least - 1.5 * greatest, wide), np.kron(2.5 * greatest - 1.5 * least, wide)


def limited(sr: NDArray[np.generic], lr: NDArray[np.generic], scale: int) -> NDArray[np.generic]:
    """By hand, rounded halves up."""
    return np.floor(np.clip(sr, *bounds(lr, scale)) + 0.5).astype(sr.dtype)


def smooth(*shape: int, dtype: type) -> NDArray[np.generic]:
    """Noise of little range, so that limits bite."""
    return (noise(*shape) % 21 + 100).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_extremes_by_hand(shape: tuple[int, int], dtype: type):
    lr = np.zeros((shape[0], shape[1] + 3), dtype)[:, : shape[1]]  # rows with gaps
    lr[:] = smooth(*shape, dtype=dtype)
    least, greatest = (each.astype(np.float64) for each in extremes(lr))
    low, high = bounds(lr, 1)
    np.testing.assert_array_equal(2.5 * least - 1.5 * greatest, low)
    np.testing.assert_array_equal(2.5 * greatest - 1.5 * least, high)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", SCALES)
def test_every_form_limits_samples_alike(scale: int, dtype: type):
    forms = [plain_limit, *(partial(compiled.limit, target=target) for target in other_targets())]
    for shape in SHAPES:
        lr = smooth(*shape, dtype=dtype)
        height, width = (scale * length for length in shape)
        sr = np.zeros((height, width + 5), dtype)[:, :width]
        sr[:] = noise(height, width, dtype=dtype)
        expected = limited(sr, lr, scale)
        assert (expected != sr).any()
        for limit in (limit_samples, *(lambda lr, sr, form=form: form(*extremes(lr), sr) for form in forms)):
            given = np.zeros((height, width + 5), dtype)[:, :width]
            given[:] = sr
            limit(lr, given)
            np.testing.assert_array_equal(given, expected)
            assert (given.base[:, width:] == 0).all()


@pytest.mark.parametrize(
    ("variant", "scale", "dtype"),
    [("fsrcnn", 2, np.uint8), ("fsrcnn", 3, np.uint8), ("fsrcnn_s", 4, np.uint8), ("fsrcnn_s", 2, np.uint16)],
)
def test_a_dot_of_light_does_not_explode(variant: str, scale: int, dtype: type):
    """In grey, so that a sample is its luma. The networks alone put rings ten pixels wide around a dot."""
    peak = np.iinfo(dtype).max
    lr = np.full((31, 33), peak // 4, dtype)
    lr[15, 16] = lr[2, 2] = peak // 3
    sr = enlarge_array(lr, network(variant, scale))
    low, high = bounds(lr, scale)
    assert (sr >= np.floor(low + 0.49)).all()
    assert (sr <= np.floor(high + 0.51)).all()
    far = np.ones_like(sr, bool)
    for y, x in ((15, 16), (2, 2)):
        far[max(y - 2, 0) * scale : (y + 3) * scale, max(x - 2, 0) * scale : (x + 3) * scale] = False
    assert np.abs(sr[far].astype(int) - peak // 4).max() <= 1


@pytest.mark.parametrize("pixel_format", ["gray", "yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("full_range", [False, True])
def test_frames_are_limited(pixel_format: str, full_range: bool):
    frame = av.VideoFrame(48, 32, pixel_format)
    frame.time_base = Fraction(1, 25)
    for plane in sample_planes(frame):
        plane[:] = 64
    luma = sample_planes(frame)[0]
    luma[10:20, 20] = 70
    sr = sample_planes(enlarged(frame, network("fsrcnn_s", 2), full_range))[0]
    np.testing.assert_array_equal(sr, limited(sr, luma, 2))
    assert (sr[50:, :30] == 64).all()  # at the border too, beyond which the network sees black

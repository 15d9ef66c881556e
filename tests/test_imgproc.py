"""The evaluation protocol: published figures and values worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

import imgproc
from dataset import folder_pairs, sample_pairs

DATA = Path(__file__).parent.parent / "data"

# PSNR / SSIM of bicubic interpolation as the paper and its successors print them.
PUBLISHED_BICUBIC = {
    ("Set5", 2): (33.6614, 0.9299),
    ("Set5", 3): (30.3922, 0.8682),
    ("Set5", 4): (28.4207, 0.8104),
    ("Set14", 2): (30.2318, 0.8687),
    ("Set14", 3): (27.5405, 0.7736),
    ("Set14", 4): (26.0001, 0.7019),
    ("BSD100", 2): (29.5579, 0.8431),
    ("BSD100", 3): (27.2061, 0.7388),
    ("BSD100", 4): (25.9606, 0.6674),
}
# Figures of the same code on pictures that every installation has, recorded while the above were met.
FROZEN_BICUBIC = {
    ("Samples", 2): (31.5011, 0.9047),
    ("Samples", 3): (28.9399, 0.8363),
    ("Samples", 4): (27.4252, 0.7815),
}
AT_HAND = {key: value for key, value in PUBLISHED_BICUBIC.items() if (DATA / key[0]).is_dir()}


@pytest.mark.parametrize(("key", "expected"), (FROZEN_BICUBIC | AT_HAND).items())
def test_bicubic_baseline(key: tuple[str, int], expected: tuple[float, float]):
    name, scale = key
    pairs = sample_pairs(scale) if name == "Samples" else folder_pairs(DATA / name, scale)
    scores = [pair.score(pair.bicubic()) for pair in pairs]
    psnr, ssim = (np.mean([score[metric] for score in scores]) for metric in ("psnr", "ssim"))
    assert (f"{psnr:.4f}", f"{ssim:.4f}") == (f"{expected[0]:.4f}", f"{expected[1]:.4f}")


def test_imresize_by_hand():
    # Enlarging by 2 puts samples at quarter distances: cubic(1/4), cubic(3/4), cubic(5/4), cubic(7/4) with a = -1/2.
    near, next_, far, last = 0.8671875, 0.2265625, -0.0703125, -0.0234375
    step = np.array([[0.0, 0, 0, 128, 128, 128]])
    enlarged = imgproc.imresize(np.repeat(step, 4, axis=0), 2)
    edge = 128 * np.array([last, last + far, far + next_ + last + (1 - near - next_ - far - last)])
    np.testing.assert_allclose(enlarged[0, [3, 4]], [128 * last, 128 * far], atol=1e-12)
    np.testing.assert_allclose(enlarged[0, [5, 6]], [128 * (next_ + last), 128 * (near + far)], atol=1e-12)
    assert enlarged.shape == (8, 12)
    assert edge is not None


@pytest.mark.parametrize("scale", [1 / 3, 0.5, 0.9, 1.0, 1.7, 4])
def test_imresize_keeps_constants_and_matches_per_channel(scale: float):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (31, 17, 3), dtype=np.uint8)
    before = colour.copy()
    resized = imgproc.imresize(colour, scale)
    assert resized.shape == (np.ceil(31 * scale), np.ceil(17 * scale), 3)
    np.testing.assert_array_equal(resized[..., 1], imgproc.imresize(colour[..., 1], scale))
    np.testing.assert_array_equal(colour, before)
    np.testing.assert_allclose(imgproc.imresize(np.full((5, 9), 77), scale), 77, atol=1e-10)


def test_colour_conversion():
    # MATLAB: rgb2ycbcr(uint8([255 255 255; 255 0 0; 0 255 0; 0 0 255; 0 0 0]))
    rgb = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]], dtype=np.uint8)
    ycbcr = [[[235, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110], [16, 128, 128]]]
    np.testing.assert_array_equal(imgproc.rgb_to_ycbcr(rgb), ycbcr)
    exact = imgproc.rgb_to_ycbcr(rgb.astype(np.float64))
    np.testing.assert_allclose(imgproc.ycbcr_to_rgb(exact), rgb, atol=1e-10)
    every_8th = np.stack(np.meshgrid(*[np.arange(0, 256, 8, dtype=np.uint8)] * 3), axis=-1).reshape(32, -1, 3)
    back = imgproc.ycbcr_to_rgb(imgproc.rgb_to_ycbcr(every_8th))
    assert np.abs(back.astype(int) - every_8th).max() <= 2  # Cb rounded by 0.5 alone moves B by 1.01
    np.testing.assert_array_equal(imgproc.luma(rgb), [[235, 81, 145, 41, 16]])
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(imgproc.luma(grey), grey)


def test_psnr_by_hand():
    hr = np.zeros((10, 10), dtype=np.uint8)
    sr = hr.copy()
    sr[0, 0] = 255  # MSE = 255^2 / 100
    assert imgproc.psnr(sr, hr) == pytest.approx(20)
    assert imgproc.psnr(hr, hr) == np.inf
    with pytest.raises(ValueError, match="shape"):
        imgproc.psnr(hr, hr[:1])


def test_ssim_by_hand():
    # For flat pictures only the luminance term is left: (2 a b + C1) / (a^2 + b^2 + C1), C1 = (0.01 * 255)^2.
    a, b, c1 = 100.0, 120.0, 6.5025
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    assert imgproc.ssim(np.full((12, 12), a), np.full((12, 12), b)) == pytest.approx(expected)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, 11, 11))
    # One valid position: the Gaussian window's own statistics.
    window = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
    covariance = (window * (x - mean_x) * (y - mean_y)).sum()
    c2 = (0.03 * 255) ** 2
    expected = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    expected /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    assert imgproc.ssim(x, y) == pytest.approx(expected)


def test_score_rounds_clips_and_cuts_the_border():
    hr = np.full((20, 20), 200, dtype=np.uint8)
    sr = np.full((20, 20), 200.4)
    sr[:3] = sr[:, -3:] = 0  # only in the border of three
    assert imgproc.score(sr, hr, 3) == {"psnr": np.inf, "ssim": 1.0}
    assert imgproc.score(np.full((20, 20), 300.0), np.full((20, 20), 255, dtype=np.uint8), 3)["psnr"] == np.inf
    assert imgproc.score(sr + 0.2, hr, 3)["psnr"] == pytest.approx(20 * np.log10(255))


def test_crops_and_turns():
    image = np.arange(7 * 8).reshape(7, 8)
    np.testing.assert_array_equal(imgproc.modcrop(image, 3), image[:6, :6])
    np.testing.assert_array_equal(imgproc.shave(image, 2), image[2:5, 2:6])
    np.testing.assert_array_equal(imgproc.shave(image, 0), image)
    turns = [imgproc.dihedral(image, operation) for operation in range(8)]
    expected = [np.rot90(image, k) for k in range(4)] + [np.rot90(image.T, k) for k in range(4)]
    assert {turn.tobytes() + bytes(turn.shape) for turn in turns} == {e.tobytes() + bytes(e.shape) for e in expected}
    np.testing.assert_array_equal(turns[0], image)


def test_rounding_is_matlabs():
    np.testing.assert_array_equal(imgproc.to_uint8(np.array([0.5, 1.5, 2.5, -3, 254.5, 300])), [1, 2, 3, 0, 255, 255])

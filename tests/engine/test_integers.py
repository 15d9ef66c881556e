"""The network in 16-bit integers: sums by hand, bounds, what a weights file holds, and how near it is to float32."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from made import random_network

from dataset import SAMPLE_PICTURES, evaluation_pair, write_image
from evaluation.integers import SimulatedIntegers
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, VARIANTS, Sizes
from fsrcnn.integers import (
    FLAT_LEVELS,
    PEAK_STEPS,
    IntegerConvolution,
    IntegerDeconvolution,
    IntegerNetwork,
    NotInIntegersError,
    corrected_and_limited,
    enlarge,
    enlarge_samples,
    flat_luma,
    from_samples,
    integer_network,
    luma_of,
    quantised,
    sum_bounds,
    to_grey,
)
from fsrcnn.limits import enlarged_by_repeating, extremes, limits
from fsrcnn.luma import BLACK, WHITE
from fsrcnn.network import load_network
from fsrcnn.restore import STEPS, blended, restoring_path
from fsrcnn.weights import INTEGER_RANGES, PRETRAINED, Weights, load_weights, save_weights, shipped_weights
from training.calibrate import SIDE, all_files, calibrated, reduced_luma

SHIPPED = [(variant, scale) for variant in VARIANTS for scale in SCALES]


def by_hand(
    weight: int, bias: int, shift: int, positive: int, negative: int, last: int, lift: int = 0
) -> IntegerNetwork:
    """A network of one channel whose first convolution alone does something; the others pass values on."""

    def layer(
        size: int, weight: int, bias: int, shift: int, positive: int, negative: int, lift: int = 0
    ) -> IntegerConvolution:
        kernel = np.zeros((1, 1, size, size), np.int16)
        kernel[0, 0, size // 2, size // 2] = weight
        factors = (np.array([factor], np.int16) for factor in (positive, negative))
        of_sums = (np.array([value], np.int32) for value in (bias, shift, lift))
        return IntegerConvolution(kernel, *of_sums, *factors)

    pass_on = [layer(1, 2, 1, 1, 2**14, 2**14) for _ in range(2)]
    kernel = np.zeros((4, 1, 5, 5), np.int16)
    kernel[:, 0, 2, 2] = last
    deconvolution = IntegerDeconvolution(kernel, np.full(4, 2, np.int32), 2)
    first = layer(5, weight, bias, shift, positive, negative, lift)
    return IntegerNetwork(Sizes(2, 1, 1, 0), (first, *pass_on), deconvolution)


def test_a_pixel_by_hand():
    # 100 * 3000 + 512 = 300512; >> 10 = 293 (293.5); * 16384 + 2^14 >> 15 = 147 (146.5 and half, rounded up).
    # Twice (2 * y + 1) >> 1 = y, halved with halves up: 74, 37. Then (37 * 16 + 2) >> 2 = 148, in 1/64; + 1 >> 1 = 74.
    network = by_hand(3000, 512, 10, 2**14, -(2**13), 16)
    np.testing.assert_array_equal(enlarge(network, np.array([[100]], np.int16)), np.full((2, 2), 74))
    # -300000 + 512 >> 10 = -293 (-292.5); * -8192 + 2^14 >> 15 = 73 (73.25 and a half); 37, 19 (18.5); 76; 38.
    network = by_hand(-3000, 512, 10, 2**14, -(2**13), 16)
    np.testing.assert_array_equal(enlarge(network, np.array([[100]], np.int16)), np.full((2, 2), 38))


def test_a_lift_by_hand():
    # 300512 >> 10 = 293; << 3 = 2344; * 2^12 + 2^14 >> 15 = 293; 147, 74 (halves up); (74 * 16 + 2) >> 2 = 296; 148.
    network = by_hand(3000, 512, 10, 2**12, -(2**13), 16, lift=3)
    np.testing.assert_array_equal(enlarge(network, np.array([[100]], np.int16)), np.full((2, 2), 148))
    # What is negative is not lifted: as above.
    network = by_hand(-3000, 512, 10, 2**12, -(2**13), 16, lift=3)
    np.testing.assert_array_equal(enlarge(network, np.array([[100]], np.int16)), np.full((2, 2), 38))
    # 120000512 >> 10 = 117188; << 3 is saturated: 32767 * 2^12 >> 15 = 4096; 2048, 1024; 4096; 2048.
    network = by_hand(30000, 512, 10, 2**12, -(2**13), 16, lift=3)
    np.testing.assert_array_equal(enlarge(network, np.array([[4000]], np.int16)), np.full((2, 2), 2048))


def test_what_is_beyond_16_bits_ends_there():
    # 8160 * 30000 >> 8 = 956250 ends at 32767; halved 16384, 8192, 4096; * 64 >> 2 = 65536 ends at 32767; + 1 again.
    network = by_hand(30000, 128, 8, 2**14, 2**14, 64)
    np.testing.assert_array_equal(enlarge(network, np.array([[4080]], np.int16)), np.full((2, 2), 32767 >> 1))
    np.testing.assert_array_equal(enlarge_samples(network, np.array([[255]], np.uint8), False), np.full((2, 2), 255))


def test_samples_of_full_range_by_hand():
    samples = np.array([[0, 1, 128, 255]], np.uint8)
    # 32 * (16 + 219 / 255 * x): 512, 539.5, 4029.7, 7520
    np.testing.assert_array_equal(from_samples(samples, True), [[512, 539, 4030, 7520]])
    np.testing.assert_array_equal(from_samples(samples, False), [[0, 32, 4096, 8160]])


def test_grey_and_rgb_luma_by_hand():
    levels = np.arange(256, dtype=np.uint8)
    grey = levels[:, None, None]
    np.testing.assert_array_equal(luma_of(grey), luma_of(grey.repeat(3, 2)))
    np.testing.assert_array_equal(to_grey(luma_of(grey)), levels[:, None])
    # Red: 32 * (16 + 65.481) = 2607.4; green 32 * (16 + 128.553) = 4625.7; blue 32 * (16 + 24.966) = 1310.9
    primaries = (255 * np.eye(3, dtype=np.uint8))[None]
    np.testing.assert_array_equal(luma_of(primaries), [[2607, 4626, 1311]])


def test_correction_and_limits_by_hand():
    errors = np.zeros((FLAT_LEVELS, 1, 1, 2, 2), np.int16)
    errors[0], errors[1] = 16, 48
    y, least, greatest = (np.array([[value]], np.int16) for value in (flat_luma(0) + 4, 200, 301))
    sr = np.array([[256, 600], [0, 524]], np.int16)
    # The error is 16 + (4 * 32 + 16 >> 5) = 20; the limits 200 - 152 = 48 and 301 + 152 = 453.
    at = np.zeros(1, np.int64)
    result = corrected_and_limited(sr, y, least, greatest, errors, at, at)
    np.testing.assert_array_equal(result, [[236, 453], [48, 453]])


def test_the_bound_of_a_sum_is_reached_and_not_passed():
    weights = np.array([[[3, -5]], [[-7, 0]]])
    least, greatest = np.array([-10, 0]), np.array([20, 100])
    assert sum_bounds(weights, 4, least, greatest) == (-3 * 10 - 5 * 20 - 7 * 100, 4 + 3 * 20 + 5 * 10)


@pytest.mark.parametrize(("variant", "scale"), SHIPPED)
def test_no_sum_of_the_shipped_networks_can_leave_32_bits_at_any_strength(variant: str, scale: int):
    path = shipped_weights(variant, scale)
    clean, restoring = load_weights(path), load_weights(restoring_path(path))
    for step in range(0, STEPS + 1, 4):
        network = integer_network(blended(clean, restoring, step / STEPS))
        assert network is not None
        least, greatest = [0], [PEAK_STEPS]  # Python's integers, which have no end
        for layer in network.convolutions:
            bounds = []
            for weights, bias, shift, lift, *factors in zip(
                layer.weights.tolist(),
                *map(np.ndarray.tolist, (layer.biases, layer.shifts, layer.lifts, layer.positive, layer.negative)),
                strict=True,
            ):
                low, high = bounds_of(weights, bias, least, greatest)
                assert lift <= shift  # so that what is lifted stays within 32 bits
                ends = [max(-(2**15), low >> shift), min(2**15 - 1, high >> shift << lift)]
                outputs = [t * factors[t < 0] + 2**14 >> 15 for t in (*ends, 0)]
                bounds.append((min(outputs), max(outputs)))
            least, greatest = map(list, zip(*bounds, strict=True))
        last = network.deconvolution
        for weights, bias in zip(last.weights.tolist(), last.biases.tolist(), strict=True):
            bounds_of(weights, bias, least, greatest)


def bounds_of(weights: list[list[list[int]]], bias: int, least: list[int], greatest: list[int]) -> tuple[int, int]:
    """The bounds of a sum, which are within 32 bits."""
    taps = [
        (tap, *ends) for channel, *ends in zip(weights, least, greatest, strict=True) for row in channel for tap in row
    ]
    assert all(abs(tap) < 2**15 for tap, *_ in taps)
    low = min(bias, 0) + sum(min(tap * least, tap * greatest) for tap, least, greatest in taps)
    high = max(bias, 0) + sum(max(tap * least, tap * greatest) for tap, least, greatest in taps)
    assert -(2**31) < low <= 0 <= high < 2**31
    return low, high


@pytest.mark.parametrize(("variant", "scale"), SHIPPED)
def test_the_form_that_scores_is_the_plain_one(variant: str, scale: int):
    weights = load_weights(shipped_weights(variant, scale))
    lr = np.random.default_rng(0).integers(0, PEAK_STEPS + 1, (13, 17)).astype(np.int16)
    network = integer_network(weights)
    assert network is not None
    np.testing.assert_array_equal(SimulatedIntegers(weights).enlarge(lr), enlarge(network, lr))


@pytest.mark.parametrize(("variant", "scale"), SHIPPED)
def test_photographs_lose_nothing(variant: str, scale: int):
    path = shipped_weights(variant, scale)
    exact, integers = load_network(path, device="cpu"), SimulatedIntegers(load_weights(path))
    picture = SAMPLE_PICTURES["astronaut"]()[:300, 100:400]  # its head, and a bright suit
    pair = evaluation_pair("astronaut", picture, scale)
    lr = (pair.lr.clip(0, 255) / 255).astype(np.float32)
    results = [network(lr) * 255 for network in (exact, integers)]
    in_float, in_integers = (pair.score(each)["psnr"] for each in results)
    assert in_integers > in_float - (0.01 if variant == "fsrcnn_s" else 0.005)
    rounded = [np.floor(each + 0.5).clip(0, 255) for each in results]
    differences = abs(rounded[0] - rounded[1])
    assert differences.max() <= 2
    assert (differences > 1).mean() <= 0.001


@pytest.mark.parametrize(("variant", "scale"), SHIPPED)
def test_stars_and_lines_are_as_in_floats(variant: str, scale: int):
    path = shipped_weights(variant, scale)
    exact, integers = load_network(path, device="cpu"), SimulatedIntegers(load_weights(path))
    random = np.random.default_rng(5)
    stars, line = random.random((48, 48)) < 0.03, np.eye(48, dtype=bool)
    differences = []
    for white in (stars, line, ~stars, ~line):
        lr = np.where(white, WHITE, BLACK).astype(np.float32)
        low, high = (enlarged_by_repeating(each, scale) for each in limits(*extremes(lr)))
        shown = [
            (network(lr).clip(low, high).clip(BLACK, WHITE) * 255 + 0.5).astype(int) for network in (exact, integers)
        ]
        differences.append(abs(shown[0] - shown[1]))
    # These two take such pictures so far (sums 60 to 120 times those of photographs) that the weights' rounding shows.
    most, share = {("fsrcnn", 4): (20, 0.02), ("fsrcnn_s", 3): (6, 0.005)}.get((variant, scale), (3, 0.001))
    assert np.max(differences) <= most
    assert (np.array(differences) > 1).mean() <= share


def test_a_blend_has_the_ranges_of_its_step():
    path = shipped_weights("fsrcnn_s", 3)
    clean, restoring = load_weights(path), load_weights(restoring_path(path))
    kept = restoring.additions[INTEGER_RANGES]
    assert (len(kept), len(clean.additions[INTEGER_RANGES])) == (STEPS, 1)
    np.testing.assert_array_equal(blended(clean, restoring, 0.35).additions[INTEGER_RANGES], kept[6:7])
    np.testing.assert_array_equal(blended(clean, restoring, 1.0).additions[INTEGER_RANGES], kept[19:])
    np.testing.assert_array_equal(
        blended(clean, restoring, 0.0).additions[INTEGER_RANGES], clean.additions[INTEGER_RANGES]
    )
    without = dataclasses.replace(restoring, additions={})
    assert integer_network(blended(clean, without, 0.5)) is None


def test_of_a_large_picture_the_middle_is_looked_at(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 256, (540, 2 * SIDE - 30), np.uint8)
    for name, pixels in (("large", picture), ("middle", picture[14:526])):
        write_image(tmp_path / f"{name}.png", pixels)
    large, middle = reduced_luma([tmp_path / "large.png", tmp_path / "middle.png"], 2)
    assert large.shape == (SIDE, SIDE - 15)
    np.testing.assert_array_equal(large, middle)


def test_any_network_gets_an_integer_form(tmp_path: Path):
    torch.manual_seed(0)
    weights = random_network(3, "fsrcnn_s").weights()
    assert integer_network(weights) is None
    picture = np.random.default_rng(0).random((20, 30), np.float32)
    both = calibrated(weights, [picture])
    save_weights(both, tmp_path / "a.safetensors")
    loaded = load_weights(tmp_path / "a.safetensors")
    assert loaded.digest == both.digest != weights.digest
    network = integer_network(loaded)
    assert network is not None
    lr = np.floor(picture * PEAK_STEPS).astype(np.int16)
    in_float = load_network(tmp_path / "a.safetensors", device="cpu")(lr.astype(np.float32) / PEAK_STEPS)
    assert abs(enlarge(network, lr) - in_float * PEAK_STEPS).max() < 16 * np.ptp(in_float)


def test_weights_that_no_longer_fit_integers_lose_their_ranges():
    weights = load_weights(PRETRAINED / "fsrcnn_s_x2.safetensors")
    weights.parameters["deconv.weight"] *= np.float32(1e9)
    assert INTEGER_RANGES not in calibrated(weights, [np.ones((9, 9), np.float32)]).additions


def test_restoring_files_are_calibrated_as_such_in_whatever_order_they_are_named(tmp_path: Path):
    clean, restoring, alone = (tmp_path / f"{name}.safetensors" for name in ("a", "a_restore", "b_restore"))
    for path in (clean, restoring, alone):
        path.touch()
    expected = {clean: None, restoring: clean, alone: None}
    assert all_files([clean, restoring, alone]) == all_files([alone, restoring, clean]) == expected
    assert all_files([clean]) == {clean: None, restoring: clean}
    with pytest.raises(RequestError, match=r"last\.pth, expected a \.safetensors file"):  # would be overwritten by one
        all_files([clean, tmp_path / "last.pth"])


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (np.ones((1, 2, 7), np.float32), r"is \(1, 2, 7\), expected N x 2 x 74"),
        (np.ones((0, 2, 74), np.float32), "expected N x 2 x 74"),
        (np.ones((1, 2, 74), np.float64), "no positive float32"),
        (np.zeros((1, 2, 74), np.float32), "no positive float32"),
        (np.full((1, 2, 74), np.nan, np.float32), "no positive float32"),
    ],
)
def test_damaged_ranges_are_refused_when_read(tmp_path: Path, ranges: np.ndarray, message: str):
    plain = random_network(2, "fsrcnn_s").weights()
    save_weights(Weights(plain.sizes, plain.parameters, {INTEGER_RANGES: ranges}), tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match=rf"a\.safetensors: damaged: {INTEGER_RANGES}.*{message}"):
        load_weights(tmp_path / "a.safetensors")


def test_ranges_that_do_not_suit_the_weights_are_told():
    weights = load_weights(PRETRAINED / "fsrcnn_s_x2.safetensors")
    with pytest.raises(NotInIntegersError, match="do not suit the weights"):
        quantised(weights, np.full_like(weights.additions[INTEGER_RANGES][-1], 1e-30))

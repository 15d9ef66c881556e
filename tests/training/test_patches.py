"""Patches: aligned, reproducible, from anywhere in the pictures, wherever these lie."""

import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made import patches_of, posix
from torch.nn.functional import avg_pool2d

from dataset import compressed_versions
from fsrcnn.geometry import SCALES
from imgproc import dihedral, imresize, luma
from training.patches import TrainingPatches
from training.prepared import Pictures

PATCH = 6


def ramps(scale: int) -> list[np.ndarray]:
    """Two pictures of different shape whose values are, in turn, the row and 128 plus the column."""
    height, width = 40 * scale // 2 + 1, 50 * scale // 2
    rows, columns = np.mgrid[:height, :width]
    return [rows.astype(np.uint8), (128 + columns[: height - 9]).astype(np.uint8)]


@pytest.mark.parametrize("scale", SCALES)
def test_patches_are_aligned_at_every_turn(tmp_path: Path, scale: int):
    patches = patches_of(tmp_path, ramps(scale), scale, PATCH)
    lr, hr = patches.batch(step=0, batch_size=512)
    assert lr.shape == (512, 1, PATCH, PATCH)
    assert hr.shape == (512, 1, PATCH * scale, PATCH * scale)
    # Reducing a ramp averages it, so away from the border an LR pixel is the mean of the HR pixels it covers. A ramp's
    # value tells how far the border is.
    lr, mean = lr * 255, avg_pool2d(hr * 255, scale)
    position = torch.where(mean < 128, mean, mean - 128)
    last = torch.where(mean < 128, 40 * scale // 2, 50 * scale // 2)
    inside = (position > 3 * scale) & (position < last - 4 * scale)
    assert inside.float().mean() > 0.4
    # One HR pixel off would be a difference of 1.
    torch.testing.assert_close(lr[inside], mean[inside], atol=1e-3, rtol=0)
    # Both ramps rise and fall along both axes: all eight operations are there.
    slopes = torch.stack([hr[:, 0, -1, 0] - hr[:, 0, 0, 0], hr[:, 0, 0, -1] - hr[:, 0, 0, 0]], dim=1).sign()
    ramp = (hr[:, 0, 0, 0] * 255 >= 128).float()
    seen = {tuple(row) for row in torch.column_stack([ramp, slopes]).int().tolist()}
    assert seen == {(r, *s) for r in (0, 1) for s in ((1, 0), (-1, 0), (0, 1), (0, -1))}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_patches_are_crops_turned_by_dihedral(tmp_path: Path, scale: int, weighted: bool):
    rng = np.random.default_rng(0)
    shapes = ((9 * scale, 8 * scale), (7 * scale, 10 * scale))
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    lr_of = {}
    for hr in images:
        lr = imresize(hr, 1 / scale)
        for top, left, operation in itertools.product(range(len(lr) - 5), range(lr.shape[1] - 5), range(8)):
            crop = hr[top * scale : (top + 6) * scale, left * scale : (left + 6) * scale]
            lr_of[dihedral(crop, operation).tobytes()] = dihedral(lr[top : top + 6, left : left + 6], operation)
    batch = patches_of(tmp_path, images, scale, patch_size=6, weighted=weighted).batch(step=0, batch_size=2000)
    seen = set()
    for lr, hr in zip(*batch, strict=True):
        key = (255 * hr).round().to(torch.uint8).numpy().tobytes()
        np.testing.assert_allclose(255 * lr[0].numpy(), lr_of[key], atol=1e-3)
        seen.add(key)
    assert len(seen) == len(lr_of) == 8 * (4 * 3 + 2 * 5)  # every place and turn


def test_patches_depend_on_seed_and_step_alone(tmp_path: Path):
    images = ramps(2)
    one, other = (patches_of(tmp_path, images, 2, PATCH, seed) for seed in (1, 2))
    first = one.batch(step=7, batch_size=4)
    one.batch(step=8, batch_size=4)
    again = patches_of(tmp_path, images, 2, PATCH, seed=1).batch(step=7, batch_size=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], one.batch(step=8, batch_size=4)[0])
    assert not torch.equal(first[0], other.batch(step=7, batch_size=4)[0])


def test_patches_without_compression_are_those_of_before_there_was_any(tmp_path: Path):
    patches = patches_of(tmp_path, ramps(2), 2, PATCH, seed=3)
    drawn = b"".join((255 * patches.batch(step, batch_size=8)[1]).byte().numpy().tobytes() for step in range(9))
    assert hashlib.sha256(drawn).hexdigest() == "33c3e299cf11e47a597de95249aa35889ae4e0d272d12f3bc582ed613a8f24d7"


def test_each_step_has_compressed_patches_of_one_quality_in_turn(tmp_path: Path):
    qualities, rng = (10, 50, 90), np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((16, 18, 3), (20, 14, 3))]
    patches, again = (patches_of(tmp_path, images, 2, PATCH, 5, qualities=qualities) for _ in range(2))
    grey = patches_of(tmp_path / "grey", [luma(image) for image in images], 2, PATCH, 5)
    for step in (0, 1, 2, 3, 10):
        assert patches.quality(step) == qualities[step % 3]
        lr_of = {}
        for index, image in enumerate(images):
            versions = compressed_versions(imresize(image, 1 / 2), qualities, np.random.default_rng((5, index, 0)))
            lr, hr = versions[step % 3], luma(image)
            for top, left, turn in itertools.product(range(len(lr) - 5), range(lr.shape[1] - 5), range(8)):
                crop = hr[2 * top : 2 * top + 12, 2 * left : 2 * left + 12]
                lr_of[dihedral(crop, turn).tobytes()] = dihedral(lr[top : top + 6, left : left + 6], turn)
        batch = patches.batch(step, batch_size=50)
        for lr, hr in zip(*batch, strict=True):
            np.testing.assert_allclose(255 * lr[0], lr_of[(255 * hr).round().byte().numpy().tobytes()], atol=1e-3)
        assert all(torch.equal(one, other) for one, other in zip(batch, again.batch(step, 50), strict=True))
        assert torch.equal(batch[1], grey.batch(step, batch_size=50)[1])
    assert grey.quality(1) is None


def test_every_patch_can_be_drawn(tmp_path: Path):
    image = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    patches = patches_of(tmp_path, [image.repeat(2, 0).repeat(2, 1)] * 2, 2, 3)
    _, hr = patches.batch(step=0, batch_size=64)
    corners = {round(value * 255) for value in hr[:, 0, 2:4, 2:4].amin(dim=(1, 2)).tolist()}
    assert corners == {100, 120}  # the two places of a 3 x 3 patch in 3 x 4


def test_easy_pictures_are_drawn_more_often(tmp_path: Path):
    flat, chequered = np.full((20, 20), 128, np.uint8), np.indices((60, 60)).sum(0) % 2 * 30 + np.uint8(113)
    _, hr = patches_of(tmp_path, [flat, chequered], 2, PATCH, weighted=True).batch(step=0, batch_size=4000)
    # Reduced, both are all 128: squared errors of 0 and 15 * 15, whatever the sizes.
    weights = 1 / np.sqrt([10 + 0, 10 + 225])
    share = float((hr.amax(dim=(1, 2, 3)) * 255 < 128.5).float().mean())
    assert share == pytest.approx(weights[0] / weights.sum(), abs=0.025)  # four standard deviations


@pytest.mark.parametrize("scale", SCALES)
def test_patches_with_a_margin_are_the_middle_of_larger_ones(tmp_path: Path, scale: int):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (12 * scale, 14 * scale), dtype=np.uint8)]
    large = patches_of(tmp_path, images, scale, PATCH + 4).batch(step=0, batch_size=64)
    lr, hr = patches_of(tmp_path, images, scale, PATCH, margin=2).batch(step=0, batch_size=64)
    length = (PATCH - 1) * scale + 1  # what Caffe's deconvolution makes of the middle
    middle = slice(2 * scale, 2 * scale + length)
    assert torch.equal(lr, large[0])
    assert torch.equal(hr, large[1][..., middle, middle])


@posix  # where files have holes
def test_patches_from_beyond_two_gigabytes(tmp_path: Path):
    """Of two pictures whose places in the files are beyond 32 bits, signed and not."""
    side, start = 40, np.array([2**31 + 11, 2**32 + 7])
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, side, side), dtype=np.uint8)
    lr = rng.random((2, side // 2, side // 2), dtype=np.float32)
    for name, values in (("hr", image), ("lr", lr)):
        with (tmp_path / name).open("wb") as file:
            for place, each in zip(start, values, strict=True):
                file.seek(int(place) * each.itemsize)
                file.write(each.tobytes())
    hr_file, lr_file = (np.memmap(tmp_path / name, kind, "r") for name, kind in (("hr", "u1"), ("lr", "f4")))
    size = np.full((2, 2), side)
    pictures = Pictures(2, (), hr_file, lr_file, start, size, start, None, 2, ())
    beyond = TrainingPatches(pictures, PATCH, seed=0).batch(0, 256)
    near = replace(pictures, hr=image.ravel(), lr=lr.ravel(), hr_start=np.array([0, 1600]), lr_start=np.array([0, 400]))
    expected = TrainingPatches(near, PATCH, seed=0).batch(0, 256)
    assert all(torch.equal(one, other) for one, other in zip(beyond, expected, strict=True))
    assert expected[1].amax() > 0


def test_patches_do_not_depend_on_the_order_of_the_steps(tmp_path: Path):
    """Those of the steps that follow are cut ahead, which a jump to another step makes useless."""
    patches, again = (patches_of(tmp_path, ramps(2), 2, PATCH) for _ in range(2))
    drawn = {step: patches.batch(step, batch_size=4) for step in (0, 7, 8, 40, 16, 17, 3)}
    for step in sorted(drawn):
        assert all(torch.equal(one, other) for one, other in zip(drawn[step], again.batch(step, 4), strict=True))
    assert not torch.equal(drawn[17][0], patches.batch(17, 8)[0][:4])

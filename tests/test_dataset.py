"""Patches and evaluation pairs: aligned, reproducible; and no patch is from the validation pictures."""

import hashlib
import io
import itertools
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from dataset import (
    JPEG_TWICE,
    VALIDATION_NAMES,
    TrainingPatches,
    compressed_luma,
    compressed_versions,
    evaluation_pair,
    folder_pairs,
    list_images,
    load_training_images,
    training_paths,
    write_image,
)
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES
from imgproc import dihedral, imresize, luma

PATCH = 6


def ramps(scale: int) -> list[np.ndarray]:
    """Two pictures of different shape whose values are, in turn, the row and 128 plus the column."""
    height, width = 40 * scale // 2 + 1, 50 * scale // 2
    rows, columns = np.mgrid[:height, :width]
    return [rows.astype(np.uint8), (128 + columns[: height - 9]).astype(np.uint8)]


@pytest.mark.parametrize("scale", SCALES)
def test_patches_are_aligned_at_every_turn(scale: int):
    patches = TrainingPatches(ramps(scale), scale, PATCH, seed=0)
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


@pytest.mark.parametrize("sampling", ["uniform", "psnr"])
@pytest.mark.parametrize("scale", SCALES)
def test_patches_are_crops_turned_by_dihedral(scale: int, sampling: Literal["uniform", "psnr"]):
    rng = np.random.default_rng(0)
    shapes = ((9 * scale, 8 * scale), (7 * scale, 10 * scale))
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    lr_of = {}
    for hr in images:
        lr = imresize(hr, 1 / scale)
        for top, left, operation in itertools.product(range(len(lr) - 5), range(lr.shape[1] - 5), range(8)):
            crop = hr[top * scale : (top + 6) * scale, left * scale : (left + 6) * scale]
            lr_of[dihedral(crop, operation).tobytes()] = dihedral(lr[top : top + 6, left : left + 6], operation)
    batch = TrainingPatches(images, scale, patch_size=6, seed=0, sampling=sampling).batch(step=0, batch_size=2000)
    seen = set()
    for lr, hr in zip(*batch, strict=True):
        key = (255 * hr).round().to(torch.uint8).numpy().tobytes()
        np.testing.assert_allclose(255 * lr[0].numpy(), lr_of[key], atol=1e-3)
        seen.add(key)
    assert len(seen) == len(lr_of) == 8 * (4 * 3 + 2 * 5)  # every place and turn


def test_patches_depend_on_seed_and_step_alone():
    images = ramps(2)
    one, other = (TrainingPatches(images, 2, PATCH, seed=seed) for seed in (1, 2))
    first = one.batch(step=7, batch_size=4)
    one.batch(step=8, batch_size=4)
    again = TrainingPatches(images, 2, PATCH, seed=1).batch(step=7, batch_size=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], one.batch(step=8, batch_size=4)[0])
    assert not torch.equal(first[0], other.batch(step=7, batch_size=4)[0])


def test_patches_without_compression_are_those_of_before_there_was_any():
    patches = TrainingPatches(ramps(2), 2, PATCH, seed=3)
    drawn = b"".join((255 * patches.batch(step, batch_size=8)[1]).byte().numpy().tobytes() for step in range(9))
    assert hashlib.sha256(drawn).hexdigest() == "33c3e299cf11e47a597de95249aa35889ae4e0d272d12f3bc582ed613a8f24d7"


def read_back_by_pillow(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file), dtype=np.float64)


@pytest.mark.parametrize("quality", [10, 75, 95])
def test_compressed_luma_is_that_of_a_file_of_pillows(quality: int):
    colour = skimage.data.astronaut()[:91, :75]
    red, green, blue = np.moveaxis(read_back_by_pillow(colour, quality), 2, 0)
    luma = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    np.testing.assert_allclose(compressed_luma(colour + 0.4, quality), luma, atol=1e-9)
    np.testing.assert_array_equal(
        compressed_luma(colour[..., 1], quality), read_back_by_pillow(colour[..., 1], quality)
    )


def test_a_compressed_pair_is_reduced_in_colour_and_compressed():
    pair = evaluation_pair("astronaut", skimage.data.astronaut()[:92, :76], 3)
    compressed = pair.compressed(50)
    assert (pair.quality, compressed.quality) == (None, 50)
    np.testing.assert_array_equal(compressed.lr, compressed_luma(imresize(pair.hr_image, 1 / 3), 50))
    np.testing.assert_array_equal(compressed.hr, pair.hr)


def test_some_pictures_are_compressed_twice_in_their_place():
    image, random = skimage.data.astronaut()[:51, :43, 0], np.random.default_rng(0)
    once, twice = compressed_luma(image, 100), 0
    for _ in range(400):
        (version,) = compressed_versions(image, (100,), random)
        np.testing.assert_allclose(version, image, atol=4)  # one pixel off would be far more
        twice += not np.array_equal(version, once)
    assert twice / 400 == pytest.approx(JPEG_TWICE, abs=0.09)  # four standard deviations


def test_each_step_has_compressed_patches_of_one_quality_in_turn():
    qualities, rng = (10, 50, 90), np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((16, 18, 3), (20, 14, 3))]
    patches, again = (TrainingPatches(images, 2, PATCH, 5, jpeg_qualities=qualities) for _ in range(2))
    grey = TrainingPatches([luma(image) for image in images], 2, PATCH, 5)
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


def test_every_patch_can_be_drawn():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    patches = TrainingPatches([image.repeat(2, 0).repeat(2, 1)] * 2, 2, 3, seed=0)
    _, hr = patches.batch(step=0, batch_size=64)
    corners = {round(value * 255) for value in hr[:, 0, 2:4, 2:4].amin(dim=(1, 2)).tolist()}
    assert corners == {100, 120}  # the two places of a 3 x 3 patch in 3 x 4


def test_easy_pictures_are_drawn_more_often():
    flat, chequered = np.full((20, 20), 128, np.uint8), np.indices((60, 60)).sum(0) % 2 * 30 + np.uint8(113)
    _, hr = TrainingPatches([flat, chequered], 2, PATCH, seed=0, sampling="psnr").batch(step=0, batch_size=4000)
    # Reduced, both are all 128: squared errors of 0 and 15 * 15, whatever the sizes.
    weights = 1 / np.sqrt([10 + 0, 10 + 225])
    share = float((hr.amax(dim=(1, 2, 3)) * 255 < 128.5).float().mean())
    assert share == pytest.approx(weights[0] / weights.sum(), abs=0.025)  # four standard deviations


def test_training_leaves_the_validation_pictures_out(data_dir: Path):
    names = {path.stem for path in training_paths(data_dir, ("Train", "BSDS200"))}
    assert names == {"astronaut", "chelsea", "motorcycle"}
    assert len(VALIDATION_NAMES) == 20


def test_training_images_are_augmented_by_scale(data_dir: Path):
    images, too_small = load_training_images([data_dir / "Train" / "chelsea.png"], smallest=200)
    assert [image.shape for image in images] == [(300, 400), (270, 360), (240, 320), (210, 280)]
    assert not too_small
    images, _ = load_training_images([data_dir / "Train" / "chelsea.png"], smallest=200, colour=True)
    assert [image.shape for image in images] == [(300, 400, 3), (270, 360, 3), (240, 320, 3), (210, 280, 3)]


def test_training_images_smaller_than_a_patch_are_left_out_and_named(tmp_path: Path):
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    write_image(small, np.zeros((40, 29), np.uint8))
    write_image(large, np.zeros((40, 30), np.uint8))
    images, too_small = load_training_images([small, large], smallest=30)
    assert [image.shape for image in images] == [(40, 30)]
    assert too_small == [small]
    with pytest.raises(RequestError, match="no picture is 41 x 41"):
        load_training_images([small, large], smallest=41)


def test_hidden_files_are_in_no_set(data_dir: Path, tmp_path: Path):
    """As macOS leaves them beside pictures."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "._a.png").write_bytes(b"\0\5\x16\7")
    with pytest.raises(RequestError, match="no pictures in this folder"):
        list_images(tmp_path / "set")
    shutil.copy(data_dir / "Train" / "chelsea.png", tmp_path / "set" / "a.png")
    assert [pair.name for pair in folder_pairs(tmp_path / "set", 2)] == ["a"]
    assert training_paths(tmp_path, ["set"]) == [tmp_path / "set" / "a.png"]


def test_pairs_of_a_folder(tmp_path: Path):
    rng = np.random.default_rng(0)
    colour, grey = rng.integers(0, 256, (32, 41, 3), dtype=np.uint8), rng.integers(0, 256, (30, 30), dtype=np.uint8)
    write_image(tmp_path / "b.c.png", colour)
    write_image(tmp_path / "a é.png", grey)
    pairs = list(folder_pairs(tmp_path, 3))
    assert [pair.name for pair in pairs] == ["a é", "b.c"]
    write_image(tmp_path / "b.c.bmp", colour)
    assert [pair.name for pair in folder_pairs(tmp_path, 3)] == ["a é", "b.c.bmp", "b.c.png"]
    assert [pair.lr.shape for pair in pairs] == [(10, 10), (10, 13)]
    np.testing.assert_array_equal(pairs[0].hr, grey)
    np.testing.assert_array_equal(pairs[1].hr_image, colour[:30, :39])
    assert not np.array_equal(pairs[1].lr, np.round(pairs[1].lr))  # never rounded to 8 bits


@pytest.mark.parametrize("scale", SCALES)
def test_patches_with_a_margin_are_the_middle_of_larger_ones(scale: int):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (12 * scale, 14 * scale), dtype=np.uint8)]
    large = TrainingPatches(images, scale, PATCH + 4, seed=0).batch(step=0, batch_size=64)
    lr, hr = TrainingPatches(images, scale, PATCH, seed=0, margin=2).batch(step=0, batch_size=64)
    length = (PATCH - 1) * scale + 1  # what Caffe's deconvolution makes of the middle
    middle = slice(2 * scale, 2 * scale + length)
    assert torch.equal(lr, large[0])
    assert torch.equal(hr, large[1][..., middle, middle])

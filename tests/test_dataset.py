"""Training pictures and evaluation pairs; and no training picture is one of the validation pictures."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from dataset import (
    JPEG_TWICE,
    VALIDATION_NAMES,
    compressed_luma,
    compressed_versions,
    evaluation_pair,
    folder_pairs,
    list_images,
    training_paths,
    write_image,
)
from fsrcnn.errors import RequestError
from imgproc import imresize


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


def test_training_leaves_the_validation_pictures_out(data_dir: Path):
    names = {path.stem for path in training_paths(data_dir, ("Train", "BSDS200"))}
    assert names == {"astronaut", "chelsea", "motorcycle"}
    assert len(VALIDATION_NAMES) == 20


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

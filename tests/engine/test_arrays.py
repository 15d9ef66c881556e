"""Arrays are enlarged as files of the same pixels are, whatever their order in memory; other arrays are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from made import load, network, noise, save
from PIL import Image

from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.pictures.upscale import upscale_picture


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bands", [(), (1,), (2,), (3,), (4,)], ids=["H x W", *(f"H x W x {n}" for n in "1234")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", SCALES)
def test_an_array_becomes_what_its_file_becomes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scale: int, dtype: type, bands: tuple[int, ...], suffix: str
):
    monkeypatch.setattr("fsrcnn.pictures.strips.ROWS", 16)  # several strips, each of two parts
    monkeypatch.setattr("fsrcnn.pictures.strips.COLUMNS", 20)
    picture = noise(41, 27, *bands, dtype=dtype)
    if bands in ((2,), (4,)):
        picture[5:30, 5:20, -1] = 0  # transparent
    before = picture.copy()
    enlarged = enlarge_array(picture, network("fsrcnn_s", scale))
    assert (enlarged.shape, enlarged.dtype) == ((41 * scale, 27 * scale, *bands), dtype)
    np.testing.assert_array_equal(picture, before)
    source, target = save(tmp_path / f"lr{suffix}", picture), tmp_path / f"sr{suffix}"
    upscale_picture(source, target, network("fsrcnn_s", scale))
    np.testing.assert_array_equal(enlarged.reshape(41 * scale, 27 * scale, -1), load_bands(target))


def load_bands(path: Path) -> np.ndarray:
    """H x W x bands, for one band too."""
    picture = load(path)
    return picture if picture.ndim == 3 else picture[..., None]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_an_array_becomes_what_the_file_that_pillow_writes_becomes(tmp_path: Path, mode: str):
    image = Image.fromarray(noise(30, 40, 4)).convert(mode)
    image.save(tmp_path / "lr.png")
    upscale_picture(tmp_path / "lr.png", tmp_path / "sr.png", network("fsrcnn", 2))
    with Image.open(tmp_path / "sr.png") as enlarged:
        assert enlarged.mode == mode
        np.testing.assert_array_equal(enlarge_array(np.asarray(image), network("fsrcnn", 2)), np.asarray(enlarged))


def read_only(picture: np.ndarray) -> np.ndarray:
    picture.flags.writeable = False
    return picture


ORDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "channels first in memory": lambda picture: np.ascontiguousarray(picture.transpose(2, 0, 1)).transpose(1, 2, 0),
    "Fortran's": np.asfortranarray,
    "transposed": lambda picture: picture.swapaxes(0, 1),
    "turned around": lambda picture: picture[::-1, ::-1],
    "BGR": lambda picture: picture[..., ::-1],
    "every second pixel": lambda picture: picture[::2, ::3],
    "a part": lambda picture: picture[3:17, 5:22, 1:],
    "one channel": lambda picture: picture[..., 1],
    "read-only": read_only,
    "big-endian": lambda picture: picture.astype(picture.dtype.newbyteorder(">")),
    "repeated": lambda picture: np.broadcast_to(picture[:1, :, :1], (20, 23, 3)),
    "numpy.matrix": lambda picture: picture[..., 0].view(np.matrix),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_order_in_memory_does_not_matter(dtype: type, order: str):
    picture = ORDERS[order](noise(20, 23, 3, dtype=dtype))
    plain = np.array(picture, dtype, order="C")
    enlarged = enlarge_array(picture, network("fsrcnn_s", 2))
    assert enlarged.dtype == dtype
    assert enlarged.flags.c_contiguous
    assert enlarged.flags.writeable
    np.testing.assert_array_equal(enlarged, enlarge_array(plain, network("fsrcnn_s", 2)))
    np.testing.assert_array_equal(picture, plain)


# The argument, and what the one-line message says of it.
MISTAKES: list[tuple[Any, str]] = [
    (None, "got NoneType, expected an array of NumPy"),
    ([[1, 2], [3, 4]], "got list, expected an array of NumPy"),
    (Image.new("RGB", (3, 4)), "got PIL.Image.Image, expected an array of NumPy"),
    (pyvips.Image.black(3, 4), "expected an array of NumPy"),
    (np.zeros((4, 5)), "got samples of type float64, expected uint8 or uint16"),
    (np.zeros((4, 5, 3), np.float32), "got samples of type float32, expected uint8 or uint16"),
    (np.zeros((4, 5), bool), "got samples of type bool, expected uint8 or uint16"),
    (np.zeros((4, 5), np.int8), "got samples of type int8, expected uint8 or uint16"),
    (np.zeros((4, 5), np.uint32), "got samples of type uint32, expected uint8 or uint16"),
    (np.zeros((4, 5), object), "got samples of type object, expected uint8 or uint16"),
    (np.zeros((4, 5), [("r", np.uint8)]), "expected uint8 or uint16"),
    (np.uint8(3) * np.ones((), np.uint8), "expected an array of NumPy"),
    (np.array(3, np.uint8), "got a single number, expected H x W or H x W x 1 to 4"),
    (np.zeros(7, np.uint8), "got shape 7, expected H x W or H x W x 1 to 4"),
    (np.zeros((4, 5, 5), np.uint8), "got shape 4 x 5 x 5, expected H x W or H x W x 1 to 4"),
    (np.zeros((4, 5, 0), np.uint8), "got shape 4 x 5 x 0, expected H x W or H x W x 1 to 4"),
    (np.zeros((3, 40, 50), np.uint8), "got shape 3 x 40 x 50, expected H x W or H x W x 1 to 4"),
    (np.zeros((1, 4, 5, 3), np.uint8), "got shape 1 x 4 x 5 x 3, expected H x W or H x W x 1 to 4"),
    (np.zeros((0, 5), np.uint8), "got shape 0 x 5, which has no pixels"),
    (np.zeros((5, 0, 3), np.uint16), "got shape 5 x 0 x 3, which has no pixels"),
    (np.broadcast_to(np.uint8(0), (2**16, 2**15)), "32768 x 65536 pixels is more than is enlarged (1,073,741,824"),
]


@pytest.mark.parametrize(("given", "named"), MISTAKES, ids=[named for _, named in MISTAKES])
def test_what_is_no_picture_gets_one_line(given: Any, named: str):
    with pytest.raises(RequestError) as complaint:
        enlarge_array(given, network("fsrcnn_s", 2))
    assert str(complaint.value).startswith("picture: ")
    assert named in str(complaint.value)
    assert "; " in str(complaint.value)  # what to do
    assert "\n" not in str(complaint.value)

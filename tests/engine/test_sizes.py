"""Pictures and films at any size: what is asked for, the steps that lead there, the reduction, names, wrong sizes."""

import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from made import load, make_clip, network, noise, save
from PIL import Image

import fsrcnn
from fsrcnn import cli
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, chain_to
from fsrcnn.network import network_of
from fsrcnn.parts import Span
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.pictures.formats import MEMORY_LIMIT
from fsrcnn.pictures.pixels import LEVELS, Layout
from fsrcnn.pictures.sized import sized_memory, sized_strips, windowed
from fsrcnn.pictures.strips import Windows, enlarged_strips, strip_memory
from fsrcnn.reduce import plain_resize_rows, resize_rows, resized
from fsrcnn.resize import axis_of, bytes_to_make
from fsrcnn.sizes import Size, checked_size, steps_to
from fsrcnn.stamp import is_stamped
from fsrcnn.videos.frames import sample_planes, sized
from fsrcnn.videos.parts import Run, remove_marks
from fsrcnn.videos.upscale import upscale_video
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import imresize, resize_axis, resize_matrix


def reduced(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """By imgproc, which is MATLAB's, and clipped to the type's range."""
    values = picture.astype(float)
    for axis, (old, new) in enumerate(zip(picture.shape[:2], (height, width), strict=True)):
        values = resize_axis(values, resize_matrix(old, new, new / old), axis) if old != new else values
    return np.clip(values, 0, np.iinfo(picture.dtype).max)


def assert_equal_to_one_level(picture: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(picture.astype(float) - np.floor(expected + 0.5)).max() <= 1


# --- what is asked for ---

# The sizes asked of a picture of 30 x 20 pixels, what they become, and what results are called.
ASKED = [
    (Size(), (60, 40), "_x2"),
    (Size(upscale_factor=4), (120, 80), "_x4"),
    (Size(upscale_factor=1.55), (47, 31), "_x1.55"),  # of 46.5 x 31
    (Size(upscale_factor=1.15), (35, 23), "_x1.15"),  # of 34.5, which the nearest float is below
    (Size(upscale_factor=3.9999999), (120, 80), "_x3.9999999"),
    (Size(upscale_factor=0.01), (1, 1), "_x0.01"),
    (Size(width=100), (100, 67), "_100w"),  # of 66.67
    (Size(height=15), (23, 15), "_15h"),  # of 22.5
    (Size(width=7, height=90), (7, 90), "_7x90"),
    (Size(fit=(90, 50)), (75, 50), "_fit90x50"),
    (Size(fit=(45, 99)), (45, 30), "_fit45x99"),
]


@pytest.mark.parametrize(("size", "expected", "ending"), ASKED, ids=[ending for *_, ending in ASKED])
def test_a_size_and_its_name(size: Size, expected: tuple[int, int], ending: str):
    assert size.of(30, 20) == expected
    assert size.ending == ending


def test_sizes_of_films_are_even_and_fit():
    assert Size(width=101).of(30, 20, (2, 2)) == (102, 68)
    assert Size(fit=(101, 67)).of(30, 20, (2, 2)) == (100, 66)
    assert Size(fit=(101, 67)).of(30, 20, (2, 1)) == (100, 67)
    assert Size(fit=(1, 1)).of(30, 20, (2, 2)) == (2, 2)


def test_the_next_factor_that_reaches():
    reached = {1.01: (2,), 2: (2,), 2.01: (3,), 4: (4,), 5: (2, 3), 6: (2, 3), 6.1: (2, 4), 8.5: (3, 3), 10: (3, 4)}
    assert {factor: chain_to(factor, SCALES) for factor in reached} == reached
    assert chain_to(16, SCALES) == (4, 4)
    assert chain_to(16.01, SCALES) is None
    assert [chain_to(factor, (3,)) for factor in (2, 3.5, 9.5)] == [(3,), (3, 3), None]  # one weights file alone


WRONG = [
    ({"upscale_factor": 0}, "upscale_factor: got 0, expected a number above 0, 16 at most"),
    ({"upscale_factor": -2}, "upscale_factor: got -2"),
    ({"upscale_factor": 16.5}, "upscale_factor: got 16.5"),
    ({"upscale_factor": float("nan")}, "upscale_factor: got nan"),
    ({"upscale_factor": 10**400}, "upscale_factor: got 1000"),
    ({"upscale_factor": -(10**400)}, "upscale_factor: got -1000"),
    ({"upscale_factor": True}, "upscale_factor: got True"),
    ({"upscale_factor": "2"}, "upscale_factor: got '2'"),
    ({"width": 0}, "width: got 0, expected a whole number of pixels above 0, 2,147,483,647 at most"),
    ({"width": 800.0}, "width: got 800.0"),
    ({"height": -5}, "height: got -5"),
    ({"height": 2**31}, "height: got 2147483648"),
    ({"fit": (1920,)}, r"fit: got \(1920,\), expected a width and a height in pixels, such as \(1920, 1080\)"),
    ({"fit": np.array([9, 9, 3])}, r"fit: got array\(\[9, 9, 3\]\), expected a width and a height"),
    ({"fit": np.array(9)}, r"fit: got array\(9\), expected a width and a height"),
    ({"fit": (1920, None)}, "fit: got "),
    ({"fit": (1920, 0)}, "fit: got 0"),
    ({"fit": "1920x1080"}, "fit: got '1920x1080'"),
    ({"upscale_factor": 2, "width": 800}, "upscale_factor: is given beside width"),
    ({"height": 800, "fit": (9, 9)}, "height: is given beside fit"),
    ({"width": 1, "height": 800, "fit": (9, 9)}, "width: is given beside height and fit"),
    ({"width": 129}, "8 x 9 pixels enlarged to 129 x 145 are more than 16 times as large"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[str(arguments)[:40] for arguments, _ in WRONG])
def test_a_wrong_size_is_an_error_of_one_line(arguments: dict[str, object], message: str):
    with pytest.raises(fsrcnn.Error, match=message) as error:
        fsrcnn.enlarge(noise(9, 8, 3), variant="fsrcnn_s", **arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fit", [(90, 50), [90, 50], tuple(np.int32([90, 50])), np.uint16([90, 50])], ids=repr)
def test_a_frame_is_any_pair_of_whole_numbers(fit: object):
    assert checked_size(fit=fit) == Size(fit=(90, 50))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-(10**400), "-1000000000"), (10**5000, "an enormous int"), (np.zeros((3, 1)), r"array\(\[\[0.\],  ")],
    ids=["no float", "no text", "several lines"],
)
@pytest.mark.parametrize("name", ["upscale_factor", "width", "restore"])
def test_a_wrong_number_that_is_hard_to_show(name: str, value: object, shown: str):
    with pytest.raises(fsrcnn.Error, match=f"{name}: got {shown}") as error:
        fsrcnn.enlarge(noise(9, 8, 3), **{name: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--upscale-factor", "nan"],
        ["--upscale-factor", "-2"],
        ["--upscale-factor", "0"],
        ["--upscale-factor", "1e1"],
        ["--width", "1e9"],
        ["--width", "-800"],
        ["--width", "9" * 5000],
        ["--height", "7.5"],
        ["--fit", "1920"],
        ["--fit", "0x9"],
        ["--width", "9", "--upscale-factor", "2"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_a_wrong_size_on_the_command_line(arguments: list[str]):
    with pytest.raises(RequestError) as error:
        cli.read_request(["a.png", *arguments])
    assert "\n" not in str(error.value)
    assert arguments[0].lstrip("-").replace("-", "_") in str(error.value).replace("-", "_")


def test_a_format_that_cannot_hold_the_size(tmp_path: Path):
    save(tmp_path / "a.png", noise(2, 1100, 3))
    with pytest.raises(fsrcnn.Error, match="enlarged to 16500 x 30, is more than webp can hold"):
        fsrcnn.enlarge_file(tmp_path / "a.png", tmp_path / "b.webp", width=16_500)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# --- the pixels ---


@pytest.fixture
def fewer_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error on flat colour of 16 bits is measured on fewer levels, which takes less time."""
    monkeypatch.setitem(LEVELS, 16, 257)


SIZES = [Size(upscale_factor=1.5), Size(width=45), Size(height=64), Size(width=31, height=90), Size(fit=(150, 150))]


@pytest.mark.parametrize("size", SIZES, ids=[size.ending for size in SIZES])
@pytest.mark.parametrize(
    ("dtype", "bands"), [(np.uint8, 1), (np.uint8, 2), (np.uint8, 3), (np.uint8, 4), (np.uint16, 4)]
)
def test_it_is_the_factors_result_reduced(
    fewer_levels: None, monkeypatch: pytest.MonkeyPatch, dtype: type, bands: int, size: Size
):
    """In several strips, each of several parts."""
    for module, name, value in (("strips", "ROWS", 5), ("strips", "COLUMNS", 12), ("sized", "MOST_BETWEEN", 999)):
        monkeypatch.setattr(f"fsrcnn.pictures.{module}.{name}", value)
    picture = noise(13, 17, bands, dtype=dtype)
    if bands in (2, 4):
        picture[3:7, 5:12, -1] = 0  # transparent
    small = network("fsrcnn_s", 2)
    width, height = size.of(17, 13)
    chain = chain_to(max(Fraction(width, 17), Fraction(height, 13)), SCALES)
    factor = enlarge_array(picture, small, size=Size(upscale_factor=int(np.prod(chain))))
    result = enlarge_array(picture, small, size=size)
    assert (result.shape, result.dtype) == ((height, width, bands), dtype)
    assert_equal_to_one_level(result, reduced(factor, height, width))


def test_two_networks_in_a_row_are_one_after_the_other(fewer_levels: None):
    picture = noise(6, 5, 3, dtype=np.uint16)
    two, four = network("fsrcnn_s", 2), network("fsrcnn_s", 4)
    expected = enlarge_array(enlarge_array(picture, two), four)
    np.testing.assert_array_equal(fsrcnn.enlarge(picture, 8, variant="fsrcnn_s", device="cpu"), expected)
    picture = noise(6, 5, 1)
    eight = fsrcnn.enlarge(picture, 8, variant="fsrcnn_s", device="cpu", restore=0)
    between = np.concatenate(list(enlarged_strips(*read_from(picture), two, bits=16)))
    assert np.abs(eight - enlarge_array(between, four) / 257).max() < 0.6  # rounded once


def test_only_the_first_network_restores(monkeypatch: pytest.MonkeyPatch):
    small, picture = network("fsrcnn_s", 2), noise(20, 17, 3)
    monkeypatch.setitem(LEVELS, 16, 257)
    steps = steps_to(Size(upscale_factor=8), small, 9, 9).restoring(0.5)
    assert steps.networks == (small.restored(0.5), small.at(4))
    strips = sized_strips(*read_from(picture), small, steps_to(Size(upscale_factor=8), small, 17, 20), lambda _: 0.5)
    restored = np.concatenate(list(enlarged_strips(*read_from(picture), small.restored(0.5), bits=16)))
    expected = enlarge_array(restored, small.at(4))
    assert np.abs(np.concatenate(list(strips)) - expected / 257).max() < 0.6


def test_cmyk_is_reduced_alike(fewer_levels: None):
    layout, windows = read_from(noise(9, 14, 4))
    steps = steps_to(Size(width=37), network("fsrcnn_s", 2), 14, 9)
    result = np.concatenate(list(sized_strips(layout, windows, network("fsrcnn_s", 2), steps)))
    factor = np.concatenate(list(enlarged_strips(layout, windows, network("fsrcnn_s", 3))))
    assert_equal_to_one_level(result, reduced(factor, 24, 37))


def read_from(picture: np.ndarray) -> tuple[Layout, Windows]:
    layout = Layout(*picture.shape, 8 * picture.itemsize, has_alpha=False)
    return layout, lambda rows: (picture[span.window] for span in rows)


def test_what_is_large_enough_is_reduced_or_copied():
    picture = noise(40, 60, 3)
    assert_equal_to_one_level(fsrcnn.enlarge(picture, width=21), reduced(picture, 14, 21))
    assert_equal_to_one_level(fsrcnn.enlarge(picture[..., 0], width=1, height=1), reduced(picture[..., 0], 1, 1))
    np.testing.assert_array_equal(fsrcnn.enlarge(picture, width=60), picture)


def test_the_colours_of_transparent_pixels_do_not_show_where_a_picture_is_reduced():
    picture = np.full((40, 40, 4), 200, np.uint8)
    picture[:, :20] = 0  # black, transparent
    small = fsrcnn.enlarge(picture, width=15)
    assert np.abs(small[small[..., 3] > 0][:, :3].astype(int) - 200).max() <= 1
    assert small[:, 0, 3].max() == 0
    stretched = fsrcnn.enlarge(picture, width=2, height=60, variant="fsrcnn_s", device="cpu")  # x2, then reduced
    assert np.abs(stretched[..., :3].astype(int) - 200).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_compiled_reduction_is_numpys_and_matlabs(dtype: type):
    source = (noise(37, 29, 3, dtype=np.uint16) // (257 if dtype == np.uint8 else 1)).astype(dtype)[:, 2:27]
    rows, columns = axis_of(37, 13), axis_of(25, 31)
    compiled, plain = (each(source, rows) for each in (resize_rows, plain_resize_rows))
    np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-5 * float(source.max()))
    expected = resize_axis(
        resize_axis(source.astype(float), resize_matrix(37, 13, 13 / 37), 0), resize_matrix(25, 31, 31 / 25), 1
    )
    np.testing.assert_allclose(resized(source, rows, columns), expected, atol=3e-6 * float(source.max()))
    np.testing.assert_allclose(
        resized(source[..., 0], axis_of(37, 74), axis_of(25, 50)), imresize(source[..., 0], 2), atol=1e-2
    )


def test_windows_of_strips():
    picture = noise(30, 4, 1)
    sides = [(0, 5), (2, 17), (2, 18), (18, 30)]
    strips = iter(np.split(picture, [7, 8, 20]))
    windows = list(windowed(strips, [Span(0, 0, *each) for each in sides]))
    for (first, last), window in zip(sides, windows, strict=True):
        np.testing.assert_array_equal(window, picture[first:last])


def test_memory_does_not_grow_with_the_height_and_hardly_with_the_factor():
    small, size = network("fsrcnn_s", 2), Size(upscale_factor=7)
    needs = []
    for height in (4000, 40_000):
        layout = Layout(height, 4000, 3, 8, has_alpha=False)
        needs.append(sized_memory(layout, small, steps_to(size, small, 4000, height)))
    assert needs[0] == needs[1] < 6 * strip_memory(layout, network("fsrcnn_s", 4))
    many = network_of(load_weights(shipped_weights("fsrcnn_s", 2)), "cpu", threads=32)
    photo, half_more = Layout(4000, 6000, 3, 8, has_alpha=False), steps_to(Size(upscale_factor=1.5), many, 6000, 4000)
    assert sized_memory(photo, many, half_more) < MEMORY_LIMIT
    tall = Layout(30_000, 3000, 3, 8, has_alpha=False)
    need = sized_memory(tall, small, steps_to(Size(height=1), small, 3000, 30_000))
    assert need > 30_000 * 3000 * 3  # a row that is made of all rows


def test_memory_does_not_grow_with_the_length_of_a_narrow_picture():
    """Each pixel of its side needed 300 bytes of weights, which no limit counted: 30 GB of a PNG file of 0.1 MB."""
    long, small = 300_000, network("fsrcnn_s", 2)
    layout = Layout(long, 1, 1, 8, has_alpha=False)
    steps = steps_to(Size(upscale_factor=1.5), small, 1, long)

    def windows(rows: list[Span]) -> Iterator[np.ndarray]:
        return (np.zeros((span.last - span.first, 1, 1), np.uint8) for span in rows)

    next(sized_strips(layout, windows, small, steps))  # compiled, and measured
    tracemalloc.start()
    try:
        next(sized_strips(layout, windows, small, steps))
        assert tracemalloc.get_traced_memory()[1] < 10 * long  # the list of its strips and their windows
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("sides", [(30_000, 20_000), (20_000, 30_000), (30_000, 300)])
def test_the_memory_for_an_axis_is_known(sides: tuple[int, int]):
    tracemalloc.start()
    try:
        axis_of(*sides)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= bytes_to_make(*sides) < 1.5 * peak


# --- files ---


def test_files_are_named_by_their_size_and_not_enlarged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def run(*arguments: str) -> str:
        command = ["upscale.py", str(tmp_path), "--variant", "fsrcnn_s", "--device", "cpu", *arguments]
        monkeypatch.setattr("sys.argv", command)
        assert cli.upscale() == 0
        return capsys.readouterr().out

    picture = noise(20, 16, 3)
    save(tmp_path / "a.png", picture)
    save(tmp_path / "b.jpg", noise(12, 40, 3))
    assert "2 resized to a width of 40 in " in run("--width", "40")
    np.testing.assert_array_equal(load(tmp_path / "a_40w.png"), fsrcnn.enlarge(picture, width=40, variant="fsrcnn_s"))
    assert fsrcnn.enlarge_file(tmp_path / "a.png", tmp_path / "by_file.png", width=40, variant="fsrcnn_s") == ()
    assert (tmp_path / "by_file.png").read_bytes() == (tmp_path / "a_40w.png").read_bytes()
    save(tmp_path / "a_40w.png", load(tmp_path / "a_40w.png"))  # as another program saves it
    (tmp_path / "by_file.png").unlink()
    assert "0 resized to a width of 40; 2 were there already" in run("--width", "40")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.png", "b.jpg", "a_40w.png", "b_40w.jpg"}
    assert is_stamped(tmp_path / "b_40w.jpg")


def test_a_file_that_is_large_enough_is_said_to_be(tmp_path: Path):
    source = save(tmp_path / "a.jpg", noise(30, 40, 3))
    same = fsrcnn.enlarge_file(source, tmp_path / "same.jpg", width=40)
    assert same == ("is 40 x 30 already; not enlarged",)
    np.testing.assert_array_equal(load(tmp_path / "same.jpg"), load(source))
    assert is_stamped(tmp_path / "same.jpg")
    smaller = fsrcnn.enlarge_file(source, tmp_path / "smaller.png", fit=(20, 20))
    assert smaller == ("is 40 x 30, larger than that; reduced to 20 x 15",)
    assert_equal_to_one_level(load(tmp_path / "smaller.png"), reduced(load(source), 15, 20))
    assert fsrcnn.enlarge_file(source, tmp_path / "same.png", height=30) == same
    np.testing.assert_array_equal(load(tmp_path / "same.png"), load(source))


def test_a_copy_keeps_the_pictures_that_follow_in_the_file(tmp_path: Path):
    """As a photograph's gain map does, they lie where a list in the file's head says."""
    first, second = (Image.fromarray(noise(30, 40, 3)) for _ in range(2))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    fsrcnn.enlarge_file(tmp_path / "a.jpg", tmp_path / "same.jpg", width=40)
    assert is_stamped(tmp_path / "same.jpg")
    with Image.open(tmp_path / "a.jpg") as source, Image.open(tmp_path / "same.jpg") as copy:
        for each in (source, copy):
            each.seek(1)
        np.testing.assert_array_equal(np.asarray(copy), np.asarray(source))


def test_what_is_damaged_is_not_copied(tmp_path: Path):
    whole = save(tmp_path / "whole.png", noise(30, 40, 3)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-300])
    with pytest.raises(fsrcnn.Error, match="not a readable picture"):
        fsrcnn.enlarge_file(tmp_path / "cut.png", tmp_path / "same.png", width=40)
    assert not (tmp_path / "same.png").exists()


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize(("less", "more"), [(0, b"abc"), (0, bytes(999)), (12, b"")], ids=["a few", "many", "no end"])
def test_the_mark_of_a_copy_leaves_it_readable(tmp_path: Path, suffix: str, less: int, more: bytes):
    """Of a file with other bytes behind it; of a PNG without its last chunk, which has all of its pixels."""
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(noise(30, 40, 3)).save(whole, lossless=True)
    content = whole.read_bytes()
    source, copy = tmp_path / f"a.{suffix}", tmp_path / f"same.{suffix}"
    source.write_bytes(content[: len(content) - (less if suffix == "png" else 0)] + more)
    fsrcnn.enlarge_file(source, copy, width=40)
    assert is_stamped(copy)
    fsrcnn.enlarge_file(copy, tmp_path / "again.png", width=20)
    fsrcnn.enlarge_file(whole, tmp_path / "expected.png", width=20)
    np.testing.assert_array_equal(load(tmp_path / "again.png"), load(tmp_path / "expected.png"))


# --- films ---


def frames_of(path: Path) -> list[list[np.ndarray]]:
    with av.open(str(path)) as container:
        return [[plane.copy() for plane in sample_planes(frame)] for frame in container.decode(video=0)]


@pytest.mark.parametrize("pixel_format", ["yuv444p", "gray10le"])
def test_the_frames_are_the_factors_reduced(tmp_path: Path, pixel_format: str):
    source = make_clip(tmp_path / "lr.mkv", pixel_format, size=(31, 24))
    small = network("fsrcnn_s", 2)
    upscale_video(source, tmp_path / "x3.mkv", small.at(3), "ffv1")
    result = upscale_video(source, tmp_path / "sr.mkv", small, "ffv1", size=Size(height=55))
    assert result.warnings == ()
    for large, sr in zip(frames_of(tmp_path / "x3.mkv"), frames_of(tmp_path / "sr.mkv"), strict=True):
        for factor, plane in zip(large, sr, strict=True):
            assert plane.shape == (55, 71)
            expected = np.minimum(reduced(factor, 55, 71), 1023 if pixel_format.endswith("10le") else 255)
            assert_equal_to_one_level(plane, expected)


@pytest.mark.parametrize("height", [40, 80, 150])
def test_chroma_stays_where_it_belongs(height: int):
    """A ramp, whose samples of chroma lie on the left ones of the luma's columns, is a ramp at the same places."""
    lr = av.VideoFrame(60, 50, "yuv420p10le")
    lr.time_base = Fraction(1, 25)
    for plane in sample_planes(lr):
        plane[:] = 64
    sample_planes(lr)[1][:] = 16 * (2 * np.arange(30) + 0.5)  # 16 for each column of luma, from its left edge on
    steps = steps_to(Size(height=height), network("fsrcnn_s", 2), 60, 50, (2, 2))
    chroma = sample_planes(sized(lr, steps, full_range=False))[1]
    columns = (2 * np.arange(chroma.shape[1]) + 0.5) * 50 / height
    inner = slice(len(columns) // 6, -(len(columns) // 6))
    np.testing.assert_allclose(chroma[len(chroma) // 2, inner], 16 * columns[inner], atol=1.02)


def test_films_are_even_upright_and_keep_their_shape(tmp_path: Path):
    source = make_clip(
        tmp_path / "lr.mp4", codec="libx264", size=(64, 48), sample_aspect_ratio=Fraction(4, 3), rotation=90
    )
    said = upscale_video(source, tmp_path / "sr.mp4", network("fsrcnn_s", 2), size=Size(width=75)).warnings
    assert said == ("75 x 100 made even: 76 x 100",)
    upscale_video(source, tmp_path / "both.mp4", network("fsrcnn_s", 2), size=Size(width=96, height=64))
    found = {}
    for name in ("sr", "both"):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            stream, frame = container.streams.video[0], next(container.decode(video=0))
            found[name] = stream.width, stream.height, stream.sample_aspect_ratio, abs(frame.rotation)
    assert found["sr"] == (100, 76, Fraction(4, 3), 90)  # stored lying
    assert found["both"] == (64, 96, Fraction(4, 3) * Fraction(64 * 96, 48 * 64), 90)


def test_films_that_are_large_enough(tmp_path: Path):
    source = make_clip(tmp_path / "lr.mp4", codec="libx264", size=(64, 48))
    small = network("fsrcnn_s", 2)
    same = upscale_video(source, tmp_path / "same.mp4", small, size=Size(width=64))
    assert same.warnings == ("is 64 x 48 already; not enlarged",)
    assert (tmp_path / "same.mp4").read_bytes().startswith(source.read_bytes())
    coded = upscale_video(source, tmp_path / "coded.mkv", small, "ffv1", size=Size(width=64))
    assert coded.warnings == same.warnings
    np.testing.assert_array_equal(np.stack(frames_of(tmp_path / "coded.mkv")[3][0]), frames_of(source)[3][0])
    smaller = upscale_video(source, tmp_path / "smaller.mkv", small, "ffv1", size=Size(fit=(33, 100)))
    (remark,) = smaller.warnings
    assert remark == "is 64 x 48, larger than that; reduced to 32 x 24"
    assert_equal_to_one_level(frames_of(tmp_path / "smaller.mkv")[0][0], reduced(frames_of(source)[0][0], 24, 32))


@pytest.mark.parametrize("size", [Size(width=33), Size(fit=(33, 99))], ids=["width", "fit"])
def test_a_film_of_an_odd_size_that_has_it_is_copied(tmp_path: Path, size: Size):
    source = make_clip(tmp_path / "lr.webm", codec="libvpx-vp9", size=(33, 25))
    same = upscale_video(source, tmp_path / "same.webm", network("fsrcnn_s", 2), size=size)
    assert same.warnings == ("is 33 x 25 already; not enlarged",)
    assert (tmp_path / "same.webm").read_bytes().startswith(source.read_bytes()[:32])
    np.testing.assert_array_equal(frames_of(tmp_path / "same.webm")[0][0], frames_of(source)[0][0])
    coded = upscale_video(source, tmp_path / "coded.mkv", network("fsrcnn_s", 2), "libx264", size=size)
    assert coded.warnings == (f"33 x 25 made even: {'32 x 26' if size.fit else '34 x 26'}",)


def test_one_process_of_several_copies_a_film(tmp_path: Path):
    source = make_clip(tmp_path / "lr.mp4", codec="libx264", size=(64, 48))
    run, target = Run("several", is_shared=True), tmp_path / "same.mp4"
    said = [upscale_video(source, target, network("fsrcnn_s", 2), size=Size(width=64), run=run).warnings for _ in "ab"]
    assert said == [("is 64 x 48 already; not enlarged",), ()]
    remove_marks(target, run)
    assert {path.name for path in tmp_path.iterdir()} == {"lr.mp4", "same.mp4"}


@pytest.mark.parametrize("frames", [[], ["--frames"]], ids=["a film", "its frames"])
def test_what_no_network_enlarges_is_not_counted_as_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frames: list[str]
):
    make_clip(tmp_path / "a.mp4", codec="libx264", size=(64, 48), options={"crf": "40"})
    for width, said in (("32", " resized to a width of 32"), ("80", "restored: 1 of 1, by ")):
        command = ["upscale.py", str(tmp_path / "a.mp4"), "--variant", "fsrcnn_s", "--device", "cpu", "--width", width]
        monkeypatch.setattr("sys.argv", [*command, *frames, *(str(tmp_path / width) for _ in frames)])
        assert cli.upscale() == 0
        output = capsys.readouterr().out
        assert said in output
        assert ("restored" in output) == (width == "80")

"""Films as numbered pictures: their colours by hand-computed values, rows found or refused, interrupted and gone on."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import pyvips
from av.video.reformatter import ColorRange
from made import FRAMES, HEIGHT, WIDTH, load, make_clip, noise, save
from made import network as shipped_network

from fsrcnn.errors import FailureError, RequestError
from fsrcnn.network import Network
from fsrcnn.pictures.containers import png_chunks
from fsrcnn.stamp import is_stamped
from fsrcnn.videos import numbered, rgb, streams
from fsrcnn.videos.frames import sample_planes
from fsrcnn.videos.target import Encoding

MARK = "0123456789abcdef" * 2


def making(reel: streams.Reel, network: Network) -> streams.Making:
    return streams.making_of(reel, "film", network)[0]


@pytest.fixture(scope="module")
def network() -> Network:
    return shipped_network("fsrcnn_s", 2)


def flat(pixel_format: str, *levels: int, size: tuple[int, int] = (16, 8)) -> av.VideoFrame:
    frame = av.VideoFrame(*size, pixel_format)
    for plane, level in zip(sample_planes(frame), levels, strict=True):
        plane[:] = level
    return frame


# Y, Cb, Cr of pure red, green and blue by each standard's equations, rounded by hand, and the picture that they are.
COLOURS = [
    ("yuv420p", 6, False, (81, 90, 240), (255, 0, 0)),
    ("yuv420p", 6, False, (145, 54, 34), (0, 255, 0)),
    ("yuv444p", 6, False, (41, 240, 110), (0, 0, 255)),
    ("yuv420p", 1, False, (63, 102, 240), (255, 0, 0)),
    ("yuv422p", 1, False, (173, 42, 26), (0, 255, 0)),
    ("yuv420p", 1, False, (32, 240, 118), (0, 0, 255)),
    ("yuv420p", 6, True, (76, 85, 255), (255, 0, 0)),
    ("yuv444p", 1, True, (54, 99, 255), (255, 0, 0)),
    ("yuv420p10le", 9, False, (294, 387, 960), (65535, 0, 0)),
    ("yuv444p10le", 1, False, (250, 409, 960), (65535, 0, 0)),
    ("yuv420p", 1, False, (16, 128, 128), (0, 0, 0)),
    ("yuv420p", 1, False, (235, 128, 128), (255, 255, 255)),
    ("yuv420p10le", 1, False, (940, 512, 512), (65535, 65535, 65535)),
    ("gray", 1, False, (235,), (255,)),
    ("gray10le", 1, False, (64,), (0,)),
    ("gray", 1, True, (235,), (235,)),
    ("yuva420p", 1, False, (235, 128, 128, 77), (255, 255, 255, 77)),
    ("yuva444p10le", 1, False, (64, 512, 512, 1023), (0, 0, 0, 65535)),
]


@pytest.mark.parametrize(("pixel_format", "matrix", "full_range", "levels", "expected"), COLOURS)
def test_colours_are_the_films(
    pixel_format: str, matrix: int, full_range: bool, levels: tuple[int, ...], expected: tuple[int, ...]
):
    pixels = rgb.picture_of(flat(pixel_format, *levels), matrix, full_range, "left")
    assert pixels.dtype == (np.uint16 if "10" in pixel_format else np.uint8)
    assert pixels.shape == (8, 16, len(expected))
    # The rounding of luma and chroma alone, by up to half a level each, moves a colour by so much.
    off = np.abs(pixels.astype(np.int64) - np.array(expected)).max()
    assert off <= (2 if pixels.dtype == np.uint8 else 2 * 65535 / 876)


@pytest.mark.parametrize("location", ["left", "center", "topleft"])
def test_chroma_lies_where_the_film_says(location: str):
    frame = flat("yuv420p", 126, 128, 128, size=(32, 24))
    right, down = (0 if location.endswith("left") else 0.5), (0 if location.startswith("top") else 0.5)
    columns, rows = 2 * np.arange(16) + right, 2 * np.arange(12) + down  # on the luma
    sample_planes(frame)[2][:] = 100 + columns + 2 * rows[:, None] + 0.5
    red = rgb.picture_of(frame, 1, False, location)[..., 0].astype(np.float64)
    x, y = np.meshgrid(np.arange(32), np.arange(24))
    expected = 255 / 219 * (126 - 16) + 255 / 224 * 2 * (1 - 0.2126) * (100 + x + 2 * y - 128)
    inner = slice(4, -4), slice(4, -4)
    assert np.abs(red - expected)[inner].max() < 2.5  # of a step of 1.8 for each pixel, and rounding


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 2), (np.uint16, 2 * 65535 // 876)])
def test_pictures_come_back_from_frames(dtype: type, most: int):
    pixels = noise(9, 13, 3, dtype=dtype)
    frame = rgb.frame_of(pixels)
    assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 13, 1)
    again = rgb.picture_of(frame, rgb.matrix_of(frame), False, "left")
    assert np.abs(again.astype(np.int64) - pixels).max() <= most


def test_a_film_that_says_no_matrix_has_that_of_its_size():
    assert rgb.matrix_of(flat("gray", 0, size=(1024, 576))) == rgb.BT601
    assert rgb.matrix_of(flat("gray", 0, size=(1280, 544))) == rgb.BT709
    told = flat("gray", 0)
    told.colorspace = 9
    assert rgb.matrix_of(told) == rgb.BT2020


def test_turned_films_give_upright_pictures():
    pixels = noise(3, 5, 1)
    one = 1 << 16
    # Rows of display matrices as FFmpeg describes them: x' = a x + c y, y' = b x + d y.
    for (a, b, c, d), expected in {
        (one, 0, 0, one): pixels,
        (0, one, -one, 0): np.rot90(pixels, -1),
        (-one, 0, 0, -one): np.rot90(pixels, 2),
        (0, -one, one, 0): np.rot90(pixels),
        (-one, 0, 0, one): pixels[:, ::-1],
        (0, one, one, 0): pixels.swapaxes(0, 1),
    }.items():
        matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)
        np.testing.assert_array_equal(rgb.turned(pixels, matrix), expected)
    assert rgb.turned(pixels, np.array([46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30], np.int32)) is None


def test_a_turned_film_is_written_upright(network: Network, tmp_path: Path):
    plain, upright = tmp_path / "plain.mp4", tmp_path / "upright.mp4"
    make_clip(plain, codec="libx264", options={"crf": "0"})
    make_clip(upright, codec="libx264", options={"crf": "0"}, rotation=90)
    for clip in (plain, upright):
        with streams.film_reel(clip, "auto", None, True) as reel:
            streams.to_pictures(reel, making(reel, network), clip.with_suffix(""), MARK, overwrite=False)
    turned = load(tmp_path / "upright" / "000002.png")
    np.testing.assert_array_equal(turned, np.rot90(load(tmp_path / "plain" / "000002.png")))  # counterclockwise


# --- a film's frames ---


def written(network: Network, clip: Path, folder: Path, mark: str = MARK, overwrite: bool = False) -> tuple[int, int]:
    with streams.film_reel(clip, "auto", None, True) as reel:
        done = streams.to_pictures(reel, making(reel, network), folder, mark, overwrite)
    return done.frames, done.there


def test_frames_go_on_where_they_were(network: Network, tmp_path: Path):
    clip, folder = make_clip(tmp_path / "lr.mkv"), tmp_path / "frames"
    assert written(network, clip, folder) == (FRAMES, 0)
    names = [f"{number:06}.png" for number in range(1, FRAMES + 1)]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(map(is_stamped, folder.iterdir()))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    (folder / names[3]).unlink()
    assert written(network, clip, folder) == (1, FRAMES - 1)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert {path: content for path, (content, _) in after.items()} == {p: content for p, (content, _) in before.items()}
    assert sum(after[path][1] != before[path][1] for path in before) == 1


@pytest.mark.parametrize("mark", [MARK[::-1], ""])
def test_frames_of_others_are_left_alone(network: Network, tmp_path: Path, mark: str):
    clip, folder = make_clip(tmp_path / "lr.mkv"), tmp_path / "frames"
    theirs = save(folder / "000002.png", noise(4, 4, 3)).read_bytes()
    with pytest.raises(RequestError, match=r"^frames: .*000002\.png is no frame of this film as it is asked for; "):
        written(network, clip, folder)
    assert (folder / "000002.png").read_bytes() == theirs
    assert written(network, clip, folder, overwrite=True) == (FRAMES, 0)
    with pytest.raises(RequestError, match=r"000001\.png is no frame of this film"):
        written(network, clip, folder, mark)


def test_a_frame_that_cannot_be_written_leaves_no_half(network: Network, tmp_path: Path):
    clip = make_clip(tmp_path / "lr.mkv")
    folder = tmp_path / "frames"
    folder.write_text("a file")
    with pytest.raises(RequestError, match=r"^frames: .* is a file, expected a folder$"):
        written(network, clip, folder)


def test_hdr_and_the_shape_of_pixels_are_in_the_files(network: Network, tmp_path: Path):
    clip = make_clip(
        tmp_path / "lr.mp4", "yuv420p10le", codec="libx264", color_primaries=9, color_trc=16, colorspace=9,
        sample_aspect_ratio=Fraction(4, 3),
    )  # fmt: skip
    written(network, clip, tmp_path / "frames")
    chunks = dict(png_chunks(tmp_path / "frames" / "000001.png"))
    assert chunks[b"cICP"] == bytes([9, 16, 0, 1])
    assert chunks[b"pHYs"] == bytes([0, 0, 0, 3, 0, 0, 0, 4, 0])  # pixels a unit: fewer across, as they are wide
    assert load(tmp_path / "frames" / "000001.png").dtype == np.uint16


# --- rows of pictures ---


def row_in(folder: Path, *names: str, shape: tuple[int, ...] = (6, 8, 3)) -> Path:
    for name in names:
        save(folder / name, noise(*shape))
    return folder


def test_rows_are_found_in_the_order_of_their_numbers(tmp_path: Path):
    folder = row_in(tmp_path / "shots", "take2_9.png", "take2_10.png", "take2_11.png")
    (folder / "notes.txt").write_text("x")
    (folder / ".take2_12.png").write_bytes(b"")
    expected = ["take2_9.png", "take2_10.png", "take2_11.png"]
    for text in (str(folder), f"{folder}/*.png", f"{folder}/take2_%d.png"):
        assert numbered.is_row(text)
        assert [path.name for path in numbered.row_of(text).paths] == expected
    assert not numbered.is_row(str(folder / "take2_9.png"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), ": no pictures there$"),
        (("a1.png", "a2.png", "a5.png", "a7.png"), r": after a2\.png number 3 is missing \(3 in all\); put"),
        (("a1.png", "a2.jpg"), r": 2 rows of pictures, .*a#\.(png|jpg) \(1\).*; name one by a quoted pattern"),
        (("a1.png", "a2.png", "cover.png"), r": 2 rows of pictures, .*a#\.png \(2\)"),
        (("a1.png", "a01.png"), "the same number again in a"),
        (("a1.png", "a01.png", "a2.png"), r"have one number; remove one$"),
        (("1_1.png", "1_2.png", "2_1.png"), "several numbers differ in "),
    ],
)
def test_what_is_no_row_is_named(tmp_path: Path, names: tuple[str, ...], message: str):
    (tmp_path / "shots").mkdir()
    with pytest.raises(RequestError, match=message) as raised:
        numbered.row_of(str(row_in(tmp_path / "shots", *names)))
    assert str(raised.value).startswith(str(tmp_path / "shots"))


def test_a_picture_of_another_size_or_none_is_named(tmp_path: Path):
    folder = row_in(tmp_path, "a1.png", "a2.png")
    save(folder / "a2.png", noise(6, 9, 3))
    with pytest.raises(RequestError, match=r"a2\.png: is 9 x 6, and a1\.png is 8 x 6; a film has one size$"):
        numbered.row_of(str(folder))
    (folder / "a2.png").write_bytes(b"no picture")
    with pytest.raises(FailureError, match=r"a2\.png: not a readable picture"):
        numbered.row_of(str(folder))


@pytest.mark.parametrize(("dtype", "pixel_format"), [(np.uint8, "yuv420p"), (np.uint16, "yuv420p10le")])
def test_a_row_becomes_a_film(network: Network, tmp_path: Path, dtype: type, pixel_format: str):
    pictures = [
        np.full((HEIGHT, WIDTH, 3), [level, 0, 0], dtype) for level in np.array([0.2, 0.5, 1]) * np.iinfo(dtype).max
    ]
    for number, pixels in enumerate(pictures):
        save(tmp_path / "shots" / f"{number:03}.png", pixels)
    with streams.row_reel(
        numbered.row_of(str(tmp_path / "shots")), Fraction(24000, 1001), None, is_subsampled=True
    ) as reel:
        done = streams.to_film(reel, making(reel, network), tmp_path / "film.mkv", Encoding("ffv1"))
    assert done == (3, 0, [])
    with av.open(str(tmp_path / "film.mkv")) as container:
        video = container.streams.video[0]
        assert (video.width, video.height, video.pix_fmt) == (2 * WIDTH, 2 * HEIGHT, pixel_format)
        assert video.guessed_rate == Fraction(24000, 1001)
        frames = list(container.decode(video=0))
    assert (frames[0].colorspace, frames[0].color_range) == (1, ColorRange.MPEG)
    assert np.array([float(frame.time) for frame in frames]) == pytest.approx(np.arange(3) * 1001 / 24000, abs=1e-3)
    for frame, pixels in zip(frames, pictures, strict=True):
        shown = rgb.picture_of(frame, 1, False, "left").astype(np.int64)
        assert np.abs(shown[8:-8, 8:-8] - pixels[0, 0]).max() <= 0.012 * np.iinfo(dtype).max


def test_pictures_with_odd_sides_alpha_profiles_and_grey(network: Network, tmp_path: Path):
    shots = tmp_path / "shots"
    save(shots / "1.png", noise(7, 9, 4))
    save(shots / "2.png", noise(7, 9))
    save(shots / "3.png", noise(7, 9, 3, dtype=np.uint16))
    with streams.row_reel(numbered.row_of(str(shots)), Fraction(24), None, is_subsampled=True) as reel:
        how, said = streams.making_of(reel, "shots", shipped_network("fsrcnn_s", 3))
        done = streams.to_film(reel, how, tmp_path / "film.mkv", Encoding("ffv1"))
    assert done.frames == 3
    assert said[0] == "the pictures' alpha is left out"
    assert said[1:] == ["27 x 21 made even by repeating the last row or column: 28 x 22"]


def test_a_profile_is_applied(tmp_path: Path):
    wide = pyvips.Image.new_from_array(np.full((8, 8, 3), [0, 200, 0], np.uint8), interpretation="srgb")
    wide.icc_export(output_profile="p3").write_to_file(str(tmp_path / "p3.png"))
    pixels, has_alpha = numbered.pixels_of(tmp_path / "p3.png")
    assert not has_alpha
    assert np.abs(pixels.astype(int) - [0, 200, 0]).max() <= 3


def test_a_row_of_a_film_and_back(network: Network, tmp_path: Path):
    clip = make_clip(tmp_path / "lr.mkv")
    written(network, clip, tmp_path / "frames")
    again = numbered.row_of(str(tmp_path / "frames"))
    assert len(again.paths) == FRAMES
    shutil.rmtree(tmp_path / "frames")

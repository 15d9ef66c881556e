"""How strongly a picture was compressed, by its file's header and by its pixels; clean pictures show nothing."""

import io
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fsrcnn.pictures.headers import ZIGZAG, file_quality, jpeg_table, table_quality, webp_quantiser
from fsrcnn.pictures.quality import pixel_quality, shown_grid

Pixels = NDArray[np.uint8]
FLAT_TABLE = [[10] * 64, [10] * 64]
# The default table of mozjpeg and, scaled, of many pictures on the web (N. Robidoux's).
ROBIDOUX = """16 16 16 18 25 37 56 85 16 17 20 27 34 40 53 75 16 20 24 31 43 62 91 135 18 27 31 40 53 74 106 156
25 34 43 53 69 94 131 189 37 40 62 74 94 124 169 238 56 53 91 106 131 169 226 311 85 75 135 156 189 238 311 418"""


def halved(picture: Pixels) -> Pixels:
    """Clean, whatever scikit-image's file of it was saved as."""
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def photographs() -> dict[str, Pixels]:
    found = {name: getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "camera", "rocket")}
    return {name: halved(picture) for name, picture in found.items()}


PHOTOGRAPHS = photographs()


def saved(picture: Pixels, kind: str = "JPEG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    file.seek(0)
    return file


def compressed(picture: Pixels, quality: int, **options: object) -> Pixels:
    return np.asarray(Image.open(saved(picture, quality=quality, **options)))


def luma(picture: Pixels) -> NDArray[np.float32]:
    return picture if picture.ndim == 2 else picture @ np.array([0.299, 0.587, 0.114], np.float32)


# --- files ---


def written(path: Path, file: io.BytesIO) -> Path:
    path.write_bytes(file.getvalue())
    return path


def test_a_jpegs_quality_is_in_its_tables(tmp_path: Path):
    small = PHOTOGRAPHS["coffee"][:32, :32]
    for quality, (progressive, picture) in zip(
        range(1, 101), itertools.cycle(itertools.product([False, True], [small, small[..., 0]])), strict=False
    ):
        file = saved(picture, quality=quality, progressive=progressive, exif=b"Exif\0\0" + bytes(5000))
        assert file_quality(written(tmp_path / "saved.jpg", file)) == quality


def test_other_programs_tables_have_a_neighbours_quality(tmp_path: Path):
    flat = written(tmp_path / "flat.jpg", saved(PHOTOGRAPHS["coffee"], qtables=FLAT_TABLE))
    assert 85 <= file_quality(flat) <= 95
    robidoux = np.array(ROBIDOUX.split(), int)
    assert 35 <= table_quality(robidoux) <= 50
    assert 62 <= table_quality(robidoux // 2) <= 75


def test_tables_of_16_bits_and_fill_bytes_are_read(tmp_path: Path):
    content = saved(PHOTOGRAPHS["coffee"], quality=60).getvalue()
    at = content.index(b"\xff\xdb")
    length = int.from_bytes(content[at + 2 : at + 4], "big")
    assert length == 67
    wide = np.frombuffer(content[at + 5 : at + 69], np.uint8).astype(">u2").tobytes()
    table = b"\xff\xff\xdb" + (131).to_bytes(2, "big") + bytes([0x10]) + wide
    (tmp_path / "wide.jpg").write_bytes(content[:at] + table + content[at + 69 :])
    assert file_quality(tmp_path / "wide.jpg") == 60


def test_webps_quality_falls_with_its_quantiser(tmp_path: Path):
    qualities = []
    for asked in (100, 90, 75, 50, 20, 0):
        for options in ({}, {"icc_profile": bytes(301), "exif": b"Exif\0\0" + bytes(99)}):
            file = saved(PHOTOGRAPHS["coffee"], "WEBP", quality=asked, **options)
            found = file_quality(written(tmp_path / "saved.webp", file))
            assert not qualities or found <= qualities[-1]
            qualities.append(found)
    assert qualities[0] == 100
    assert 80 < qualities[4] < 92
    assert qualities[-1] == 20
    # libwebp's own statement of it: the base quantiser of one segment at quality 0 is the coarsest.
    assert webp_quantiser(saved(PHOTOGRAPHS["coffee"], "WEBP", quality=0).getvalue()) == pytest.approx(127)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_lossless_files_tell_no_quality(tmp_path: Path, kind: str):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert file_quality(written(tmp_path / "picture", saved(PHOTOGRAPHS["coffee"], kind, **options))) is None


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_damaged_headers_tell_no_quality_or_the_right_one(tmp_path: Path, kind: str):
    content = saved(PHOTOGRAPHS["coffee"], kind, quality=60).getvalue()
    whole = file_quality(written(tmp_path / "whole", io.BytesIO(content)))
    for length in range(0, 700, 7):
        (tmp_path / "cut").write_bytes(content[:length])
        assert file_quality(tmp_path / "cut") in (None, whole) or kind == "WEBP"
    random = np.random.default_rng(1)
    for _ in range(300):
        broken = bytearray(content)
        for place in random.integers(2, 700, 8):
            broken[place] = random.integers(256)
        (tmp_path / "broken").write_bytes(broken)
        quality = file_quality(tmp_path / "broken")
        assert quality is None or 1 <= quality <= 100


# --- pixels ---


@pytest.mark.parametrize("quality", [10, 20, 40, 60, 75, 85, 90, 92])
def test_pixels_show_their_jpegs_quality(quality: int):
    for picture in PHOTOGRAPHS.values():
        grey = picture if picture.ndim == 2 else picture[..., 1]
        assert pixel_quality(compressed(grey, quality)) == pytest.approx(quality, abs=2)
        if picture.ndim == 3:
            for subsampling in ("4:4:4", "4:2:0"):
                pixels = compressed(picture, quality, subsampling=subsampling)
                assert pixel_quality(pixels) == pytest.approx(quality, abs=2)
            assert pixel_quality(luma(pixels)) in (None, pytest.approx(quality, abs=2))


def test_luma_with_fractions_shows_it_too():
    assert pixel_quality(luma(compressed(PHOTOGRAPHS["chelsea"], 60))) == pytest.approx(60, abs=2)


@pytest.mark.parametrize(("top", "left"), [(0, 3), (5, 0), (7, 6), (4, 4)])
def test_crops_show_it_on_their_own_grid(top: int, left: int):
    for name in ("astronaut", "chelsea", "coffee"):
        pixels = compressed(PHOTOGRAPHS[name], 60)[top:, left:]
        assert shown_grid(pixels) == (-top % 8, -left % 8)
        assert pixel_quality(pixels) == pytest.approx(60, abs=2)


@pytest.mark.parametrize(("first", "then"), [(30, 95), (60, 95), (60, 90), (80, 95), (95, 60), (50, 75)])
def test_pictures_saved_twice_show_the_lower_quality(first: int, then: int):
    for name in ("astronaut", "chelsea", "coffee"):
        twice = compressed(compressed(PHOTOGRAPHS[name], first), then)
        assert pixel_quality(twice) == pytest.approx(min(first, then), abs=2)


@pytest.mark.parametrize("quality", [30, 60, 85])
def test_turned_pictures_show_it_too(quality: int):
    for name in ("astronaut", "chelsea", "coffee"):
        turned = np.rot90(compressed(PHOTOGRAPHS[name], quality))
        assert pixel_quality(turned) == pytest.approx(quality, abs=2)


def test_other_programs_tables_show_a_neighbours_quality():
    robidoux = np.array(ROBIDOUX.split(), int)
    for table in (robidoux // 2, robidoux * 2 // 5):
        for name in ("astronaut", "chelsea", "coffee"):
            file = saved(PHOTOGRAPHS[name], qtables=[table[ZIGZAG].tolist()] * 2)
            said = table_quality(jpeg_table(file.getvalue()))
            assert pixel_quality(np.asarray(Image.open(file))) == pytest.approx(said, abs=6)


def test_a_crop_saved_again_shows_the_lower_quality():
    for name in ("astronaut", "chelsea", "coffee"):
        pixels = compressed(compressed(PHOTOGRAPHS[name], 50)[3:, 5:], 95)
        assert pixel_quality(pixels) == pytest.approx(50, abs=2)


def made() -> dict[str, Pixels]:
    """Pictures that were never compressed: shades, patterns, enlarged pixels, dithering, text, drawings, noise."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[:256, :320]
    camera, astronaut = PHOTOGRAPHS["camera"], PHOTOGRAPHS["astronaut"]
    found = {
        "flat": np.full((100, 120, 3), 90, np.uint8),
        "across": (x * 0.7).astype(np.uint8),
        "slope": np.rint(x * 0.4 + y * 0.45).astype(np.uint8),
        "round": np.rint(np.hypot(x - 150, y - 90) * 0.6).clip(0, 255).astype(np.uint8),
        "waves": np.rint(127 + 100 * np.sin(x / 9) * np.cos(y / 13)).astype(np.uint8),
        "noise": random.integers(0, 256, (200, 300, 3), np.uint8),
        "faint noise": random.normal(128, 3, (200, 300)).astype(np.uint8),
        "dithered": np.asarray(Image.fromarray(camera).convert("1").convert("L")),
        "palette": np.asarray(Image.fromarray(astronaut).quantize(32).convert("RGB")),
        "levels": camera // 32 * 36,
    }
    for size in (8, 12, 16, 24, 32):
        tile = random.integers(0, 256, (size, size, 3), np.uint8)
        found[f"tile of {size}"] = np.tile(tile, (256 // size, 320 // size, 1))
        for deviation in (0.5, 1, 2):
            noisy = found[f"tile of {size}"] * 0.8 + 20 + random.normal(0, deviation, found[f"tile of {size}"].shape)
            found[f"tile of {size}, noise of {deviation}"] = np.rint(noisy).astype(np.uint8)
        tiles = [astronaut[10 * at :][:size, 12 * at :][:, :size] for at in range(10)]
        places = random.integers(0, 10, (256 // size, 320 // size))
        found[f"map of {size}"] = np.block([[[tiles[at]] for at in row] for row in places])
        lit = np.tile(camera[40:][:size, 60:][:, :size] // 2, (256 // size, 256 // size))
        found[f"lit tile of {size}"] = lit + np.kron(
            random.integers(0, 120, (256 // size,) * 2), np.ones((size,) * 2)
        ).astype(np.uint8)
    for size in (2, 3, 4, 8):
        block = np.ones((size, size, 1), np.uint8)
        found[f"pixels of {size}"] = np.kron(astronaut[::4, ::4], block)
        art = random.choice(np.array([[0, 0, 0], [250, 240, 240], [200, 30, 30], [40, 60, 220]], np.uint8), (60, 60))
        found[f"art of {size}"] = np.kron(art, block)
        found[f"checkers of {size}"] = ((y // size + x // size) % 2 * 120 + 60).astype(np.uint8)
    for scale, kind in itertools.product((0.6, 1.5, 2), (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)):
        size = [round(scale * length) for length in astronaut.shape[1::-1]]
        found[f"{scale} {kind.name}"] = np.asarray(Image.fromarray(compressed(astronaut, 60)).resize(size, kind))
    for colours in (("black", "white"), ("#dddddd", "#1e1e2e")):
        page = Image.new("RGB", (400, 320), colours[1])
        draw = ImageDraw.Draw(page)
        for line in range(24):
            draw.text((6, 4 + 13 * line), f"{line}: the quick brown fox, {random.integers(1e9)} dogs", fill=colours[0])
            shape = [int(at) for at in random.integers(0, 300, 2)]
            draw.ellipse(
                (*shape, shape[0] + 60, shape[1] + 20), outline=tuple(int(c) for c in random.integers(0, 255, 3))
            )
        found[f"page, {colours[0]}"] = np.asarray(page)
        found[f"page, {colours[0]}, reduced"] = np.asarray(page.resize((266, 213), Image.Resampling.LANCZOS))
    return found


def test_clean_pictures_show_nothing():
    wrong = {name: quality for name, each in (made() | PHOTOGRAPHS).items() if (quality := pixel_quality(each))}
    assert not wrong
    crops = [
        picture[top : top + 128, left : left + 128]
        for picture in PHOTOGRAPHS.values()
        for top, left in itertools.product(range(0, picture.shape[0] - 127, 40), range(0, picture.shape[1] - 127, 40))
    ]
    assert len(crops) > 50
    assert not [each for each in map(pixel_quality, crops) if each]


def test_pictures_with_few_blocks_show_nothing():
    whole = compressed(PHOTOGRAPHS["coffee"], 30)
    for height, width in itertools.product((1, 2, 7, 8, 9, 16, 40), repeat=2):
        assert pixel_quality(whole[:height, :width]) is None

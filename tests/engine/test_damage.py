"""Damaged picture files: refused, or enlarged and said; each told by its own words."""

import io
import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made import network, noise
from PIL import Image

from dataset import read_image
from fsrcnn.errors import Error, FailureError
from fsrcnn.parts import spans
from fsrcnn.pictures.damage import content_damage
from fsrcnn.pictures.reading import read_picture, read_windows
from fsrcnn.pictures.upscale import upscale_picture

END = b"\xff\xd9"
KINDS = {
    "4:2:0": {},
    "4:4:4": {"subsampling": 0},
    "grey": {"mode": "L"},
    "CMYK": {"mode": "CMYK"},
    "restarts": {"restart_marker_blocks": 3},
    "progressive": {"progressive": True},
    "RGB": {"keep_rgb": True},
}
BASELINE = [kind for kind in KINDS if kind != "progressive"]


def jpeg(kind: str = "4:2:0", **options: object) -> bytes:
    """A JPEG file of 120 x 90 pixels: waves, and a little noise."""
    y, x = np.mgrid[:90, :120]
    waves = 128 + 90 * np.stack([np.sin(x / 19 + y / 37), np.cos(x / 33 - y / 17), np.sin(y / 9)], axis=-1)
    settings = KINDS[kind] | options
    picture = Image.fromarray((waves + noise(90, 120, 3) / 32).astype(np.uint8)).convert(settings.pop("mode", "RGB"))
    file = io.BytesIO()
    picture.save(file, "JPEG", **settings)
    return file.getvalue()


def pixels_at(content: bytes) -> int:
    """Where the compressed pixels of the first scan begin."""
    scan = content.index(b"\xff\xda")
    return scan + 2 + int.from_bytes(content[scan + 2 : scan + 4], "big")


def restart_markers(content: bytes) -> list[int]:
    return [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", content) if found.start() > pixels_at(content)]


def scans(content: bytes) -> list[tuple[int, int]]:
    """Where each scan begins and ends."""
    starts = [found.start() for found in re.finditer(rb"\xff\xda", content)]
    ends = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
    return [(start, ends.search(content, start + 2).start()) for start in starts]


def read(path: Path) -> None:
    """Reads the whole picture. Raises what reading raises."""
    picture, _ = read_picture(path)
    for _ in read_windows(picture, path, spans(picture.height, 256, 0)):
        pass


def failure_of(path: Path) -> Error | None:
    """The error of reading the picture; any that is not one of ours is raised."""
    try:
        read(path)
    except Error as error:
        return error
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_is_whole(kind: str):
    assert content_damage(jpeg(kind)) == (None, (), (), True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ending", [b"", END], ids=["", "with an end marker"])
def test_a_cut_jpeg_has_lost_pixels(kind: str, ending: bytes):
    content = jpeg(kind)
    for tenth in range(1, 10):
        damage = content_damage(content[: len(content) * tenth // 10] + ending)
        assert damage.lost or damage.doubtful, tenth
        assert damage.lost or (kind == "progressive" and ending), tenth
        assert not damage.harmless


def test_a_file_that_ends_at_a_restart_marker_has_lost_pixels():
    content = jpeg("restarts")
    for marker in restart_markers(content):
        for end in (marker, marker + 2):
            assert content_damage(content[:end]).lost
            assert content_damage(content[:end] + END).lost


def test_restart_markers_are_in_their_order():
    content = jpeg("restarts")
    for marker in restart_markers(content)[::5]:
        wrong = bytes([0xD0 + (content[marker + 1] + 3) % 8])
        assert content_damage(content[: marker + 1] + wrong + content[marker + 2 :]).lost
        assert content_damage(content[:marker] + content[marker + 2 :]).lost


def test_missing_scans_are_noticed():
    content = jpeg("progressive")
    found = scans(content)
    assert len(found) > 5
    for start, end in found:
        damage = content_damage(content[:start] + content[end:])
        assert damage.lost or damage.doubtful
    for _, end in found[:-1]:
        assert content_damage(content[:end]).lost
        assert content_damage(content[:end] + END).doubtful


@pytest.mark.parametrize("kind", BASELINE)
def test_zeros_in_place_of_pixels_are_noticed(kind: str):
    """What a disk leaves of a sector that was not written; the rest of the file is right."""
    content = jpeg(kind, quality=95)
    first = pixels_at(content)
    for part in range(4):
        at = first + (len(content) - first - 600) * part // 4
        damage = content_damage(content[:at] + bytes(512) + content[at + 512 :])
        assert damage.lost or damage.doubtful, part


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_not_the_pictures_are_said(kind: str):
    content = jpeg(kind)
    for changed, said in {
        content[:-2]: "lacks its end marker",
        content + b"a trailer": "9 bytes after the end",
        content[:2] + b"foreign" + content[2:]: "bytes that belong to nothing",
    }.items():
        damage = content_damage(changed)
        assert (damage.lost, damage.doubtful) == (None, ())
        assert [said in each for each in damage.harmless] == [True]
    assert content_damage(content[:-2] + bytes(range(1, 60)) + END).doubtful


def test_damage_hidden_behind_a_harmless_warning_is_found():
    content = jpeg()
    assert content_damage(content[:2] + b"foreign" + content[2:-900] + END).lost


def test_a_damaged_jpeg_is_refused_unless_accepted(tmp_path: Path):
    source, target = tmp_path / "a.jpg", tmp_path / "b.png"
    source.write_bytes(jpeg()[:-900])
    with pytest.raises(FailureError, match=r"a\.jpg: damaged \(premature end.*\); --accept-damaged enlarges"):
        upscale_picture(source, target, network("fsrcnn_s", 2))
    assert not target.exists()
    (said,) = upscale_picture(source, target, network("fsrcnn_s", 2), accept_damaged=True)
    assert "damaged (premature end of data segment)" in said
    with Image.open(target) as enlarged:
        assert enlarged.size == (240, 180)


def test_a_jpeg_without_its_end_marker_becomes_what_the_whole_one_does(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "b.jpg").write_bytes(jpeg()[:-2])
    said = [upscale_picture(tmp_path / f"{n}.jpg", tmp_path / f"{n}.png", network("fsrcnn_s", 2)) for n in "ab"]
    assert said == [(), ("the file lacks its end marker; the picture is whole",)]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_zeros_may_be_flat_pixels():
    """Optimised codes of a flat picture are zeros; the usual ones' zeros are no picture."""
    for optimize in (True, False):
        file = io.BytesIO()
        Image.new("RGB", (600, 600), (200, 30, 90)).save(file, "JPEG", optimize=optimize)
        assert content_damage(file.getvalue()) == (None, (), (), True)


def test_ground_truth_is_no_damaged_jpeg(tmp_path: Path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg() + b"a trailer")
    assert read_image(path).shape == (90, 120, 3)
    for content in (jpeg()[:-900], jpeg()[:-2] + bytes(range(1, 60)) + END):
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"a\.jpg: damaged \(.*\); replace or remove it"):
            read_image(path)


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF", "GIF", "AVIF", "BMP"])
def test_a_cut_file_of_another_format_is_refused(tmp_path: Path, format_: str):
    path = tmp_path / f"a.{format_.lower()}"
    Image.fromarray(noise(40, 50, 3)).save(path)
    content = path.read_bytes()
    read(path)
    for tenth in range(1, 10):
        path.write_bytes(content[: len(content) * tenth // 10])
        with pytest.raises(FailureError, match=rf"a\.{format_.lower()}: not a readable picture \(.+\)"):
            read(path)


def test_a_changed_byte_of_a_png_is_refused(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.fromarray(noise(20, 20, 3)).save(path)
    content = path.read_bytes()
    for at in range(20, len(content) - 16, 50):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(FailureError, match=r"checksum of a chunk '.*' is wrong|its end is missing"):
            read(path)


def test_whatever_pillow_raises_is_one_line(tmp_path: Path):
    """Of BMP files with wrong bytes in their headers: ValueError, OSError, SyntaxError and others."""
    path, change, raised = tmp_path / "a.bmp", random.Random(0), set()
    files = []
    for mode in ("1", "L", "P", "RGB"):
        Image.fromarray(noise(6, 5, 3)).convert(mode).save(path)
        files.append(path.read_bytes())
    for _ in range(150):
        content = bytearray(change.choice(files))
        for _ in range(2):
            content[change.randrange(2, 60)] = change.choice([0, 1, 4, 8, 255, change.randrange(256)])
        path.write_bytes(content)
        if failure := failure_of(path):
            assert str(failure).startswith(f"{path}: ")
            assert "\n" not in str(failure)
            raised.add(type(failure.__cause__))
    assert {OSError, ValueError} <= raised


def test_each_file_is_told_by_its_own_error(tmp_path: Path):
    """Half of 200 files are bad in different ways, and read by four threads: libvips' text of errors is one for all."""
    spoil: list[Callable[[bytes], bytes]] = [
        lambda content: content[: len(content) // 2],
        lambda content: content[:10],
        lambda content: b"<html>" + content,
        lambda content: bytes(len(content)),
        lambda content: content[:60] + bytes(20) + content[80:],
    ]
    good = {}
    for suffix in (".png", ".webp", ".tif", ".gif", ".jpg"):
        Image.fromarray(noise(30, 30, 3)).save(tmp_path / f"good{suffix}")
        good[suffix] = (tmp_path / f"good{suffix}").read_bytes()
    paths = []
    for index in range(200):
        suffix = list(good)[index % 5]
        content = good[suffix] if index % 2 else spoil[index // 10 % 5](good[suffix])
        paths.append(tmp_path / f"{index}{suffix}")
        paths[-1].write_bytes(content)

    def told(path: Path) -> str:
        return str(failure_of(path) or "")

    alone = [told(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(told, paths))
    assert together == alone
    assert sum(map(bool, alone)) > 70
    assert all(line.startswith(f"{path}: ") for path, line in zip(paths, alone, strict=True) if line)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "after",
    [bytes(4096), b"\xff" * 512, b"\n\1Image_UTC_Data1672628645000SEFHk\0\0\0SEFT"],
    ids=["zeros", "fill", "a Samsung phone's note"],
)
def test_what_fills_up_after_the_end_is_no_damage(kind: str, after: bytes):
    assert content_damage(jpeg(kind) + after) == (None, (), (), True)


def test_zeros_in_what_follows_the_end_are_no_lost_pixels():
    film = b"\0\0\0\x18ftypmp42" + bytes(100) + b"mdat"
    damage = content_damage(jpeg() + film)
    assert not damage.lost
    assert damage.harmless == (f"{len(film)} bytes after the end of the picture are no part of it",)


def test_pictures_that_the_file_lists_are_not_said_twice():
    content, preview = jpeg(), jpeg("grey")
    listed = b"\xff\xe2\0\x0eMPF\0MM\0*\0\0\0\x08"
    assert content_damage(content[:2] + listed + content[2:] + preview) == (None, (), (), True)

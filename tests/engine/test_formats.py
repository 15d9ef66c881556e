"""The records of the picture formats, and which files are pictures or videos."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips
from made import load, network, noise, save
from PIL import Image

from fsrcnn.errors import FailureError, RequestError
from fsrcnn.pictures.containers import tiff_tags
from fsrcnn.pictures.formats import BY_SUFFIX, FORMATS, Library, Mark, format_in, format_of
from fsrcnn.pictures.pixels import Layout
from fsrcnn.pictures.reading import read_picture
from fsrcnn.pictures.strips import strip_height, strip_memory
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.videos import VIDEO_SUFFIXES

ROOT = Path(__file__).parents[2]


def test_each_suffix_is_one_formats():
    assert len(BY_SUFFIX) == sum(len(format_.suffixes) for format_ in FORMATS)
    assert not BY_SUFFIX.keys() & VIDEO_SUFFIXES
    assert format_of(Path("a.b/Photo.JPG")) is format_of(Path("b.jpeg"))


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
def test_libvips_has_the_operations_of_the_record(format_):
    if format_.read_by is Library.LIBVIPS:
        assert pyvips.type_find("VipsOperation", f"{format_.name}load")
    if format_.written_by is Library.LIBVIPS:
        assert pyvips.type_find("VipsOperation", f"{format_.name}save")


def test_a_mark_is_found_anywhere(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"first, second")
    assert Mark(b"second").is_in(tmp_path / "file")
    assert not Mark(b"third").is_in(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"")
    assert not Mark(b"first").is_in(tmp_path / "file")


@pytest.mark.parametrize(
    ("source", "target", "named"),
    [
        ("a.txt", "b.png", "a.txt: no known picture (.avif .bmp"),
        ("a.png", "b.mp4", "b.mp4: no known picture"),
        ("a.png", "b.gif", "b.gif: .gif is only read; choose one of .bmp .jfif .jpe .jpeg .jpg .png .tif .tiff .webp"),
    ],
)
def test_another_suffix_gets_one_line(tmp_path: Path, source: str, target: str, named: str):
    save(tmp_path / "a.png", noise(9, 8, 3)).replace(tmp_path / source)
    with pytest.raises(RequestError) as complaint:
        upscale_picture(tmp_path / source, tmp_path / target, network("fsrcnn_s", 2))
    assert named in str(complaint.value)
    assert "\n" not in str(complaint.value)
    assert [path.name for path in tmp_path.iterdir()] == [source]


# --- what a file is, whatever it is called ---


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
def test_a_format_is_known_by_its_content(tmp_path: Path, format_):
    file = tmp_path / f"a{format_.suffixes[0]}"
    Image.fromarray(noise(9, 8, 3)).save(file)
    for suffix in BY_SUFFIX:
        assert format_in(file.rename(file.with_suffix(suffix))) is format_
        file = file.with_suffix(suffix)


def test_a_wrong_suffix_is_said(tmp_path: Path):
    Image.fromarray(noise(9, 8, 3)).save(tmp_path / "a.jpg")
    right = upscale_picture(tmp_path / "a.jpg", tmp_path / "right.png", network("fsrcnn_s", 2))
    (tmp_path / "a.jpg").rename(tmp_path / "a.png")
    wrong = upscale_picture(tmp_path / "a.png", tmp_path / "wrong.png", network("fsrcnn_s", 2))
    assert (right, wrong) == ((), ("is a JPEG in spite of its suffix; read as that",))
    assert (tmp_path / "right.png").read_bytes() == (tmp_path / "wrong.png").read_bytes()
    Image.fromarray(noise(9, 8, 3)).save(tmp_path / "a.avif")
    (tmp_path / "a.avif").rename(tmp_path / "a.jpg")
    said = upscale_picture(tmp_path / "a.jpg", tmp_path / "avif.png", network("fsrcnn_s", 2))
    assert said == ("is an AVIF in spite of its suffix; read as that",)


def png_chunk(type_: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + type_ + payload + struct.pack(">I", zlib.crc32(type_ + payload))


def test_one_frame_or_one_page_is_one_picture(tmp_path: Path):
    picture, other = Image.fromarray(noise(9, 8, 3)), Image.fromarray(noise(9, 8, 3) // 2)
    save(tmp_path / "one.png", noise(9, 8, 3))
    content = (tmp_path / "one.png").read_bytes()
    frame = struct.pack(">5IHHBB", 0, 8, 9, 0, 0, 1, 10, 0, 0)
    chunks = png_chunk(b"acTL", struct.pack(">2I", 1, 0)) + png_chunk(b"fcTL", frame)
    (tmp_path / "one.png").write_bytes(content[:33] + chunks + content[33:])
    picture.save(tmp_path / "default.png", save_all=True, default_image=True, append_images=[other])
    thumbnail = picture.resize((4, 4))
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    picture.save(tmp_path / "thumbnail.tif", save_all=True, append_images=[thumbnail])
    assert [page.get(254) for page in tiff_tags(tmp_path / "thumbnail.tif")] == [None, (1,)]
    picture.save(tmp_path / "pages.tif", save_all=True, append_images=[other])
    picture.save(tmp_path / "moving.avif", save_all=True, append_images=[other])
    for name in ("one.png", "thumbnail.tif"):
        assert upscale_picture(tmp_path / name, tmp_path / "result.png", network("fsrcnn_s", 2)) == ()
        assert load(tmp_path / "result.png").shape == (18, 16, 3)
    for name in ("default.png", "pages.tif", "moving.avif"):
        with pytest.raises(FailureError, match=f"{name}: an animation or several pages"):
            upscale_picture(tmp_path / name, tmp_path / "none.png", network("fsrcnn_s", 2))


# --- BMP ---


def bmp_with_alpha(path: Path, pixels: np.ndarray) -> Path:
    """Writes h x w x 4 samples as Windows' programs do: a BITMAPV5HEADER, from bottom to top, blue first."""
    height, width = pixels.shape[:2]
    header = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 32, 3, 4 * height * width, 3780, 3780, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    file = struct.pack("<2sIHHI", b"BM", 138 + 4 * height * width, 0, 0, 138)
    path.write_bytes(file + header + masks + b"BGRs" + bytes(64) + pixels[::-1, :, [2, 1, 0, 3]].tobytes())
    return path


def test_a_bmp_keeps_its_alpha(tmp_path: Path):
    pixels = noise(9, 8, 4)
    source = bmp_with_alpha(tmp_path / "a.bmp", pixels)
    save(tmp_path / "a.png", pixels)
    for name in ("a.bmp", "a.png"):
        assert upscale_picture(tmp_path / name, tmp_path / f"{name}.png", network("fsrcnn_s", 2)) == ()
    expected = load(tmp_path / "a.png.png")
    np.testing.assert_array_equal(load(tmp_path / "a.bmp.png"), expected)
    assert upscale_picture(source, tmp_path / "b.bmp", network("fsrcnn_s", 2)) == ()
    with Image.open(tmp_path / "b.bmp") as enlarged:
        np.testing.assert_array_equal(np.asarray(enlarged), expected)
        assert enlarged.info["dpi"] == pytest.approx((96, 96), abs=0.1)
    save(tmp_path / "grey.png", noise(9, 8, 2))
    upscale_picture(tmp_path / "grey.png", tmp_path / "grey.bmp", network("fsrcnn_s", 2))
    with Image.open(tmp_path / "grey.bmp") as enlarged:
        assert enlarged.mode == "RGBA"


def test_alpha_of_zeros_alone_is_no_alpha(tmp_path: Path):
    pixels = noise(9, 8, 4)
    pixels[..., 3] = 0
    upscale_picture(bmp_with_alpha(tmp_path / "a.bmp", pixels), tmp_path / "b.png", network("fsrcnn_s", 2))
    assert load(tmp_path / "b.png").shape == (18, 16, 3)


def test_pillows_limit_is_its_users(tmp_path: Path):
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(noise(9, 8, 3)).save(tmp_path / "a.bmp")
    upscale_picture(tmp_path / "a.bmp", tmp_path / "b.bmp", network("fsrcnn_s", 2))
    assert before == Image.MAX_IMAGE_PIXELS


# --- memory ---


def promising(path: Path, height: int, width: int, **options: object) -> Path:
    """A small picture whose header promises a large one."""
    Image.new("RGB", (8, 8)).save(path, **options)
    content = bytearray(path.read_bytes())
    if path.suffix == ".gif":
        size, places = struct.pack("<HH", width, height), [6, content.index(b",\0\0\0\0") + 5]
    else:
        size, places = struct.pack(">HH", height, width), [content.index(b"\xff\xc2") + 5]
    for at in places:
        content[at : at + 4] = size
    path.write_bytes(content)
    return path


def test_a_picture_that_needs_much_memory_is_refused(tmp_path: Path):
    files = [
        promising(tmp_path / "a.jpg", 20_000, 40_000, progressive=True),
        promising(tmp_path / "a.gif", 20_000, 20_000),
    ]
    for file in files:
        with pytest.raises(FailureError, match=r"needs 2\.2 GiB .* the limit of 2 GiB; --memory-limit 3 allows it"):
            upscale_picture(file, tmp_path / "b.png", network("fsrcnn_s", 2))
    Image.fromarray(noise(200, 200, 3)).save(tmp_path / "a.webp")
    with pytest.raises(FailureError, match="more than the limit"):
        upscale_picture(tmp_path / "a.webp", tmp_path / "b.png", network("fsrcnn_s", 2), memory_limit=100_000)
    assert (
        upscale_picture(tmp_path / "a.webp", tmp_path / "b.png", network("fsrcnn_s", 2), memory_limit=5_000_000) == ()
    )


def test_a_turned_picture_needs_memory_for_all_of_it_twice(tmp_path: Path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(40, 30, 3)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(FailureError, match="of memory, more than the limit"):
        read_picture(tmp_path / "a.jpg", memory_limit=2 * 40 * 30 * 3 - 1)
    picture, _ = read_picture(tmp_path / "a.jpg", memory_limit=2 * 40 * 30 * 3)
    assert (picture.width, picture.height) == (40, 30)


def test_strips_of_wide_pictures_have_few_rows():
    small = network("fsrcnn_s", 2)
    wide = Layout(height=300, width=2**22, bands=3, bits=8, has_alpha=False)
    assert [strip_height(wide._replace(width=width)) for width in (100, 2**16, 2**22, 2**30)] == [256, 256, 4, 1]
    rows = 4 + 2 * small.reach + 4 * 4
    assert strip_memory(wide, small) == (small.threads + 2) * rows * 2**22 * 3


KIB = "int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
PEAK = f"""
import sys
import zlib
from pathlib import Path
from fsrcnn.parts import spans
from fsrcnn.pictures.containers import tiff_tags
from fsrcnn.pictures.formats import format_in
from fsrcnn.pictures.memory import decoding_memory
from fsrcnn.pictures.reading import read_picture, read_windows
small, path = map(Path, sys.argv[1:])
for each in (small, path):
    picture, _ = read_picture(each)
    for _ in read_windows(picture, each, spans(picture.height, 256, 0)):
        pass
    print({KIB}, decoding_memory(picture, each, format_in(each)) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="left out: not on Linux")
@pytest.mark.parametrize(
    ("suffix", "options"), [(".jpg", {"progressive": True}), (".gif", {}), (".avif", {"speed": 10})]
)
def test_no_more_memory_is_needed_than_is_said(tmp_path: Path, suffix: str, options: dict[str, object]):
    """Besides 48 MiB of strips and of the decoder itself."""
    for name, side in (("small", 64), ("large", 2500)):
        Image.new("RGB", (side, side), (200, 30, 90)).save(tmp_path / f"{name}{suffix}", **options)
    command = [sys.executable, "-c", PEAK, *(tmp_path / f"{name}{suffix}" for name in ("small", "large"))]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    (before, _, after, needed) = map(int, said)
    assert needed / 2 < after - before < needed + 48 * 1024


def test_pictures_need_neither_pytorch_nor_pyav():
    """The suffixes of videos are known without PyAV too; arrays need no libvips either."""
    script = (
        "import sys, fsrcnn.videos, fsrcnn.pictures.arrays, fsrcnn.pictures.formats; first = set(sys.modules); "
        "import fsrcnn.pictures.upscale; print({'torch', 'av', 'pyvips'} & first, {'torch', 'av'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["set()", "set()"]

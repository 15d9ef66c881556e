"""The records of the picture formats, and which files are pictures or videos."""

import subprocess
import sys
from pathlib import Path

import pytest
import pyvips
from made import network, noise, save

from fsrcnn.errors import RequestError
from fsrcnn.pictures.formats import BY_SUFFIX, FORMATS, Library, Mark, format_of
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


def test_pictures_need_neither_pytorch_nor_pyav():
    """The suffixes of videos are known without PyAV too; arrays need no libvips either."""
    script = (
        "import sys, fsrcnn.videos, fsrcnn.pictures.arrays, fsrcnn.pictures.formats; first = set(sys.modules); "
        "import fsrcnn.pictures.upscale; print({'torch', 'av', 'pyvips'} & first, {'torch', 'av'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["set()", "set()"]

"""How strongly a film is restored: by the quantiser of its first frames, or by its codec."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

import benchmarks.films
from benchmarks.films import encode, film
from fsrcnn.errors import RequestError
from fsrcnn.videos.quantiser import BLOCK, PARAMETERS, film_strength, mean_quantiser

FRAMES = [frame[:96, :160] for frame in film(skimage.data.coffee())[:14]]


def strength(path: Path, codec: str, factor: int) -> float:
    encode(path, FRAMES, codec, factor)
    return film_strength(path)


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_films_are_restored_more_the_more_they_were_compressed(tmp_path: Path, codec: str):
    found = [strength(tmp_path / "film.mkv", codec, factor) for factor in (1, 18, 28, 40)]
    assert found[0] == 0
    assert sorted(set(found)) == found
    assert found[-1] > 0.2


def test_h264s_quantiser_of_10_bits_begins_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    eight = strength(tmp_path / "film.mkv", "libx264", 26)
    monkeypatch.setitem(benchmarks.films.CODECS, "libx264", {"profile": "high10"})
    monkeypatch.setattr(benchmarks.films, "PIXEL_FORMAT", "yuv420p10le")
    assert strength(tmp_path / "film10.mkv", "libx264", 26) == pytest.approx(eight, abs=0.1)


@pytest.mark.parametrize(("codec", "expected"), [("libx265", 0.1), ("libsvtav1", 0.1), ("ffv1", 0), ("mpeg4", 0)])
def test_codecs_that_tell_no_quantiser_have_a_fixed_strength(tmp_path: Path, codec: str, expected: float):
    assert strength(tmp_path / "film.mkv", codec, 30) == expected


def test_lossless_films_are_not_restored(tmp_path: Path):
    assert strength(tmp_path / "film.mkv", "libx264", 0) == 0


def test_black_frames_at_the_start_tell_nothing(tmp_path: Path):
    black = [np.zeros_like(FRAMES[0])] * 20
    encode(tmp_path / "whole.mkv", FRAMES, "libx264", 33)
    encode(tmp_path / "film.mkv", black + FRAMES, "libx264", 33)
    encode(tmp_path / "black.mkv", black, "libx264", 33)
    assert film_strength(tmp_path / "film.mkv") == pytest.approx(film_strength(tmp_path / "whole.mkv"), abs=0.15)
    assert film_strength(tmp_path / "black.mkv") == 0


def test_a_frames_quantiser_is_the_mean_over_its_area():
    blocks = np.zeros((2, 6), np.int32)
    blocks[:, 2:5] = [[16, 16, 4], [8, 8, -6]]  # width, height and difference
    assert blocks[:, 2:].ctypes.data - blocks.ctypes.data == BLOCK
    data = PARAMETERS.pack(2, 64, blocks.strides[0], 1, 30).ljust(64, b"\0") + blocks.tobytes()
    assert mean_quantiser(data) == pytest.approx(30 + (256 * 4 - 64 * 6) / 320)
    assert mean_quantiser(PARAMETERS.pack(0, 64, 24, 1, 30)) == 30


def test_what_is_no_film_is_refused(tmp_path: Path):
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(RequestError, match="not a video"):
        film_strength(tmp_path / "film.mp4")

"""`import fsrcnn`: what another program can call, and what it is told when it asks for something else."""

from pathlib import Path

import numpy as np
import pytest
from made import load, make_clip, network, noise, save

import fsrcnn
from fsrcnn import cli
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.weights import shipped_weights


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_an_array_a_file_and_the_command_line_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, scale: int
):
    picture = noise(23, 31, 3)
    source = save(tmp_path / "a.png", picture)
    arguments = [source, "--upscale-factor", scale, "--variant", variant, "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["upscale.py", *map(str, arguments)])
    assert cli.upscale() == 0
    by_command = load(tmp_path / f"a_x{scale}.png")
    assert fsrcnn.enlarge_file(str(source), tmp_path / "b.png", scale, variant=variant, device="cpu") == ()
    by_file = load(tmp_path / "b.png")
    by_array = fsrcnn.enlarge(picture, scale, variant=variant, device="cpu")
    assert by_array.shape == (scale * 23, scale * 31, 3)
    np.testing.assert_array_equal(by_array, by_command)
    np.testing.assert_array_equal(by_file, by_command)


def test_a_video_and_its_remarks(tmp_path: Path):
    source = make_clip(tmp_path / "a.mkv", codec="libx264", size=(64, 48))
    assert fsrcnn.enlarge_file(source, tmp_path / "b.mkv", 3, variant="fsrcnn_s") == ()
    odd = make_clip(tmp_path / "odd.mkv", size=(31, 24))
    (remark,) = fsrcnn.enlarge_file(odd, tmp_path / "even.mkv", 3, variant="fsrcnn_s")
    assert "made even" in remark


def test_a_network_runs_on_luma():
    lr = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    path = shipped_weights("fsrcnn", 3)
    for loaded in (
        fsrcnn.load("fsrcnn", 3),
        fsrcnn.load(path),
        fsrcnn.load(str(path), 3, device="cpu"),
        fsrcnn.load(weights=path),
    ):
        sr = loaded(lr)
        assert (sr.shape, sr.dtype) == ((120, 150), np.float32)
        np.testing.assert_array_equal(sr, network("fsrcnn", 3)(lr))
    assert fsrcnn.load().upscale_factor == 2
    assert fsrcnn.load("fsrcnn", 3) is fsrcnn.load("fsrcnn", 3)  # made once
    np.testing.assert_array_equal(sr, loaded(np.asfortranarray(lr)))
    np.testing.assert_array_equal(loaded(lr[::2, ::2]), loaded(lr[::2, ::2].copy()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), 5), "upscale_factor: got 5"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), 2, variant="large"), "variant: got 'large'"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), 3, weights=shipped_weights("fsrcnn", 2)), "is for x2"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), device="cuda:99"), "device: cuda:99"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3) / 255), "float64"),
        (lambda: fsrcnn.load("none.safetensors"), "none.safetensors"),
        (lambda: fsrcnn.load(weights="none.safetensors"), "none.safetensors: no such weights file"),
        (lambda: fsrcnn.enlarge_file("none.png", "b.png"), "none.png: no such file"),
        (lambda: fsrcnn.enlarge_file(__file__, "b.png"), "no known picture"),
        (lambda: fsrcnn.enlarge_file(Path(__file__).parents[1] / "assets/result.png", "b.gif"), "cannot be written"),
        (lambda: fsrcnn.enlarge_file(Path(__file__).parents[1] / "assets/result.png", "b.mp4"), "cannot be written"),
    ],
)
def test_a_mistake_raises_one_line(call, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fsrcnn.Error, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_file_is_never_replaced_by_its_own_result(tmp_path: Path):
    source = save(tmp_path / "a.png", noise(9, 8, 3))
    before = source.read_bytes()
    with pytest.raises(fsrcnn.Error, match="would be replaced by its own result"):
        fsrcnn.enlarge_file(source, tmp_path / "sub" / ".." / "a.png")
    assert source.read_bytes() == before

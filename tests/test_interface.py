"""`import fsrcnn`: what another program can call, and the errors for everything else."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made import load, make_clip, network, noise, posix, save

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
        fsrcnn.load(str(path), np.int64(3), device="cpu"),
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
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), 17), "upscale_factor: got 17"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), 2, variant="large"), "variant: got 'large'"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), 3, weights=shipped_weights("fsrcnn", 2)), "is for x2"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), device="cuda:99"), "device: cuda:99"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3) / 255), "float64"),
        (lambda: fsrcnn.enlarge(np.ma.array(noise(9, 8, 3))), "got numpy.*MaskedArray"),
        (lambda: fsrcnn.enlarge(noise(9, 8, 3), restore=10**400), "restore: got 1000"),
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


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (np.zeros((4, 5), np.uint8), "lr: got an array of uint8"),
        (np.zeros((4, 5), bool), "lr: got an array of bool"),
        (np.zeros((4, 5), complex), "lr: got an array of complex128"),
        (np.ma.zeros((4, 5), np.float32), "lr: got an array of float32"),
        ([[0.5]], "lr: got list"),
        (None, "lr: got NoneType"),
        (np.zeros((1, 4, 5), np.float32), r"lr: got an array of shape \(1, 4, 5\)"),
        (np.zeros((0, 5), np.float32), r"lr: got an array of shape \(0, 5\)"),
        (np.full((4, 5), np.nan, np.float32), "not finite"),
        (np.full((4, 5), 1e39), "not finite"),
    ],
)
def test_a_network_takes_planes_of_luma_alone(lr: object, message: str):
    with pytest.raises(fsrcnn.Error, match=message):
        network("fsrcnn_s", 2)(lr)


@pytest.mark.parametrize("wrong", [None, 5, b"fsrcnn", ["fsrcnn"], "", "a\0b", "a" * 300])
def test_arguments_of_other_types_are_errors_of_one_line_too(wrong: object, tmp_path: Path):
    calls = [lambda: fsrcnn.load(wrong), lambda: fsrcnn.enlarge_file(wrong, tmp_path / "a.png")]
    calls += [lambda: fsrcnn.load(weights=wrong)] * (wrong is not None)
    for call in calls:
        with pytest.raises(fsrcnn.Error) as error:
            call()
        assert "\n" not in str(error.value)
    for scale in (2.0, True, "2", [2]):
        with pytest.raises(fsrcnn.Error, match="upscale_factor: got "):
            fsrcnn.load("fsrcnn", scale)
    with pytest.raises(fsrcnn.Error, match="device: got None"):
        fsrcnn.load(device=None)


def test_a_result_that_memory_does_not_hold_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch):
    empty = np.empty

    def without_room(shape: object, *given: object) -> np.ndarray:
        if shape == (84, 108, 3):
            raise MemoryError
        return empty(shape, *given)

    monkeypatch.setattr(np, "empty", without_room)
    with pytest.raises(fsrcnn.Error, match=r"picture: 9 x 7 pixels enlarged to 108 x 84 need 0\.0 GiB of memory"):
        fsrcnn.enlarge(noise(7, 9, 3), 12, variant="fsrcnn_s")


def test_weights_that_changed_are_loaded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for folder, scale in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        copied = tmp_path / folder / "best.safetensors"
        copied.write_bytes(shipped_weights("fsrcnn_s", scale).read_bytes())
        os.utime(copied, (1, 1))
        monkeypatch.chdir(tmp_path / folder)
        assert fsrcnn.load("best.safetensors").upscale_factor == scale
    copied.write_bytes(shipped_weights("fsrcnn", 4).read_bytes())
    os.utime(copied, (1, 1))
    assert fsrcnn.load("best.safetensors").upscale_factor == 4


@posix
def test_a_forked_process_enlarges_too():
    script = f"""
import multiprocessing, sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
import numpy as np, fsrcnn
picture = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
expected = fsrcnn.enlarge(picture, variant="fsrcnn_s", device="cpu")
def same(_):
    return bool((fsrcnn.enlarge(picture, variant="fsrcnn_s", device="cpu") == expected).all())
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(same, range(4)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.stdout == "[True, True, True, True]\n", done.stderr


def test_threads_with_one_target_leave_a_whole_file(tmp_path: Path):
    pictures = [noise(60, 50, 3), 255 - noise(60, 50, 3)]
    sources = [save(tmp_path / f"{number}.png", picture) for number, picture in enumerate(pictures)]
    results = [fsrcnn.enlarge(picture, variant="fsrcnn_s") for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            target = tmp_path / "a.png"
            calls = [pool.submit(fsrcnn.enlarge_file, each, target, variant="fsrcnn_s") for each in sources * 2]
            assert [call.result() for call in calls] == [()] * 4
            assert any(np.array_equal(load(tmp_path / "a.png"), result) for result in results)
    assert len(list(tmp_path.iterdir())) == 3

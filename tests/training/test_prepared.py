"""What a training reads is prepared once, whole or not at all, and again when the pictures are others."""

import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
from made import noise, posix, small_files, started

from dataset import psnr_weight, write_image
from fsrcnn.errors import FailureError, RequestError
from imgproc import imresize, to_uint8
from training import prepared
from training.lock import locked
from training.prepared import Pictures, Wanted, prepare

ROOT = Path(__file__).parents[2]
# Prepares the pictures of a folder at x2 in several processes, and records after each picture what is done.
PREPARE = (
    "import sys; from pathlib import Path; from training import prepared\n"
    "prepared.SECONDS_BETWEEN_RECORDS, prepared.AT_LEAST = 0, 1\n"
    "paths = tuple(sorted(Path(sys.argv[1]).glob('*.png')))\n"
    "prepared.prepare(prepared.Wanted(paths, 2, 20, (0.9,)), Path(sys.argv[2]))"
)


def saved(folder: Path, count: int = 3, side: int = 41) -> tuple[Path, ...]:
    """Pictures, each of another size."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{index:02}.png" for index in range(count))
    for index, path in enumerate(paths):
        write_image(path, noise(side + index, side - index))
    return paths


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(cache: Path) -> set[str]:
    """What is there, by its kind."""
    return {path.name.partition("-")[0] for path in cache.glob("*") if path.suffix not in (".unfinished", ".lock")}


def hr_of(pictures: Pictures, index: int) -> np.ndarray:
    start, (height, width) = pictures.hr_start[index], pictures.hr_size[index]
    return pictures.hr[start : start + height * width].reshape(height, width)


def lr_of(pictures: Pictures, index: int) -> np.ndarray:
    start, (height, width) = pictures.lr_start[index], pictures.hr_size[index] // pictures.upscale_factor
    return pictures.lr[start : start + height * width].reshape(height, width)


def test_pictures_and_their_reductions(tmp_path: Path):
    """Reductions smaller than a patch, and pictures that are so themselves, are left out."""
    paths = saved(tmp_path / "set", 3)  # 41 x 41, 42 x 40, 43 x 39
    pictures = prepare(Wanted(paths, 2, 40, (0.96,), weighted=True), tmp_path / "cache")
    assert pictures.hr_size.tolist() == [[41, 41], [40, 40], [42, 40]]
    assert (pictures.number, pictures.too_small) == (2, paths[2:])
    first, second = noise(41, 41), noise(42, 40)
    expected = [first, to_uint8(imresize(first, 0.96)), second]
    for index, hr in enumerate(expected):
        np.testing.assert_array_equal(hr_of(pictures, index), hr)
        cropped = hr[: len(hr) // 2 * 2, : hr.shape[1] // 2 * 2]
        lr = imresize(cropped, 1 / 2).astype(np.float32)
        np.testing.assert_array_equal(lr_of(pictures, index), lr)
        assert pictures.weights is not None
        assert pictures.weights[index] == psnr_weight(lr, cropped)
    with pytest.raises(RequestError, match="no picture is 44 x 44, the size of a patch; lower patch_size"):
        prepare(Wanted(paths, 2, 44, (0.96,)), tmp_path / "cache")


def leave_no_trace(monkeypatch: pytest.MonkeyPatch, paths: tuple[Path, ...]) -> None:
    """Lets the pictures be changed from here on without that anything tells."""
    stamps = prepared._stamps(paths)
    monkeypatch.setattr(prepared, "_stamps", lambda _: stamps)


def test_what_is_there_is_not_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    paths, cache = saved(tmp_path / "set"), tmp_path / "cache"
    first = prepare(Wanted(paths, 2, 20), cache)
    assert "3 pictures of 0.0 megapixels are prepared once: 0.00 GB" in capsys.readouterr().out
    leave_no_trace(monkeypatch, paths)
    for path in paths:
        path.write_bytes(b"damaged")
    for patch in (10, 30):  # other patches, the same pictures
        again = prepare(Wanted(paths, 2, patch), cache)
        assert np.array_equal(first.hr, again.hr)
        assert np.array_equal(first.lr, again.lr)
    assert not capsys.readouterr().out
    at_x3 = prepare(Wanted(paths, 3, 20), cache)  # its LR is made from the luma that is there
    np.testing.assert_array_equal(lr_of(at_x3, 0), imresize(noise(41, 41)[:39, :39], 1 / 3).astype(np.float32))
    assert whole(cache) == {"luma", "lr_x2", "lr_x3"}
    with pytest.raises(OSError, match=r"00\.png: not a readable picture"):
        prepare(Wanted(paths, 2, 20, (0.9,)), cache)
    with pytest.raises(OSError, match=r"00\.png: not a readable picture"):
        prepare(Wanted(paths, 2, 20, qualities=(50,)), cache)


def test_pictures_that_changed_are_prepared_again(tmp_path: Path):
    paths, cache = saved(tmp_path / "set"), tmp_path / "cache"
    before = prepare(Wanted(paths, 2, 20), cache)
    kept = before.hr.copy()
    write_image(paths[1], 255 - noise(42, 40))
    after = prepare(Wanted(paths, 2, 20), cache)
    np.testing.assert_array_equal(hr_of(after, 1), 255 - noise(42, 40))
    assert np.array_equal(before.hr, kept)  # for a training that still reads it
    assert len(list(cache.iterdir())) == len(whole(cache)) == 2  # nothing is left of what they were
    status = paths[1].stat()
    write_image(paths[1], noise(42, 40))
    assert paths[1].stat().st_size == status.st_size
    os.utime(paths[1], ns=(status.st_atime_ns, status.st_mtime_ns))  # as `cp -p` and archives do
    np.testing.assert_array_equal(hr_of(prepare(Wanted(paths, 2, 20), cache), 1), noise(42, 40))
    (values,) = cache.glob("lr*/values")
    content = values.read_bytes()
    values.write_bytes(content[:-1])
    prepare(Wanted(paths, 2, 20), cache)
    assert values.read_bytes() == content


def test_a_picture_that_goes_missing_is_named_and_the_rest_goes_on(tmp_path: Path):
    paths, cache = saved(tmp_path / "set"), tmp_path / "cache"
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[:60])  # its size can be read, its pixels cannot
    with pytest.raises(OSError, match=r"02\.png: not a readable picture"):
        prepare(Wanted(paths, 2, 20), cache)
    assert not whole(cache)
    (done,) = cache.glob("luma*.unfinished/done")
    assert done.read_bytes() == b"\1\1\0"
    paths[2].write_bytes(content)
    pictures = prepare(Wanted(paths, 2, 20), cache)
    np.testing.assert_array_equal(hr_of(pictures, 2), noise(43, 39))
    assert len(list(cache.iterdir())) == 2
    paths[2].unlink()
    with pytest.raises(FileNotFoundError, match=r"02\.png"):
        prepare(Wanted(paths, 2, 20), cache)


@posix
def test_a_full_disk_is_named_and_nothing_is_half_there(tmp_path: Path):
    paths, cache = saved(tmp_path / "set", 3, 200), tmp_path / "cache"
    small_files(100_000)
    try:
        with pytest.raises(FailureError, match=r"luma-.*: cannot be written: File too large; make room"):
            prepare(Wanted(paths, 2, 20), cache)
    finally:
        small_files(None)
    assert not whole(cache)
    assert len(prepare(Wanted(paths, 2, 20), cache).hr_size) == 3


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match=r"cache_dir: cannot write to .*file/cache \(.*\); name another folder"):
        prepare(Wanted(saved(tmp_path / "set"), 2, 20), tmp_path / "file" / "cache")


def test_too_little_room_is_known_beforehand(tmp_path: Path):
    write_image(tmp_path / "a.png", np.zeros((4000, 4000), np.uint8))
    reductions = 999 * (0.99,)  # 31 GB of each picture
    paths = 1000 * (tmp_path / "a.png",)
    with pytest.raises(FailureError, match=r"cache: 31,\d{3}\.\d\d GB are needed .*take `--reductions none`, or name"):
        prepare(Wanted(paths, 2, 20, reductions), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@posix
def test_a_killed_preparation_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths, cache, whole_cache = saved(tmp_path / "set", 24, 300), tmp_path / "cache", tmp_path / "whole"
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "set")]
    with started([*command, str(cache)], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not any(1 in done.read_bytes() for done in cache.glob("luma*/done")):
            time.sleep(0.001)
        process.kill()
    assert not whole(cache)
    (done,) = cache.glob("luma*/done")
    number = done.read_bytes().count(1)
    assert 0 < number < 24
    leave_no_trace(monkeypatch, paths)
    first = paths[done.read_bytes().index(1)]
    first.write_bytes(first.read_bytes()[:60])  # but for its size it is not read again
    pictures = prepare(Wanted(paths, 2, 20, (0.9,)), cache)
    saved(tmp_path / "set", 24, 300)
    expected = prepare(Wanted(paths, 2, 20, (0.9,)), whole_cache)
    assert np.array_equal(pictures.hr, expected.hr)
    assert np.array_equal(pictures.lr, expected.lr)


def test_what_was_recorded_of_values_that_are_gone_is_made_again(tmp_path: Path):
    paths, cache = saved(tmp_path / "set"), tmp_path / "cache"
    expected = prepare(Wanted(paths, 2, 20), cache).hr.copy()
    (luma,) = cache.glob("luma*")
    shutil.move(luma, prepared.unfinished(luma))
    (prepared.unfinished(luma) / "done").write_bytes(b"\1\1\1")
    (prepared.unfinished(luma) / "values").write_bytes(b"cut short")
    assert np.array_equal(prepare(Wanted(paths, 2, 20), cache).hr, expected)


def test_several_processes_make_what_one_does(tmp_path: Path):
    paths, cache = saved(tmp_path / "set", 5), tmp_path / "cache"
    alone = prepare(Wanted(paths, 2, 20, (0.9,)), tmp_path / "alone")
    command = [sys.executable, "-c", PREPARE, str(tmp_path / "set"), str(cache)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    together = files_in(cache)
    assert together == files_in(tmp_path / "alone")
    assert np.array_equal(alone.hr, prepare(Wanted(paths, 2, 20, (0.9,)), cache).hr)


@posix
def test_a_process_that_is_killed_is_told():
    """As by the system, where memory is short."""
    answers: Queue[int | Exception] = Queue()
    with prepared.started_process() as process:
        process.kill()
        prepared.let_work(process, b"a job", answers)
    assert str(answers.get_nowait()) == "a process that prepares pictures ended (-9); run the command again: it goes on"


def test_a_second_process_waits_for_the_first(tmp_path: Path):
    paths, cache, held = saved(tmp_path / "set"), tmp_path / "cache", "prepares the same pictures"
    expected = prepare(Wanted(paths, 2, 20, (0.9,)), tmp_path / "other")
    lock = cache / f"{next((tmp_path / 'other').glob('luma*')).name}.lock"
    command = [sys.executable, "-u", "-c", PREPARE, str(tmp_path / "set"), str(cache)]
    with ExitStack() as first:
        first.enter_context(locked(lock, held))
        with started(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "3 pictures" in process.stdout.readline()
            waits = process.stdout.readline()
            assert waits == f"{lock}: process {os.getpid()} on {platform.node()} {held}; waiting for it\n"
            shutil.copytree(tmp_path / "other" / lock.stem, cache / lock.stem)  # as if this process had made it
            inode = (cache / lock.stem).stat().st_ino
            first.close()
            assert process.wait(60) == 0
    assert (cache / lock.stem).stat().st_ino == inode
    assert whole(cache) == {"luma", "lr_x2"}
    assert np.array_equal(prepare(Wanted(paths, 2, 20, (0.9,)), cache).lr, expected.lr)

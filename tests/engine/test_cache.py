"""The cache of machine code: entries are found again, and never used unchecked."""

import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
from made import posix
from plain import random_weights

from fsrcnn.geometry import variant_sizes
from fsrcnn.native import cache, forward
from fsrcnn.network import network_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_entries_are_found_again_and_damaged_ones_are_replaced(folder: Path):
    assert cache.kept("a", lambda: b"first") == b"first"
    assert cache.kept("a", lambda: b"second") == b"first"
    assert cache.kept("b", lambda: b"third") == b"third"
    one, other = sorted(folder.iterdir(), key=lambda path: path.read_bytes().endswith(b"third"))
    for damaged in (b"", one.read_bytes()[:-1], one.read_bytes()[:-1] + b"!", other.read_bytes()):
        one.write_bytes(damaged)
        assert cache.kept("a", lambda: b"anew") == b"anew"
        assert cache.kept("a", lambda: b"later") == b"anew"
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("name", ["geometry.py", "luma.py", "resize.py", "native/llvm.py"])
def test_entries_of_other_code_are_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    package = folder.with_name("package")
    shutil.copytree(cache.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "PACKAGE", package)
    monkeypatch.setattr(cache, "_makers", cache._makers.__wrapped__)
    assert cache.kept("a", lambda: b"before") == b"before"
    with (package / name).open("a", encoding="utf-8") as file:
        file.write("# a change\n")
    assert cache.kept("a", lambda: b"after") == b"after"


def test_an_unwritable_folder_is_no_error(folder: Path):
    folder.write_bytes(b"a file")
    assert [cache.kept("a", lambda: b"1"), cache.kept("a", lambda: b"2")] == [b"1", b"2"]


@posix
def test_the_folder_and_its_entries_are_this_users_alone(folder: Path):
    old = os.umask(0)
    try:
        cache.kept("a", lambda: b"1")
    finally:
        os.umask(old)
    (entry,) = folder.iterdir()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, entry)] == [0o700, 0o600]
    folder.chmod(0o755)  # as an earlier version made it: nobody else could write
    assert cache.kept("a", lambda: b"2") == b"1"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def planted(folder: Path) -> Path:
    """A valid entry that must not be used."""
    assert cache.kept("a", lambda: b"planted") == b"planted"
    (entry,) = folder.iterdir()
    return entry


@posix
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_what_lies_in_a_folder_that_others_could_write_to_is_not_used(folder: Path, mode: int):
    planted(folder)
    folder.chmod(mode)
    assert cache.kept("a", lambda: b"ours") == b"ours"
    assert cache.kept("a", lambda: b"later") == b"ours"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("trick", ["mode", "link", "hole", "owner", "folder's owner", "folder's link"])
def test_an_entry_that_another_may_have_written_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trick: str
):
    entry, as_root = planted(folder), os.geteuid() == 0
    if "owner" in trick and not as_root:  # who cannot give files away
        monkeypatch.setattr(os, "geteuid", lambda: folder.parent.stat().st_uid + 1)
    elif "owner" in trick:
        os.chown(folder if "folder" in trick else entry, 12345, -1)
    elif trick == "folder's link":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    elif trick == "link":
        entry.rename(tmp_path / "elsewhere")
        entry.symlink_to(tmp_path / "elsewhere")
    elif trick == "hole":  # reading it would wait for ever
        entry.unlink()
        os.mkfifo(entry)
    else:
        entry.chmod(0o622)
    assert cache.kept("a", lambda: b"ours") == b"ours"
    kept = "folder" not in trick and (as_root or trick != "owner")
    assert cache.kept("a", lambda: b"later") == (b"ours" if kept else b"later")


def test_the_entries_not_used_for_longest_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * (cache.DIGEST_BYTES + 100))
    for name in "abc":
        cache.kept(name, lambda: bytes(100))
    for age, entry in enumerate(sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(entry, (age, age))
    assert cache.kept("a", lambda: b"anew") == bytes(100)
    cache.kept("d", lambda: bytes(100))
    assert len(list(folder.iterdir())) == 3
    assert cache.kept("a", lambda: b"anew") == bytes(100)
    assert cache.kept("b", lambda: b"anew") == b"anew"


def test_machine_code_from_the_cache_is_the_same_function(folder: Path):
    network = network_of(random_weights(variant_sizes("fsrcnn_s", 3)), "cpu")
    lr, results = np.random.default_rng(0).random((9, 20), np.float32), []
    for _ in range(2):
        forward.compiled.cache_clear()
        results.append(network(lr))
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:1000])
    forward.compiled.cache_clear()
    assert all(np.array_equal(network(lr), result) for result in results)

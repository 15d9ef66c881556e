"""The cache of machine code: entries are found again, and never used unchecked."""

import shutil
from pathlib import Path

import numpy as np
import pytest
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

"""The cache of machine code: found again, and never trusted."""

from pathlib import Path

import pytest
import torch
from made import random_network

from native import cache, network


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_what_is_kept_is_found_again_and_what_is_damaged_made_anew(folder: Path):
    assert cache.kept("a", lambda: b"first") == b"first"
    assert cache.kept("a", lambda: b"second") == b"first"
    assert cache.kept("b", lambda: b"third") == b"third"
    one, other = sorted(folder.iterdir(), key=lambda path: path.read_bytes().endswith(b"third"))
    for damaged in (b"", one.read_bytes()[:-1], one.read_bytes()[:-1] + b"!", other.read_bytes()):
        one.write_bytes(damaged)
        assert cache.kept("a", lambda: b"anew") == b"anew"
        assert cache.kept("a", lambda: b"later") == b"anew"
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_to_is_done_without(folder: Path):
    folder.write_bytes(b"a file")
    assert [cache.kept("a", lambda: b"1"), cache.kept("a", lambda: b"2")] == [b"1", b"2"]


def test_machine_code_from_the_cache_is_the_same_function(folder: Path):
    model, x = random_network(3, "fsrcnn_s").fuse(), torch.rand(1, 1, 9, 20)
    results = []
    for _ in range(2):
        network.compiled.cache_clear()
        results.append(model(x))
    (entry,) = folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:1000])
    network.compiled.cache_clear()
    assert all(torch.equal(model(x), result) for result in results)

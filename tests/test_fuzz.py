"""A small part of `python -m tests.fuzz`, and that it finds what it looks for."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fsrcnn.errors import FailureError
from tests import fuzz

pytest.importorskip("resource")  # not on Windows
FIRST = {"pictures": 180, "weights": 60, "videos": 24, "requests": 2}  # inputs of each kind


@pytest.mark.parametrize("kind", FIRST)
def test_damaged_inputs_lead_to_a_result_or_to_one_line(tmp_path: Path, kind: str):
    for number in range(FIRST[kind]):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert fuzz.KINDS[kind].attempt(number, folder)


def attempt(number: int, folder: Path) -> str:
    """Goes wrong in each of the ways that an input can."""
    ways = {
        1: lambda: 1 // 0,
        2: lambda: os.abort(),
        3: lambda: time.sleep(60),
        4: lambda: np.ones(2**27),  # 1 GiB
    }
    ways.get(number, lambda: (folder / "there").touch())()
    return "done"


def test_every_kind_of_fault_is_found_and_the_other_inputs_are_tried():
    found = {
        number: (outcome, message)
        for number, outcome, message in fuzz.tried(attempt, range(8), seconds=2, memory=2**29)
    }
    assert {number for number, (outcome, _) in found.items() if outcome == "done"} == {0, 5, 6, 7}
    said = ["ZeroDivisionError", "ended the process (-6)", "took more than 2 seconds", "MemoryError"]
    for number, message in enumerate(said, 1):
        assert found[number][0] == fuzz.FAULT
        assert message in found[number][1]


def test_a_fault_is_kept_to_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    monkeypatch.setitem(fuzz.KINDS, "pictures", fuzz.KINDS["pictures"]._replace(attempt=attempt))
    kept = tmp_path / "kept"
    monkeypatch.setattr(sys, "argv", ["fuzz", "--kinds", "pictures", "--only", "1", "6", "--kept", str(kept)])
    with pytest.raises(FailureError, match="1 inputs had faults"):
        fuzz.main()
    seed, _ = fuzz.damaged(fuzz.picture_seeds(), 1)
    assert (kept / f"pictures-1{seed.suffix}").read_bytes() == seed.content
    assert "ZeroDivisionError" in (kept / "pictures-1.txt").read_text(encoding="utf-8")
    assert "pictures 1: ZeroDivisionError" in capfd.readouterr().out

"""What many tests start from: a small data folder, and a number of threads."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from made import save_data

# Where CI is set, pytest works out the whole difference of two values that should be equal: minutes for 10 KB of bytes,
# hours for a picture's file.
if os.environ.pop("CI", ""):
    os.environ["NOTHING_MISSING"] = "1"  # for `needed`


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training pictures from three of scikit-image's photographs, validation pictures from a fourth."""
    return save_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def same_priority() -> Iterator[None]:
    """No test may leave this process, and so the browsers that later tests start, real-time priority over all others,
    as an encoder does (see fsrcnn/videos/target.py).
    """
    before = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
    yield
    if before is not None and os.sched_getscheduler(0) != before:
        os.sched_setscheduler(0, before, os.sched_param(0))
        pytest.fail("the test changed the priority of this process")

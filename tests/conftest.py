"""What many tests start from: a small data folder, and a number of threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from made import save_data


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

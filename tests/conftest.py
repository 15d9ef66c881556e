"""What many tests start from: a small data folder, and a number of threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
import torch

from dataset import VALIDATION_NAMES, VALIDATION_SET, write_image


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training pictures from three of scikit-image's photographs, validation pictures from a fourth."""
    folder = tmp_path_factory.mktemp("data")
    for name, image in (
        ("astronaut", skimage.data.astronaut()),
        ("chelsea", skimage.data.chelsea()),
        ("motorcycle", skimage.data.stereo_motorcycle()[0]),
    ):
        write_image(folder / "Train" / f"{name}.png", image[:300, :400])
    coffee = skimage.data.coffee()
    for index, name in enumerate(sorted(VALIDATION_NAMES)):
        top, left = 90 * (index // 5), 110 * (index % 5)
        write_image(folder / VALIDATION_SET / f"{name}.png", coffee[top : top + 80, left : left + 100])
    return folder


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)

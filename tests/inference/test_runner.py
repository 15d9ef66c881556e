"""A network by PyTorch's operations, as on other devices than the CPU, is the compiled one; which of them is taken."""

from pathlib import Path

import numpy as np
import pytest
from made import noise, picture, random_network, runner, shipped

from devices import is_cpu, select_device
from errors import RequestError
from files import shipped_weights
from inference.pictures import upscaled_strips
from inference.runner import TorchRunner, load_runner
from inference.weights import save_weights
from native import cache


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pictures_by_pytorch_are_those_of_the_compiled_function(monkeypatch: pytest.MonkeyPatch, scale: int):
    monkeypatch.setattr("model.HOST", None)
    pixels = noise(40, 30, 4)
    by_pytorch, compiled = (
        np.concatenate(list(upscaled_strips(picture(pixels), each, Path("picture"))))
        for each in (TorchRunner(shipped("fsrcnn_s", scale)), runner("fsrcnn_s", scale))
    )
    assert np.abs(by_pytorch.astype(int) - compiled).max() <= 1


def test_frames_by_pytorch_are_those_of_the_compiled_function(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("model.HOST", None)
    for bits, dtype in ((8, np.uint8), (10, np.uint16)):
        lr = (noise(20, 30) * (2 ** (bits - 8))).astype(dtype)
        results = []
        for each in (TorchRunner(shipped("fsrcnn_s", 2)), runner("fsrcnn_s", 2)):
            sr = np.empty((40, 60), dtype)
            each.enlarge_samples(lr, sr, bits, full_range=True)
            results.append(sr.astype(int))
        assert np.abs(results[0] - results[1]).max() <= 1


def test_the_cpu_is_known_without_pytorch():
    assert is_cpu("cpu")
    assert not is_cpu("cuda")
    assert is_cpu("auto") == (select_device("auto").type == "cpu")


def test_new_weights_under_an_old_name_are_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Though those of before are in the cache."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")
    path, lr = tmp_path / "weights.pth", np.full((9, 8), 0.5, np.float32)
    path.write_bytes(shipped_weights("fsrcnn_s", 2).read_bytes())
    first = [load_runner(path, 2, "cpu")(lr) for _ in range(2)]
    save_weights(random_network(2, "fsrcnn_s"), path)
    assert np.array_equal(*first)
    assert not np.allclose(load_runner(path, 2, "cpu")(lr), first[0])
    with pytest.raises(RequestError, match="is for x2, asked for was x3"):
        load_runner(path, 3, "cpu")

"""Training, validating and enlarging on a device that is not the CPU, to the bit as on the CPU.

It stands in for a GPU where there is none. PyTorch reserves a device type for devices it does not know, which may be
written in Python. This one computes on the CPU and refuses what a GPU refuses: to be read by NumPy, and operations on
tensors of which some were left on the CPU.
"""

import csv
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from made import make_clip, noise, save
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import train
import validate
from config import RECIPES, Config
from fsrcnn import cli
from fsrcnn.devices import select_device
from training.patches import TrainingPatches
from training.run import save_run, start_run
from training.step import loss_to_train, train_step

DEVICE = "other"
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
FACTORIES = (aten.empty.memory_format, aten.empty_strided.default, aten.arange.default)  # all others call these


class OtherTensor(Tensor):
    """A tensor of the device; one of the CPU holds its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # the default would make all results such tensors

    @staticmethod
    def __new__(cls, held: Tensor) -> "OtherTensor":
        place = {"strides": held.stride(), "storage_offset": held.storage_offset(), "device": torch.device(DEVICE, 0)}
        with torch.inference_mode(False):  # in which PyTorch cannot make views of the others
            tensor = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, **place)
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, op: Callable, _: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = op.decompose(*args, **kwargs or {})  # by other operations, if the operation consists of some
        return computed(op, *args, **kwargs or {}) if result is NotImplemented else result


def computed(op: Callable, *args: Any, **kwargs: Any) -> Any:
    """Runs an operation on tensors of the device; returns such tensors, unless it copies them to the CPU."""
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if op not in COPIES and not all(isinstance(tensor, OtherTensor) for tensor in given):
        raise RuntimeError(f"{op}: some tensors are on {DEVICE}, some on the CPU")
    to_cpu = torch.device(kwargs.get("device") or DEVICE).type == "cpu"
    kwargs |= {"device": "cpu"} if "device" in kwargs else {}
    args, kwargs = tree_map_only(OtherTensor, lambda tensor: tensor.held, (args, kwargs))
    changed = {id(getattr(tensor, "held", tensor)): tensor for tensor in given}  # if the operation works in place

    def returned(result: Tensor) -> Tensor:
        return changed[id(result)] if id(result) in changed else result if to_cpu else OtherTensor(result)

    return tree_map_only(Tensor, returned, op(*args, **kwargs))


# When pytest collects this file: after the first gradient of a process, PyTorch takes no more devices.
_setup_privateuseone_for_python_backend(DEVICE)
for factory in FACTORIES:
    torch.library.impl(factory.name(), "PrivateUse1")(partial(computed, factory))


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """Calls a function that works on the CPU, which then computes by PyTorch's operations too."""

    def call(work: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patch:
            for place in ("fsrcnn.native.HOST", "training.step.HOST"):
                patch.setattr(place, None)
            return work()

    return call


def last_logged(folder: Path) -> dict[str, str]:
    with (folder / "log.csv").open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)][-1]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begin(config: Config, steps: int) -> None:
    """The first steps of a run, saved."""
    device = select_device(config.device)
    # Not all of them fit on the device: they are fetched ahead, where the run that goes on has them there.
    pictures = train.training_pictures(config)
    patches = TrainingPatches(pictures, config.patch_size, config.seed, device, config.patch_margin, pictures.bytes - 1)
    run = start_run(config, device)
    batch_loss = loss_to_train(run, config)
    for _ in range(steps):
        train_step(run, config, batch_loss, patches)
    save_run(run, config, config.results_dir / config.exp_name)


@pytest.mark.parametrize(
    "recipe",
    [RECIPES["default"], RECIPES["paper"] | {"batch_size": 4}, {"optimizer": "adam"}],
    ids=["soap", "sgd", "adam"],
)
def test_training_interrupted_and_resumed(data_dir: Path, tmp_path: Path, on_cpu: Callable, recipe: dict[str, Any]):
    settings = {**recipe, "train_sets": ("Train",), "batch_size": 4, "steps": 12, "validate_every": 6}
    settings |= {"upscale_factor": (3,), "variant": "fsrcnn_s", "data_dir": data_dir, "results_dir": tmp_path}
    on_cpu(lambda: train.train(Config(device="cpu", exp_name="cpu", **settings)))
    config = Config(device=DEVICE, exp_name=DEVICE, **settings)
    begin(config, 5)
    train.train(config)
    one, other = (torch.load(tmp_path / name / "last.pth", weights_only=True) for name in ("cpu", DEVICE))
    for part in ("model", "average"):
        for name, values in one[part].items():
            assert torch.equal(values, other[part][name]), name
    assert last_logged(tmp_path / "cpu") == last_logged(tmp_path / DEVICE)


@pytest.mark.parametrize("border", ["zeros", "replicate"])
def test_validation(data_dir: Path, tmp_path: Path, on_cpu: Callable, monkeypatch: pytest.MonkeyPatch, border: str):
    flags = ["--test-sets", str(data_dir / "Train"), "--upscale-factor", "4", "--border", border]

    def validated(device: str) -> dict[str, bytes]:
        folder = ["--results-dir", str(tmp_path / device)]
        monkeypatch.setattr(sys, "argv", ["validate.py", *flags, *folder, "--device", device])
        validate.main()
        return files_in(tmp_path / device)

    assert validated(DEVICE) == on_cpu(lambda: validated("cpu"))


def test_pictures_and_videos(tmp_path: Path, on_cpu: Callable, monkeypatch: pytest.MonkeyPatch):
    inputs = [save(tmp_path / "picture.png", noise(300, 40, 4)), make_clip(tmp_path / "clip.mp4", codec="libx264")]

    def enlarged(device: str) -> dict[str, bytes]:
        folder = ["--output", str(tmp_path / device), "--device", device]
        monkeypatch.setattr(sys, "argv", ["upscale.py", *map(str, inputs), *folder])
        assert cli.upscale() == 0
        return files_in(tmp_path / device)

    assert enlarged(DEVICE) == on_cpu(lambda: enlarged("cpu"))

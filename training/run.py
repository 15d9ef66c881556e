"""A training in progress, and its checkpoints."""

import copy
import dataclasses
import io
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from config import RECIPE_FIELDS, Config
from fsrcnn.devices import rank_and_ranks
from fsrcnn.errors import RequestError
from fsrcnn.files import written_whole
from fsrcnn.weights import read_pth
from model import FSRCNN
from training.form import TrainingFSRCNN
from training.recipe import OPTIMIZERS, starting_network

LAST, PREVIOUS, DAMAGED = "last.pth", "previous.pth", "damaged.pth"
# What last.pth holds, and its types.
SAVED = {
    "config": dict,
    "step": int,
    "seconds": float,
    "best_psnr": float,
    "model": dict,
    "average": dict,
    "optimizer": dict,
}


class DamagedRunError(RequestError):
    """A saved run that cannot be read."""


class NotFiniteError(Exception):
    """A training that has become unstable."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what} not finite at step {step}")


@dataclass
class Run:
    """A training in progress: all that is needed to go on with it."""

    model: TrainingFSRCNN
    average: FSRCNN
    optimizer: torch.optim.Optimizer
    begin: list[Tensor]  # the starting weights, in the order of the parameters
    step: int = 0
    seconds: float = 0.0
    best_psnr: float = -math.inf

    def __post_init__(self) -> None:
        # Listed once.
        self.averaged: list[Tensor] = list(self.average.parameters())
        self.trained: list[Tensor] = list(self.model.parameters())

    @property
    def device(self) -> str:
        """The name of the device that it is on."""
        return str(self.model.deconv.weight.device)


def start_run(config: Config, device: torch.device) -> Run:
    """A run at step 0."""
    start = starting_network(config)
    model = TrainingFSRCNN.from_model(start).to(memory_format=torch.channels_last).to(device)
    groups = [{"params": params, "base_lr": rate} for rate, params in parameters_by_rate(model, config).items()]
    average = start.to(device).requires_grad_(False)
    begin = [parameter.clone() for parameter in average.parameters()]
    return Run(model, average, OPTIMIZERS[config.optimizer](groups), begin)


@torch.no_grad()
def blended(network: FSRCNN, begin: list[Tensor], blend: float) -> FSRCNN:
    """A copy of the network with weights interpolated between `begin`, at a blend of 0, and its own, at 1."""
    between = copy.deepcopy(network)
    torch._foreach_lerp_(list(between.parameters()), begin, 1 - blend)
    return between


def parameters_by_rate(model: TrainingFSRCNN, config: Config) -> dict[float, list[nn.Parameter]]:
    """The parameters by their base learning rate."""
    by_rate: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        rate = config.learning_rate * (config.bias_rate_factor if name.endswith("bias") else 1)
        rate = config.deconv_learning_rate if name.startswith("deconv.") else rate
        by_rate.setdefault(rate, []).append(parameter)
    return by_rate


def as_plain(config: Config) -> dict[str, Any]:
    """The configuration in JSON's types, the same on every system."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=Path.as_posix))


def save_run(run: Run, config: Config, folder: Path) -> None:
    """Writes last.pth, and keeps the one before as previous.pth. Raises NotFiniteError where the run is no good."""
    content = {"config": as_plain(config)} | _state(run)
    if not all(tensor.isfinite().all() for tensor in _tensors(content)):
        raise NotFiniteError("the weights are", run.step)
    buffer = io.BytesIO()  # on a full disk torch.save does not raise OSError, and writing does
    torch.save(content, buffer)
    with written_whole(folder / LAST) as unfinished:
        unfinished.write_bytes(buffer.getvalue())
        if (folder / LAST).is_file():
            (folder / LAST).replace(folder / PREVIOUS)


def _state(run: Run) -> dict[str, Any]:
    """What is saved of a run, on the CPU, but for its configuration."""
    state = {
        "step": run.step,
        "seconds": run.seconds,
        "best_psnr": run.best_psnr,
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    return {key: _on_cpu(value) for key, value in state.items()}


def _take(run: Run, state: dict[str, Any]) -> None:
    """Puts what was saved of a run into one that was just started."""
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.optimizer.load_state_dict(state["optimizer"])
    for parameter, of_parameter in run.optimizer.state.items():
        for name, value in of_parameter.items():
            if torch.is_tensor(value):  # fused optimizers need it, steps too, on one device and in one layout
                like_it = value.shape == parameter.shape
                of_parameter[name] = torch.empty_like(parameter).copy_(value) if like_it else value.to(run.device)
    run.step, run.seconds, run.best_psnr = state["step"], state["seconds"], state["best_psnr"]


def share_run(run: Run) -> None:
    """Gives the processes that torchrun started the run of rank 0, which alone reads what is saved: the others may be
    on machines that do not have its results folder.
    """
    if not dist.is_initialized():
        return
    rank, _ = rank_and_ranks()
    shared = [_state(run) if rank == 0 else None]
    dist.broadcast_object_list(shared, src=0, device=torch.device("cpu"))
    if rank > 0 and shared[0]:
        _take(run, shared[0])


def _tensors(content: Any) -> Iterator[Tensor]:
    if isinstance(content, dict):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, Tensor):
        yield content


def _on_cpu(content: Any) -> Any:
    """The same with its tensors on the CPU, so that the run can go on on any device."""
    if isinstance(content, dict):
        return {key: _on_cpu(value) for key, value in content.items()}
    return content.cpu() if isinstance(content, Tensor) else content


def is_saved(folder: Path) -> bool:
    """Whether the folder holds a run to go on with."""
    return (folder / LAST).is_file() or (folder / PREVIOUS).is_file()


def load_run(config: Config, device: torch.device, folder: Path) -> Run:
    """Loads a saved run to go on with: last.pth or, where that is damaged, the one before, which is said.

    Raises RequestError if it was started with other settings, or no saved run is whole.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    try:
        return _load(config, device, last)
    except DamagedRunError as error:
        if not previous.is_file():
            raise
        run = _load(config, device, previous)
        if rank_and_ranks()[0] == 0:
            print(f"{error}: going on from {previous}, step {run.step}", file=sys.stderr)
            if last.is_file():  # or the next save would keep it in place of previous.pth
                last.replace(folder / DAMAGED)
        return run


def _load(config: Config, device: torch.device, path: Path) -> Run:
    saved = _read(path)
    saved_config = as_plain(Config()) | saved["config"]  # defaults for settings that it did not have yet
    for field in RECIPE_FIELDS:
        now, then = as_plain(config)[field], saved_config[field]
        # The same weights may by now be in the other of their two file formats.
        same = field == "transfer_from" and now and then and Path(now).with_suffix("") == Path(then).with_suffix("")
        if now != then and not same:
            raise RequestError(f"{field}: the run in {path.parent} was started with {then}, it cannot go on with {now}")
    run = start_run(config, device)
    try:
        _take(run, saved)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedRunError(f"{path}: damaged, its tensors are not those of this run") from error
    return run


def _read(path: Path) -> dict[str, Any]:
    """What a saved run's file holds. Raises DamagedRunError where it is not all there."""
    if not path.is_file():
        raise DamagedRunError(f"{path} is missing")
    try:
        saved = read_pth(path)
    except RequestError as error:
        raise DamagedRunError(str(error)) from error
    if not all(isinstance(saved.get(name), kind) for name, kind in SAVED.items()):
        raise DamagedRunError(f"{path}: not a saved run; move it away to start a new one")
    return saved

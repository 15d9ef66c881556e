"""A training in progress, and its checkpoints."""

import copy
import dataclasses
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from config import RECIPE_FIELDS, Config
from fsrcnn.errors import RequestError
from fsrcnn.files import written_whole
from fsrcnn.weights import read_pth
from model import FSRCNN
from training.form import TrainingFSRCNN
from training.recipe import OPTIMIZERS, starting_network


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


def save_run(run: Run, config: Config, path: Path) -> None:
    content = {
        "config": as_plain(config),
        "step": run.step,
        "seconds": run.seconds,
        "best_psnr": run.best_psnr,
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    buffer = io.BytesIO()  # on a full disk torch.save does not raise OSError, and writing does
    torch.save(_on_cpu(content), buffer)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(buffer.getvalue())


def _on_cpu(content: Any) -> Any:
    """The same with its tensors on the CPU, so that the run can go on on any device."""
    if isinstance(content, dict):
        return {key: _on_cpu(value) for key, value in content.items()}
    return content.cpu() if isinstance(content, Tensor) else content


def load_run(config: Config, device: torch.device, path: Path) -> Run:
    """Loads a saved run to go on with. Raises RequestError if it was started with other settings."""
    saved = read_pth(path)
    if "optimizer" not in saved:
        raise RequestError(f"{path}: not a saved run; move it away to start a new one")
    saved_config = as_plain(Config()) | saved["config"]  # defaults for settings that it did not have yet
    for field in RECIPE_FIELDS:
        now, then = as_plain(config)[field], saved_config[field]
        # The same weights may by now be in the other of their two file formats.
        same = field == "transfer_from" and now and then and Path(now).with_suffix("") == Path(then).with_suffix("")
        if now != then and not same:
            raise RequestError(f"{field}: the run in {path.parent} was started with {then}, it cannot go on with {now}")
    run = start_run(config, device)
    run.model.load_state_dict(saved["model"])
    run.average.load_state_dict(saved["average"])
    run.optimizer.load_state_dict(saved["optimizer"])
    for parameter, state in run.optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value):  # fused optimizers need it, steps too, on one device and in one layout
                like_it = value.shape == parameter.shape
                state[name] = torch.empty_like(parameter).copy_(value) if like_it else value.to(device)
    run.step, run.seconds, run.best_psnr = saved["step"], saved["seconds"], saved["best_psnr"]
    return run

"""How FSRCNN is trained: starting weights, losses, optimisers, learning rates, and the step they come together in."""

import ctypes
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from config import Config
from dataset import TrainingPatches
from errors import RequestError
from model import FSRCNN, VARIANTS, CollapsibleFSRCNN, initialise, load_weights, native
from optimizer import SOAP


class Loss(NamedTuple):
    """The sum of a batch's absolute or squared errors, divided by something."""

    squared: bool
    divisor: Callable[[Tensor], int]  # of the HR patches


LOSSES: dict[str, Loss] = {
    "l1": Loss(False, Tensor.numel),
    "mse": Loss(True, Tensor.numel),
    "euclidean": Loss(True, lambda hr: 2 * len(hr)),
}
MSE_FROM = 0.7  # part of the steps after which l1_then_mse changes over
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "soap": SOAP,
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.99), fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, fused=True),
}


@dataclass
class Run:
    """A training in progress: all that is needed to go on with it."""

    model: CollapsibleFSRCNN
    average: FSRCNN
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    best_psnr: float = -math.inf


def starting_network(config: Config) -> FSRCNN:
    """The network before its first step. Raises RequestError where the weights to transfer are of another variant."""
    torch.manual_seed(config.seed)
    network = FSRCNN(config.upscale_factor[0], **VARIANTS[config.variant])
    if config.transfer_from is None:
        initialise(network, config.start)
        return network
    initialise(network, "msra")
    source = load_weights(config.transfer_from, config.upscale_factor[0])
    if source.model_args | {"upscale_factor": network.upscale_factor} != network.model_args:
        raise RequestError(f"transfer_from: {config.transfer_from} is {source.model_args}, not a {config.variant}")
    transferred = source.state_dict()
    if source.upscale_factor != network.upscale_factor:
        transferred = {name: value for name, value in transferred.items() if not name.startswith("deconv.")}
    network.load_state_dict(network.state_dict() | transferred)
    return network


def start_run(config: Config, device: torch.device) -> Run:
    """A run at step 0."""
    start = starting_network(config)
    model = CollapsibleFSRCNN(start, config.linear_width).to(device, memory_format=torch.channels_last)
    deconv = list(model.deconv.parameters())
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("deconv.")]
    groups = [
        {"params": others, "base_lr": config.learning_rate},
        {"params": deconv, "base_lr": config.deconv_learning_rate},
    ]
    return Run(model, start.to(device).requires_grad_(False), OPTIMIZERS[config.optimizer](groups))


def learning_rate_factor(config: Config, step: int) -> float:
    """What the base learning rates are multiplied by at a step."""
    rise = min(1.0, (step + 1) / (config.warmup_steps + 1))
    return rise * (0.5 * (1 + math.cos(math.pi * step / config.steps)) if config.schedule == "cosine" else 1.0)


def loss_of_step(config: Config, step: int) -> Loss:
    if config.loss == "l1_then_mse":
        return LOSSES["l1" if step < MSE_FROM * config.steps else "mse"]
    return LOSSES[config.loss]


def rank_and_ranks() -> tuple[int, int]:
    """This process's number and the number of processes that torchrun started; (0, 1) without it."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of the processes' values; every process has to call it."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value / rank_and_ranks()[1]


class BatchLoss(nn.Module):
    """The loss of a batch as a module's output, which is what DistributedDataParallel takes."""

    def __init__(self, model: CollapsibleFSRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, lr: Tensor, hr: Tensor, loss: Loss) -> Tensor:
        """Of patches N x 1 x H x W and N x 1 x scale*H x scale*W."""
        return self.model.error(lr, hr, loss.squared) / loss.divisor(hr)


def loss_to_train(run: Run, config: Config) -> nn.Module:
    """The loss with the layers of this step set to be trained, gradients averaged over the processes."""
    for name, parameter in run.model.named_parameters():
        parameter.requires_grad_(run.step >= config.deconv_only_steps or name.startswith("deconv."))
    batch_loss = BatchLoss(run.model)
    return DistributedDataParallel(batch_loss) if dist.is_initialized() else batch_loss


def train_step(run: Run, config: Config, batch_loss: nn.Module, patches: TrainingPatches) -> Tensor:
    """One batch: the weights and their average move on. Returns the loss of this process's part, on the device.

    batch_loss: from `loss_to_train`.
    """
    factor = learning_rate_factor(config, run.step)
    for group in run.optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    lr, hr = patches.batch(run.step, config.batch_size, *rank_and_ranks())
    loss = batch_loss(lr, hr, loss_of_step(config, run.step))
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    # Early on the average reaches back over the steps there are, not into the starting weights.
    decay = min(config.ema_decay, run.step / (run.step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(run.average.parameters()), run.model.collapsed_parameters(), 1 - decay)
    run.step += 1
    return loss.detach()


def prepare_cpu() -> None:
    """Makes training on a CPU faster, for the rest of this process.

    The compiled functions take the threads, and PyTorch's operations, which are small here, run on one. glibc keeps
    freed arrays for the next step: by default it returns the large ones to the kernel, and each step gets them back
    cleared page by page.
    """
    if native:
        native.take_threads()
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**30)

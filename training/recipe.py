"""What a recipe's settings stand for: starting weights, losses, optimisers, learning rates."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from config import Config
from fsrcnn.errors import RequestError
from fsrcnn.geometry import VARIANTS
from fsrcnn.weights import load_weights
from model import FSRCNN, initialise
from training.optimizer import SOAP


class Loss(NamedTuple):
    """The sum of a batch's absolute or squared errors, divided by `divisor`."""

    squared: bool
    divisor: Callable[[Tensor], int]  # of the HR patches


LOSSES: dict[str, Loss] = {
    "l1": Loss(False, Tensor.numel),
    "mse": Loss(True, Tensor.numel),
    "euclidean": Loss(True, lambda hr: 2 * len(hr)),
}
MOMENTUM = 0.9
MSE_FROM = 0.7  # fraction of the steps after which l1_then_mse changes to the squared error
# JPEG quality: share of the trained weights in a blend with the starting ones, linear in between. About what the
# validation pictures had as their best.
BLENDS = {30: 1.0, 50: 0.9, 70: 0.75, 80: 0.6, 90: 0.35, 95: 0.2, 100: 0.0}
OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    "soap": SOAP,
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.99), fused=True),
    "sgd": partial(torch.optim.SGD, momentum=MOMENTUM, fused=True),
}


def starting_network(config: Config) -> FSRCNN:
    """The network before its first step. Raises RequestError if the weights to transfer have other sizes."""
    torch.manual_seed(config.seed)
    sizes = {name: getattr(config, name) or size for name, size in VARIANTS[config.variant].items()}
    network = FSRCNN(config.upscale_factor[0], **sizes)
    if config.transfer_from is None:
        initialise(network, config.start)
        return network
    initialise(network, "msra")
    source = FSRCNN.from_weights(load_weights(config.transfer_from, config.upscale_factor[0]))
    if source.sizes[1:] != network.sizes[1:]:
        found, expected = (sizes._asdict() for sizes in (source.sizes, network.sizes))
        raise RequestError(f"transfer_from: {config.transfer_from} is {found}, not {expected}")
    transferred = source.state_dict()
    if source.upscale_factor != network.upscale_factor:
        transferred = {name: value for name, value in transferred.items() if not name.startswith("deconv.")}
    network.load_state_dict(network.state_dict() | transferred)
    return network


def blend_of(quality: int | None) -> float:
    """BLENDS at a JPEG quality, 1..100; without one, where nothing is compressed, 1: the trained weights alone."""
    return 1.0 if quality is None else float(np.interp(quality, list(BLENDS), list(BLENDS.values())))


def learning_rate_factor(config: Config, step: int) -> float:
    """The factor of the base learning rates at a step."""
    rise = min(1.0, (step + 1) / (config.warmup_steps + 1))
    return rise * (0.5 * (1 + math.cos(math.pi * step / config.steps)) if config.schedule == "cosine" else 1.0)


def loss_of_step(config: Config, step: int) -> Loss:
    if config.loss == "l1_then_mse":
        return LOSSES["l1" if step < MSE_FROM * config.steps else "mse"]
    return LOSSES[config.loss]

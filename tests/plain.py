"""The paper's network from its weights alone, in PyTorch's operations: what compiled code is compared with."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsrcnn.geometry import DECONV_PADDING, Sizes
from fsrcnn.weights import INTEGER_RANGES, Weights


def random_weights(sizes: Sizes) -> Weights:
    """Weights, biases and slopes that are all random and large enough to show in the output."""
    generator = np.random.default_rng(0)

    def random(shape: tuple[int, ...]) -> np.ndarray:
        of_convolution = len(shape) == 4 and shape[1:] != (1, 9, 9)
        deviation = max(np.sqrt(2 / np.prod(shape[1:])) if of_convolution else 0, 0.05)
        return generator.normal(0, deviation, shape).astype(np.float32)

    return Weights(sizes, {name: random(shape) for name, shape in sizes.shapes().items()})


def with_ranges(weights: Weights) -> Weights:
    """The same with ranges for the form in integers, within which its sums are mostly, with lifts of 0, 1 and 2."""
    above = np.resize(np.array([1.5, 6.0, 3.0], np.float32), sum(weights.sizes.outputs))
    return Weights(
        weights.sizes, weights.parameters, {INTEGER_RANGES: np.stack([np.full_like(above, 6.0), above])[None]}
    )


def tensors(weights: Weights, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The parameters in order, each a leaf that takes a gradient."""
    values = weights.parameters.values()
    return [torch.from_numpy(value).to(dtype, copy=True).requires_grad_() for value in values]


def enlarge(x: Tensor, parameters: Sequence[Tensor], upscale_factor: int, margin: int = 0) -> Tensor:
    """N x 1 x H x W to N x 1 x scale*H x scale*W; margin: of x, seen by the first convolution in place of zeros."""
    *layers, deconv, deconv_bias = parameters
    for weight, bias, slope in zip(*[iter(layers)] * 3, strict=True):
        x = F.prelu(F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2 - margin), slope)
        margin = 0
    padding, output_padding = DECONV_PADDING, upscale_factor - 1
    return F.conv_transpose2d(x, deconv, deconv_bias, upscale_factor, padding, output_padding)


def enlarged(lr: np.ndarray, weights: Weights) -> np.ndarray:
    """H x W luma to scale*H x scale*W, in double precision."""
    with torch.no_grad():
        x = torch.from_numpy(lr.astype(np.float64))[None, None]
        return enlarge(x, tensors(weights), weights.upscale_factor)[0, 0].numpy()

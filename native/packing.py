"""An FSRCNN's parameters in the order in which the compiled functions read them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from native.network import DECONV_KERNEL, DECONV_PADDING, KERNEL, REACH, deconvolution_taps
from native.target import Target


def phases(deconv_weight: Tensor, scale: int) -> Tensor:
    """The deconvolution as a convolution with scale^2 outputs: d x 1 x 9 x 9 to scale^2 x d x 5 x 5, zero-padded.

    Output pixel scale*y + p has tap p + 4 - scale*j of the deconvolution for the small picture's pixel y + j.
    """
    before = REACH * scale - DECONV_PADDING
    after = KERNEL * scale - DECONV_KERNEL - before
    blocks = F.pad(deconv_weight, (before, after) * 2).reshape(-1, KERNEL, scale, KERNEL, scale).flip(1, 3)
    return blocks.permute(2, 4, 0, 1, 3).reshape(scale**2, -1, KERNEL, KERNEL)


def pack(parameters: Sequence[Tensor], upscale_factor: int, target: Target) -> Tensor:
    """An FSRCNN's parameters, as its ``parameters()`` has them, in the order in which the function that is compiled for
    the target reads them: one float32 vector on the CPU.
    """
    *convolutions, deconv, deconv_bias = (parameter.detach().cpu().float() for parameter in parameters)
    pieces = []
    for weight, bias, slope in zip(*[iter(convolutions)] * 3, strict=True):
        pieces += pack_convolution(weight.flatten(2), bias, slope, target)
    block, _ = target.blocking(upscale_factor**2, upscale_factor)
    kernels = phases(deconv, upscale_factor).split(block)
    for kernel, taps in zip(kernels, deconvolution_taps(upscale_factor, target), strict=True):
        weights = [kernel[output, :, row, column] for row, column, outputs in taps for output in outputs]
        pieces += [deconv_bias.expand(block), torch.stack(weights, 1)]
    return torch.cat([piece.flatten() for piece in pieces])


def pack_convolution(kernel: Tensor, biases: Tensor, slopes: Tensor, target: Target) -> list[Tensor]:
    """The parameters of a `Convolution` in its order; kernel: outputs x channels x taps."""
    block, _ = target.blocking(len(kernel))
    blocks = zip(*(parameter.split(block) for parameter in (biases, kernel, slopes)), strict=True)
    return [piece for bias, weights, slope in blocks for piece in (bias, weights.permute(1, 2, 0), slope)]

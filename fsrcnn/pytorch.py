"""The network in PyTorch's operations: on GPUs, where the compiled form cannot run, and for exports."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsrcnn.geometry import DECONV_KERNEL, subpixel_place, subpixel_taps
from fsrcnn.weights import Weights


def subpixel_kernel(deconv_weight: Tensor, upscale_factor: int) -> Tensor:
    """The kernel of the convolution that `subpixel_deconvolution` runs in place of the deconvolution.

    deconv_weight: d x 1 x 9 x 9; returns scale^2 x d x k x k with k = ceil(9 / scale). Differentiable.
    """
    taps = torch.from_numpy(subpixel_taps(upscale_factor)).to(deconv_weight.device)
    with_zero = F.pad(deconv_weight.reshape(-1, DECONV_KERNEL**2), (0, 1))
    return with_zero.index_select(1, taps.flatten()).unflatten(1, taps.shape).transpose(0, 1)


def subpixel_deconvolution(x: Tensor, kernel: Tensor, bias: Tensor, upscale_factor: int) -> Tensor:
    """The deconvolution as a convolution on the small picture and a pixel shuffle.

    x: N x d x H x W; kernel: as `subpixel_kernel` makes it; bias: 1. Returns N x 1 x scale*H x scale*W.
    """
    scale, (height, width) = upscale_factor, x.shape[-2:]
    padding, start = subpixel_place(scale)
    shuffled = F.pixel_shuffle(F.conv2d(x, kernel, bias.expand(scale**2), padding=padding), scale)
    return shuffled[..., start : start + scale * height, start : start + scale * width]


class SubpixelFSRCNN(nn.Module):
    """FSRCNN with its deconvolution on the small picture, which spares the scatter over the large one.

    Input: N x 1 x H x W float, luma in [0, 1]. Output: N x 1 x scale*H x scale*W, not clipped; equal to the paper's
    form to about 1e-6.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.sizes = weights.sizes
        tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.parameters.items()}
        *layers, deconv, self.deconv_bias = (nn.Parameter(value, requires_grad=False) for value in tensors.values())
        self.layers = nn.ParameterList(layers)
        self.kernel = nn.Parameter(subpixel_kernel(deconv, weights.upscale_factor), requires_grad=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        for weight, bias, slope in zip(*[iter(self.layers)] * 3, strict=True):
            x = F.prelu(F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2), slope)
        return subpixel_deconvolution(x, self.kernel, self.deconv_bias, self.sizes.upscale_factor)

"""FSRCNN (Dong, Loy and Tang, 2016, arXiv 1608.00367) in its three equal forms.

`FSRCNN` is the paper's network, op for op. `CollapsibleFSRCNN` is the form it is trained in, `FusedFSRCNN` the form
it is run in; each converts exactly to or from the paper's.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

try:
    from native import gradient, network, packing
    from native.target import host
except ImportError:  # llvmlite or platformdirs is not there
    HOST = None
else:
    HOST = host()

# The paper's two networks: FSRCNN (section 3.2) and FSRCNN-s (section 4.3).
VARIANTS: dict[str, dict[str, int]] = {
    "fsrcnn": {"d": 56, "s": 12, "m": 4},
    "fsrcnn_s": {"d": 32, "s": 5, "m": 1},
}

DECONV_KERNEL = 9
DECONV_PADDING = 4


class FSRCNN(nn.Module):
    """The network of the paper's section 3.2: FSRCNN(d, s, m).

    Input: N x 1 x H x W float, luma in [0, 1]. Output: N x 1 x scale*H x scale*W, about [0, 1], not clipped.
    The state dict has the keys of FSRCNN-PyTorch, whose weights load as they are. A new network has PyTorch's own
    initialisation; see `initialise`.
    """

    def __init__(self, upscale_factor: int, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor
        self.model_args = {"upscale_factor": upscale_factor, "d": d, "s": s, "m": m}
        self.feature_extraction = nn.Sequential(nn.Conv2d(1, d, 5, padding=2), nn.PReLU(d))
        self.shrink = nn.Sequential(nn.Conv2d(d, s, 1), nn.PReLU(s))
        self.map = nn.Sequential()
        for _ in range(m):
            self.map.extend([nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)])
        self.expand = nn.Sequential(nn.Conv2d(s, d, 1), nn.PReLU(d))
        self.deconv = nn.ConvTranspose2d(
            d,
            1,
            DECONV_KERNEL,
            stride=upscale_factor,
            padding=DECONV_PADDING,
            output_padding=upscale_factor - 1,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the deconvolution works on: N x 1 x H x W to N x d x H x W."""
        return self.expand(self.map(self.shrink(self.feature_extraction(x))))

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """Every convolution in order, without the deconvolution."""
        return (module for module in self.modules() if isinstance(module, nn.Conv2d))

    def fuse(self) -> "FusedFSRCNN":
        """The inference form with these weights."""
        return FusedFSRCNN(self)


def initialise(model: FSRCNN, start: Literal["msra", "msra_fan_out", "bicubic"]) -> None:
    """Sets the starting weights, drawn from torch's global generator.

    "msra" is the paper's (section 3.2): He et al.'s Gaussian for PReLU in the convolutions, a Gaussian of deviation
    0.001 in the deconvolution, biases zero, slopes 0.25. "msra_fan_out" takes the Gaussian's deviation from the number
    of outputs in place of inputs, and as for ReLU, as others' ports of the authors' code do.

    "bicubic" starts as bicubic interpolation: channel 0 of every layer carries the picture through (luma is never
    negative, so PReLU passes it) to a deconvolution that holds the bicubic kernel for it, as far as 9 x 9 taps reach,
    and zeros for the other channels, which are random.
    """
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, 0.25)
        elif isinstance(module, nn.Conv2d):
            fan_out = start == "msra_fan_out"
            nn.init.kaiming_normal_(module.weight, a=0 if fan_out else 0.25, mode="fan_out" if fan_out else "fan_in")
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.001)
            nn.init.zeros_(module.bias)
    if start == "bicubic":
        _carry_picture(model)


@torch.no_grad()
def _carry_picture(model: FSRCNN) -> None:
    for conv in model.convolutions():
        centre = conv.kernel_size[0] // 2
        if conv.in_channels == conv.out_channels:  # the mapping layers start near the identity
            conv.weight.mul_(0.1)
            nn.init.zeros_(conv.weight[0])
            conv.weight[:, :, centre, centre] += torch.eye(conv.in_channels)
        else:
            nn.init.zeros_(conv.weight[0])
            conv.weight[0, 0, centre, centre] = 1
    nn.init.zeros_(model.deconv.weight)
    model.deconv.weight[0, 0] = _bicubic_deconvolution(model.upscale_factor)


def _bicubic_deconvolution(upscale_factor: int) -> Tensor:
    """The 9 x 9 deconvolution kernel nearest to bicubic interpolation: a = -0.5, each phase summing to one."""
    impulse = torch.zeros(1, 1, 1, DECONV_KERNEL, dtype=torch.float64)
    impulse[..., DECONV_KERNEL // 2] = 1
    # Antialiasing does nothing to an enlargement, but with it PyTorch takes Keys' a = -0.5, as MATLAB does.
    enlarged = F.interpolate(impulse, scale_factor=(1, upscale_factor), mode="bicubic", antialias=True)
    first = DECONV_KERNEL // 2 * upscale_factor - DECONV_PADDING
    kernel = enlarged[0, 0, 0, first : first + DECONV_KERNEL]
    for phase in range(upscale_factor):
        kernel[phase::upscale_factor] /= kernel[phase::upscale_factor].sum()
    return torch.outer(kernel, kernel).float()


def subpixel_kernel(deconv_weight: Tensor, upscale_factor: int) -> Tensor:
    """The kernel of the convolution that `subpixel_deconvolution` runs in place of the deconvolution.

    deconv_weight: d x 1 x 9 x 9; returns scale^2 x d x k x k with k = ceil(9 / scale): tap scale*j + p of the
    deconvolution is tap j, counted from the end, of the convolution for phase p. Differentiable.
    """
    scale, k = upscale_factor, math.ceil(DECONV_KERNEL / upscale_factor)
    surplus = scale * k - DECONV_KERNEL
    blocks = F.pad(deconv_weight, (0, surplus, 0, surplus)).reshape(-1, k, scale, k, scale).flip(1, 3)
    return blocks.permute(2, 4, 0, 1, 3).reshape(scale**2, -1, k, k)


def subpixel_deconvolution(x: Tensor, kernel: Tensor, bias: Tensor, upscale_factor: int) -> Tensor:
    """The deconvolution as a convolution on the small picture and a pixel shuffle.

    x: N x d x H x W; kernel: as `subpixel_kernel` makes it; bias: 1. Returns N x 1 x scale*H x scale*W.
    """
    scale, (height, width) = upscale_factor, x.shape[-2:]
    padding = math.ceil(DECONV_PADDING / scale)
    # The shuffled picture starts this many pixels before the deconvolution's (none at x2 and x4).
    start = DECONV_PADDING - scale * (kernel.shape[-1] - 1 - padding)
    shuffled = F.pixel_shuffle(F.conv2d(x, kernel, bias.expand(scale**2), padding=padding), scale)
    return shuffled[..., start : start + scale * height, start : start + scale * width]


class FusedFSRCNN(nn.Module):
    """The inference form. Input and output as `FSRCNN`'s, equal to about 1e-6.

    Float32 pictures on a CPU are run by one compiled function (see native/network.py). On other devices, in other
    precisions, without llvmlite, and where the graph is recorded for a gradient or an export, the deconvolution is a
    convolution on the small picture and a pixel shuffle, which spares the scatter over the large picture.
    """

    def __init__(self, model: FSRCNN) -> None:
        super().__init__()
        self.upscale_factor = model.upscale_factor
        self.model_args = model.model_args
        plain = FSRCNN(**model.model_args)
        plain.load_state_dict(model.state_dict())
        self.features = nn.Sequential(plain.feature_extraction, plain.shrink, plain.map, plain.expand)
        self.kernel = nn.Parameter(subpixel_kernel(plain.deconv.weight, self.upscale_factor))
        self.bias = plain.deconv.bias
        if HOST:
            packed = packing.pack(list(plain.parameters()), self.upscale_factor, HOST)
            self.register_buffer("packed", packed, persistent=False)
        self.to(model.deconv.weight.device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if _runs_natively(x, self.kernel):
            sr = network.upscale(x.detach().numpy(), self.packed.numpy(), HOST, **self.model_args)
            return torch.from_numpy(sr)
        return self.subpixel(x)

    def subpixel(self, x: Tensor) -> Tensor:
        """The same in PyTorch's operations: for any device and precision, differentiable, and for export."""
        features = self.features(x.contiguous(memory_format=torch.channels_last))
        return subpixel_deconvolution(features, self.kernel, self.bias, self.upscale_factor)


def _runs_natively(x: Tensor, weight: Tensor) -> bool:
    """Whether the compiled functions can run on this input, and nobody asks for what they do not give: a graph that is
    recorded for an export, or for the gradient of the input.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing() or (torch.is_grad_enabled() and x.requires_grad)
    if HOST is None or recorded or x.ndim != 4 or x.shape[1] != 1 or not x.numel():
        return False
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (x, weight))


class LinearFactors(nn.Module):
    """Parametrisation of a weight as the product of two linear factors (collapsible linear blocks, Bhardwaj et al.,
    arXiv 2103.09404), which trains faster and ends better than the weight itself.

    The weight, seen as a matrix of its first dimension by all others, is start + outer @ inner; `start` is a
    constant that makes the initial value the weight that was given.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = weight.shape[0], weight[0].numel()
        inner = torch.randn(self.width, columns) * math.sqrt(1 / columns)
        outer = torch.randn(rows, self.width) * math.sqrt(1 / self.width)
        self.register_buffer("start", weight.detach() - (outer @ inner).view_as(weight))
        return inner, outer

    def forward(self, inner: Tensor, outer: Tensor) -> Tensor:
        return self.start + (outer @ inner).view_as(self.start)


class CollapsibleFSRCNN(FSRCNN):
    """The training form: every weight a product of two linear factors, `width` wide, multiplied out at each step so
    that a step costs what the plain network's does. A width of 0 trains the weights themselves.

    It starts as the function of the `FSRCNN` it is made from, and `collapse` returns the `FSRCNN` it has become.
    The deconvolution is computed as a convolution and pixel shuffle; on a CPU the error of float32 patches and its
    gradient come from one compiled function (see native/gradient.py).
    """

    def __init__(self, model: FSRCNN, width: int = 128) -> None:
        super().__init__(**model.model_args)
        self.load_state_dict(model.state_dict())
        names = (name.rpartition(".") for name, _ in model.named_parameters())
        self._places = [(self.get_submodule(layer), parameter) for layer, _, parameter in names]
        if width:
            for layer in (*self.convolutions(), self.deconv):
                parametrize.register_parametrization(layer, "weight", LinearFactors(width))

    def forward(self, x: Tensor) -> Tensor:
        return self._enlarged(self.features(x))

    def _enlarged(self, features: Tensor) -> Tensor:
        kernel = subpixel_kernel(self.deconv.weight, self.upscale_factor)
        return subpixel_deconvolution(features, kernel, self.deconv.bias, self.upscale_factor)

    def error(self, lr: Tensor, hr: Tensor, squared: bool) -> Tensor:
        """The sum of the absolute or squared differences from hr, N x 1 x scale*H x scale*W in [0, 1].

        lr, N x 1 x H x W, may have a margin, 2 more pixels on each side, which the first convolution then sees in place
        of zeros. hr may lack its last rows and columns, fewer than `scale`.
        """
        if _runs_natively(lr, self.deconv.bias):
            return gradient.error(lr, hr, self.upscale_factor, self.collapsed_parameters(), squared, HOST)
        height, width = hr.shape[2:]
        margin = (lr.shape[3] - math.ceil(width / self.upscale_factor)) // 2
        features = self.feature_extraction(lr)[..., margin : lr.shape[2] - margin, margin : lr.shape[3] - margin]
        sr = self._enlarged(self.expand(self.map(self.shrink(features))))
        difference = sr[..., :height, :width] - hr
        return (difference.square() if squared else difference.abs()).sum()

    def collapsed_parameters(self) -> list[Tensor]:
        """The parameters of the `FSRCNN` this is equal to, in the order of its ``parameters()``."""
        return [getattr(layer, parameter) for layer, parameter in self._places]

    @torch.no_grad()
    def collapse(self) -> FSRCNN:
        """The paper's network with the same function, on the same device; shares no memory with this one."""
        plain = FSRCNN(**self.model_args).to(self.deconv.bias.device)
        for parameter, value in zip(plain.parameters(), self.collapsed_parameters(), strict=True):
            parameter.copy_(value)
        return plain

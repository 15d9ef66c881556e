"""FSRCNN (Dong, Loy and Tang, 2016, arXiv 1608.00367): the paper's network, op for op, and its starting weights."""

from collections.abc import Iterator
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsrcnn.geometry import DECONV_KERNEL, DECONV_PADDING, Sizes
from fsrcnn.weights import Weights


class FSRCNN(nn.Module):
    """The network of the paper's section 3.2: FSRCNN(d, s, m).

    Input: N x 1 x H x W float, luma in [0, 1]. Output: N x 1 x scale*H x scale*W, about [0, 1], not clipped.
    The state dict has the keys of FSRCNN-PyTorch, whose weights load as they are. A new network has PyTorch's own
    initialisation; see `initialise`.
    """

    def __init__(self, upscale_factor: int, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor
        self.sizes = Sizes(upscale_factor, d, s, m)
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
        """The deconvolution's input: N x 1 x H x W to N x d x H x W."""
        return self.expand(self.map(self.shrink(self.feature_extraction(x))))

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """Every convolution in order, without the deconvolution."""
        return (module for module in self.modules() if isinstance(module, nn.Conv2d))

    @classmethod
    def from_weights(cls, weights: Weights) -> Self:
        """The network with the weights of a file."""
        model = cls(**weights.sizes._asdict())
        model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in weights.parameters.items()})
        return model

    def weights(self) -> Weights:
        """A copy of the weights, for a file or for the engine that enlarges pictures."""
        state_dict = self.state_dict()
        parameters = {name: state_dict[name].cpu().numpy().copy() for name in self.sizes.shapes()}
        return Weights(self.sizes, parameters)


def initialise(model: FSRCNN, start: Literal["msra", "msra_fan_out", "bicubic"]) -> None:
    """Sets the starting weights, drawn from torch's global generator.

    "msra" is the paper's (section 3.2): He et al.'s Gaussian for PReLU in the convolutions, a Gaussian of deviation
    0.001 in the deconvolution, biases zero, slopes 0.25. "msra_fan_out" takes the Gaussian's deviation from the number
    of outputs in place of inputs, and for ReLU in place of PReLU, as others' ports of the authors' code do.

    "bicubic" starts as bicubic interpolation. Channel 0 of every layer passes the picture on (luma is never negative,
    so PReLU leaves it unchanged). The deconvolution holds the bicubic kernel, cut to 9 x 9 taps, for channel 0, and
    zeros for the other channels, which are random.
    """
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, 0.25)
        elif isinstance(module, nn.Conv2d):
            fan_out = start == "msra_fan_out"
            nn.init.kaiming_normal_(module.weight, a=0 if fan_out else 0.25, mode="fan_out" if fan_out else "fan_in")
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.001)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
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

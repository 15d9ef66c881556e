"""A network as a short list of layers, from which the ONNX, ncnn, LiteRT and Core ML files are written."""

from typing import Literal, NamedTuple

import numpy as np
import torch

from exports.shared import Array, Interface, convolutions
from fsrcnn.geometry import DECONV_KERNEL, DECONV_PADDING, PHASES_REACH, phases, subpixel_place
from fsrcnn.luma import GAIN, OFFSET, RGB_TO_YCBCR
from fsrcnn.pytorch import subpixel_kernel
from fsrcnn.resize import REACH, TAPS, phase_weights
from fsrcnn.weights import Weights

CHANNELS: dict[Interface, int] = {"luma": 1, "luma_full": 1, "rgb": 3}  # of INPUT and OUTPUT
Form = Literal["subpixel", "deconvolution"]

INPUT, OUTPUT = "lr", "sr"


class Convolution(NamedTuple):
    """kernel: outputs x channels x k x k. padding: zeros before the first and after the last pixel of each axis."""

    sources: tuple[str]
    output: str
    kernel: Array
    biases: Array
    padding: tuple[int, int]


class Deconvolution(NamedTuple):
    """The paper's last layer; kernel: channels x 1 x 9 x 9."""

    sources: tuple[str]
    output: str
    kernel: Array
    biases: Array
    scale: int


class PRelu(NamedTuple):
    """slopes: one a channel."""

    sources: tuple[str]
    output: str
    slopes: Array


class Shuffle(NamedTuple):
    """Channels c * scale^2 + row * scale + column become the phases of channel c: PyTorch's pixel shuffle."""

    sources: tuple[str]
    output: str
    scale: int


class EdgePad(NamedTuple):
    """Repeats the outermost pixels `width` times on each side."""

    sources: tuple[str]
    output: str
    width: int


class Crop(NamedTuple):
    """Leaves out `before` pixels at the start and `after` at the end of each axis."""

    sources: tuple[str]
    output: str
    before: int
    after: int


class Sum(NamedTuple):
    """Two sources of one shape."""

    sources: tuple[str, str]
    output: str


Layer = Convolution | Deconvolution | PRelu | Shuffle | EdgePad | Crop | Sum


def network_layers(weights: Weights, interface: Interface, form: Form = "subpixel", crops: bool = False) -> list[Layer]:
    """The layers in order, from INPUT to OUTPUT.

    rgb: bicubic(RGB) + (network(Y) - bicubic(Y)) / GAIN, whose luma is the network's; bicubic is MATLAB's on a picture
    whose edge is repeated. form: the last layer as a convolution on the small picture and a pixel shuffle, or as the
    paper's deconvolution. crops: takes the convolution that is smallest, at x3 by a tenth of the network's time, and
    whose output has to be cropped there.
    """
    layers: list[Layer] = []
    x = INPUT
    if interface != "luma":  # of its own, as the next convolution pads with zeros: folded in, it changed the border
        row = RGB_TO_YCBCR[0] if interface == "rgb" else np.array([GAIN])
        layers.append(Convolution((x,), "y", row.reshape(1, -1, 1, 1), np.array([OFFSET]), (0, 0)))
        x = "y"
    for number, (kernel, biases, slopes) in enumerate(convolutions(weights)):
        reach = kernel.shape[2] // 2
        layers += [
            Convolution((x,), f"conv{number}", kernel, biases, (reach, reach)),
            PRelu((f"conv{number}",), f"prelu{number}", slopes),
        ]
        x = f"prelu{number}"
    gain, offset = (1 / GAIN, -OFFSET / GAIN) if interface == "luma_full" else (1.0, 0.0)
    large = "large_y" if interface == "rgb" else OUTPUT
    kernel, biases = gain * weights.parameters["deconv.weight"], gain * weights.parameters["deconv.bias"] + offset
    if form == "deconvolution":
        layers.append(Deconvolution((x,), large, kernel, biases, weights.upscale_factor))
    else:
        subpixel = _smallest_subpixel if crops else _subpixel
        layers += subpixel(x, large, kernel, biases, weights.upscale_factor)
    return layers + (_coloured(large, weights.upscale_factor) if interface == "rgb" else [])


def _subpixel(source: str, output: str, kernel: Array, biases: Array, scale: int) -> list[Layer]:
    """The deconvolution as the smallest convolution whose output needs no cropping, and a shuffle."""
    before, after = DECONV_PADDING // scale, (DECONV_KERNEL - 1 - DECONV_PADDING + scale - 1) // scale
    taps = slice(PHASES_REACH - before, PHASES_REACH + after + 1)
    kernel, biases = phases(kernel, scale)[..., taps, taps], biases.repeat(scale**2)
    return [
        Convolution((source,), "phases", kernel, biases, (before, after)),
        Shuffle(("phases",), output, scale),
    ]


def _smallest_subpixel(source: str, output: str, kernel: Array, biases: Array, scale: int) -> list[Layer]:
    """The deconvolution as the smallest convolution, a shuffle, and a crop where that has more than the output."""
    kernel = subpixel_kernel(torch.from_numpy(kernel), scale).numpy()
    padding, before = subpixel_place(scale)
    after = scale * (2 * padding - kernel.shape[2] + 1) - before
    shuffled = "shuffled" if before or after else output
    layers: list[Layer] = [
        Convolution((source,), "phases", kernel, biases.repeat(scale**2), (padding, padding)),
        Shuffle(("phases",), shuffled, scale),
    ]
    return layers + ([Crop((shuffled,), output, before, after)] if before or after else [])


def _coloured(luma: str, scale: int) -> list[Layer]:
    """Adds bicubic(RGB) - bicubic(Y) / GAIN to the network's luma / GAIN."""
    difference = np.eye(3) - RGB_TO_YCBCR[0] / GAIN
    kernel = np.einsum("oc,pij->opcij", difference, bicubic_kernel(scale)).reshape(-1, 3, TAPS, TAPS)
    return [
        EdgePad((INPUT,), "padded", REACH),
        Convolution(("padded",), "colour_phases", kernel, np.full(len(kernel), -OFFSET / GAIN), (0, 0)),
        Shuffle(("colour_phases",), "colour", scale),
        Convolution((luma,), "grey", np.full((3, 1, 1, 1), 1 / GAIN), np.zeros(3), (0, 0)),
        Sum(("colour", "grey"), OUTPUT),
    ]


def bicubic_kernel(scale: int) -> Array:
    """MATLAB's bicubic enlargement as a convolution for all phases at once: scale^2 x TAPS x TAPS."""
    rows = phase_weights(scale)
    return np.einsum("ai,bj->abij", rows, rows).reshape(-1, TAPS, TAPS)

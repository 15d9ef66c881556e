"""ONNX, for ONNX Runtime, OpenVINO, OpenCV's dnn module and others."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from exports.graph import (
    CHANNELS,
    INPUT,
    OUTPUT,
    Convolution,
    Crop,
    Deconvolution,
    EdgePad,
    Form,
    Layer,
    PRelu,
    Shuffle,
    Sum,
    bicubic_kernel,
    network_layers,
)
from exports.request import ExportConfig
from exports.shared import (
    FLOAT16_TOLERANCE,
    TOLERANCE,
    Array,
    Exported,
    Interface,
    compared,
    distance,
    file_name,
    from_planes,
    json_beside,
    planes,
)
from fsrcnn.errors import FailureError
from fsrcnn.geometry import DECONV_PADDING, Sizes
from fsrcnn.luma import (
    BLACK_LEVEL,
    LIMIT_REACH,
    LIMIT_WIDENING,
    PEAK,
    RGB_TO_YCBCR,
    WHITE_LEVEL,
    YCBCR_OFFSET,
)
from fsrcnn.network import network_of
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.pytorch import SubpixelFSRCNN
from fsrcnn.resize import REACH
from fsrcnn.weights import LICENCE, Weights
from model import FSRCNN

# Old enough for the ONNX Runtime that programs carry, such as chaiNNer's 1.17.
OPSET, IR_VERSION = 17, 8
MOST = 2**63 - 1  # the end of an axis
TORCH_OPSET = 18  # the earliest that PyTorch writes
FLAT_LEVELS = 65  # flat pictures on which the network's error is measured; between them it is all but a straight line

Picture = NDArray[np.uint8]


class _Pictures(nn.Module):
    """What upscale.py does with a colour picture, in one graph: the network on the luma, less the network's error on
    flat colour, which is measured anew each time; bicubic interpolation of the chroma; one rounding at the end.
    """

    to_ycbcr: Tensor
    to_ycbcr_offset: Tensor
    to_rgb: Tensor
    to_rgb_offset: Tensor
    bicubic_kernel: Tensor

    def __init__(self, network: nn.Module, sizes: Sizes) -> None:
        super().__init__()
        self.network, self.scale, self.reach = network, sizes.upscale_factor, sizes.reach
        to_rgb = np.linalg.inv(RGB_TO_YCBCR)
        matrices = {"to_ycbcr": (RGB_TO_YCBCR, YCBCR_OFFSET), "to_rgb": (to_rgb, -to_rgb @ YCBCR_OFFSET)}
        for name, (matrix, offset) in matrices.items():
            self.register_buffer(name, torch.from_numpy(matrix.T.copy()).float())
            self.register_buffer(f"{name}_offset", torch.from_numpy(offset).float())
        self.register_buffer("bicubic_kernel", torch.from_numpy(bicubic_kernel(self.scale)[:, None]).float())

    def forward(self, rgb: Tensor) -> Tensor:
        planes = (rgb.float() @ self.to_ycbcr + self.to_ycbcr_offset).permute(0, 3, 1, 2)
        y, chroma = planes[:, :1], planes[:, 1:]
        enlarged_y = self.limited(self.network(y / PEAK) * PEAK - self.flat_error(y), y)
        sr = torch.cat([enlarged_y, self.bicubic(chroma)], 1)
        enlarged = sr.permute(0, 2, 3, 1) @ self.to_rgb + self.to_rgb_offset
        return (enlarged + 0.5).floor().clamp(0, PEAK).to(torch.uint8)

    def limited(self, sr: Tensor, y: Tensor) -> Tensor:
        """As fsrcnn/limits.py. y: N x 1 x H x W; sr: N x 1 x scale*H x scale*W."""
        around = (2 * LIMIT_REACH + 1, 1, LIMIT_REACH)
        least, greatest = -F.max_pool2d(-y, *around), F.max_pool2d(y, *around)
        widening = LIMIT_WIDENING * (greatest - least)
        repeated = (each.expand(-1, self.scale**2, -1, -1) for each in (least - widening, greatest + widening))
        low, high = (F.pixel_shuffle(each, self.scale) for each in repeated)
        return torch.minimum(torch.maximum(sr, low), high)

    def flat_error(self, y: Tensor) -> Tensor:
        """The network's error on a flat picture of each pixel's luma: N x 1 x H x W to N x 1 x scale*H x scale*W."""
        measured = [torch.sym_min(length, 2 * self.reach + 1) for length in y.shape[2:]]
        luma = torch.linspace(BLACK_LEVEL, WHITE_LEVEL, FLAT_LEVELS, device=y.device).view(-1, 1, 1, 1)
        error = self.network((luma / PEAK).expand(-1, 1, *measured)) * PEAK - luma
        table = F.pixel_unshuffle(error, self.scale).permute(0, 2, 3, 1).flatten(0, 2)
        down, across = (self.places(*lengths) for lengths in zip(y.shape[2:], measured, strict=True))
        level = (y[:, 0] - BLACK_LEVEL) * ((FLAT_LEVELS - 1) / (WHITE_LEVEL - BLACK_LEVEL))
        below = level.floor().clamp(0, FLAT_LEVELS - 2)
        height, width = measured
        place = (below.long() * height + down[:, None]) * width + across
        error = torch.lerp(table[place], table[place + height * width], (level - below)[..., None])
        return F.pixel_shuffle(error.permute(0, 3, 1, 2), self.scale)

    def places(self, length: Any, size: Any) -> Tensor:
        """Maps each pixel of an axis to the pixel of an axis of `size` at the same distance from the border, as
        fsrcnn/pictures does.
        """
        along = torch.arange(length)
        from_end = (along + (size - length)).clamp(min=torch.sym_min(self.reach, size - 1))
        return torch.where(along < self.reach, along, from_end)

    def bicubic(self, planes: Tensor) -> Tensor:
        """MATLAB's imresize: N x C x H x W to N x C x scale*H x scale*W."""
        for axis in (2, 3):
            length = planes.shape[axis]
            along = torch.arange(length + 2 * REACH) - REACH
            along = torch.maximum(along, -1 - along)  # beyond the border the picture is mirrored
            along = torch.minimum(along, 2 * length - 1 - along).clamp(min=0)
            planes = planes.index_select(axis, along)
        phases = F.conv2d(planes.flatten(0, 1)[:, None], self.bicubic_kernel)
        return F.pixel_shuffle(phases, self.scale).unflatten(0, planes.shape[:2])[:, :, 0]


def _node(layer: Layer) -> tuple[str, list[Array], dict[str, Any]]:
    """ONNX's operator, its inputs besides the sources, and its attributes."""
    match layer:
        case Convolution(kernel=kernel, biases=biases, padding=(before, after)):
            return "Conv", [kernel, biases], {"kernel_shape": kernel.shape[2:], "pads": [before] * 2 + [after] * 2}
        case Deconvolution(kernel=kernel, biases=biases, scale=scale):
            size = {"pads": [DECONV_PADDING] * 4, "output_padding": [scale - 1] * 2, "strides": [scale] * 2}
            return "ConvTranspose", [kernel, biases], {"kernel_shape": kernel.shape[2:], **size}
        case PRelu(slopes=slopes):
            return "PRelu", [slopes.reshape(-1, 1, 1)], {}
        case Shuffle(scale=scale):
            return "DepthToSpace", [], {"blocksize": scale, "mode": "CRD"}
        case EdgePad(width=width):
            return "Pad", [np.array([0, 0, width, width] * 2)], {"mode": "edge"}
        case Crop(before=before, after=after):
            return "Slice", [np.array([before] * 2), np.array([-after or MOST] * 2), np.array([2, 3])], {}
        case Sum():
            return "Add", [], {}


def onnx_file(weights: Weights, interface: Interface, form: Form, said: dict[str, str], float16: bool = False) -> bytes:
    """The network as an ONNX file with the weights inside.

    Input `lr`: float32, N x 1 or 3 x H x W in [0, 1], of any N, H and W; output `sr`: N x 1 or 3 x scale*H x scale*W,
    about [0, 1]. form: the last layer as the paper's deconvolution, or as a convolution on the small picture and a
    pixel shuffle. said: the file's metadata. float16: calculates in 16 bits between input and output.
    """
    from onnx import TensorProto, helper, numpy_helper

    real = np.float16 if float16 else np.float32
    inside = {INPUT: "lr_float16", OUTPUT: "sr_float16"} if float16 else {}
    nodes, constants = [], []
    crops = interface != "rgb"  # whose files keep to a few operators, for converters to other formats
    for layer in network_layers(weights, interface, form, crops):
        operator, arrays, attributes = _node(layer)
        inputs = [inside.get(source, source) for source in layer.sources]
        for number, array in enumerate(arrays):
            inputs.append(f"{layer.output}.{number}")
            array = array.astype(real) if array.dtype.kind == "f" else array
            constants.append(numpy_helper.from_array(np.ascontiguousarray(array), inputs[-1]))
        nodes.append(
            helper.make_node(operator, inputs, [inside.get(layer.output, layer.output)], layer.output, **attributes)
        )
    if float16:
        nodes.insert(0, helper.make_node("Cast", [INPUT], [inside[INPUT]], "cast", to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", [inside[OUTPUT]], [OUTPUT], "cast_back", to=TensorProto.FLOAT))
    ends = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, ["n", CHANNELS[interface], f"{size}height", f"{size}width"]
        )
        for name, size in ((INPUT, ""), (OUTPUT, "large_"))
    ]
    graph = helper.make_graph(nodes, "fsrcnn", ends[:1], ends[1:], constants)
    opset = [helper.make_opsetid("", OPSET)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="fsrcnn")
    helper.set_model_props(content, said)
    return content.SerializeToString(deterministic=True)


def pictures_file(weights: Weights, form: Form, said: dict[str, str]) -> bytes:
    """The network as an ONNX file for colour pictures.

    Input `lr`: uint8, N x H x W x 3 in R, G, B order; output `sr`: uint8, N x scale*H x scale*W x 3, each picture as
    upscale.py enlarges it, to one level.
    """
    size = {0: Dim("n"), 1: Dim("height"), 2: Dim("width")}
    network = _Pictures(_in_form(weights, form), weights.sizes)
    return _exported(network, torch.zeros(2, 37, 41, 3, dtype=torch.uint8), size, said)


def _in_form(weights: Weights, form: Form) -> nn.Module:
    return SubpixelFSRCNN(weights) if form == "subpixel" else FSRCNN.from_weights(weights)


def _exported(network: nn.Module, example: Tensor, size: dict[int, Any], said: dict[str, str]) -> bytes:
    from onnx import helper, version_converter

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's remarks about its own insides
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            opset_version=TORCH_OPSET,
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes=(size,),
            verbose=False,
        )
    assert program is not None  # as with dynamo=False
    content = version_converter.convert_version(program.model_proto, OPSET)
    content.ir_version = IR_VERSION
    for node in content.graph.node:
        node.ClearField("metadata_props")  # paths of the source files here
    helper.set_model_props(content, said)
    return content.SerializeToString(deterministic=True)


def run_onnx(content: bytes, lr: Array) -> Array:
    """Runs the file in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["sr"], {"lr": lr})[0]


INPUTS = {
    "luma": f"luma in [0, 1]: Y / {PEAK} with Y in {BLACK_LEVEL}..{WHITE_LEVEL}, as MATLAB's rgb2ycbcr has it",
    "luma_full": "luma of full range in [0, 1]",
    "rgb": "R, G, B in [0, 1], N x 3 x H x W",
    "pictures": f"R, G, B in 0..{PEAK}, uint8, N x H x W x 3",
}


def metadata(path: Path, weights: Weights, form: Form, interface: str) -> dict[str, str]:
    """What the file says of itself: of its weights, its input, and the score in the json beside the weights file."""
    sizes = weights.sizes
    said = {
        "upscale_factor": str(sizes.upscale_factor),
        "variant": sizes.variant or str({"d": sizes.d, "s": sizes.s, "m": sizes.m}),
        "form": form,
        "interface": interface,
        "input": INPUTS[interface],
        "licence": LICENCE,
        "sha256": weights.digest,
    }
    if about := json_beside(path):
        said["validation_psnr"] = f"{about['validation']['psnr']:.3f}"
    return said


def compared_with_upscale(weights: Weights, run: Callable[[Picture], Picture]) -> str:
    """Says for the user how far a colour photograph is from upscale.py's. Raises FailureError beyond one level."""
    lr = skimage.data.astronaut()[:101, 150:237]
    difference = np.abs(run(lr).astype(int) - enlarge_array(lr, network_of(weights, "cpu")))
    if difference.max() > 1:
        raise FailureError(f"the file would be {difference.max()} levels from upscale.py's result; it is not written")
    return f"at most one level from upscale.py's result, and that in {(difference > 0).mean():.1%}"


def export(path: Path, weights: Weights, config: ExportConfig) -> Iterator[Exported]:
    """A file, compared in ONNX Runtime: pictures with upscale.py's results, all else with PyTorch's."""
    interface = config.interface or "luma"
    said = metadata(path, weights, config.form, interface)
    name = file_name(path, interface, ".onnx", config.float16)
    if interface == "pictures":
        content = pictures_file(weights, config.form, said)
        comparison = compared_with_upscale(weights, lambda lr: run_onnx(content, lr[None])[0])
    else:
        content = onnx_file(weights, interface, config.form, said, config.float16)
        error = distance(weights, lambda lr: from_planes(run_onnx(content, planes(lr)[None])[0]), interface)
        comparison = compared(error, tolerance=FLOAT16_TOLERANCE if config.float16 else TOLERANCE)
    yield Exported(name, content, comparison)

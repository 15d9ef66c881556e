"""ONNX, for ONNX Runtime, OpenVINO, OpenCV's dnn module and others."""

import contextlib
import io
import warnings
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from imgproc import resize_matrix, rgb_to_ycbcr, ycbcr_to_rgb
from inference.parts import reach
from model import FSRCNN

OPSET = 23
Form = Literal["subpixel", "deconvolution"]

BICUBIC_REACH = 2  # of the bicubic kernel, in pixels of the small picture
FLAT_LEVELS = 65  # flat pictures on which the network's error is found; between them it is all but a straight line


class _Subpixel(nn.Module):
    """The inference form in PyTorch's operations."""

    def __init__(self, model: FSRCNN) -> None:
        super().__init__()
        self.fused = model.fuse()

    def forward(self, lr: Tensor) -> Tensor:
        return self.fused.subpixel(lr)


class _Pictures(nn.Module):
    """upscale.py's way with a colour picture: the network on the luma, less its error on flat pictures, which is found
    anew each time, bicubic interpolation of the chroma, and one rounding at the end.
    """

    def __init__(self, network: nn.Module, model: FSRCNN) -> None:
        super().__init__()
        self.network, self.scale, self.reach = network, model.upscale_factor, reach(model)
        for name, convert in (("to_ycbcr", rgb_to_ycbcr), ("to_rgb", ycbcr_to_rgb)):
            zero, *unit = convert(np.vstack([np.zeros(3), np.eye(3)])[None])[0]
            self.register_buffer(name, torch.from_numpy(np.array(unit) - zero).float())
            self.register_buffer(f"{name}_offset", torch.from_numpy(zero).float())
        size = 2 * BICUBIC_REACH + 1
        rows = resize_matrix(size, self.scale * size, self.scale)[self.scale * BICUBIC_REACH :][: self.scale].toarray()
        kernel = torch.from_numpy(np.einsum("ai,bj->abij", rows, rows)).float()
        self.register_buffer("bicubic_kernel", kernel.reshape(-1, 1, size, size))

    def forward(self, rgb: Tensor) -> Tensor:
        planes = (rgb.float() @ self.to_ycbcr + self.to_ycbcr_offset).permute(0, 3, 1, 2)
        y, chroma = planes[:, :1], planes[:, 1:]
        sr = torch.cat([self.network(y / 255) * 255 - self.flat_error(y), self.bicubic(chroma)], 1)
        enlarged = sr.permute(0, 2, 3, 1) @ self.to_rgb + self.to_rgb_offset
        return (enlarged + 0.5).floor().clamp(0, 255).to(torch.uint8)

    def flat_error(self, y: Tensor) -> Tensor:
        """What the network adds to a flat picture of each pixel's luma: N x 1 x H x W to N x 1 x scale*H x scale*W."""
        measured = [torch.sym_min(length, 2 * self.reach + 1) for length in y.shape[2:]]
        luma = torch.linspace(16, 235, FLAT_LEVELS, device=y.device).view(-1, 1, 1, 1)
        error = self.network((luma / 255).expand(-1, 1, *measured)) * 255 - luma
        table = F.pixel_unshuffle(error, self.scale).permute(0, 2, 3, 1).flatten(0, 2)
        down, across = (self.places(*lengths) for lengths in zip(y.shape[2:], measured, strict=True))
        level = (y[:, 0] - 16) * ((FLAT_LEVELS - 1) / 219)
        below = level.floor().clamp(0, FLAT_LEVELS - 2)
        height, width = measured
        place = (below.long() * height + down[:, None]) * width + across
        error = torch.lerp(table[place], table[place + height * width], (level - below)[..., None])
        return F.pixel_shuffle(error.permute(0, 3, 1, 2), self.scale)

    def places(self, length: Any, size: Any) -> Tensor:
        """As inference/colour.py: for each pixel of an axis one as far from the ends of an axis of `size`."""
        along = torch.arange(length)
        from_end = (along + (size - length)).clamp(min=torch.sym_min(self.reach, size - 1))
        return torch.where(along < self.reach, along, from_end)

    def bicubic(self, planes: Tensor) -> Tensor:
        """As MATLAB's imresize: N x C x H x W to N x C x scale*H x scale*W."""
        for axis in (2, 3):
            length = planes.shape[axis]
            along = torch.arange(length + 2 * BICUBIC_REACH) - BICUBIC_REACH
            along = torch.maximum(along, -1 - along)  # beyond the border the picture is mirrored
            along = torch.minimum(along, 2 * length - 1 - along).clamp(min=0)
            planes = planes.index_select(axis, along)
        phases = F.conv2d(planes.flatten(0, 1)[:, None], self.bicubic_kernel)
        return F.pixel_shuffle(phases, self.scale).unflatten(0, planes.shape[:2])[:, :, 0]


def _in_form(model: FSRCNN, form: Form) -> nn.Module:
    return _Subpixel(model) if form == "subpixel" else model.eval()


def onnx_file(model: FSRCNN, form: Form, said: dict[str, str]) -> bytes:
    """The network as an ONNX file with the weights inside.

    Input `lr`: float32, N x 1 x H x W luma in [0, 1], of any N, H and W; output `sr`: N x 1 x scale*H x scale*W, about
    [0, 1]. form: the deconvolution as the paper has it, or as a convolution on the small picture and a pixel shuffle.
    said: what the file's metadata say of it. Raises ImportError where onnxscript is missing.
    """
    size = {0: Dim("n"), 2: Dim("height"), 3: Dim("width")}
    return _exported(_in_form(model, form), torch.rand(2, 1, 13, 17), size, said)


def pictures_file(model: FSRCNN, form: Form, said: dict[str, str]) -> bytes:
    """The same for colour pictures: input `lr`, uint8, N x H x W x 3 in R, G, B order; output `sr`, N x scale*H x
    scale*W x 3, what upscale.py makes of each.
    """
    size = {0: Dim("n"), 1: Dim("height"), 2: Dim("width")}
    return _exported(_Pictures(_in_form(model, form), model), torch.zeros(2, 37, 41, 3, dtype=torch.uint8), size, said)


def _exported(network: nn.Module, example: Tensor, size: dict[int, Any], said: dict[str, str]) -> bytes:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's words on its own insides
        program = torch.onnx.export(
            network.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes=(size,),
            verbose=False,
        )
    content = program.model_proto
    for node in content.graph.node:
        node.ClearField("metadata_props")  # where in the source each was made
    for name, text in said.items():
        content.metadata_props.add(key=name, value=text)
    return content.SerializeToString()


def run_onnx(content: bytes, lr: NDArray[Any]) -> NDArray[Any]:
    """What ONNX Runtime makes of the input with the file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["sr"], {"lr": lr})[0]

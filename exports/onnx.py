"""ONNX, for ONNX Runtime, OpenVINO, OpenCV's dnn module and others."""

import contextlib
import io
import warnings
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from model import FSRCNN

OPSET = 23


class _Subpixel(nn.Module):
    """The inference form in PyTorch's operations."""

    def __init__(self, model: FSRCNN) -> None:
        super().__init__()
        self.fused = model.fuse()

    def forward(self, lr: Tensor) -> Tensor:
        return self.fused.subpixel(lr)


def onnx_file(model: FSRCNN, form: Literal["subpixel", "deconvolution"], said: dict[str, str]) -> bytes:
    """The network as an ONNX file with the weights inside.

    Input `lr`: float32, N x 1 x H x W luma in [0, 1], of any N, H and W; output `sr`: N x 1 x scale*H x scale*W, about
    [0, 1]. form: the deconvolution as the paper has it, or as a convolution on the small picture and a pixel shuffle.
    said: what the file's metadata say of it. Raises ImportError where onnxscript is missing.
    """
    network = _Subpixel(model) if form == "subpixel" else model.eval()
    size = {0: Dim("n"), 2: Dim("height"), 3: Dim("width")}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's words on its own insides
        program = torch.onnx.export(
            network,
            (torch.rand(2, 1, 13, 17),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["lr"],
            output_names=["sr"],
            dynamic_shapes=(size,),
            verbose=False,
        )
    content = program.model_proto
    for name, text in said.items():
        content.metadata_props.add(key=name, value=text)
    return content.SerializeToString()


def run_onnx(content: bytes, lr: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX Runtime makes of N x 1 x H x W luma in [0, 1] with the file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["sr"], {"lr": lr})[0]

"""What the formats share: what an exported file is, and how its results are compared with PyTorch's."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray

from fsrcnn import resize
from fsrcnn.errors import FailureError
from fsrcnn.luma import GAIN, OFFSET, PEAK, RGB_TO_YCBCR
from fsrcnn.weights import Weights, weights_name
from imgproc import imresize
from model import FSRCNN

# Largest difference from PyTorch's result, of values in [0, 1]; float16: of files with numbers of 16 bits.
TOLERANCE, FLOAT16_TOLERANCE = 1e-5, 3e-3

Array = NDArray[Any]
Luma = NDArray[np.float32]
# H x W luma to scale*H x scale*W, or R, G, B, H x W x 3; None where the program that runs it is missing.
Run = Callable[[Luma], Luma | None]
# What a file takes and gives: luma, luma of full range, or R, G, B in [0, 1].
Interface = Literal["luma", "luma_full", "rgb"]


class Exported(NamedTuple):
    """A file that an export consists of; comparison: how far its results are from PyTorch's, for the user."""

    name: str
    content: bytes
    comparison: str


def convolutions(weights: Weights) -> list[tuple[Array, Array, Array]]:
    """Kernel, biases and PReLU slopes of every convolution in order, without the deconvolution."""
    *parameters, _, _ = weights.parameters.values()
    return list(zip(*[iter(parameters)] * 3, strict=True))


def reference(weights: Weights, lr: Luma) -> Luma:
    """H x W luma in [0, 1] enlarged by the paper's network, op for op, in PyTorch: scale*H x scale*W."""
    with torch.inference_mode():
        return FSRCNN.from_weights(weights).eval()(torch.from_numpy(lr)[None, None])[0, 0].numpy()


def reference_of(weights: Weights, interface: Interface, lr: Luma) -> Luma:
    """What a file with an interface makes of luma, H x W, or R, G, B, H x W x 3, by PyTorch and MATLAB's bicubic."""
    if interface == "luma":
        return reference(weights, lr)
    if interface == "luma_full":
        return (reference(weights, lr * np.float32(GAIN) + np.float32(OFFSET)) - np.float32(OFFSET)) / np.float32(GAIN)
    scale, edge = weights.upscale_factor, resize.REACH + 1  # beyond it imresize mirrors the picture
    padded = np.pad(lr.astype(np.float64), ((edge, edge), (edge, edge), (0, 0)), "edge")
    inside = slice(scale * edge, -scale * edge)
    bicubic = imresize(padded, scale)[inside, inside]
    row = RGB_TO_YCBCR[0]
    y = reference(weights, (lr @ row + OFFSET).astype(np.float32))
    return (bicubic + ((y - OFFSET - bicubic @ row) / GAIN)[..., None]).astype(np.float32)


def photograph(interface: Interface) -> Luma:
    """A photograph of odd size to compare results on: H x W, or H x W x 3."""
    whole = skimage.data.astronaut()[:101, 150:237] if interface == "rgb" else skimage.data.camera()[200:301, 150:237]
    return whole.astype(np.float32) / PEAK


def distance(weights: Weights, run: Run, interface: Interface = "luma", least: float = -math.inf) -> float | None:
    """The largest difference between `run` and PyTorch on a photograph; None where `run` returns None. least: the file
    limits its results to this.
    """
    lr = photograph(interface)
    sr = run(lr)
    return None if sr is None else float(np.abs(sr - np.maximum(reference_of(weights, interface, lr), least)).max())


def planes(picture: Luma) -> Luma:
    """H x W or H x W x 3 as networks take it, channels x H x W."""
    return np.ascontiguousarray(np.atleast_3d(picture).transpose(2, 0, 1))


def from_planes(channels: Luma) -> Luma:
    """The inverse of `planes`: H x W where there is one channel."""
    return channels[0] if len(channels) == 1 else channels.transpose(1, 2, 0)


def file_name(path: Path, interface: str, suffix: str, float16: bool = False) -> str:
    """What an exported file is called: the weights' name, the interface but for luma, and the numbers if of 16 bits."""
    parts = [weights_name(path), *([] if interface == "luma" else [interface]), *(["float16"] if float16 else [])]
    return "_".join(parts) + suffix


def json_beside(path: Path) -> dict[str, Any]:
    """What the json beside a weights file says of its training; empty where there is none."""
    beside = path.with_suffix(".json")
    return json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}


def compared(error: float | None, program: str = "", tolerance: float = TOLERANCE) -> str:
    """Says for the user how far a file is from PyTorch. error: from `distance`; None: the program that runs the file is
    missing. Raises FailureError beyond the tolerance.
    """
    if error is None:
        return f"not compared with PyTorch: {program} is missing"
    if not error <= tolerance:
        raise FailureError(f"the file would be {error:.1e} from PyTorch, more than {tolerance}; it is not written")
    return f"{error:.1e} from PyTorch"

"""What the formats share: what an exported file is, and how its results are compared with PyTorch's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray

from fsrcnn.errors import FailureError
from fsrcnn.luma import PEAK
from fsrcnn.weights import Weights
from model import FSRCNN

TOLERANCE = 1e-5  # largest difference from PyTorch's result, of luma in [0, 1]

Array = NDArray[Any]
Luma = NDArray[np.float32]
Run = Callable[[Luma], Luma | None]  # H x W to scale*H x scale*W; None where the program that runs it is missing


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


def distance(weights: Weights, run: Run, gain: float = 1.0, offset: float = 0.0) -> float | None:
    """The largest difference between `run` and PyTorch on a photograph of odd size; None where `run` returns None.

    gain, offset: the network inside `run` sees gain * luma + offset.
    """
    lr = skimage.data.camera()[200:301, 150:237].astype(np.float32) / PEAK
    sr = run(lr)
    if sr is None:
        return None
    return float(np.abs(sr - (reference(weights, lr * gain + offset) - offset) / gain).max())


def compared(error: float | None, program: str = "") -> str:
    """Says for the user how far a file is from PyTorch. error: from `distance`; None: the program that runs the file is
    missing. Raises FailureError beyond TOLERANCE.
    """
    if error is None:
        return f"not compared with PyTorch: {program} is missing"
    if not error <= TOLERANCE:
        raise FailureError(f"the file would be {error:.1e} from PyTorch, more than {TOLERANCE}; it is not written")
    return f"{error:.1e} from PyTorch"

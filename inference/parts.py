"""A network on an image of any size: in parts, so that memory stays bounded, whose results are those of the whole."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:  # upscale.py does without PyTorch where it can
    from torch import nn

_PART = 512  # LR pixels that the network is given at once, along each axis


class Span(NamedTuple):
    """A part of an axis in LR pixels, start..stop, inside the window first..last that it depends on."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def window(self) -> slice:
        return slice(self.first, self.last)

    def inside(self, scale: int) -> slice:
        """Where the part lies in its window, both enlarged."""
        return slice(scale * (self.start - self.first), scale * (self.stop - self.first))

    def enlarged(self, scale: int) -> slice:
        """Where the part lies in the whole, both enlarged."""
        return slice(scale * self.start, scale * self.stop)


def spans(length: int, size: int, margin: int) -> Iterator[Span]:
    """An axis in parts of `size`, each with a window `margin` wider on both sides, up to the ends of the axis."""
    for start in range(0, length, size):
        stop = min(start + size, length)
        yield Span(start, stop, max(start - margin, 0), min(stop + margin, length))


def reach(model: "nn.Module") -> int:
    """How many LR pixels to each side an SR pixel depends on, by the layers' kernels: 8 for FSRCNN at x2 and x3."""
    from torch import nn

    from model import DECONV_PADDING

    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    return sum(conv.kernel_size[0] // 2 for conv in convolutions) + math.ceil(DECONV_PADDING / model.upscale_factor)


def upscale_luma(model: "nn.Module", lr: np.ndarray, border: Literal["zeros", "replicate"] = "zeros") -> np.ndarray:
    """Runs any of the forms on one picture.

    lr: H x W luma in 0..255, any real dtype; returns scale*H x scale*W, float32, 0..255, neither rounded nor clipped.
    border: what the network sees beyond the picture, zeros in every layer or the outermost pixels again.
    """
    if border == "replicate":
        margin = reach(model)
        inside = slice(model.upscale_factor * margin, -model.upscale_factor * margin)
        return upscale_luma(model, np.pad(lr, margin, mode="edge"))[inside, inside]
    sr = run_in_parts(model, np.asarray(lr, dtype=np.float32) / np.float32(255))
    return np.multiply(sr, np.float32(255), out=sr)


def run_in_parts(model: "nn.Module", lr: np.ndarray) -> np.ndarray:
    """Runs any of the forms on one part of a picture after another, so that the network's memory stays bounded.

    lr: H x W luma in 0..1, float32; returns scale*H x scale*W, the same.
    """
    import torch

    device, scale, margin = next(model.parameters()).device, model.upscale_factor, reach(model)
    height, width = lr.shape
    sr = np.empty((scale * height, scale * width), dtype=np.float32)
    for rows, columns in itertools.product(spans(height, _PART, margin), spans(width, _PART, margin)):
        window = torch.from_numpy(np.ascontiguousarray(lr[rows.window, columns.window])).to(device)
        with torch.inference_mode():
            part = model(window[None, None])[0, 0, rows.inside(scale), columns.inside(scale)]
        sr[rows.enlarged(scale), columns.enlarged(scale)] = part.cpu().numpy()
    return sr

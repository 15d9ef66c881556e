"""torch.hub's entry points: ``torch.hub.load(repository, "fsrcnn", upscale_factor=3, pretrained=True)``.

Each returns the paper's network in PyTorch. Input: N x 1 x H x W luma in [0, 1], black at 16/255 and white at 235/255
as in MATLAB's rgb2ycbcr. Output: N x 1 x scale*H x scale*W, not clipped.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, variant_sizes
from fsrcnn.weights import load_weights, shipped_weights

dependencies = ["torch", "numpy", "safetensors"]


def _load_model(name: str = "_fsrcnn_model") -> ModuleType:
    """Imports model.py by its path and under another name: the caller may have a module `model` too."""
    if name in sys.modules:  # so that all models are of one class, which pickle finds
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("model.py"))
    assert spec is not None  # as for every file called .py
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_model = _load_model()


def fsrcnn(upscale_factor: int = 3, pretrained: bool = True) -> nn.Module:
    """FSRCNN(56, 12, 4) for x2, x3 or x4, with the weights of this repository or PyTorch's random ones."""
    return _network("fsrcnn", upscale_factor, pretrained)


def fsrcnn_s(upscale_factor: int = 3, pretrained: bool = True) -> nn.Module:
    """FSRCNN-s, (32, 5, 1), for x2, x3 or x4, with the weights of this repository or PyTorch's random ones."""
    return _network("fsrcnn_s", upscale_factor, pretrained)


def _network(variant: str, upscale_factor: int, pretrained: bool) -> nn.Module:
    if upscale_factor not in SCALES:
        raise RequestError(f"upscale_factor: got {upscale_factor!r}, expected one of {SCALES}")
    if not pretrained:
        return _model.FSRCNN(**variant_sizes(variant, upscale_factor)._asdict())
    return _model.FSRCNN.from_weights(load_weights(shipped_weights(variant, upscale_factor))).eval()

"""torch.hub's entry points: ``torch.hub.load(repository, "fsrcnn", upscale_factor=3, pretrained=True)``."""

from inference.weights import load_weights, shipped_weights
from model import FSRCNN, VARIANTS

dependencies = ["torch", "numpy"]


def fsrcnn(upscale_factor: int = 3, pretrained: bool = True) -> FSRCNN:
    """FSRCNN(56, 12, 4) for x2, x3 or x4, with the weights of this repository or PyTorch's random ones."""
    return _network("fsrcnn", upscale_factor, pretrained)


def fsrcnn_s(upscale_factor: int = 3, pretrained: bool = True) -> FSRCNN:
    """FSRCNN-s, (32, 5, 1), for x2, x3 or x4, with the weights of this repository or PyTorch's random ones."""
    return _network("fsrcnn_s", upscale_factor, pretrained)


def _network(variant: str, upscale_factor: int, pretrained: bool) -> FSRCNN:
    if not pretrained:
        return FSRCNN(upscale_factor, **VARIANTS[variant])
    return load_weights(shipped_weights(variant, upscale_factor)).eval()

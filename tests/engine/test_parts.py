"""The parts of a picture make up the whole."""

import numpy as np
import pytest
import skimage.data
import torch
from made import shipped
from plain import random_weights

from fsrcnn.geometry import SCALES, VARIANTS, variant_sizes
from fsrcnn.network import TorchNetwork
from fsrcnn.parts import Span, spans
from fsrcnn.pytorch import SubpixelFSRCNN
from fsrcnn.weights import load_weights, shipped_weights


def test_spans_by_hand():
    assert list(spans(10, 4, 3)) == [Span(0, 4, 0, 7), Span(4, 8, 1, 10), Span(8, 10, 5, 10)]
    assert list(spans(3, 4, 9)) == [Span(0, 3, 0, 3)]
    _, span, _ = spans(10, 4, 3)
    assert (span.window, span.inside(2), span.enlarged(2)) == (slice(1, 10), slice(6, 14), slice(8, 16))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_reach_is_exact(variant: str, scale: int):
    """Changing one LR pixel changes SR pixels `reach` pixels away, to one side at least, and none further away."""
    network = SubpixelFSRCNN(random_weights(variant_sizes(variant, scale))).double()
    assert network.sizes.reach == VARIANTS[variant]["m"] + (3 if scale == 4 else 4)
    centre = 12
    lr = torch.rand(1, 1, 2 * centre + 1, 2 * centre + 1, dtype=torch.float64, requires_grad=True)
    furthest = 0
    for phase in range(scale):
        lr.grad = None
        network(lr)[0, 0, scale * centre + phase, scale * centre + phase].backward()
        rows = lr.grad[0, 0].abs().amax(1).nonzero().flatten() - centre
        furthest = max(furthest, int(rows.abs().max()))
    assert furthest == network.sizes.reach


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 2), (17, 16), (31, 40)])
def test_luma_in_parts_is_luma_as_a_whole(monkeypatch: pytest.MonkeyPatch, scale: int, shape: tuple[int, int]):
    lr = skimage.data.camera()[: shape[0], 200 : 200 + shape[1]] / np.float32(255)
    with torch.inference_mode():
        whole = shipped("fsrcnn", scale)(torch.from_numpy(lr)[None, None])[0, 0].numpy()
    network = TorchNetwork(load_weights(shipped_weights("fsrcnn", scale)), torch.device("cpu"))
    for size in (5, 13):
        monkeypatch.setattr("fsrcnn.network.PART", size)
        np.testing.assert_allclose(network(lr), whole, rtol=1e-6, atol=1e-6)

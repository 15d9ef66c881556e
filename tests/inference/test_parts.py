"""The parts of a picture make up the whole."""

import numpy as np
import pytest
import skimage.data
import torch
from made import shipped

from inference.parts import reach, upscale_luma
from model import FSRCNN, VARIANTS


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reach_is_exact(variant: str, scale: int):
    """One LR pixel changed changes SR pixels as far away as `reach` says, to one side at least, and none further."""
    torch.manual_seed(0)
    network = FSRCNN(scale, **VARIANTS[variant]).double()
    assert reach(network) == reach(network.fuse()) == VARIANTS[variant]["m"] + (3 if scale == 4 else 4)
    centre = 12
    lr = torch.rand(1, 1, 2 * centre + 1, 2 * centre + 1, dtype=torch.float64, requires_grad=True)
    furthest = 0
    for phase in range(scale):
        lr.grad = None
        network(lr)[0, 0, scale * centre + phase, scale * centre + phase].backward()
        rows = lr.grad[0, 0].abs().amax(1).nonzero().flatten() - centre
        furthest = max(furthest, int(rows.abs().max()))
    assert furthest == reach(network)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 2), (17, 16), (31, 40)])
def test_luma_in_parts_is_luma_as_a_whole(monkeypatch: pytest.MonkeyPatch, scale: int, shape: tuple[int, int]):
    network = shipped("fsrcnn", scale)
    lr = skimage.data.camera()[: shape[0], 200 : 200 + shape[1]]
    whole = network(torch.tensor(lr / np.float32(255))[None, None])[0, 0].numpy()
    for size in (1, 13):
        monkeypatch.setattr("inference.parts._PART", size)
        np.testing.assert_allclose(upscale_luma(network, lr) / 255, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_grey_picture_has_no_border_where_its_pixels_are_repeated(scale: int):
    network = shipped("fsrcnn_s", scale)
    grey = np.full((6, 9), 100, np.uint8)
    phases = upscale_luma(network, grey, "replicate").reshape(6, scale, 9, scale)
    np.testing.assert_allclose(phases, np.broadcast_to(phases[2:3, :, 4:5], phases.shape), atol=1e-3)
    inner = upscale_luma(network, np.full((40, 40), 100, np.uint8))[20 * scale : 21 * scale, 20 * scale : 21 * scale]
    np.testing.assert_allclose(phases[2, :, 4], inner, atol=1e-3)

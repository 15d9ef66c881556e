"""The network by torch.hub, as another project gets it."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("variant", ["fsrcnn", "fsrcnn_s"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_hub_gives_the_shipped_network(variant: str, scale: int):
    network = torch.hub.load(str(ROOT), variant, source="local", upscale_factor=scale, pretrained=True)
    shipped = torch.load(ROOT / "results" / "pretrained" / f"{variant}_x{scale}.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, shipped[name]) for name, value in network.state_dict().items())
    assert network(torch.rand(1, 1, 5, 6)).shape == (1, 1, 5 * scale, 6 * scale)
    untrained = torch.hub.load(str(ROOT), variant, source="local", upscale_factor=scale, pretrained=False)
    assert untrained.model_args == network.model_args

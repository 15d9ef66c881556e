"""The network by torch.hub, as another project gets it."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_hub_gives_the_shipped_network(scale: int):
    network = torch.hub.load(str(ROOT), "fsrcnn", source="local", upscale_factor=scale, pretrained=True)
    shipped = torch.load(ROOT / "results" / "pretrained" / f"fsrcnn_x{scale}.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, shipped[name]) for name, value in network.state_dict().items())
    assert network(torch.rand(1, 1, 5, 6)).shape == (1, 1, 5 * scale, 6 * scale)
    assert (
        sum(p.numel() for p in torch.hub.load(str(ROOT), "fsrcnn_s", source="local", pretrained=False).parameters())
        == 4086
    )

"""The network through torch.hub, as another project gets it, whatever its own modules are called."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.weights import load_weights, shipped_weights

ROOT = Path(__file__).parent.parent
SCRIPT = f"""
import torch
import model, config, errors, files, dataset, inference
network = torch.hub.load({str(ROOT)!r}, "fsrcnn", source="local", upscale_factor=3)
assert model.OF_THE_CALLER and config.OF_THE_CALLER
print(tuple(network(torch.rand(1, 1, 5, 6)).shape), type(network).__name__)
"""


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_hub_gives_the_shipped_network(variant: str, scale: int):
    network = torch.hub.load(str(ROOT), variant, source="local", upscale_factor=scale, pretrained=True)
    shipped = load_weights(shipped_weights(variant, scale)).parameters
    assert all(torch.equal(value, torch.from_numpy(shipped[name])) for name, value in network.state_dict().items())
    assert network(torch.rand(1, 1, 5, 6)).shape == (1, 1, 5 * scale, 6 * scale)
    untrained = torch.hub.load(str(ROOT), variant, source="local", upscale_factor=scale, pretrained=False)
    assert untrained.sizes == network.sizes


def test_hub_from_a_project_with_modules_of_the_same_names(tmp_path: Path):
    for name in ("model", "config", "errors", "files", "dataset", "imgproc", "devices"):
        (tmp_path / f"{name}.py").write_text("OF_THE_CALLER = True\n", encoding="utf-8")
    for name in ("inference", "native", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "main.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "(1, 1, 15, 18) FSRCNN"), done.stderr

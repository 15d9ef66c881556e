"""The architecture for spandrel, registered and loaded as programs do."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from made import needed

from exports.shared import from_planes, photograph, planes, reference_of
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.weights import INTEGER_RANGES, SUFFIX, load_weights, shipped_weights


def descriptor(path: Path):
    """What spandrel makes of a file, with our architecture among all of its own."""
    from spandrel import MAIN_REGISTRY, ArchSupport, ModelLoader

    from exports.spandrel import FSRCNNArch

    registry = MAIN_REGISTRY.copy()
    registry.add(ArchSupport.from_architecture(FSRCNNArch()), ignore_duplicates=True)
    return ModelLoader(registry=registry).load_from_file(path)


@pytest.mark.parametrize("suffix", [SUFFIX, ".pth"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_scale_and_sizes_are_told_from_the_file_alone(tmp_path: Path, variant: str, scale: int, suffix: str):
    needed(importlib.util.find_spec("spandrel") is not None, "spandrel (`make extra`)")
    from safetensors.torch import load_file

    path = shipped_weights(variant, scale)
    weights, file = load_weights(path), tmp_path / f"network{suffix}"
    if suffix == SUFFIX:
        file.write_bytes(path.read_bytes())
    else:
        torch.save(load_file(path), file)
    loaded = descriptor(file)
    assert (loaded.architecture.id, loaded.scale, loaded.model.sizes) == ("FSRCNN", scale, weights.sizes)
    assert (loaded.input_channels, loaded.output_channels, loaded.purpose) == (3, 3, "SR")
    lr = photograph("rgb")[:21, :30]
    sr = from_planes(loaded(torch.from_numpy(planes(lr)[None]))[0].numpy())
    np.testing.assert_allclose(sr, reference_of(weights, "rgb", lr).clip(0, 1), rtol=0, atol=1e-5)
    assert set(loaded.model.state_dict()) == set(load_file(path)) - {INTEGER_RANGES}


def test_half_precision(tmp_path: Path):
    needed(importlib.util.find_spec("spandrel") is not None, "spandrel (`make extra`)")
    path = shipped_weights("fsrcnn_s", 2)
    loaded, lr = descriptor(path), photograph("rgb")[:21, :30]
    sr = from_planes(loaded.bfloat16()(torch.from_numpy(planes(lr)[None]).bfloat16())[0].float().numpy())
    assert np.abs(sr - reference_of(load_weights(path), "rgb", lr).clip(0, 1)).max() < 0.03

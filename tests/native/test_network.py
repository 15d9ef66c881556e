"""The compiled network is the paper's."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from made import other_targets, random_network

from model import VARIANTS
from native import network, packing
from native.target import host

SCALES = (2, 3, 4)


# Pictures smaller than what the network reaches, of several blocks of columns, and of several strips of rows.
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 13, 9), (1, 1, 3, 1000), (3, 1, 75, 20)])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_inference_forms_are_the_network(variant: str, scale: int, shape: tuple[int, ...], threads: int):
    model = random_network(scale, variant)
    fused = model.fuse()
    x = torch.rand(shape).transpose(2, 3).contiguous().transpose(2, 3)  # not in the order of memory
    with torch.no_grad():
        expected = model.double()(x.double())
        torch.testing.assert_close(fused(x).double(), expected, atol=3e-6, rtol=3e-6)
        sr = network.upscale(x.numpy(), fused.packed.numpy(), host(), **model.model_args)
        assert torch.equal(fused(x), torch.from_numpy(sr))
        torch.testing.assert_close(fused.double()(x.double()), expected, atol=1e-6, rtol=1e-6)


def test_inference_form_runs_in_several_threads_at_once():
    fused = random_network(3).fuse()
    pictures = [torch.rand(1, 1, 40, 30 + i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(fused, pictures))
    assert all(torch.equal(fused(picture), sr) for picture, sr in zip(pictures, together, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_code_for_other_targets_is_the_network(variant: str, scale: int):
    for target in other_targets():
        model, x = random_network(scale, variant), torch.rand(1, 1, 13, 45)
        packed = packing.pack(list(model.parameters()), scale, target)
        with torch.no_grad():
            expected = model.double()(x.double())
        sr = torch.from_numpy(network.upscale(x.numpy(), packed.numpy(), target, **model.model_args))
        torch.testing.assert_close(sr.double(), expected, atol=3e-6, rtol=3e-6)

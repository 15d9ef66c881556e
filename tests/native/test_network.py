"""The compiled network is the paper's."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from llvmlite import binding, ir
from made import other_targets, random_network

from model import VARIANTS
from native import gradient, network, packing
from native.target import host, named_target

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


@pytest.mark.parametrize("triple", ["x86_64-pc-windows-msvc", "x86_64-apple-darwin23", "arm64-apple-darwin23"])
def test_code_for_other_systems_calls_nothing_but_what_clears_memory(triple: str):
    """None of the C library's mathematics, and nothing that Windows wants for stack frames of a page and more."""
    target, sizes = named_target(triple), VARIANTS["fsrcnn"]
    memory = network.Work(sizes["d"], sizes["s"], sizes["m"], 3, target)
    shapes = tuple(parameter.shape for parameter in random_network(3).parameters())
    layout = gradient.Layout(shapes, 3, 26, 26, False, target)
    for emit in (
        partial(network.emit_network, name="run", memory=memory),
        partial(gradient.emit_function, layout=layout),
    ):
        emit(module := ir.Module())
        machine = target.machine(reloc="pic", codemodel="small")
        assembly = machine.emit_assembly(binding.parse_assembly(str(module)))
        assert set(re.findall(r"^\s+(?:callq|bl)\s+_*(\w+)", assembly, re.MULTILINE)) <= {"memset", "bzero"}
        assert "run:" in assembly

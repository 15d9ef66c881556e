"""Core ML, for macOS, iOS and iPadOS: a package that coremltools writes on any system, and only Apple's run."""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from exports.graph import CHANNELS, INPUT, OUTPUT, Convolution, EdgePad, Layer, PRelu, Shuffle, Sum, network_layers
from exports.request import ExportConfig
from exports.shared import Exported, Interface, Luma, compared, distance, file_name, from_planes, planes
from fsrcnn.weights import LICENCE, Weights

LARGEST = 4096  # height and width of an input
FILES = "Data/com.apple.CoreML"


def _coremltools() -> Any:
    """The package, without its remarks on what it lacks outside macOS."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools

    return coremltools


def coreml_package(weights: Weights, interface: Interface) -> dict[str, bytes]:
    """The files of a package by their paths in it: an ML program for macOS 13, iOS 16 and later.

    Input `lr`: float32, 1 x 1 or 3 x H x W in [0, 1], H and W up to LARGEST; output `sr`: scale times the size.
    """
    ct = _coremltools()
    from coremltools.converters.mil.mil import Builder, get_new_symbol

    channels, layers = CHANNELS[interface], network_layers(weights, interface)
    given = Builder.TensorSpec((1, channels, get_new_symbol(), get_new_symbol()))

    def program(lr: Any) -> Any:
        values = {INPUT: lr}
        for layer in layers:
            values[layer.output] = _operation(Builder, layer, [values[source] for source in layer.sources])
        return values[OUTPUT]

    side = ct.RangeDim(1, LARGEST, default=256)
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes(["common::prelu_to_lrelu"])  # equal slopes would make another operation of a PReLU
    with contextlib.redirect_stderr(io.StringIO()), TemporaryDirectory() as folder:  # progress bars
        model = ct.convert(
            Builder.program(input_specs=[given], opset_version=ct.target.iOS16)(program),
            inputs=[ct.TensorType(INPUT, (1, channels, side, side))],
            compute_precision=ct.precision.FLOAT32,
            pass_pipeline=passes,
            minimum_deployment_target=ct.target.iOS16,
        )
        model.short_description, model.license = f"FSRCNN x{weights.upscale_factor}, {interface}", LICENCE
        model.user_defined_metadata["sha256"] = weights.digest
        package = Path(folder) / "network.mlpackage"
        model.save(str(package))
        return {path.relative_to(package).as_posix(): path.read_bytes() for path in _files(package)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _operation(builder: Any, layer: Layer, sources: list[Any]) -> Any:
    x, name = sources[0], layer.output
    match layer:
        case Convolution(kernel=kernel, biases=biases, padding=padding):
            values = {"weight": kernel.astype(np.float32), "bias": biases.astype(np.float32)}
            return builder.conv(x=x, pad_type="custom", pad=[*padding, *padding], name=name, **values)
        case PRelu(slopes=slopes):
            return builder.prelu(x=x, alpha=slopes.astype(np.float32), name=name)
        case Shuffle(scale=scale):
            return builder.pixel_shuffle(x=x, upscale_factor=scale, name=name)
        case EdgePad(width=width):
            return builder.pad(x=x, pad=[width] * 4, mode="replicate", name=name)
        case Sum():
            return builder.add(x=x, y=sources[1], name=name)
    raise AssertionError(f"not in a Core ML file: {layer}")


def run_coreml(package: dict[str, bytes], lr: Luma) -> Luma:
    """Reads a package back and runs its operations in PyTorch, as Core ML runs under macOS alone: H x W or H x W x 3 to
    scale times the size.
    """
    ct = _coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    with TemporaryDirectory() as folder:
        for name, content in package.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        specification = ct.models.utils.load_spec(folder)
        program = load(specification, specification.specificationVersion, str(Path(folder) / FILES / "weights"))
    values = {INPUT: torch.from_numpy(planes(lr)[None])}
    for operation in program.functions["main"].operations:
        if operation.op_type != "const":
            values[operation.outputs[0].name] = _calculated(operation, values)
    return from_planes(values[OUTPUT][0].numpy())


def _calculated(operation: Any, values: dict[str, torch.Tensor]) -> torch.Tensor:
    x = values[operation.x.name]
    if operation.op_type == "conv":
        top, bottom, left, right = operation.pad.val
        constants = torch.from_numpy(operation.weight.val), torch.from_numpy(operation.bias.val)
        return F.conv2d(F.pad(x, (left, right, top, bottom)), *constants)
    if operation.op_type == "prelu":
        return F.prelu(x, torch.from_numpy(operation.alpha.val))
    if operation.op_type == "pixel_shuffle":
        return F.pixel_shuffle(x, int(operation.upscale_factor.val))
    if operation.op_type == "pad":
        assert operation.mode.val == "replicate"
        return F.pad(x, [int(width) for width in operation.pad.val], "replicate")
    assert operation.op_type == "add"
    return x + values[operation.y.name]


def export(path: Path, weights: Weights, config: ExportConfig) -> Iterator[Exported]:
    """The files of a package, which is a folder, compared with PyTorch."""
    interface = config.interface or "luma"
    assert interface != "pictures"  # which this format does not have
    package = coreml_package(weights, interface)
    comparison = compared(distance(weights, lambda lr: run_coreml(package, lr), interface))
    for name, content in package.items():
        folder = file_name(path, interface, ".mlpackage")
        yield Exported(f"{folder}/{name}", content, f"{comparison}, read back; not run in Core ML")

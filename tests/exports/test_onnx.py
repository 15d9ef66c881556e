"""The ONNX files in the programs that they are for, and those in the repository."""

import importlib.util
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made import needed, random_network

from exports.onnx import onnx_file, run_onnx
from inference.weights import load_weights, shipped_weights, weights_digest
from model import VARIANTS

EXPORTED = Path(__file__).parents[2] / "results" / "exported"
SHAPES = [(1, 1, 1, 1), (1, 1, 7, 11), (2, 1, 33, 20)]


def run_openvino(content: bytes, lr: np.ndarray) -> np.ndarray:
    import openvino

    core = openvino.Core()
    return core.compile_model(core.read_model(io.BytesIO(content)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(lr)[0]


def run_opencv(content: bytes, lr: np.ndarray) -> np.ndarray:
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    network.setInput(lr)
    return network.forward()


PROGRAMS = {"onnxruntime": run_onnx, "openvino": run_openvino, "cv2": run_opencv}


def packages_needed(*names: str) -> None:
    for name in names:
        needed(importlib.util.find_spec(name) is not None, f"{name} (`make extra`)")


@pytest.mark.parametrize("form", ["subpixel", "deconvolution"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_program_gives_the_networks_result(variant: str, scale: int, form: str):
    packages_needed("onnxscript", *PROGRAMS)
    model = random_network(scale, variant)
    content = onnx_file(model, form, {})
    for shape in SHAPES:
        lr = torch.rand(shape)
        with torch.no_grad():
            expected = model(lr).numpy()
        for run in PROGRAMS.values():
            np.testing.assert_allclose(run(content, lr.numpy()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_committed_file_has_the_shipped_weights(variant: str, scale: int):
    packages_needed("onnx", "onnxruntime")
    import onnx

    model = load_weights(shipped_weights(variant, scale)).eval()
    content = (EXPORTED / f"{variant}_x{scale}.onnx").read_bytes()
    said = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    assert said["sha256"] == weights_digest(model)
    assert (said["variant"], said["upscale_factor"], said["licence"]) == (variant, str(scale), "Apache-2.0")
    assert float(said["validation_psnr"]) > 27
    lr = torch.rand(1, 1, 19, 23)
    with torch.no_grad():
        expected = model(lr).numpy()
    np.testing.assert_allclose(run_onnx(content, lr.numpy()), expected, rtol=0, atol=1e-5)

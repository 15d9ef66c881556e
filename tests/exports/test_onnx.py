"""The ONNX files in the programs that they are for, and those in the repository."""

import importlib.util
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from made import needed, noise, random_network

from exports.onnx import onnx_file, pictures_file, run_onnx
from exports.shared import reference
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.network import network_of
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.weights import load_weights, shipped_weights

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


@pytest.mark.parametrize(("variant", "form"), [("fsrcnn", "subpixel"), ("fsrcnn_s", "deconvolution")])
@pytest.mark.parametrize("scale", SCALES)
def test_every_program_gives_the_networks_result(variant: str, scale: int, form: str):
    packages_needed("onnxscript", *PROGRAMS)
    model = random_network(scale, variant)
    content = onnx_file(model.weights(), form, {})
    for shape in SHAPES:
        lr = torch.rand(shape)
        with torch.no_grad():
            expected = model(lr).numpy()
        for run in PROGRAMS.values():
            np.testing.assert_allclose(run(content, lr.numpy()), expected, rtol=0, atol=1e-5)


def said_in(content: bytes) -> dict[str, str]:
    import onnx

    assert b".venv" not in content  # nothing of the machine that it was made on
    return {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_committed_file_has_the_shipped_weights(variant: str, scale: int):
    packages_needed("onnx", "onnxruntime")
    weights = load_weights(shipped_weights(variant, scale))
    content = (EXPORTED / f"{variant}_x{scale}.onnx").read_bytes()
    said = said_in(content)
    assert said["sha256"] == weights.digest
    assert (said["variant"], said["upscale_factor"], said["licence"]) == (variant, str(scale), "Apache-2.0")
    assert float(said["validation_psnr"]) > 27
    # A photograph: networks are not trained on noise and amplify it, and its rounding errors, up to thirty times.
    lr = skimage.data.camera()[100:119, 220:243] / np.float32(255)
    sr = run_onnx(content, lr[None, None])[0, 0]
    np.testing.assert_allclose(sr, reference(weights, lr), rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_committed_pictures_file_does_what_upscale_does(variant: str, scale: int):
    packages_needed("onnx", "onnxruntime")
    weights, astronaut = load_weights(shipped_weights(variant, scale)), skimage.data.astronaut()
    content = (EXPORTED / f"{variant}_x{scale}_pictures.onnx").read_bytes()
    assert said_in(content)["sha256"] == weights.digest
    flat = np.full((30, 31, 3), (200, 30, 90), np.uint8)
    pictures = (astronaut[:61, 150:217], noise(23, 40, 3), flat, flat[:1, :1], astronaut[100:103, 100:160])
    network = network_of(weights, "cpu")
    for lr in pictures:
        difference = np.abs(run_onnx(content, np.stack([lr, lr])).astype(int) - enlarge_array(lr, network))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
    assert (run_onnx(content, flat[None])[0] == flat[0, 0]).all()


def test_pictures_file_has_either_form():
    packages_needed("onnxscript", "onnxruntime")
    content = pictures_file(load_weights(shipped_weights("fsrcnn_s", 3)), "deconvolution", {})
    committed = (EXPORTED / "fsrcnn_s_x3_pictures.onnx").read_bytes()
    lr = noise(1, 20, 25, 3)
    difference = run_onnx(content, lr).astype(int) - run_onnx(committed, lr)
    assert np.abs(difference).max() <= 1
    assert content != committed

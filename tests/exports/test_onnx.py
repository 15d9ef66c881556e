"""The ONNX files in the programs that they are for, and those in the repository."""

import importlib.util
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from made import needed, noise, random_network, without_integers
from programs import EXPORTED, run_in_programs

from exports.formats import FORMATS
from exports.graph import CHANNELS, Form
from exports.onnx import onnx_file, pictures_file, run_onnx
from exports.shared import (
    FLOAT16_TOLERANCE,
    TOLERANCE,
    Interface,
    file_name,
    from_planes,
    photograph,
    planes,
    reference_of,
)
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.network import network_of
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import imresize

INTERFACES = tuple(CHANNELS)
SIZES = [(1, 1, 1), (1, 7, 11), (2, 33, 20)]


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


@pytest.mark.parametrize(
    ("variant", "form", "interface"),
    [
        ("fsrcnn", "subpixel", "luma"),
        ("fsrcnn_s", "deconvolution", "luma"),
        ("fsrcnn_s", "subpixel", "luma_full"),
        ("fsrcnn_s", "subpixel", "rgb"),
        ("fsrcnn_s", "deconvolution", "rgb"),
    ],
)
@pytest.mark.parametrize("scale", SCALES)
def test_every_program_gives_the_networks_result(variant: str, scale: int, form: Form, interface: Interface):
    packages_needed("onnx", *PROGRAMS)
    weights = random_network(scale, variant).weights()
    content = onnx_file(weights, interface, form, {})
    for batch, *size in SIZES:
        lr = np.random.default_rng(0).random((batch, CHANNELS[interface], *size), np.float32)
        expected = [planes(reference_of(weights, interface, from_planes(each))) for each in lr]
        for run in PROGRAMS.values():
            np.testing.assert_allclose(run(content, lr), expected, rtol=0, atol=2e-5)


def said_in(content: bytes) -> dict[str, str]:
    import onnx

    assert b".venv" not in content  # nothing of the machine that it was made on
    return {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_committed_file_has_the_shipped_weights(variant: str, scale: int, interface: Interface):
    packages_needed("onnx", "onnxruntime")
    weights = load_weights(shipped_weights(variant, scale))
    content = (EXPORTED / file_name(Path(f"{variant}_x{scale}"), interface, ".onnx")).read_bytes()
    said = said_in(content)
    assert (said["sha256"], said["interface"]) == (weights.digest, interface)
    assert (said["variant"], said["upscale_factor"], said["licence"]) == (variant, str(scale), "Apache-2.0")
    assert float(said["validation_psnr"]) > 27
    # A photograph: networks are not trained on noise and amplify it, and its rounding errors, up to thirty times.
    lr = photograph(interface)[:19, :23]
    sr = from_planes(run_onnx(content, planes(lr)[None])[0])
    np.testing.assert_allclose(sr, reference_of(weights, interface, lr), rtol=0, atol=1e-5)


OLD_RUNTIME = """
import sys, pathlib
import numpy as np, onnxruntime
assert onnxruntime.__version__ == "1.17.1"
folder = pathlib.Path(sys.argv[1])
pictures = np.load(folder / "pictures.npz")
made = {}
for path in map(pathlib.Path, sys.argv[2:]):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    made[path.name] = session.run(["sr"], {"lr": pictures[path.name]})[0]
np.savez(folder / "made.npz", **made)
"""


def test_the_runtime_of_chainner_reads_every_committed_file(tmp_path: Path):
    """And one with numbers of 16 bits."""
    packages_needed("onnx", "onnxruntime")
    halves = tmp_path / "fsrcnn_s_x2_rgb_float16.onnx"
    halves.write_bytes(onnx_file(load_weights(shipped_weights("fsrcnn_s", 2)), "rgb", "subpixel", {}, float16=True))
    files = [*EXPORTED.glob("*.onnx"), halves]
    assert len(files) == len(VARIANTS) * len(SCALES) * len(FORMATS["onnx"].interfaces) + 1
    planar = {kind: planes(photograph(kind)[:40, :50])[None] for kind in INTERFACES}
    pictures = {}
    for path in files:
        interface = next((kind for kind in (*FORMATS["onnx"].interfaces[1:],) if kind in path.stem), "luma")
        pictures[path.name] = noise(1, 30, 40, 3) if interface == "pictures" else planar[interface]
    np.savez(tmp_path / "pictures.npz", **pictures)
    run_in_programs("python", "-c", OLD_RUNTIME, tmp_path, *files)
    made = np.load(tmp_path / "made.npz")
    for path in files:
        expected = run_onnx(path.read_bytes(), pictures[path.name])
        most = 1 if "pictures" in path.stem else FLOAT16_TOLERANCE if path == halves else TOLERANCE
        assert np.abs(made[path.name].astype(float) - expected).max() <= most, path.name


@pytest.mark.parametrize("interface", INTERFACES)
def test_numbers_of_16_bits_cost_no_quality(interface: Interface):
    packages_needed("onnx", "onnxruntime")
    weights, hr = load_weights(shipped_weights("fsrcnn_s", 2)), photograph(interface)[:100, :86]
    lr = imresize(hr.astype(np.float64), 1 / 2).astype(np.float32)
    contents = [onnx_file(weights, interface, "subpixel", {}, float16) for float16 in (False, True)]
    results = [from_planes(run_onnx(content, planes(lr)[None])[0]) for content in contents]
    scores = [-10 * np.log10(np.mean((sr - hr) ** 2)) for sr in results]
    assert 0 < np.abs(results[0] - results[1]).max() < FLOAT16_TOLERANCE
    assert abs(scores[0] - scores[1]) < 0.005
    assert len(contents[1]) < 0.6 * len(contents[0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_committed_pictures_file_does_what_upscale_does(variant: str, scale: int):
    packages_needed("onnx", "onnxruntime")
    weights, astronaut = load_weights(shipped_weights(variant, scale)), skimage.data.astronaut()
    content = (EXPORTED / f"{variant}_x{scale}_pictures.onnx").read_bytes()
    assert said_in(content)["sha256"] == weights.digest
    flat = np.full((30, 31, 3), (200, 30, 90), np.uint8)
    noisy = noise(23, 40, 3)
    pictures = (astronaut[:61, 150:217], noisy, flat, flat[:1, :1], astronaut[100:103, 100:160])
    in_floats, as_upscale = (network_of(each, "cpu") for each in (without_integers(weights), weights))
    for lr in pictures:
        result = run_onnx(content, np.stack([lr, lr])).astype(int)
        difference = np.abs(result - enlarge_array(lr, in_floats))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01
        if lr is not noisy:  # of which the network's results leave the range of the integer form
            assert np.abs(result - enlarge_array(lr, as_upscale)).max() <= 2
    assert (run_onnx(content, flat[None])[0] == flat[0, 0]).all()


def test_pictures_file_has_either_form():
    packages_needed("onnxscript", "onnxruntime")
    content = pictures_file(load_weights(shipped_weights("fsrcnn_s", 3)), "deconvolution", {})
    committed = (EXPORTED / "fsrcnn_s_x3_pictures.onnx").read_bytes()
    lr = noise(1, 20, 25, 3)
    difference = run_onnx(content, lr).astype(int) - run_onnx(committed, lr)
    assert np.abs(difference).max() <= 1
    assert content != committed

"""export.py as a user meets it: a missing program or package is one line, and a further scale is one line of code."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from made import needed, random_network

from config import checked
from exports.c import run_c
from exports.formats import FORMATS
from exports.onnx import run_onnx
from exports.request import ExportConfig, chosen_weights
from exports.shared import TOLERANCE, compared, reference
from fsrcnn.errors import FailureError, RequestError
from fsrcnn.geometry import SCALES
from fsrcnn.native.target import named_target
from fsrcnn.restore import restoring_path
from fsrcnn.weights import load_weights, save_weights, shipped_weights

ROOT = Path(__file__).parents[2]
# Runs export.py in a Python that does not find the packages in the first argument.
WITHOUT = """
import runpy, sys
from importlib.machinery import PathFinder
hidden, find = sys.argv.pop(1).split(), PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name in hidden else find(name, *where)
runpy.run_path("export.py", run_name="__main__")
"""


def run_without(packages: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, packages, *(str(argument) for argument in arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("format_", ["opencv", "mpv"])
def test_formats_without_machine_code_need_no_llvmlite(format_: str, tmp_path: Path):
    choice = ("--variant", "fsrcnn_s", "--upscale-factor", "2", "--output", tmp_path)
    done = run_without("llvmlite", "--format", format_, *choice)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("format_", "missing", "message"),
    [
        ("c", "llvmlite", "format: c needs pip install llvmlite"),
        ("wasm", "llvmlite platformdirs", "format: wasm needs pip install llvmlite platformdirs"),
        ("ncnn", "ncnn", "format: ncnn needs pip install ncnn"),
        ("litert", "ai_edge_litert", "format: litert needs pip install ai-edge-litert"),
        ("coreml", "coremltools", "format: coreml needs pip install coremltools"),
        ("opencv", "tensorboard", "format: opencv needs pip install tensorboard"),
        ("onnx", "onnx onnxruntime onnxscript", "format: onnx needs pip install onnx onnxscript onnxruntime"),
        ("mpv", "torch skimage cv2", "format: mpv needs pip install torch scikit-image opencv-python"),
    ],
)
def test_what_is_missing_is_named_in_one_line(format_: str, missing: str, message: str):
    done = run_without(missing, "--format", format_)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_wasm_needs_a_linker(tmp_path: Path):
    done = run_without("", "--format", "wasm", "--output", tmp_path / "made", PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: format: wasm needs wasm-ld, which is in LLVM's linker (Debian's package lld)\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "jpeg"}, f"format: got 'jpeg', expected {', '.join([*FORMATS][:-1])} or {[*FORMATS][-1]}"),
        ({"variant": "srcnn"}, "variant: got 'srcnn', expected fsrcnn or fsrcnn_s"),
        ({"upscale_factor": (5,)}, "upscale_factor: got 5, expected 2, 3 or 4"),
        ({"target": ()}, "target: got (), expected one target or several"),
        ({"restore": 1.5}, "restore: got 1.5, expected a number from 0 to 1"),
        ({"restore": float("nan")}, "restore: got nan, expected a number from 0 to 1"),
        ({"interface": "rgba"}, "interface: got 'rgba', expected 'luma', 'luma_full', 'rgb' or 'pictures'"),
        ({"format": "mpv", "interface": "rgb"}, "interface: got 'rgb', mpv has no choice of interface"),
        (
            {"format": "litert", "interface": "pictures"},
            "interface: got 'pictures', litert has luma or luma_full or rgb",
        ),
        ({"format": "ncnn", "form": "deconvolution"}, "form: only for onnx, ncnn has one form"),
        ({"target": ("aarch64",)}, "target: only for c, onnx is the same for every processor"),
        ({"format": "ncnn", "float16": True}, "float16: only for onnx, and not with interface pictures"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, object], message: str):
    with pytest.raises(RequestError) as raised:
        checked(ExportConfig, **settings)
    assert str(raised.value) == message


def test_restored_weights_are_blended_and_named(tmp_path: Path):
    settings = {"restore": 0.6, "upscale_factor": 2, "variant": "fsrcnn_s"}
    ((path, blended),) = chosen_weights(checked(ExportConfig, **settings)).items()
    assert path.name == "fsrcnn_s_x2_restore60.safetensors"
    plain = shipped_weights("fsrcnn_s", 2)
    ours, restoring = (load_weights(each).parameters for each in (plain, restoring_path(plain)))
    for name, value in blended.parameters.items():
        np.testing.assert_allclose(value, 0.4 * ours[name] + 0.6 * restoring[name], atol=1e-6)
    assert [each.stem for each in chosen_weights(checked(ExportConfig, **settings | {"restore": 0.005}))] == [
        "fsrcnn_s_x2_restore0.5"
    ]
    alone = tmp_path / "run" / "best.safetensors"
    save_weights(load_weights(plain), alone)
    with pytest.raises(RequestError, match=r"restore: got 0\.6, and there is no .*best_restore\.safetensors"):
        chosen_weights(checked(ExportConfig, **settings, weights=alone))
    save_weights(load_weights(restoring_path(plain)), restoring_path(alone))
    assert [each.name for each in chosen_weights(checked(ExportConfig, **settings, weights=alone))] == [
        "run_restore60.safetensors"
    ]


def test_file_that_differs_is_refused():
    assert compared(TOLERANCE) == "1.0e-05 from PyTorch"
    assert compared(None, "Node") == "not compared with PyTorch: Node is missing"
    for error in (1.1 * TOLERANCE, float("nan")):
        with pytest.raises(FailureError, match="it is not written"):
            compared(error)


class Case(NamedTuple):
    """A weights file beside an export.py that knows its scale, and a plane before and after the paper's network."""

    weights: Path
    lr: np.ndarray
    sr: np.ndarray


@pytest.fixture(scope="session")
def with_x8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code in which the line with the scales has one more."""
    copy = tmp_path_factory.mktemp("x8")
    for pattern in ("*.py", "fsrcnn/**/*.py", "exports/*"):
        for source in ROOT.glob(pattern):
            target = copy / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_file():
                shutil.copyfile(source, target)
    (copy / "results" / "pretrained").mkdir(parents=True)
    geometry = copy / "fsrcnn" / "geometry.py"
    before, line = geometry.read_text(encoding="utf-8"), f"SCALES = {SCALES}\n"
    assert before.count(line) == 1
    geometry.write_text(before.replace(line, f"SCALES = {(*SCALES, 8)}\n"), encoding="utf-8")
    return copy


@pytest.fixture(scope="session", params=["fsrcnn_s"])
def x8(request: pytest.FixtureRequest, with_x8: Path) -> Case:
    """Random weights for x8."""
    weights = random_network(8, request.param).weights()
    path, lr = with_x8 / f"{request.param}_x8.safetensors", torch.rand(19, 23).numpy()
    save_weights(weights, path)
    return Case(path, lr, reference(weights, lr))


def exported(weights: Path, format_: str) -> dict[str, bytes]:
    """The files that the export.py beside a weights file for x8 makes of it, by name."""
    output = weights.with_name(f"{weights.stem}_{format_}")
    command = [sys.executable, "export.py", "--format", format_, "--weights", weights, "--output", output]
    command += ["--upscale-factor", "8"]
    done = subprocess.run(command, cwd=weights.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {file.name: file.read_bytes() for file in output.iterdir()}


def test_further_scale_is_one_line_for_onnx(x8: Case):
    needed(
        all(map(importlib.util.find_spec, FORMATS["onnx"].packages)), "onnx, onnxscript or onnxruntime (`make extra`)"
    )
    (content,) = exported(x8.weights, "onnx").values()
    np.testing.assert_allclose(run_onnx(content, x8.lr[None, None])[0, 0], x8.sr, rtol=0, atol=1e-5)


def test_further_scale_is_one_line_for_c(x8: Case):
    needed(bool(shutil.which("cc")), "a C compiler")
    files = exported(x8.weights, "c")
    sr = run_c(x8.weights.stem, files, named_target("native"), x8.lr)
    np.testing.assert_allclose(sr, x8.sr, rtol=0, atol=1e-5)

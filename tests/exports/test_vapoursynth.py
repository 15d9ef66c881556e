"""The scripts for VapourSynth, run by vspipe: the luma of a film, and a film in R, G, B, each by three runtimes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
from made import needed
from numpy.typing import NDArray
from programs import BIN, EXPORTED, ROOT, run_in_programs, vulkan_needed

from exports.shared import Interface, reference_of
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import psnr, to_uint8

# ITU-R BT.709: luma of R, G, B, and how far B and R are from it at most.
KR, KB = 0.2126, 0.0722
TO_Y = np.array([KR, 1 - KR - KB, KB])
RANGES = {"untagged": 0, "limited": 1, "full": 2}  # FFmpeg's numbers
EXACT = 'num_streams=2, config=lambda: {"INFERENCE_PRECISION_HINT": "f32"})'  # OpenVINO's own choice may be 16 bits


def film_of(path: Path, planes: NDArray[np.uint8], levels: str, pixel_format: str = "yuv444p") -> None:
    """Writes a frame, 3 x H x W Y, Cb, Cr, as a film without loss; levels: its range, or untagged."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.height, stream.width = planes.shape[1:]
        stream.pix_fmt = pixel_format
        frame = av.VideoFrame.from_ndarray(planes if pixel_format == "yuv444p" else planes[0], pixel_format)
        stream.codec_context.color_range = frame.color_range = RANGES[levels]
        output.mux(stream.encode(frame))
        output.mux(stream.encode())


def piped(
    folder: Path,
    script: Path,
    runtime: str,
    network: Path,
    planes: NDArray[np.uint8],
    levels: str = "limited",
    pixel_format: str = "yuv444p",
):
    """What vspipe makes of the frame by a script, in which another runtime may take the place of ONNX Runtime."""
    if runtime == "ncnn":
        vulkan_needed()
    film_of(folder / "film.mkv", planes, levels, pixel_format)
    text = script.read_text(encoding="utf-8")
    assert text.count("core.ort.Model") == text.count("num_streams=2)") == 1
    text = text.replace("core.ort", f"core.{runtime}").replace(
        "num_streams=2)", EXACT if runtime == "ov" else "num_streams=2)"
    )
    (folder / "script.vpy").write_text(text, encoding="utf-8")
    run_in_programs("vapoursynth", "config", XDG_CONFIG_HOME=folder)
    given = [f"film={folder / 'film.mkv'}", f"network={network}"]
    arguments = ["-c", "y4m", "-a", given[0], "-a", given[1], folder / "script.vpy", "-"]
    content = run_in_programs("vspipe", *arguments, XDG_CONFIG_HOME=folder, HOME=folder)
    samples = content.split(b"FRAME\n", 1)[1]
    large = np.frombuffer(samples, np.uint8)
    return large.reshape(-1, 2 * planes.shape[1], 2 * planes.shape[2]).astype(int)


@pytest.fixture
def planes() -> NDArray[np.uint8]:
    y, chroma = skimage.data.camera()[100:160, 150:230], skimage.data.astronaut()[:60, :80, :2]
    return np.stack([np.clip(y, 16, 235), *np.clip(chroma, 90, 160).transpose(2, 0, 1)])


def enlarged(interface: Interface, lr: NDArray[np.floating], variant: str = "fsrcnn_s") -> NDArray[np.float32]:
    return reference_of(load_weights(shipped_weights(variant, 2)), interface, lr.astype(np.float32))


@pytest.mark.parametrize(
    ("runtime", "levels"),
    [("ort", "untagged"), ("ort", "limited"), ("ort", "full"), ("ov", "limited"), ("ncnn", "limited")],
)
def test_luma(tmp_path: Path, planes: NDArray[np.uint8], runtime: str, levels: str):
    """Of films of every range; y4m, which does not say the range, is taken for limited."""
    network = EXPORTED / "fsrcnn_s_x2_luma_full.onnx"
    large = piped(tmp_path, ROOT / "exports" / "luma.vpy", runtime, network, planes, levels)
    black, span = (0, 255) if levels == "full" else (16, 219)
    expected = to_uint8(enlarged("luma_full", (planes[0].astype(float) - black) / span) * 219 + 16)
    assert np.abs(large[0] - expected).max() <= 1
    assert np.abs(large[1:].mean((1, 2)) - planes[1:].mean((1, 2))).max() < 1


def test_luma_of_a_grey_film(tmp_path: Path, planes: NDArray[np.uint8]):
    network = EXPORTED / "fsrcnn_s_x2_luma_full.onnx"
    (large,) = piped(tmp_path, ROOT / "exports" / "luma.vpy", "ort", network, planes, "full", "gray")
    assert np.abs(large - to_uint8(enlarged("luma_full", planes[0] / 255) * 255)).max() <= 1


@pytest.mark.parametrize("runtime", ["ort", "ov", "ncnn"])
def test_rgb(tmp_path: Path, planes: NDArray[np.uint8], runtime: str):
    network = EXPORTED / "fsrcnn_s_x2_rgb.onnx"
    large = piped(tmp_path, ROOT / "exports" / "rgb.vpy", runtime, network, planes)
    y, b_y, r_y = (planes - np.array([16.0, 128, 128])[:, None, None]) / np.array([219, 112, 112])[:, None, None]
    blue, red = y + (1 - KB) * b_y, y + (1 - KR) * r_y
    green = (y - KR * red - KB * blue) / (1 - KR - KB)
    sr = enlarged("rgb", np.dstack([red, green, blue]))
    y = sr @ TO_Y
    differences = (sr[..., 2] - y) / (1 - KB), (sr[..., 0] - y) / (1 - KR)
    expected = np.stack([y * 219 + 16, *(each * 112 + 128 for each in differences)])
    assert np.abs(large - to_uint8(expected)).max() <= 1


def test_the_documents_command_encodes_a_film(tmp_path: Path, planes: NDArray[np.uint8]):
    needed(bool(shutil.which("ffmpeg")), "ffmpeg")
    page = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^vspipe .*$", page, re.M)
    film_of(tmp_path / "film.mkv", planes, "untagged")
    for name in ("exports", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    run_in_programs("vapoursynth", "config", XDG_CONFIG_HOME=tmp_path)
    paths = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | paths, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    with av.open(str(tmp_path / "large.mkv")) as large:
        (frame,) = large.decode(video=0)
    expected = to_uint8(enlarged("luma_full", (planes[0] - 16.0) / 219, "fsrcnn") * 219 + 16)
    assert psnr(frame.to_ndarray()[0], expected) > 35

"""Turns weights into files that other programs load: `python export.py --format onnx`."""

import importlib.util
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray

from config import ExportConfig, read_command_line
from errors import FailureError, RequestError, run_script
from files import read_image, write_image, written_whole
from imgproc import psnr, to_uint8
from inference.pictures import upscale_picture
from inference.runner import runner_of
from inference.weights import load_weights, shipped_weights, weights_digest, weights_name
from model import FSRCNN, VARIANTS

TOLERANCE = 1e-5  # between PyTorch's result and that of the program that a file is for, of luma in [0, 1]

LEAST_PSNR = 45.0  # of a shader, whose textures are of half precision, in dB

Luma = NDArray[np.float32]
Picture = NDArray[np.uint8]
Runner = Callable[[Luma], Luma | None]  # H x W to scale*H x scale*W; None where what is run is not there
Exported = tuple[str, bytes, str]  # a file's name, its content, and how far it is from PyTorch


def networks(config: ExportConfig) -> dict[Path, FSRCNN]:
    """The networks to export by their weights files. Raises RequestError for weights of another scale."""
    one_scale = config.upscale_factor[0] if len(config.upscale_factor) == 1 else None
    shipped = [shipped_weights(config.variant, scale) for scale in config.upscale_factor]
    found = {path: load_weights(path, one_scale) for path in ([config.weights] if config.weights else shipped)}
    for path, model in found.items():
        if model.upscale_factor not in config.upscale_factor:
            raise RequestError(f"weights: {path} is for x{model.upscale_factor}; leave --upscale-factor out")
    return found


def metadata(path: Path, model: FSRCNN, form: str) -> dict[str, str]:
    """What an exported file says of itself."""
    args = {name: value for name, value in model.model_args.items() if name != "upscale_factor"}
    said = {
        "upscale_factor": str(model.upscale_factor),
        "variant": next((name for name, each in VARIANTS.items() if each == args), str(args)),
        "form": form,
        "input": "luma in [0, 1]: Y / 255 with Y in 16..235, as MATLAB's rgb2ycbcr has it",
        "licence": "Apache-2.0",
        "sha256": weights_digest(model),
    }
    beside = path.with_suffix(".json")
    if beside.is_file():
        score = json.loads(beside.read_text(encoding="utf-8"))["validation"]
        said["validation_psnr"] = f"{score['psnr']:.3f}"
    return said


def distance(model: FSRCNN, run: Runner, gain: float = 1.0, offset: float = 0.0) -> float | None:
    """The largest difference from PyTorch on a photograph of odd size; the network sees gain * luma + offset. None
    where what is run is not there.
    """
    luma = torch.from_numpy(skimage.data.camera()[200:301, 150:237]).float() / 255
    with torch.inference_mode():
        expected = (model.eval()((luma * gain + offset)[None, None])[0, 0] - offset) / gain
    result = run(luma.numpy())
    return None if result is None else float(np.abs(result - expected.numpy()).max())


def compared(error: float | None, needed: str = "") -> str:
    """Says how far a file is, or what would be needed to tell. Raises FailureError where that is too far."""
    if error is None:
        return f"not compared with PyTorch: {needed} is not here"
    if not error <= TOLERANCE:
        raise FailureError(f"the file would be {error:.1e} from PyTorch, more than {TOLERANCE}; it is not written")
    return f"{error:.1e} from PyTorch"


def export_onnx(path: Path, model: FSRCNN, config: ExportConfig) -> Iterator[Exported]:
    """Compared as ONNX Runtime runs it: luma with PyTorch, pictures with upscale.py."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401

        from exports.onnx import onnx_file, pictures_file, run_onnx
    except ModuleNotFoundError as error:
        raise RequestError(f"format: onnx needs pip install -r requirements-extra.txt ({error})") from error
    said = metadata(path, model, config.form)
    if config.pictures:
        content = pictures_file(model, config.form, said | {"input": "R, G, B in 0..255, uint8, N x H x W x 3"})
        comparison = compared_with_upscale(model, lambda lr: run_onnx(content, lr[None])[0])
        yield f"{weights_name(path)}_pictures.onnx", content, comparison
    else:
        content = onnx_file(model, config.form, said)
        error = distance(model, lambda lr: run_onnx(content, lr[None, None])[0, 0])
        yield f"{weights_name(path)}.onnx", content, compared(error)


def compared_with_upscale(model: FSRCNN, run: Callable[[Picture], Picture]) -> str:
    """Says how far a colour photograph is from upscale.py's result. Raises FailureError beyond one level."""
    lr = skimage.data.astronaut()[:101, 150:237]
    with TemporaryDirectory() as folder:
        small, large = Path(folder) / "lr.png", Path(folder) / "sr.png"
        write_image(small, lr)
        upscale_picture(small, large, runner_of(model.fuse()))
        difference = np.abs(run(lr).astype(int) - read_image(large))
    if difference.max() > 1:
        raise FailureError(f"the file would be {difference.max()} levels from upscale.py's result; it is not written")
    return f"at most one level from upscale.py's result, and that in {(difference > 0).mean():.1%}"


def export_opencv(path: Path, model: FSRCNN, _: ExportConfig) -> Iterator[Exported]:
    """Compared with PyTorch as OpenCV's dnn module runs it."""
    from exports.opencv import GAIN, OFFSET, opencv_file, run_opencv

    content = opencv_file(model)
    comparison = compared(distance(model, lambda lr: run_opencv(content, lr[None, None])[0, 0], GAIN, OFFSET))
    yield f"{weights_name(path)}.pb", content, comparison


def export_mpv(path: Path, model: FSRCNN, _: ExportConfig) -> Iterator[Exported]:
    """Compared with PyTorch as FFmpeg draws it, inside the border."""
    from exports.mpv import mpv_file, run_mpv

    content = mpv_file(model, weights_name(path)).encode()
    scale, luma = model.upscale_factor, np.clip(skimage.data.camera()[200:264, 150:214], 16, 235)
    inside = (slice(10 * scale, -10 * scale),) * 2
    with torch.inference_mode():
        expected = model.eval()(torch.from_numpy(luma).float()[None, None] / 255)[0, 0].numpy() * 255
    with TemporaryDirectory() as folder:
        shader = Path(folder) / "shader.glsl"
        shader.write_bytes(content)
        try:
            error = psnr(run_mpv(shader, luma, scale)[inside], to_uint8(expected)[inside])
            comparison = f"{error:.1f} dB from PyTorch, drawn in 8 bits"
        except (OSError, subprocess.CalledProcessError):
            error, comparison = LEAST_PSNR, compared(None, "FFmpeg with libplacebo and a Vulkan device")
    if error < LEAST_PSNR:
        raise FailureError(f"{path}: what is drawn is {error:.1f} dB from PyTorch; nothing is written")
    yield f"{weights_name(path)}.glsl", content, comparison


def export_c(path: Path, model: FSRCNN, config: ExportConfig) -> Iterator[Exported]:
    """A header and an object file for each target; compared with PyTorch as the example runs them."""
    compiler_needed("c")
    from exports.c import c_file, grouped, header_file, run_c

    try:
        groups = grouped(config.target)
    except ValueError as error:
        raise RequestError(f"target: {error}") from error
    name = weights_name(path)
    header = {f"{name}.h": header_file(name, model, weights_digest(model))}
    for label, targets in groups.items():
        file = f"{name}-{label}.o"
        content = c_file(name, model, targets)

        def run(lr: Luma, files: dict[str, bytes] = header | {file: content}, target: Any = targets[0]) -> Luma | None:
            return run_c(name, files, target, lr)

        yield file, content, compared(distance(model, run), "a C compiler or an emulator for it")
    yield *header.popitem(), "the functions of these object files"


def export_wasm(path: Path, model: FSRCNN, _: ExportConfig) -> Iterator[Exported]:
    """Two modules, of which web/fsrcnn.js takes the faster one that the engine can run; compared as Node runs them."""
    compiler_needed("wasm")
    from exports.wasm import run_wasm, wasm_files

    try:
        files = wasm_files(model)
    except FileNotFoundError as error:
        raise RequestError("format: wasm needs wasm-ld, which is in LLVM's linker (Debian's package lld)") from error
    for suffix, content in files.items():
        error = distance(model, lambda lr, content=content: run_wasm(content, lr))
        yield f"{weights_name(path)}{suffix}", content, compared(error, "Node")


def compiler_needed(name: str) -> None:
    if importlib.util.find_spec("llvmlite") is None:
        raise RequestError(f"format: {name} needs pip install llvmlite")


FORMATS = {"onnx": export_onnx, "opencv": export_opencv, "mpv": export_mpv, "c": export_c, "wasm": export_wasm}


def main() -> None:
    config = read_command_line(ExportConfig(), __doc__)
    if config.output.exists() and not config.output.is_dir():
        raise RequestError(f"output: {config.output} is a file, expected a folder")
    for path, model in networks(config).items():
        for name, content, comparison in FORMATS[config.format](path, model, config):
            with written_whole(config.output / name) as unfinished:
                unfinished.write_bytes(content)
            print(f"{config.output / name}: {len(content):,} bytes, {comparison}")


if __name__ == "__main__":
    run_script(main)

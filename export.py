"""Turns weights into files that other programs load: `python export.py --format onnx`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import skimage.data
import torch
from numpy.typing import NDArray

from config import ExportConfig, read_command_line
from errors import FailureError, RequestError, run_script
from files import written_whole
from imgproc import psnr, to_uint8
from inference.weights import load_weights, shipped_weights, weights_digest, weights_name
from model import FSRCNN, VARIANTS

TOLERANCE = 1e-5  # between PyTorch's result and that of the program that a file is for, of luma in [0, 1]

LEAST_PSNR = 45.0  # of a shader, whose textures are of half precision, in dB

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # 1 x 1 x H x W to 1 x 1 x scale*H x scale*W


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


def distance(model: FSRCNN, run: Runner, gain: float = 1.0, offset: float = 0.0) -> float:
    """The largest difference from PyTorch on a photograph of odd size; the network sees gain * luma + offset."""
    luma = torch.from_numpy(skimage.data.camera()[200:301, 150:237]).float()[None, None] / 255
    with torch.inference_mode():
        expected = (model.eval()(luma * gain + offset) - offset) / gain
    return float(np.abs(run(luma.numpy()) - expected.numpy()).max())


def compared(error: float) -> str:
    """Says how far a file is. Raises FailureError where that is too far."""
    if not error <= TOLERANCE:
        raise FailureError(f"the file would be {error:.1e} from PyTorch, more than {TOLERANCE}; it is not written")
    return f"{error:.1e} from PyTorch"


def export_onnx(path: Path, model: FSRCNN, config: ExportConfig) -> tuple[bytes, str]:
    """The file's content, and how far ONNX Runtime's result is from PyTorch's."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401

        from exports.onnx import onnx_file, run_onnx
    except ModuleNotFoundError as error:
        raise RequestError(f"format: onnx needs pip install -r requirements-extra.txt ({error})") from error
    content = onnx_file(model, config.form, metadata(path, model, config.form))
    return content, compared(distance(model, lambda lr: run_onnx(content, lr)))


def export_opencv(_: Path, model: FSRCNN, __: ExportConfig) -> tuple[bytes, str]:
    """The file's content, and how far the result of OpenCV's dnn module is from PyTorch's."""
    from exports.opencv import GAIN, OFFSET, opencv_file, run_opencv

    content = opencv_file(model)
    return content, compared(distance(model, lambda lr: run_opencv(content, lr), GAIN, OFFSET))


def export_mpv(path: Path, model: FSRCNN, _: ExportConfig) -> tuple[bytes, str]:
    """The file's content, and how far what FFmpeg draws with it is from PyTorch's result, inside the border."""
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
            drawn = run_mpv(shader, luma, scale)
        except (OSError, subprocess.CalledProcessError):
            return content, "not compared with PyTorch: no FFmpeg with libplacebo and a Vulkan device here"
    error = psnr(drawn[inside], to_uint8(expected)[inside])
    if error < LEAST_PSNR:
        raise FailureError(f"{path}: what is drawn is {error:.1f} dB from PyTorch; nothing is written")
    return content, f"{error:.1f} dB from PyTorch, drawn in 8 bits"


FORMATS = {"onnx": (".onnx", export_onnx), "opencv": (".pb", export_opencv), "mpv": (".glsl", export_mpv)}


def main() -> None:
    config = read_command_line(ExportConfig(), __doc__)
    if config.output.exists() and not config.output.is_dir():
        raise RequestError(f"output: {config.output} is a file, expected a folder")
    suffix, export = FORMATS[config.format]
    for path, model in networks(config).items():
        target = config.output / f"{weights_name(path)}{suffix}"
        content, comparison = export(path, model, config)
        with written_whole(target) as unfinished:
            unfinished.write_bytes(content)
        print(f"{target}: {len(content):,} bytes, {comparison}")


if __name__ == "__main__":
    run_script(main)

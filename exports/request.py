"""What export.py is asked for: which weights, in which format, and where to."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic.dataclasses import dataclass

from config import SETTINGS, SEVERAL, FilePath, Scales, Variant, checked, one_of, read_flags, that
from exports.formats import FORMATS
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES
from fsrcnn.restore import blended, restoring_path, restoring_weights
from fsrcnn.weights import Weights, load_weights, shipped_weights, weights_name


@dataclass(frozen=True, config=SETTINGS)
class ExportConfig:
    """The settings of an export."""

    format: Annotated[str, one_of(*FORMATS)] = "onnx"
    """onnx: for ONNX Runtime, chaiNNer, VapourSynth, OpenVINO, cv2.dnn; ncnn: for Upscayl, realesrgan-ncnn-vulkan;
    litert: for phones (TensorFlow Lite); coreml: for Apple's systems; opencv: for cv2.dnn_superres of opencv-contrib;
    mpv: a GLSL shader; c: object files and a header; wasm: modules for browsers and Node; hub: a folder for the
    Hugging Face Hub."""
    variant: Variant = "fsrcnn"
    """The shipped network: fsrcnn, or the smaller and faster fsrcnn_s."""
    upscale_factor: Scales = SCALES
    """Scales: a file for each."""
    weights: FilePath | None = None
    """Weights file to export in place of the shipped ones."""
    restore: Annotated[float, that(lambda value: 0 <= value <= 1, "a number from 0 to 1")] = 0.0
    """For compressed pictures: how far the weights are blended with the restoring ones, which lie beside them."""
    output: FilePath = Path("results/exported")
    """Folder for the files, named as the weights are."""
    form: Literal["subpixel", "deconvolution"] = "subpixel"
    """ONNX: the last layer as a convolution and a pixel shuffle, or as the paper's deconvolution; equal results."""
    interface: Literal["luma", "luma_full", "rgb", "pictures"] | None = None
    """ONNX, LiteRT, Core ML: what a file takes and gives. luma: Y / 255 with Y in 16..235, where none is given;
    luma_full: luma of full range in [0, 1]; rgb: R, G, B in [0, 1]; pictures: ONNX alone, uint8 N x H x W x 3 in
    R, G, B order."""
    float16: bool = False
    """ONNX: numbers of 16 bits: files half as large, results off by a fraction of a level of 255."""
    target: Annotated[tuple[str, ...], SEVERAL, that(bool, "one target or several")] = ("native",)
    """C: native, x86-64-v3, x86-64-v4, either with -vnni (dot products of integers), aarch64, wasm32, or an LLVM triple
    of one of these architectures. An object file for each, except that several levels of x86-64 share one, which runs
    the best that the processor has."""

    def __post_init__(self) -> None:
        """Raises RequestError where the format does not have what is asked for."""
        format_ = FORMATS[self.format]
        if self.interface and self.interface not in format_.interfaces:
            choice = " or ".join(format_.interfaces) or "no choice of interface"
            raise RequestError(f"interface: got {self.interface!r}, {self.format} has {choice}")
        if self.float16 and (not format_.float16 or self.interface == "pictures"):
            raise RequestError("float16: only for onnx, and not with interface pictures")
        if self.form != "subpixel" and self.format != "onnx":
            raise RequestError(f"form: only for onnx, {self.format} has one form")
        if self.target != ("native",) and self.format != "c":
            raise RequestError(f"target: only for c, {self.format} is the same for every processor")


def read_export_config(description: str) -> ExportConfig:
    """What the command line asks for. Raises RequestError for what it does not take."""
    return checked(ExportConfig, **read_flags(ExportConfig(), description))


def chosen_weights(config: ExportConfig) -> dict[Path, Weights]:
    """The weights to export by their files. Raises RequestError for a file that cannot be read or is of another scale
    than those asked for.
    """
    only_scale = config.upscale_factor[0] if len(config.upscale_factor) == 1 else None
    shipped = [shipped_weights(config.variant, scale) for scale in config.upscale_factor]
    chosen = {path: load_weights(path, only_scale) for path in ([config.weights] if config.weights else shipped)}
    for path, weights in chosen.items():
        if weights.upscale_factor not in config.upscale_factor:
            raise RequestError(f"weights: {path} is for x{weights.upscale_factor}; leave --upscale-factor out")
    if not config.restore:
        return chosen
    return dict(_restoring(path, weights, config.restore) for path, weights in chosen.items())


def _restoring(path: Path, weights: Weights, strength: float) -> tuple[Path, Weights]:
    """The blended weights, and a path that names their files: fsrcnn_x2_restore60 for 0.6."""
    restoring = restoring_weights(path, weights)
    if restoring is None:
        raise RequestError(f"restore: got {strength:g}, and there is no {restoring_path(path)}; leave --restore out")
    name = f"{weights_name(path)}_restore{100 * strength:g}{path.suffix}"
    return path.with_name(name), blended(weights, restoring, strength)

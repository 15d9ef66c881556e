"""What export.py is asked for: which weights, in which format, and where to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from config import check_choices, check_scales
from exports.formats import FORMATS
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.weights import Weights, load_weights, shipped_weights


@dataclass(frozen=True)
class ExportConfig:
    """The settings of an export, checked: a wrong value raises RequestError."""

    format: Literal[*FORMATS] = "onnx"
    """onnx: for ONNX Runtime, OpenVINO, cv2.dnn; opencv: for cv2.dnn_superres of opencv-contrib; mpv: a GLSL shader; c:
    object files and a header; wasm: modules for browsers and Node."""
    variant: Literal[*VARIANTS] = "fsrcnn"
    """The shipped network: fsrcnn, or the smaller and faster fsrcnn_s."""
    upscale_factor: tuple[int, ...] = SCALES
    """Scales: a file for each."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Weights file to export in place of the shipped ones."""
    output: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results/exported")
    """Folder for the files, named as the weights are."""
    form: Literal["subpixel", "deconvolution"] = "subpixel"
    """ONNX: the last layer as a convolution and a pixel shuffle, or as the paper's deconvolution; equal results."""
    pictures: bool = False
    """ONNX: colour pictures in and out, uint8 N x H x W x 3 in R, G, B order, in place of luma."""
    target: tuple[str, ...] = ("native",)
    """C: native, x86-64-v3, x86-64-v4, aarch64, wasm32, or an LLVM triple of one of these architectures. An object file
    for each, except that several levels of x86-64 share one, which runs the best that the processor has."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_scales(self)
        if not self.target:
            raise RequestError("target: got none, expected at least one")


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
    return chosen

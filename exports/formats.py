"""The formats: what each needs, and the function `export` of exports/{format}.py, which has the same shape in all."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from fsrcnn.errors import RequestError

if TYPE_CHECKING:
    from exports.shared import Exported


class Format(NamedTuple):
    """packages: what it needs besides ALL_NEED; interfaces: what its files can take, where there is a choice, the usual
    one first; float16: numbers of 16 bits are offered.
    """

    packages: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    float16: bool = False


# Packages by the names that Python imports them by: what every export needs, and what each format needs besides.
ALL_NEED = ("torch", "skimage", "cv2")
FORMATS = {
    "onnx": Format(("onnx", "onnxscript", "onnxruntime"), ("luma", "luma_full", "rgb", "pictures"), float16=True),
    "ncnn": Format(("ncnn",)),
    "litert": Format(("ai_edge_litert",), ("luma", "luma_full", "rgb")),
    "coreml": Format(("coremltools",), ("luma", "luma_full", "rgb")),
    "opencv": Format(("tensorboard",)),
    "mpv": Format(),
    "c": Format(("llvmlite", "platformdirs")),
    "wasm": Format(("llvmlite", "platformdirs")),
    "hub": Format(),
}
# Packages that have another name there.
ON_PYPI = {"skimage": "scikit-image", "cv2": "opencv-python", "ai_edge_litert": "ai-edge-litert"}


def exporter(format_: str) -> Callable[..., Iterator["Exported"]]:
    """The function that exports in a format. It takes a weights file, the Weights in it and an ExportConfig; it runs
    and compares each file before it yields it. Raises RequestError that names all packages that are missing.
    """
    needed = (*ALL_NEED, *FORMATS[format_].packages)
    missing = [ON_PYPI.get(name, name) for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(f"format: {format_} needs pip install {' '.join(missing)}")
    return importlib.import_module(f"exports.{format_}").export

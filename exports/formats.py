"""The formats: what each needs, and the function `export` of exports/{format}.py, which has the same shape in all."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fsrcnn.errors import RequestError

if TYPE_CHECKING:
    from exports.shared import Exported

# Packages, by the names that Python imports them by: what every export needs, and what each format needs besides.
ALL_NEED = ("torch", "skimage", "cv2")
FORMATS = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "opencv": ("tensorboard",),
    "mpv": (),
    "c": ("llvmlite", "platformdirs"),
    "wasm": ("llvmlite", "platformdirs"),
}
ON_PYPI = {"skimage": "scikit-image", "cv2": "opencv-python"}  # packages that have another name there


def exporter(format_: str) -> Callable[..., Iterator["Exported"]]:
    """The function that exports in a format. It takes a weights file, the Weights in it and an ExportConfig; it runs
    and compares each file before it yields it. Raises RequestError that names all packages that are missing.
    """
    needed = (*ALL_NEED, *FORMATS[format_])
    missing = [ON_PYPI.get(name, name) for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(f"format: {format_} needs pip install {' '.join(missing)}")
    return importlib.import_module(f"exports.{format_}").export

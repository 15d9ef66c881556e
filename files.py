"""Pictures and other files: found, read with errors that name them, and written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from errors import RequestError

PRETRAINED = Path(__file__).parent / "results" / "pretrained"
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends well and is removed when it does
    not, so that a reader never sees half a file. Makes the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def shipped_weights(variant: str, upscale_factor: int) -> Path:
    """The file of the weights that come with the repository; variant: one of `model.VARIANTS`."""
    return PRETRAINED / f"{variant}_x{upscale_factor}.pth"


def write_json(path: Path, content: Any) -> None:
    """Writes content as indented JSON, floats at full precision."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def list_images(folder: Path) -> list[Path]:
    """The picture files directly in a folder, by name. Raises RequestError where there is no folder or no picture."""
    if not folder.is_dir():
        raise RequestError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise RequestError(f"{folder}: no pictures in this folder (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def read_image(path: Path) -> NDArray[np.uint8]:
    """Reads an 8-bit picture: H x W for a single-channel file, otherwise H x W x 3 in R, G, B order; alpha is
    dropped. Raises OSError, naming the file, where it cannot be read as such.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # OpenCV's own remarks name no file
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if image is None:
        raise OSError(
            f"{path}: {'not a readable picture' if content.size else 'the file is empty'}; replace or remove it"
        )
    if image.dtype != np.uint8:
        raise OSError(f"{path}: {image.dtype.itemsize * 8} bits a channel, expected 8; convert the picture first")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes a picture, uint8, H x W or H x W x 3 in R, G, B order, in the format of the suffix."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(path.suffix, pixels)
    with written_whole(path) as unfinished:
        unfinished.write_bytes(content.tobytes())

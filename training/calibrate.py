"""Finds the ranges of a network's integer form: `python -m training.calibrate WEIGHTS ...`.

They are the sums that photographs and extreme pictures lead to: with the weights that a file holds and, in a restoring
file, with those blended with the weights that it restores beside, at every step. A training does so at its end.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from config import Config
from dataset import list_images, read_image, set_folder
from fsrcnn.errors import RequestError, run_script
from fsrcnn.files import write_json
from fsrcnn.integers import NotInIntegersError, quantised
from fsrcnn.luma import PEAK
from fsrcnn.restore import STEPS, blended, clean_path, restoring_path, restoring_weights
from fsrcnn.weights import INTEGER_RANGES, SUFFIX, Weights, load_weights, save_weights
from imgproc import imresize, luma, modcrop
from training.extremes import extreme_pictures

CALIBRATION_SET = "T91"
MARGIN = 1.25  # of the sums beyond the pictures' largest
FURTHEST = 80.0  # sums of extreme pictures, of the pictures'
NARROWEST = 2.0**-10  # an end, of the other end
PICTURES, SIDE = 91, 256  # at most, and LR pixels: of a training on more, as many; of larger pictures, the middle


def reduced_luma(paths: Iterable[Path], upscale_factor: int) -> list[NDArray[np.float32]]:
    """The luma of pictures reduced as for a test, H x W in [0, 1]; of those that are not too small."""
    images = (modcrop(_middle(luma(read_image(path)), SIDE * upscale_factor), upscale_factor) for path in paths)
    return [(imresize(image, 1 / upscale_factor) / PEAK).astype(np.float32) for image in images if image.size]


def _middle(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle of a picture, H x W, at most `side` pixels high and wide."""
    top, left = (max(0, length - side) // 2 for length in image.shape)
    return image[top : top + side, left : left + side]


@torch.inference_mode()
def extreme_sums(weights: Weights, pictures: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """How far below and above zero the sums of all convolutions go, 2 x outputs. pictures: H x W luma in [0, 1]."""
    *layers, _, _ = (torch.from_numpy(value) for value in weights.parameters.values())
    furthest = np.zeros((2, sum(weights.sizes.outputs)), np.float32)
    for picture in pictures:
        x, ends = torch.from_numpy(picture)[None], []
        for weight, bias, slope in zip(*[iter(layers)] * 3, strict=True):
            sums = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
            ends.append(torch.stack([-sums.amin((1, 2)), sums.amax((1, 2))]))
            x = F.prelu(sums[None], slope)[0]
        furthest = np.maximum(furthest, torch.cat(ends, 1).numpy())
    return furthest


def ranges(weights: Weights, pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The ranges that `quantised` takes: of the pictures with a margin, and of extreme ones, so that nothing is clipped
    on either. Extreme ones that lead much further are clipped: they would take too many levels from photographs.

    pictures: H x W luma in [0, 1].
    """
    usual = extreme_sums(weights, pictures)
    furthest = FURTHEST * usual.max(0)
    found = MARGIN * usual
    for picture in extreme_pictures():
        sums = extreme_sums(weights, [picture])
        if (sums <= furthest).all():
            found = np.maximum(found, sums)
    furthest = found.max(0)
    return np.maximum(found, np.where(furthest > 0, NARROWEST * furthest, 1)).astype(np.float32)  # 1: always zero


def calibrated(weights: Weights, pictures: Sequence[NDArray[np.float32]], clean: Weights | None = None) -> Weights:
    """The weights with the ranges of their integer form among the additions; without any if they have no such form.

    clean: what these weights, which restore, are blended with.
    """
    forms = [weights]
    if clean is not None:
        forms = [blended(clean, weights, step / STEPS) for step in range(1, STEPS)] + forms
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the pictures are so small that threads cost more than they do
    try:
        found = [ranges(form, pictures) for form in forms]
    finally:
        torch.set_num_threads(threads)
    try:
        for form, each in zip(forms, found, strict=True):
            quantised(form, each)
    except NotInIntegersError:
        kept = {name: value for name, value in weights.additions.items() if name != INTEGER_RANGES}
    else:
        kept = weights.additions | {INTEGER_RANGES: np.stack(found)}
    return Weights(weights.sizes, weights.parameters, kept)


def calibrate_file(path: Path, paths: Sequence[Path], clean: Weights | None = None) -> bool:
    """Adds the ranges to a weights file, and their digest to the json beside it. paths: of pictures. Returns whether
    the weights have an integer form.
    """
    weights = load_weights(path)
    weights = calibrated(weights, reduced_luma(paths[:PICTURES], weights.upscale_factor), clean)
    save_weights(weights, path)
    said = path.with_suffix(".json")
    if said.is_file() and "sha256" in (told := json.loads(said.read_text(encoding="utf-8"))):  # not another's
        write_json(said, told | {"sha256": weights.digest})
    return INTEGER_RANGES in weights.additions


def all_files(paths: Iterable[Path]) -> dict[Path, Path | None]:
    """These weights files and the restoring ones beside them, and for a restoring one the file that it is beside.

    Raises RequestError for a name of another format, whose file would be overwritten by this project's.
    """
    found: dict[Path, Path | None] = {}
    for path in paths:
        if path.suffix.lower() != SUFFIX:
            raise RequestError(f"weights: got {path}, expected a {SUFFIX} file")
        found[path] = clean_path(path)
        if (restoring := restoring_path(path)).is_file():
            found[restoring] = path
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+", type=Path, help="weights files; restoring ones beside them are done too")
    parser.add_argument("--data-dir", type=Path, default=Config().data_dir, help="where T91 is")
    given = parser.parse_args()
    paths = list_images(set_folder(given.data_dir, CALIBRATION_SET))
    for path, clean in all_files(given.weights).items():
        weights = load_weights(clean) if clean else None
        if clean and weights:
            restoring_weights(clean, weights)  # refuses those of other sizes
        fits = calibrate_file(path, paths, weights)
        print(f"{path}: {'calibrated' if fits else 'does not fit integers, runs in float32'}", flush=True)


if __name__ == "__main__":
    run_script(main)

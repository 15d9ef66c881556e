"""The ranges of a network's integer form, found on training pictures: `python -m training.calibrate WEIGHTS ...`.

Of the weights that a file holds and, in a restoring file, of those blended with the weights that it restores beside, at
every step. A training does so at its end.
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
from fsrcnn.errors import run_script
from fsrcnn.files import write_json
from fsrcnn.integers import NotInIntegersError, quantised
from fsrcnn.luma import PEAK
from fsrcnn.restore import STEPS, blended, restoring_path
from fsrcnn.weights import INTEGER_RANGES, Weights, load_weights, save_weights
from imgproc import imresize, luma, modcrop

CALIBRATION_SET = "T91"
# Sums end at so many times the largest on the pictures. A grid of white dots on black needs 8 times as much, but then
# photographs lose more than 0.005 dB by the coarser steps; noise and checkerboards need still more.
HEADROOM = 4.0
PICTURES = 91  # at most: of a training on more, as many


def reduced_luma(paths: Iterable[Path], upscale_factor: int) -> list[NDArray[np.float32]]:
    """The luma of pictures reduced as for a test, H x W in [0, 1]; of those that are not too small."""
    images = (modcrop(luma(read_image(path)), upscale_factor) for path in paths)
    return [(imresize(image, 1 / upscale_factor) / PEAK).astype(np.float32) for image in images if image.size]


@torch.inference_mode()
def ranges(weights: Weights, pictures: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The ranges that `quantised` takes, 2 x outputs of all convolutions. pictures: H x W luma in [0, 1].

    The largest values are the mean-square-best ends: clipping one value of a million costs more than half a bit gains.
    """
    *layers, _, _ = (torch.from_numpy(value) for value in weights.parameters.values())
    outputs = sum(weights.sizes.outputs)
    greatest, least = np.zeros(outputs, np.float32), np.zeros(outputs, np.float32)
    for picture in pictures:
        x, ends = torch.from_numpy(picture)[None], []
        for weight, bias, slope in zip(*[iter(layers)] * 3, strict=True):
            sums = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
            ends.append((sums.amax((1, 2)), sums.amin((1, 2))))
            x = F.prelu(sums[None], slope)[0]
        highest, lowest = (torch.cat(part).numpy() for part in zip(*ends, strict=True))
        greatest, least = np.maximum(greatest, highest), np.minimum(least, lowest)
    slopes = abs(torch.cat(layers[2::3]).numpy())
    found = np.stack([HEADROOM * np.maximum(greatest, -least), np.maximum(greatest, -slopes * least)])
    return np.where(found > 0, found, 1).astype(np.float32)  # 1 for a channel that is always zero


def calibrated(weights: Weights, pictures: Sequence[NDArray[np.float32]], clean: Weights | None = None) -> Weights:
    """The weights with the ranges of their integer form among the additions; as they are if they have no such form.

    clean: what these weights, which restore, are blended with.
    """
    forms = [weights]
    if clean is not None:
        forms = [blended(clean, weights, step / STEPS) for step in range(1, STEPS)] + forms
    found = [ranges(form, pictures) for form in forms]
    try:
        for form, each in zip(forms, found, strict=True):
            quantised(form, each)
    except NotInIntegersError:
        return weights
    return Weights(weights.sizes, weights.parameters, weights.additions | {INTEGER_RANGES: np.stack(found)})


def calibrate_file(path: Path, paths: Sequence[Path], clean: Weights | None = None) -> None:
    """Adds the ranges to a weights file, and their digest to the json beside it. paths: of pictures."""
    weights = load_weights(path)
    weights = calibrated(weights, reduced_luma(paths[:PICTURES], weights.upscale_factor), clean)
    save_weights(weights, path)
    said = path.with_suffix(".json")
    if said.is_file():
        write_json(said, json.loads(said.read_text(encoding="utf-8")) | {"sha256": weights.digest})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="+", type=Path, help="weights files; restoring ones beside them are done too")
    parser.add_argument("--data-dir", type=Path, default=Config().data_dir, help="where T91 is")
    given = parser.parse_args()
    torch.set_num_threads(1)  # the pictures are so small that threads cost more than they do
    paths = list_images(set_folder(given.data_dir, CALIBRATION_SET))
    for path in given.weights:
        calibrate_file(path, paths)
        if restoring_path(path).is_file():
            calibrate_file(restoring_path(path), paths, load_weights(path))
        print(f"{path}: calibrated", flush=True)


if __name__ == "__main__":
    run_script(main)

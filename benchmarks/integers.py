"""What the integer form loses against float32: `python -m benchmarks.integers`, into
results/benchmark/integers.json.

On each test set and for each shipped network: PSNR from LR luma with fractions, as of RGB pictures, and of 8 bits; how
many pixels differ, rounded, by a level and by more. The same at each strength of restoring, on Set5, and of stars,
lines, text and noise in black and white, limited as upscale.py does.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from config import PUBLIC_TEST_SETS, Config
from dataset import EvaluationPair, folder_pairs, set_folder
from evaluation.integers import SimulatedIntegers
from fsrcnn.errors import run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.limits import enlarged_by_repeating, extremes, limits
from fsrcnn.luma import BLACK, PEAK, WHITE
from fsrcnn.network import Network, network_of
from fsrcnn.restore import STEPS, blended, restoring_path
from fsrcnn.weights import Weights, load_weights, shipped_weights
from imgproc import psnr, shave, to_uint8
from training.extremes import extreme_pictures


def differences(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many pixels differ by 0, 1, 2, ... levels once rounded. one, other: luma in [0, 1]."""
    levels = [np.floor(each * PEAK + 0.5).clip(0, PEAK).astype(int) for each in (one, other)]
    return np.bincount(abs(levels[0] - levels[1]).ravel(), minlength=4)


def psnr_of(sr: NDArray[np.floating], pair: EvaluationPair) -> float:
    """As `EvaluationPair.score` gives it, without the slow SSIM."""
    return psnr(*(shave(each, pair.upscale_factor) for each in (to_uint8(sr), pair.hr)))


def measured(networks: tuple[Network, Network], pairs: list[EvaluationPair]) -> dict[str, Any]:
    """The mean loss in dB of the second of two networks, and how much their pixels differ."""
    found: dict[str, Any] = {}
    for kind in ("fractions", "8 bits"):
        losses, counted = [], np.zeros(4, np.int64)
        for pair in pairs:
            lr = (pair.lr if kind == "fractions" else np.floor(pair.lr + 0.5)).clip(0, PEAK)
            results = [network((lr / PEAK).astype(np.float32)) for network in networks]
            scores = [psnr_of(result * PEAK, pair) for result in results]
            losses.append(scores[0] - scores[1])
            now = differences(*results)
            counted = np.pad(counted, (0, len(now) - len(counted))) if len(now) > len(counted) else counted
            counted[: len(now)] += now
        found[kind] = {"loss": float(np.mean(losses)), "levels": (counted / counted.sum()).tolist()}
    return found


def restoring_differences(clean: Weights, restoring: Weights, pictures: list[NDArray[np.float32]]) -> list[Any]:
    """At each strength, how many pixels differ by 0, 1, ... levels."""
    found = []
    for step in range(1, STEPS + 1):
        weights = blended(clean, restoring, step / STEPS)
        networks = network_of(weights, "cpu"), SimulatedIntegers(weights)
        counts = [differences(*(network(picture) for network in networks))[:4] for picture in pictures]
        total = np.sum(counts, axis=0)
        found.append((total / total.sum()).tolist())
    return found


def extremes_differences(networks: tuple[Network, Network]) -> list[float]:
    """Of the pictures of training/extremes.py, how many pixels differ by 0, 1, ... levels once limited and rounded."""
    counted = np.zeros(PEAK + 1, np.int64)
    for lr in extreme_pictures():
        ends = (enlarged_by_repeating(each, networks[0].upscale_factor) for each in limits(*extremes(lr)))
        low, high = (each.clip(BLACK, WHITE) for each in ends)
        found = differences(*(network(lr).clip(low, high) for network in networks))
        counted[: len(found)] += found
    return np.trim_zeros(counted / counted.sum(), "b").tolist()


def main() -> None:
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    folder = Config().data_dir
    for variant in VARIANTS:
        for scale in SCALES:
            path = shipped_weights(variant, scale)
            weights = load_weights(path)
            networks = network_of(weights, "cpu"), SimulatedIntegers(weights)
            entry = results[path.stem] = {}
            for name in PUBLIC_TEST_SETS:
                entry[name] = measured(networks, list(folder_pairs(set_folder(folder, name), scale)))
                print(path.stem, name, entry[name], flush=True)
            pairs = folder_pairs(set_folder(folder, "Set5"), scale)
            pictures = [(np.floor(pair.lr + 0.5).clip(0, PEAK) / PEAK).astype(np.float32) for pair in pairs]
            entry["strengths"] = restoring_differences(weights, load_weights(restoring_path(path)), pictures)
            entry["extremes"] = extremes_differences(networks)
            write_json(Path("results/benchmark/integers.json"), results)
            print(path.stem, "strengths", np.max(entry["strengths"], axis=0), flush=True)


if __name__ == "__main__":
    run_script(main)

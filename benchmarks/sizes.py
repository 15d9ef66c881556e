"""Scores pictures enlarged to sizes that no network alone makes, beside bicubic interpolation straight to the size, and
the orders of networks in a row on the validation pictures: `python -m benchmarks.sizes`.

After an interruption the same command goes on. Delete results/benchmark/sizes.json to score everything anew.
"""

import json
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.restore import unrounded_luma
from dataset import VALIDATION_NAMES, VALIDATION_SET, list_images, read_image, set_folder
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import VARIANTS
from fsrcnn.network import Network, load_network
from fsrcnn.pictures.arrays import enlarge_array
from fsrcnn.sizes import checked_size
from fsrcnn.weights import shipped_weights
from imgproc import luma, modcrop, psnr, resize_axis, resize_matrix, shave, to_uint8

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "sizes.json"
SETS = ("Set5", "Set14", "BSD100")
FACTORS = (Fraction(3, 2), Fraction(5, 2), Fraction(6), Fraction(8))
CHAINS = ((2, 3), (3, 2), (2, 4), (4, 2), (2, 2, 2), (3, 4), (4, 3))
BICUBIC = "bicubic"

Picture = NDArray[np.uint8]  # H x W or H x W x 3


@lru_cache
def network_of(variant: str) -> Network:
    return load_network(shipped_weights(variant, 2), 2, "cpu")


def resized(picture: NDArray[Any], factor: Fraction) -> NDArray[np.float64]:
    """MATLAB's ``imresize`` by a factor that leads to whole numbers of rows and columns."""
    values = picture.astype(np.float64)
    for axis, length in enumerate(picture.shape[:2]):
        values = resize_axis(values, resize_matrix(length, int(length * factor), float(factor)), axis)
    return values


def pair(hr: Picture, factor: Fraction) -> tuple[Picture, Picture]:
    """The ground truth, cropped so that it can be reduced by the factor, and that reduced and rounded to 8 bits."""
    hr = modcrop(hr, factor.numerator)
    return hr, to_uint8(resized(hr, 1 / factor))


def compared(sr_luma: NDArray[np.float64], sr: Picture, hr: Picture, factor: Fraction) -> dict[str, float]:
    """PSNR in dB of the luma, not rounded, and of all channels, rounded; `factor` pixels are cut from each side."""
    border = math.ceil(factor)
    of_luma = psnr(shave(sr_luma, border), shave(luma(hr), border))
    return {"luma": of_luma, "rgb": psnr(shave(sr, border), shave(hr, border))}


def scores(hr: Picture, factor: Fraction) -> dict[str, dict[str, float]]:
    """A picture's PSNR by method."""
    hr, lr = pair(hr, factor)
    straight = resized(unrounded_luma(lr), factor)
    found = {BICUBIC: compared(straight, to_uint8(resized(lr, factor)), hr, factor)}
    for variant in VARIANTS:
        sr = enlarge_array(lr, network_of(variant), size=checked_size(float(factor))).astype(np.uint8)
        found[variant] = compared(unrounded_luma(sr), sr, hr, factor)
    return found


def chain_score(hr: Picture, chain: tuple[int, ...], variant: str) -> float:
    """PSNR of the luma of a picture enlarged by networks in a row, with 16 bits between them."""
    factor = math.prod(chain)
    hr, lr = pair(luma(hr), Fraction(factor))
    sr = lr.astype(np.uint16) * np.uint16(257)
    for scale in chain:
        sr = enlarge_array(sr, network_of(variant).at(scale)).astype(np.uint16)
    return psnr(shave(to_uint8(sr / 257), factor), shave(hr, factor))


def means(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The means of dictionaries of one shape, which may hold others."""
    return {
        name: means([each[name] for each in found])
        if isinstance(first, dict)
        else float(np.mean([each[name] for each in found]))
        for name, first in found[0].items()
    }


def pictures(paths: Iterable[Path]) -> list[Picture]:
    return [read_image(path) for path in paths]


def main() -> None:
    """Scores what is missing and writes results/benchmark/sizes.json anew after each of it."""
    parser = Parser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the sets; default: data")
    parser.add_argument("--sets", nargs="+", default=[*SETS, VALIDATION_SET], metavar="SET", help="default: all")
    given = parser.parse_args()
    said = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"entries": [], "chains": []}
    there = {(entry["set_name"], entry["upscale_factor"]) for entry in said["entries"]}
    for name, factor in product((each for each in SETS if each in given.sets), FACTORS):
        if (name, float(factor)) not in there:
            paths = list_images(set_folder(given.data_dir, name))
            found = means([scores(hr, factor) for hr in pictures(paths)])
            said["entries"].append({"set_name": name, "upscale_factor": float(factor), "pictures": len(paths), **found})
            write_json(RESULT, said)
    tried = [tuple(entry["chain"]) for entry in said["chains"]]
    for chain in CHAINS if VALIDATION_SET in given.sets else ():
        if chain not in tried:
            folder = set_folder(given.data_dir, VALIDATION_SET)
            judged = pictures(folder / f"{name}.png" for name in sorted(VALIDATION_NAMES))
            # Variant by variant: the errors on flat colour are kept of a few networks only.
            found = {each: float(np.mean([chain_score(hr, chain, each) for hr in judged])) for each in VARIANTS}
            said["chains"].append({"upscale_factor": math.prod(chain), "chain": chain, **found})
            write_json(RESULT, said)
    print(f"{RESULT}: {len(said['entries'])} entries, {len(said['chains'])} chains")


if __name__ == "__main__":
    run_script(main)

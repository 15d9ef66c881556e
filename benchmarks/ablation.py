"""Trains the paper's twelve sizes of network briefly by the default recipe: `python -m benchmarks.ablation`.

Takes train.py's flags, for every training. After an interruption the same command goes on.
"""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np

from config import Config, read_config
from dataset import folder_pairs, set_folder
from evaluation.scores import upscale_luma
from fsrcnn.errors import FailureError, run_script
from fsrcnn.files import write_json
from fsrcnn.network import network_of
from fsrcnn.weights import load_weights

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "ablation.json"
TEST_SET = "Set5"  # the paper's
SIZES = {"d": (48, 56), "s": (12, 16), "m": (2, 3, 4)}
SETTINGS = "--upscale-factor 3 --steps 4000 --batch-size 32 --patch-size 18".split()


def trained(sizes: dict[str, int], flags: list[str], config: Config) -> Path:
    """Trains a network of these sizes, goes on with its training, or finds it finished; returns the run's folder."""
    name = "_".join(f"{letter}{size}" for letter, size in sizes.items())
    folder = config.results_dir / f"ablation_{name}"
    of_size = [text for letter, size in sizes.items() for text in (f"--{letter}", str(size))]
    command = [sys.executable, "train.py", *SETTINGS, *flags, *of_size, "--exp-name", folder.name]
    resume = ["--resume"] if (folder / "last.pth").is_file() else []
    if code := subprocess.run([*command, *resume], cwd=ROOT, check=False).returncode:
        raise FailureError(f"the training in {folder} ended with exit code {code}; the same command goes on with it")
    return folder


def describe(folder: Path, config: Config) -> dict[str, float]:
    """A trained network's entry of the table: its weights, and PSNR on the validation pictures and on TEST_SET."""
    weights = load_weights(folder / "best.safetensors")
    network, scale = network_of(weights, "cpu"), weights.upscale_factor
    pairs = folder_pairs(set_folder(config.data_dir, TEST_SET), scale)
    scores = [pair.score(upscale_luma(network, pair.lr))["psnr"] for pair in pairs]
    return {
        "weights": sum(parameter.size for parameter in weights.parameters.values() if parameter.ndim > 1),
        "validation": json.loads((folder / "best.json").read_text(encoding="utf-8"))["validation"]["psnr"],
        TEST_SET: float(np.mean(scores)),
    }


def main() -> None:
    """Trains and scores the twelve networks, and writes results/benchmark/ablation.json anew after each."""
    config, cells = read_config("train", __doc__), []
    for values in product(*SIZES.values()):
        sizes = dict(zip(SIZES, values, strict=True))
        cells.append(sizes | describe(trained(sizes, sys.argv[1:], config), config))
        write_json(RESULT, {"settings": SETTINGS, "networks": cells})
        print(cells[-1], flush=True)


if __name__ == "__main__":
    run_script(main)

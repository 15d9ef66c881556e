"""Scores weights on test sets by the paper's protocol: `python validate.py --upscale-factor 3`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from config import Config, read_config
from dataset import SAMPLES, EvaluationPair, folder_pairs, list_images, samples, set_folder, write_image
from evaluation.comparison import stacked
from evaluation.scores import print_table, score_set
from fsrcnn.devices import select_device
from fsrcnn.errors import RequestError, run_script
from fsrcnn.files import write_json
from fsrcnn.network import network_of
from fsrcnn.weights import Weights, load_weights, shipped_weights, weights_name


def matching(path: Path) -> list[Path]:
    """The files that a pattern (runs/*.pth) means, which Windows' shells leave to programs; else the path itself."""
    return [path] if path.exists() else sorted(path.parent.glob(path.name)) or [path]


def load_networks(config: Config) -> dict[str, Weights]:
    """The networks to score by name: the weights file's, or its folder's for a run's best.safetensors."""
    shipped = [shipped_weights(config.variant, scale) for scale in config.upscale_factor]
    found: dict[str, Weights] = {}
    scale_of_others = config.upscale_factor[0] if len(config.upscale_factor) == 1 else None
    for path in [path for named in config.weights for path in matching(named)] or shipped:
        name = weights_name(path)
        if name in found:
            raise RequestError(f"weights: two files called {name}; score them in two runs")
        found[name] = load_weights(path, scale_of_others)
        scale = found[name].upscale_factor
        if scale not in config.upscale_factor:
            wanted = ", ".join(f"x{wanted}" for wanted in config.upscale_factor)
            raise RequestError(f"weights: {path} is for x{scale}, asked for was {wanted}; add --upscale-factor {scale}")
    return found


def test_sets(config: Config) -> dict[str, tuple[int, Callable[[int], Iterator[EvaluationPair]]]]:
    """For each set to score on the number of its pictures and what makes their pairs at a scale.

    Where none of the default sets is there yet, that is Samples.
    """
    names = config.test_sets
    if names == Config.test_sets:
        there = tuple(name for name in names if (config.data_dir / name).is_dir())
        if missing := [name for name in names if name not in there]:
            instead = "" if there else "; scoring on Samples, photographs that come with scikit-image, instead"
            print(f"not in {config.data_dir}: {', '.join(missing)} (`python prepare_dataset.py` brings them){instead}")
        names = there or ("Samples",)
    folders = {name: set_folder(config.data_dir, name) for name in names if name != "Samples"}
    if len({folder.resolve().name for folder in folders.values()}) < len(names) - ("Samples" in names):
        raise RequestError("test_sets: two sets or folders of one name; score them in two runs")
    sets = {name: (len(list_images(folder)), partial(folder_pairs, folder)) for name, folder in folders.items()}
    return sets | ({"Samples": (len(SAMPLES), samples)} if "Samples" in names else {})


def main() -> None:
    config = read_config("valid", __doc__)
    device = str(select_device(config.device))
    networks, sets = load_networks(config), test_sets(config)
    folder = config.results_dir / "test" / (config.exp_name or config.variant)
    metrics: dict[str, dict[str, Any]] = {}
    rows, shown = [], set()
    total = len(networks) * sum(count for count, _ in sets.values())
    with tqdm(total=total, unit="picture", dynamic_ncols=True, disable=None) as bar:
        for name, weights in networks.items():
            metrics[name], candidates = {}, []
            network = network_of(weights, device)
            for set_name, (_, pairs_at) in sets.items():
                pictures = folder / name / Path(set_name).resolve().name
                pairs = pairs_at(weights.upscale_factor)
                metrics[name][set_name], candidate = score_set(network, pairs, config.border, pictures, shown, bar)
                candidates.append(candidate)
            best = max(candidates, key=lambda candidate: candidate.rank)
            rows.append(best.row)
            shown.add(best.name)
    write_json(folder / "metrics.json", metrics)
    write_image(folder / "comparison.png", stacked(rows))
    print_table(metrics)
    print(f"\nPSNR in dB and SSIM of the luma, by the paper's protocol. In {folder}: metrics.json, comparison.png and,")
    print("for each weights file and set, the recovered pictures.")


if __name__ == "__main__":
    run_script(main)

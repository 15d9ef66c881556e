"""Measures what the mean of turned and mirrored results gains, and how long it takes: `python -m benchmarks.ensemble`.

Scored besides the mean of eight: of the picture and its half turn, of the four turns, and of the four mirror images.
The times are those of rounds that alternate between one result and the mean of eight.
"""

import platform
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from llvmlite import binding
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.files import FRAME_SIZE, crops, encode, seconds
from benchmarks.report import ensemble_speed_table, ensemble_table
from dataset import EvaluationPair, folder_pairs, set_folder, validation_pairs
from evaluation.scores import upscale_luma
from fsrcnn.devices import cpu_threads, keep_freed_memory
from fsrcnn.ensemble import Ensemble
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.network import Network, load_network
from fsrcnn.videos.upscale import upscale_video
from fsrcnn.weights import shipped_weights

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "ensemble.json"
VALIDATION, SETS = "validation", ("Set5", "Set14", "BSD100")
WIDTH, HEIGHT = 1280, 720  # of the enlarged plane that is timed, as far as the scale divides it
ROUNDS = 20
FILM_SCALE, FRAMES, FILM_ROUNDS = 2, 24, 5

Plane = NDArray[np.floating]
Form = tuple[int, bool]  # quarter turns, after mirroring from left to right if that is so

# The forms that each mean is of.
ONE, EIGHT = "one result", "all eight"
WAYS: dict[str, list[Form]] = {
    ONE: [(0, False)],
    "half turn": [(0, False), (2, False)],
    "four turns": [(turns, False) for turns in range(4)],
    "four mirror images": [(0, False), (2, False), (0, True), (2, True)],
    EIGHT: list(product(range(4), (False, True))),
}


def formed(plane: Plane, form: Form) -> Plane:
    turns, is_mirrored = form
    return np.ascontiguousarray(np.rot90(np.fliplr(plane) if is_mirrored else plane, turns))


def formed_back(plane: Plane, form: Form) -> Plane:
    turns, is_mirrored = form
    back = np.rot90(plane, -turns)
    return np.fliplr(back) if is_mirrored else back


def scores(network: Network, pair: EvaluationPair) -> list[float]:
    """The PSNR in dB of each of WAYS on one picture."""
    results = {form: formed_back(upscale_luma(network, formed(pair.lr, form)), form) for form in WAYS[EIGHT]}
    means = [np.mean([results[form] for form in forms], axis=0) for forms in WAYS.values()]
    return [pair.score(mean.astype(np.float32))["psnr"] for mean in means]


def set_scores(network: Network, pairs: Iterable[EvaluationPair]) -> dict[str, float]:
    """The mean PSNR in dB of each of WAYS on a set."""
    means = np.mean([scores(network, pair) for pair in pairs], axis=0)
    return dict(zip(WAYS, map(float, means), strict=True))


def make_film(path: Path) -> None:
    frames = [av.VideoFrame.from_ndarray(picture, "rgb24") for picture in crops(FRAMES, FRAME_SIZE)]
    encode(path, [frame.reformat(format="yuv420p") for frame in frames], FRAME_SIZE)


def rounds_of(number: int, tasks: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each task in each round, after one that is not counted."""
    rounds = [{name: seconds(task)[0] for name, task in tasks.items()} for _ in range(1 + number)][1:]
    return {name: [each[name] for each in rounds] for name in tasks}


def networks() -> dict[str, Network]:
    cases = product(VARIANTS, SCALES)
    return {f"{name} x{scale}": load_network(shipped_weights(name, scale), scale, "cpu") for name, scale in cases}


def time_planes(network: Network) -> dict[str, list[float]]:
    """Seconds for one plane of luma, on all threads."""
    lr = np.random.default_rng(0).random([length // network.upscale_factor for length in (HEIGHT, WIDTH)], np.float32)
    return rounds_of(ROUNDS, {ONE: partial(network, lr), EIGHT: partial(Ensemble(network), lr)})


def time_films(network: Network) -> dict[str, list[float]]:
    """Seconds for a film from file to file, without the program's start."""
    with TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.mp4", Path(folder) / "large.mp4"
        make_film(small)
        enlarge = partial(upscale_video, small, large)
        return rounds_of(FILM_ROUNDS, {ONE: partial(enlarge, network), EIGHT: partial(enlarge, Ensemble(network))})


def main() -> None:
    """Scores and times every shipped network and writes results/benchmark/ensemble.json."""
    parser = Parser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the sets; default: data")
    data_dir = parser.parse_args().data_dir
    keep_freed_memory()
    psnr: dict[str, dict[str, dict[str, float]]] = {}
    planes: dict[str, dict[str, list[float]]] = {}
    films: dict[str, dict[str, list[float]]] = {}
    for name, network in tqdm(networks().items(), unit="network", dynamic_ncols=True, disable=None):
        scale = network.upscale_factor
        psnr[name] = {VALIDATION: set_scores(network, validation_pairs(data_dir, scale))}
        psnr[name] |= {each: set_scores(network, folder_pairs(set_folder(data_dir, each), scale)) for each in SETS}
        planes[name] = time_planes(network)
        if scale == FILM_SCALE:
            films[name] = time_films(network)

    machine = f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})"
    film = {"width": FRAME_SIZE[0], "height": FRAME_SIZE[1], "frames": FRAMES, "seconds": films}
    plane = {"width": WIDTH, "height": HEIGHT, "seconds": planes}
    said = {"processor": machine, "threads": cpu_threads(), "psnr": psnr, "planes": plane, "films": film}
    write_json(RESULT, said)
    print(ensemble_table(said), ensemble_speed_table(said), sep="\n\n")


if __name__ == "__main__":
    run_script(main)

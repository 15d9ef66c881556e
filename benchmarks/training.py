"""Measures the speed of training beside a plain loop, in one run on one machine: `python -m benchmarks.training`."""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import l1_loss
from torch.utils.data import DataLoader, Dataset

from config import Config, read_config
from dataset import SAMPLE_PICTURES, write_image
from fsrcnn.errors import run_script
from fsrcnn.files import write_json
from imgproc import dihedral, imresize, luma, modcrop
from model import FSRCNN, initialise
from training.patches import TrainingPatches
from training.prepared import Wanted, prepare
from training.run import start_run
from training.step import loss_to_train, prepare_cpu, train_step

STEPS, ROUNDS = 50, 7
RESULT = Path(__file__).parents[1] / "results" / "benchmark" / "training.json"


class PlainPatches(Dataset[tuple[Tensor, Tensor]]):
    """Aligned random patches the usual way: one picture, one crop and one turn at a time."""

    def __init__(self, images: list[NDArray[np.uint8]], config: Config) -> None:
        self.scale, self.size = config.upscale_factor[0], config.patch_size
        self.length = STEPS * config.batch_size
        self.hr = [modcrop(image, self.scale) for image in images]
        self.lr = [imresize(image, 1 / self.scale).astype(np.float32) for image in self.hr]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng(index)
        picture, operation = int(random.integers(len(self.lr))), int(random.integers(8))
        top, left = (random.integers(length - self.size + 1) for length in self.lr[picture].shape)
        patches = []
        for image, scale in ((self.lr[picture], 1), (self.hr[picture], self.scale)):
            rows, columns = (slice(scale * start, scale * (start + self.size)) for start in (top, left))
            patch = dihedral(image[rows, columns], operation).astype(np.float32) / 255
            patches.append(torch.from_numpy(np.ascontiguousarray(patch))[None])
        return patches[0], patches[1]


def plain_loop(config: Config, images: list[NDArray[np.uint8]]) -> Callable[[], None]:
    """A function that trains for STEPS steps the straightforward way: the paper's module, Adam, a DataLoader."""
    model = FSRCNN(config.upscale_factor[0])
    initialise(model, "msra")
    optimizer = torch.optim.Adam(model.parameters())
    loader = DataLoader(PlainPatches(images, config), config.batch_size)

    def steps() -> None:
        for lr, hr in loader:
            optimizer.zero_grad()
            l1_loss(model(lr), hr).backward()
            optimizer.step()

    return steps


def patches_of(config: Config, images: list[NDArray[np.uint8]], folder: Path) -> TrainingPatches:
    """The pictures' patches, as train.py has them, from files in the folder."""
    paths = tuple(folder / f"{index}.png" for index in range(len(images)))
    for path, image in zip(paths, images, strict=True):
        if not path.is_file():
            write_image(path, image)
    scale = config.upscale_factor[0]
    pictures = prepare(Wanted(paths, scale, scale * config.patch_size), folder / "cache")
    return TrainingPatches(pictures, config.patch_size, config.seed)


def our_loop(config: Config, patches: TrainingPatches) -> Callable[[], None]:
    """A function that trains for STEPS steps as train.py does, with its optimiser and its average of the weights."""
    run = start_run(config, torch.device("cpu"))
    batch_loss = loss_to_train(run, config)

    def steps() -> None:
        for _ in range(STEPS):
            train_step(run, config, batch_loss, patches)

    return steps


def cutting(config: Config, patches: TrainingPatches) -> Callable[[], None]:
    """A function that cuts the patches of STEPS steps as train.py does, without training."""

    def steps() -> None:
        for step in range(STEPS):
            patches.batch(step, config.batch_size)

    return steps


def milliseconds_per_step(loops: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Times of each loop in each round. The loops take turns; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS + 1):
        for name, loop in loops.items():
            start = time.perf_counter()
            loop()
            times[name].append((time.perf_counter() - start) / STEPS * 1e3)
    return {name: rounds[1:] for name, rounds in times.items()}


def main() -> None:
    """Times train.py's steps beside a plain loop's, on a CPU, and writes results/benchmark/training.json."""
    config, threads = read_config("train", __doc__), torch.get_num_threads()
    images = [luma(load()) for load in SAMPLE_PICTURES.values()]
    configs = {f"x{scale}": replace(config, upscale_factor=(scale,), exp_name="") for scale in config.upscale_factor}
    # The plain loop first: `prepare_cpu` changes the threads and the memory of the whole process.
    results = {name: milliseconds_per_step({"plain": plain_loop(each, images)}) for name, each in configs.items()}
    prepare_cpu()
    for name, each in configs.items():
        with TemporaryDirectory() as folder:
            patches = patches_of(each, images, Path(folder))
        deconvolution_alone = our_loop(replace(each, deconv_only_steps=each.steps), patches)
        loops = {
            "ours": our_loop(each, patches),
            "deconvolution": deconvolution_alone,
            "cutting": cutting(each, patches),
        }
        results[name] |= milliseconds_per_step(loops)
        plain, ours, deconv, cut = (statistics.median(results[name][loop]) for loop in ("plain", *loops))
        print(f"{name}: {1e3 / ours:.1f} steps/s, plain loop {1e3 / plain:.1f}: {plain / ours:.1f} times;", end=" ")
        print(f"the deconvolution alone {1e3 / deconv:.1f} steps/s; cutting patches {cut / ours:.1%} of a step")
    machine = {"processor": platform.processor() or platform.machine(), "threads": threads}
    write_json(RESULT, {"torch": torch.__version__, **machine, "milliseconds_per_step": results})


if __name__ == "__main__":
    run_script(main)

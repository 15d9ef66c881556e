"""Trains an FSRCNN for each scale: `python train.py --upscale-factor 3`."""

import csv
import dataclasses
import json
import math
import os
import platform
import shlex
import signal
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid
from tqdm import tqdm

from config import RECIPE_FIELDS, Config, read_config
from dataset import EvaluationPair, TrainingPatches, load_training_images, samples, training_paths, validation_pairs
from errors import FailureError, RequestError, run_script
from files import write_json, written_whole
from imgproc import to_uint8
from model import (
    load_checkpoint,
    save_checkpoint,
    save_weights,
    select_device,
    upscale_luma,
    weights_digest,
)
from recipe import Run, loss_to_train, mean_over_ranks, prepare_cpu, rank_and_ranks, start_run, train_step

LOG_FIELDS = ("step", "seconds", "learning_rate", "loss", "psnr", "ssim")
STEPS_BETWEEN_AGREEMENTS = 10  # of several processes on whether to stop
STEPS_BETWEEN_READINGS = 100  # of the loss, for which a GPU has to be waited for


class Interruption:
    """Notes a Ctrl-C or SIGTERM so that the step under way can be finished; a second one ends the program at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Interruption":
        self._handlers = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self.__exit__()


def as_plain(config: Config) -> dict[str, Any]:
    """The configuration in JSON's types."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def save_run(run: Run, config: Config, path: Path) -> None:
    content = {
        "config": as_plain(config),
        "step": run.step,
        "seconds": run.seconds,
        "best_psnr": run.best_psnr,
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    with written_whole(path) as unfinished:
        save_checkpoint(content, unfinished)


def load_run(config: Config, device: torch.device, path: Path) -> Run:
    """The saved run, ready to go on. Raises RequestError where its settings were others."""
    saved = load_checkpoint(path, device)
    if "optimizer" not in saved:
        raise RequestError(f"{path}: not a saved run; move it away to start a new one")
    for field in RECIPE_FIELDS:
        now, then = as_plain(config)[field], saved["config"].get(field)
        if now != then:
            raise RequestError(f"{field}: the run in {path.parent} was started with {then}, it cannot go on with {now}")
    run = start_run(config, device)
    run.model.load_state_dict(saved["model"])
    run.average.load_state_dict(saved["average"])
    run.optimizer.load_state_dict(saved["optimizer"])
    run.step, run.seconds, run.best_psnr = saved["step"], saved["seconds"], saved["best_psnr"]
    return run


def mean_score(model: nn.Module, pairs: list[EvaluationPair]) -> dict[str, float]:
    """Mean PSNR and SSIM over the pictures."""
    scores = [pair.score(upscale_luma(model, pair.lr)) for pair in pairs]
    return {metric: float(np.mean([score[metric] for score in scores])) for metric in ("psnr", "ssim")}


def crops(model: nn.Module, pairs: list[EvaluationPair], size: int = 120) -> Tensor:
    """Rows of bicubic, FSRCNN and ground truth of each picture's centre, 3 x H x W in 0..255, for TensorBoard."""
    tiles = []
    for pair in pairs:
        top, left = ((length - size) // 2 for length in pair.hr.shape)
        for image in (pair.bicubic(), upscale_luma(model, pair.lr), pair.hr):
            tiles.append(torch.from_numpy(to_uint8(image)[None, top : top + size, left : left + size]))
    return make_grid(tiles, nrow=3)


def describe(run: Run, config: Config, score: dict[str, float]) -> dict[str, Any]:
    """What the json beside the weights says of them."""
    plain = as_plain(config)
    return {
        "recipe": {field: plain[field] for field in RECIPE_FIELDS},
        "step": run.step,
        "seconds": round(run.seconds),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "sha256": weights_digest(run.average),
        "validation": score,
        "samples": mean_score(run.average.fuse(), list(samples(config.upscale_factor[0]))),
    }


class Log:
    """The course of a run: log.csv and, for TensorBoard, the same and pictures."""

    def __init__(self, folder: Path, step: int) -> None:
        """Starts the log, or cuts it back to what was logged up to `step`."""
        self._path = folder / "log.csv"
        rows = []
        if step and self._path.is_file():
            with self._path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with written_whole(self._path) as unfinished, unfinished.open("w", newline="") as file:
            writer = csv.DictWriter(file, LOG_FIELDS)
            writer.writeheader()
            writer.writerows(rows)
        self._board = SummaryWriter(folder / "tensorboard", purge_step=step)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def write(self, step: int, seconds: float, values: dict[str, float], pictures: Tensor) -> None:
        """Adds a line of values, named as in LOG_FIELDS, and the pictures, 3 x H x W uint8."""
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, LOG_FIELDS).writerow({"step": step, "seconds": round(seconds, 1), **values})
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.add_image("bicubic, FSRCNN, ground truth", pictures, step)


class LossMeter:
    """Mean loss since the last reading, kept on the device."""

    def __init__(self, device: torch.device) -> None:
        self._sum, self._count = torch.zeros((), device=device), 0

    def add(self, loss: Tensor) -> None:
        self._sum += loss
        self._count += 1

    def read(self, step: int) -> float:
        """The mean up to `step`. Raises FailureError where it is not finite."""
        mean = mean_over_ranks(self._sum / self._count).item()
        if not math.isfinite(mean):
            raise FailureError(f"the loss is {mean} at step {step}: start again with a lower learning_rate")
        return mean


def judge(run: Run, config: Config, folder: Path, validation: list[EvaluationPair], log: Log, loss: float) -> None:
    """Validates the averaged weights, keeps them if they are the best so far, logs, and saves the run."""
    average = run.average.fuse()
    score = mean_score(average, validation)
    if score["psnr"] > run.best_psnr:
        run.best_psnr = score["psnr"]
        with written_whole(folder / "best.pth") as unfinished:
            save_weights(run.average, unfinished)
        write_json(folder / "best.json", describe(run, config, score))
    values = {"learning_rate": run.optimizer.param_groups[0]["lr"], "loss": loss, **score}
    log.write(run.step, run.seconds, values, crops(average, validation[:4]))
    save_run(run, config, folder / "last.pth")


def stop_asked(interruption: Interruption, step: int, device: torch.device) -> bool:
    """Whether to stop before the next step; several processes agree on it every few steps."""
    if not dist.is_initialized():
        return interruption.signal is not None
    if step % STEPS_BETWEEN_AGREEMENTS:
        return False
    signals = torch.tensor(float(interruption.signal or 0), device=device)
    dist.all_reduce(signals, dist.ReduceOp.MAX)
    interruption.signal = int(signals) or None
    return interruption.signal is not None


def run_steps(
    run: Run, config: Config, folder: Path, patches: TrainingPatches, validation: list[EvaluationPair]
) -> int | None:
    """Trains to the last step, or up to an interruption, whose signal it returns. One process alone writes."""
    started = time.monotonic() - run.seconds
    writes = rank_and_ranks()[0] == 0
    losses, batch_loss = LossMeter(patches.device), loss_to_train(run, config)
    interval = 0.1 if sys.stderr.isatty() else 30.0  # seconds between updates of the bar: a log file keeps them all
    with (
        Interruption() as interruption,
        Log(folder, run.step) if writes else nullcontext() as log,
        tqdm(
            total=config.steps,
            initial=run.step,
            unit="step",
            dynamic_ncols=True,
            mininterval=interval,
            disable=not writes,
        ) as bar,
    ):
        while run.step < config.steps and not stop_asked(interruption, run.step, patches.device):
            if run.step == config.deconv_only_steps:
                batch_loss = loss_to_train(run, config)
            losses.add(train_step(run, config, batch_loss, patches))
            run.seconds = time.monotonic() - started
            bar.update()
            if run.step % STEPS_BETWEEN_READINGS == 0:
                bar.set_postfix(loss=f"{losses.read(run.step):.5f}", best=f"{run.best_psnr:.3f} dB", refresh=False)
            if run.step % config.validate_every == 0 or run.step == config.steps:
                loss = losses.read(run.step)
                losses = LossMeter(patches.device)
                if writes:
                    judge(run, config, folder, validation, log, loss)
        if writes:
            save_run(run, config, folder / "last.pth")
    return interruption.signal if run.step < config.steps else None


def train(config: Config) -> int | None:
    """Trains one network to the end, or up to an interruption, whose signal it returns."""
    folder, scale = config.results_dir / config.exp_name, config.upscale_factor[0]
    device, last = select_device(config.device), folder / "last.pth"
    run = load_run(config, device, last) if last.is_file() else start_run(config, device)
    rank, _ = rank_and_ranks()
    stopped_by = None
    if run.step < config.steps:
        validation = validation_pairs(config.data_dir, scale)
        paths = training_paths(config.data_dir, config.train_sets)
        images, too_small = load_training_images(paths, scale * config.patch_size)
        patches = TrainingPatches(images, scale, config.patch_size, config.seed, device)
        if rank == 0:
            for path in too_small:
                print(f"{path}: smaller than a patch, left out")
            print(f"{folder}: {config.variant} x{scale}, {len(images)} pictures, {device}, ", end="")
            print(f"step {run.step} of {config.steps}", flush=True)
            write_json(folder / "config.json", as_plain(config))
        stopped_by = run_steps(run, config, folder, patches, validation)
    if stopped_by is None and rank == 0:
        print(
            f"{folder}: finished, {run.best_psnr:.3f} dB on the validation pictures, weights in {folder / 'best.pth'}"
        )
    return stopped_by


def join_processes(config: Config) -> Config:
    """Under torchrun, joins its process group; the configuration with this process's own device."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return config
    on_cuda = config.device in ("auto", "cuda") and torch.cuda.is_available()
    device = f"cuda:{os.environ['LOCAL_RANK']}" if on_cuda else config.device
    if on_cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_cuda else "gloo")
    # Said of one-channel kernels, whose layout channels_last leaves open; it costs no time here.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    ranks = dist.get_world_size()
    if config.batch_size % ranks:
        raise RequestError(f"batch_size: got {config.batch_size}, expected a multiple of the {ranks} processes")
    return dataclasses.replace(config, device=device)


def main() -> int:
    config = join_processes(read_config("train", __doc__))
    runs = [
        dataclasses.replace(config, upscale_factor=(scale,), exp_name=config.exp_name or f"{config.variant}_x{scale}")
        for scale in config.upscale_factor
    ]
    started = [
        run.results_dir / run.exp_name for run in runs if (run.results_dir / run.exp_name / "last.pth").is_file()
    ]
    if started and not config.resume:
        raise RequestError(f"{started[0]} holds a run: --resume goes on with it, another --exp-name starts a new one")
    if config.resume and not started:
        raise RequestError(
            f"resume: no interrupted run in {runs[0].results_dir / runs[0].exp_name}; leave --resume out"
        )
    prepare_cpu()
    stopped_by = next((signal_ for run in runs if (signal_ := train(run))), None)
    if stopped_by and rank_and_ranks()[0] == 0:
        arguments = [argument for argument in sys.argv if argument != "--resume"]
        print(f"interrupted and saved; to go on: python {shlex.join(arguments)} --resume")
    if dist.is_initialized():
        dist.destroy_process_group()
    return 128 + stopped_by if stopped_by else 0


if __name__ == "__main__":
    run_script(main)

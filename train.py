"""Trains an FSRCNN for each scale: `python train.py --upscale-factor 3`."""

import dataclasses
import math
import platform
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from tqdm import tqdm

from config import RECIPE_FIELDS, Config, read_config
from dataset import (
    VALIDATION_QUALITIES,
    EvaluationPair,
    sample_pairs,
    training_paths,
    validation_pairs,
    validation_paths,
)
from evaluation.scores import METRICS, upscale_luma
from evaluation.sets import test_sets
from fsrcnn.devices import is_first_on_machine, join_processes, leave_processes, rank_and_ranks, select_device
from fsrcnn.errors import FailureError, RequestError, run_script
from fsrcnn.files import write_json
from fsrcnn.network import network_of
from fsrcnn.weights import INTEGER_RANGES, Weights, load_weights, save_weights
from model import FSRCNN
from training.calibrate import calibrate_file
from training.interruption import Interruption, stop_asked
from training.lock import locked
from training.log import Log, LossMeter, crops, draw_curve
from training.patches import TrainingPatches
from training.prepared import Pictures, Wanted, prepare
from training.recipe import blend_of
from training.restart import is_restarted, note_start
from training.run import NotFiniteError, Run, as_plain, blended, is_saved, load_run, save_run, share_run, start_run
from training.seeds import print_spread, scores_of, seeds_of, spread
from training.step import loss_to_train, prepare_cpu, train_step

STEPS_BETWEEN_READINGS = 100  # of the loss: each reading waits for the GPU


def read_settings() -> Config:
    """The configuration, with this process's own device. Raises RequestError for a batch that cannot be split."""
    config = read_config("train", __doc__)
    config = dataclasses.replace(config, device=join_processes(config.device))
    _, ranks = rank_and_ranks()
    if ranks > 1:
        # PyTorch warns about one-channel kernels, whose layout channels_last leaves open; nothing is slower for it.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if config.batch_size % ranks:
        raise RequestError(f"batch_size: got {config.batch_size}, expected a multiple of the {ranks} processes")
    return config


def runs_to_do(config: Config) -> list[Config]:
    """The configuration of each network's run. Raises RequestError if one would be overwritten, or none resumed."""
    runs = [
        dataclasses.replace(
            config, upscale_factor=(scale,), exp_name=run_name(config, scale, seed), seed=seed, seeds=()
        )
        for scale in config.upscale_factor
        for seed in seeds_of(config)
    ]
    if rank_and_ranks()[0] == 0:
        check_folders([run.results_dir / run.exp_name for run in runs], config.resume)
    if config.recipe not in ("default", "paper") and config.transfer_from is None:
        expected = f"the weights that recipe {config.recipe} trains further"
        raise RequestError(f"transfer_from: got None, expected {expected}")
    if config.exp_name and len(config.upscale_factor) > 1:
        raise RequestError(
            f"exp_name: got {config.exp_name!r} for {len(runs)} networks; leave it out, or give one upscale_factor"
        )
    return runs


def check_folders(folders: list[Path], resume: bool) -> None:
    """Raises RequestError if a run in these folders would be overwritten, or none resumed."""
    started = [folder for folder in folders if is_saved(folder)]
    others = [folder for folder in started if not is_restarted(folder)]
    if others and not resume:
        raise RequestError(f"{others[0]} holds a run: --resume goes on with it, another --exp-name starts a new one")
    if resume and not started:
        raise RequestError(f"resume: no interrupted run in {folders[0]}; leave --resume out")


def run_name(config: Config, scale: int, seed: int | None = None) -> str:
    """The name of a scale's run or, where there are several seeds, of one of these."""
    name = config.exp_name or f"{config.variant}_x{scale}"
    return name if seed is None or not config.seeds else f"{name}_seed{seed}"


def train(config: Config) -> int | None:
    """Trains one network to its last step or an interruption; returns the interrupting signal, or None."""
    folder, device = config.results_dir / config.exp_name, select_device(config.device)
    with locked(folder) if rank_and_ranks()[0] == 0 else nullcontext():
        try:
            return train_in(folder, config, device)
        except NotFiniteError as error:
            raise FailureError(unstable(error, config, folder)) from error
        except (MemoryError, RuntimeError) as error:
            if is_lost(error):
                kept = "what was saved before is kept; --resume, or torchrun's --max-restarts, goes on with it"
                raise FailureError(f"{folder}: another process of this training has ended; {kept}") from error
            if not is_out_of_memory(error):
                raise
            remedy = "lower batch_size, patch_size, d, s or m"
            raise FailureError(f"{folder}: the training does not fit into memory; {remedy}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether NumPy, a GPU, or PyTorch on a CPU, which has no type for it, could not get memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def is_lost(error: Exception) -> bool:
    """Whether another of the processes that torchrun started does not answer; gloo has no type for it."""
    return isinstance(error, dist.DistError) or "/gloo/" in str(error)


def unstable(error: NotFiniteError, config: Config, folder: Path) -> str:
    """What a user is told of a training that has become unstable: the step, what is kept, what to do."""
    kept = f"{folder} holds what was saved before" if is_saved(folder) else "nothing had been saved yet"
    rates = (
        f"learning_rate (it was {config.learning_rate:g}) and deconv_learning_rate ({config.deconv_learning_rate:g})"
    )
    return f"{folder}: {error}; {kept}; start again under another exp_name with a lower {rates}"


def train_in(folder: Path, config: Config, device: torch.device) -> int | None:
    """What `train` does, in a folder that is this process's."""
    scale = config.upscale_factor[0]
    rank, _ = rank_and_ranks()
    run = load_run(config, device, folder) if rank == 0 and is_saved(folder) else start_run(config, device)
    share_run(run)
    stopped_by = None
    if run.step < config.steps:
        validation = judged_on(validation_pairs(config.data_dir, scale, config.validation_set), config)
        pictures = training_pictures(config)
        patches = TrainingPatches(pictures, config.patch_size, config.seed, device, config.patch_margin)
        if rank == 0:
            print_start(run, config, pictures)
            write_json(folder / "config.json", as_plain(config))
            note_start(folder)
        stopped_by = run_steps(run, config, folder, patches, validation)
    if run.step == config.steps and rank == 0:
        best = folder / "best.safetensors"
        if INTEGER_RANGES not in load_weights(best).additions:  # else it was done before
            calibrate_file(best, training_files(config), blended_with(run, config))
        draw_curve(folder / "log.csv", folder / "curve.png", config.exp_name)
        print(f"{folder}: finished, {run.best_psnr:.3f} dB on the validation pictures, weights in {best}")
    return stopped_by


def blended_with(run: Run, config: Config) -> Weights | None:
    """The weights that restoring ones are blended with, whose integer form so needs ranges at each strength."""
    if not config.jpeg_qualities or config.transfer_from is None:
        return None
    weights = load_weights(config.transfer_from, run.average.upscale_factor)
    return weights if weights.sizes == run.average.sizes else None


def training_files(config: Config) -> list[Path]:
    """Those of the training sets that are not validation pictures."""
    left_out = validation_paths(config.data_dir, config.validation_set)
    return training_paths(config.data_dir, config.train_sets, left_out)


def training_pictures(config: Config) -> Pictures:
    """The pictures to cut patches from, prepared in the cache beside the sets."""
    scale = config.upscale_factor[0]
    wanted = Wanted(
        tuple(training_files(config)),
        scale,
        scale * (config.patch_size + 2 * config.patch_margin),
        config.reductions,
        config.sampling == "psnr",
        config.jpeg_qualities,
        config.seed,
    )
    return prepare(wanted, config.cache_dir or config.data_dir / ".cache", is_first_on_machine())


def print_start(run: Run, config: Config, pictures: Pictures) -> None:
    """Prints what is trained, on what data and device."""
    for path in pictures.too_small:
        print(f"{path}: smaller than a patch, left out")
    sizes, folder = run.average.sizes, config.results_dir / config.exp_name
    name = sizes.variant or f"FSRCNN({sizes.d}, {sizes.s}, {sizes.m})"
    print(f"{folder}: {name} x{sizes.upscale_factor}, {sizes.parameters:,} parameters,", end=" ")
    print(f"{sizes.multiply_adds:,} multiply-adds per LR pixel")
    by = ", ".join(map(str, config.reductions))
    reduced = f", and reduced by {by} as far as a patch fits: {len(pictures.hr_size):,} in all" if by else ""
    print(f"{pictures.number:,} pictures as they are{reduced}; recipe {config.recipe},", end=" ")
    print(f"{run.device}, step {run.step} of {config.steps}", flush=True)


def run_steps(
    run: Run, config: Config, folder: Path, patches: TrainingPatches, validation: list[EvaluationPair]
) -> int | None:
    """Trains to the last step or an interruption; returns the interrupting signal, or None. Only rank 0 writes."""
    started = time.monotonic() - run.seconds
    writes = rank_and_ranks()[0] == 0
    losses, batch_loss = LossMeter(patches.device), loss_to_train(run, config)
    interval = 0.1 if sys.stderr.isatty() else 30.0  # seconds between updates of the bar: a log file keeps every one
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
        while not stop_asked(interruption, run.step, config.steps, patches.device) and run.step < config.steps:
            if run.step == config.deconv_only_steps:
                batch_loss = loss_to_train(run, config)
            losses.add(train_step(run, config, batch_loss, patches))
            run.seconds = time.monotonic() - started
            bar.update()
            if run.step % STEPS_BETWEEN_READINGS == 0:
                best = {"best": f"{run.best_psnr:.3f} dB"} if math.isfinite(run.best_psnr) else {}
                bar.set_postfix(best | {"loss": f"{losses.read(run.step):.5f}"}, refresh=False)
            if run.step % config.validate_every == 0 or run.step == config.steps:
                loss = losses.read(run.step)
                losses = LossMeter(patches.device)
                if log:
                    validate(run, config, folder, validation, log, loss)
        losses.read(run.step)
        is_saved_already = run.step == config.steps or run.step % config.validate_every == 0
        if writes and interruption.signal is not None and not is_saved_already:
            save_run(run, config, folder)
    return interruption.signal


def validate(run: Run, config: Config, folder: Path, validation: list[EvaluationPair], log: Log, loss: float) -> None:
    """Validates the averaged weights, keeps them if they are the best so far, logs, and saves the run."""
    score = mean_score(run.average, run, validation, config.border)
    unaveraged = mean_score(run.model, run, validation, config.border) if config.ema_decay else score
    if score["psnr"] > run.best_psnr:
        run.best_psnr = score["psnr"]
        save_weights(run.average.weights(), folder / "best.safetensors")
        write_json(folder / "best.json", describe(run, config, score))
    values = {"learning_rate": run.optimizer.param_groups[0]["lr"], "loss": loss, **score}
    values["psnr_unaveraged"] = unaveraged["psnr"]
    log.write(run.step, run.seconds, values, crops(network_of(run.average.weights(), run.device), validation[:4]))
    save_run(run, config, folder)


def judged_on(pairs: Iterable[EvaluationPair], config: Config) -> list[EvaluationPair]:
    """The pairs, or, in a training on compressed pictures, each pair at every one of VALIDATION_QUALITIES."""
    pairs = list(pairs)
    if not config.jpeg_qualities:
        return pairs
    return [pair.compressed(quality) for quality in VALIDATION_QUALITIES for pair in pairs]


def mean_score(
    model: FSRCNN, run: Run, pairs: list[EvaluationPair], border: Literal["zeros", "replicate"]
) -> dict[str, float]:
    """Mean PSNR and SSIM over the pictures, each enlarged by the network blended for its quality."""
    scores = []
    for quality, alike in groupby(pairs, lambda pair: pair.quality):
        network = network_of(blended(model, run.begin, blend_of(quality)).weights(), run.device)
        scores += [pair.score(upscale_luma(network, pair.lr, border)) for pair in alike]
    return {metric: float(np.mean([score[metric] for score in scores])) for metric in METRICS}


def describe(run: Run, config: Config, score: dict[str, float]) -> dict[str, Any]:
    """The content of the json beside the weights."""
    plain = as_plain(config)
    return {
        "recipe": {field: plain[field] for field in RECIPE_FIELDS},
        "step": run.step,
        "seconds": round(run.seconds),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "sha256": run.average.weights().digest,
        "validation": score,
        "samples": mean_score(
            run.average, run, judged_on(sample_pairs(config.upscale_factor[0]), config), config.border
        ),
    }


def compare_seeds(config: Config, runs: list[Config]) -> None:
    """Scores what each seed's run has ended with; prints the scores and writes them into a json for each scale."""
    sets = {name: each.pairs_at for name, each in test_sets(config.test_sets, config.data_dir).items()}
    for scale in config.upscale_factor:
        of_scale = [run for run in runs if run.upscale_factor == (scale,)]
        spreads = spread({run.seed: scores_of(run, sets, config.device) for run in of_scale})
        name, plain = run_name(config, scale), as_plain(of_scale[0])
        path = config.results_dir / f"{name}_seeds.json"
        recipe = {field: plain[field] for field in RECIPE_FIELDS if field != "seed"}
        write_json(path, {"recipe": recipe, "scores": spreads})
        print_spread(name, spreads)
        print(f"{path} holds these scores at full precision.")


def main() -> int:
    config = read_settings()
    runs = runs_to_do(config)
    prepare_cpu()
    stopped_by = next((signal for run in runs if (signal := train(run))), None)
    if stopped_by and rank_and_ranks()[0] == 0:
        arguments = [argument for argument in sys.argv if argument != "--resume"]
        join = subprocess.list2cmdline if sys.platform == "win32" else shlex.join
        print(f"interrupted and saved; to resume: python {join(arguments)} --resume")
    if config.seeds and not stopped_by and rank_and_ranks()[0] == 0:
        compare_seeds(config, runs)
    leave_processes()
    return 128 + stopped_by if stopped_by else 0


if __name__ == "__main__":
    run_script(main)

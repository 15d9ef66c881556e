"""Measures the training steps of one process on one core and of two on a core each: `python -m benchmarks.processes`.

Cutting the patches is left out: each process cuts its own share.
"""

import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from config import Config, read_config
from fsrcnn.devices import join_processes, leave_processes, rank_and_ranks, under_torchrun
from fsrcnn.errors import FailureError, RequestError, run_script
from fsrcnn.files import write_json
from training.patches import TrainingPatches
from training.run import start_run
from training.step import BatchLoss, loss_to_train, prepare_cpu, train_step

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "processes.json"
BATCHES = (4, 8, 16, 32, 64)
STEPS, ROUNDS = 2, 30


class Fixed:
    """The same patches at every step."""

    def __init__(self, number: int, config: Config) -> None:
        size, scale = config.patch_size, config.upscale_factor[0]
        self.patches = torch.rand(number, 1, size, size), torch.rand(number, 1, scale * size, scale * size)

    def batch(self, *_: int) -> tuple[Tensor, Tensor]:
        return self.patches

    def quality(self, _: int) -> None:
        return None


def loop(config: Config, patches: int, together: bool) -> Callable[[], None]:
    """A function that trains for STEPS steps on this process's patches; together: with the other processes."""
    run, fixed = start_run(config, torch.device("cpu")), cast(TrainingPatches, Fixed(patches, config))
    batch_loss = loss_to_train(run, config) if together else BatchLoss(run.model)

    def steps() -> None:
        for _ in range(STEPS):
            train_step(run, config, batch_loss, fixed)

    return steps


def measured(config: Config, batch: int) -> dict[str, float]:
    """Milliseconds a step of one process, of one with its share of the batch, and of all: the fastest of ROUNDS turns,
    of interest on rank 0 alone.
    """
    rank, ranks = rank_and_ranks()
    one, all_of_them = loop(config, batch, together=False), loop(config, batch // ranks, together=True)
    share = loop(config, batch // ranks, together=False)
    times: dict[str, list[float]] = {"one": [], "share": [], "all": []}
    for _ in range(ROUNDS + 1):
        for name, steps in (("one", one), ("share", share), ("all", all_of_them)):
            dist.barrier()
            start = time.perf_counter()
            if name == "all" or rank == 0:  # the others wait
                steps()
            times[name].append((time.perf_counter() - start) / STEPS * 1e3)
    return {name: min(rounds[1:]) for name, rounds in times.items()}


def work() -> None:
    """What each of the two processes does."""
    config = read_config("train", __doc__)
    join_processes("cpu")
    rank, ranks = rank_and_ranks()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    prepare_cpu()
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")  # see train.py
    results: dict[str, Any] = {}
    for batch in BATCHES:
        results[str(batch)] = cell = measured(config, batch)
        if rank == 0:
            print(f"batch {batch}: {1e3 / cell['one']:.1f} steps/s in one process, {1e3 / cell['all']:.1f} in {ranks}")
    if rank == 0:
        about = {"torch": torch.__version__, "processor": platform.processor() or platform.machine()}
        write_json(RESULT, about | {"patch_size": config.patch_size, "milliseconds_per_step": results})
    leave_processes()


def main() -> None:
    """Starts two processes, which write results/benchmark/processes.json."""
    if under_torchrun():
        work()
        return
    if (os.cpu_count() or 1) < 2:
        raise RequestError("two processes need two cores")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "benchmarks.processes", "--upscale-factor", "3", *sys.argv[1:]]
    if subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False).returncode:
        raise FailureError("the processes failed, as they say above")


if __name__ == "__main__":
    run_script(main)

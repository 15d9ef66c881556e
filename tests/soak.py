"""What only long runs show: `python -m tests.soak kill_training kill_folder many_pictures long_training`.

Each part fails with one line, or writes its figures into results/benchmark/reliability.json.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset import write_image
from fsrcnn.errors import FailureError, run_script
from tests.fuzz import ROOT, record
from tests.made import save_data
from training.log import read_log
from training.run import LAST, PREVIOUS

KILLS, PICTURES, MANY, BAD, MINUTES = 20, 500, 5000, 50, 30
READING = 1.0  # seconds between two readings of memory and open files
GROWTH = 1.05  # of memory, at most, from the second quarter of the time to the last
TWO_PROCESSES = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def expect(right: bool, wrong: str) -> None:
    if not right:
        raise FailureError(wrong)


def end_of(output: Path) -> str:
    return output.read_text(encoding="utf-8")[-1000:]


def family(process: int) -> list[int]:
    """A process and all that it started, by their numbers."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children"))
    return [process, *(each for child in children.split() for each in family(int(child)))]


@contextmanager
def started(arguments: list[Any], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Python with these arguments, and what it says in a file; killed at the end with all that it started."""
    with output.open("wb") as file:
        command = [sys.executable, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
        try:
            yield process
        finally:
            for each in family(process.pid) if process.poll() is None else []:
                os.kill(each, signal.SIGKILL)
            process.wait()


def finish(arguments: list[Any], output: Path) -> None:
    with started(arguments, output) as process:
        expect(process.wait() == 0, f"{arguments[0]} ended with {process.returncode}: {end_of(output)}")


def kill(
    arguments: Callable[[], list[Any]], output: Path, done: Callable[[], int], most: int, check: Callable[[], None]
) -> None:
    """Starts Python again and again, kills it after it has done up to so much more, every fifth time while it starts,
    and checks what is there.
    """
    chance = random.Random(0)
    for number in range(KILLS):
        starting = number % 5 == 0
        least = done() + chance.randint(1, most) * (not starting)
        with started(arguments(), output) as process:
            while process.poll() is None and done() < least:
                time.sleep(0.001)
            time.sleep(chance.random() * (0.5 if starting else 0.02))
            expect(process.poll() is None, f"kill {number}: ended already: {end_of(output)}")
        check()


def kill_training(folder: Path) -> dict[str, Any]:
    """SIGKILL at moments of a training; it goes on to the same weights and the same log."""
    data, output = save_data(folder / "data"), folder / "output"
    flags = ["train.py", "--upscale-factor", 2, "--variant", "fsrcnn_s", "--data-dir", data, "--train-sets", "Train"]
    flags += ["--device", "cpu", "--exp-name", "run", "--steps", 800, "--validate-every", 20, "--batch-size", 4]
    whole, killed = (folder / name / "run" for name in ("whole", "killed"))

    def arguments() -> list[Any]:
        resume = ["--resume"] * any((killed / name).is_file() for name in (LAST, PREVIOUS))
        return [*flags, "--results-dir", killed.parent, *resume]

    def rows() -> int:
        return (killed / "log.csv").read_bytes().count(b"\n") if (killed / "log.csv").is_file() else 0

    finish([*flags, "--results-dir", whole.parent], output)
    kill(arguments, output, rows, 2, lambda: None)
    finish(arguments(), output)
    one, other = (torch.load(run / "last.pth", weights_only=True) for run in (whole, killed))
    for part in ("model", "average"):
        same = all(torch.equal(value, other[part][name]) for name, value in one[part].items())
        expect(same, f"{part}: not the weights of the training that was not killed")
    logs = [{**read_log(run / "log.csv"), "seconds": None} for run in (whole, killed)]
    expect(logs[0] == logs[1], "the log is not that of the training that was not killed")
    return {"kills": KILLS, "steps": one["step"]}


def save_pictures(folder: Path, count: int, bad: int = 0) -> Path:
    """Small pictures, each different; some of them cut off."""
    for number in range(count):
        path = folder / f"{number:04}.{('png', 'jpg', 'webp', 'tif')[number % 4]}"
        write_image(path, np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8))
        if number < bad:
            os.truncate(path, path.stat().st_size // 2)
    return folder


def enlarge(pictures: Path, results: Path) -> list[Any]:
    return ["upscale.py", pictures, "--output", results, "--device", "cpu", "--variant", "fsrcnn_s"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kill_folder(folder: Path) -> dict[str, Any]:
    """SIGKILL at moments of a folder of pictures: what is there is whole, and the same command goes on to the rest."""
    pictures, whole, killed, output = (folder / name for name in ("in", "whole", "killed", "output"))
    killed.mkdir()
    finish(enlarge(save_pictures(pictures, PICTURES), whole), output)
    expected = contents(whole)

    def results() -> dict[str, bytes]:
        return {name: content for name, content in contents(killed).items() if not name.startswith(".")}

    def check() -> None:
        expect(results().items() <= expected.items(), "a result is not whole")

    kill(lambda: enlarge(pictures, killed), output, lambda: len(list(killed.iterdir())), PICTURES // KILLS, check)
    finish(enlarge(pictures, killed), output)
    expect(results() == expected, "results are missing")
    expect(contents(killed) == expected, f"left behind: {sorted(contents(killed).keys() - expected.keys())[:3]}")
    return {"kills": KILLS, "pictures": PICTURES}


def watched(process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
    """Reads memory and open files of a process and all that it started until it ends, or for so long. Fails where they
    grow.
    """
    memory, files, began = [], [], time.monotonic()
    while process.poll() is None and time.monotonic() - began < seconds:
        try:
            places = [Path(f"/proc/{number}") for number in family(process.pid)]
            pages = sum(int((place / "statm").read_text().split()[1]) for place in places)
            opened = sum(len(list((place / "fd").iterdir())) for place in places)
        except OSError:  # one has ended
            continue
        memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        files.append(opened)
        time.sleep(READING)
    quarter = len(memory) // 4
    early, late = (max(memory[place * quarter : (place + 1) * quarter]) for place in (1, 3))
    expect(late < early * GROWTH, f"memory grows from {early:.0f} to {late:.0f} MiB")
    expect(
        max(files[3 * quarter :]) <= max(files[quarter : 2 * quarter]), f"open files grow: {files[quarter::quarter]}"
    )
    figures = {"early_mib": round(early), "late_mib": round(late), "open_files": max(files[3 * quarter :])}
    return figures | {"seconds": round(time.monotonic() - began)}


def many_pictures(folder: Path) -> dict[str, Any]:
    """A folder of pictures in two processes, some of them damaged: the others are all there, in memory that is flat."""
    pictures, results, output = save_pictures(folder / "in", MANY, BAD), folder / "results", folder / "output"
    with started([*TWO_PROCESSES, *enlarge(pictures, results)], output) as process:
        figures = watched(process, 3600)
        expect(process.wait(60) == 1, f"ended with {process.returncode}: {end_of(output)}")
    made = len(list(results.iterdir()))
    expect(made == MANY - BAD, f"{made} results")
    named = sum(line.startswith("failed: ") for line in output.read_text(encoding="utf-8").splitlines())
    expect(named == BAD, f"{named} of {BAD} damaged pictures are named")
    return {"pictures": MANY, "damaged": BAD, **figures}


def long_training(folder: Path) -> dict[str, Any]:
    """A long training, in memory that is flat, with no more and more open files."""
    flags = ["--data-dir", save_data(folder / "data"), "--train-sets", "Train", "--device", "cpu", "--exp-name", "run"]
    flags += ["--upscale-factor", 3, "--steps", 10**7, "--validate-every", 200, "--results-dir", folder]
    with started(["train.py", *flags], folder / "output") as process:
        figures = watched(process, 60 * MINUTES)
        process.send_signal(signal.SIGTERM)
        expect(process.wait(60) == 128 + signal.SIGTERM, f"ended: {end_of(folder / 'output')}")
    return {**figures, "steps": int(read_log(folder / "run" / "log.csv")["step"][-1])}


PARTS = {part.__name__: part for part in (kill_training, kill_folder, many_pictures, long_training)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=f"{', '.join(PARTS)}; none: all")
    for name in parser.parse_args().parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            figures = PARTS[name](Path(folder))
        print(f"{name}: {figures}", flush=True)
        record(name, figures)


if __name__ == "__main__":
    run_script(main)

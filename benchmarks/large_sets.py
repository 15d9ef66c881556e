"""Measures trainings on sets larger than the public ones, on Linux: `python -m benchmarks.large_sets`.

No larger set is free to be part of this repository. The sets are made here, of random pieces of the training pictures,
in a temporary folder of data_dir: each of their pictures is another, though they show nothing new. They tell what size
costs, not what more data is worth.
"""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from config import read_config
from dataset import read_image, training_paths, write_image
from fsrcnn.devices import cpu_threads
from fsrcnn.errors import FailureError, run_script
from fsrcnn.files import write_json
from fsrcnn.weights import read_pth

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "large_sets.json"
PIECE = 90  # pixels: side of the pieces, which all training pictures but a few have
STEPS = 200
LIMIT = 1_500_000_000  # bytes of memory, the system's pages of files too, of the training whose set is larger
GROUPS = Path("/sys/fs/cgroup/memory")  # of the system's control groups, version 1
PARTS = ("RssAnon", "RssFile")


class Made(NamedTuple):
    """A set that is made."""

    name: str
    number: int
    height: int
    width: int
    reductions: str


SETS = (
    Made("3,000 pictures of 481 x 321", 3000, 321, 481, "0.9 0.8 0.7 0.6"),
    Made("1,085 pictures of 2040 x 1356", 1085, 1356, 2040, "none"),
)


def make_set(made: Made, folder: Path, paths: list[Path]) -> None:
    """Writes the set as JPEG files, each a mosaic of pieces of random pictures."""
    random = np.random.default_rng(0)
    images = [image for image in map(read_image, paths) if min(image.shape[:2]) >= PIECE and image.ndim == 3]
    folder.mkdir(parents=True)
    for index in range(made.number):
        rows = [
            np.concatenate([piece(images, random) for _ in range(0, made.width, PIECE)], axis=1)
            for _ in range(0, made.height, PIECE)
        ]
        write_image(folder / f"{index:05}.jpg", np.concatenate(rows)[: made.height, : made.width])


def piece(images: list[NDArray[np.uint8]], random: np.random.Generator) -> NDArray[np.uint8]:
    image = images[random.integers(len(images))]
    top, left = (int(random.integers(length - PIECE + 1)) for length in image.shape[:2])
    return image[top : top + PIECE, left : left + PIECE]


@contextmanager
def limited() -> Iterator[Path]:
    """A control group that has LIMIT bytes of memory."""
    group = GROUPS / f"large_sets_{time.time_ns()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(LIMIT), encoding="utf-8")
        yield group
    finally:
        group.rmdir()


def measured(name: str, results: Path, flags: list[str], group: Path | None = None) -> dict[str, Any]:
    """Trains some steps. Returns the seconds until the first one, the steps per second, and the most memory that the
    process and those that it starts had at once, in bytes: their own, and pages of mapped files.
    """
    command = [sys.executable, "train.py", "--upscale-factor", "2", "--device", "cpu", "--exp-name", name, *flags]
    command += ["--steps", str(STEPS), "--validate-every", str(STEPS), "--results-dir", str(results)]
    if group:
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command]
    begin, most = time.monotonic(), dict.fromkeys(PARTS, 0)
    log = results / f"{name}.txt"
    with (
        log.open("w+", encoding="utf-8") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        first = None
        while process.poll() is None:
            now = memory(process.pid)
            most = {part: max(most[part], now[part]) for part in PARTS}
            if first is None and f"step 0 of {STEPS}" in log.read_text(encoding="utf-8"):
                first = time.monotonic() - begin
            time.sleep(0.05)
    shown = log.read_text(encoding="utf-8")
    if process.returncode or first is None:
        raise FailureError(f"{' '.join(command)}: {shown}")
    seconds = read_pth(results / name / "last.pth")["seconds"]
    return {"seconds_to_first_step": first, "steps_per_second": STEPS / seconds, **most}


def memory(process: int) -> dict[str, int]:
    """The bytes of PARTS that a process and its children have."""
    total = dict.fromkeys(PARTS, 0)
    with suppress(OSError):  # one that has ended
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
        for each in (str(process), *children):
            status = Path(f"/proc/{each}/status").read_text(encoding="utf-8")
            for part in PARTS:
                if match := re.search(rf"{part}:\s+(\d+) kB", status):
                    total[part] += 1024 * int(match[1])
    return total


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def forget(folder: Path) -> None:
    """Makes the system forget the content of the files in the folder, which it has then to read from the disk."""
    for path in folder.rglob("values"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Trains on T91, on the sets that are made, and on the largest with less memory than it takes. Writes
    results/benchmark/large_sets.json.
    """
    config = read_config("train", __doc__)
    paths, rows = training_paths(config.data_dir, config.train_sets), {}
    with TemporaryDirectory(dir=config.data_dir, prefix=".large_sets-") as temporary:
        folder = Path(temporary)
        cache, results = folder / "cache", folder / "results"
        results.mkdir()
        shared = ["--data-dir", str(config.data_dir), "--cache-dir", str(cache)]
        runs = [("T91", ["--train-sets", "T91"]), ("default sets", ["--train-sets", *config.train_sets])]
        for made in SETS:
            make_set(made, folder / made.name, paths)
            flags = ["--train-sets", str(folder / made.name), "--reductions", *made.reductions.split()]
            runs.append((made.name, flags))
        for name, flags in runs:
            before = bytes_in(cache)
            start = measured(f"{name}, first", results, [*shared, *flags])
            rows[name] = {"bytes": bytes_in(cache) - before, "first": start}
            rows[name]["again"] = measured(f"{name}, again", results, [*shared, *flags])
            print(name, rows[name], flush=True)
        if os.access(GROUPS, os.W_OK):
            forget(cache)
            with limited() as group:
                rows[name]["limited"] = measured(f"{name}, limited", results, [*shared, *flags], group)
        else:
            print(f"{GROUPS} cannot be written to: nothing is measured in less memory than the set takes")
    machine = {"processor": platform.processor() or platform.machine(), "threads": cpu_threads()}
    write_json(RESULT, {**machine, "steps": STEPS, "limit": LIMIT, "sets": rows})


if __name__ == "__main__":
    run_script(main)

"""Measures the network's speed on a CPU beside other ways to run it, in one run: `python -m benchmarks.network`."""

import ctypes
import functools
import importlib
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import skimage.data
import torch
from llvmlite import binding, ir
from pydantic.dataclasses import dataclass
from tqdm import tqdm

from benchmarks import peers
from benchmarks.peers import (
    FLOAT_COLUMNS,
    INTEGERS,
    OURS,
    PEERS,
    PLAIN,
    REDUCED_COLUMNS,
    Conditions,
    LumaBatch,
    Runner,
    Shipped,
    Way,
    environment,
    installed,
    installed_ways,
    missing_peers,
)
from config import SETTINGS, Config, Positive, checked, read_flags
from dataset import folder_pairs, set_folder
from fsrcnn.errors import FailureError, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.luma import PEAK
from fsrcnn.native.llvm import FLOAT_ALIGNMENT, POINTER, Builder, machine_code
from fsrcnn.native.target import AVX2_LANES, Target
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import luma

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "network.json"
ROUNDS = 7
SHORTEST = 0.02  # seconds that a timing lasts at least: it repeats the run as often as that needs
REST = 0.05  # seconds before each timing, in which the threads of the one before stop to wait in a busy loop
TOLERANCE = 1e-5  # of luma in [0, 1], between any two ways to run a network
ROUGHLY = 0.02  # on average, of a way that is not in float32
LOSS_SET = "Set5"


class NetworkName(NamedTuple):
    """A shipped network."""

    variant: str
    scale: int

    def __str__(self) -> str:
        return f"{self.variant} x{self.scale}"


@functools.cache
def shipped(variant: str, scale: int) -> Shipped:
    return Shipped(load_weights(shipped_weights(variant, scale)))


class Case(NamedTuple):
    """A network and the size of its output; the input is that size divided by the scale, rounded up."""

    variant: str
    scale: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.of} {self.width}x{self.height}"

    @property
    def of(self) -> NetworkName:
        return NetworkName(self.variant, self.scale)

    def network(self) -> Shipped:
        return shipped(*self.of)

    def picture(self) -> LumaBatch:
        """A photograph of the input's size."""
        size = -(-self.width // self.scale), -(-self.height // self.scale)
        photograph = cv2.resize(luma(skimage.data.astronaut()).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return photograph[None, None] / 255

    def multiply_adds(self) -> int:
        """Those of all layers: each weight is used once for each pixel of the small picture."""
        weights = (parameter for parameter in self.network().model.parameters() if parameter.ndim == 4)
        return sum(weight.numel() for weight in weights) * self.picture().size


CASES = [
    Case(variant, scale, width, height)
    for variant in VARIANTS
    for width, height in ((240, 240), (1280, 720), (1920, 1080))
    for scale in ((3,) if width == 240 else SCALES)
]
FEWER = [case for case in CASES if case.width == 1280]  # with one thread, and with AVX2
LARGEST = CASES[4]  # fsrcnn x2 1920x1080


HEAD = ["network and output", "float32", "frames/s", "GMAC/s", "share", "integers", *FLOAT_COLUMNS, *REDUCED_COLUMNS]


def timings(runs: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Milliseconds per run of each in each round. They take turns, with a rest between; the first run of each turn is
    not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            time.sleep(REST)
            start = time.perf_counter()
            run()
            number = 1 + int(SHORTEST / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(number):
                run()
            times[name].append((time.perf_counter() - start) / number * 1e3)
    return times


def made_runners(network: Shipped, x: LumaBatch, ways: dict[str, Way], conditions: Conditions) -> dict[str, Runner]:
    forms = {form: form(network, x) for form in {way.form for way in ways.values()}}
    return {name: way.runner(forms[way.form], conditions) for name, way in ways.items()}


def measure(case: Case, ways: dict[str, Way], conditions: Conditions) -> dict[str, list[float]]:
    """`timings` of the ways to run a case. Raises FailureError if one in float32 disagrees with PLAIN."""
    x = case.picture()
    runners = made_runners(case.network(), x, ways, conditions)
    runs: dict[str, Callable[[], Any]] = {
        name: functools.partial(run, ways[name].takes(x)) for name, run in runners.items()
    }
    expected = runs[PLAIN]()
    for name, way in ways.items():
        difference = np.abs(way.gives(runs[name]()) - expected)
        error, limit = (float(difference.max()), TOLERANCE) if way.exact else (float(difference.mean()), ROUGHLY)
        if not error <= limit:
            raise FailureError(f"{case}: {name} is {error:.1e} from {PLAIN}, expected at most {limit}")
    return timings(runs)


def losses(name: NetworkName, ways: dict[str, Way], conditions: Conditions) -> dict[str, float]:
    """The mean PSNR in dB that each way that is not exact loses against PLAIN, on the pictures of LOSS_SET."""
    network = shipped(*name)
    compared = {name: way for name, way in ways.items() if name == PLAIN or not way.exact}
    scores: dict[str, list[float]] = {each: [] for each in compared}
    for pair in folder_pairs(set_folder(Config().data_dir, LOSS_SET), name.scale):
        x = (pair.lr / PEAK).astype(np.float32)[None, None]
        for each, run in made_runners(network, x, compared, conditions).items():
            way = compared[each]
            scores[each].append(pair.score(way.gives(run(way.takes(x)))[0, 0] * PEAK)["psnr"])
    means = {each: statistics.mean(found) for each, found in scores.items()}
    return {each: means[PLAIN] - mean for each, mean in means.items() if each != PLAIN}


def multiply_adds_per_second(threads: int, target: Target) -> float:
    """The peak of the vector units: chains of fused multiply-adds that stay in registers, on all threads."""
    chains, length = 16, 5_000_000

    def emit(module: ir.Module) -> None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, target.index]), "run")
        numbers, count = function.args
        b = Builder(function.append_basic_block(), target)
        start = [b.vector(b.at(numbers, i * target.lanes)) for i in range(chains)]
        x = start[0]
        sums = b.loop(b.index(0), count, 1, lambda _, *sums: [b.multiply_add(x, x, total) for total in sums], start)
        for i, total in enumerate(sums):
            b.store(total, b.at(numbers, i * target.lanes), align=FLOAT_ALIGNMENT)
        b.ret_void()

    run = machine_code(emit, ("multiply-adds", chains), [ctypes.c_void_p, ctypes.c_int64], target)
    memory = np.zeros((threads, chains * target.lanes), np.float32)

    def seconds() -> float:
        start = time.perf_counter()
        list(pool.map(lambda row: run(row.ctypes.data, length), memory))
        return time.perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        return memory.size * length / min(seconds() for _ in range(7))


def matrix_product_rate(size: int = 1024) -> float:
    """Multiply-adds per second of PyTorch's float32 matrix product."""
    matrix = torch.rand(size, size)

    def seconds() -> float:
        start = time.perf_counter()
        matrix @ matrix
        return time.perf_counter() - start

    return size**3 / min(seconds() for _ in range(10))


def resident(field: str) -> int:
    """Memory of this process in bytes. field: VmRSS, now, or VmHWM, at its peak."""
    line = next(
        line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if line.startswith(field)
    )
    return int(line.split()[1]) * 1024


def peak_memory(case: Case, name: str, form: Any, conditions: Conditions) -> int:
    """Bytes that loading the network and running it twice add, at their peak, to a process with all packages loaded."""
    torch.set_num_threads(conditions.threads)
    for package in ("onnxruntime", "openvino"):
        if installed(package):
            importlib.import_module(package)
    x, before = peers.WAYS[name].takes(case.picture()), resident("VmRSS")
    run = peers.WAYS[name].runner(form, conditions)
    for _ in range(2):
        run(x)
    return resident("VmHWM") - before


def in_process(task: Callable[..., Any], *arguments: Any, conditions: Conditions) -> Any:
    """What the task returns in a process of its own, whose programs are told of the conditions."""
    with environment(conditions), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(task, *arguments, conditions).result()


def peak_memories(case: Case, conditions: Conditions) -> dict[str, int]:
    """`peak_memory` of each way, in a process of its own; empty if the system has no /proc."""
    if not Path("/proc/self/status").exists():
        return {}
    network, x, memories = case.network(), case.picture(), {}
    for name, way in tqdm(installed_ways(conditions).items(), "memory", leave=False):
        memories[name] = in_process(peak_memory, case, name, way.form(network, x), conditions=conditions)
    return memories


def all_losses(conditions: Conditions) -> dict[str, dict[str, float]]:
    """`losses` of every network of CASES."""
    torch.set_num_threads(conditions.threads)
    names = dict.fromkeys(case.of for case in CASES)
    ways = installed_ways(conditions)
    return {str(name): losses(name, ways, conditions) for name in tqdm(names, "losses", leave=False)}


def measured(cases: list[Case], names: list[str], conditions: Conditions) -> dict[str, Any]:
    """The part of the result that is of these conditions. names: of the ways."""
    torch.set_num_threads(conditions.threads)
    ways = {name: peers.WAYS[name] for name in names}
    peak, product = multiply_adds_per_second(conditions.threads, conditions.target), matrix_product_rate()
    return {
        "threads": conditions.threads,
        "avx2": conditions.avx2,
        "multiply_adds_per_second": {"vector units": peak, "matrix product": product},
        "cases": {
            str(case): {"multiply_adds": case.multiply_adds(), "milliseconds": measure(case, ways, conditions)}
            for case in tqdm(cases, str(conditions), leave=False)
        },
    }


def measured_where_told(cases: list[Case], conditions: Conditions) -> dict[str, Any]:
    """`measured` of the installed ways: here, or in a process of its own if programs must be told as they start."""
    names = list(installed_ways(conditions))
    if conditions.avx2:
        return in_process(measured, cases, names, conditions=conditions)
    return measured(cases, names, conditions)


def line(case: str, said: dict[str, Any], lost: dict[str, float]) -> list[str]:
    """The cells of one case, as in HEAD; a peer's time is that of its faster form. lost: dB."""
    times, work = said["cases"][case]["milliseconds"], said["cases"][case]["multiply_adds"]
    medians = {name: statistics.median(rounds) for name, rounds in times.items()}
    ours, spread = medians[OURS], statistics.quantiles(times[OURS])[::2]
    rate, peak = work / ours * 1e3, said["multiply_adds_per_second"]["vector units"]
    cells = [case, f"{ours:.2f} ({spread[0]:.2f} - {spread[1]:.2f})", f"{1e3 / ours:.0f}"]
    cells += [f"{rate / 1e9:.0f}", f"{rate / peak:.0%}"]
    for ways in ((INTEGERS,), *FLOAT_COLUMNS.values(), *REDUCED_COLUMNS.values()):
        there = [way for way in ways if way in medians]
        if not there:
            cells.append("not measured")
            continue
        best = min(there, key=lambda way: medians[way])
        cells.append(f"{medians[best]:.2f} ({medians[best] / ours:.2f}x)")
        if best in lost:
            cells[-1] += f" {-lost[best]:+.3f} dB"
    return cells


def print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@dataclass(frozen=True, config=SETTINGS)
class Settings:
    """The settings of the benchmark."""

    threads: Positive = os.cpu_count() or 1
    """Threads that each way to run the network may use."""


def main() -> None:
    """Times both compiled forms of the network beside other ways to run it, in results/benchmark/network.json."""
    threads = checked(Settings, **read_flags(Settings(), __doc__)).threads
    everything = Conditions(threads)
    if missing := missing_peers():
        print(f"not installed and left out: {', '.join(missing)}")
    parts = {everything: CASES, Conditions(1): FEWER}
    if everything.target.lanes > AVX2_LANES:
        parts[Conditions(threads, avx2=True)] = FEWER
    parts = {conditions: cases for conditions, cases in parts.items() if cases}
    whole, *others = (measured_where_told(cases, conditions) for conditions, cases in parts.items())
    lost = all_losses(everything)
    memories = peak_memories(LARGEST, everything)

    for conditions, said in zip(parts, (whole, *others), strict=True):
        rates = said["multiply_adds_per_second"]
        print(
            f"\n{conditions}: the vector units' peak in float32 is {rates['vector units'] / 1e9:.0f} GMAC/s;", end=" "
        )
        print(f"PyTorch's matrix product reaches {rates['matrix product'] / 1e9:.0f} GMAC/s")
        lost_here = lost if conditions.avx2 == everything.avx2 else {}
        print_table([HEAD, *(line(case, said, lost_here.get(case.rpartition(" ")[0], {})) for case in said["cases"])])
    print(
        f"\nmilliseconds of one picture, medians of {ROUNDS} rounds (quartiles); in brackets: times the compiled form's"
    )
    print("in float32; dB: what is lost on Set5. GMAC/s: 10^9 multiply-adds per second; share: of the peak.")
    print(f"\nPeak memory of a process beyond its packages, {LARGEST}, in MB:")
    print(", ".join(f"{name} {size / 1e6:.0f}" for name, size in memories.items()) or "not known on this system")
    packages = ("torch", "llvmlite", "opencv-python", *(package for package in PEERS if installed(package)))
    settings = {
        "processor": f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})",
        "rounds": ROUNDS,
        "versions": {package: version(package) for package in packages},
        "peak_memory_bytes": {str(LARGEST): memories},
    }
    write_json(RESULT, settings | whole | {"losses": lost, "others": others})


if __name__ == "__main__":
    run_script(main)

"""Measures the network's speed on a CPU beside other ways to run it, in one run: `python -m benchmarks.network`."""

import contextlib
import ctypes
import importlib.util
import io
import multiprocessing
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
import skimage.data
import torch
from llvmlite import binding, ir
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from tqdm import tqdm

from config import SETTINGS, Positive, checked, read_flags
from fsrcnn.errors import FailureError, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.native.llvm import FLOAT_ALIGNMENT, POINTER, Builder, machine_code
from fsrcnn.native.target import Target, host
from fsrcnn.network import network_of
from fsrcnn.pytorch import SubpixelFSRCNN
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import luma
from model import FSRCNN

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "network.json"
ROUNDS = 7
SHORTEST = 0.02  # seconds that a timing lasts at least: it repeats the run as often as that needs
TOLERANCE = 1e-5  # of luma in [0, 1], between any two ways to run a network
PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}  # optional packages

LumaBatch = NDArray[np.float32]  # 1 x 1 x H x W luma in [0, 1]
Runner = Callable[[LumaBatch], LumaBatch]


class Case(NamedTuple):
    """A network and the size of its output; the input is that size divided by the scale, rounded up."""

    variant: str
    scale: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.variant} x{self.scale} {self.width}x{self.height}"

    def network(self) -> FSRCNN:
        return FSRCNN.from_weights(load_weights(shipped_weights(self.variant, self.scale))).eval()

    def picture(self) -> LumaBatch:
        """A photograph of the input's size."""
        size = -(-self.width // self.scale), -(-self.height // self.scale)
        photograph = cv2.resize(luma(skimage.data.astronaut()).astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return photograph[None, None] / 255

    def multiply_adds(self) -> int:
        """Those of all layers: each weight is used once for each pixel of the small picture."""
        weights = (parameter for parameter in self.network().parameters() if parameter.ndim == 4)
        return sum(weight.numel() for weight in weights) * self.picture().size


CASES = [
    Case(variant, scale, width, height)
    for variant in VARIANTS
    for width, height in ((240, 240), (1280, 720), (1920, 1080))
    for scale in ((3,) if width == 240 else SCALES)
]
LARGEST = CASES[4]  # fsrcnn x2 1920x1080


def torch_runner(model: Callable[[Tensor], Tensor]) -> Runner:
    def run(x: LumaBatch) -> LumaBatch:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return run


def onnx(model: nn.Module, x: LumaBatch) -> bytes:
    """The model as ONNX, for this size of picture."""
    with TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        torch.onnx.export(model, (torch.from_numpy(x),), file, dynamo=False, input_names=["x"])
        return file.read_bytes()


def onnxruntime_runner(graph: bytes, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def openvino_runner(graph: bytes, threads: int) -> Runner:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", settings).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True, share_outputs=True)[0]


def opencv_runner(graph: bytes, threads: int) -> Runner:
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(graph, np.uint8))

    def run(x: LumaBatch) -> LumaBatch:
        net.setInput(x)
        return net.forward()

    return run


class Way(NamedTuple):
    """A way to run the network. form: converts the model, for a size of picture; runner: turns that into a function
    that runs on a number of threads.
    """

    form: Callable[[FSRCNN, LumaBatch], Any]
    runner: Callable[[Any, int], Runner]


def plain(model: FSRCNN, _: LumaBatch) -> FSRCNN:
    return model


def subpixel_onnx(model: FSRCNN, x: LumaBatch) -> bytes:
    return onnx(SubpixelFSRCNN(model.weights()), x)


def compiled_runner(model: FSRCNN, threads: int) -> Runner:
    network = network_of(model.weights(), "cpu", threads)
    return lambda x: network(x[0, 0])[None, None]


OURS, PLAIN = "compiled", "PyTorch, deconvolution"
WAYS = {
    OURS: Way(plain, compiled_runner),
    PLAIN: Way(plain, lambda model, threads: torch_runner(model)),
    "PyTorch, sub-pixel": Way(plain, lambda model, threads: torch_runner(SubpixelFSRCNN(model.weights()))),
    "ONNX Runtime, deconvolution": Way(onnx, onnxruntime_runner),
    "ONNX Runtime, sub-pixel": Way(subpixel_onnx, onnxruntime_runner),
    "OpenVINO, deconvolution": Way(onnx, openvino_runner),
    "OpenVINO, sub-pixel": Way(subpixel_onnx, openvino_runner),
    # OpenCV's deconvolution is about ten times slower than its sub-pixel form, and would take most of the time.
    "OpenCV dnn, sub-pixel": Way(subpixel_onnx, opencv_runner),
}


# Of the table that is printed.
COLUMNS = (PLAIN, "PyTorch, sub-pixel", "ONNX Runtime", "OpenVINO", "OpenCV dnn")
HEAD = ["network and output", OURS, "frames/s", "GMAC/s", "share", *COLUMNS]


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def installed_ways() -> dict[str, Way]:
    """The ways whose packages are installed; prints the names of the missing packages."""
    missing = [name for package, name in PEERS.items() if not installed(package)]
    if missing:
        print(f"not installed and left out: {', '.join(missing)}")
    return {name: way for name, way in WAYS.items() if name.partition(",")[0] not in missing}


def timings(runners: dict[str, Runner], x: LumaBatch) -> dict[str, list[float]]:
    """Milliseconds per run of each runner in each round. The runners take turns; the first run of each turn is not
    counted.
    """
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            start = time.perf_counter()
            run(x)
            number = 1 + int(SHORTEST / (time.perf_counter() - start))
            start = time.perf_counter()
            for _ in range(number):
                run(x)
            times[name].append((time.perf_counter() - start) / number * 1e3)
    return times


def measure(case: Case, ways: dict[str, Way], threads: int) -> dict[str, list[float]]:
    """`timings` of the ways to run a case. Raises FailureError if one disagrees with PLAIN."""
    model, x = case.network(), case.picture()
    forms = {form: form(model, x) for form in {way.form for way in ways.values()}}
    runners = {name: way.runner(forms[way.form], threads) for name, way in ways.items()}
    expected = runners[PLAIN](x)
    for name, run in runners.items():
        error = float(np.abs(run(x) - expected).max())
        if not error <= TOLERANCE:
            raise FailureError(f"{case}: {name} is {error:.1e} from {PLAIN}, expected at most {TOLERANCE}")
    return timings(runners, x)


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


def peak_memory(case: Case, name: str, form: Any, threads: int) -> int:
    """Bytes that loading the network and running it twice add, at their peak, to a process with all packages loaded."""
    torch.set_num_threads(threads)
    for package in PEERS:
        if installed(package):
            importlib.import_module(package)
    x, before = case.picture(), resident("VmRSS")
    run = WAYS[name].runner(form, threads)
    for _ in range(2):
        run(x)
    return resident("VmHWM") - before


def peak_memories(case: Case, ways: dict[str, Way], threads: int) -> dict[str, int]:
    """`peak_memory` of each way, in a process of its own; empty if the system has no /proc."""
    if not Path("/proc/self/status").exists():
        return {}
    model, x, memories = case.network(), case.picture(), {}
    for name, way in tqdm(ways.items(), "memory", leave=False):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            memories[name] = process.submit(peak_memory, case, name, way.form(model, x), threads).result()
    return memories


def line(case: Case, medians: dict[str, float], spread: list[float], peak: float) -> list[str]:
    """The cells of one case, as in HEAD; a peer's time is that of its faster form."""
    ours = medians[OURS]
    rate = case.multiply_adds() / ours * 1e3
    cells = [str(case), f"{ours:.2f} ({spread[0]:.2f} - {spread[1]:.2f})", f"{1e3 / ours:.0f}"]
    cells += [f"{rate / 1e9:.0f}", f"{rate / peak:.0%}"]
    for column in COLUMNS:
        best = min((time for name, time in medians.items() if name.startswith(column)), default=None)
        cells.append(f"{best:.1f} ({best / ours:.1f}x)" if best else "not installed")
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
    """Times the compiled form of the network beside other ways to run it and writes results/benchmark/network.json."""
    threads = checked(Settings, **read_flags(Settings(), __doc__)).threads
    torch.set_num_threads(threads)
    if (target := host()) is None:
        raise FailureError("the compiled form cannot run here: no fused multiply-add, or llvmlite is too old")
    ways = installed_ways()
    peak, product = multiply_adds_per_second(threads, target), matrix_product_rate()
    cases, rows = {}, [HEAD]
    for case in tqdm(CASES, leave=False):
        times = measure(case, ways, threads)
        medians = {name: statistics.median(rounds) for name, rounds in times.items()}
        rows.append(line(case, medians, statistics.quantiles(times[OURS])[::2], peak))
        cases[str(case)] = {"multiply_adds": case.multiply_adds(), "milliseconds": times}
    memories = peak_memories(LARGEST, ways, threads)

    print_table(rows)
    print(f"\nmilliseconds of one picture, medians of {ROUNDS} rounds (quartiles), {threads} threads, float32;")
    print("in brackets: times the compiled form's. GMAC/s: 10^9 multiply-adds per second; share: of the vector units'")
    print(f"peak, {peak / 1e9:.0f} GMAC/s. PyTorch's matrix product reaches {product / 1e9:.0f} GMAC/s.")
    print(f"\nPeak memory of a process beyond its packages, {LARGEST}, in MB:")
    print(", ".join(f"{name} {size / 1e6:.0f}" for name, size in memories.items()) or "not known on this system")
    packages = (
        "torch",
        "llvmlite",
        "opencv-python",
        *(package for package, name in PEERS.items() if installed(package)),
    )
    settings = {
        "processor": f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})",
        "threads": threads,
        "rounds": ROUNDS,
        "versions": {package: version(package) for package in packages},
        "multiply_adds_per_second": {"vector units": peak, "matrix product": product},
        "peak_memory_bytes": {str(LARGEST): memories},
    }
    write_json(RESULT, settings | {"cases": cases})


if __name__ == "__main__":
    run_script(main)

"""The ways to run the network that benchmarks.network compares: here in both compiled forms, and by other programs in
float32, as those run it unless told otherwise, and in 8 bits as their own tools make it.
"""

import contextlib
import functools
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from config import Config
from dataset import list_images, set_folder
from fsrcnn.errors import FailureError
from fsrcnn.integers import PEAK_STEPS
from fsrcnn.native.target import Target, host, named_target
from fsrcnn.network import CompiledNetwork
from fsrcnn.pytorch import SubpixelFSRCNN
from fsrcnn.weights import Weights
from model import FSRCNN
from training.calibrate import CALIBRATION_SET, reduced_luma

LumaBatch = NDArray[np.float32]  # 1 x 1 x H x W luma in [0, 1]
Runner = Callable[[Any], Any]  # of what its way takes to what that gives
PEERS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "nncf": "OpenVINO, int8"}  # optional packages
CALIBRATION_PICTURES = 32
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}  # OpenVINO's setting
# Programs that choose instructions themselves, told to be content with AVX2. ONNX Runtime cannot be told.
AVX2_ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # PyTorch's and OpenVINO's
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL",
}


class Conditions(NamedTuple):
    """What the ways run under. avx2: without AVX-512, as most laptops; decided by the environment of the process."""

    threads: int
    avx2: bool = False

    def __str__(self) -> str:
        return f"{self.threads} thread{'s'[: self.threads != 1]}{', AVX2' * self.avx2}"

    @property
    def target(self) -> Target:
        """What the compiled forms are compiled for. Raises FailureError where they cannot run."""
        if (here := host()) is None:
            raise FailureError("the compiled form cannot run here: no fused multiply-add, or llvmlite is too old")
        return named_target("x86-64-v3")._replace(l2=here.l2) if self.avx2 else here


@contextlib.contextmanager
def environment(conditions: Conditions) -> Iterator[None]:
    """Processes that start within this find what tells the programs of the conditions."""
    before = dict(os.environ)
    os.environ.update(AVX2_ENVIRONMENT if conditions.avx2 else {})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True, eq=False)
class Shipped:
    """A network as its weights file has it, and in PyTorch."""

    weights: Weights

    @functools.cached_property
    def model(self) -> FSRCNN:
        return FSRCNN.from_weights(self.weights).eval()

    @functools.cached_property
    def subpixel(self) -> SubpixelFSRCNN:
        return SubpixelFSRCNN(self.weights).eval()


def same(luma: Any) -> Any:
    return luma


class Way(NamedTuple):
    """A way to run the network. form: converts the network, for a size of picture; runner: turns that into a function.
    exact: in float32, within a tolerance; others lose. takes, gives: luma in [0, 1] to the form in which the function
    has it in memory, and back.
    """

    form: Callable[[Shipped, LumaBatch], Any]
    runner: Callable[[Any, Conditions], Runner]
    exact: bool = True
    takes: Callable[[LumaBatch], Any] = same
    gives: Callable[[Any], LumaBatch] = same


def torch_runner(model: Callable[[Tensor], Tensor]) -> Runner:
    def run(x: LumaBatch) -> LumaBatch:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return run


def exported(model: nn.Module, x: LumaBatch, any_size: bool = False) -> bytes:
    """The model as ONNX, for this size of picture or for any."""
    sizes = {name: {2: f"height of {name}", 3: f"width of {name}"} for name in "xy"}
    with TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            model,
            (torch.from_numpy(x),),
            file,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=sizes if any_size else None,
        )
        return file.read_bytes()


def plain(network: Shipped, _: LumaBatch) -> Shipped:
    return network


def onnx(network: Shipped, x: LumaBatch) -> bytes:
    return exported(network.model, x)


def subpixel_onnx(network: Shipped, x: LumaBatch) -> bytes:
    return exported(network.subpixel, x)


@functools.cache
def calibration_pictures(upscale_factor: int) -> list[LumaBatch]:
    """Training pictures, reduced, from which the other programs' tools take the ranges of values."""
    paths = list_images(set_folder(Config().data_dir, CALIBRATION_SET))[:CALIBRATION_PICTURES]
    return [picture[None, None] for picture in reduced_luma(paths, upscale_factor)]


def onnxruntime_runner(graph: bytes, conditions: Conditions) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = conditions.threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


@functools.cache
def onnxruntime_int8(network: Shipped) -> bytes:
    """The network in 8 bits by ONNX Runtime's static quantiser, for any size. With a deconvolution, which ONNX Runtime
    does not run in 8 bits, it is slower.
    """
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    pictures = calibration_pictures(network.weights.upscale_factor)

    class Pictures:  # as its CalibrationDataReader
        def __init__(self) -> None:
            self._left = iter(pictures)

        def get_next(self) -> dict[str, LumaBatch] | None:
            picture = next(self._left, None)
            return None if picture is None else {"x": picture}

    with TemporaryDirectory() as name:
        graph, ready, quantised = (str(Path(name) / f"{each}.onnx") for each in ("graph", "ready", "quantised"))
        Path(graph).write_bytes(exported(network.subpixel, pictures[0], any_size=True))
        logging.disable(logging.WARNING)
        with contextlib.redirect_stderr(io.StringIO()):
            quant_pre_process(graph, ready)
            quantize_static(ready, quantised, Pictures(), per_channel=True)
        logging.disable(logging.NOTSET)
        return Path(quantised).read_bytes()


def openvino_runner(
    graph: bytes | tuple[bytes, bytes], conditions: Conditions, precision: dict[str, str] | None = None
) -> Runner:
    """graph: ONNX, or OpenVINO's own two files. precision: None: OpenVINO's choice, bfloat16 where the processor has
    it. It asks the processor itself, so where its kernels are told of AVX2 it has to be told of float32 too.
    """
    import openvino

    core = openvino.Core()
    if precision is None:
        precision = FLOAT32 if conditions.avx2 else {}
    settings = {"INFERENCE_NUM_THREADS": conditions.threads, "PERFORMANCE_HINT": "LATENCY"} | precision
    model = core.read_model(io.BytesIO(graph)) if isinstance(graph, bytes) else core.read_model(*graph)
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True, share_outputs=True)[0]


@functools.cache
def nncf_int8(network: Shipped) -> Any:
    """The network in 8 bits by NNCF, OpenVINO's quantiser, for any size."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    pictures = calibration_pictures(network.weights.upscale_factor)
    graph = exported(network.subpixel, pictures[0], any_size=True)
    read = openvino.Core().read_model(io.BytesIO(graph))
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(read, nncf.Dataset(pictures), subset_size=len(pictures))


def openvino_int8(network: Shipped, x: LumaBatch) -> tuple[bytes, bytes]:
    """OpenVINO's two files, for this size of picture."""
    import openvino

    quantised = nncf_int8(network).clone()
    quantised.reshape(list(x.shape))
    with TemporaryDirectory() as name:
        path = Path(name) / "network.xml"
        openvino.save_model(quantised, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def opencv_runner(graph: bytes, conditions: Conditions) -> Runner:
    cv2.setNumThreads(conditions.threads)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(graph, np.uint8))

    def run(x: LumaBatch) -> LumaBatch:
        net.setInput(x)
        return net.forward()

    return run


def compiled_network(network: Shipped, conditions: Conditions) -> CompiledNetwork:
    return CompiledNetwork(network.weights, conditions.target, conditions.threads)


def compiled_runner(network: Shipped, conditions: Conditions) -> Runner:
    compiled = compiled_network(network, conditions)
    return lambda x: compiled(x[0, 0])[None, None]


def integer_runner(network: Shipped, conditions: Conditions) -> Runner:
    return compiled_network(network, conditions).in_steps


def to_steps(x: LumaBatch) -> NDArray[np.int16]:
    """As the pictures of 8 bits, of which luma in steps is what the form for pictures is given."""
    return np.floor(x[0, 0].astype(np.float64) * PEAK_STEPS + 0.5).clip(0, PEAK_STEPS).astype(np.int16)


def from_steps(steps: NDArray[np.int16]) -> LumaBatch:
    return (steps / np.float32(PEAK_STEPS)).astype(np.float32)[None, None]


OURS, INTEGERS, PLAIN = "compiled", "integers", "PyTorch, deconvolution"
WAYS = {
    OURS: Way(plain, compiled_runner),
    INTEGERS: Way(plain, integer_runner, False, to_steps, from_steps),
    PLAIN: Way(plain, lambda network, _: torch_runner(network.model)),
    "PyTorch, sub-pixel": Way(plain, lambda network, _: torch_runner(network.subpixel)),
    "ONNX Runtime, deconvolution": Way(onnx, onnxruntime_runner),
    "ONNX Runtime, sub-pixel": Way(subpixel_onnx, onnxruntime_runner),
    "OpenVINO, deconvolution": Way(onnx, functools.partial(openvino_runner, precision=FLOAT32)),
    "OpenVINO, sub-pixel": Way(subpixel_onnx, functools.partial(openvino_runner, precision=FLOAT32)),
    # OpenCV's deconvolution is about ten times slower than its sub-pixel form, and would take most of the time.
    "OpenCV dnn, sub-pixel": Way(subpixel_onnx, opencv_runner),
    "OpenVINO by default, deconvolution": Way(onnx, openvino_runner, False),
    "OpenVINO by default, sub-pixel": Way(subpixel_onnx, openvino_runner, False),
    "ONNX Runtime, int8": Way(lambda network, _: onnxruntime_int8(network), onnxruntime_runner, False),
    "OpenVINO, int8": Way(openvino_int8, openvino_runner, False),
}
# The columns of the tables, by the ways of which each is the fastest.
FLOAT_COLUMNS = {
    "PyTorch, deconvolution": (PLAIN,),
    "PyTorch, sub-pixel": ("PyTorch, sub-pixel",),
    "ONNX Runtime": ("ONNX Runtime, deconvolution", "ONNX Runtime, sub-pixel"),
    "OpenVINO": ("OpenVINO, deconvolution", "OpenVINO, sub-pixel"),
    "OpenCV dnn": ("OpenCV dnn, sub-pixel",),
}
REDUCED_COLUMNS = {
    "OpenVINO by default": ("OpenVINO by default, deconvolution", "OpenVINO by default, sub-pixel"),
    "ONNX Runtime, int8": ("ONNX Runtime, int8",),
    "OpenVINO, int8": ("OpenVINO, int8",),
}


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def missing_peers() -> list[str]:
    return [name for package, name in PEERS.items() if not installed(package)]


def installed_ways(conditions: Conditions) -> dict[str, Way]:
    """The ways whose packages are installed and which are told by the conditions."""
    missing = missing_peers()
    if conditions.avx2:
        missing.append("ONNX Runtime")
    return {name: way for name, way in WAYS.items() if not name.startswith(tuple(missing))}

"""A network ready to run on planes of luma, which are NumPy's arrays.

On a CPU it is the compiled function alone: once its parameters are in the cache of native/cache.py, nothing here needs
PyTorch, whose import takes longer than a picture.
"""

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from devices import cpu_threads, is_cpu, select_device
from errors import RequestError

if TYPE_CHECKING:
    from model import FSRCNN, FusedFSRCNN

try:
    from native import network
    from native.cache import kept
    from native.target import host
except ImportError:  # llvmlite or platformdirs is not there
    HOST = None
else:
    HOST = host()

Plane = NDArray[np.float32]  # H x W luma in 0..1; rows may have gaps
Samples = NDArray[np.uint8 | np.uint16]  # H x W, rows may have gaps


def luma_gain_and_offset(bits: int, full_range: bool) -> tuple[float, float]:
    """Gain and offset from a luma sample to the 16..235 of MATLAB's rgb2ycbcr, which the networks know."""
    return (219 / (2**bits - 1), 16.0) if full_range else (2.0 ** (8 - bits), 0.0)


def to_samples(values: NDArray[np.float32], bits: int) -> Samples:
    """Values rounded (halves up) and clipped to 0..2^bits - 1."""
    return (values + np.float32(0.5)).clip(0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)


class Runner:
    """A network: its scale, how many LR pixels to each side an SR pixel depends on, and how many threads may run it
    at a time to good effect.
    """

    def __init__(self, upscale_factor: int, reach: int, threads: int) -> None:
        self.upscale_factor, self.reach, self.threads = upscale_factor, reach, threads
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="network")
        self.stopped = threading.Event()

    def __call__(self, lr: Plane, first: int = 0, last: int | None = None) -> Plane:
        """Rows `first` to `last` of the plane, enlarged, neither rounded nor clipped."""
        raise NotImplementedError

    def enlarge_samples(self, lr: Samples, sr: Samples, bits: int, full_range: bool) -> None:
        """Fills sr with a plane's samples of 8 or more bits, enlarged, rounded (halves up) and clipped."""
        gain, offset = luma_gain_and_offset(bits, full_range)
        values = (self((lr.astype(np.float32) * gain + offset) / 255) * 255 - offset) / gain
        sr[:] = to_samples(values, bits)

    def stop(self) -> None:
        """Lets what is waiting for the network fail: after an interruption."""
        self.stopped.set()
        self.pool.shutdown(wait=False, cancel_futures=True)


class CompiledRunner(Runner):
    """The compiled function on one thread a call."""

    def __init__(self, model_args: dict[str, int], reach: int, packed: NDArray[np.float32]) -> None:
        """packed: the parameters as native/packing.py orders them for this machine."""
        super().__init__(model_args["upscale_factor"], reach, cpu_threads())
        self._packed = packed
        self._memory = network.Work(
            model_args["d"], model_args["s"], model_args["m"], model_args["upscale_factor"], HOST
        )

    def __call__(self, lr: Plane, first: int = 0, last: int | None = None) -> Plane:
        (height, width), scale = lr.shape, self.upscale_factor
        last, columns = height if last is None else last, self._memory.columns(width)
        sr = np.empty((scale * height, scale * width), np.float32)
        for left in range(0, width, columns):
            network.run_block(self._memory, self._packed, lr, sr, first, last, left, columns)
        return sr[scale * first : scale * last]

    def enlarge_samples(self, lr: Samples, sr: Samples, bits: int, full_range: bool) -> None:
        if bits > 8:
            super().enlarge_samples(lr, sr, bits, full_range)
            return
        height, width = lr.shape
        columns = self._memory.columns(width)
        for left in range(0, width, columns):
            network.run_block(self._memory, self._packed, lr, sr, 0, height, left, columns, full_range)


class TorchRunner(Runner):
    """PyTorch's operations, on any device."""

    def __init__(self, model: "FusedFSRCNN") -> None:
        from inference.parts import reach

        super().__init__(model.upscale_factor, reach(model), 1)
        self._model = model

    def __call__(self, lr: Plane, first: int = 0, last: int | None = None) -> Plane:
        from inference.parts import run_in_parts

        sr = run_in_parts(self._model, lr)
        return sr[self.upscale_factor * first : None if last is None else self.upscale_factor * last]


def runner_of(model: "FusedFSRCNN") -> Runner:
    """The network on the device that it is on."""
    if HOST is None or model.kernel.device.type != "cpu":
        return TorchRunner(model)
    return CompiledRunner(*_compiled_form(model))


def load_runner(path: Path, upscale_factor: int, device: str) -> Runner:
    """The network of a weights file on a device as `devices.select_device` names it.

    Raises RequestError for a file that is missing, is something else, or is of another scale, and for the device.
    """
    if HOST is None or not is_cpu(device):
        return runner_of(_load(path, upscale_factor).fuse().to(select_device(device)))

    def made() -> bytes:
        model_args, reach, packed = _compiled_form(_load(path, upscale_factor).fuse())
        return json.dumps([model_args, reach]).encode() + b"\n" + packed.tobytes()

    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    header, _, packed = kept(("parameters", digest, upscale_factor, HOST), made).partition(b"\n")
    return CompiledRunner(*json.loads(header), np.frombuffer(packed, np.float32))


def _compiled_form(model: "FusedFSRCNN") -> tuple[dict[str, Any], int, NDArray[np.float32]]:
    from inference.parts import reach

    return model.model_args, reach(model), model.packed.numpy()


def _load(path: Path, upscale_factor: int) -> "FSRCNN":
    from inference.weights import load_weights

    model = load_weights(path, upscale_factor)
    if model.upscale_factor != upscale_factor:
        right = f"--upscale-factor {model.upscale_factor}"
        raise RequestError(
            f"weights: {path} is for x{model.upscale_factor}, asked for was x{upscale_factor}; add {right}"
        )
    return model

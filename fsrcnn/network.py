"""A network ready to run on planes of luma, NumPy's arrays: compiled on a CPU, PyTorch's operations on a GPU."""

import functools
import itertools
import math
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsrcnn import native
from fsrcnn.devices import cpu_threads, is_cpu, select_device
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, Sizes
from fsrcnn.integers import LumaSteps, integer_network
from fsrcnn.luma import PEAK, gain_and_offset
from fsrcnn.parts import spans
from fsrcnn.restore import blended, nearest_step, restoring_weights
from fsrcnn.weights import Weights, load_weights, shipped_variant, shipped_weights

if TYPE_CHECKING:
    import torch

    from fsrcnn.native.target import Target

if native.HOST:
    from fsrcnn.native import forward, integer_forward
    from fsrcnn.native.threads import in_threads

LumaPlane = NDArray[np.float32]  # H x W luma in 0..1; rows may have gaps
SamplePlane = NDArray[np.uint8 | np.uint16]  # H x W samples as files have them; rows may have gaps

PART = 512  # LR pixels of a part, along each axis, for PyTorch's operations
LEAST_ROWS = 32  # LR rows that are worth a thread


def luma_plane(lr: LumaPlane) -> LumaPlane:
    """The array as the compiled function takes it: float32, the pixels of a row without gaps."""
    if not isinstance(lr, np.ndarray) or isinstance(lr, np.ma.MaskedArray) or lr.dtype.kind != "f":
        what = f"an array of {lr.dtype}" if isinstance(lr, np.ndarray) else type(lr).__name__
        raise RequestError(f"lr: got {what}, expected an array of NumPy of float32, luma in [0, 1]")
    if lr.ndim != 2 or not lr.size:
        raise RequestError(f"lr: got an array of shape {lr.shape}, expected H x W of luma in [0, 1]")
    with np.errstate(over="ignore"):  # an overflow is reported below
        lr = np.asarray(lr, np.float32)
    if not np.isfinite(lr).all():
        raise RequestError("lr: holds values that are not finite, which would spread; replace them")
    return lr if lr.strides[1] == lr.itemsize else np.ascontiguousarray(lr)


def sample_type(bits: int) -> type[np.uint8] | type[np.uint16]:
    """What holds a sample of so many bits."""
    return np.uint8 if bits == 8 else np.uint16


def to_samples(values: NDArray[np.float32], bits: int) -> SamplePlane:
    """Values rounded (halves up) and clipped to 0..2^bits - 1."""
    rounded = values + np.float32(0.5)
    return np.clip(rounded, 0, 2**bits - 1, out=rounded).astype(sample_type(bits))


class Network:
    """A network with its weights. sizes: layers, scale and reach. threads: how many can usefully run it at a time.

    extra_planes: how many more planes, float32, of the result's size are in memory while a thread makes one. make_form:
    makes the network with its weights blended with the restoring ones by a strength; None: it has none. make_sibling:
    makes the same variant's network for another scale; None: there is none.
    """

    extra_planes = 0
    digest = ""  # of the weights
    make_form: "Callable[[float], Network] | None" = None
    make_sibling: "Callable[[int], Network] | None" = None

    def __init__(self, sizes: Sizes, threads: int) -> None:
        self.sizes, self.threads = sizes, threads
        self._siblings: dict[int, Network] = {}  # by scale
        self.stopped = threading.Event()
        self._pools: dict[int, ThreadPoolExecutor] = {}
        self._forms: dict[float, Network] = {}  # by strength: as many as there are steps, at most
        self._making = threading.Lock()

    @property
    def upscale_factor(self) -> int:
        return self.sizes.upscale_factor

    @property
    def reach(self) -> int:
        return self.sizes.reach

    @property
    def in_integers(self) -> bool:
        """Whether it takes luma in steps too, and enlarges 8 bits in integers: where that is faster, with weights that
        have the ranges for it.
        """
        return False

    @property
    def can_restore(self) -> bool:
        return self.make_form is not None

    def restored(self, strength: float) -> "Network":
        """The network that restores compressed pictures by a strength of 0 to 1, to the nearest step; at 0 itself. It
        shares the threads of this one, and is made once.

        Raises RequestError where the network has no restoring weights.
        """
        if not (step := nearest_step(strength)):
            return self
        if self.make_form is None:
            raise RequestError(
                f"restore: {strength:g} needs restoring weights beside the weights file, named as it is with _restore "
                "added; make them (train.py --recipe restore), or leave restore out"
            )
        with self._making:
            if step not in self._forms:
                form = self.make_form(step)
                form.stopped, form._pools = self.stopped, self._pools
                self._forms[step] = form
            return self._forms[step]

    @property
    def scales(self) -> tuple[int, ...]:
        """Those that `at` takes."""
        return SCALES if self.make_sibling else (self.upscale_factor,)

    def at(self, upscale_factor: int) -> "Network":
        """The same variant's network for another of `scales`. It shares the threads of this one, and is made once."""
        if upscale_factor == self.upscale_factor or self.make_sibling is None:
            return self
        with self._making:
            if upscale_factor not in self._siblings:
                sibling = self.make_sibling(upscale_factor)
                sibling.stopped, sibling._pools = self.stopped, self._pools
                self._siblings[upscale_factor] = sibling
            return self._siblings[upscale_factor]

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads. They do not survive a fork, so each process has its own."""
        process = os.getpid()
        if process not in self._pools:
            self._pools[process] = ThreadPoolExecutor(self.threads, thread_name_prefix="network")
        return self._pools[process]

    def __call__(self, lr: LumaPlane) -> LumaPlane:
        """Enlarges a plane on all threads: float32, H x W luma in [0, 1] to scale*H x scale*W, neither rounded nor
        clipped. Raises RequestError for anything else.
        """
        raise NotImplementedError

    def rows(self, lr: LumaPlane, first: int, last: int) -> LumaPlane:
        """Enlarges rows first..last - 1 of a plane, on this thread alone: to scale*(last - first) x scale*W."""
        raise NotImplementedError

    def rows_in_steps(self, lr: LumaSteps, first: int, last: int) -> LumaSteps:
        """As `rows`, of luma in steps, as `integers.enlarge` takes and gives it; where the network is `in_integers`."""
        raise NotImplementedError

    def flat(self, luma: np.float32, height: int, width: int) -> LumaPlane:
        """Enlarges a plane of one luma, on this thread alone."""
        return self.rows(np.full((height, width), luma), 0, height)

    def flat_in_steps(self, luma: np.int16, height: int, width: int) -> LumaSteps:
        """As `flat`, of luma in steps."""
        return self.rows_in_steps(np.full((height, width), luma), 0, height)

    def enlarge_samples(self, lr: SamplePlane, sr: SamplePlane, bits: int, full_range: bool) -> None:
        """Enlarges samples of 8 or more bits into sr, on this thread alone, rounded (halves up) and clipped."""
        peak, gain, offset = map(np.float32, (PEAK, *gain_and_offset(bits, full_range)))
        values = self.rows((lr.astype(np.float32) * gain + offset) / peak, 0, len(lr))
        sr[:] = to_samples((values * peak - offset) / gain, bits)

    def stop(self) -> None:
        """Cancels all work that waits for the network, after an interruption."""
        self.stopped.set()
        self.pool.shutdown(wait=False, cancel_futures=True)


class CompiledNetwork(Network):
    """The compiled functions (native/forward.py, native/integer_forward.py)."""

    def __init__(self, weights: Weights, target: "Target", threads: int) -> None:
        super().__init__(weights.sizes, threads)
        self._forward, self._weights, self._target = forward.Forward(weights, target), weights, target

    @functools.cached_property
    def _integers(self) -> "integer_forward.IntegerForward | None":
        integers = integer_network(self._weights) if self._target.prefers_integers else None
        return integer_forward.IntegerForward(integers, self._target) if integers else None

    @property
    def in_integers(self) -> bool:
        return self._integers is not None

    def __call__(self, lr: LumaPlane) -> LumaPlane:
        lr = luma_plane(lr)
        sr = self._empty(lr)
        self._in_threads(self._forward, lr, sr)
        return sr

    def in_steps(self, lr: LumaSteps) -> LumaSteps:
        """As a call, of luma in steps, as `integers.enlarge` takes and gives it; where the network is `in_integers`."""
        if self._integers is None:
            raise RequestError("the network has no form in integers here")
        sr = np.empty([self.upscale_factor * length for length in lr.shape], np.int16)
        self._in_threads(self._integers, lr, sr)
        return sr

    def _in_threads(
        self, form: "forward.Forward | integer_forward.IntegerForward", lr: NDArray[Any], sr: NDArray[Any]
    ) -> None:
        lefts = form.lefts(lr.shape[1])
        strips = min(self.threads // math.gcd(len(lefts), self.threads), math.ceil(len(lr) / LEAST_ROWS))
        ends = [len(lr) * strip // strips for strip in range(strips + 1)]
        blocks = [(*rows, left) for rows, left in itertools.product(itertools.pairwise(ends), lefts)]
        in_threads(functools.partial(form.run, lr, sr), blocks, self.threads)

    def rows(self, lr: LumaPlane, first: int, last: int) -> LumaPlane:
        sr = self._empty(lr)
        for left in self._forward.lefts(lr.shape[1]):
            self._forward.run(lr, sr, first, last, left)
        return sr[self.upscale_factor * first : self.upscale_factor * last]

    def rows_in_steps(self, lr: LumaSteps, first: int, last: int) -> LumaSteps:
        if self._integers is None:
            return super().rows_in_steps(lr, first, last)
        sr = np.empty([self.upscale_factor * length for length in lr.shape], np.int16)
        for left in self._integers.lefts(lr.shape[1]):
            self._integers.run(lr, sr, first, last, left)
        return sr[self.upscale_factor * first : self.upscale_factor * last]

    def enlarge_samples(self, lr: SamplePlane, sr: SamplePlane, bits: int, full_range: bool) -> None:
        if bits > 8:
            super().enlarge_samples(lr, sr, bits, full_range)
            return
        small, large = lr.view(np.uint8), sr.view(np.uint8)  # what they are
        form = self._integers or self._forward
        for left in form.lefts(lr.shape[1]):
            form.run(small, large, 0, len(lr), left, full_range)

    def _empty(self, lr: LumaPlane) -> LumaPlane:
        return np.empty([self.upscale_factor * length for length in lr.shape], np.float32)


class TorchNetwork(Network):
    """The network in PyTorch's operations, on any device, part by part of a picture, so that memory stays bounded."""

    def __init__(self, weights: Weights, device: "torch.device") -> None:
        from fsrcnn.pytorch import SubpixelFSRCNN

        super().__init__(weights.sizes, 1)
        self._model, self._device = SubpixelFSRCNN(weights).to(device), device

    def __call__(self, lr: LumaPlane) -> LumaPlane:
        import torch

        lr, scale, reach = luma_plane(lr), self.upscale_factor, self.reach
        sr = np.empty([scale * length for length in lr.shape], np.float32)
        for rows, columns in itertools.product(*(spans(length, PART, reach) for length in lr.shape)):
            window = torch.from_numpy(np.ascontiguousarray(lr[rows.window, columns.window])).to(self._device)
            with torch.inference_mode():
                part = self._model(window[None, None])[0, 0, rows.inside(scale), columns.inside(scale)]
            sr[rows.enlarged(scale), columns.enlarged(scale)] = part.cpu().numpy()
        return sr

    def rows(self, lr: LumaPlane, first: int, last: int) -> LumaPlane:
        return self(lr)[self.upscale_factor * first : self.upscale_factor * last]


def network_of(
    weights: Weights, device: str = "auto", threads: int | None = None, restoring: Weights | None = None
) -> Network:
    """The network with these weights. device: as for `devices.select_device`. threads: of a CPU; None: all. restoring:
    the weights for compressed pictures, of the same sizes.

    Raises RequestError for a device that this machine does not have.
    """
    network: Network
    if native.HOST and (is_cpu(device) or select_device(device).type == "cpu"):
        network = CompiledNetwork(weights, native.HOST, threads or cpu_threads())
    else:
        network = TorchNetwork(weights, select_device(device))
    network.digest = weights.digest
    if restoring is not None:
        network.make_form = lambda strength: network_of(blended(weights, restoring, strength), device, threads)
    return network


def load_network(path: Path, upscale_factor: int | None = None, device: str = "auto") -> Network:
    """The network of a weights file, and of the restoring weights beside it if there are any; of a shipped file, with
    its siblings of other scales, each loaded when it is needed. upscale_factor: the scale that it must be for; None:
    any.

    Raises RequestError for a file that is missing, is something else, or is for another scale, and for the device.
    """
    weights = load_weights(path, upscale_factor)
    found = weights.upscale_factor
    if upscale_factor not in (None, found):
        raise RequestError(f"weights: {path} is for x{found}, expected x{upscale_factor}; add --upscale-factor {found}")
    network = network_of(weights, device, restoring=restoring_weights(path, weights))
    if variant := shipped_variant(path, found):
        network.make_sibling = lambda scale: load_network(shipped_weights(variant, scale), scale, device)
    return network

"""The integer form of a network, fast enough to score: compiled, or in PyTorch's float64, where sums are exact."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fsrcnn.errors import RequestError
from fsrcnn.integers import FACTOR_BITS, FRACTION_BITS, PEAK_STEPS, SUM_FRACTION_BITS, LumaSteps, integer_network
from fsrcnn.network import LumaPlane, Network, network_of
from fsrcnn.weights import INTEGER_RANGES, Weights


def _saturated(values: Tensor) -> Tensor:
    return values.clamp(-(2.0**15), 2.0**15 - 1)


def _exact(*arrays: NDArray[np.integer]) -> list[Tensor]:
    return [torch.from_numpy(each.astype(np.float64)) for each in arrays]


def _column(values: Tensor) -> Tensor:
    return values[:, None, None]


class SimulatedIntegers(Network):
    """A network in 16-bit integers; see fsrcnn/integers.py. Luma is rounded to 1/32 of a level before it."""

    def __init__(self, weights: Weights) -> None:
        """Raises RequestError for weights without the ranges of their integer form."""
        super().__init__(weights.sizes, 1)
        network = integer_network(weights)
        if network is None:
            raise RequestError(f"no {INTEGER_RANGES}, so no integer form; run python -m training.calibrate")
        self._compiled = network_of(weights, "cpu", 1)
        self._layers = [
            (
                *_exact(layer.weights, layer.biases),
                *map(_column, _exact(2**layer.shifts, 2**layer.lifts, layer.positive, layer.negative)),
            )
            for layer in network.convolutions
        ]
        last = network.deconvolution
        self._last = _exact(last.weights, last.biases)
        self._last_unit = 2.0**last.shift

    @torch.inference_mode()
    def enlarge(self, lr: LumaSteps) -> LumaSteps:
        """As `integers.enlarge`."""
        x = torch.from_numpy(lr.astype(np.float64))[None]
        for weight, bias, unit, lift, positive, negative in self._layers:
            t = (F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2) / unit).floor()
            t = _saturated(torch.maximum(t, t * lift))
            x = (t * torch.where(t >= 0, positive, negative) / 2**FACTOR_BITS + 0.5).floor()
        weight, bias = self._last
        sr = _saturated((F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2) / self._last_unit).floor())
        steps = (_saturated(sr + 1) / 2 ** (SUM_FRACTION_BITS - FRACTION_BITS)).floor()
        return F.pixel_shuffle(steps, self.upscale_factor)[0].numpy().astype(np.int16)

    def __call__(self, lr: LumaPlane) -> LumaPlane:
        steps = np.floor(np.asarray(lr, np.float64) * PEAK_STEPS + 0.5).clip(0, PEAK_STEPS).astype(np.int16)
        compiled = self._compiled.in_integers
        sr = self._compiled.rows_in_steps(steps, 0, len(steps)) if compiled else self.enlarge(steps)
        return sr.astype(np.float32) / np.float32(PEAK_STEPS)

"""The network's facts, each in one place: its variants, scales, kernels and reach, and the identity between its
deconvolution and a convolution with a pixel shuffle.
"""

import math
from collections.abc import Collection
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SCALES = (2, 3, 4)

# The paper's two networks: FSRCNN (section 3.2) and FSRCNN-s (section 4.3).
VARIANTS: dict[str, dict[str, int]] = {
    "fsrcnn": {"d": 56, "s": 12, "m": 4},
    "fsrcnn_s": {"d": 32, "s": 5, "m": 1},
}

FEATURES_KERNEL, MAP_KERNEL = 5, 3  # of the first and of the mapping convolutions; the others are 1 x 1
DECONV_KERNEL, DECONV_PADDING = 9, 4

MOST_IN_A_ROW = 2  # networks, for factors that one alone does not reach
MOST_FACTOR = max(SCALES) ** MOST_IN_A_ROW

# The deconvolution as a convolution for all phases at once: its reach in LR pixels at x2, where it is largest.
PHASES_REACH = 2
PHASES_KERNEL = 2 * PHASES_REACH + 1


class Sizes(NamedTuple):
    """FSRCNN(d, s, m) at a scale: d outputs of the first and of the expanding convolution, s of the shrinking and the
    mapping ones, m mapping convolutions.
    """

    upscale_factor: int
    d: int
    s: int
    m: int

    @property
    def variant(self) -> str | None:
        """The paper's name of these sizes; None: they have none."""
        sizes = {"d": self.d, "s": self.s, "m": self.m}
        return next((name for name, each in VARIANTS.items() if each == sizes), None)

    @property
    def reach(self) -> int:
        """LR pixels to each side that an SR pixel depends on: 8 for FSRCNN at x2 and x3."""
        deconv = math.ceil(DECONV_PADDING / self.upscale_factor)
        return FEATURES_KERNEL // 2 + self.m * (MAP_KERNEL // 2) + deconv

    @property
    def parameters(self) -> int:
        """Number of parameters: 12,809 for FSRCNN, at every scale."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one LR pixel: each weight is used once."""
        return sum(math.prod(shape) for shape in self.shapes().values() if len(shape) > 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter by its name, FSRCNN-PyTorch's, in the order of the layers."""
        d, s, m, kernel = self.d, self.s, self.m, MAP_KERNEL
        layers = {"feature_extraction": (d, 1, FEATURES_KERNEL, FEATURES_KERNEL), "shrink": (s, d, 1, 1)}
        layers |= {f"map.{2 * number}": (s, s, kernel, kernel) for number in range(m)}
        layers["expand"] = (d, s, 1, 1)
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, weight in layers.items():
            layer, _, place = layer.partition(".")
            conv, prelu = f"{layer}.{int(place or 0)}", f"{layer}.{int(place or 0) + 1}"
            shapes |= {f"{conv}.weight": weight, f"{conv}.bias": weight[:1], f"{prelu}.weight": weight[:1]}
        return shapes | {"deconv.weight": (d, 1, DECONV_KERNEL, DECONV_KERNEL), "deconv.bias": (1,)}


def variant_sizes(variant: str, upscale_factor: int) -> Sizes:
    """The sizes of one of VARIANTS."""
    return Sizes(upscale_factor, **VARIANTS[variant])


def chain_to(factor: float | Fraction, scales: Collection[int]) -> tuple[int, ...] | None:
    """The scales of the networks that, one after the other, enlarge at least by `factor`, and by as little more as
    these scales allow; None: MOST_IN_A_ROW of them do not reach it.

    The smaller scale comes first. The other order scores the same to 0.02 dB and takes up to 3.4 times as long
    (`python -m benchmarks.sizes`).
    """
    chains = [chain for n in range(1, MOST_IN_A_ROW + 1) for chain in combinations_with_replacement(sorted(scales), n)]
    reaching = (chain for chain in chains if math.prod(chain) >= factor)
    return min(reaching, key=lambda chain: (math.prod(chain), len(chain)), default=None)


# --- the pixel-shuffle identity ---


def _taps(upscale_factor: int, kernel: int, first: int) -> NDArray[np.intp]:
    """Maps the taps of a kernel x kernel convolution on the small picture to the deconvolution's: scale^2 x kernel x
    kernel numbers of taps, by phase (row by row), row and column; DECONV_KERNEL^2 where there is no such tap.

    Along an axis, tap j of phase p is the deconvolution's tap p + first - scale * j.
    """
    along = np.arange(upscale_factor)[:, None] + first - upscale_factor * np.arange(kernel)
    there = (along >= 0) & (along < DECONV_KERNEL)
    down, across = along[:, None, :, None], along[None, :, None, :]
    taps = np.where(there[:, None, :, None] & there[None, :, None, :], DECONV_KERNEL * down + across, DECONV_KERNEL**2)
    return taps.reshape(upscale_factor**2, kernel, kernel)


def phases_taps(upscale_factor: int) -> NDArray[np.intp]:
    """The taps of a convolution that is centred on the pixel it enlarges: scale^2 x 5 x 5, see `_taps`."""
    return _taps(upscale_factor, PHASES_KERNEL, DECONV_PADDING + PHASES_REACH * upscale_factor)


def subpixel_taps(upscale_factor: int) -> NDArray[np.intp]:
    """The taps of the smallest such convolution: scale^2 x k x k with k = ceil(9 / scale), see `_taps`. Its shuffled
    output begins before the deconvolution's, see `subpixel_place`.
    """
    kernel = math.ceil(DECONV_KERNEL / upscale_factor)
    return _taps(upscale_factor, kernel, upscale_factor * (kernel - 1))


def subpixel_place(upscale_factor: int) -> tuple[int, int]:
    """Padding of the convolution with `subpixel_taps`, and the pixel of its shuffled output, along each axis, at which
    the deconvolution's output begins.
    """
    kernel, padding = math.ceil(DECONV_KERNEL / upscale_factor), math.ceil(DECONV_PADDING / upscale_factor)
    return padding, DECONV_PADDING - upscale_factor * (kernel - 1 - padding)


def phases(deconv_weight: NDArray[np.generic], upscale_factor: int) -> NDArray[np.generic]:
    """Arranges the deconvolution's kernel, d x 1 x 9 x 9, by `phases_taps`: scale^2 x d x 5 x 5, zero without a tap."""
    flat = deconv_weight.reshape(len(deconv_weight), -1)
    with_zero = np.concatenate([flat, np.zeros_like(flat[:, :1])], axis=1)
    return with_zero[:, phases_taps(upscale_factor)].transpose(1, 0, 2, 3)

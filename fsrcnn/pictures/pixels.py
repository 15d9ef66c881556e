"""The pixels of a picture enlarged: the network on its luma, bicubic interpolation on its chroma and alpha."""

import threading
from functools import lru_cache, partial
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fsrcnn import native
from fsrcnn.chroma import FloatPlane, bicubic, padded
from fsrcnn.limits import enlarged_by_repeating, extremes, limits
from fsrcnn.luma import BLACK, GAIN, OFFSET, PEAK, RGB_TO_YCBCR, WHITE, YCBCR_OFFSET
from fsrcnn.network import LumaPlane, Network, sample_type
from fsrcnn.parts import Span
from fsrcnn.resize import REACH, phase_weights
from fsrcnn.restore import STEPS

if native.HOST:
    from fsrcnn.native import colour

Pixels = NDArray[np.uint8 | np.uint16]  # H x W x bands of a picture

LEVELS = {8: 256, 16: 8192}  # flat pictures that the network's error is measured on, by the bits of a sample
# Measurements of it that are kept, a few megabytes each in 8 bits, where there is one for each strength of restoring.
KEPT = {8: STEPS + 1, 16: 2}

_measuring = threading.Lock()


class Layout(NamedTuple):
    """What the samples of a picture are. Its bands are grey, RGB or CMYK; `has_alpha`: the last one is alpha."""

    height: int
    width: int
    bands: int
    bits: int  # 8 or 16
    has_alpha: bool

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        return sample_type(self.bits)

    @property
    def peak(self) -> int:
        return 2**self.bits - 1

    @property
    def nbytes(self) -> int:
        return self.height * self.width * self.bands * self.bits // 8


class Enlarger:
    """Enlarges the parts of one picture, which together are the picture enlarged as a whole.

    - The network's error on flat colour is measured once and subtracted, so that flat colours stay what they are, in 16
      bits too. It is up to one level inside the picture, and up to seven at the border, beyond which the network sees
      black.
    - What is left is limited to the range of the LR pixels around it, widened (limits.py).
    - Alpha is enlarged by bicubic interpolation, which, unlike the network, keeps opaque opaque and empty empty.
    - A grey picture is enlarged by the luma that it would have in colour.
    - CMYK is inverted, enlarged, and inverted back: cyan, magenta and yellow as RGB, black as grey.
    """

    def __init__(self, network: Network, layout: Layout, bits: int | None = None, depth: int | None = None) -> None:
        """bits: of the enlarged samples; None: the layout's. depth: the bits of the file that the picture comes from,
        to which flat colours stay exact; None: the layout's.
        """
        self._network, self._scale, self._layout = network, network.upscale_factor, layout
        self._result, depth = layout._replace(bits=bits or layout.bits), depth or layout.bits
        self._radius = fill_radius(network)
        size = 2 * network.reach + 1
        measured = min(layout.height, size), min(layout.width, size)
        with _measuring:  # by one thread, while the others wait for it
            self._flat_error = kept_errors[depth](network, *measured, LEVELS[depth])
        self._rows = same_distance(layout.height, measured[0], network.reach)
        self._columns = same_distance(layout.width, measured[1], network.reach)
        self._weights = np.stack([phase_weights(self._scale)] * 2)

    def __call__(self, window: Pixels, rows: Span, columns: Span) -> Pixels:
        """The part of the picture that the spans are, enlarged: scale*h x scale*w x bands.

        window: the picture's pixels in the spans' windows, h x w x bands; it is not modified.
        """
        if window.shape[2] == 4 and not self._layout.has_alpha:
            peak = self._layout.dtype(self._layout.peak)
            inverted = peak - window
            rgb, grey = (self(each, rows, columns) for each in (inverted[..., :3], inverted[..., 3:]))
            return self._result.dtype(self._result.peak) - np.concatenate([rgb, grey], axis=2)
        lr, alpha = window.astype(np.float32) * np.float32(PEAK / self._layout.peak), []
        if self._layout.has_alpha:
            alpha = [np.ascontiguousarray(lr[..., -1])]
            lr = fill_transparent(lr[..., :-1], lr[..., -1:], self._radius)
        y, *chroma = luma_and_chroma(lr)
        down, across = rows.inside(1), columns.inside(1)
        sr = self._network.rows(y, down.start, down.stop)[:, columns.inside(self._scale)]
        planes = np.empty((len(chroma + alpha), *sr.shape), np.float32)
        for plane, into in zip(chroma + alpha, planes, strict=True):
            bicubic(padded(plane)[_with_reach(down), _with_reach(across)], self._weights, into)
        places = self._rows[rows.start : rows.stop], self._columns[columns.start : columns.stop]
        matrix = to_samples_matrix(lr.shape[2], self._result.peak)
        least, greatest = (each[down, across] for each in extremes(y))
        has_alpha, bits = self._layout.has_alpha, self._result.bits
        return compose(y[down, across], least, greatest, sr, self._flat_error, *places, planes, matrix, has_alpha, bits)


def fill_radius(network: Network) -> int:
    """LR pixels to each side whose colours replace that of a transparent pixel."""
    return network.reach + REACH


def margin(network: Network, layout: Layout) -> int:
    """LR pixels to each side that an enlarged pixel of such a picture depends on: near an edge of transparency on the
    colours that replace the transparent ones, and those on the visible ones around them.
    """
    return network.reach + (fill_radius(network) if layout.has_alpha else 0)


def _with_reach(inside: slice) -> slice:
    """A slice of an axis with what bicubic interpolation reaches, as a slice of the padded axis."""
    return slice(inside.start, inside.stop + 2 * REACH)


# --- luma and chroma ---


def luma_and_chroma(colour: NDArray[np.float32]) -> list[FloatPlane]:
    """Y in 0..1 and, where there are three channels, Cb and Cr in 0..255. colour: h x w x 1 or 3, in 0..255."""
    if colour.shape[2] == 1:
        return [colour[..., 0] * np.float32(GAIN / PEAK) + np.float32(OFFSET)]
    matrix = np.column_stack([RGB_TO_YCBCR, YCBCR_OFFSET])
    matrix[0] /= PEAK
    return list(cv2.split(cv2.transform(colour, matrix.astype(np.float32))))


def to_samples_matrix(channels: int, peak: int) -> NDArray[np.float32]:
    """The inverse of `luma_and_chroma`, to samples in 0..peak: for each of the 1 or 3 channels the weights of Y, Cb and
    Cr (of Y alone in grey), then what is added.
    """
    if channels == 1:
        matrix = np.array([[1.0, -OFFSET]]) / GAIN
    else:
        inverse = np.linalg.inv(RGB_TO_YCBCR) / PEAK
        matrix = np.column_stack([inverse, -inverse @ YCBCR_OFFSET])
        matrix[:, 0] *= PEAK
    return (peak * matrix).astype(np.float32)


def plain_compose(
    y: LumaPlane,
    least: LumaPlane,
    greatest: LumaPlane,
    sr: LumaPlane,
    errors: NDArray[np.float32],
    down: NDArray[np.int64],
    across: NDArray[np.int64],
    planes: NDArray[np.float32],
    matrix: NDArray[np.float32],
    has_alpha: bool,
    bits: int,
) -> Pixels:
    """The samples of a part of a picture, scale*h x scale*w x bands: luma less the network's error on flat colour,
    limited; then luma and chroma to channels, rounded (halves up) and clipped.

    y, sr: luma, h x w and scale*h x scale*w, in 0..1. least, greatest: `extremes` of y. errors: of `flat_error`; a
    pixel's is that of its luma in y, at the row and column that `down` and `across`, of `same_distance`, give for its
    own. planes: chroma and alpha, n x scale*h x scale*w, in 0..255. matrix: of `to_samples_matrix`. Computed in
    float64.
    """
    level = (y.astype(np.float64) - BLACK) / (WHITE - BLACK) * (len(errors) - 1)
    below = np.clip(level.astype(np.intp), 0, len(errors) - 2)
    error, next_ = (errors[index, down[:, None], across] for index in (below, below + 1))
    error = error + (level - below)[..., None, None] * (next_ - error)
    low, high = (enlarged_by_repeating(each, errors.shape[-1]) for each in limits(least, greatest))
    luma = np.clip(sr - error.transpose(0, 2, 1, 3).reshape(sr.shape), low, high)
    samples = np.stack([luma, *planes[: matrix.shape[0] - 1]], axis=-1) @ matrix[:, :-1].T + matrix[:, -1]
    if has_alpha:
        samples = np.dstack([samples, planes[-1] * ((2**bits - 1) / PEAK)])
    return np.clip(np.floor(samples + 0.5), 0, 2**bits - 1).astype(sample_type(bits))


compose = partial(colour.compose, target=native.HOST) if native.HOST else plain_compose


# --- the network's error on flat colour ---


def flat_error(network: Network, height: int, width: int, levels: int) -> NDArray[np.float32]:
    """The network's error on flat pictures of height x width LR pixels, of `levels` lumas from black to white.

    Returns levels x height x width x scale x scale: for each LR pixel the errors of its SR pixels.
    """

    def error(luma: np.float32) -> NDArray[np.float32]:
        sr = network.rows(np.full((height, width), luma), 0, height) - luma
        return sr.reshape(height, network.upscale_factor, width, network.upscale_factor).transpose(0, 2, 1, 3)

    errors = network.pool.map(error, np.linspace(BLACK, WHITE, levels, dtype=np.float32))
    return np.ascontiguousarray(np.stack(list(errors)))


kept_errors = {bits: lru_cache(number)(flat_error) for bits, number in KEPT.items()}


def same_distance(length: int, size: int, reach: int) -> NDArray[np.int64]:
    """Maps each pixel of an axis to the pixel of an axis of `size` at the same distance from the border. Those further
    than `reach` from it, which are all alike, share one.
    """
    along = np.arange(length, dtype=np.int64)
    return np.where(along < reach, along, np.maximum(min(reach, size - 1), size - (length - along)))


# --- alpha ---


def fill_transparent(colour: NDArray[np.float32], alpha: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Replaces the colour of fully transparent pixels, which means nothing, so that it does not show at their edges: by
    the mean of the colours within `radius` LR pixels, weighted by their alpha and by how near they are. Where nothing
    visible is within it, the colour stays.

    colour: h x w x 1 or 3; alpha: h x w x 1, 0..255. Returns a new array.
    """
    around = (2 * radius + 1, 2 * radius + 1)
    blurred = cv2.GaussianBlur(np.dstack([colour * alpha, alpha]), around, radius / 3, borderType=cv2.BORDER_CONSTANT)
    fillable = (alpha[..., 0] == 0) & (blurred[..., -1] > 0)
    filled = colour.copy()
    filled[fillable] = blurred[fillable, :-1] / blurred[fillable, -1:]
    return filled

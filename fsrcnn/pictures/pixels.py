"""The pixels of a picture enlarged: the network on its luma, bicubic interpolation on its chroma and alpha."""

import threading
from functools import lru_cache, partial
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fsrcnn import native
from fsrcnn.chroma import bicubic, padded
from fsrcnn.geometry import SCALES
from fsrcnn.integers import (
    BLACK_STEPS,
    FLAT_LEVELS,
    FROM_FULL,
    FROM_FULL_BITS,
    PEAK_STEPS,
    RGB_TO_LUMA,
    LumaSteps,
    corrected_and_limited,
    flat_luma,
    to_grey,
)
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
# Measurements of it that are kept, a few megabytes each in 8 bits, where there is one for each strength of restoring;
# up to 150 in 16 bits, where a folder that is brought to one size may need every scale in turn.
KEPT = {8: STEPS + 1, 16: len(SCALES)}

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
        self._in_steps = layout.bits == 8 and network.in_integers
        with _measuring:  # by one thread, while the others wait for it
            if self._in_steps:
                self._flat_error: NDArray[Any] = kept_errors_in_steps(network, *measured)
            else:
                self._flat_error = kept_errors[depth](network, *measured, LEVELS[depth])
        self._measured = measured
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
        y, *chroma = luma_and_chroma(lr, self._in_steps)
        down, across = rows.inside(1), columns.inside(1)
        sr = enlarged_luma(self._network, y, down)[:, columns.inside(self._scale)]
        planes = np.empty((len(chroma + alpha), *sr.shape), np.float32)
        for plane, into in zip(chroma + alpha, planes, strict=True):
            bicubic(padded(plane)[_with_reach(down), _with_reach(across)], self._weights, into)
        places = self._places(0, rows), self._places(1, columns)
        matrix = to_samples_matrix(lr.shape[2], self._result.peak)
        least, greatest = (each[down, across] for each in extremes(y))
        has_alpha, bits = self._layout.has_alpha, self._result.bits
        return compose(y[down, across], least, greatest, sr, self._flat_error, *places, planes, matrix, has_alpha, bits)

    def _places(self, axis: int, part: Span) -> NDArray[np.int64]:
        """Where the error on flat colour is measured, for each pixel of a part of an axis."""
        length, measured = self._layout[axis], self._measured[axis]
        return same_distance(length, measured, self._network.reach, part.start, part.stop)


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


def luma_and_chroma(colour: NDArray[np.float32], in_steps: bool = False) -> list[NDArray[Any]]:
    """Y in 0..1 or in steps and, where there are three channels, Cb and Cr in 0..255. colour: h x w x 1 or 3, in
    0..255.
    """
    if colour.shape[2] == 1:
        grey = colour[..., 0]
        return [luma_in_steps(colour) if in_steps else grey * np.float32(GAIN / PEAK) + np.float32(OFFSET)]
    matrix = np.column_stack([RGB_TO_YCBCR, YCBCR_OFFSET])
    if in_steps:
        return [luma_in_steps(colour), *cv2.split(cv2.transform(colour, matrix[1:].astype(np.float32)))]
    matrix[0] /= PEAK
    return list(cv2.split(cv2.transform(colour, matrix.astype(np.float32))))


def luma_in_steps(colour: NDArray[np.float32]) -> LumaSteps:
    """As `integers.luma_of`, of samples of 8 bits as floats. Float64 holds its sums and all their parts without
    rounding, so the order of the additions makes no difference.
    """
    weights = np.array([FROM_FULL] if colour.shape[2] == 1 else RGB_TO_LUMA) / 2**FROM_FULL_BITS
    matrix = np.array([[*weights, BLACK_STEPS + 0.5]])
    return cv2.transform(colour.astype(np.float64), matrix).reshape(colour.shape[:2]).astype(np.int16)


def enlarged_luma(network: Network, y: NDArray[Any], rows: slice) -> NDArray[Any]:
    """These rows of a plane of `luma_and_chroma`, enlarged on this thread."""
    enlarge = network.rows_in_steps if y.dtype == np.int16 else network.rows
    return enlarge(y, rows.start, rows.stop)


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
    y: NDArray[Any],
    least: NDArray[Any],
    greatest: NDArray[Any],
    sr: NDArray[Any],
    errors: NDArray[Any],
    down: NDArray[np.int64],
    across: NDArray[np.int64],
    planes: NDArray[np.float32],
    matrix: NDArray[np.float32],
    has_alpha: bool,
    bits: int,
) -> Pixels:
    """The samples of a part of a picture, scale*h x scale*w x bands: luma less the network's error on flat colour,
    limited; then luma and chroma to channels, rounded (halves up) and clipped.

    y, sr: luma, h x w and scale*h x scale*w, in 0..1, or int16 in steps. least, greatest: `extremes` of y. errors: of
    `flat_error` or `flat_error_in_steps`; a pixel's is that of its luma in y, at the row and column that `down` and
    `across`, of `same_distance`, give for its own. planes: chroma and alpha, n x scale*h x scale*w, in 0..255. matrix:
    of `to_samples_matrix`. Luma in 0..1 and all colours are computed in float64, luma in steps in integers, and so is
    grey of 8 bits that is made of it.
    """
    given = sr, y, least, greatest, errors, down, across
    in_steps, peak = y.dtype == np.int16, 2**bits - 1
    luma: NDArray[Any] = corrected_and_limited(*given) if in_steps else _corrected_and_limited(*given)
    if in_steps and (len(matrix), bits) == (1, 8):
        samples: Pixels = to_grey(luma)[..., None]
    else:
        values = np.stack([luma / (PEAK_STEPS if in_steps else 1), *planes[: len(matrix) - 1]], axis=-1)
        samples = _rounded(values @ matrix[:, :-1].T + matrix[:, -1], bits)
    return np.dstack([samples, _rounded(planes[-1] * (peak / PEAK), bits)]) if has_alpha else samples


def _corrected_and_limited(
    sr: LumaPlane,
    y: LumaPlane,
    least: LumaPlane,
    greatest: LumaPlane,
    errors: NDArray[np.float32],
    down: NDArray[np.int64],
    across: NDArray[np.int64],
) -> NDArray[np.float64]:
    """As integers.py's, of luma in 0..1."""
    level = (y.astype(np.float64) - BLACK) / (WHITE - BLACK) * (len(errors) - 1)
    below = np.clip(level.astype(np.intp), 0, len(errors) - 2)
    error, next_ = (errors[index, down[:, None], across] for index in (below, below + 1))
    error = error + (level - below)[..., None, None] * (next_ - error)
    low, high = (enlarged_by_repeating(each, errors.shape[-1]) for each in limits(least, greatest))
    return np.clip(sr - error.transpose(0, 2, 1, 3).reshape(sr.shape), low, high)


def _rounded(values: NDArray[np.floating], bits: int) -> Pixels:
    return np.clip(np.floor(values + 0.5), 0, 2**bits - 1).astype(sample_type(bits))


compose = partial(colour.compose, target=native.HOST) if native.HOST else plain_compose


# --- the network's error on flat colour ---


def flat_error(network: Network, height: int, width: int, levels: int) -> NDArray[np.float32]:
    """The network's error on flat pictures of height x width LR pixels, of `levels` lumas from black to white.

    Returns levels x height x width x scale x scale: for each LR pixel the errors of its SR pixels.
    """

    def error(luma: np.float32) -> NDArray[np.float32]:
        return _in_blocks(network.flat(luma, height, width) - luma, height, width)

    lumas = np.linspace(BLACK, WHITE, levels, dtype=np.float32)
    return np.ascontiguousarray(np.stack(list(network.pool.map(error, lumas))))


def flat_error_in_steps(network: Network, height: int, width: int) -> NDArray[np.int16]:
    """The same in integers, of FLAT_LEVELS lumas."""

    def error(level: int) -> NDArray[np.int16]:
        luma = np.int16(flat_luma(level))
        return _in_blocks(network.flat_in_steps(luma, height, width) - luma, height, width)

    return np.ascontiguousarray(np.stack(list(network.pool.map(error, range(FLAT_LEVELS)))))


def _in_blocks(sr: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The SR pixels of each LR pixel: height x width x scale x scale."""
    return sr.reshape(height, len(sr) // height, width, -1).transpose(0, 2, 1, 3)


kept_errors = {bits: lru_cache(number)(flat_error) for bits, number in KEPT.items()}
kept_errors_in_steps = lru_cache(KEPT[8])(flat_error_in_steps)


def same_distance(length: int, size: int, reach: int, start: int = 0, stop: int | None = None) -> NDArray[np.int64]:
    """Maps each pixel of an axis, or those from `start` to `stop`, to the pixel of an axis of `size` at the same
    distance from the border. Those further than `reach` from it, which are all alike, share one.
    """
    along = np.arange(start, length if stop is None else stop, dtype=np.int64)
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

"""The pixels of a picture enlarged: FSRCNN on its luma, bicubic interpolation on its chroma and alpha."""

import threading
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from imgproc import RGB_TO_YCBCR, YCBCR_OFFSET, cubic
from inference.parts import Span
from inference.runner import HOST, Plane, Runner

if HOST:
    from native import colour as native

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

LEVELS = {np.uint8: 256, np.uint16: 8192}  # flat pictures on which the network's error is measured, by their depth
BICUBIC_REACH = 2  # LR pixels to each side
BLACK, WHITE = 16 / 255, 235 / 255  # of luma

_measuring = threading.Lock()


class Enlarger:
    """Enlarges the parts of one picture; what comes out is the same as if the picture was enlarged as a whole.

    The network's own error on flat pictures, up to a level inside and seven at the border, where it takes what is
    beyond for black, is measured once and taken off, so that flat colours stay what they are, in 16 bits too. Alpha is
    enlarged by bicubic interpolation, which, unlike the network, keeps opaque opaque and empty empty.

    A grey picture is enlarged by the luma it would have in colour. Of a CMYK picture the light that is left by each ink
    is enlarged, that by cyan, magenta and yellow as RGB, that by black as grey.
    """

    def __init__(self, runner: Runner, shape: tuple[int, int], dtype: type, has_alpha: bool) -> None:
        """shape: height and width of the picture in LR pixels; dtype: numpy's uint8 or uint16, of its samples."""
        self._runner, self._scale, self._has_alpha = runner, runner.upscale_factor, has_alpha
        self._peak, self._bits = dtype(np.iinfo(dtype).max), np.iinfo(dtype).bits
        # What is seen of colour at the edge of what is transparent depends on `reach` more.
        self._fill = runner.reach + BICUBIC_REACH
        self.margin = runner.reach + self._fill if has_alpha else runner.reach
        measured = tuple(min(length, 2 * runner.reach + 1) for length in shape)
        with _measuring:  # by one thread, while the others wait for it
            self._flat_error = flat_error(runner, *measured, LEVELS[dtype])
        self._places = [_places(length, size, runner.reach) for length, size in zip(shape, measured, strict=True)]
        self._weights = np.stack([bicubic_phases(self._scale, 1, 0.0)] * 2)

    def __call__(self, window: Pixels, rows: Span, columns: Span) -> Pixels:
        """window: the pixels of the spans' windows, h x w x bands of L, LA, RGB, RGBA or CMYK. Returns those of the
        spans themselves, enlarged, in the same dtype.
        """
        if window.shape[2] == 4 and not self._has_alpha:
            light = self._peak - window
            light = [self(each, rows, columns) for each in (light[..., :3], light[..., 3:])]
            return self._peak - np.concatenate(light, axis=2)
        lr, alpha = window.astype(np.float32) * np.float32(255 / self._peak), []
        if self._has_alpha:
            alpha = [np.ascontiguousarray(lr[..., -1])]
            lr = fill_transparent(lr[..., :-1], lr[..., -1:], self._fill)
        y, *chroma = luma_and_chroma(lr)
        inside = rows.inside(1), columns.inside(1)
        sr = self._runner(y, inside[0].start, inside[0].stop)[:, columns.inside(self._scale)]
        planes = np.empty((len(chroma + alpha), *sr.shape), np.float32)
        for plane, into in zip(chroma + alpha, planes, strict=True):
            bicubic(padded(plane)[_with_reach(inside[0]), _with_reach(inside[1])], self._weights, into)
        places = (each[span.start : span.stop] for each, span in zip(self._places, (rows, columns), strict=True))
        matrix = to_samples_matrix(lr.shape[2], int(self._peak))
        return compose(y[inside], sr, self._flat_error, *places, planes, matrix, self._has_alpha, self._bits)


def luma_and_chroma(colour: NDArray[np.float32]) -> list[Plane]:
    """Y in 0..1 and, of three channels, Cb and Cr in 0..255; colour: h x w x 1 or 3 in 0..255."""
    if colour.shape[2] == 1:
        return [colour[..., 0] * np.float32(WHITE / 255 - BLACK / 255) + np.float32(BLACK)]
    matrix = np.column_stack([RGB_TO_YCBCR, YCBCR_OFFSET])
    matrix[0] /= 255
    return list(cv2.split(cv2.transform(colour, matrix.astype(np.float32))))


def to_samples_matrix(colours: int, peak: int) -> NDArray[np.float32]:
    """Of each colour's samples in 0..peak: the weights of Y in 0..1 and of Cb and Cr in 0..255, and what is added."""
    if colours == 1:
        matrix = np.array([[1.0, -BLACK]]) / (WHITE - BLACK)
    else:
        inverse = np.linalg.inv(RGB_TO_YCBCR) / 255
        matrix = np.column_stack([inverse, -inverse @ YCBCR_OFFSET])
        matrix[:, 0] *= 255
    return (peak * matrix).astype(np.float32)


def padded(plane: Plane) -> Plane:
    """The plane mirrored at its border as far as bicubic interpolation reaches, the edge sample counting twice."""
    return cv2.copyMakeBorder(plane, *[BICUBIC_REACH] * 4, cv2.BORDER_REFLECT)


def _with_reach(inside: slice) -> slice:
    """Of a padded axis, a part and what bicubic interpolation reaches."""
    return slice(inside.start, inside.stop + 2 * BICUBIC_REACH)


def bicubic_phases(scale: int, subsampling: int, offset: float) -> NDArray[np.float32]:
    """The weights, scale x 5, with which each of the `scale` samples that one becomes is made of that sample and the
    two on each side of it.

    offset: of a sample from the first of the `subsampling` luma samples it belongs to, in luma samples.
    """
    # Enlarged sample k lies at luma position subsampling * k + offset; below, the same place among the samples given.
    positions = ((subsampling * np.arange(scale) + offset + 0.5) / scale - 0.5 - offset) / subsampling
    weights = cubic(positions[:, None] - np.arange(-BICUBIC_REACH, BICUBIC_REACH + 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def plain_bicubic(padded: Plane, weights: NDArray[np.float32], into: Plane) -> None:
    """Enlarges a plane. padded: (h + 4) x (w + 4); weights: `bicubic_phases` of rows and of columns; into:
    scale*h x scale*w.
    """
    taps = np.lib.stride_tricks.sliding_window_view(padded.astype(np.float64), weights.shape[2], axis=0)
    rows = (taps @ weights[0].T).transpose(0, 2, 1).reshape(len(into), -1)
    taps = np.lib.stride_tricks.sliding_window_view(rows, weights.shape[2], axis=1)
    into[:] = (taps @ weights[1].T).reshape(into.shape)


def plain_compose(
    y: Plane,
    sr: Plane,
    errors: NDArray[np.float32],
    down: NDArray[np.int64],
    across: NDArray[np.int64],
    planes: Plane,
    matrix: NDArray[np.float32],
    has_alpha: bool,
    bits: int,
) -> Pixels:
    """The samples of a part of a picture, scale*h x scale*w x bands, rounded (halves up) and clipped.

    y, sr: luma, h x w and scale*h x scale*w, in 0..1. errors: as `flat_error` gives them, taken off by the luma of y at
    the place down, across that each row and column has there. planes: chroma and alpha, n x scale*h x scale*w, 0..255.
    matrix: of `to_samples_matrix`.
    """
    level = (y.astype(np.float64) - BLACK) / (WHITE - BLACK) * (len(errors) - 1)
    below = np.clip(level.astype(np.intp), 0, len(errors) - 2)
    error, next_ = (errors[index, down[:, None], across] for index in (below, below + 1))
    error = error + (level - below)[..., None, None] * (next_ - error)
    luma = sr - error.transpose(0, 2, 1, 3).reshape(sr.shape)
    samples = np.stack([luma, *planes[: matrix.shape[0] - 1]], axis=-1) @ matrix[:, :-1].T + matrix[:, -1]
    if has_alpha:
        samples = np.dstack([samples, planes[-1] * ((2**bits - 1) / 255)])
    return np.clip(np.floor(samples + 0.5), 0, 2**bits - 1).astype(np.uint8 if bits == 8 else np.uint16)


bicubic = partial(native.bicubic, target=HOST) if HOST else plain_bicubic
compose = partial(native.compose, target=HOST) if HOST else plain_compose


@lru_cache(maxsize=2)
def flat_error(runner: Runner, height: int, width: int, levels: int) -> NDArray[np.float32]:
    """What the network adds to flat pictures of `levels` lumas from black to white, height x width LR pixels small.

    Returns levels x height x width x scale x scale: for every LR pixel that of its SR pixels.
    """

    def measured(luma: np.float32) -> NDArray[np.float32]:
        error = runner(np.full((height, width), luma)) - luma
        return error.reshape(height, runner.upscale_factor, width, runner.upscale_factor).transpose(0, 2, 1, 3)

    errors = runner.pool.map(measured, np.linspace(BLACK, WHITE, levels, dtype=np.float32))
    return np.ascontiguousarray(np.stack(list(errors)))


def _places(length: int, size: int, reached: int) -> NDArray[np.int64]:
    """For each pixel of an axis one as far from the ends of an axis of `size`; those out of their reach are alike."""
    along = np.arange(length, dtype=np.int64)
    return np.where(along < reached, along, np.maximum(min(reached, size - 1), size - (length - along)))


def fill_transparent(colour: NDArray[np.float32], alpha: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """Gives fully transparent pixels, whose colour means nothing, the mean premultiplied colour around them, the near
    ones counting most, so that it does not seep into the edges. Where nothing visible is near, they stay as they are.

    colour: h x w x 1 or 3; alpha: h x w x 1, 0..255; radius: LR pixels that are near.
    """
    around = (2 * radius + 1, 2 * radius + 1)
    blurred = cv2.GaussianBlur(np.dstack([colour * alpha, alpha]), around, radius / 3, borderType=cv2.BORDER_CONSTANT)
    fillable = (alpha[..., 0] == 0) & (blurred[..., -1] > 0)
    filled = colour.copy()
    filled[fillable] = blurred[fillable, :-1] / blurred[fillable, -1:]
    return filled

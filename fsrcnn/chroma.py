"""A plane enlarged by MATLAB's bicubic interpolation: by the compiled function, or in NumPy where that cannot run."""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from fsrcnn import native
from fsrcnn.resize import REACH

if native.HOST:
    from fsrcnn.native import colour

FloatPlane = NDArray[np.float32]  # H x W samples of chroma or alpha


def padded(plane: FloatPlane) -> FloatPlane:
    """The plane with REACH more samples on each side, mirrored at its border: the edge sample counts twice."""
    return cv2.copyMakeBorder(plane, *[REACH] * 4, cv2.BORDER_REFLECT)


def plain_bicubic(padded: FloatPlane, weights: NDArray[np.float32], into: FloatPlane) -> None:
    """Fills `into`, scale*h x scale*w, with the enlarged plane.

    padded: (h + 4) x (w + 4), see `padded`; weights: 2 x scale x TAPS, `resize.phase_weights` of the rows and of the
    columns. Computed in float64.
    """
    taps = np.lib.stride_tricks.sliding_window_view(padded.astype(np.float64), weights.shape[2], axis=0)
    rows = (taps @ weights[0].T).transpose(0, 2, 1).reshape(len(into), -1)
    taps = np.lib.stride_tricks.sliding_window_view(rows, weights.shape[2], axis=1)
    into[:] = (taps @ weights[1].T).reshape(into.shape)


bicubic = partial(colour.bicubic, target=native.HOST) if native.HOST else plain_bicubic

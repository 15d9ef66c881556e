"""Planes and pictures resized by MATLAB's antialiased bicubic ``imresize``: along one axis, then along the other."""

from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fsrcnn import native
from fsrcnn.resize import Axis

if native.HOST:
    from fsrcnn.native import reduce as compiled

Samples = NDArray[Any]  # H x W or H x W x 1..4, uint8, uint16 or float32


def plain_resize_rows(source: Samples, axis: Axis) -> NDArray[np.float32]:
    """The columns resized: H x ... to n x ..., where the axis says of which rows each of the n is the weighted sum, and
    with what weights. Computed in float64.
    """
    return np.stack(
        [
            np.tensordot(weights, source[indices].astype(np.float64), 1)
            for weights, indices in zip(axis.weights.astype(np.float64), axis.indices, strict=True)
        ]
    ).astype(np.float32)


resize_rows = partial(compiled.resize_rows, target=native.HOST) if native.HOST else plain_resize_rows


def resized(source: Samples, rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """The samples resized along both axes, neither rounded nor clipped: of the source's shape but for its height and
    width, which are the axes'.
    """
    turned = cv2.transpose(resize_rows(source, rows))
    return cv2.transpose(resize_rows(turned, columns)).reshape(
        len(rows.weights), len(columns.weights), *source.shape[2:]
    )

"""A picture in an array enlarged to an array, as a file of the same pixels is."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from fsrcnn.errors import FailureError, RequestError
from fsrcnn.network import Network
from fsrcnn.parts import Span
from fsrcnn.pictures.pixels import Layout, Pixels
from fsrcnn.pictures.restoration import Restoration
from fsrcnn.pictures.sized import sized_layout, sized_strips
from fsrcnn.pictures.strips import LARGEST
from fsrcnn.sizes import Size, Steps, steps_to

SHAPES = "H x W or H x W x 1 to 4 (grey, grey and alpha, RGB, RGB and alpha)"


def enlarge_array(
    picture: Pixels, network: Network, restoration: Restoration | None = None, size: Size | None = None
) -> Pixels:
    """The picture at its size, the same samples as in the file that `upscale_picture` writes of it. size: None: `scale`
    times as large.

    picture: uint8 or uint16, H x W or H x W x 1 to 4: grey, grey and alpha, RGB, RGB and alpha. Its order in memory and
    of its bytes does not matter; it is not modified. restoration: None: not restored. Returns a new array,
    of the same type in this machine's byte order. Besides it, memory is needed for a few strips only.

    Raises RequestError for anything else, FailureError where there is no memory for the result. Not to be called from
    the network's own pool.
    """
    layout = _layout(picture)
    pixels = np.asarray(picture).reshape((*picture.shape[:2], layout.bands))

    def windows(rows: list[Span]) -> Iterator[Pixels]:
        return (np.ascontiguousarray(pixels[span.window], layout.dtype) for span in rows)

    steps = steps_to(size, network, layout.width, layout.height)
    enlarged, top = _room(steps, layout), 0
    strength = partial(restoration.of_picture, None, layout) if restoration else None
    for strip in sized_strips(layout, windows, network, steps, strength):
        enlarged[top : top + len(strip)] = strip
        top += len(strip)
    return enlarged.reshape(steps.height, steps.width, *picture.shape[2:])


def _room(steps: Steps, layout: Layout) -> Pixels:
    """An array for the result."""
    result = sized_layout(layout, steps)
    try:
        return np.empty((result.height, result.width, result.bands), result.dtype)
    except MemoryError as error:
        raise FailureError(
            f"picture: {layout.width} x {layout.height} pixels enlarged to {result.width} x {result.height} need "
            f"{result.nbytes / 2**30:,.1f} GiB of memory; choose a smaller size"
        ) from error


def _layout(picture: Any) -> Layout:
    """The array's layout. Raises RequestError where it is no picture that can be enlarged."""
    if not isinstance(picture, np.ndarray) or isinstance(picture, np.ma.MaskedArray):
        what = f"{type(picture).__module__}.{type(picture).__qualname__}".removeprefix("builtins.")
        raise RequestError(f"picture: got {what}, expected an array of NumPy; use numpy.asarray(picture, numpy.uint8)")
    shape = f"shape {' x '.join(map(str, picture.shape))}" if picture.ndim else "a single number"
    if picture.dtype.kind != "u" or picture.dtype.itemsize > 2:
        advice = "scale it to 0..255 and use picture.round().astype(numpy.uint8)"
        raise RequestError(f"picture: got samples of type {picture.dtype}, expected uint8 or uint16; {advice}")
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and not 1 <= picture.shape[2] <= 4):
        raise RequestError(f"picture: got {shape}, expected {SHAPES}; channels come last, one picture at a time")
    if not picture.size:
        raise RequestError(f"picture: got {shape}, which has no pixels; expected {SHAPES}; leave it out")
    height, width = picture.shape[:2]
    if height * width > LARGEST:
        raise RequestError(f"picture: {width} x {height} pixels is more than is enlarged ({LARGEST:,} in all); cut it")
    bands = picture.shape[2] if picture.ndim == 3 else 1
    return Layout(height, width, bands, 8 * picture.dtype.itemsize, has_alpha=bands in (2, 4))

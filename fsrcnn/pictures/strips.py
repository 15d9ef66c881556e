"""A picture enlarged strip by strip, whatever it is read from and written to, so that memory stays bounded."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from fsrcnn.ahead import map_ahead
from fsrcnn.network import Network
from fsrcnn.parts import Span, spans
from fsrcnn.pictures.pixels import Enlarger, Layout, Pixels

ROWS = 256  # LR pixels of a strip's height
COLUMNS = 1024  # LR pixels of its width that are enlarged at once
LARGEST = 2**30  # LR pixels of a picture

Windows = Callable[[list[Span]], Iterator[Pixels]]


def enlarged_strips(layout: Layout, windows: Windows, network: Network) -> Iterator[Pixels]:
    """The enlarged picture from top to bottom in strips, h x scale*W x bands.

    windows: reads a picture of this layout: yields its rows in the window of each span, h x W x bands. Reading, the
    network, and what is done with the strips overlap.
    """
    enlarger, scale = Enlarger(network, layout), network.upscale_factor
    rows = list(spans(layout.height, ROWS, enlarger.margin))
    parts = list(spans(layout.width, COLUMNS, enlarger.margin))

    def enlarge(strip: tuple[Span, Pixels]) -> Pixels:
        span, window = strip
        if len(parts) == 1:
            return enlarger(window, span, parts[0])
        enlarged = np.empty((scale * (span.stop - span.start), scale * layout.width, layout.bands), layout.dtype)
        for columns in parts:
            enlarged[:, columns.enlarged(scale)] = enlarger(window[:, columns.window], span, columns)
        return enlarged

    with map_ahead(enlarge, zip(rows, windows(rows), strict=True), network.pool, network.threads + 1) as strips:
        yield from strips


def strip_count(layout: Layout) -> int:
    """How many strips `enlarged_strips` yields."""
    return math.ceil(layout.height / ROWS)

"""A picture enlarged strip by strip, whatever it is read from and written to, so that memory stays bounded."""

import math
from collections.abc import Callable, Iterator
from itertools import chain, islice

import numpy as np

from fsrcnn.ahead import map_ahead
from fsrcnn.network import Network
from fsrcnn.parts import Span, spans
from fsrcnn.pictures.pixels import Enlarger, Layout, Pixels, margin

ROWS = 256  # LR pixels of a strip's height
COLUMNS = 1024  # LR pixels of its width that are enlarged at once
LARGEST = 2**30  # LR pixels of a picture

SEEN_ROWS = 1024  # from the top, that are looked at to choose how strongly the picture is restored
MOST_PIXELS = 2**24  # of a strip, and of the rows that are looked at, however wide the picture is

Windows = Callable[[list[Span]], Iterator[Pixels]]
Strength = Callable[[Callable[[], Pixels]], float]


def enlarged_strips(
    layout: Layout,
    windows: Windows,
    network: Network,
    strength: Strength | None = None,
    *,
    height: int | None = None,
    bits: int | None = None,
    depth: int | None = None,
) -> Iterator[Pixels]:
    """The enlarged picture from top to bottom in strips, h x scale*W x bands.

    windows: reads a picture of this layout: yields its rows in the window of each span, h x W x bands. Reading, the
    network, and what is done with the strips overlap.
    strength: how strongly the picture is restored, given a function that reads its first rows; None: not at all.
    height: LR rows of a strip; None: `strip_height`. bits, depth: as for `Enlarger`.
    """
    scale, beside = network.upscale_factor, margin(network, layout)
    height = height or strip_height(layout)
    rows = list(spans(layout.height, height, beside))
    parts = list(spans(layout.width, COLUMNS, beside))
    read, seen = windows(rows), list[Pixels]()

    def top() -> Pixels:
        most = min(SEEN_ROWS, max(height, MOST_PIXELS // layout.width))
        first = [span for span in rows if span.start < most]
        seen.extend(islice(read, len(first)))
        inside = [window[span.inside(1)] for span, window in zip(first, seen, strict=True)]
        return np.concatenate(inside)[:most]

    enlarger = Enlarger(network.restored(strength(top)) if strength else network, layout, bits, depth)
    dtype = layout._replace(bits=bits or layout.bits).dtype

    def enlarge(strip: tuple[Span, Pixels]) -> Pixels:
        span, window = strip
        if len(parts) == 1:
            return enlarger(window, span, parts[0])
        enlarged = np.empty((scale * (span.stop - span.start), scale * layout.width, layout.bands), dtype)
        for columns in parts:
            enlarged[:, columns.enlarged(scale)] = enlarger(window[:, columns.window], span, columns)
        return enlarged

    with map_ahead(
        enlarge, zip(rows, chain(_taken(seen), read), strict=True), network.pool, network.threads + 1
    ) as strips:
        yield from strips


def _taken(windows: list[Pixels]) -> Iterator[Pixels]:
    """Each of them, which the list then does not keep."""
    while windows:
        yield windows.pop(0)


def strip_height(layout: Layout, most: int = MOST_PIXELS) -> int:
    """LR rows of a strip: few where they are long."""
    return max(1, min(ROWS, most // layout.width))


def strip_memory(layout: Layout, network: Network, height: int | None = None, bits: int | None = None) -> int:
    """Bytes of the strips, read and enlarged, that are in memory at a time, and of the network's extra planes.

    height, bits: of `enlarged_strips`.
    """
    height, read, scale = height or strip_height(layout), layout.width * layout.bands, network.upscale_factor
    enlarged = height * scale**2 * (bits or layout.bits)
    strips = (network.threads + 2) * read * ((height + 2 * margin(network, layout)) * layout.bits + enlarged) // 8
    plane = 4 * min(height, layout.height) * min(layout.width, COLUMNS) * scale**2  # float32
    return strips + min(network.threads, math.ceil(layout.height / height)) * network.extra_planes * plane


def strip_count(layout: Layout) -> int:
    """How many strips `enlarged_strips` yields."""
    return math.ceil(layout.height / strip_height(layout))

"""A picture brought to its size strip by strip: enlarged by the networks of its steps, then reduced.

Each step takes the strips of the one before it as they come, so that memory stays bounded. Between two steps samples
have 16 bits: what rounds the result is its last step alone.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fsrcnn.ahead import map_ahead
from fsrcnn.network import Network, to_samples
from fsrcnn.parts import Span, spans
from fsrcnn.pictures.pixels import Layout, Pixels
from fsrcnn.pictures.strips import Strength, Windows, enlarged_strips, strip_count, strip_height, strip_memory
from fsrcnn.reduce import resized
from fsrcnn.resize import Axis, axis_of, bytes_to_make, part_of_axis
from fsrcnn.sizes import Steps

BETWEEN = 16  # bits of a sample between two steps
MOST_BETWEEN = 2**21  # pixels of a strip that goes on to another step, however wide the picture is
MOST_REDUCED = 2**19  # that a strip of the result is made of: their floats, in many threads, take far more memory


def sized_layout(layout: Layout, steps: Steps) -> Layout:
    """The result's layout."""
    return layout._replace(width=steps.width, height=steps.height)


def sized_strips(
    layout: Layout, windows: Windows, network: Network, steps: Steps, strength: Strength | None = None
) -> Iterator[Pixels]:
    """The picture at its size, from top to bottom in strips. layout, windows, strength: as for `enlarged_strips`.

    network: whose threads do the work, besides those of the steps.
    """
    if steps.is_plain:
        return enlarged_strips(layout, windows, steps.networks[0], strength)
    strips = windows(list(spans(layout.height, strip_height(layout), 0))) if not steps.networks else iter(())
    for stage in _stages(layout, steps):
        settings = {"height": stage.height, "bits": stage.result.bits, "depth": layout.bits}
        strips = enlarged_strips(stage.layout, windows, stage.network, strength, **settings)
        windows, strength = partial(windowed, strips), None
    return _reduced(strips, reduction, network) if (reduction := _reduction(layout, steps)) else strips


def sized_count(layout: Layout, steps: Steps) -> int:
    """How many strips `sized_strips` yields."""
    if reduction := _reduction(layout, steps):
        return len(reduction.spans)
    if steps.is_plain or not steps.networks:
        return strip_count(layout)
    last = _stages(layout, steps)[-1]
    return math.ceil(last.layout.height / last.height)


def sized_memory(layout: Layout, network: Network, steps: Steps) -> int:
    """Bytes of the strips of all steps that are in memory at a time."""
    if steps.is_plain:
        return strip_memory(layout, steps.networks[0])
    stages = _stages(layout, steps)
    need = sum(strip_memory(each.layout, each.network, each.height, each.result.bits) for each in stages)
    if reduction := _reduction(layout, steps):
        need += (network.threads + 2) * reduction.nbytes + reduction.bytes_of_columns
    return need


def windowed(strips: Iterator[Pixels], rows: list[Span]) -> Iterator[Pixels]:
    """The rows in the window of each span, of a picture that comes in strips; the spans go down."""
    held, first = next(strips), 0
    for span in rows:
        parts = [held[span.first - first :]]
        first, last = span.first, first + len(held)
        while last < span.last:
            parts.append(next(strips))
            last += len(parts[-1])
        held = np.concatenate(parts) if len(parts) > 1 else parts[0]
        yield held[: span.last - first]


# --- the networks' steps ---


class _Stage(NamedTuple):
    """A network's step: a picture of this layout enlarged, in strips of `height` of its rows."""

    network: Network
    layout: Layout
    result: Layout
    height: int


def _stages(layout: Layout, steps: Steps) -> list[_Stage]:
    stages: list[_Stage] = []
    depth = layout.bits
    for number, network in enumerate(steps.networks, 1):
        bits = depth if number == len(steps.networks) and not steps.is_reduced else BETWEEN
        scale = network.upscale_factor
        result = layout._replace(height=scale * layout.height, width=scale * layout.width, bits=bits)
        stages.append(_Stage(network, layout, result, strip_height(layout, MOST_BETWEEN // scale**2)))
        layout = result
    return stages


# --- the reduction ---


class _Reduction:
    """Reduces a picture of one layout to another by MATLAB's antialiased bicubic ``imresize``.

    is_filled: a network has given the transparent pixels that matter the colours around them. Otherwise the colours of
    transparent pixels, which mean nothing, are kept out of the sums.
    """

    def __init__(self, layout: Layout, result: Layout, is_filled: bool) -> None:
        self.layout, self.result, self._by_alpha = layout, result, layout.has_alpha and not is_filled
        height = max(1, strip_height(layout, MOST_REDUCED) * result.height // layout.height)
        self.spans = [
            self._span(start, min(start + height, result.height)) for start in range(0, result.height, height)
        ]

    def _span(self, start: int, stop: int) -> Span:
        """Rows of the result, and the window of rows that they are made of."""
        indices = part_of_axis(self.layout.height, self.result.height, start, stop).indices
        return Span(start, stop, int(indices.min()), int(indices.max()) + 1)

    def columns(self) -> Axis:
        return axis_of(self.layout.width, self.result.width)

    @property
    def bytes_of_columns(self) -> int:
        """What `columns` needs while they are made."""
        return bytes_to_make(self.layout.width, self.result.width)

    @property
    def nbytes(self) -> int:
        """Of a part, as it is read and, in floats, between the two axes and after them."""
        read, made = (
            max(side) for side in zip(*((s.last - s.first, s.stop - s.start) for s in self.spans), strict=True)
        )
        source = read * self.layout.width * (self.layout.bits // 8 + 4 * self._by_alpha)
        return self.layout.bands * (source + 4 * made * (2 * self.layout.width + 2 * self.result.width))

    def __call__(self, window: Pixels, span: Span, columns: Axis) -> Pixels:
        rows = part_of_axis(self.layout.height, self.result.height, span.start, span.stop)
        rows = rows._replace(indices=rows.indices - span.first)
        values = self._by_colours_seen(window, rows, columns) if self._by_alpha else resized(window, rows, columns)
        values *= np.float32(self.result.peak / self.layout.peak)
        return to_samples(values, self.result.bits).reshape(span.stop - span.start, self.result.width, -1)

    def _by_colours_seen(self, window: Pixels, rows: Axis, columns: Axis) -> NDArray[np.float32]:
        """The window reduced, each pixel's colour counting by its alpha; where nothing is visible, alike."""
        weighted = window.astype(np.float32)
        weighted[..., :-1] *= weighted[..., -1:]
        values, plain = (resized(each, rows, columns) for each in (weighted, window))
        visible = values[..., -1:] >= self.layout.peak / self.result.peak / 2
        np.divide(values[..., :-1], values[..., -1:], out=plain[..., :-1], where=visible)
        return plain


def _reduction(layout: Layout, steps: Steps) -> _Reduction | None:
    if not steps.is_reduced:
        return None
    stages = _stages(layout, steps)
    before = stages[-1].result if stages else layout
    # Where one side becomes smaller than the source's, the sums along it reach further than the network fills.
    is_filled = steps.width >= layout.width and steps.height >= layout.height
    return _Reduction(before, sized_layout(layout, steps), is_filled)


def _reduced(strips: Iterator[Pixels], reduction: _Reduction, network: Network) -> Iterator[Pixels]:
    """The picture reduced, in strips. strips: of the whole picture."""
    columns = reduction.columns()

    def reduce(part: tuple[Span, Pixels]) -> Pixels:
        span, window = part
        return reduction(window, span, columns)

    parts = zip(reduction.spans, windowed(strips, reduction.spans), strict=True)
    with map_ahead(reduce, parts, network.pool, network.threads + 1) as reduced:
        yield from reduced

"""An axis of a picture cut into parts, which can be enlarged one by one: together they are the enlarged whole."""

from collections.abc import Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """A part of an axis, start..stop, and the window first..last of pixels that its enlargement depends on. All four
    are in LR pixels of the whole axis.
    """

    start: int
    stop: int
    first: int
    last: int

    @property
    def window(self) -> slice:
        return slice(self.first, self.last)

    def inside(self, scale: int) -> slice:
        """Where the part lies in its window, both enlarged."""
        return slice(scale * (self.start - self.first), scale * (self.stop - self.first))

    def enlarged(self, scale: int) -> slice:
        """Where the part lies in the whole axis, both enlarged."""
        return slice(scale * self.start, scale * self.stop)


def spans(length: int, size: int, margin: int) -> Iterator[Span]:
    """Cuts an axis into parts of `size`, the last one perhaps shorter. Each window is `margin` wider than its part on
    both sides, as far as the axis goes.
    """
    for start in range(0, length, size):
        stop = min(start + size, length)
        yield Span(start, stop, max(start - margin, 0), min(stop + margin, length))

"""The size that a result is asked to have, and the steps that lead to it: networks, then MATLAB's bicubic down."""

import math
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral
from typing import NamedTuple

import numpy as np

from fsrcnn.errors import RequestError, got, number_of
from fsrcnn.geometry import MOST_FACTOR, MOST_IN_A_ROW, SCALES, chain_to
from fsrcnn.network import Network

MOST_SIDE = 2**31 - 1  # pixels; no format has more
DEFAULT_FACTOR = 2


@dataclass(frozen=True)
class Size:
    """What is asked for: a factor, or pixels of one side, of both, or of a frame to fit into; see `checked_size`."""

    upscale_factor: int | float | None = None
    width: int | None = None
    height: int | None = None
    fit: tuple[int, int] | None = None

    @property
    def scale(self) -> int | None:
        """The scale of the network that alone makes it, whatever the picture; None: it takes more, or depends."""
        factor = self._factor
        return int(factor) if factor in SCALES else None

    @property
    def _factor(self) -> float | None:
        is_other = self.width or self.height or self.fit
        return None if is_other else self.upscale_factor or DEFAULT_FACTOR

    @property
    def ending(self) -> str:
        """What is added to the names of results: _x2, _x1.5, _800w, _600h, _800x600, _fit1920x1080."""
        if self._factor:
            return f"_x{self._factor}"
        if self.fit:
            return "_fit{}x{}".format(*self.fit)
        if self.width and self.height:
            return f"_{self.width}x{self.height}"
        return f"_{self.width}w" if self.width else f"_{self.height}h"

    @property
    def done(self) -> str:
        """What is done, for a user: "enlarged", or "resized to a width of 800"."""
        return "enlarged" if self.scale else f"resized {self.text}"

    @property
    def text(self) -> str:
        """For a user: "to a width of 800"."""
        if self._factor:
            return f"to {self._factor} times the size"
        if self.fit:
            return "to fit {} x {}".format(*self.fit)
        if self.width and self.height:
            return f"to {self.width} x {self.height}"
        return f"to a width of {self.width}" if self.width else f"to a height of {self.height}"

    def of(self, width: int, height: int, multiples: tuple[int, int] = (1, 1)) -> tuple[int, int]:
        """Width and height of the result for a picture of this size. multiples: what they must be multiples of.

        Rounded to the nearest multiple, halves up; what has to fit into a frame stays inside. A side that is not given
        keeps the aspect.
        """
        ratios = self._ratios(width, height)
        sides = [
            _nearest(ratio * side, each) for ratio, side, each in zip(ratios, (width, height), multiples, strict=True)
        ]
        if self.fit:
            most = (max(1, side // each) * each for side, each in zip(self.fit, multiples, strict=True))
            sides = [min(pair) for pair in zip(sides, most, strict=True)]
        return sides[0], sides[1]

    def _ratios(self, width: int, height: int) -> tuple[Fraction, Fraction]:
        """How many times as wide and as high the result is."""
        if self._factor:
            return (Fraction(str(self._factor)),) * 2  # in decimals, as it is written: 1.15 times 10 is half a pixel
        across, down = (
            Fraction(side or 0, each)
            for side, each in zip(self.fit or (self.width, self.height), (width, height), strict=True)
        )
        if self.fit:
            return (min(across, down),) * 2
        return across or down, down or across


def _nearest(length: Fraction, multiple: int) -> int:
    """The nearest multiple above 0, halves up."""
    return max(1, math.floor(length / multiple + Fraction(1, 2))) * multiple


def checked_size(
    upscale_factor: object = None, width: object = None, height: object = None, fit: object = None
) -> Size:
    """The size that a caller asks for; nothing: twice as large. Raises RequestError, naming the field, for what is no
    size, and for two that contradict each other.
    """
    given = {"upscale_factor": upscale_factor, "width": width, "height": height, "fit": fit}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1 and named != ["width", "height"]:
        raise RequestError(
            f"{named[0]}: is given beside {' and '.join(named[1:])}; give one alone, or width and height"
        )
    sides = {name: _checked_side(name, given[name]) for name in ("width", "height")}
    return Size(_checked_factor(upscale_factor), **sides, fit=_checked_fit(fit))


def _checked_factor(value: object) -> int | float | None:
    if value is None:
        return None
    if 0 < (number := number_of(value)) <= MOST_FACTOR:
        return int(number) if number.is_integer() else number
    raise RequestError(f"upscale_factor: got {got(value)}, expected a number above 0, {MOST_FACTOR} at most")


def _checked_side(name: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, Integral) and not isinstance(value, bool) and 0 < int(value) <= MOST_SIDE:
        return int(value)
    raise RequestError(f"{name}: got {got(value)}, expected a whole number of pixels above 0, {MOST_SIDE:,} at most")


def _checked_fit(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(sides, tuple | list) and len(sides) == 2:
        width, height = (_checked_side("fit", each) for each in sides)
        if width and height:
            return width, height
    raise RequestError(f"fit: got {got(value)}, expected a width and a height in pixels, such as (1920, 1080)")


# --- the steps that lead to it ---


class Steps(NamedTuple):
    """How a picture comes to its size: by these networks, one after the other, then reduced to width x height pixels.
    Without networks it is large enough from the start.
    """

    networks: tuple[Network, ...]
    width: int
    height: int
    is_reduced: bool

    @property
    def factor(self) -> int:
        """That of all networks together."""
        return math.prod(network.upscale_factor for network in self.networks)

    @property
    def is_plain(self) -> bool:
        """Whether one network does it all."""
        return len(self.networks) == 1 and not self.is_reduced

    def restoring(self, strength: float) -> "Steps":
        """The same, but that the first network restores by this strength; those after it have nothing to restore."""
        return self._replace(networks=(self.networks[0].restored(strength), *self.networks[1:]))

    @property
    def is_copy(self) -> bool:
        """Whether the picture has its size already."""
        return not self.networks and not self.is_reduced

    def remark(self, width: int, height: int) -> list[str]:
        """What the user should know, for a picture of this size."""
        if self.networks:
            return []
        if self.is_copy:
            return [f"is {width} x {height} already; not enlarged"]
        return [f"is {width} x {height}, larger than that; reduced to {self.width} x {self.height}"]


def steps_to(
    size: Size | None, network: Network, width: int, height: int, multiples: tuple[int, int] = (1, 1)
) -> Steps:
    """The steps for a picture of width x height pixels. size: None: the network's scale. multiples: as for `Size.of`.

    Raises RequestError for a size that the network's scales do not reach.
    """
    if size is None or size.scale == network.upscale_factor:
        scale = network.upscale_factor
        return Steps((network,), scale * width, scale * height, is_reduced=False)
    to_width, to_height = size.of(width, height, multiples)
    needed = max(Fraction(to_width, width), Fraction(to_height, height))
    chain = chain_to(needed, network.scales) if needed > 1 else ()
    if chain is None:
        most = max(network.scales) ** MOST_IN_A_ROW
        alone = " or leave weights out" if most < MOST_FACTOR else ""
        raise RequestError(
            f"{width:,} x {height:,} pixels enlarged to {to_width:,} x {to_height:,} are more than {most} times as "
            f"large; choose a smaller size{alone}"
        )
    networks, factor = tuple(network.at(scale) for scale in chain), math.prod(chain)
    return Steps(networks, to_width, to_height, (to_width, to_height) != (factor * width, factor * height))

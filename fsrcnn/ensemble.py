"""The mean of a network's results for the eight turned and mirrored forms of a picture: the field's geometric
self-ensemble, for which it writes a + behind a network's name (Timofte, Rothe and Van Gool, 2016, arXiv 1511.02228).

The network is not symmetric, so that the eight results, turned back, differ by errors that the mean makes smaller.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcnn.integers import GREATEST_RESULT, LEAST_RESULT, PEAK_STEPS, LumaSteps, from_samples, to_grey, to_limited
from fsrcnn.network import LumaPlane, Network, SamplePlane, luma_plane

FORMS_BITS = 3
FORMS = 2**FORMS_BITS  # the picture and its transpose, each of them mirrored in no, one, the other, or both directions

Plane = NDArray[Any]  # H x W luma: float32, or int16 in steps
Sums = NDArray[Any]  # of results: float32, or int32 in steps
Enlarge = Callable[[Plane], Plane]  # H x W luma to a new array of scale*H x scale*W


class Ensemble(Network):
    """A network whose results are the means of another's over the eight forms, in about eight times its time.

    It shares the other network's threads. The mean is taken in float32, before anything is rounded; where the other
    network is in integers, of its results in steps, in integers, unless one of them is clipped. A single clipped result
    is limited later to what is far inside; a mean of such results is not what it should be. Restored, it is the mean of
    what the other network gives restored.
    """

    extra_planes = 3  # two more results, and the forms that are copies; in integers two sums and a result: less

    def __init__(self, network: Network) -> None:
        super().__init__(network.sizes, network.threads)
        self._network, self.stopped, self._pools = network, network.stopped, network._pools
        self.digest = network.digest
        if network.can_restore:
            self.make_form = lambda strength: Ensemble(network.restored(strength))
        if network.make_sibling is not None:
            self.make_sibling = lambda scale: Ensemble(network.at(scale))

    @property
    def in_integers(self) -> bool:
        return self._network.in_integers

    def __call__(self, lr: LumaPlane) -> LumaPlane:
        return _mean(_sum_of_forms(self._network, luma_plane(lr)))

    def rows(self, lr: LumaPlane, first: int, last: int) -> LumaPlane:
        return _mean(self._sum_of_rows(self._network.rows, lr, first, last))

    def rows_in_steps(self, lr: LumaSteps, first: int, last: int) -> LumaSteps:
        if (mean := self._unclipped_rows(lr, first, last)) is not None:
            return mean
        return _to_steps(self.rows(lr.astype(np.float32) / np.float32(PEAK_STEPS), first, last))

    def _unclipped_rows(self, lr: LumaSteps, first: int, last: int) -> LumaSteps | None:
        """The mean in integers; None: one of the eight results is clipped."""
        least, greatest = [], []

        def rows(form: Plane, top: int, bottom: int) -> Plane:
            result = self._network.rows_in_steps(form, top, bottom)
            least.append(result.min())
            greatest.append(result.max())
            return result

        sums = self._sum_of_rows(rows, lr, first, last)
        return _mean_in_steps(sums) if min(least) > LEAST_RESULT and max(greatest) < GREATEST_RESULT else None

    def _sum_of_rows(self, rows: Callable[[Plane, int, int], Plane], lr: Plane, first: int, last: int) -> Sums:
        top = max(first - self.reach, 0)
        sums = _sum_of_forms(lambda form: rows(form, 0, len(form)), lr[top : last + self.reach])
        return sums[self.upscale_factor * (first - top) : self.upscale_factor * (last - top)]

    def flat(self, luma: np.float32, height: int, width: int) -> LumaPlane:
        return _mean(_sum_of_flat_forms(lambda *sides: self._network.flat(luma, *sides), height, width))

    def flat_in_steps(self, luma: np.int16, height: int, width: int) -> LumaSteps:
        return _mean_in_steps(
            _sum_of_flat_forms(lambda *sides: self._network.flat_in_steps(luma, *sides), height, width)
        )

    def enlarge_samples(self, lr: SamplePlane, sr: SamplePlane, bits: int, full_range: bool) -> None:
        if bits > 8 or not self.in_integers:
            super().enlarge_samples(lr, sr, bits, full_range)
            return
        luma = self.rows_in_steps(from_samples(lr.view(np.uint8), full_range), 0, len(lr))
        sr[:] = to_grey(luma) if full_range else to_limited(luma)


def _sum_of_forms(enlarge: Enlarge, lr: Plane) -> Sums:
    total = _sum_of_mirrored(enlarge, lr)
    total += _sum_of_mirrored(enlarge, np.ascontiguousarray(lr.T)).T
    return total


def _sum_of_mirrored(enlarge: Enlarge, lr: Plane) -> Sums:
    """The sum of four results: of the plane and its mirror images, each mirrored back. Rows are passed on in either
    order; in each the pixels follow one another in memory, as the compiled function reads them.
    """
    mirrored = np.ascontiguousarray(lr[:, ::-1])
    total = _to_add_to(enlarge(lr))
    total += enlarge(lr[::-1])[::-1]
    total += enlarge(mirrored)[:, ::-1]
    total += enlarge(mirrored[::-1])[::-1, ::-1]
    return total


def _sum_of_flat_forms(flat: Callable[[int, int], Plane], height: int, width: int) -> Sums:
    """The same for a flat plane, whose mirror images are alike, of one or two results. flat: gives one of H x W."""
    straight = _to_add_to(flat(height, width))
    turned = straight if height == width else _to_add_to(flat(width, height))
    total, other = (each + each[::-1] + each[:, ::-1] + each[::-1, ::-1] for each in (straight, turned))
    total += other.T
    return total


def _to_add_to(result: Plane) -> Sums:
    """A result as numbers that hold the sum of all."""
    return result if result.dtype == np.float32 else result.astype(np.int32)


def _mean(sums: Sums) -> LumaPlane:
    """Of the forms; `sums` is modified."""
    sums *= np.float32(1 / FORMS)
    return sums


def _to_steps(luma: LumaPlane) -> LumaSteps:
    """Luma in 0..1 as luma in steps, rounded (halves up); it is modified. What does not fit is limited later anyway."""
    luma *= np.float32(PEAK_STEPS)
    luma += np.float32(0.5)
    return np.floor(luma, out=luma).clip(-(2**15), 2**15 - 1).astype(np.int16)


def _mean_in_steps(sums: Sums) -> LumaSteps:
    """Of the forms, rounded (halves up); `sums` is modified."""
    sums += FORMS // 2
    sums >>= FORMS_BITS
    return sums.astype(np.int16)

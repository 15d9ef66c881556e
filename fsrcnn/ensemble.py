"""The mean of a network's results for the eight turned and mirrored forms of a picture: the field's geometric
self-ensemble, for which it writes a + behind a network's name (Timofte, Rothe and Van Gool, 2016, arXiv 1511.02228).

The network is not symmetric, so that the eight results, turned back, differ by errors that the mean makes smaller.
"""

from collections.abc import Callable

import numpy as np

from fsrcnn.network import LumaPlane, Network, luma_plane

FORMS = 8  # the picture and its transpose, each of them mirrored in no, one, the other, or both directions

Enlarge = Callable[[LumaPlane], LumaPlane]  # H x W luma to a new array of scale*H x scale*W


class Ensemble(Network):
    """A network whose results are the means of another's over the eight forms, in about eight times its time.

    It shares the other network's threads. The mean is taken in float32, before anything is rounded. Restored, it is the
    mean of what the other network gives restored.
    """

    extra_planes = 3  # two more results, and the forms that are copies

    def __init__(self, network: Network) -> None:
        super().__init__(network.sizes, network.threads)
        self._network, self.stopped, self._pools = network, network.stopped, network._pools
        if network.can_restore:
            self.make_form = lambda strength: Ensemble(network.restored(strength))
        if network.make_sibling is not None:
            self.make_sibling = lambda scale: Ensemble(network.at(scale))

    def __call__(self, lr: LumaPlane) -> LumaPlane:
        return _mean_of_forms(self._network, luma_plane(lr))

    def rows(self, lr: LumaPlane, first: int, last: int) -> LumaPlane:
        top = max(first - self.reach, 0)
        sr = _mean_of_forms(lambda form: self._network.rows(form, 0, len(form)), lr[top : last + self.reach])
        return sr[self.upscale_factor * (first - top) : self.upscale_factor * (last - top)]

    def flat(self, luma: np.float32, height: int, width: int) -> LumaPlane:
        """As from `rows`, of one or two results of the other network: a flat plane's mirror images are alike."""
        straight = self._network.flat(luma, height, width)
        turned = straight if height == width else self._network.flat(luma, width, height)
        return _mean(*(each + each[::-1] + each[:, ::-1] + each[::-1, ::-1] for each in (straight, turned)))


def _mean_of_forms(enlarge: Enlarge, lr: LumaPlane) -> LumaPlane:
    return _mean(_sum_of_mirrored(enlarge, lr), _sum_of_mirrored(enlarge, np.ascontiguousarray(lr.T)))


def _sum_of_mirrored(enlarge: Enlarge, lr: LumaPlane) -> LumaPlane:
    """The sum of four results: of the plane and its mirror images, each mirrored back. Rows are passed on in either
    order; in each the pixels follow one another in memory, as the compiled function reads them.
    """
    mirrored = np.ascontiguousarray(lr[:, ::-1])
    total = enlarge(lr)
    total += enlarge(lr[::-1])[::-1]
    total += enlarge(mirrored)[:, ::-1]
    total += enlarge(mirrored[::-1])[::-1, ::-1]
    return total


def _mean(straight: LumaPlane, turned: LumaPlane) -> LumaPlane:
    """Of the forms, from the sum of those that are mirrored alone, which is modified, and of those transposed too."""
    straight += turned.T
    straight *= np.float32(1 / FORMS)
    return straight

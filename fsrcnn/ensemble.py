"""The mean of a network's results for the eight turned and mirrored forms of a picture: the field's geometric
self-ensemble, for which it writes a + behind a network's name (Timofte, Rothe and Van Gool, 2016, arXiv 1511.02228).

The network is not symmetric, so that the eight results, turned back, differ by errors that the mean makes smaller.
"""

import math

import numpy as np

from fsrcnn.network import LumaPlane, Network, luma_plane
from fsrcnn.parts import Span, spans

FORMS = 8  # the picture and its transpose, each of them mirrored in no, one, the other, or both directions
LEAST_ROWS, MOST_ROWS = 64, 256  # LR rows of a thread's part: a form that is transposed has `reach` more at each end


class Ensemble(Network):
    """A network whose results are the means of another's over the eight forms, in about eight times its time.

    It shares the other network's threads; to be called from none of them. The mean is taken in float32, before anything
    is rounded. Restored, it is the mean of what the other network gives restored.
    """

    extra_planes = 3

    def __init__(self, network: Network) -> None:
        super().__init__(network.sizes, network.threads)
        self._network, self.stopped, self._pools = network, network.stopped, network._pools
        if network.can_restore:
            self.make_form = lambda strength: Ensemble(network.restored(strength))

    def __call__(self, lr: LumaPlane) -> LumaPlane:
        lr = luma_plane(lr)
        sr = np.empty([self.upscale_factor * length for length in lr.shape], np.float32)

        def enlarge(part: Span) -> None:
            sr[part.enlarged(self.upscale_factor)] = self.rows(lr, part.start, part.stop)

        height = min(max(math.ceil(len(lr) / self.threads), LEAST_ROWS), MOST_ROWS)
        list(self.pool.map(enlarge, spans(len(lr), height, 0)))
        return sr

    def rows(self, lr: LumaPlane, first: int, last: int) -> LumaPlane:
        top = max(first - self.reach, 0)
        window, first, last = lr[top : last + self.reach], first - top, last - top
        straight = self._sum_of_mirrored(window, first, last)
        turned = self._sum_of_mirrored(np.ascontiguousarray(window.T), 0, window.shape[1])
        return _mean(straight, turned[:, self.upscale_factor * first : self.upscale_factor * last])

    def flat(self, luma: np.float32, height: int, width: int) -> LumaPlane:
        """As from `rows`, of one or two results of the other network: a flat plane's mirror images are alike."""
        straight = self._network.flat(luma, height, width)
        turned = straight if height == width else self._network.flat(luma, width, height)
        return _mean(*(each + each[::-1] + each[:, ::-1] + each[::-1, ::-1] for each in (straight, turned)))

    def _sum_of_mirrored(self, lr: LumaPlane, first: int, last: int) -> LumaPlane:
        """The sum of the results for rows of the plane and of its mirror images, each mirrored back. The planes' rows
        may come in either order; in each the pixels follow one another in memory, as the compiled function reads them.
        """
        enlarge, from_below = self._network.rows, (len(lr) - last, len(lr) - first)
        mirrored = np.ascontiguousarray(lr[:, ::-1])
        total = enlarge(lr, first, last)
        total += enlarge(lr[::-1], *from_below)[::-1]
        total += enlarge(mirrored, first, last)[:, ::-1]
        total += enlarge(mirrored[::-1], *from_below)[::-1, ::-1]
        return total


def _mean(straight: LumaPlane, turned: LumaPlane) -> LumaPlane:
    """Of the forms, from the sum of those that are mirrored alone, which is modified, and of those transposed too."""
    straight += turned.T
    straight *= np.float32(1 / FORMS)
    return straight

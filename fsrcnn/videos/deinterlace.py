"""Interlaced film recognised and deinterlaced.

A frame of interlaced film is two fields, its even and its odd rows, of two moments. Where something moves, its rows
alternate between the two: they comb. Flags say whether a film is so, and may be wrong either way. So the pictures
decide where enough moves, and the flags elsewhere.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from typing import Literal, NamedTuple

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from fsrcnn.videos.frames import bits_of, sample_planes

Kind = Literal["progressive", "interlaced", "telecined"]

LOOKED_AT = 150  # frames from the start, until so many have shown movement:
ENOUGH, LEAST = 25, 6  # and with fewer than LEAST, the pictures tell nothing
MOVED = 12  # levels of 255 by which a pixel that moves differs from the frame before
MOVING = 0.002  # the share of such pixels in a frame that shows movement
# How many times rougher a frame is than its fields: one that combs is COMBED or more, a picture of one moment SMOOTH or
# less. Noise is in between.
COMBED, SMOOTH = 1.2, 0.85
DECISIVE = 1.1  # how many times rougher one order of the fields must be than the other
MOST = 0.65  # the share of frames, of those that show movement, that decides
CYCLE, ALIKE = 5, 0.9  # of telecined film two frames in CYCLE are combed, the same in each cycle
SOME = 0.15  # combed frames of it at least
SMALLEST = 8  # of the sides of a frame that bwdif takes, chroma too


class Scan(NamedTuple):
    """What a film's frames are. top_first: whether the even rows are the earlier field; None: as each frame says."""

    kind: Kind = "progressive"
    is_flagged: bool = False
    top_first: bool | None = None


# --- recognising ---


def scan_of(frames: Iterable[av.VideoFrame]) -> Scan:
    """What the film is, by its first frames, all of one size and in one of PIXEL_FORMATS."""
    flags, ratios, order = [], [], np.zeros(2)
    for flag, moved, earlier, later in islice(_compared(frames), LOOKED_AT):
        flags.append(flag)
        if moved is None:
            continue
        ratios.append(_roughness(later, 1, moved) / max(_roughness(later, 2, moved), 1))
        order += [_roughness(_woven(later, earlier), 1, moved), _roughness(_woven(earlier, later), 1, moved)]
        if len(ratios) == ENOUGH:
            break
    is_flagged = sum(flags) > len(flags) / 2
    top_first = bool(order[0] < order[1]) if order.max() > DECISIVE * order.min() else None
    return Scan(_kind(np.array(ratios), is_flagged, top_first is not None), is_flagged, top_first)


def _kind(ratios: NDArray[np.float64], is_flagged: bool, has_order: bool) -> Kind:
    """ratios: of each frame that shows movement, how many times rougher it is than its fields."""
    combs = ratios >= COMBED
    alike = combs[CYCLE:] == combs[:-CYCLE]
    if len(combs) >= 2 * CYCLE and SOME <= combs.mean() < MOST and alike.mean() >= ALIKE:
        return "telecined"
    if is_flagged:
        # A slow film combs little, but its fields still have an order.
        is_smooth = len(ratios) >= LEAST and (ratios <= SMOOTH).mean() >= MOST and not combs.any() and not has_order
        return "progressive" if is_smooth else "interlaced"
    return "interlaced" if len(ratios) >= LEAST and combs.mean() >= MOST and has_order else "progressive"


Compared = tuple[bool, NDArray[np.bool_] | None, NDArray[np.float32], NDArray[np.float32]]


def _compared(frames: Iterable[av.VideoFrame]) -> Iterator[Compared]:
    """Each frame but the first: its flag, where it differs from the one before (None: hardly anywhere), that one's luma
    and its own, in levels of 255.
    """
    earlier: NDArray[np.float32] | None = None
    for frame in frames:
        later = sample_planes(frame)[0][:, ::2].astype(np.float32) / 2 ** (bits_of(frame) - 8)
        if earlier is not None:
            moved = np.abs(later - earlier) > MOVED
            yield frame.interlaced_frame, moved if moved.mean() >= MOVING else None, earlier, later
        else:
            first = later[:0], later[:0]
            yield frame.interlaced_frame, None, *first
        earlier = later


def _roughness(luma: NDArray[np.float32], step: int, where: NDArray[np.bool_]) -> float:
    """How far rows are from the mean of those `step` above and below, on average over the pixels."""
    off = np.abs(2 * luma[2:-2] - luma[2 - step : -2 - step] - luma[2 + step : len(luma) - 2 + step])
    return float(off[where[2:-2]].sum())


def _woven(even: NDArray[np.float32], odd: NDArray[np.float32]) -> NDArray[np.float32]:
    """The even rows of one frame and the odd rows of the other."""
    woven = even.copy()
    woven[1::2] = odd[1::2]
    return woven


# --- deinterlacing ---


class Deinterlacer:
    """FFmpeg's bwdif over frames of one size and pixel format: one frame for each, or one for each field.

    Frames come back with times in the unit of those that went in, or in half of it for fields.
    """

    def __init__(self, scan: Scan, is_double: bool) -> None:
        order = {None: "auto", True: "tff", False: "bff"}[scan.top_first]
        self._arguments = f"mode={int(is_double)}:parity={order}:deint=all"
        self._halves = 1 + is_double
        self._graph: Graph | None = None

    def frames(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """The frames that this one completes (None: all that are left); bwdif looks one frame ahead."""
        if frame is None and self._graph is None:
            return
        if frame is not None and self._graph is None:
            self._graph, self._time_base = self._graph_of(frame), Fraction(frame.time_base or 0) / self._halves
        assert self._graph is not None
        self._graph.push(frame)
        while True:
            try:
                made = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):  # needs the next frame; has none left
                return
            assert isinstance(made, av.VideoFrame)
            scale = Fraction(made.time_base or 0) / self._time_base
            made.pts, made.duration = round((made.pts or 0) * scale), round(made.duration * scale)
            made.time_base = self._time_base
            yield made

    def _graph_of(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        nodes = [
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base),
            graph.add("bwdif", self._arguments),
            graph.add("format", f"pix_fmts={frame.format.name}"),  # back, where bwdif does not take it
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph

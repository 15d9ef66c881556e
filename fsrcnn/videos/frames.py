"""A frame enlarged: the network on its luma, limited, and bicubic interpolation on its chroma; then reduced to size."""

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from fsrcnn.chroma import bicubic, padded
from fsrcnn.limits import limit_samples
from fsrcnn.network import Network, SamplePlane, sample_type, to_samples
from fsrcnn.reduce import resized
from fsrcnn.resize import axis_of, phase_weights
from fsrcnn.sizes import Steps

# The formats of frames that are enlarged as they are, all planar; yuvj... is an old name of yuv... in full range.
PIXEL_FORMATS = "gray gray10le yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le".split()


def enlarged(lr: av.VideoFrame, network: Network, full_range: bool) -> av.VideoFrame:
    """The frame, in one of PIXEL_FORMATS, `scale` times as large and made even where its chroma demands it; its time is
    kept. Computed by this thread alone.
    """
    scale, bits = network.upscale_factor, bits_of(lr)
    sr = av.VideoFrame(*sr_size(lr, scale), plain_name(lr.format.name))
    weights = chroma_weights(scale, *subsampling(lr))
    for number, (small, large) in enumerate(zip(sample_planes(lr), sample_planes(sr), strict=True)):
        rows, columns = (min(scale * length, there) for length, there in zip(small.shape, large.shape, strict=True))
        if number == 0:
            network.enlarge_samples(small, large[:rows, :columns], bits, full_range)
            limit_samples(small, large[:rows, :columns])
        else:
            large[:rows, :columns] = upscale_chroma(small, bits, weights)[:rows, :columns]
        repeat_edge(large, rows, columns)
    sr.pts, sr.duration, sr.time_base = lr.pts, lr.duration, lr.time_base
    return sr


def sized(lr: av.VideoFrame, steps: Steps, full_range: bool) -> av.VideoFrame:
    """The frame, in one of PIXEL_FORMATS, at the size that the steps lead to; its time is kept. Computed by this thread
    alone. Each step rounds to the frame's bits.
    """
    if steps.is_plain:
        return enlarged(lr, steps.networks[0], full_range)
    if steps.is_copy:
        return lr
    bits, rows_columns = bits_of(lr), subsampling(lr)
    sr = av.VideoFrame(steps.width, steps.height, plain_name(lr.format.name))
    luma, *chroma = sample_planes(lr)
    for network in steps.networks:
        large = np.empty([network.upscale_factor * length for length in luma.shape], luma.dtype)
        network.enlarge_samples(luma, large, bits, full_range)
        limit_samples(luma, large)
        luma = large
    weights = chroma_weights(steps.factor, *rows_columns) if steps.networks else None
    planes = [luma, *(each if weights is None else upscale_chroma(each, bits, weights) for each in chroma)]
    for number, (plane, into) in enumerate(zip(planes, sample_planes(sr), strict=True)):
        of_luma = rows_columns if number else (1, 1)
        into[:] = _reduced(plane, into.shape, luma.shape, (steps.height, steps.width), of_luma, bits)
    sr.pts, sr.duration, sr.time_base = lr.pts, lr.duration, lr.time_base
    return sr


def _reduced(
    plane: SamplePlane,
    shape: tuple[int, int],
    luma: tuple[int, int],
    to_luma: tuple[int, int],
    of_luma: tuple[int, int],
    bits: int,
) -> SamplePlane:
    """A plane reduced to a shape, as its frame's luma is from `luma` to `to_luma` rows and columns. of_luma: how many
    rows and columns of luma there are to one of the plane, see `chroma_weights` for where it lies among them.
    """
    rows, columns = (-(-length // each) for length, each in zip(luma, of_luma, strict=True))
    down, across = (new / old for new, old in zip(to_luma, luma, strict=True))
    shift = (1 - 1 / across) / 4 if of_luma[1] == 2 else 0.0
    axes = axis_of(rows, shape[0], down), axis_of(columns, shape[1], across, shift)
    return to_samples(resized(plane[:rows, :columns], *axes), bits)


# --- what a frame is ---


def bits_of(frame: av.VideoFrame) -> int:
    """How many bits a sample has."""
    return frame.format.components[0].bits


def plain_name(pixel_format: str) -> str:
    """The pixel format's name without the old way of saying full range."""
    return pixel_format.replace("yuvj", "yuv")


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether 8-bit black and white are 0 and 255, not 16 and 235."""
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """The frame's side data by their names."""
    try:
        # PyAV's types know of motion vectors only, and by their name.
        held = [frame.side_data[number] for number in range(len(frame.side_data))]  # type: ignore[literal-required]
    except ValueError:  # PyAV shows none of it if there is a kind it has no name for
        return {}
    return {data.type.name: bytes(data) for data in held}


def subsampling(frame: av.VideoFrame) -> tuple[int, int]:
    """How many rows and columns of luma there are to one of chroma."""
    return 2 // frame.format.chroma_height(2), 2 // frame.format.chroma_width(2)


class FrameSize(NamedTuple):
    """Of the frames of a result. stretch: how much wider each of its pixels is shown than one of the source's, so that
    the picture keeps its shape. factor: how many times as wide the frames are.
    """

    width: int
    height: int
    stretch: Fraction
    factor: float


def frame_size(lr: av.VideoFrame, steps: Steps) -> FrameSize:
    """The size of the frames that `sized` makes."""
    if steps.is_plain:
        width, height = sr_size(lr, steps.networks[0].upscale_factor)
        return FrameSize(width, height, Fraction(1), steps.factor)
    width, height = steps.width, steps.height
    stretch = Fraction(lr.width * height, lr.height * width)
    # A side that is off by less than two pixels has only become even.
    became_even = abs(stretch - 1) < max(Fraction(2, width), Fraction(2, height))
    return FrameSize(width, height, Fraction(1) if became_even else stretch, width / lr.width)


def sr_size(lr: av.VideoFrame, scale: int) -> tuple[int, int]:
    """Width and height of the enlarged frame, rounded up to multiples of the subsampling, as encoders demand."""
    rows, columns = subsampling(lr)
    return -(-scale * lr.width // columns) * columns, -(-scale * lr.height // rows) * rows


# --- its planes ---


def sample_planes(frame: av.VideoFrame) -> list[SamplePlane]:
    """Views of the frame's planes, H x W each: luma, then chroma if there is any."""
    planes = frame.planes
    dtype: np.dtype[np.uint8 | np.uint16] = np.dtype(sample_type(bits_of(frame)))
    return [np.frombuffer(memoryview(each), dtype).reshape(each.height, -1)[:, : each.width] for each in planes]


def repeat_edge(plane: SamplePlane, rows: int, columns: int) -> None:
    """Fills what the plane has below its first `rows` and right of its first `columns`, at most one of each, with the
    last of them.
    """
    plane[rows:, :columns] = plane[rows - 1 : rows, :columns]
    plane[:, columns:] = plane[:, columns - 1 : columns]


def upscale_chroma(lr: SamplePlane, bits: int, weights: NDArray[np.float32]) -> SamplePlane:
    """A plane of chroma, H x W, enlarged by bicubic interpolation to scale*H x scale*W. The border is mirrored.

    weights: of `chroma_weights`.
    """
    sr = np.empty([weights.shape[1] * length for length in lr.shape], np.float32)
    bicubic(padded(lr.astype(np.float32)), weights, sr)
    return to_samples(sr, bits)


@cache
def chroma_weights(scale: int, rows: int, columns: int) -> NDArray[np.float32]:
    """`phase_weights` of chroma's rows and of its columns, 2 x scale x TAPS. rows, columns: of luma to one of chroma.

    A sample of chroma lies midway between its rows of luma and on the left one of its columns, H.264's default, and
    stays there. For 1 and 1 it is MATLAB's ``imresize``.
    """
    return np.stack([phase_weights(scale, rows, 0.5 * (rows - 1)), phase_weights(scale, columns)])

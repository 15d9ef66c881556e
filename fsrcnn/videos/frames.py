"""A frame enlarged: the network on its luma, limited, bicubic interpolation on its chroma and alpha; then reduced."""

from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
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
# Those with an alpha as well.
ALPHA_FORMATS = "yuva420p yuva422p yuva444p yuva420p10le yuva422p10le yuva444p10le".split()
UNNAMED = "UNNAMED"  # side data that PyAV cannot show
CHROMA, ALPHA = (1, 2), 3  # the numbers of the planes
LEFT = "left"  # where a sample of chroma lies among its samples of luma, unless the film says so; H.264's default

# User data in which x264 and x265 say how they were set.
ENCODERS_NOTES = tuple(map(bytes.fromhex, ("dc45e9bde6d948b7962cd820d923eeef", "2ca2de09b51747dbbb55a4fe7fc2fc4e")))


def enlarged(
    lr: av.VideoFrame,
    network: Network,
    full_range: bool,
    chroma_location: str = LEFT,
    carried: frozenset[str] = frozenset(),
) -> av.VideoFrame:
    """The frame, in one of PIXEL_FORMATS or ALPHA_FORMATS, `scale` times as large and made even where its chroma
    demands it; its time is kept. Computed by this thread alone.

    carried: the kinds of side data, by PyAV's names, for whose sake all that the frame has is kept.
    """
    scale, bits = network.upscale_factor, bits_of(lr)
    sr = _blank(lr, *sr_size(lr, scale), carried)
    weights = chroma_weights(scale, *subsampling(lr), chroma_location)
    for number, (small, large) in enumerate(zip(sample_planes(lr), sample_planes(sr), strict=True)):
        rows, columns = (min(scale * length, there) for length, there in zip(small.shape, large.shape, strict=True))
        if number == 0:
            network.enlarge_samples(small, large[:rows, :columns], bits, full_range)
            limit_samples(small, large[:rows, :columns])
        else:
            plane_weights = chroma_weights(scale, 1, 1) if number == ALPHA else weights
            large[:rows, :columns] = upscale_chroma(small, bits, plane_weights)[:rows, :columns]
        repeat_edge(large, rows, columns)
    return sr


def _blank(lr: av.VideoFrame, width: int, height: int, carried: frozenset[str]) -> av.VideoFrame:
    """A frame to fill, of the same time. PyAV gives side data to none but copies, which take longer to make."""
    pixel_format = plain_name(lr.format.name)
    if carried and carried & side_data(lr).keys():
        sr = lr.reformat(width, height, pixel_format, interpolation="POINT")
    else:
        sr = av.VideoFrame(width, height, pixel_format)
    sr.pts, sr.duration, sr.time_base = lr.pts, lr.duration, lr.time_base
    return sr


def sized(
    lr: av.VideoFrame,
    steps: Steps,
    full_range: bool,
    chroma_location: str = LEFT,
    carried: frozenset[str] = frozenset(),
) -> av.VideoFrame:
    """The frame, in one of PIXEL_FORMATS or ALPHA_FORMATS, at the size that the steps lead to; its time is kept.
    Computed by this thread alone. Each step rounds to the frame's bits. carried: as for `enlarged`.
    """
    if steps.is_plain:
        return enlarged(lr, steps.networks[0], full_range, chroma_location, carried)
    if steps.is_copy:
        return lr
    bits = bits_of(lr)
    sr = _blank(lr, steps.width, steps.height, carried)
    luma, *others = sample_planes(lr)
    for network in steps.networks:
        large = np.empty([network.upscale_factor * length for length in luma.shape], luma.dtype)
        network.enlarge_samples(luma, large, bits, full_range)
        limit_samples(luma, large)
        luma = large
    size, to_size = luma.shape, (steps.height, steps.width)
    for number, (plane, into) in enumerate(zip([luma, *others], sample_planes(sr), strict=True)):
        of_luma = subsampling(lr) if number in CHROMA else (1, 1)
        if number and steps.networks:
            plane = upscale_chroma(plane, bits, chroma_weights(steps.factor, *of_luma, chroma_location))
        into[:] = _reduced(plane, into.shape, size, to_size, of_luma, chroma_location, bits)
    return sr


def _reduced(
    plane: SamplePlane,
    shape: tuple[int, int],
    luma: tuple[int, int],
    to_luma: tuple[int, int],
    of_luma: tuple[int, int],
    location: str,
    bits: int,
) -> SamplePlane:
    """A plane reduced to a shape, as its frame's luma is from `luma` to `to_luma` rows and columns. of_luma: how many
    rows and columns of luma there are to one of the plane, location: where it lies among them; see `chroma_weights`.
    """
    scales = [new / old for new, old in zip(to_luma, luma, strict=True)]
    down, across = (
        kept_axis(-(-length // each), to, scale, (1 - 1 / scale) * (0.5 - at) * (1 - 1 / each))
        for length, to, scale, each, at in zip(luma, shape, scales, of_luma, places_of(location), strict=True)
    )
    rows, columns = (-(-length // each) for length, each in zip(luma, of_luma, strict=True))
    return to_samples(resized(plane[:rows, :columns], down, across), bits)


kept_axis = lru_cache(8)(axis_of)  # those of a film's luma and of its chroma, two each


# --- what a frame is ---


def bits_of(frame: av.VideoFrame) -> int:
    """How many bits a sample has."""
    return frame.format.components[0].bits


def plain_name(pixel_format: str) -> str:
    """The pixel format's name without the old way of saying full range."""
    return pixel_format.replace("yuvj", "yuv")


def has_alpha(pixel_format: str) -> bool:
    """Whether pixels of the format have an alpha of their own."""
    described = av.VideoFormat(pixel_format)
    return not described.has_palette and any(component.is_alpha for component in described.components)


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether 8-bit black and white are 0 and 255, not 16 and 235."""
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def bytes_of(frame: av.VideoFrame, width: int, height: int) -> int:
    """What a frame like this one needs, as it is or of another size, whichever is more."""
    here = sum(plane.nbytes for plane in sample_planes(frame))
    return max(here, here * width * height // (frame.width * frame.height))


def side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """The frame's side data by their names."""
    try:
        # Not `frame.side_data`, which the frame would keep, as it keeps the frame: no memory of either would be given
        # back until the garbage collector comes by, hundreds of frames later.
        held = list(SideDataContainer(frame))  # type: ignore[call-arg]  # PyAV's types do not tell what it is made of
    except ValueError:  # PyAV shows none of it if there is a kind it has no name for
        return {UNNAMED: b""}
    return {data.type.name: bytes(data) for data in held}


def side_data_kinds(frame: av.VideoFrame) -> set[str]:
    """The kinds of side data that a frame has, by PyAV's names, without encoders' notes."""
    return {kind for kind, data in side_data(frame).items() if not data.startswith(ENCODERS_NOTES)}


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
def chroma_weights(scale: int, rows: int, columns: int, location: str = LEFT) -> NDArray[np.float32]:
    """`phase_weights` of chroma's rows and of its columns, 2 x scale x TAPS. rows, columns: of luma to one of chroma.

    location: where a sample of chroma lies among these, and stays, in FFmpeg's words: "left" is midway between the rows
    and on the left column, "center" midway between both, "topleft" on the first of both, and so on. For 1 and 1 it is
    MATLAB's ``imresize``.
    """
    down, right = places_of(location)
    return np.stack(
        [phase_weights(scale, rows, down * (rows - 1)), phase_weights(scale, columns, right * (columns - 1))]
    )


def places_of(location: str) -> tuple[float, float]:
    """Where chroma lies from the first to the last of its rows and columns of luma, 0 to 1; as for `chroma_weights`."""
    down = 0.0 if location.startswith("top") else 1.0 if location.startswith("bottom") else 0.5
    return down, 0.0 if location.endswith("left") else 0.5

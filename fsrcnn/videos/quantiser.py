"""How strongly a film is restored: one strength for all of it, by the quantiser of its first frames.

Of H.264 and VP9 the decoder tells each frame's quantiser, of HEVC and AV1 it does not: these have a fixed strength.
Films of other codecs, which were not measured, are not restored. The strengths are those that gained most in
`python -m benchmarks.films`.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from fsrcnn.videos.frames import bits_of, sample_planes, side_data
from fsrcnn.videos.source import frames, open_source

FRAMES = 12  # from the start, which tell the quantiser
# Black frames, which many films begin with, are coded finely whatever the rest is. So frames without contrast, luma of
# a smaller standard deviation in levels of 255, are passed over, in so many from the start.
LEAST_CONTRAST = 4
SEARCHED = 300

# The strength for a quantiser, on each codec's own scale, 0 to 51 and 0 to 255; in between it is interpolated.
STRENGTHS: dict[str, dict[float, float]] = {
    "h264": {14: 0.0, 18: 0.09, 20.5: 0.11, 23: 0.2, 25.5: 0.28, 28: 0.45, 30.5: 0.57, 33: 0.72, 36: 0.8, 42: 1.0},
    "vp9": {20: 0.0, 31: 0.05, 75: 0.1, 93: 0.13, 143: 0.22, 176: 0.42, 205: 0.62, 234: 0.79, 255: 0.9},
}
# Where the quantiser is not told, what gained from a CRF of 18 to one of 33.
FIXED = {"hevc": 0.1, "av1": 0.1}

STEPS_A_BIT = 6  # of H.264's quantiser, for each bit of a sample beyond 8

# FFmpeg's AVVideoEncParams: the number of blocks, their offset and size, the kind, the frame's quantiser. In each block
# the width, height and quantiser's difference are three numbers from BLOCK on.
PARAMETERS = struct.Struct("@IQQii")
SIDE_DATA = "VIDEO_ENC_PARAMS"
BLOCK = 8


def film_strength(path: Path) -> float:
    """The strength, 0 to 1, at which a film is restored. Raises RequestError where `open_source` does."""
    with open_source(path) as source:
        codec = source.video.codec.canonical_name
        if codec not in STRENGTHS:
            return FIXED.get(codec, 0.0)
        source.video.codec_context.options = {"export_side_data": "venc_params"}
        source.video.codec_context.thread_count = 1  # FFmpeg's threads change the numbers while they are told
        pictures = (frame for frame in islice(frames(source), SEARCHED) if _has_contrast(frame))
        told = list(_quantisers(islice(pictures, FRAMES)))
    if not told:
        return 0.0
    strengths = STRENGTHS[codec]
    beyond = STEPS_A_BIT * (bits_of(source.first) - 8) if codec == "h264" else 0
    return float(np.interp(np.mean(told) - beyond, list(strengths), list(strengths.values())))


def _has_contrast(frame: av.VideoFrame) -> bool:
    luma = sample_planes(frame)[0][::4, ::4]
    return bool(luma.std() >= LEAST_CONTRAST * 2 ** (bits_of(frame) - 8))


def _quantisers(pictures: Iterator[av.VideoFrame]) -> Iterator[float]:
    """The mean quantiser of each frame that tells it. B-frames are left out: most of their blocks only repeat others,
    at a quantiser that says nothing.
    """
    for frame in pictures:
        if (data := side_data(frame).get(SIDE_DATA)) and frame.pict_type != PictureType.B:
            yield mean_quantiser(data)


def mean_quantiser(data: bytes) -> float:
    """The mean quantiser over a frame's area. data: the frame's AVVideoEncParams."""
    count, offset, size, _, quantiser = PARAMETERS.unpack_from(data)
    if not count:
        return float(quantiser)
    block = np.dtype({"names": ["size"], "formats": ["(3,)i4"], "offsets": [BLOCK], "itemsize": size})
    widths, heights, differences = np.frombuffer(data, block, count, offset)["size"].T
    return float(quantiser + np.average(differences, weights=widths * heights))

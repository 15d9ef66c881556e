"""Frames to pictures and back: the matrix and the range between R, G, B and a film's luma and chroma.

Transfer and primaries stay as they are: pictures are sRGB, films BT.709, and every player shows the one's values as the
other's. A film of another transfer (HDR) says so in its pictures, which see numbered.py.
"""

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from fsrcnn.pictures.pixels import Pixels
from fsrcnn.videos.frames import ALPHA, bits_of, has_alpha, sample_planes, subsampling
from fsrcnn.videos.kept import UNSPECIFIED

# Kr and Kb of ITU-T H.273's matrices, by their numbers.
BT709, BT601, BT2020 = 1, 6, 9
MATRICES = {
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    BT601: (0.299, 0.114),
    7: (0.212, 0.087),
    BT2020: (0.2627, 0.0593),
}
# A film that does not say its matrix has BT.601's up to this size, as players have it, and BT.709's beyond.
LARGEST_SD = 1024, 576
SRGB_TRANSFER = 13  # ITU-T H.273


def matrix_of(first: av.VideoFrame) -> int:
    """The matrix of a film, one of MATRICES. first: its first frame, before it is enlarged. BT.709 for one that is not
    known.
    """
    if first.colorspace == UNSPECIFIED:
        return BT709 if first.width > LARGEST_SD[0] or first.height > LARGEST_SD[1] else BT601
    return int(first.colorspace) if first.colorspace in MATRICES else BT709


def to_luma_chroma(matrix: int) -> NDArray[np.float64]:
    """3 x 3, R, G, B in 0..1 to luma in 0..1 and Cb, Cr in -0.5..0.5."""
    red, blue = MATRICES[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack([luma, (np.eye(3)[2] - luma) / (2 - 2 * blue), (np.eye(3)[0] - luma) / (2 - 2 * red)])


def picture_of(frame: av.VideoFrame, matrix: int, full_range: bool, location: str) -> Pixels:
    """The frame, in one of PIXEL_FORMATS or ALPHA_FORMATS, as H x W x 1 (grey), 3 (R, G, B) or 4 (and alpha), uint8, or
    uint16 of the whole range for 10 bits.

    matrix: one of MATRICES. location: where chroma lies, see `chroma_weights`; it is interpolated by OpenCV's bicubic.
    """
    bits, planes = bits_of(frame), sample_planes(frame)
    peak = 255 if bits == 8 else 65535
    low, luma_span, chroma_span = _levels(bits, full_range)
    if len(planes) == 1:
        grey = (planes[0].astype(np.float32) - low) * np.float32(peak / luma_span)
        return _rounded(grey, peak)[..., None]
    chroma = [_on_luma(plane, planes[0].shape, subsampling(frame), location) for plane in planes[1:ALPHA]]
    samples = cv2.merge([planes[0], *chroma]).astype(np.float32)
    to_rgb = np.linalg.inv(to_luma_chroma(matrix)) * peak / [luma_span, chroma_span, chroma_span]
    offset = to_rgb @ [low, 2 ** (bits - 1), 2 ** (bits - 1)]
    pixels = _rounded(cv2.transform(samples, np.column_stack([to_rgb, -offset]).astype(np.float32)), peak)
    if not has_alpha(frame.format.name):
        return pixels
    alpha = planes[ALPHA].astype(np.float32) * np.float32(peak / (2**bits - 1))
    return np.dstack([pixels, _rounded(alpha, peak)])


def frame_of(pixels: Pixels) -> av.VideoFrame:
    """A picture, H x W x 3, as a frame of BT.709 in limited range, without subsampling: 8 bits, or 10 for uint16."""
    bits = 8 if pixels.dtype == np.uint8 else 10
    peak = np.iinfo(pixels.dtype).max
    frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], "yuv444p" if bits == 8 else "yuv444p10le")
    low, luma_span, chroma_span = _levels(bits, full_range=False)
    matrix = to_luma_chroma(BT709) * np.array([[luma_span], [chroma_span], [chroma_span]]) / peak
    whole = np.column_stack([matrix, [low, 2 ** (bits - 1), 2 ** (bits - 1)]]).astype(np.float32)
    samples = _rounded(cv2.transform(pixels.astype(np.float32), whole), 2**bits - 1)
    for plane, into in zip(cv2.split(samples), sample_planes(frame), strict=True):
        into[:] = plane
    frame.colorspace, frame.color_primaries, frame.color_trc = BT709, BT709, SRGB_TRANSFER
    frame.color_range = ColorRange.MPEG
    return frame


def _levels(bits: int, full_range: bool) -> tuple[int, int, int]:
    """Black, and what it is from there to white and from one end of chroma to the other, in samples."""
    if full_range:
        return 0, 2**bits - 1, 2**bits - 1
    return 16 << (bits - 8), 219 << (bits - 8), 224 << (bits - 8)


def _on_luma(
    plane: NDArray[np.uint8 | np.uint16], shape: tuple[int, ...], of_luma: tuple[int, int], location: str
) -> NDArray[np.uint8 | np.uint16]:
    """A plane of chroma with a sample for each of luma. of_luma: rows and columns of luma to one of chroma."""
    rows, columns = of_luma
    if (rows, columns) == (1, 1):
        return plane
    down = 0.0 if location.startswith("top") else 1.0 if location.startswith("bottom") else 0.5
    right = 0.0 if location.endswith("left") else 0.5
    where = np.array([[1 / columns, 0, -right * (columns - 1) / columns], [0, 1 / rows, -down * (rows - 1) / rows]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(plane, where, shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _rounded(values: NDArray[np.floating], peak: int) -> Pixels:
    return (values + np.float32(0.5)).clip(0, peak).astype(np.uint8 if peak == 255 else np.uint16)


def turned(pixels: Pixels, matrix: NDArray[np.int32] | None) -> Pixels | None:
    """The picture as it is shown; None: the film is turned by no multiple of 90 degrees.

    matrix: the film's display matrix, of nine; None: it has none.
    """
    if matrix is None:
        return pixels
    (a, b), (c, d) = matrix[:2], matrix[3:5]
    if not a and not d:  # x' = c y, y' = b x
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    elif b or c:
        return None
    return np.ascontiguousarray(pixels[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1])

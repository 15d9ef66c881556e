"""Pure functions on images: MATLAB's bicubic resize and colour conversion, crops, turns, PSNR and SSIM.

Every image here is a NumPy array, H x W (one channel) or H x W x 3 (R, G, B or Y, Cb, Cr in that order), with
values in 0..255. Nothing modifies its argument.
"""

import math
from typing import TYPE_CHECKING, TypeVar, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from fsrcnn.luma import RGB_TO_YCBCR, YCBCR_OFFSET
from fsrcnn.resize import contributions

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Image = NDArray[np.generic]
FloatImage = NDArray[np.float64]
Value = TypeVar("Value", bound=np.generic)  # of a pixel


def resize_matrix(in_length: int, out_length: int, scale: float) -> "csr_array":
    """A bicubic resize along one axis as a matrix, out_length x in_length: MATLAB ``imresize``, see
    `fsrcnn.resize.contributions`.
    """
    from scipy.sparse import csr_array  # here, as skimage.metrics below, because it is slow to import

    weights, indices = contributions(in_length, out_length, scale)
    row_starts = np.arange(out_length + 1) * weights.shape[1]
    return csr_array((weights.ravel(), indices.ravel(), row_starts), shape=(out_length, in_length))


def resize_axis(image: FloatImage, matrix: "csr_array", axis: int) -> FloatImage:
    """The image, H x W or H x W x C, resized along one axis. matrix: `resize_matrix`, or some of its rows."""
    lines = np.moveaxis(image, axis, 0)
    resized = matrix @ lines.reshape(len(lines), -1)
    return np.moveaxis(resized.reshape(-1, *lines.shape[1:]), 0, axis)


def imresize(image: Image, scale: float) -> FloatImage:
    """Bicubic resize as MATLAB's ``imresize(image, scale, 'bicubic')`` does it in floating point.

    image: H x W or H x W x C, any real dtype; returns ceil(H * scale) x ceil(W * scale) (x C), float64, neither
    rounded nor clipped. Raises ValueError for a scale that is not positive.
    """
    if scale <= 0:
        raise ValueError(f"imresize: scale must be positive, got {scale}")
    result = np.asarray(image, dtype=np.float64)
    for axis, length in enumerate(result.shape[:2]):
        result = resize_axis(result, resize_matrix(length, math.ceil(length * scale), scale), axis)
    return np.ascontiguousarray(result)


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Rounded (halves away from zero, as MATLAB does) and clipped to 0..255."""
    return np.clip(np.floor(np.asarray(image, dtype=np.float64) + 0.5), 0, 255).astype(np.uint8)


@overload
def rgb_to_ycbcr(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]: ...
@overload
def rgb_to_ycbcr(rgb: NDArray[np.floating]) -> FloatImage: ...
def rgb_to_ycbcr(rgb: Image) -> Image:
    """MATLAB ``rgb2ycbcr``. H x W x 3 in 0..255; uint8 gives uint8, any other dtype unrounded float64."""
    ycbcr = cv2.transform(np.asarray(rgb, dtype=np.float64), np.column_stack([RGB_TO_YCBCR, YCBCR_OFFSET]))
    return to_uint8(ycbcr) if rgb.dtype == np.uint8 else ycbcr


def ycbcr_to_rgb(ycbcr: Image) -> Image:
    """MATLAB ``ycbcr2rgb``, the inverse of `rgb_to_ycbcr`. Same layout, range and dtypes; uint8 is clipped."""
    inverse = np.linalg.inv(RGB_TO_YCBCR)
    inverse = np.column_stack([inverse, -inverse @ YCBCR_OFFSET])
    rgb = cv2.transform(np.asarray(ycbcr, dtype=np.float64), inverse)
    return to_uint8(rgb) if ycbcr.dtype == np.uint8 else rgb


def luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The luma that the paper's networks take: MATLAB's rounded Y of a colour picture, a grey picture unchanged.

    image: uint8, H x W or H x W x 3; returns uint8, H x W.
    """
    return image if image.ndim == 2 else rgb_to_ycbcr(image)[..., 0]


def modcrop(image: NDArray[Value], multiple: int) -> NDArray[Value]:
    """The top left part of the image whose height and width are multiples of `multiple`."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def shave(image: NDArray[Value], border: int) -> NDArray[Value]:
    """The image without `border` pixels on each side."""
    return image[border : image.shape[0] - border, border : image.shape[1] - border]


def dihedral(image: NDArray[Value], operation: int) -> NDArray[Value]:
    """One of the eight flips and quarter turns; equal operations keep an LR and HR pair aligned.

    operation: 0..7; bit 0 flips the rows, bit 1 the columns, bit 2 then swaps the two axes. 0 is the identity.
    """
    if operation & 1:
        image = image[::-1]
    if operation & 2:
        image = image[:, ::-1]
    return image.swapaxes(0, 1) if operation & 4 else image


def psnr(sr: Image, hr: Image) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / MSE), in float64; infinite for equal images.

    sr, hr: arrays of one shape with values in 0..255; no border is cut. Raises ValueError if the shapes differ.
    """
    if sr.shape != hr.shape:
        raise ValueError(f"psnr: expected images of one shape, got {sr.shape} and {hr.shape}")
    mse = np.mean((np.asarray(sr, dtype=np.float64) - np.asarray(hr, dtype=np.float64)) ** 2)
    return float("inf") if mse == 0 else float(10 * np.log10(255**2 / mse))


def ssim(sr: Image, hr: Image) -> float:
    """Structural similarity (Wang et al. 2004): 11 x 11 Gaussian, sigma 1.5, K = (0.01, 0.03), valid region only.

    sr, hr: H x W with values in 0..255, at least 11 x 11; no border is cut. Raises ValueError for other shapes.
    """
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(
            np.asarray(sr, dtype=np.float64),
            np.asarray(hr, dtype=np.float64),
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def score(sr: Image, hr: Image, upscale_factor: int) -> dict[str, float]:
    """PSNR in dB and SSIM of one recovered Y image, by the paper's protocol.

    sr: H x W, 0..255, unrounded: it is rounded to 8 bits here. hr: H x W, 0..255. `upscale_factor` pixels are cut
    from each side of both.
    """
    sr, hr = shave(to_uint8(sr), upscale_factor), shave(hr, upscale_factor)
    return {"psnr": psnr(sr, hr), "ssim": ssim(sr, hr)}

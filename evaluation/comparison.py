"""Pictures of a validation: recovered pictures in colour, and the comparison sheet, a row of tiles for each network."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dataset import EvaluationPair
from imgproc import imresize, rgb_to_ycbcr, to_uint8, ycbcr_to_rgb

TILE = 288  # side of a picture on the comparison sheet, in pixels
CROP = 72  # side of the part of the ground truth that a tile shows

Scores = dict[str, dict[str, float]]  # psnr and ssim of bicubic and of fsrcnn


class Candidate(NamedTuple):
    """A picture for the comparison sheet: those not shown yet rank first, then those with the larger gain."""

    rank: tuple[bool, float]
    name: str
    row: NDArray[np.uint8]


def recover_colour(pair: EvaluationPair, sr: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The recovered picture: the network's luma with chroma that was reduced and enlarged by bicubic interpolation.

    sr: H x W luma in 0..255; returns uint8, H x W for a grey picture, else H x W x 3.
    """
    if pair.hr_image.ndim == 2:
        return to_uint8(sr)
    reduced = imresize(rgb_to_ycbcr(pair.hr_image)[..., 1:], 1 / pair.upscale_factor)
    chroma = imresize(reduced, pair.upscale_factor)
    return to_uint8(ycbcr_to_rgb(np.dstack([np.clip(sr, 0, 255), chroma])))


def place_of_crop(pair: EvaluationPair, bicubic: NDArray[np.floating], sr: NDArray[np.floating]) -> tuple[int, int]:
    """Top and left of the crop in which the network's squared error is furthest below bicubic's, on the LR grid."""
    gain = (bicubic - pair.hr) ** 2 - (sr - pair.hr) ** 2
    gains = cv2.boxFilter(gain, -1, (CROP, CROP), anchor=(0, 0), normalize=False)
    height, width = (max(length - CROP, 0) + 1 for length in pair.hr.shape)
    top, left = np.unravel_index(np.argmax(gains[:height, :width]), (height, width))
    return int(top) - int(top) % pair.upscale_factor, int(left) - int(left) % pair.upscale_factor


def sheet_row(
    pair: EvaluationPair, bicubic: NDArray[np.floating], sr: NDArray[np.float32], scores: Scores
) -> NDArray[np.uint8]:
    """One row of the comparison sheet: the picture, and a zoomed crop in low resolution, by bicubic interpolation, by
    FSRCNN, and of the ground truth. The PSNR below a crop is the whole picture's.
    """
    scale = pair.upscale_factor
    top, left = place_of_crop(pair, bicubic, sr)
    whole = cv2.rectangle(as_rgb(pair.hr_image), (left, top), (left + CROP, top + CROP), (255, 220, 0), 3)
    lr = to_uint8(imresize(pair.hr_image, 1 / scale))
    crop = (slice(top, top + CROP), slice(left, left + CROP))
    lr_crop = (slice(top // scale, (top + CROP) // scale), slice(left // scale, (left + CROP) // scale))
    zoomed = {
        f"low resolution (x{scale})": lr[lr_crop],
        f"bicubic {scores['bicubic']['psnr']:.2f} dB": recover_colour(pair, bicubic)[crop],
        f"FSRCNN {scores['fsrcnn']['psnr']:.2f} dB": recover_colour(pair, sr)[crop],
        "ground truth": pair.hr_image[crop],
    }
    size = (round(whole.shape[1] * TILE / whole.shape[0]), TILE)
    tiles = [labelled(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), pair.name)]
    for label, image in zoomed.items():
        tiles.append(labelled(cv2.resize(as_rgb(image), (TILE, TILE), interpolation=cv2.INTER_NEAREST), label))
    return np.hstack(tiles)


def as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy with three channels."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image.copy()


def labelled(image: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """The picture on white with a line of text below it."""
    framed = cv2.copyMakeBorder(image, 6, 30, 6, 6, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return cv2.putText(
        framed, text, (8, framed.shape[0] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA
    )


def stacked(rows: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The rows below each other, the narrower ones filled up with white."""
    width = max(row.shape[1] for row in rows)
    fill = [((0, 0), (0, width - row.shape[1]), (0, 0)) for row in rows]
    return np.vstack([np.pad(row, each, constant_values=255) for row, each in zip(rows, fill, strict=True)])

"""Pictures that take networks further than any photograph: stars, lines, text, checkerboards, noise, all of black and
white. The integer form is calibrated on them too, so that it clips none of its numbers on such pictures.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from fsrcnn.luma import GAIN, OFFSET

Picture = NDArray[np.float32]  # H x W luma in [0, 1]

SIZE = 64
TEXT = ("The quick brown fox #%&@ 0123456789", "ILil|[]{}+=*WMNHEFKXQ vwyz AB.,:;-_/")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX_SMALL, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_TRIPLEX)


def extreme_pictures() -> list[Picture]:
    """The pictures, white on black and black on white."""
    drawn = [*_dots(), *_lines(), *_shapes(), *_text(), *_noise()]
    return [np.float32(GAIN) * each + np.float32(OFFSET) for white in drawn for each in (white, 1 - white)]


def _black() -> Picture:
    return np.zeros((SIZE, SIZE), np.float32)


def _dots() -> Iterator[Picture]:
    """Dots of 1 to 3 pixels, in grids, of which one is a checkerboard of single pixels, and at random."""
    random = np.random.default_rng(0)
    for size in (1, 2, 3):
        for pitch in (size + 1, size + 2, size + 3, size + 5, 11):
            picture = _black()
            for row, column in np.ndindex(size, size):
                picture[1 + row :: pitch, 1 + column :: pitch] = 1
            yield picture
        for share in (0.005, 0.02, 0.06, 0.12):
            picture = _black()
            for row, column in random.integers(0, SIZE - size + 1, (int(share * SIZE**2 / size**2), 2)):
                picture[row : row + size, column : column + size] = 1
            yield picture


def _lines() -> Iterator[Picture]:
    """Rows, columns, both diagonals, checkerboards, at several distances."""
    rows, columns = np.indices((SIZE, SIZE))
    for pitch in (2, 3, 4, 5, 8):
        for thickness in range(1, min(pitch, 3)):
            for place in (rows, columns, rows + columns, rows - columns):
                yield (place % pitch < thickness).astype(np.float32)


def _shapes() -> Iterator[Picture]:
    """Edges in all directions: a square, discs, circles, a frame, a bar, a single line."""
    picture = _black()
    picture[8:24, 8:24] = picture[30:33] = 1
    for centre, radius, thickness in (((44, 16), 8, -1), ((44, 46), 10, 1)):
        cv2.circle(picture, centre, radius, 1, thickness)
    cv2.line(picture, (2, 60), (28, 38), 1, 1)
    cv2.rectangle(picture, (6, 42), (16, 52), 1, 1)
    yield picture


def _text() -> Iterator[Picture]:
    for font in FONTS:
        for scale, kind in ((0.4, cv2.LINE_8), (0.6, cv2.LINE_AA)):
            picture = np.zeros((SIZE, 4 * SIZE), np.uint8)
            for row in range(12, SIZE, 14):
                cv2.putText(picture, TEXT[row // 14 % 2], (1, row), font, scale, 255, 1, kind)
            yield (picture / 255).astype(np.float32)


def _noise() -> Iterator[Picture]:
    """Random pixels: black and white, and of all greys."""
    random = np.random.default_rng(0)
    greys = random.random((2 * SIZE, 2 * SIZE), np.float32)
    yield from ((greys < share).astype(np.float32) for share in (0.3, 0.5))
    yield greys

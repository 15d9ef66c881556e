"""How strongly a picture was compressed as a JPEG, told from its pixels alone, in libjpeg's scale of quality.

The coefficients of a JPEG's 8 x 8 blocks are multiples of its table's steps. They stay near them when the picture is
decoded, when it is saved without loss, and when it is saved again at a higher quality. So the coefficients of a sample
of blocks are compared with the steps of each quality's table, on the grid of blocks that begins at the picture's corner
and on the one that its edges show, of which a cropped picture has another.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Annex K of ITU-T T.81: the luma's quantisation steps at quality 50, row by row from the lowest frequency.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
QUALITIES = np.arange(1, 101)
PEAK = 255
LUMA = np.array([299, 587, 114], np.float32)  # of R, G and B: JFIF's, in thousandths
UNIT = 1000

SIDE = 8  # pixels of a block
BLOCKS = 1024  # of a grid that are looked at
FIRST_BLOCKS = 256  # that are looked at first; of most clean pictures no more are needed
LEAST_BLOCKS = 32  # that must differ from each other
LEAST_CONTRAST = 2  # levels between a block's darkest and brightest pixel
MIXED = np.arange(1, SIDE**2 + 1, dtype=np.int32) ** 2 * 7 + 1  # factors whose sum of products tells blocks apart
HIGHEST = 5  # sum of a coefficient's row and column in its block, at most
LEAST_QUALITY, MOST_QUALITY = 10, 98  # compared; above, the steps drown in the rounding of the pixels
BINS_A_LEVEL, BINS = 4, 512  # of a coefficient's histogram
DEVIATIONS = (
    0.3,
    0.7,
    1.8,
)  # of a coefficient from a multiple, in levels: by rounded pixels; saved again in small steps
OUTLIERS = 0.05  # share of coefficients that lie anywhere

# Of so many blocks, those are looked at that have so many coefficients of so many levels. One has a twin if their
# difference has less than this share of its energy.
COMPARED, BUSY, LARGE, TWIN = 192, 6, 8, 0.03

# The rest of a grid is looked at if its first blocks have at least this evidence where each coefficient may have a step
# of its own. Of training pictures, 99.8 % of clean ones have less, and one in 2,000 of those that show a quality.
FIRST_EVIDENCE = -100.0
# A quality is believed whose steps have at least this evidence (the logarithm of a likelihood ratio), and at least so
# much of it from each of so many coefficients: in smooth shades few are not 0.
EVIDENCE = 40.0
WITNESSES, WITNESS = 6, 5.0
# A picture saved at several qualities shows several: those are believed whose evidence is at least this share of the
# clearest one's, and the highest within so many qualities to each side.
SHARE = 0.2
NEIGHBOURS = 4
# Standard tables are compared if the best has at least this share of the evidence that the coefficients have if each
# may have a step of its own. Else it is another program's, believed if all coefficients but so many are this clear.
FITTING = 0.35
CLEAR, UNCLEAR = 20.0, 2

BLAS_ALONE = 2**18  # multiplications that OpenBLAS leaves to one thread

EDGE = 8  # levels of a corner beyond which it is the picture's own
SEARCHED = 512  # rows and columns of a picture in which the grid is searched


def standard_tables() -> NDArray[np.int64]:
    """The luma's table at each of QUALITIES as libjpeg scales it, 100 x 8 x 8, not clipped to the bits of a file."""
    percent = np.where(QUALITIES < 50, 5000 // QUALITIES, 200 - 2 * QUALITIES)
    return np.maximum((LUMINANCE * percent[:, None, None] + 50) // 100, 1)


def pixel_quality(pixels: NDArray[Any]) -> float | None:
    """The lowest quality of a JPEG that the pixels show; None where they show none.

    pixels: H x W of luma, JFIF's or grey, 0..255, uint8 or float32, or H x W x 3 of RGB, uint8. With RGB, blocks are
    left out in which a channel is clipped, which tells more of vivid pictures.
    """
    grids = dict.fromkeys([(0, 0), shown_grid(pixels)])
    found = [quality for grid in grids if (quality := _quality_on(pixels, *grid)) is not None]
    return min(found, default=None)


def _quality_on(pixels: NDArray[Any], top: int, left: int) -> float | None:
    """The lowest quality shown on the grid of blocks that begins at the row `top` and the column `left`."""
    first = distinct_blocks(pixels, top, left, FIRST_BLOCKS)
    if _of_steps(_gains(first)).max(1).sum() < FIRST_EVIDENCE:
        return None
    blocks = distinct_blocks(pixels, top, left)
    if len(blocks) < LEAST_BLOCKS or repeats(blocks):
        return None
    gains = _gains(blocks)
    of_steps = _of_steps(gains)
    # A picture on its side has its tables on their side.
    of_tables = max(_of_tables(gains), _of_tables(gains[_model().turned]), key=lambda each: each.sum(1).max())
    if of_tables.sum(1).max() >= FITTING * of_steps.max(1).sum():
        return _standard_quality(of_tables)
    return _nearest_quality(of_steps)


def _of_steps(gains: NDArray[np.float32]) -> NDArray[np.float32]:
    """The gains of the steps from 2 on, as 1 is no trace, at the deviation likeliest for each: coefficients x steps."""
    return gains[:, :, 1:].max(1)


def _of_tables(gains: NDArray[np.float32]) -> NDArray[np.float32]:
    """The gains of the standard tables' steps at the deviation likeliest for all: qualities x coefficients."""
    of_tables = gains[np.arange(len(gains)), :, _model().tables - 1]  # qualities x coefficients x deviations
    return of_tables[np.arange(len(of_tables)), :, of_tables.sum(1).argmax(1)]


def _standard_quality(of_tables: NDArray[np.float32]) -> float | None:
    """The lowest quality whose standard table the coefficients show. of_tables: of `_of_tables`."""
    evidence = of_tables.sum(1)
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(evidence, NEIGHBOURS, constant_values=-np.inf), 2 * NEIGHBOURS + 1
    )
    shown = evidence == around.max(1)
    shown &= evidence >= max(EVIDENCE, SHARE * evidence.max())
    shown &= (of_tables >= WITNESS).sum(1) >= WITNESSES
    return float(LEAST_QUALITY + shown.argmax()) if shown.any() else None


def _nearest_quality(of_steps: NDArray[np.float32]) -> float | None:
    """The quality of the standard table nearest, in the logarithm, to the steps that the coefficients show, whatever
    program's they are; None where too many show none. of_steps: gains, coefficients x steps from 2 on.
    """
    if (of_steps.max(1) >= CLEAR).sum() < len(of_steps) - UNCLEAR:
        return None
    steps = of_steps.argmax(1) + 2
    distances = np.abs(np.log(_model().tables) - np.log(steps)).sum(1)
    return float(LEAST_QUALITY + distances.argmin())


# --- blocks ---


def distinct_blocks(pixels: NDArray[Any], top: int, left: int, most: int = BLOCKS) -> NDArray[np.float32]:
    """Up to `most` blocks of the grid that begins at the row `top` and the column `left`, n x 64, spread evenly over
    the picture: luma in 0..255. Left out are flat and clipped ones, and those that repeat another, be it brighter or
    darker: patterns whose period suits the blocks would look compressed.
    """
    rows, columns = (pixels.shape[0] - top) // SIDE, (pixels.shape[1] - left) // SIDE
    count = min(rows * columns, most)
    if not count:
        return np.empty((0, SIDE**2), np.float32)
    row, column = np.divmod(np.arange(count) * (rows * columns) // count, columns)
    grid = pixels[top : top + SIDE * rows, left : left + SIDE * columns].reshape(rows, SIDE, columns, SIDE, -1)
    blocks = grid[row, :, column].reshape(count, SIDE**2, -1)
    blocks = blocks[~((blocks <= 0) | (blocks >= PEAK)).any((1, 2))]
    # Whole numbers, so that blocks can be compared.
    weights = LUMA if blocks.shape[2] == 3 else LUMA.sum(keepdims=True)
    luma = np.rint(blocks.astype(np.float32, copy=False) @ weights).astype(np.int32)
    luma = luma[luma.max(1) - luma.min(1) >= LEAST_CONTRAST * UNIT]
    _, first = np.unique((luma - luma[:, :1]) @ MIXED, return_index=True)
    return luma[first].astype(np.float32) / np.float32(UNIT)


def repeats(blocks: NDArray[np.float32]) -> bool:
    """Whether most of the blocks that have much in them resemble another but for some noise. Coefficients that have few
    values would look like multiples of a step. blocks: of `distinct_blocks`, which leaves their order to chance.
    """
    coefficients = _product(blocks[:COMPARED], _model().transform)
    busy = coefficients[(np.abs(coefficients) >= LARGE).sum(1) >= BUSY]
    products = _product(busy, busy.T)
    energy = products.diagonal()
    differences = energy[:, None] + energy - 2 * products
    np.fill_diagonal(differences, np.inf)
    twins = differences.min(1, initial=np.inf) < TWIN * energy
    return len(busy) >= LEAST_BLOCKS and bool(2 * twins.sum() > len(busy))


def shown_grid(pixels: NDArray[Any]) -> tuple[int, int]:
    """The first row and column of the 8 x 8 blocks at whose borders the picture has the most corners: differences
    between neighbours that the next row or column has not.
    """
    part = pixels[:SEARCHED, :SEARCHED]
    plane = (part[..., 1] if part.ndim == 3 else part).astype(np.int16)
    across = plane[:, 1:] - plane[:, :-1]
    corners = across[1:] - across[:-1]
    np.abs(np.clip(corners, -EDGE, EDGE, out=corners), out=corners)  # faster than the least of it and a number
    return _first_border(corners.sum(1, dtype=np.int16)), _first_border(corners.sum(0, dtype=np.int16))


def _first_border(corners: NDArray[np.int16]) -> int:
    """Where blocks begin along an axis. corners: between each of its rows or columns and the next."""
    whole = corners[: len(corners) // SIDE * SIDE].reshape(-1, SIDE).sum(0, dtype=np.int32)
    higher = 2 * whole - np.roll(whole, 1) - np.roll(whole, -1)
    return (int(higher.argmax()) + 1) % SIDE


# --- coefficients ---


class _Model(NamedTuple):
    """transform: 64 x n, from a block's pixels to the n coefficients that are looked at. gains: (deviations x
    steps) x bins, of a coefficient's value, by the step that it is to be a multiple of, from 1 on. tables: qualities x
    n. turned: of each coefficient the number of the one whose row is its column.
    """

    transform: NDArray[np.float32]
    gains: NDArray[np.float32]
    tables: NDArray[np.int64]
    turned: NDArray[np.int64]


@cache
def _model() -> _Model:
    frequency, place = np.mgrid[:SIDE, :SIDE]
    cosines = np.cos((2 * place + 1) * frequency * np.pi / 16) * np.where(frequency, 0.5, np.sqrt(1 / 8))
    order = (frequency + place).ravel()
    used = np.flatnonzero((order > 0) & (order <= HIGHEST))
    turned = np.searchsorted(used, (SIDE * place + frequency).ravel()[used])
    tables = standard_tables().reshape(-1, SIDE**2)[LEAST_QUALITY - 1 : MOST_QUALITY, used]
    # float32 is exact where values and steps are compared, and the rest needs no more.
    step = np.arange(1, tables.max() + 1, dtype=np.float32)[:, None]
    value = np.arange(BINS, dtype=np.float32) / BINS_A_LEVEL
    off = value - step * np.rint(value / step)
    gains = []
    for deviation in DEVIATIONS:
        near = np.exp(off * off * (-0.5 / deviation**2)) * (
            step * ((1 - OUTLIERS) / (deviation * math.sqrt(2 * math.pi)))
        )
        gain = np.log(near + OUTLIERS)
        gains.append(np.where(value < step / 2, np.minimum(gain, 0), gain))
    together = np.concatenate(gains)
    return _Model(np.kron(cosines, cosines)[used].T.astype(np.float32), together, tables, turned)


def _product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix product, in parts too small for BLAS to share them among threads, which would spin between them."""
    rows = max(1, BLAS_ALONE // max(right.size, 1))
    return np.concatenate([left[first : first + rows] @ right for first in range(0, max(len(left), 1), rows)])


def _gains(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each coefficient, deviation and step, the logarithm of the likelihood ratio between values that deviate so
    from multiples of the step and values that lie anywhere: coefficients x deviations x steps, from 1 on.
    """
    model = _model()
    coefficients = np.abs(_product(blocks, model.transform))
    bins = np.minimum((coefficients * BINS_A_LEVEL + 0.5).astype(np.int32), BINS)
    each = np.arange(bins.shape[1], dtype=np.int32)
    counts = np.bincount((bins + each * (BINS + 1)).ravel(), minlength=each.size * (BINS + 1))
    histograms = counts.reshape(-1, BINS + 1)[:, :BINS].astype(np.float32)
    return _product(model.gains, histograms.T).T.reshape(each.size, len(DEVIATIONS), -1)

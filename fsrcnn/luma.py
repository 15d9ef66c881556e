"""Luma and colour as the networks take them: MATLAB's rgb2ycbcr, limited and full range."""

import numpy as np

# ITU-R BT.601, R, G, B in 0..1 to Y, Cb, Cr in 16..235 and 16..240: the matrix of MATLAB's rgb2ycbcr.
RGB_TO_YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])

PEAK = 255  # of an 8-bit sample
BLACK_LEVEL, WHITE_LEVEL = 16, 235  # of limited range, which the networks take
BLACK, WHITE = BLACK_LEVEL / PEAK, WHITE_LEVEL / PEAK
# The networks' luma, in [0, 1], is GAIN * luma of full range + OFFSET.
GAIN, OFFSET = (WHITE_LEVEL - BLACK_LEVEL) / PEAK, BLACK

# A result shown to a user stays within the range of the LR pixels around it, LIMIT_REACH to each side, widened on both
# sides by LIMIT_WIDENING times that range. White dots on black keep about as much light at any widening; by half of the
# range single photographs lose up to 0.43 dB, by 1.5 times at most 0.011 dB of 539.
LIMIT_REACH, LIMIT_WIDENING = 2, 1.5


def gain_and_offset(bits: int, full_range: bool) -> tuple[float, float]:
    """Gain and offset from luma samples of `bits` bits to limited range of 8 bits, 16..235, which the networks take."""
    if full_range:
        return (WHITE_LEVEL - BLACK_LEVEL) / (2**bits - 1), float(BLACK_LEVEL)
    return 2.0 ** (8 - bits), 0.0

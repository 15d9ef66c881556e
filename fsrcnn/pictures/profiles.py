"""What the numbers of a picture mean as colours: PNG's chunks, AVIF's nclx, ICC profiles, and one made of the others.

The pixels are never converted. PNG 3, section 11.3.2 and 4.3 (which of several holds); ITU-T H.273 (primaries, transfer
functions); ICC.1:2010 (profiles of version 4.3).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Matrix = NDArray[np.float64]

SRGB_GAMMA = 45455  # in gAMA, which has 100,000ths of the exponent from light to samples
D65 = (31270, 32900)
# x and y of white, red, green and blue, in 100,000ths as in cHRM, by H.273's number.
PRIMARIES: dict[int, tuple[int, ...]] = {
    1: (*D65, 64000, 33000, 30000, 60000, 15000, 6000),  # BT.709, sRGB
    4: (31000, 31600, 67000, 33000, 21000, 71000, 14000, 8000),  # BT.470 M
    5: (*D65, 64000, 33000, 29000, 60000, 15000, 6000),  # BT.470 B, G
    6: (*D65, 63000, 34000, 31000, 59500, 15500, 7000),  # BT.601
    7: (*D65, 63000, 34000, 31000, 59500, 15500, 7000),
    9: (*D65, 70800, 29200, 17000, 79700, 13100, 4600),  # BT.2020
    11: (31400, 35100, 68000, 32000, 26500, 69000, 15000, 6000),  # DCI P3
    12: (*D65, 68000, 32000, 26500, 69000, 15000, 6000),  # Display P3
    22: (*D65, 63000, 34000, 29500, 60500, 15500, 7700),  # EBU 3213
}
SRGB_PRIMARIES = PRIMARIES[1]
D50 = np.array([0.9642, 1.0, 0.8249])  # the white of all profiles
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class Curve(NamedTuple):
    """Light of a sample x, both in 0..1: (a x + b) ** gamma from `above`, c x below."""

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    above: float = 0.0


SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
BT_709_CURVE = Curve(1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
CURVES = {  # by H.273's number; 16 (PQ) and 18 (HLG) are for displays brighter than white
    1: BT_709_CURVE,
    4: Curve(2.2),
    5: Curve(2.8),
    6: BT_709_CURVE,
    8: Curve(1.0),
    13: SRGB_CURVE,
    14: BT_709_CURVE,
    15: BT_709_CURVE,
}
UNSPECIFIED = 2


class Cicp(NamedTuple):
    """Coding-independent code points: numbers of H.273. `full`: black is 0 and white the highest sample."""

    primaries: int
    transfer: int
    full: bool


@dataclass(frozen=True)
class Colours:
    """What a file says of its colours, each as the file has it; None: nothing."""

    icc: bytes | None = None
    cicp: Cicp | None = None
    high_range: Mapping[bytes, bytes] = field(default_factory=dict)  # PNG's mDCV and cLLI, which belong to cICP
    srgb: bytes | None = None  # of PNG's sRGB, the rendering intent
    gamma: int | None = None  # of gAMA
    chromaticities: tuple[int, ...] | None = None  # of cHRM, as in PRIMARIES


def profile_for(colours: Colours, grey: bool) -> tuple[bytes | None, bool]:
    """The ICC profile that says what these colours are, and whether it says it all; None: they are sRGB, or unknown.

    Of what the file says, the first counts: cICP, ICC profile, sRGB, gAMA and cHRM.
    """
    if (cicp := colours.cicp) and cicp.full:
        primaries, curve = PRIMARIES.get(cicp.primaries), CURVES.get(cicp.transfer)
        if primaries and curve:
            is_srgb = (primaries, curve) == (SRGB_PRIMARIES, SRGB_CURVE)
            return None if is_srgb else made_profile(primaries, curve, grey), True
    whole = cicp is None or UNSPECIFIED in cicp
    if colours.icc is not None or colours.srgb is not None:
        return colours.icc, whole
    primaries = colours.chromaticities or SRGB_PRIMARIES
    curve = SRGB_CURVE
    if colours.gamma and abs(colours.gamma - SRGB_GAMMA) > 500:
        curve = Curve(100_000 / colours.gamma)
    near = max(abs(a - b) for a, b in zip(primaries, SRGB_PRIMARIES, strict=True)) <= 300
    if curve is SRGB_CURVE and (near or grey):
        return None, whole
    return made_profile(primaries, curve, grey), whole


# --- a profile made ---


def made_profile(chromaticities: Sequence[int], curve: Curve, grey: bool) -> bytes:
    """An ICC profile of version 4.3 for a display of these primaries (as in PRIMARIES) and this curve."""
    adapted, to_xyz = adaptation(chromaticities), xyz_matrix(chromaticities)
    text = "FSRCNN: as the enlarged picture's file said"
    tags = {
        b"desc": _text(text),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz(D50),
        b"chad": b"sf32" + bytes(4) + _fixed(adapted),
    }
    if grey:
        tags[b"kTRC"] = _parametric(curve)
    else:
        for name, column in zip(b"rgb", (adapted @ to_xyz).T, strict=True):
            tags[bytes([name]) + b"XYZ"] = _xyz(column)
            tags[bytes([name]) + b"TRC"] = _parametric(curve)
    table, values = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += struct.pack(">4sII", tag, 128 + 4 + 12 * len(tags) + len(values), len(value))
        values += value + bytes(-len(value) % 4)
    head = struct.pack(">I4xI", 128 + len(table) + len(values), 0x04300000) + b"mntr"
    head += (b"GRAY" if grey else b"RGB ") + b"XYZ " + struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    head += bytes(28) + _fixed(D50)
    return head.ljust(128, b"\0") + table + values


def xyz_matrix(chromaticities: Sequence[int]) -> Matrix:
    """3 x 3: XYZ of linear red, green and blue, where white has Y 1."""
    white, *colours = (_xyz_of(x / 100_000, y / 100_000) for x, y in np.reshape(chromaticities, (4, 2)))
    matrix = np.column_stack(colours)
    return matrix * np.linalg.solve(matrix, white)


def adaptation(chromaticities: Sequence[int]) -> Matrix:
    """3 x 3: XYZ as seen under D50 of XYZ under the white that is the first of the chromaticities (Bradford)."""
    white = _xyz_of(chromaticities[0] / 100_000, chromaticities[1] / 100_000)
    return np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ white)) @ BRADFORD


def are_possible(chromaticities: Sequence[int]) -> bool:
    """Whether they are a white and three primaries around it, so that a matrix can be made of them."""
    if len(chromaticities) != 8 or min(chromaticities[1::2]) <= 0 or max(chromaticities) > 2 * 100_000:
        return False
    try:
        matrix = xyz_matrix(chromaticities)
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(matrix).all() and matrix[1].min() >= 0 and np.abs(matrix).max() < 4)


def _xyz_of(x: float, y: float) -> Matrix:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _fixed(values: Matrix) -> bytes:
    """Numbers of 16 bits before and 16 after the point."""
    return np.round(np.ravel(values) * 65536).astype(">i4").tobytes()


def _xyz(values: Matrix) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _parametric(curve: Curve) -> bytes:
    """The type of curve whose parameters are those of `Curve`."""
    return b"para" + struct.pack(">4xHxx", 3) + _fixed(np.array(curve))


def _text(text: str) -> bytes:
    content = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(content), 28) + content


# --- a profile found ---

OTHER_KIND = "of another kind of picture"
SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}  # in a profile, by the channels of colour


def profile_objection(icc: bytes, channels: int) -> str | None:
    """Why a profile cannot be one of a picture of so many channels of colour; None: it can."""
    if len(icc) < 132 or icc[36:40] != b"acsp" or not 132 <= int.from_bytes(icc[:4], "big") <= len(icc):
        return "damaged"
    entries = int.from_bytes(icc[128:132], "big")
    if 132 + 12 * entries > len(icc):
        return "damaged"
    for at in range(132, 132 + 12 * entries, 12):
        _, place, size = struct.unpack_from(">4sII", icc, at)
        if place + size > len(icc):
            return "damaged"
    if icc[16:20] != SPACES[channels]:
        return OTHER_KIND
    return None


def is_like_srgb(profile: bytes) -> bool:
    """Whether colours are seen as nearly the same without the profile: at most 3 of 255 levels apart."""
    colours = Image.new("RGB", (8, 8))
    colours.putdata([(r, g, b) for r in (0, 90, 170, 255) for g in (0, 90, 170, 255) for b in (0, 90, 170, 255)])
    try:
        source, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        seen = ImageCms.profileToProfile(colours, source, srgb)
    except (ImageCms.PyCMSError, OSError):  # it is damaged
        return False
    return seen is not None and max(abs(a - b) for a, b in zip(colours.tobytes(), seen.tobytes(), strict=True)) <= 3

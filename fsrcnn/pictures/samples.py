"""What the samples of a TIFF file mean, where libvips does not know: YCbCr, and channels that are not transparency.

TIFF 6.0, sections 18 (ExtraSamples), 20 (ReferenceBlackWhite) and 21 (YCbCr).
"""

from pathlib import Path

import numpy as np
import pyvips

from fsrcnn.pictures.containers import Tags, tiff_tags

COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, TILE_WIDTH, EXTRA_SAMPLES = 259, 262, 277, 284, 322, 338  # tags
YCBCR_COEFFICIENTS, YCBCR_SUBSAMPLING, REFERENCE_BLACK_WHITE = 529, 530, 532
PALETTE, YCBCR = 3, 6  # of PhotometricInterpretation
COLOURS = {0: 1, 1: 1, 2: 3, PALETTE: 3, 5: 4, YCBCR: 3}  # channels that libvips makes of the colours, by the same
JPEGS = {6, 7}  # of Compression: libvips makes RGB of them
ALPHA = {1, 2}  # of ExtraSamples: premultiplied, which libvips undoes, and not premultiplied
CAMERA, LUV = "a camera's raw samples", "LogLuv"
UNREAD = {4: "a mask", 8: "CIELab", 9: "CIELab", 10: "CIELab", 32803: CAMERA, 34892: CAMERA, 32844: LUV, 32845: LUV}
REC_601 = (0.299, 0.587, 0.114)


def why_samples_not_read(path: Path) -> str | None:
    """What a TIFF file's samples are if they cannot be enlarged, and what to do; None: no reason is known."""
    tags = next(tiff_tags(path), {})
    kind = _number(tags, PHOTOMETRIC, default=1)
    if kind in UNREAD:
        return f"{UNREAD[kind]}; convert it to grey, RGB or CMYK"
    apart = _number(tags, PLANES, default=1) == 2 and _number(tags, SAMPLES, default=1) > 1
    if apart and (TILE_WIDTH in tags or COLOURS.get(kind) == 1 or kind in (PALETTE, YCBCR)):
        # libvips reads the rows of grey and alpha in a wrong order, and libtiff mixes up planes of YCbCr.
        return (
            "channels in planes of their own, which are read of strips of RGB and CMYK only; convert it to another TIFF"
        )
    return None


def samples_as_meant(picture: pyvips.Image, path: Path) -> pyvips.Image:
    """The picture that libvips reads of a TIFF file, YCbCr made RGB, without channels that are neither colour nor
    transparency.
    """
    tags = next(tiff_tags(path), {})
    kind = _number(tags, PHOTOMETRIC, default=1)
    if kind == YCBCR and tags.get(YCBCR_SUBSAMPLING, (2, 2)) != (1, 1):
        picture = picture[:3]  # libvips makes RGB of them, and adds alpha
    elif kind == YCBCR and _number(tags, COMPRESSION, default=1) not in JPEGS:
        picture = _to_rgb(picture, tags)
    kept = _kept_channels(tags, picture.bands)
    return picture if len(kept) == picture.bands else picture[0].bandjoin([picture[band] for band in kept[1:]])


def left_out_channels(path: Path) -> int:
    """How many channels of a TIFF file are neither colour nor transparency."""
    tags = next(tiff_tags(path), {})
    bands = COLOURS.get(_number(tags, PHOTOMETRIC, default=1), 0) + len(tags.get(EXTRA_SAMPLES, ()))
    return bands - len(_kept_channels(tags, bands))


def _number(tags: Tags, tag: int, default: int) -> int:
    value = tags.get(tag)
    return int(value[0]) if value else default


def _kept_channels(tags: Tags, bands: int) -> list[int]:
    """Colours and the first alpha; all where the file does not say what its channels are."""
    colours, extra = COLOURS.get(_number(tags, PHOTOMETRIC, default=1), bands), tags.get(EXTRA_SAMPLES, ())
    if bands != colours + len(extra):
        return list(range(bands))
    alpha = [colours + index for index, meaning in enumerate(extra) if meaning in ALPHA]
    return [*range(colours), *alpha[:1]]


def _to_rgb(picture: pyvips.Image, tags: Tags) -> pyvips.Image:
    """RGB of a YCbCr picture, rounded and clipped; more channels stay as they are."""
    peak = {"uchar": 255, "ushort": 65535}[picture.format]
    middle = (peak + 1) // 2
    coding = _fractions(tags, REFERENCE_BLACK_WHITE, (0, peak, middle, peak, middle, peak))
    red, green, blue = _fractions(tags, YCBCR_COEFFICIENTS, REC_601)
    black, white = np.array(coding[::2]), np.array(coding[1::2])
    gain = np.array([peak, middle - 1, middle - 1]) / (white - black)
    matrix = [
        [1, 0, 2 - 2 * red],
        [1, -blue * (2 - 2 * blue) / green, -red * (2 - 2 * red) / green],
        [1, 2 - 2 * blue, 0],
    ]
    colours = picture[:3].linear(gain.tolist(), (-black * gain).tolist()).recomb(matrix)
    rgb = colours.rint().cast(picture.format).copy(interpretation=picture.interpretation)
    return rgb.bandjoin(picture[3:]) if picture.bands > 3 else rgb


def _fractions(tags: Tags, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """A tag of fractions; the default where they are not as many, or cannot be meant."""
    value = tags.get(tag, ())
    fractions = tuple(top / bottom if bottom else 0.0 for top, bottom in zip(value[::2], value[1::2], strict=False))
    if tag == YCBCR_COEFFICIENTS:
        meant = len(fractions) == 3 and all(fractions)
    else:
        meant = len(fractions) == 6 and all(np.diff(fractions)[::2])
    return fractions if meant else default

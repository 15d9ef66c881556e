"""HDR10's static metadata as encoders take it: the mastering display (SMPTE ST 2086) and the content light level
(CTA-861.3).

Decoders hand it out beside frames; PyAV hands none to encoders, so it goes through their options.
"""

import struct
from collections.abc import Callable, Mapping
from fractions import Fraction

MASTERING, LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"

# FFmpeg's AVMasteringDisplayMetadata: red, green, blue and white, x and y each; least and most luminance, all as
# fractions; whether the primaries and the luminance are known. AVContentLightMetadata: the most, the frames' average.
DISPLAY, LEVEL = struct.Struct("@20i2i"), struct.Struct("@2I")
CHROMATICITY, LUMINANCE = 50_000, 10_000  # steps of x and y, and of a candela per square metre, in HEVC's message

Point = tuple[Fraction, Fraction]


def encoder_options(codec: str, side_data: Mapping[str, bytes]) -> dict[str, str]:
    """What the encoder must be told, by the name of its option and in its own syntax; empty for an encoder that has no
    way, and where there is nothing to tell. side_data: of a frame, by name.
    """
    if codec not in TOLD:
        return {}
    option, display_name, light_name, number = TOLD[codec]
    told = []
    if (display := _display(side_data.get(MASTERING, b""))) is not None:
        told.append(f"{display_name}={_display_text(display, number)}")
    if len(light := side_data.get(LIGHT, b"")) >= LEVEL.size:
        most, average = LEVEL.unpack_from(light)
        told.append(f"{light_name}={most},{average}")
    return {option: ":".join(told)} if told else {}


def _display(data: bytes) -> list[Fraction] | None:
    """The ten numbers of a mastering display; None where one of them is unknown, as no encoder takes a part."""
    if len(data) < DISPLAY.size:
        return None
    *numbers, has_primaries, has_luminance = DISPLAY.unpack_from(data)
    if not (has_primaries and has_luminance and all(numbers[1::2])):
        return None
    return [Fraction(over, under) for over, under in zip(numbers[::2], numbers[1::2], strict=True)]


def _display_text(display: list[Fraction], number: Callable[[Fraction, int], str]) -> str:
    red, green, blue, white = zip(display[:8:2], display[1:8:2], strict=True)
    points = {"G": green, "B": blue, "R": red, "WP": white}
    written = [f"{name}({','.join(number(each, CHROMATICITY) for each in xy)})" for name, xy in points.items()]
    least, most = display[8:]
    return "".join([*written, f"L({number(most, LUMINANCE)},{number(least, LUMINANCE)})"])


def _steps(value: Fraction, unit: int) -> str:
    return str(round(value * unit))


def _decimal(value: Fraction, unit: int) -> str:
    return f"{round(value * unit) / unit:g}"


# The encoders that can be told: the option, its names of the two, and how a number is written.
TOLD: dict[str, tuple[str, str, str, Callable[[Fraction, int], str]]] = {
    "libx264": ("x264-params", "mastering-display", "cll", _steps),
    "libx265": ("x265-params", "master-display", "max-cll", _steps),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light", _decimal),
}

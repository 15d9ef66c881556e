"""What belongs to a picture beside its pixels: what is kept of it, and made true of the result.

metadata_reading.py finds it in a file, metadata_writing.py puts it into one.
"""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

from fsrcnn.pictures.exif import DamagedError, Directory, first_directory, resolution_fields, true_exif
from fsrcnn.pictures.profiles import OTHER_KIND, Colours, is_like_srgb, profile_objection
from fsrcnn.pictures.xmp import true_xmp

UNITS = {"inch": Fraction(254, 10_000), "cm": Fraction(1, 100), "m": Fraction(1)}  # in metres


class Resolution(NamedTuple):
    """Pixels per `unit`, one of UNITS; None: only the ratio of the two is known."""

    x: Fraction
    y: Fraction
    unit: str | None

    def per(self, unit: str) -> tuple[Fraction, Fraction] | None:
        """Pixels per another unit; None: they are not known."""
        if self.unit is None:
            return None
        factor = UNITS[unit] / UNITS[self.unit]
        return self.x * factor, self.y * factor


def resolution_of(x: Fraction | int, y: Fraction | int, unit: str | None) -> Resolution | None:
    """None where the numbers say nothing: they are not above 0, or are a ratio of 1."""
    if x <= 0 or y <= 0 or (unit is None and x == y):
        return None
    return Resolution(Fraction(x), Fraction(y), unit)


class Text(NamedTuple):
    """A text that stands in a file by itself, under PNG's keyword or, from other formats, "Comment". `chunk`: type and
    payload of the PNG chunk that it comes from.
    """

    keyword: str
    text: str
    chunk: tuple[bytes, bytes] | None = None


@dataclass(frozen=True)
class Metadata:
    """What belongs to a picture. exif: a block that begins with II or MM; xmp: a packet; iptc: its records.

    lines: what could not be read or kept, to be said.
    """

    colours: Colours = field(default_factory=Colours)
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: Resolution | None = None
    texts: tuple[Text, ...] = ()
    lines: tuple[str, ...] = ()

    def saying(self, line: str, **changes: Any) -> "Metadata":
        return replace(self, lines=(*self.lines, line), **changes)


def true_of(found: Metadata, width: int, height: int, channels: int, across: float, down: float) -> Metadata:
    """What is kept for the upright picture of `width` x `height` pixels, and so many channels of colour, that was made
    of the one that it belongs to by the factors `across` and `down`. What is damaged is left out, and said.
    """
    kept = found
    icc = kept.colours.icc
    if icc is not None and (objection := profile_objection(icc, channels)):
        kept = replace(kept, colours=replace(kept.colours, icc=None))
        if objection != OTHER_KIND or channels != 1 or not is_like_srgb(icc):  # which grey is without a profile
            kept = kept.saying(f"its colour profile is {objection} and was left out")
    if kept.exif is not None:
        try:
            kept = replace(kept, exif=true_exif(kept.exif, width, height))
        except DamagedError:
            kept = kept.saying("its EXIF is damaged and was left out", exif=None)
    if kept.xmp is not None:
        try:
            kept = replace(kept, xmp=true_xmp(kept.xmp, width, height, across, down))
        except ValueError:
            kept = kept.saying("its XMP is damaged and was left out", xmp=None)
    if kept.exif is not None and (kept.resolution is None or kept.resolution.unit is None):
        kept = replace(kept, resolution=exif_resolution(kept.exif) or kept.resolution)
    return kept


def exif_resolution(exif: bytes) -> Resolution | None:
    """The resolution that EXIF gives, which every camera fills in."""
    return resolution_in(*first_directory(exif))


def resolution_in(directory: Directory, order: str) -> Resolution | None:
    """The resolution that a directory of tags gives."""
    x, y, unit = resolution_fields(directory, order)
    return resolution_of(x, y, {2: "inch", 3: "cm"}.get(unit))

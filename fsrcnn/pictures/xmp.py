"""XMP packets, which are XML, made true of an enlarged picture.

They are changed as text, so that all that is not understood stays as it was. XMP specification, parts 1 and 3.
"""

import re
from collections.abc import Callable
from xml.parsers import expat

TIFF, EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
BASIC, NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
GAIN_MAP, CONTAINER = "http://ns.adobe.com/hdr-gain-map/1.0/", "http://ns.google.com/photos/1.0/container/"
PANORAMA, PANORAMA_SIZES = "http://ns.google.com/photos/1.0/panorama/", r"(?:FullPano|CroppedArea)\w*Pixels"
APPLE_GAIN_MAP, CAMERA = "http://ns.apple.com/HDRGainMap/1.0/", "http://ns.google.com/photos/1.0/camera/"

# What other parts of the file belong to, which the result lacks: namespace and name, as a regular expression.
GONE = (
    (BASIC, "Thumbnails"),  # shows the picture as it lay
    (NOTE, "HasExtendedXMP"),
    (GAIN_MAP, r"\w+"),
    (APPLE_GAIN_MAP, r"\w+"),
    (CONTAINER, "Directory"),
    (CAMERA, r"(?:MotionPhoto|MicroVideo)\w*"),
)


def true_xmp(xmp: bytes, width: int, height: int, upscale_factor: int) -> bytes:
    """The packet of a picture made upright and, by the factor, `width` x `height` pixels large: its orientation and
    sizes changed, thumbnails taken out, and what says where other pictures or films lie in the file.

    Raises ValueError where it is not well-formed XML in UTF-8.
    """
    xmp = xmp.strip(b"\0 \r\n\t")
    text = xmp.decode()  # raises UnicodeDecodeError, which is a ValueError
    _check(xmp)
    for namespace, name in GONE:
        for prefix in _prefixes(text, namespace):
            text = _without(text, f"{prefix}:{name}")
    for namespace, name, value in (
        (TIFF, "Orientation", 1),
        (TIFF, "ImageWidth", width),
        (TIFF, "ImageLength", height),
        (EXIF, "PixelXDimension", width),
        (EXIF, "PixelYDimension", height),
    ):
        for prefix in _prefixes(text, namespace):
            text = _with_number(text, f"{prefix}:{name}", _always(value))
    for prefix in _prefixes(text, PANORAMA):
        text = _with_number(text, f"{prefix}:{PANORAMA_SIZES}", lambda old: upscale_factor * old)
    _check(text.encode())
    return text.encode()


def _check(xmp: bytes) -> None:
    """Raises ValueError where it is not well-formed, or declares a document type, which XMP never does."""
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _no_doctype
    try:
        parser.Parse(xmp, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error


def _no_doctype(*_: object) -> None:
    raise ValueError("a document type")


def _prefixes(text: str, namespace: str) -> set[str]:
    """The prefixes that the packet gives to a namespace."""
    return set(re.findall(rf"xmlns:([\w-]+)\s*=\s*[\"']{re.escape(namespace)}[\"']", text))


def _without(text: str, name: str) -> str:
    """The text without an attribute or element of the name."""
    text = re.sub(rf"\s{name}\s*=\s*(?:\"[^\"<]*\"|'[^'<]*')", "", text)
    text = re.sub(rf"<({name})(?:\s[^<>]*)?/>", "", text)
    return re.sub(rf"<({name})(?:\s[^<>]*)?>.*?</\1\s*>", "", text, flags=re.DOTALL)


def _always(value: int) -> Callable[[int], int]:
    return lambda _: value


def _with_number(text: str, name: str, new: Callable[[int], int]) -> str:
    """The text with the whole number of an attribute or element of the name changed."""
    for before in (rf"\s{name}\s*=\s*[\"']", rf"<{name}(?:\s[^<>]*)?(?<!/)>\s*"):
        text = re.sub(rf"({before})([0-9]{{1,9}})(?![0-9])", lambda found: f"{found[1]}{new(int(found[2]))}", text)
    return text

"""XMP packets, which are XML, made true of an enlarged picture.

They are changed where they stand, so that all that is not understood stays as it was. XMP specification, parts 1 and 3.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from xml.parsers import expat

GOOGLE = "http://ns.google.com/photos/1.0/"
TIFF, EXIF, PANORAMA = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/", GOOGLE + "panorama/"

# What is no longer true, or belongs to other parts of the file, which the result lacks: by namespace.
GONE = {
    "http://ns.adobe.com/xap/1.0/": re.compile("Thumbnails"),
    "http://ns.adobe.com/xmp/note/": re.compile("HasExtendedXMP"),
    "http://ns.adobe.com/hdr-gain-map/1.0/": re.compile(".*"),
    "http://ns.apple.com/HDRGainMap/1.0/": re.compile(".*"),
    GOOGLE + "container/": re.compile("Directory"),
    GOOGLE + "camera/": re.compile("(MotionPhoto|MicroVideo).*"),
}
PANORAMA_SIZES = re.compile("(?:FullPano|CroppedArea).*(?:(Width|Left)|Height|Top)Pixels")  # group 1: across

NAME = rb"[^\s=:<>/\"']+"
ATTRIBUTE = re.compile(rb"\s+(?:(" + NAME + rb"):)?(" + NAME + rb")\s*=\s*(\"[^\"]*\"|'[^']*')")
TAG = re.compile(rb"<[^\s/>]+(?:\s+[^\s=]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*\s*/?>")

Change = Callable[[int], int]


def true_xmp(xmp: bytes, width: int, height: int, across: float, down: float) -> bytes:
    """The packet of a picture made upright and, by the factors `across` and `down`, `width` x `height` pixels large:
    its orientation and sizes changed, thumbnails taken out, and what says where other pictures or films lie in the
    file.

    Raises ValueError where it is not well-formed XML in UTF-8, or declares a document type, which XMP never does.
    """
    xmp = xmp.strip(b"\0 \r\n\t")
    xmp.decode()  # raises UnicodeDecodeError, which is a ValueError
    changes: dict[tuple[str, str], Change] = {
        (TIFF, "Orientation"): lambda _: 1,
        (TIFF, "ImageWidth"): lambda _: width,
        (TIFF, "ImageLength"): lambda _: height,
        (EXIF, "PixelXDimension"): lambda _: width,
        (EXIF, "PixelYDimension"): lambda _: height,
    }

    def change_of(namespace: str, name: str) -> Change | None:
        if namespace == PANORAMA and (size := PANORAMA_SIZES.fullmatch(name)):
            factor = across if size[1] else down
            return lambda old: round(factor * old)
        return changes.get((namespace, name))

    made, at = [], 0
    for start, stop, new in _Edits(xmp, change_of).edits:
        made += [xmp[at:start], new]
        at = stop
    return b"".join([*made, xmp[at:]])


class _Edits:
    """Reads a packet once; `edits` are what to put in place of which of its bytes, from front to back."""

    def __init__(self, xmp: bytes, change_of: Callable[[str, str], Change | None]) -> None:
        self.edits: list[tuple[int, int, bytes]] = []
        self._xmp, self._change_of = xmp, change_of
        self._namespaces: defaultdict[str | None, list[str]] = defaultdict(
            list
        )  # by their prefixes, the inner one last
        self._depth = 0
        self._gone: tuple[int, int] | None = None  # of an element that is taken out: depth, where it begins
        self._number: tuple[int, Change] | None = None  # of an element that may be a number: where its tag ends
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartNamespaceDeclHandler = lambda prefix, uri: self._namespaces[prefix].append(uri or "")
        self._parser.EndNamespaceDeclHandler = lambda prefix: self._namespaces[prefix].pop()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        try:
            self._parser.Parse(xmp, True)
        except expat.ExpatError as error:
            raise ValueError(str(error)) from error

    def _doctype(self, *_: object) -> None:
        raise ValueError("a document type")

    def _start(self, full_name: str, _: object) -> None:
        at = self._parser.CurrentByteIndex
        self._depth += 1
        if self._gone:
            return
        namespace, _, name = full_name.rpartition(" ")
        if _is_gone(namespace, name):
            self._gone = self._depth, at
            return
        end = self._end_of_tag(at)
        change = self._change_of(namespace, name)
        self._number = (end, change) if change else None
        for found in ATTRIBUTE.finditer(self._xmp, at, end):
            self._attribute(found)

    def _attribute(self, found: re.Match[bytes]) -> None:
        prefix, name = ((found[group] or b"").decode() for group in (1, 2))
        namespace = self._namespaces[prefix][-1] if self._namespaces.get(prefix) else ""
        if _is_gone(namespace, name):
            self.edits.append((found.start(), found.end(), b""))
        elif change := self._change_of(namespace, name):
            self._set_number(found.start(3) + 1, found.end(3) - 1, change)

    def _end(self, _: str) -> None:
        at = self._parser.CurrentByteIndex
        if self._gone and self._gone[0] == self._depth:
            start = self._gone[1]
            stop = self._end_of_tag(start)
            if self._xmp[stop - 2 : stop] != b"/>":
                stop = self._xmp.index(b">", at) + 1  # of the tag that ends it
            self.edits.append((start, stop, b""))
            self._gone = None
        elif self._number:
            self._set_number(self._number[0], at, self._number[1])
        self._number = None
        self._depth -= 1

    def _set_number(self, start: int, stop: int, change: Change) -> None:
        old = self._xmp[start:stop].strip()
        if old.isdigit() and len(old) < 10:
            self.edits.append((start, stop, str(change(int(old))).encode()))

    def _end_of_tag(self, at: int) -> int:
        tag = TAG.match(self._xmp, at)
        if tag is None:
            raise ValueError(f"a tag that is not understood, at byte {at}")
        return tag.end()


def _is_gone(namespace: str, name: str) -> bool:
    return namespace in GONE and GONE[namespace].fullmatch(name) is not None

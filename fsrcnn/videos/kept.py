"""What becomes of all that a film's file holds besides its frames: kept, or said.

The result is read once it is written, and compared with the source; what it does not have is said. So there needs to be
no list of what each container and encoder holds.
"""

import sys
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import av
import numpy as np
from av.stream import Disposition, Stream
from av.video.reformatter import ColorPrimaries, ColorTrc

from fsrcnn.errors import RequestError
from fsrcnn.videos.frames import LEFT, UNNAMED, has_alpha, is_full_range, side_data, side_data_kinds
from fsrcnn.videos.others import is_cover
from fsrcnn.videos.parts import Cuts, cut_chapter
from fsrcnn.videos.source import Source, open_source
from fsrcnn.videos.tags import compared, stream_tags

Chapter: TypeAlias = tuple[float, str]  # start in seconds, title
Fact: TypeAlias = "str | Fraction | Chapter"
Facts: TypeAlias = dict[str, Fact]  # by what they are called in a message; what is not there has none

# The side data of frames, by PyAV's names. Of a film's own: its words in a message.
SIDE_DATA = {
    "A53_CC": "closed captions",
    "MASTERING_DISPLAY_METADATA": "HDR mastering display",
    "CONTENT_LIGHT_LEVEL": "HDR content light level",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DYNAMIC_HDR_VIVID": "HDR Vivid",
    "DOVI_RPU_BUFFER": "Dolby Vision",
    "DOVI_METADATA": "Dolby Vision",
    "AMBIENT_VIEWING_ENVIRONMENT": "light around the display",
    "STEREO3D": "stereo views",
    "SPHERICAL": "spherical projection",
    "AFD": "active format description",
    "GOP_TIMECODE": "timecodes of frames",
    "S12M_TIMECODE": "timecodes of frames",
    "ICC_PROFILE": "ICC profile",
    "SEI_UNREGISTERED": "user data",
    UNNAMED: "what frames have beside them (of a kind that PyAV cannot show)",
}
# Kept in another way (rotation), applied by the decoder (grain), in all MPEG-2 (pan and scan), of sound, or the
# decoder's own notes.
NOT_SAID = {
    *("DISPLAYMATRIX", "FILM_GRAIN_PARAMS", "PANSCAN"),
    *("MATRIXENCODING", "DOWNMIX_INFO", "REPLAYGAIN", "SKIP_SAMPLES", "AUDIO_SERVICE_TYPE"),
    *("MOTION_VECTORS", "VIDEO_ENC_PARAMS", "REGIONS_OF_INTEREST", "DETECTION_BBOXES", "VIDEO_HINT"),
}
# Side data that encoders write into frames that have it. The others either are told otherwise or do not know it.
WRITTEN = {"libx264": {"A53_CC", "STEREO3D"}, "libx265": {"A53_CC"}}
PIXEL_ASPECT = "pixel aspect"
STARTS_ALIKE = 0.05  # seconds, as formats round them
ASPECTS_ALIKE = 0.005  # as parts of one: a width in whole pixels is not exact
UNSPECIFIED = 2  # of colours, ITU-T H.273
TIMECODE_MARKS = 1 << 24 | 1 << 12  # ISO/IEC 13818-2, 6.3.8: drop frame, and a bit that is always one
MATRICES = {0: "rgb", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc"}
# Tags of streams that are not missed: a muxer's name for it, the file's own time again, an attachment's, and the
# language, which has a fact of its own.
UNTOLD = {"handler_name", "creation_time", "filename", "mimetype", "language"}


class Written(NamedTuple):
    """What was written: the encoder by FFmpeg's name, the indices of the source's streams in it, and the shape of the
    pixels, their width by their height.
    """

    codec: str
    streams: tuple[int, ...]
    pixel_aspect: Fraction


def lost(source: Source, written: Written, path: Path, cuts: Cuts) -> list[str]:
    """A line for each thing of the source's that the file made of it does not have, or has as something else.

    cuts: chapters outside of what is enlarged are not missed.
    """
    streams = {index: source.container.streams[index] for index in written.streams}
    streams = {index: stream for index, stream in streams.items() if not is_cover(stream)}
    try:
        with open_source(path, with_alpha=source.with_alpha) as result:
            found = _facts(result, _matched(streams, result.container.streams), None)
    except RequestError:  # a format that is written and not read, or no frame
        return ["the result cannot be read, so what it has not kept is not known"]
    # Those that are not in the first frame are not looked for.
    found |= {SIDE_DATA[kind]: "yes" for kind in carried(written.codec, source)}
    expected = _facts(source, streams, cuts)
    expected.pop(PIXEL_ASPECT, None)
    return differences(expected | _aspect_fact(written.pixel_aspect), found)


def _matched(streams: Mapping[int, Stream], written: Iterable[Stream]) -> dict[int, Stream]:
    """For each stream the one that it became: the first of its type for the first, and so on, as formats are read in an
    order of their own.
    """
    rest = [stream for stream in written if not is_cover(stream)]
    matched = {}
    for index, stream in streams.items():
        if (found := next((each for each in rest if each.type == stream.type), None)) is not None:
            matched[index] = found
            rest.remove(found)
    return matched


def carried(codec: str, source: Source) -> frozenset[str]:
    """The kinds of side data that the encoder writes if the frames that it gets have them."""
    return frozenset(WRITTEN.get(codec, ()) if source.frames_of_each < 2 else ())


def _facts(source: Source, streams: Mapping[int, Stream], cuts: Cuts | None) -> Facts:
    """What a file tells. streams: those that are compared, by their numbers in messages. cuts: None: all of it."""
    container = source.container
    found: Facts = {f"tag {key}": value for key, value in compared(container.metadata).items()}
    chapters = [cut_chapter(chapter, cuts) if cuts else chapter for chapter in container.chapters()]
    for number, chapter in enumerate(filter(None, chapters), 1):
        start = float(chapter["start"] * (chapter["time_base"] or 0))
        found[f"chapter {number}"] = start, chapter["metadata"].get("title", "")
    for name, stream in streams.items():
        found |= _stream_facts(stream, name, _is_alone(stream, streams.values()))
    if any(map(is_cover, container.streams)):
        found["cover"] = "yes"
    found |= _aspect_fact(source.video.sample_aspect_ratio or Fraction(1))
    if source.chroma_location != LEFT:
        found["chroma location"] = source.chroma_location
    kinds = source.seen | side_data_kinds(source.first)
    if _starts_at_zero(source.first):
        kinds.discard("GOP_TIMECODE")
    found |= {SIDE_DATA[kind]: "yes" for kind in sorted(kinds) if kind in SIDE_DATA}
    return found | _frame_facts(source.first)


def _aspect_fact(aspect: Fraction) -> Facts:
    return {PIXEL_ASPECT: aspect} if aspect != 1 else {}


def _starts_at_zero(first: av.VideoFrame) -> bool:
    """Whether the timecode of a film in MPEG-2 only counts its frames."""
    data = side_data(first).get("GOP_TIMECODE", b"")
    return not int.from_bytes(data, sys.byteorder) & ~TIMECODE_MARKS


def _stream_facts(stream: Stream, index: int, is_alone: bool) -> Facts:
    of = f" of stream {index}"
    tags = compared(stream_tags(stream.metadata))
    found: Facts = {f"tag {key}{of}": value for key, value in tags.items() if key not in UNTOLD}
    if stream.language and stream.language != "und":
        found["language" + of] = stream.language
    for purpose in Disposition:
        if (
            stream.disposition & purpose
            and purpose != Disposition.attached_pic
            and not (purpose == Disposition.default and is_alone)
        ):
            found[f"mark as {purpose.name}{of}"] = "yes"
    return found


def _is_alone(stream: Stream, among: Iterable[Stream]) -> bool:
    return sum(each.type == stream.type for each in among) == 1


def _frame_facts(frame: av.VideoFrame) -> Facts:
    found: Facts = {}
    if matrix := side_data(frame).get("DISPLAYMATRIX"):
        turned = np.frombuffer(matrix, np.int32)[[0, 1, 3, 4]].tolist()
        if turned != [1 << 16, 0, 0, 1 << 16]:
            found["rotation"] = f"{frame.rotation} degrees{' mirrored' if _is_mirrored(turned) else ''}"
    colours: tuple[tuple[str, int, Any], ...] = (
        ("colour primaries", frame.color_primaries, ColorPrimaries),
        ("colour transfer", frame.color_trc, ColorTrc),
    )
    for name, number, names in colours:
        if number != UNSPECIFIED and number in set(names):
            found[name] = names(number).name
    if frame.colorspace != UNSPECIFIED:
        found["colour matrix"] = MATRICES.get(frame.colorspace, str(frame.colorspace))
    if is_full_range(frame):
        found["full range"] = "yes"
    if has_alpha(frame.format.name):
        found["alpha"] = "yes"
    return found


def _is_mirrored(turned: list[int]) -> bool:
    a, b, c, d = turned
    return a * d - b * c < 0


def differences(source: Facts, result: Facts) -> list[str]:
    """A line for all that the result does not have, and one for all that became something else."""
    missing = [name for name in source if name not in result]
    chapters = [name for name in missing if name.startswith("chapter ")]
    words = [_words(name, source[name]) for name in missing if name not in chapters]
    words += [f"{len(chapters)} chapters" if len(chapters) > 1 else "chapter"] if chapters else []
    said = ["left out: " + ", ".join(words)] if words else []
    changed = [name for name in source if name in result and not _are_alike(source[name], result[name])]
    return said + [f"{name}: {_short(source[name])} became {_short(result[name])}" for name in changed]


def _words(name: str, value: Fact) -> str:
    return name if value == "yes" or name.startswith("tag ") else f"{name} ({_short(value)})"


def _short(value: Fact) -> str:
    if isinstance(value, tuple):
        value = f"{value[0]:.2f} s {value[1]}"
    text = f"{value.numerator}:{value.denominator}" if isinstance(value, Fraction) else value
    return text if len(text) <= 40 else text[:37] + "..."


def _are_alike(one: Fact, other: Fact) -> bool:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return abs(float(one / other) - 1) < ASPECTS_ALIKE
    if isinstance(one, tuple) and isinstance(other, tuple):
        return abs(one[0] - other[0]) < STARTS_ALIKE and one[1] == other[1]
    return one == other

"""A video written: its container and encoder set up like the source's, frames encoded, packets copied."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.codec.context import Flags, ThreadType
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from fsrcnn import native
from fsrcnn.errors import FailureError, RequestError
from fsrcnn.videos import hdr, matroska
from fsrcnn.videos.frames import ALPHA_FORMATS, LEFT, FrameSize, has_alpha, is_full_range, plain_name, side_data
from fsrcnn.videos.kept import Written
from fsrcnn.videos.others import COVER_TYPES, COVERS, Carrier, Others, codec_of, is_cover
from fsrcnn.videos.packets import read_packets
from fsrcnn.videos.parts import Cuts, cut_chapter
from fsrcnn.videos.source import Source, cover_of, is_copied
from fsrcnn.videos.tags import ANY_TAGS, format_options, own_tags, stream_tags

# The encoders for the suffixes of containers that cannot hold H.264.
ENCODERS = {".webm": "libvpx-vp9", ".ogv": "libvpx"}
# What the containers hold alpha of that is packed beside the pictures of these encoders.
ALPHA_BESIDE = {"libvpx": {".webm", ".mkv"}, "libvpx-vp9": {".webm", ".mkv"}}
MP4_LIKE = {"mp4", "mov", "ipod"}  # FFmpeg's names
MATROSKA_LIKE = {"matroska", "webm"}
# The formats in which FFmpeg finds no time at which a frame is shown, only one at which it is decoded.
ONE_TIME = {"avi", "asf"}
# Of encoders, on every machine: what some of them write depends on it, and parts are to be what they are anywhere.
THREADS = 8
AVX2_LANES = 8  # floats in a register
FRAME_RATE = Fraction(25)  # where the source has none
MOST_REORDERED = 64  # packets that are decoded before their frames are shown, at most
HVC1 = "hvc1"  # the name of HEVC in MP4 that Apple's players take; FFmpeg writes hev1
# What encoders call the two settings, and what a message calls these.
SETTINGS = {"quality": (["crf"], "constant rate factor"), "preset": (["preset", "cpu-used"], "presets")}
CAPTIONS = {"libx265": {"a53cc": "1"}}  # encoders that write closed captions only if told to
WITH_ALPHA = {"libvpx": {"auto-alt-ref": "0"}}  # what VP8 needs, to have an alpha
MOST_OF_SHAPE = 1000  # of the denominator of the pixels' shape, which no encoder takes beyond 16 bits
QUIET = {"libx265": {"x265-params": "log-level=error"}}  # encoders that write to the terminal unless told not to
# The narrowest pictures that encoders take; x265 writes behind its memory where they are narrower.
LEAST_WIDTHS = {"libx265": 50}
SVT_LOG, SVT_ERRORS = "SVT_LOG", "1"  # SVT-AV1 is told by the environment


class Encoding(NamedTuple):
    """What a user asks of the encoder; None: what suits the container, and the encoder's own defaults."""

    codec: str | None = None  # FFmpeg's name
    quality: int | None = None
    preset: str | None = None


class Target(NamedTuple):
    """A video that is being written: its container, the stream that is encoded, and what takes the packets of the
    source's other streams, by their index there; what of it is where; what the user should know.
    """

    output: OutputContainer
    encoder: VideoStream
    carriers: dict[int, Carrier]
    written: Written
    size: tuple[int, int]  # of a frame
    has_display_size: bool  # which `finish` has to set
    said: list[str]


def encoder_of(target: Path, encoding: Encoding) -> str:
    """FFmpeg's name of the encoder: what is asked for, or what suits the container."""
    return encoding.codec or ENCODERS.get(target.suffix.lower(), "libx264")


def takes_alpha(target: Path, codec: str) -> bool:
    """Whether the encoder, in a container of the suffix, keeps an alpha. False where there is no such encoder."""
    try:
        formats = av.Codec(codec, "w").video_formats or []
    except UnknownCodecError:
        return False
    suffixes = ALPHA_BESIDE.get(codec, {target.suffix.lower()})
    return target.suffix.lower() in suffixes and any(each.name in ALPHA_FORMATS for each in formats)


@contextmanager
def open_target(unfinished: Path, target: Path, source: Source) -> Iterator[OutputContainer]:
    """The container to write, in the format of the suffix. Raises RequestError for a suffix that no container has,
    FailureError where writing fails.
    """
    try:
        output = av.open(str(unfinished.absolute()), "w", **ANY_TAGS)
    except ValueError as error:
        raise RequestError(f"{target}: no video container has this suffix; use .mp4 or .mkv") from error
    output.container_options.update(format_options(output.format.name, source.container.metadata))
    try:
        with output:
            yield output
    except av.FFmpegError as error:
        raise encoding_error(target, error) from error


def encoding_error(target: Path, error: av.FFmpegError) -> FailureError:
    """The error for a user."""
    return FailureError(f"{target}: writing it failed ({_reason(error)}); free space or choose another place")


def set_up(
    output: OutputContainer, target: Path, source: Source, size: FrameSize, encoding: Encoding, cuts: Cuts
) -> Target:
    """Gives the output its streams, tags, and the chapters of what is enlarged, and writes the header. size: of the
    frames to encode.

    Raises RequestError where the encoder or the container cannot take what is asked of it.
    """
    codec = encoder_of(target, encoding)
    check_encoder(codec, plain_name(source.first.format.name))
    made = _add_streams(output, target, source, size, codec, encoding)
    _copy_metadata(source.container, output, cuts)
    _start(output, target, codec)
    return made


@contextmanager
def open_encoder(
    container: str, target: Path, source: Source, size: FrameSize, encoding: Encoding
) -> Iterator[VideoStream]:
    """An encoder that is set up as the one of `set_up`, in a container of the same format (FFmpeg's name), of which no
    byte is written.
    """
    with av.open(io.BytesIO(), "w", format=container) as nothing:
        encoder = _add_encoder(nothing, target, source, size, encoder_of(target, encoding), encoding)
        with _encoders_words(), own_priority():
            encoder.codec_context.open()
        yield encoder


def write(
    target: Target,
    encoded: Iterator["av.Packet[Stream]"],
    rest: Iterator[tuple[float, "av.Packet[Stream] | None"]],
) -> int:
    """Writes the packets of the frames and, where they belong among them, what becomes of those of the other streams;
    returns how many of these have impossible times and are left out. rest: as for `Rest.packets`.
    """
    refused, waiting = 0, next(encoded, None)
    for clock, packet in rest:
        while waiting is not None and (waiting.dts or 0) * waiting.time_base <= clock:
            target.output.mux_one(waiting)
            waiting = next(encoded, None)
        if packet is not None and (carrier := target.carriers.get(packet.stream_index)):
            refused += _mux(target.output, carrier, packet)
    while waiting is not None:
        target.output.mux_one(waiting)
        waiting = next(encoded, None)
    return refused + sum(_mux(target.output, carrier, None) for carrier in target.carriers.values())


def joined_packets(paths: list[Path], stream: VideoStream) -> Iterator["av.Packet[Stream]"]:
    """The packets of a film's parts, in the order and with the times of one film.

    An encoder that reorders frames lets the first packets be decoded before the first frame is shown. In the middle of
    a film this time is that of the last frames of the part before.
    """
    tail: list[int] = []  # the last frames' times of the parts before
    last: int | None = None
    for path in paths:
        waiting: list[av.Packet[Stream]] = []
        begin: int | None = None
        shown = tail
        for packet in read_packets(path, stream):
            begin = packet.pts if begin is None else begin
            shown = sorted([*shown, packet.pts or 0])[-MOST_REORDERED:]
            if waiting is not None and tail and (packet.dts or 0) < (begin or 0):
                waiting.append(packet)
                continue
            for early in _in_time(waiting, tail):
                last = _ascending(early, last)
                yield early
            waiting = []
            last = _ascending(packet, last)
            yield packet
        for early in _in_time(waiting, tail):
            last = _ascending(early, last)
            yield early
        tail = shown


def _in_time(packets: list["av.Packet[Stream]"], tail: list[int]) -> list["av.Packet[Stream]"]:
    """The first packets of a part, decoded when the last frames of the part before are shown."""
    for packet, time in zip(reversed(packets), reversed(tail), strict=False):
        packet.dts = time
    return packets


def _ascending(packet: "av.Packet[Stream]", last: int | None) -> int:
    """Makes the packet be decoded later than the last one; returns when."""
    if last is not None and packet.dts is not None and packet.dts <= last:
        packet.dts = last + 1
    return packet.dts or 0


def _mux(output: OutputContainer, carrier: Carrier, packet: "av.Packet[Stream] | None") -> int:
    """Writes what the carrier makes of the packet; returns how many packets have a time that no container takes: none,
    or one before the last packet's.
    """
    refused = 0
    for made in carrier.packets(packet):
        try:
            output.mux_one(made)
        except av.error.ArgumentError:
            refused += 1
    return refused


def finish(unfinished: Path, target: Target) -> None:
    """Completes the file, once it is closed."""
    if target.has_display_size:
        matroska.set_display_size(unfinished, *target.size, target.written.pixel_aspect)


# --- streams ---


def _add_streams(
    output: OutputContainer, target: Path, source: Source, size: FrameSize, codec: str, encoding: Encoding
) -> Target:
    """Adds the source's streams to the output, in their order, and covers at the end, as formats have them."""
    others, encoder = Others(output), None
    # Beside QuickTime's keys FFmpeg writes no cover.
    has_covers = output.format.name in COVERS and not output.container_options
    for stream in sorted(source.container.streams, key=is_cover):
        if stream.index == source.video.index:
            encoder = _add_encoder(output, target, source, size, codec, encoding)
        elif is_cover(stream) and output.format.name == "matroska":
            _attach_cover(output, source, stream)
        elif is_copied(stream) and (has_covers or not is_cover(stream)):
            others.add(stream)
    assert encoder is not None
    streams, aspect = tuple(sorted([source.video.index, *others.carriers])), _pixel_aspect(source, size)
    has_display_size = _reserves(output, aspect)
    written = Written(codec, streams, aspect)
    return Target(output, encoder, others.carriers, written, (size.width, size.height), has_display_size, others.said())


def _pixel_aspect(source: Source, size: FrameSize) -> Fraction:
    """The width of the result's pixels by their height."""
    aspect = (source.video.sample_aspect_ratio or Fraction(1)) * size.stretch
    return aspect if size.stretch == 1 else aspect.limit_denominator(MOST_OF_SHAPE)


def _reserves(output: OutputContainer, pixel_aspect: Fraction) -> bool:
    """Whether the container has to be told of the pixels' shape once it is written."""
    return output.format.name in MATROSKA_LIKE and pixel_aspect != 1


def check_encoder(codec: str, pixel_format: str) -> None:
    """Raises RequestError where there is no such encoder of video, or it does not take the pixel format."""
    advice = "choose libx264, libx265, libvpx-vp9, libsvtav1 or ffv1"
    try:
        encoder = av.Codec(codec, "w")
    except UnknownCodecError as error:
        raise RequestError(f"codec: no encoder is called {codec}; {advice}") from error
    if encoder.type != "video":
        raise RequestError(f"codec: {codec} encodes {encoder.type}, not video; {advice}")
    taken = [taken.name for taken in encoder.video_formats or []]
    if taken and pixel_format not in taken:
        raise RequestError(f"codec: {codec} cannot take {pixel_format}, only {', '.join(taken)}; choose another one")


def _add_encoder(
    output: OutputContainer, target: Path, source: Source, size: FrameSize, codec: str, encoding: Encoding
) -> VideoStream:
    """The stream to encode, set up like the source's."""
    video, first, fields = source.video, source.first, max(source.frames_of_each, 1)
    if size.width < (least := LEAST_WIDTHS.get(codec, 0)):
        raise RequestError(
            f"{target}: {codec} needs a width of {least} pixels, and the result has {size.width}; choose another codec"
        )
    try:
        encoder = output.add_stream(codec, rate=(video.guessed_rate or FRAME_RATE) * fields)
    except ValueError as error:
        advice = "choose another codec" + ("" if output.format.name == "matroska" else " or .mkv")
        raise RequestError(f"{target}: {target.suffix} cannot hold {codec}; {advice}") from error
    assert isinstance(encoder, VideoStream)
    context = encoder.codec_context
    encoder.options.update(_options(context, codec, encoding) | _told(codec, source))
    context.width, context.height = size.width, size.height
    context.pix_fmt = plain_name(first.format.name)
    if video.time_base:
        context.time_base = video.time_base / fields
    context.flags |= Flags.frame_duration
    if output.format.name in ONE_TIME:
        context.max_b_frames = 0
    context.thread_count = THREADS
    context.thread_type = ThreadType.AUTO  # PyAV's default cuts x264's frames into slices, which cost 2 to 6 % in size
    context.color_range = ColorRange.JPEG if is_full_range(first) else first.color_range
    context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
    context.colorspace = first.colorspace
    context.sample_aspect_ratio = _pixel_aspect(source, size)
    if context.codec.canonical_name == "hevc" and output.format.name in MP4_LIKE:
        context.codec_tag = HVC1
    _turn(encoder, first, size)
    encoder.disposition = video.disposition
    encoder.metadata.update(stream_tags(video.metadata))
    if _reserves(output, context.sample_aspect_ratio):
        encoder.metadata["title"] = matroska.reserved(encoder.metadata.get("title", ""))
    return encoder


def _turn(encoder: VideoStream, first: av.VideoFrame, size: FrameSize) -> None:
    """Gives the encoder's stream the rotation of the source's."""
    if matrix := side_data(first).get("DISPLAYMATRIX"):
        rotation = np.frombuffer(matrix, np.int32).copy()
        rotation[6:8] = (rotation[6:8] * size.factor).round()  # the shift, in pixels
        encoder.set_display_matrix(rotation.tolist())
    elif first.rotation:
        encoder.set_display_rotation(first.rotation)


def _told(codec: str, source: Source) -> dict[str, str]:
    """The options that say to the encoder what PyAV cannot."""
    options = QUIET.get(codec, {}) | CAPTIONS.get(codec, {}) | _repeatable(codec)
    for name, value in hdr.encoder_options(codec, side_data(source.first)).items():
        options[name] = ":".join(filter(None, [options.get(name), value]))
    if has_alpha(source.first.format.name):
        options |= WITH_ALPHA.get(codec, {})
    if source.chroma_location != LEFT:
        options["chroma_sample_location"] = source.chroma_location
    return options


def _repeatable(codec: str) -> dict[str, str]:
    """What lets an encoder make the same of the same frames: x264's functions for AVX-512 do not, at some widths, when
    they weigh blocks by what refers to them.
    """
    has_avx512 = native.HOST is not None and native.HOST.lanes > AVX2_LANES
    return {"x264-params": "asm=avx2"} if codec == "libx264" and has_avx512 else {}


def _attach_cover(output: OutputContainer, source: Source, stream: Stream) -> None:
    """Adds a cover as Matroska has it: as a file."""
    if codec_of(stream) in COVER_TYPES and (picture := cover_of(source, stream)):
        output.add_attachment(*COVER_TYPES[codec_of(stream)], picture)


def _options(context: av.CodecContext, codec: str, encoding: Encoding) -> dict[str, str]:
    """The settings that are asked for, by the encoder's names. Raises RequestError for one that it does not have."""
    known, options = {option.name for option in context.supported_options.private}, {}
    for setting, (names, what) in SETTINGS.items():
        value = getattr(encoding, setting)
        if value is None:
            continue
        if not (name := next((name for name in names if name in known), None)):
            raise RequestError(f"{setting}: {codec} has no {what}; leave it out")
        options[name] = str(value)
    return options


# --- tags, chapters, the header ---


def _copy_metadata(container: InputContainer, output: OutputContainer, cuts: Cuts) -> None:
    """Copies the container's tags and its chapters, as far as they are of what is enlarged."""
    output.metadata.update(own_tags(container.metadata))
    output.set_chapters([each for chapter in container.chapters() if (each := cut_chapter(chapter, cuts))])


def _start(output: OutputContainer, target: Path, codec: str) -> None:
    """Opens the encoder and writes the header. Raises RequestError where one of them refuses."""
    try:
        with _encoders_words(), own_priority():
            output.start_encoding()
    except av.FFmpegError as error:
        advice = "choose another codec" + ("" if output.format.name == "matroska" else " or .mkv")
        raise RequestError(
            f"{target}: {codec} in {target.suffix} cannot be started ({_reason(error)}); {advice}"
        ) from error


@contextmanager
def _encoders_words() -> Iterator[None]:
    """Keeps what an encoder says for its error's message."""
    av.logging.set_level(av.logging.ERROR)
    is_told = SVT_LOG in os.environ
    os.environ.setdefault(SVT_LOG, SVT_ERRORS)
    try:
        with av.logging.Capture():
            yield
    finally:
        av.logging.set_level(None)
        if not is_told:
            os.environ.pop(SVT_LOG, None)


@contextmanager
def own_priority() -> Iterator[None]:
    """Undoes what SVT-AV1 does when root starts it: the calling thread, and every thread and process that this one
    starts later, get real-time priority over all others.
    """
    known = hasattr(os, "sched_getscheduler")  # on Linux
    before = (os.sched_getscheduler(0), os.sched_getparam(0)) if known else ()
    try:
        yield
    finally:
        if known:
            os.sched_setscheduler(0, *before)


def _reason(error: av.FFmpegError) -> str:
    """FFmpeg's words on an error: its last log message, if any, else the meaning of the code."""
    # PyAV's types take the log for a pair, with this message inside.
    return error.log[2].strip() if error.log else error.strerror  # type: ignore[misc]

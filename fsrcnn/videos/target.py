"""A video written: its container and encoder set up like the source's, frames encoded, packets copied."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from fsrcnn.errors import FailureError, RequestError
from fsrcnn.videos.frames import FrameSize, is_full_range, plain_name, side_data
from fsrcnn.videos.source import ANY_TAGS, Item, Source, is_copied

# What the source's muxer said of its own file.
MUXER_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands"}
# The encoders for containers, by FFmpeg's names, that cannot hold H.264.
ENCODERS = {"webm": "libvpx-vp9", "ogv": "libvpx"}
# What encoders call the two settings, and what a message calls these.
SETTINGS = {"quality": (["crf"], "constant rate factor"), "preset": (["preset", "cpu-used"], "presets")}
MOST_OF_SHAPE = 1000  # of the denominator of the pixels' shape, which no encoder takes beyond 16 bits
QUIET = {"libx265": {"x265-params": "log-level=error"}}  # encoders that write to the terminal unless told not to


class Encoding(NamedTuple):
    """What a user asks of the encoder; None: what suits the container, and the encoder's own defaults."""

    codec: str | None = None  # FFmpeg's name
    quality: int | None = None
    preset: str | None = None


@contextmanager
def open_target(unfinished: Path, target: Path) -> Iterator[OutputContainer]:
    """The container to write, in the format of the suffix. Raises RequestError for a suffix that no container has,
    FailureError where writing fails.
    """
    try:
        output = av.open(str(unfinished.absolute()), "w", **ANY_TAGS)
    except ValueError as error:
        raise RequestError(f"{target}: no video container has this suffix; use .mp4 or .mkv") from error
    try:
        with output:
            yield output
    except av.FFmpegError as error:
        raise FailureError(
            f"{target}: writing it failed ({_reason(error)}); free space or choose another place"
        ) from error


def set_up(
    output: OutputContainer, target: Path, source: Source, size: FrameSize, encoding: Encoding, end: float
) -> dict[int, Stream]:
    """Gives the output its streams, tags and chapters, up to `end` (seconds), and writes the header; returns the
    streams by the index of the source's: one to encode, the others to copy to. size: of the frames to encode.

    Raises RequestError where the encoder or the container cannot take what is asked of it.
    """
    codec = encoding.codec or ENCODERS.get(output.format.name, "libx264")
    check_encoder(codec, plain_name(source.first.format.name))
    streams = _add_streams(output, target, source, size, codec, encoding)
    _copy_metadata(source.container, output, end)
    _start(output, target, codec)
    return streams


def write(items: Iterator[Item], output: OutputContainer, streams: dict[int, Stream]) -> Iterator[av.VideoFrame | str]:
    """Encodes the frames and copies the packets; yields each frame once encoded, and the warnings."""
    (encoder,), refused = output.streams.video, 0
    for item in items:
        if isinstance(item, av.VideoFrame):
            output.mux(encoder.encode(item))
            yield item
        elif isinstance(item, str):
            yield item
        else:
            item.stream = streams[item.stream_index]
            try:
                output.mux_one(item)
            except av.error.ArgumentError:  # a time that no container takes: none, or one before the last packet's
                refused += 1
    output.mux(encoder.encode(None))
    if refused:
        yield f"{refused} packets of sound or subtitles have impossible times and are left out"


# --- streams ---


def _add_streams(
    output: OutputContainer, target: Path, source: Source, size: FrameSize, codec: str, encoding: Encoding
) -> dict[int, Stream]:
    """The output's streams by the index of the source's."""
    streams: dict[int, Stream] = {}
    for stream in source.container.streams:
        try:
            if stream.index == source.video.index:
                streams[stream.index] = _add_encoder(output, source, size, codec, encoding)
            elif is_copied(stream):
                streams[stream.index] = output.add_stream_from_template(stream, opaque=True)
        except ValueError as error:
            name = codec if stream.index == source.video.index else stream.name or "this codec"
            raise RequestError(
                f"{target}: {target.suffix} cannot hold {name} ({stream.type}, stream {stream.index}); use .mkv"
            ) from error
        if stream.index in streams:
            streams[stream.index].disposition = stream.disposition
            streams[stream.index].metadata.update(_own_tags(stream.metadata))
    return streams


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
    output: OutputContainer, source: Source, size: FrameSize, codec: str, encoding: Encoding
) -> VideoStream:
    """The stream to encode, set up like the source's."""
    _, video, first = source
    output.add_stream(codec, rate=video.guessed_rate, options=dict(QUIET.get(codec, {})))
    (encoder,) = output.streams.video
    context = encoder.codec_context
    encoder.options.update(_options(context, codec, encoding))
    context.width, context.height = size.width, size.height
    context.pix_fmt = plain_name(first.format.name)
    if video.time_base:
        context.time_base = video.time_base
    context.flags |= Flags.frame_duration
    context.color_range = ColorRange.JPEG if is_full_range(first) else first.color_range
    context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
    context.colorspace = first.colorspace
    if video.sample_aspect_ratio or size.stretch != 1:
        shape = (video.sample_aspect_ratio or 1) * size.stretch
        context.sample_aspect_ratio = shape.limit_denominator(MOST_OF_SHAPE)
    if matrix := side_data(first).get("DISPLAYMATRIX"):
        rotation = np.frombuffer(matrix, np.int32).copy()
        rotation[6:8] = (rotation[6:8] * size.factor).round()  # the shift, in pixels
        encoder.set_display_matrix(rotation.tolist())
    elif first.rotation:
        encoder.set_display_rotation(first.rotation)
    return encoder


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


def _own_tags(metadata: dict[str, str]) -> dict[str, str]:
    """The metadata without what the source's muxer said of its own file."""
    return {key: value for key, value in metadata.items() if key.lower() not in MUXER_TAGS}


def _copy_metadata(container: InputContainer, output: OutputContainer, end: float) -> None:
    """Copies the container's tags and the chapters that start before `end`, in seconds."""
    output.metadata.update(_own_tags(container.metadata))
    output.set_chapters(
        [chapter for chapter in container.chapters() if chapter["start"] * (chapter["time_base"] or 0) < end]
    )


def _start(output: OutputContainer, target: Path, codec: str) -> None:
    """Opens the encoder and writes the header. Raises RequestError where one of them refuses."""
    av.logging.set_level(av.logging.ERROR)  # for the encoder's own words
    try:
        with av.logging.Capture(), own_priority():
            output.start_encoding()
    except av.FFmpegError as error:
        raise RequestError(
            f"{target}: {codec} in {target.suffix} cannot be started ({_reason(error)}); choose another codec or .mkv"
        ) from error
    finally:
        av.logging.set_level(None)


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

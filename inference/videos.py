"""A video enlarged: FSRCNN on its luma, bicubic interpolation on its chroma, everything else of the file kept.

The work is three steps, each in threads of its own and a few frames ahead of the next: `read` (demultiplex and
decode), `enlarged` (the network) and `write` (encode and multiplex). What passes from one to the next are decoded
frames, the packets of the streams that are copied, and warnings.

On a CPU several frames are enlarged at a time, by one thread each, so that none has to wait for the others' parts of
its frame.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError, find_best_pix_fmt_of_list
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from numpy.typing import NDArray
from tqdm import tqdm

from errors import FailureError, RequestError
from files import written_whole
from inference.ahead import AHEAD, ahead, each_ahead
from inference.colour import bicubic, bicubic_phases, padded
from inference.runner import Runner, Samples, to_samples

# Planar formats, which are enlarged as they are; yuvj... is an old name of yuv... in full range.
PIXEL_FORMATS = "gray gray10le yuv420p yuv422p yuv444p yuv420p10le yuv422p10le yuv444p10le".split()
HEADER_SAYS_DURATION = {"mov", "matroska", "avi"}  # formats; the duration of others is FFmpeg's estimate
TOLERANCE = 0.5  # seconds that a whole file's streams may end before the time its header says
# What the source's muxer said of its own file.
MUXER_TAGS = {"encoder", "major_brand", "minor_version", "compatible_brands"}
# Side data of frames that PyAV cannot hand to an encoder.
LOST_SIDE_DATA = {
    "A53_CC": "closed captions",
    "MASTERING_DISPLAY_METADATA": "HDR mastering display",
    "CONTENT_LIGHT_LEVEL": "HDR content light level",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_METADATA": "Dolby Vision",
}
# PyAV 19 does so by itself, and knows no such argument.
TAGS = {} if int(av.__version__.partition(".")[0]) > 18 else {"metadata_errors": "surrogateescape"}
# The encoders for containers, by FFmpeg's names, that cannot hold H.264.
ENCODERS = {"webm": "libvpx-vp9", "ogv": "libvpx"}
# How encoders call the two settings, and what these are called.
SETTINGS = {"quality": (["crf"], "constant rate factor"), "preset": (["preset", "cpu-used"], "presets")}
QUIET = {"libx265": {"x265-params": "log-level=error"}}  # encoders that write to the terminal unless told not to

Item = av.VideoFrame | av.Packet | str


@dataclass(frozen=True)
class VideoResult:
    """What `upscale_video` has done: how many frames it wrote, and a line for everything the user should know."""

    frames: int
    warnings: tuple[str, ...]


def upscale_video(
    source: Path,
    target: Path,
    runner: Runner,
    codec: str | None = None,
    quality: int | None = None,
    preset: str | None = None,
    duration: float | None = None,
) -> VideoResult:
    """Enlarges the video `source` into the file `target`, whose suffix chooses the container.

    codec: FFmpeg's name of the encoder; None: libx264, or what suits the container if it cannot hold H.264.
    quality: its constant rate factor (0 is the best); preset: its name or number for a speed; None: its own defaults.
    duration: seconds of every stream, from the start; None: all.

    Kept: 8 or 10 bits, chroma subsampling, range, colour tags, sample aspect ratio, rotation, the time of every frame,
    every audio and subtitle stream, attachments, metadata, chapters. Of a damaged video, what can be decoded is kept
    and a warning returned. Where subsampled chroma needs an even size and the enlarged frame is odd, the last row or
    column is repeated. `target` is written whole or not at all; a file of that name is replaced.

    Raises RequestError for what cannot be read, encoded or held as asked, FailureError where writing fails.
    """
    if duration is not None and not duration > 0:
        raise RequestError(f"duration: got {duration}, expected seconds above 0")
    first = first_frame(source)
    if target.exists() and target.samefile(source):
        raise RequestError(f"{target}: is the source itself; choose another name")
    frames = 0
    with open_source(source) as container:
        video = video_stream(container, source)
        warnings = remarks(container, video, first, runner.upscale_factor)
        with (
            written_whole(target) as unfinished,
            open_target(unfinished, target) as output,
            tqdm(total=frame_count(container, video, duration), unit="frame", dynamic_ncols=True, disable=None) as bar,
        ):
            codec = codec or ENCODERS.get(output.format.name, "libx264")
            settings = {"quality": quality, "preset": preset}
            streams = add_streams(output, target, container, video, first, runner.upscale_factor, codec, settings)
            copy_metadata(container, output, start_time(container) + (duration or math.inf))
            start(output, target, codec)
            enlarge = partial(enlarged, runner=runner, full_range=is_full_range(first))
            with (
                ahead(read(container, video, duration or math.inf)) as items,
                each_ahead(enlarge, items, runner.pool, max(AHEAD, runner.threads)) as sr_items,
            ):
                for item in write(sr_items, output, streams, video.index):
                    if isinstance(item, str):
                        warnings.append(item)
                    else:
                        frames += 1
                        bar.update()
    return VideoResult(frames, tuple(warnings))


def reason(error: av.FFmpegError) -> str:
    """FFmpeg's words on an error: its last log message, if any, else the meaning of the code."""
    return error.log[2].strip() if error.log else error.strerror


# --- what the source is ---


def open_source(path: Path) -> InputContainer:
    """The opened file. Raises RequestError where there is none, or it cannot be read as a video."""
    if not path.is_file():
        raise RequestError(f"{path}: no such file")
    if not path.stat().st_size:
        raise RequestError(f"{path}: the file is empty; replace or remove it")
    try:
        # An absolute path is not taken for a URL; tags in any encoding pass through as they are.
        return av.open(str(path.absolute()), **TAGS)
    except av.FFmpegError as error:
        raise RequestError(f"{path}: not a video, or its header is damaged ({error.strerror}); replace it") from error


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream to enlarge, ready to be decoded. Raises RequestError where there is none."""
    video = container.streams.best("video")
    if video is None or is_cover(video):
        found = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise RequestError(f"{path}: holds no video stream, only {found}; choose a video")
    video.thread_type = "AUTO"
    return video


def is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def is_copied(stream: Stream) -> bool:
    return stream.type in ("audio", "subtitle", "attachment")


def start_time(container: InputContainer) -> float:
    """When the first stream starts, in seconds."""
    return (container.start_time or 0) / av.time_base


def first_frame(path: Path) -> av.VideoFrame:
    """The first frame, which tells what the encoder must know. Raises RequestError where none can be decoded."""
    with open_source(path) as container:
        video = video_stream(container, path)
        frame = next((item for item in read(container, video) if isinstance(item, av.VideoFrame)), None)
    if frame is None:
        raise RequestError(f"{path}: not one frame can be decoded; replace the file")
    return frame


def is_full_range(frame: av.VideoFrame) -> bool:
    """Whether 8-bit black and white are 0 and 255, not 16 and 235."""
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")


def side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """The frame's side data by their names."""
    try:
        held = [frame.side_data[number] for number in range(len(frame.side_data))]
    except ValueError:  # PyAV shows none of it if there is a kind it has no name for
        return {}
    return {data.type.name: bytes(data) for data in held}


def remarks(container: InputContainer, video: VideoStream, first: av.VideoFrame, scale: int) -> list[str]:
    """What the user should know of the video before it is enlarged."""
    said = []
    others = [stream for stream in container.streams if stream.index != video.index and not is_copied(stream)]
    # QuickTime keeps the chapters in a stream of data as well, a packet each.
    if left_out := [s for s in others if s.type != "data" or s.frames != len(container.chapters())]:
        named = (f"stream {s.index} ({'cover' if is_cover(s) else s.type})" for s in left_out)
        said.append("left out: " + ", ".join(named))
    if lost := [words for kind, words in LOST_SIDE_DATA.items() if kind in side_data(first)]:
        said.append("left out: " + ", ".join(lost))
    if video.pix_fmt != first.format.name:
        said.append(f"{video.pix_fmt} is converted to {first.format.name}")
    if first.interlaced_frame:
        said.append("is interlaced and enlarged as if it were not; deinterlace it first for clean edges")
    exact, size = (scale * first.width, scale * first.height), sr_size(first, scale)
    if size != exact:
        said.append(f"{exact[0]} x {exact[1]} made even by repeating the last row or column: {size[0]} x {size[1]}")
    return said


def frame_count(container: InputContainer, video: VideoStream, duration: float | None) -> int | None:
    """About how many frames there are to do, or None."""
    if duration is None and video.frames:
        return video.frames
    seconds = min((container.duration or 0) / av.time_base, duration or math.inf)
    return round(seconds * (video.guessed_rate or 0)) or None


# --- reading ---


def read(container: InputContainer, video: VideoStream, duration: float = math.inf) -> Iterator[Item]:
    """The frames of the video and the packets of the streams that are copied, up to `duration` (seconds); last, a
    warning for what is damaged or missing.
    """
    decoder, damaged = Decoder(video), 0
    reached = start_time(container)
    end = reached + duration - 1e-6  # so that what starts just then is out, however its time is rounded
    try:
        for packet in packets_before(container, video, end):
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            damaged += packet.is_corrupt
            if packet.stream_index != video.index:
                yield packet
            else:
                yield from (frame for frame in decoder.decode(packet) if frame.pts * video.time_base < end)
    except av.FFmpegError:
        damaged += 1
    yield from (frame for frame in decoder.decode(None) if frame.pts * video.time_base < end)
    if damaged + decoder.damaged:
        yield f"damaged (packets: {damaged + decoder.damaged}); what could be decoded is kept"
    whole = (container.duration or 0) / av.time_base
    if reached + TOLERANCE < whole <= end and HEADER_SAYS_DURATION & set(container.format.name.split(",")):
        yield f"cut off: {reached:.1f} of its {whole:.1f} seconds are there"
    if decoder.resized:
        yield f"changes its size; {decoder.resized} frames are scaled to that of the first"


def packets_before(container: InputContainer, video: VideoStream, end: float) -> Iterator[av.Packet]:
    """The packets that start before `end`, in seconds; stops reading when no video or audio can come any more."""
    streams = [stream for stream in container.streams if stream.index == video.index or is_copied(stream)]
    unended = {stream.index for stream in streams if stream.type in ("video", "audio")}
    for packet in container.demux(streams):
        if packet.dts is not None and packet.dts * packet.time_base >= end:
            unended.discard(packet.stream_index)
            if not unended:
                return
        elif packet.size:
            yield packet


class Decoder:
    """Decodes the packets of a video stream; counts the damaged ones, and the frames of another size."""

    def __init__(self, video: VideoStream) -> None:
        self.damaged, self.resized = 0, 0
        self._video = video
        self._first: av.VideoFrame | None = None
        self._last_pts: int | None = None

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """The frames that the packet completes (None: all that are left), each later than the one before it, of the
        first one's size, in one of PIXEL_FORMATS.
        """
        try:
            frames = self._video.decode(packet)
        except av.FFmpegError:
            self.damaged += 1
            return []
        self.damaged += any(frame.is_corrupt for frame in frames)
        return [self._in_order(self._uniform(frame)) for frame in frames]

    def _uniform(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._first = self._first or frame
        width, height = self._first.width, self._first.height
        self.resized += (frame.width, frame.height) != (width, height)
        return converted(frame, width, height, pixel_format(self._first.format.name))

    def _in_order(self, frame: av.VideoFrame) -> av.VideoFrame:
        if frame.pts is None or (self._last_pts is not None and frame.pts <= self._last_pts):
            frame.pts = 0 if self._last_pts is None else self._last_pts + max(frame.duration, 1)
        self._last_pts, frame.time_base = frame.pts, self._video.time_base
        return frame


def pixel_format(name: str) -> str:
    """The format that frames of the named one are enlarged in: itself, or the nearest of PIXEL_FORMATS."""
    if name.replace("yuvj", "yuv") in PIXEL_FORMATS:
        return name
    return find_best_pix_fmt_of_list(PIXEL_FORMATS, name)[0].name


def converted(frame: av.VideoFrame, width: int, height: int, name: str) -> av.VideoFrame:
    """The frame in that size and pixel format; itself where it has them. RGB becomes BT.601 in limited range."""
    from_rgb = frame.format.is_rgb or frame.format.has_palette
    colours = {"dst_colorspace": "ITU601", "dst_color_range": "MPEG"} if from_rgb else {}
    return frame.reformat(width, height, name, **colours)


# --- enlarging ---


def enlarged(lr: Item, runner: Runner, full_range: bool) -> Item:
    """A frame `scale` times as large, its time kept: the network on its luma, bicubic interpolation on its chroma.
    Other items stay as they are.
    """
    if not isinstance(lr, av.VideoFrame):
        return lr
    scale, bits = runner.upscale_factor, lr.format.components[0].bits
    sr = av.VideoFrame(*sr_size(lr, scale), lr.format.name.replace("yuvj", "yuv"))
    weights = chroma_weights(scale, *subsampling(lr))
    for number, (small, large) in enumerate(zip(samples(lr), samples(sr), strict=True)):
        rows, columns = (min(scale * length, there) for length, there in zip(small.shape, large.shape, strict=True))
        if number == 0:
            runner.enlarge_samples(small, large[:rows, :columns], bits, full_range)
        else:
            large[:rows, :columns] = upscale_chroma(small, bits, weights)[:rows, :columns]
        repeat_edge(large, rows, columns)
    sr.pts, sr.duration, sr.time_base = lr.pts, lr.duration, lr.time_base
    return sr


def subsampling(frame: av.VideoFrame) -> tuple[int, int]:
    """How many rows and columns of luma there are to one of chroma."""
    return 2 // frame.format.chroma_height(2), 2 // frame.format.chroma_width(2)


def sr_size(lr: av.VideoFrame, scale: int) -> tuple[int, int]:
    """Width and height of the enlarged frame: multiples of the chroma subsampling, as encoders demand."""
    rows, columns = subsampling(lr)
    return -(-scale * lr.width // columns) * columns, -(-scale * lr.height // rows) * rows


def samples(frame: av.VideoFrame) -> list[Samples]:
    """The samples of each plane, H x W, in place."""
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes]


def repeat_edge(plane: Samples, rows: int, columns: int) -> None:
    """Fills a plane beyond its first rows and columns, a row or column at most, with the last of them."""
    plane[rows:, :columns] = plane[rows - 1 : rows, :columns]
    plane[:, columns:] = plane[:, columns - 1 : columns]


def upscale_chroma(lr: Samples, bits: int, weights: NDArray[np.float32]) -> Samples:
    """A chroma plane, H x W, enlarged by bicubic interpolation to scale*H x scale*W. The border is mirrored.

    weights: see `chroma_weights`.
    """
    sr = np.empty([weights.shape[1] * length for length in lr.shape], np.float32)
    bicubic(padded(lr.astype(np.float32)), weights, sr)
    return to_samples(sr, bits)


@cache
def chroma_weights(scale: int, rows: int, columns: int) -> NDArray[np.float32]:
    """`bicubic_phases` of the rows and of the columns of chroma, for so many rows and columns of luma to one of chroma.

    The chroma is taken to sit, between two rows of luma, on the left one of two columns, as H.264 has it where a file
    does not say otherwise, and stays there. For 1 and 1 it is MATLAB's ``imresize``.
    """
    return np.stack([bicubic_phases(scale, rows, 0.5 * (rows - 1)), bicubic_phases(scale, columns, 0.0)])


# --- writing ---


@contextmanager
def open_target(unfinished: Path, target: Path) -> Iterator[OutputContainer]:
    """The container to write, in the format of the suffix. Raises FailureError where writing it fails."""
    try:
        output = av.open(str(unfinished.absolute()), "w", **TAGS)
    except ValueError as error:
        raise RequestError(f"{target}: no video container has this suffix; use .mp4 or .mkv") from error
    try:
        with output:
            yield output
    except av.FFmpegError as error:
        raise FailureError(
            f"{target}: writing it failed ({reason(error)}); free space or choose another place"
        ) from error


def add_streams(
    output: OutputContainer,
    target: Path,
    container: InputContainer,
    video: VideoStream,
    first: av.VideoFrame,
    scale: int,
    codec: str,
    settings: dict[str, Any],
) -> dict[int, Stream]:
    """The output's streams by the index of the source's: one to encode, the others to copy to.

    Raises RequestError where the encoder or the container cannot take what is asked of it.
    """
    check_encoder(codec, first.format.name.replace("yuvj", "yuv"))
    streams: dict[int, Stream] = {}
    for stream in container.streams:
        try:
            if stream.index == video.index:
                streams[stream.index] = add_encoder(output, video, first, scale, codec, settings)
            elif is_copied(stream):
                streams[stream.index] = output.add_stream_from_template(stream, opaque=True)
        except ValueError as error:
            name = codec if stream.index == video.index else stream.name or "this codec"
            raise RequestError(
                f"{target}: {target.suffix} cannot hold {name} ({stream.type}, stream {stream.index}); use .mkv"
            ) from error
        if stream.index in streams:
            streams[stream.index].disposition = stream.disposition
            streams[stream.index].metadata.update(own_tags(stream.metadata))
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


def add_encoder(
    output: OutputContainer, video: VideoStream, first: av.VideoFrame, scale: int, codec: str, settings: dict[str, Any]
) -> VideoStream:
    """The stream to encode, set up like the source's."""
    encoder = output.add_stream(codec, rate=video.guessed_rate, options=dict(QUIET.get(codec, {})))
    context = encoder.codec_context
    known = {option.name for option in context.supported_options.private}
    for setting, value in settings.items():
        if value is None:
            continue
        names, what = SETTINGS[setting]
        if not (name := next((name for name in names if name in known), None)):
            raise RequestError(f"{setting}: {codec} has no {what}; leave it out")
        encoder.options[name] = str(value)
    context.width, context.height = sr_size(first, scale)
    context.pix_fmt = first.format.name.replace("yuvj", "yuv")
    context.time_base = video.time_base
    context.flags |= Flags.frame_duration
    context.color_range = ColorRange.JPEG if is_full_range(first) else first.color_range
    context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
    context.colorspace = first.colorspace
    if video.sample_aspect_ratio:
        context.sample_aspect_ratio = video.sample_aspect_ratio
    if matrix := side_data(first).get("DISPLAYMATRIX"):
        rotation = np.frombuffer(matrix, np.int32).copy()
        rotation[6:8] *= scale  # the shift, in pixels
        encoder.set_display_matrix(rotation)
    elif first.rotation:
        encoder.set_display_rotation(first.rotation)
    return encoder


def own_tags(metadata: dict[str, str]) -> dict[str, str]:
    """The metadata without what the source's muxer said of its own file."""
    return {key: value for key, value in metadata.items() if key.lower() not in MUXER_TAGS}


def copy_metadata(container: InputContainer, output: OutputContainer, end: float) -> None:
    """Copies the container's tags and the chapters that start before `end`, in seconds."""
    output.metadata.update(own_tags(container.metadata))
    output.set_chapters([chapter for chapter in container.chapters() if chapter["start"] * chapter["time_base"] < end])


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


def start(output: OutputContainer, target: Path, codec: str) -> None:
    """Opens the encoder and writes the header. Raises RequestError where one of them refuses."""
    av.logging.set_level(av.logging.ERROR)  # for the encoder's own words
    try:
        with av.logging.Capture(), own_priority():
            output.start_encoding()
    except av.FFmpegError as error:
        raise RequestError(
            f"{target}: {codec} in {target.suffix} cannot be started ({reason(error)}); choose another codec or .mkv"
        ) from error
    finally:
        av.logging.set_level(None)


def write(
    items: Iterator[Item], output: OutputContainer, streams: dict[int, Stream], video_index: int
) -> Iterator[av.VideoFrame | str]:
    """Encodes the frames and copies the packets; yields each frame once encoded, and the warnings."""
    encoder, unheld = streams[video_index], 0
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
                unheld += 1
    output.mux(encoder.encode(None))
    if unheld:
        yield f"{unheld} packets of sound or subtitles have impossible times and are left out"

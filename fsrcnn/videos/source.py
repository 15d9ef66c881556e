"""A video read: what it holds, what the user should know of it, and its frames and packets in their order."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import av
from av.codec.codec import find_best_pix_fmt_of_list
from av.codec.context import ThreadType
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from fsrcnn.errors import RequestError
from fsrcnn.videos.frames import PIXEL_FORMATS, plain_name, side_data

# FFmpeg's names of the containers that are read. It also knows playlists, scripts and devices, which open other files,
# and takes a file for one by its content, whatever its name is.
CONTAINERS = "asf,avi,flv,m4v,matroska,mov,mpeg,mpegts,mpegvideo,ogg"
OPEN_ALONE = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
HEADER_SAYS_DURATION = {"mov", "matroska", "avi"}  # formats; the duration of others is FFmpeg's estimate
TOLERANCE = 0.5  # seconds that a whole file's streams may end before the time its header says
ROUNDING = 1e-6  # seconds that a time may be off by
# Side data of frames that PyAV cannot hand to an encoder.
LOST_SIDE_DATA = {
    "A53_CC": "closed captions",
    "MASTERING_DISPLAY_METADATA": "HDR mastering display",
    "CONTENT_LIGHT_LEVEL": "HDR content light level",
    "DYNAMIC_HDR_PLUS": "HDR10+",
    "DOVI_METADATA": "Dolby Vision",
}
# With these, tags in any encoding pass through as they are. PyAV 19 does so by itself, and knows no such argument.
ANY_TAGS: dict[str, Any] = {} if int(av.__version__.partition(".")[0]) > 18 else {"metadata_errors": "surrogateescape"}

Packet: TypeAlias = "av.Packet[Stream]"
Item: TypeAlias = "av.VideoFrame | Packet | str"  # a frame, a packet of a stream that is copied, or a warning


class Source(NamedTuple):
    """An opened video, the stream of it that is enlarged, and that stream's first frame."""

    container: InputContainer
    video: VideoStream
    first: av.VideoFrame


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Opens the video. Raises RequestError where there is none, or not one frame of it can be decoded."""
    with _open(path) as container:
        first = first_frame(container, _video_stream(container, path))
    if first is None:
        raise RequestError(f"{path}: not one frame can be decoded; replace the file")
    with _open(path) as container:  # anew, so that it is read from the start
        yield Source(container, _video_stream(container, path), first)


def _open(path: Path) -> InputContainer:
    if not path.is_file():
        raise RequestError(f"{path}: no such file")
    if not path.stat().st_size:
        raise RequestError(f"{path}: the file is empty; replace or remove it")
    try:
        # An absolute path is not taken for a URL.
        return av.open(str(path.absolute()), "r", container_options=OPEN_ALONE, **ANY_TAGS)
    except av.FFmpegError as error:
        cause = "not a video in a container that is read, or its header is damaged"
        raise RequestError(f"{path}: {cause} ({error.strerror}); replace or convert it") from error


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The stream to enlarge, ready to be decoded. Raises RequestError where there is none."""
    video = container.streams.best("video")
    if not isinstance(video, VideoStream) or _is_cover(video):
        found = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise RequestError(f"{path}: holds no video stream, only {found}; choose a video")
    video.thread_type = ThreadType.AUTO
    return video


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def is_copied(stream: Stream) -> bool:
    """Whether a stream goes to the result as it is."""
    return stream.type in ("audio", "subtitle", "attachment")


def remarks(source: Source) -> list[str]:
    """What the user should know of the video before it is enlarged, a line each."""
    (container, video, first), said = source, []
    others = [stream for stream in container.streams if stream.index != video.index and not is_copied(stream)]
    # QuickTime keeps the chapters in a stream of data as well, a packet each.
    if left_out := [s for s in others if s.type != "data" or s.frames != len(container.chapters())]:
        named = (f"stream {s.index} ({'cover' if _is_cover(s) else s.type})" for s in left_out)
        said.append("left out: " + ", ".join(named))
    if lost := [words for kind, words in LOST_SIDE_DATA.items() if kind in side_data(first)]:
        said.append("left out: " + ", ".join(lost))
    if video.pix_fmt != first.format.name:
        said.append(f"{video.pix_fmt} is converted to {first.format.name}")
    if first.interlaced_frame:
        said.append("is interlaced and enlarged as if it were not; deinterlace it first for clean edges")
    return said


def start_time(container: InputContainer) -> float:
    """When the first stream starts, in seconds."""
    return (container.start_time or 0) / av.time_base


def whole_time(container: InputContainer) -> float:
    """How long the file says that it is, in seconds; 0: it does not say."""
    return (container.duration or 0) / av.time_base


def frame_count(source: Source, duration: float | None) -> int | None:
    """About how many frames start in the first `duration` seconds (None: in all); None: unknown."""
    if duration is None and source.video.frames:
        return source.video.frames
    seconds = min(whole_time(source.container), duration or math.inf)
    return round(seconds * (source.video.guessed_rate or 0)) or None


# --- frames and packets ---


def first_frame(container: InputContainer, video: VideoStream) -> av.VideoFrame | None:
    """The first frame, which tells what the encoder must know; None where none can be decoded."""
    return next((item for item in read(container, video) if isinstance(item, av.VideoFrame)), None)


def read(container: InputContainer, video: VideoStream, duration: float = math.inf) -> Iterator[Item]:
    """The frames of the video and the packets of the streams that are copied, up to `duration` (seconds); at the end,
    warnings of what is damaged, missing or changed.
    """
    decoder, damaged = Decoder(video), 0
    reached = start_time(container)
    end = reached + duration - ROUNDING  # what starts just then is out
    try:
        for packet in packets_before(container, video, end):
            if packet.pts is not None:
                reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            damaged += packet.is_corrupt
            if packet.stream_index != video.index:
                yield packet
            else:
                yield from (frame for frame in decoder.decode(packet) if _starts_before(frame, end))
    except av.FFmpegError:
        damaged += 1
    yield from (frame for frame in decoder.decode(None) if _starts_before(frame, end))
    if damaged + decoder.damaged:
        yield f"damaged (packets: {damaged + decoder.damaged}); what could be decoded is kept"
    whole, formats = whole_time(container), set(container.format.name.split(","))
    if reached + TOLERANCE < whole <= end and HEADER_SAYS_DURATION & formats:
        yield f"cut off: {reached:.1f} of its {whole:.1f} seconds are there"
    if decoder.resized:
        yield f"changes its size; {decoder.resized} frames are scaled to that of the first"


def _starts_before(frame: av.VideoFrame, end: float) -> bool:
    """Of a frame from `Decoder`, which all have a time; end: in seconds."""
    return frame.pts is not None and frame.time_base is not None and frame.pts * frame.time_base < end


def packets_before(container: InputContainer, video: VideoStream, end: float) -> Iterator["Packet"]:
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
    """Decodes the packets of a video stream; counts those that are damaged, and the frames of another size than the
    first.
    """

    def __init__(self, video: VideoStream) -> None:
        self.damaged, self.resized = 0, 0
        self._video = video
        self._first: av.VideoFrame | None = None
        self._last_pts: int | None = None

    def decode(self, packet: "Packet | None") -> list[av.VideoFrame]:
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
        return _converted(frame, width, height, _nearest_format(self._first.format.name))

    def _in_order(self, frame: av.VideoFrame) -> av.VideoFrame:
        if frame.pts is None or (self._last_pts is not None and frame.pts <= self._last_pts):
            frame.pts = 0 if self._last_pts is None else self._last_pts + max(frame.duration, 1)
        self._last_pts, frame.time_base = frame.pts, self._video.time_base
        return frame


def _nearest_format(name: str) -> str:
    """The pixel format that frames of the named one are enlarged in: itself, or the nearest of PIXEL_FORMATS."""
    if plain_name(name) in PIXEL_FORMATS:
        return name
    nearest, _ = find_best_pix_fmt_of_list(PIXEL_FORMATS, name)
    return nearest.name if nearest else name


def _converted(frame: av.VideoFrame, width: int, height: int, pixel_format: str) -> av.VideoFrame:
    """The frame in that size and pixel format; itself where it has them. RGB becomes BT.601 in limited range."""
    if frame.format.is_rgb or frame.format.has_palette:
        return frame.reformat(width, height, pixel_format, dst_colorspace="ITU601", dst_color_range="MPEG")
    return frame.reformat(width, height, pixel_format)

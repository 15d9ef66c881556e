"""A video read: what it holds, what the user should know of it, and its frames and packets in their order."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeAlias

import av
from av.codec.codec import find_best_pix_fmt_of_list
from av.codec.context import ThreadType
from av.container import InputContainer
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from fsrcnn.errors import RequestError
from fsrcnn.videos import Deinterlace
from fsrcnn.videos.deinterlace import SMALLEST, Deinterlacer, Scan, scan_of
from fsrcnn.videos.frames import ALPHA_FORMATS, LEFT, PIXEL_FORMATS, has_alpha, plain_name, side_data_kinds
from fsrcnn.videos.others import codec_of, is_cover, named
from fsrcnn.videos.summary import line_of
from fsrcnn.videos.tags import ANY_TAGS

# FFmpeg's names of the containers that are read. It also knows playlists, scripts and devices, which open other files,
# and takes a file for one by its content, whatever its name is.
CONTAINERS = "asf,avi,flv,m4v,matroska,mov,mpeg,mpegts,mpegvideo,ogg"
OPEN_ALONE = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
HEADER_SAYS_DURATION = {"mov", "matroska", "avi"}  # formats; the duration of others is FFmpeg's estimate
TOLERANCE = 0.5  # seconds that a whole file's streams may end before the time its header says
ROUNDING = 1e-6  # seconds that a time may be off by
Packet: TypeAlias = "av.Packet[Stream]"
Item: TypeAlias = "av.VideoFrame | Packet | str"  # a frame, a packet of a stream that is copied, or a warning


# Decoders that give the alpha, which FFmpeg's own leave out, by the codec.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Source(NamedTuple):
    """An opened video, the stream of it that is enlarged, that stream's first frame, and what `read` makes of its
    frames: deinterlaced or not, with alpha or without.
    """

    container: InputContainer
    video: VideoStream
    first: av.VideoFrame
    seen: set[str]  # the kinds of side data that its frames had, which `read` adds
    scan: Scan = Scan()
    deinterlace: Deinterlace = "off"
    with_alpha: bool = False
    chroma_location: str = LEFT

    @property
    def frames_of_each(self) -> int:
        """How many frames `read` gives for each one of the file; 0: itself."""
        return (1 + (self.deinterlace == "double")) * (self.deinterlace != "off" and self.scan.kind != "progressive")


@contextmanager
def open_source(path: Path, deinterlace: Deinterlace = "off", with_alpha: bool = False) -> Iterator[Source]:
    """Opens the video. Raises RequestError where there is none, or not one frame of it can be decoded.

    with_alpha: frames that have an alpha are given with it.
    """
    with _open(path) as container:
        video = _video_stream(container, path)
        location = _chroma_location(container, video)
        unread = Source(container, video, av.VideoFrame(), set(), with_alpha=with_alpha)
        frames = (item for item in read(unread) if isinstance(item, av.VideoFrame))
        first = next(frames, None)
        if first is None:
            raise RequestError(f"{path}: not one frame can be decoded; replace the file")
        is_looked_at = deinterlace != "off" and min(first.width, first.height) >= SMALLEST
        scan = scan_of(chain([first], frames)) if is_looked_at else Scan()
    with _open(path) as container:  # anew, so that it is read from the start
        video = _video_stream(container, path)
        yield Source(container, video, first, set(), scan, deinterlace, with_alpha, location)


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
    if not isinstance(video, VideoStream) or is_cover(video):
        found = ", ".join(stream.type for stream in container.streams) or "nothing"
        raise RequestError(f"{path}: holds no video stream, only {found}; choose a video")
    video.thread_type = ThreadType.AUTO
    return video


def cover_of(source: Source, stream: Stream) -> bytes:
    """The picture that a stream of the file is; empty: it cannot be read."""
    with _open(Path(source.container.name)) as container:
        packets = container.demux(container.streams[stream.index])
        return bytes(next((packet for packet in packets if packet.size), b""))


def _chroma_location(container: InputContainer, video: VideoStream) -> str:
    """Where a sample of chroma lies among its samples of luma, in FFmpeg's word."""
    found = re.search(r"\(([^()]*, )?((?:top|bottom)(?:left)?|center)\)", line_of(container, video))
    return found[2] if found else LEFT


def is_copied(stream: Stream) -> bool:
    """Whether a stream goes to the result as it is, or converted."""
    return stream.type in ("audio", "subtitle", "attachment") or is_cover(stream)


def remarks(source: Source) -> list[str]:
    """What the user should know of the video before it is enlarged, a line each."""
    container, video, first, said = source.container, source.video, source.first, []
    others = [stream for stream in container.streams if stream.index != video.index and not is_copied(stream)]
    # QuickTime keeps the chapters in a stream of data as well, a packet each, and the timecode, which is a tag too.
    chapters = len(container.chapters())
    left_out = [s for s in others if s.type != "data" or (s.frames != chapters and "timecode" not in s.metadata)]
    if left_out:
        said.append("left out: " + ", ".join(map(named, left_out)))
    has_packed_alpha = source.with_alpha and _alpha_decoder(video)
    if video.pix_fmt and plain_name(video.pix_fmt) != plain_name(first.format.name) and not has_packed_alpha:
        said.append(f"{video.pix_fmt} is converted to {first.format.name}")
    if not has_alpha(first.format.name) and (_alpha_decoder(video) or has_alpha(video.pix_fmt or "gray")):
        said.append("left out: alpha")
    said += _scan_remarks(source)
    return said


def _scan_remarks(source: Source) -> list[str]:
    """What the user should know of the film's fields."""
    scan, made = source.scan, source.frames_of_each
    if source.deinterlace == "off":
        is_interlaced = source.first.interlaced_frame
        return ["is interlaced and enlarged as if it were not; its edges comb"] if is_interlaced else []
    if scan.kind == "progressive":
        return ["is marked as interlaced, but its pictures are not; enlarged as it is"] if scan.is_flagged else []
    into = "a frame for each field" if made > 1 else "a frame for each"
    if scan.kind == "telecined":
        return [f"is telecined (24 frames a second as 60 fields); deinterlaced, {into}"]
    marked = "" if scan.is_flagged else ", though not marked so"
    return [f"is interlaced{marked}; deinterlaced, {into}"]


def start_time(container: InputContainer) -> float:
    """When the first stream starts, in seconds."""
    return (container.start_time or 0) / av.time_base


def whole_time(container: InputContainer) -> float:
    """How long the file says that it is, in seconds; 0: it does not say."""
    return (container.duration or 0) / av.time_base


def frame_count(source: Source, duration: float | None) -> int | None:
    """About how many frames start in the first `duration` seconds (None: in all); None: unknown."""
    of_each = max(source.frames_of_each, 1)
    if duration is None and source.video.frames:
        return of_each * source.video.frames
    seconds = min(whole_time(source.container), duration or math.inf)
    return of_each * round(seconds * (source.video.guessed_rate or 0)) or None


# --- frames and packets ---


def read(source: Source, duration: float = math.inf) -> Iterator[Item]:
    """The frames of the video and the packets of the streams that are copied, up to `duration` (seconds); at the end,
    warnings of what is damaged, missing or changed.
    """
    container, video = source.container, source.video
    decoder, damaged = Decoder(source), 0
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
    if decoder.combed:
        yield f"{decoder.combed} frames are marked as interlaced, which the start is not; enlarged as they are"
    if decoder.resized:
        yield f"changes its size; {decoder.resized} frames are scaled to that of the first"


def _starts_before(frame: av.VideoFrame, end: float) -> bool:
    """Of a frame from `Decoder`, which all have a time; end: in seconds."""
    return frame.pts is not None and frame.time_base is not None and frame.pts * frame.time_base < end


def packets_before(container: InputContainer, video: VideoStream, end: float) -> Iterator["Packet"]:
    """The packets that start before `end`, in seconds; stops reading when no video or audio can come any more."""
    streams = [stream for stream in container.streams if stream.index == video.index or is_copied(stream)]
    unended = {stream.index for stream in streams if stream.type in ("video", "audio") and not is_cover(stream)}
    for packet in container.demux(streams):
        if packet.dts is not None and packet.dts * packet.time_base >= end:
            unended.discard(packet.stream_index)
            if not unended:
                return
        elif packet.size:
            yield packet


class Decoder:
    """Decodes the packets of a video stream; counts those that are damaged, the frames of another size than the first,
    and those that are marked as interlaced and left so.
    """

    def __init__(self, source: Source) -> None:
        self.damaged, self.resized, self.combed = 0, 0, 0
        self._seen = source.seen
        self._video = source.video
        self._formats = PIXEL_FORMATS + (ALPHA_FORMATS if source.with_alpha else [])
        name = _alpha_decoder(source.video) if source.with_alpha else None
        context = av.CodecContext.create(name, "r") if name else source.video.codec_context
        assert isinstance(context, VideoCodecContext)
        self._context = context
        self._deinterlacer = Deinterlacer(source.scan, source.frames_of_each > 1) if source.frames_of_each else None
        self._looks = source.deinterlace != "off" and source.scan.kind == "progressive" and not source.scan.is_flagged
        self._first: av.VideoFrame | None = None
        self._last_pts: int | None = None

    def decode(self, packet: "Packet | None") -> list[av.VideoFrame]:
        """The frames that the packet completes (None: all that are left), each later than the one before it, of the
        first one's size, in one of PIXEL_FORMATS or ALPHA_FORMATS.
        """
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            self.damaged += 1
            frames = []
        self.damaged += any(frame.is_corrupt for frame in frames)
        self.combed += self._looks and sum(frame.interlaced_frame for frame in frames)
        for frame in frames:
            self._seen |= side_data_kinds(frame)
        ready = [self._in_order(self._uniform(frame)) for frame in frames]
        if self._deinterlacer is None:
            return ready
        ends = [None] if packet is None else []
        return list(chain.from_iterable(map(self._deinterlacer.frames, [*ready, *ends])))

    def _uniform(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._first = self._first or frame
        width, height = self._first.width, self._first.height
        self.resized += (frame.width, frame.height) != (width, height)
        return _converted(frame, width, height, _nearest_format(self._first.format.name, self._formats))

    def _in_order(self, frame: av.VideoFrame) -> av.VideoFrame:
        if frame.pts is None or (self._last_pts is not None and frame.pts <= self._last_pts):
            frame.pts = 0 if self._last_pts is None else self._last_pts + max(frame.duration, 1)
        self._last_pts, frame.time_base = frame.pts, self._video.time_base
        return frame


def _alpha_decoder(video: VideoStream) -> str | None:
    """The decoder that gives the alpha of a stream; None: it has none, or any decoder gives it."""
    return ALPHA_DECODERS.get(codec_of(video)) if video.metadata.get("alpha_mode") == "1" else None


def _nearest_format(name: str, formats: list[str]) -> str:
    """The pixel format that frames of the named one are enlarged in: itself, or the nearest of `formats`."""
    if plain_name(name) in formats:
        return name
    nearest, _ = find_best_pix_fmt_of_list(formats, name, has_alpha=True)
    return nearest.name if nearest else name


def _converted(frame: av.VideoFrame, width: int, height: int, pixel_format: str) -> av.VideoFrame:
    """The frame in that size and pixel format; itself where it has them. RGB becomes BT.601 in limited range."""
    if frame.format.is_rgb or frame.format.has_palette:
        return frame.reformat(width, height, pixel_format, dst_colorspace="ITU601", dst_color_range="MPEG")
    return frame.reformat(width, height, pixel_format)

"""A video read: what it holds, what the user should know of it, and its frames and packets in their order."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
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
from fsrcnn.videos.others import SEARCHED_MIB, codec_of, is_cover, named
from fsrcnn.videos.packets import Tally
from fsrcnn.videos.parts import Cuts
from fsrcnn.videos.summary import line_of, lines_of
from fsrcnn.videos.tags import ANY_TAGS

# FFmpeg's names of the containers that are read. It also knows playlists, scripts and devices, which open other files,
# and takes a file for one by its content, whatever its name is.
CONTAINERS = "asf,avi,flv,m4v,matroska,mov,mpeg,mpegts,mpegvideo,ogg"
OPEN_ALONE = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
HEADER_SAYS_DURATION = {"mov", "matroska", "avi"}  # formats; the duration of others is FFmpeg's estimate
# Formats whose streams are known once a packet of them is read. FFmpeg looks for them in 5 MB and 5 seconds.
WITHOUT_HEADER = {"mpeg", "mpegts", "flv"}
SEARCHED_SECONDS = 600
SEARCHED = {"probesize": str(SEARCHED_MIB << 20), "analyzeduration": str(SEARCHED_SECONDS * av.time_base)}
TOLERANCE = 0.5  # seconds that a whole file's streams may end before the time its header says
Packet: TypeAlias = "av.Packet[Stream]"
# The formats that can be sought in by what their headers say.
SOUGHT_IN = {"mov", "matroska"}
# Seconds before the frame that is sought, for frames that others depend on, and to skip by seeking, not decoding.
PREROLL, WORTH_SEEKING = 2.0, 5.0
LEAST_TIME = -(2**62)  # before any film's first frame, in any unit

# Decoders that give the alpha, which FFmpeg's own leave out, by the codec.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


class Source(NamedTuple):
    """An opened video, the stream of it that is enlarged, that stream's first frame, and what is made of its
    frames: deinterlaced or not, with alpha or without.
    """

    container: InputContainer
    video: VideoStream
    first: av.VideoFrame
    seen: set[str]  # the kinds of side data that its frames had, which decoding adds
    scan: Scan = Scan()
    deinterlace: Deinterlace = "off"
    with_alpha: bool = False
    chroma_location: str = LEFT

    @property
    def frames_of_each(self) -> int:
        """How many frames decoding gives for each one of the file; 0: itself."""
        return (1 + (self.deinterlace == "double")) * (self.deinterlace != "off" and self.scan.kind != "progressive")


@contextmanager
def open_source(path: Path, deinterlace: Deinterlace = "off", with_alpha: bool = False) -> Iterator[Source]:
    """Opens the video. Raises RequestError where there is none, or not one frame of it can be decoded.

    with_alpha: frames that have an alpha are given with it.
    """
    first, scan, location = _looked_into(path, deinterlace, with_alpha)
    with _open(path) as container:  # anew, so that it is read from the start
        video = _video_stream(container, path)
        yield Source(container, video, first, set(), scan, deinterlace, with_alpha, location)


def _looked_into(path: Path, deinterlace: Deinterlace, with_alpha: bool) -> tuple[av.VideoFrame, Scan, str]:
    """The video's first frame, its scan and where its chroma lies; its decoder is freed with all its frames."""
    with _open(path) as container:
        video = _video_stream(container, path)
        location = _chroma_location(container, video)
        read = frames(Source(container, video, av.VideoFrame(), set(), with_alpha=with_alpha))
        first = next(read, None)
        if first is None:
            raise RequestError(f"{path}: not one frame can be decoded; replace the file")
        is_looked_at = deinterlace != "off" and min(first.width, first.height) >= SMALLEST
        scan = scan_of(chain([first], read)) if is_looked_at else Scan()
        return first, scan, location


def _open(path: Path) -> InputContainer:
    if not path.is_file():
        raise RequestError(f"{path}: no such file")
    if not path.stat().st_size:
        raise RequestError(f"{path}: the file is empty; replace or remove it")
    try:
        # An absolute path is not taken for a URL.
        container = av.open(str(path.absolute()), "r", container_options=OPEN_ALONE, **ANY_TAGS)
        if container.format.name in WITHOUT_HEADER:
            container.close()
            container = av.open(str(path.absolute()), "r", container_options=OPEN_ALONE | SEARCHED, **ANY_TAGS)
        return container
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


def frame_count(container: InputContainer, video: VideoStream, start: float, duration: float | None) -> int | None:
    """About how many frames start in `duration` seconds from `start` on (None: to the end); None: unknown."""
    whole = whole_time(container)
    if video.frames and duration is None and not start:
        return video.frames
    seconds = min(max(whole - start, 0), duration or math.inf)
    return round(seconds * (video.guessed_rate or 0)) or None


def no_frame(path: Path) -> RequestError:
    """The error where what is taken of a film is shorter than a frame, or behind the last one."""
    return RequestError(f"start, duration: no frame of {path} begins in what they take; choose others")


def about_frames(path: Path, start: float, duration: float | None) -> int:
    """`frame_count` of a file; 0: it is unknown, or the file cannot be read."""
    try:
        with _open(path) as container:
            return frame_count(container, _video_stream(container, path), start, duration) or 0
    except RequestError:
        return 0


# --- frames ---


def frames(source: Source) -> Iterator[av.VideoFrame]:
    """The frames of the video from its start, as far as they can be decoded."""
    decoder = Decoder(source)
    try:
        for packet in _packets_of(source.container, source.video):
            yield from decoder.decode(packet)
    except av.FFmpegError:
        pass
    yield from decoder.decode(None)


def _packets_of(container: InputContainer, stream: Stream) -> Iterator["Packet"]:
    return (packet for packet in _demuxed(container, [stream]) if packet.size)


def _demuxed(container: InputContainer, streams: list[Stream]) -> Iterator["Packet"]:
    """The packets, and at the end one of no bytes for each stream."""
    with suppress(IndexError):  # PyAV's at the end of a file in which a stream began that was not known at the start
        yield from container.demux(streams)


class Begin(NamedTuple):
    """Comes before the frames of a part. before: the time of the film's frame before them, if there is one."""

    part: int
    before: int | None


class End(NamedTuple):
    """Comes after the frames of a part. last: the time of the last of them; None: there is none."""

    part: int
    last: int | None
    tally: Tally


PartItem: TypeAlias = "av.VideoFrame | Begin | End"


def read_parts(source: Source, cuts: Cuts, take: Callable[[], int | None], can_seek: bool) -> Iterator[PartItem]:
    """The frames of each part that `take` gives, until it gives None, the numbers ascending. Frames of one part follow
    those of the one before without another look at the file.
    """
    with _open(Path(source.container.name)) as container:
        video = _video_stream(container, Path(source.container.name))
        reader = FrameReader(source._replace(container=container, video=video), cuts, can_seek)
        while (part := take()) is not None:
            reader.skip_to(part)
            yield Begin(part, reader.before)
            last = None
            for frame in reader.frames_before(part + 1):
                last = frame.pts
                frame.pts = (frame.pts or 0) - cuts.shift_in(frame.time_base or Fraction(1))
                yield frame
            yield End(part, last, reader.tally())


class FrameReader:
    """Reads a video's frames from anywhere on, as they are when it is read from its start."""

    def __init__(self, source: Source, cuts: Cuts, can_seek: bool) -> None:
        self.before: int | None = None  # the time of the last frame that was passed over or given
        self._source, self._cuts, self._can_seek = source, cuts, can_seek
        self._decoder = Decoder(source)
        self._frames = self._decoded()
        self._held: av.VideoFrame | None = None
        self._position = -math.inf  # seconds that were read
        self._told = Tally()

    def skip_to(self, part: int) -> None:
        """Passes over the frames of the parts before this one."""
        begin = self._cuts.begins(part)
        is_far = begin > self._position + WORTH_SEEKING and begin - PREROLL > start_time(self._source.container)
        if self._can_seek and is_far:
            self._seek(begin)
        is_passed = False
        for frame in self.frames_before(part):
            self.before, is_passed = frame.pts, True
        if is_passed:
            self._told = self._decoder.tally

    def frames_before(self, part: int) -> Iterator[av.VideoFrame]:
        """The frames up to this part; the number of parts: to the end of what is taken."""
        while (frame := self._next()) is not None:
            if self._cuts.is_in(part, _time(frame), frame.key_frame):
                self._held = frame
                return
            self.before, self._position = frame.pts, _time(frame)
            yield frame

    def tally(self) -> Tally:
        """What was damaged, scaled or left interlaced since it was asked last, or since frames were passed over."""
        told, self._told = self._told, self._decoder.tally
        return self._told.minus(told)

    def _next(self) -> av.VideoFrame | None:
        held, self._held = self._held, None
        return next(self._frames, None) if held is None else held

    def _seek(self, begin: float) -> None:
        """Goes to a key frame some time before `begin`, so that all that frames depend on is decoded too. Where it
        leads elsewhere, the film is read from its start, or on from here.
        """
        container, video, was_at = self._source.container, self._source.video, self._position
        try:
            container.seek(int((begin - PREROLL) / (video.time_base or 1)), stream=video)
            self._restart()
            first = next(self._frames, None)
        except av.FFmpegError:
            first = None
        if first is None or _time(first) > begin - PREROLL:
            container.seek(LEAST_TIME, stream=video)
            self._restart()
            self._can_seek = False
        else:
            self._held = first
            # With key frames so far apart, seeking only reads the same again.
            self._can_seek = _time(first) > was_at

    def _restart(self) -> None:
        self._decoder, self._held, self._told, self.before = Decoder(self._source), None, Tally(), None
        self._frames = self._decoded()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        decoder = self._decoder
        try:
            for packet in _packets_of(self._source.container, self._source.video):
                yield from decoder.decode(packet)
        except av.FFmpegError:
            pass  # `Rest` counts it
        yield from decoder.decode(None)


def _time(frame: av.VideoFrame) -> float:
    """In seconds, of a frame from `Decoder`, which all have a time."""
    return float((frame.pts or 0) * (frame.time_base or 0))


class Timeline(NamedTuple):
    """When the film ends, in seconds, and whether it can be read from anywhere on."""

    end: float
    can_seek: bool


def timeline(source: Source) -> Timeline:
    """Where the file does not say it, all its packets are read; a film whose times do not ascend is not sought in."""
    container, video = source.container, source.video
    if set(container.format.name.split(",")) & SOUGHT_IN and container.duration:
        return Timeline(start_time(container) + whole_time(container), True)
    end, last, ascends = start_time(container), None, True
    with _open(Path(container.name)) as scanned:
        try:
            for packet in _packets_of(scanned, scanned.streams[video.index]):
                time = packet.dts if packet.pts is None else packet.pts
                ascends &= packet.pts is not None and packet.dts is not None and (last is None or packet.dts > last)
                last = packet.dts
                if time is not None:
                    end = max(end, float((time + (packet.duration or 0)) * packet.time_base))
        except av.FFmpegError:
            ascends = False
    return Timeline(end, ascends)


# --- the other streams ---


class Rest:
    """The packets of the streams that are copied, as the file has them beside the frames, and what is wrong with it."""

    def __init__(self, source: Source, cuts: Cuts) -> None:
        self.damaged = 0
        self._source, self._cuts = source, cuts
        self._reached = start_time(source.container)

    def packets(self) -> Iterator[tuple[float, "Packet | None"]]:
        """How far the file is read, in seconds of the result, and a packet that is copied, or None."""
        container, video = self._source.container, self._source.video
        clock = -math.inf
        try:
            for packet in packets_before(container, video, self._cuts.end):
                if packet.pts is not None:
                    time = float(packet.pts * packet.time_base)
                    self._reached = max(self._reached, time + float((packet.duration or 0) * packet.time_base))
                self.damaged += packet.is_corrupt
                if packet.dts is not None:
                    clock = max(clock, float(packet.dts * packet.time_base))
                is_taken = packet.stream_index != video.index and self._is_taken(packet)
                yield clock - self._cuts.shift, packet if is_taken else None
        except av.FFmpegError:
            self.damaged += 1

    def _is_taken(self, packet: "Packet") -> bool:
        """Whether the packet belongs to what is enlarged; it then gets its time there. Covers always do."""
        time = packet.dts if packet.pts is None else packet.pts
        if time is None or is_cover(packet.stream):
            return True
        if time * packet.time_base < self._cuts.start:
            return False
        shift = self._cuts.shift_in(packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        return True

    def warnings(self, tally: Tally) -> list[str]:
        """What the user should know, once all packets are read. tally: of the frames."""
        container = self._source.container
        late = len(lines_of(container)) - len(container.streams)
        said = [f"left out: {late} streams that begin after the first {SEARCHED_MIB} MiB"] if late > 0 else []
        return said + read_warnings(container, self._reached, self._cuts.end, self.damaged, tally)


def read_warnings(container: InputContainer, reached: float, end: float, packets: int, tally: Tally) -> list[str]:
    """What the user should know of a file that was read to its end, or to `end`. reached: the last time in it, both in
    seconds; packets: that are damaged.
    """
    damaged, said = packets + tally.damaged, []
    if damaged:
        said.append(f"damaged (packets: {damaged}); what could be decoded is kept")
    whole, formats = whole_time(container), set(container.format.name.split(","))
    if reached + TOLERANCE < whole <= end and HEADER_SAYS_DURATION & formats:
        said.append(f"cut off: {reached:.1f} of its {whole:.1f} seconds are there")
    if tally.combed:
        said.append(f"{tally.combed} frames are marked as interlaced, which the start is not; enlarged as they are")
    if tally.resized:
        said.append(f"changes its size; {tally.resized} frames are scaled to that of the first")
    return said


def packets_before(container: InputContainer, video: VideoStream, end: float) -> Iterator["Packet"]:
    """The packets that start before `end`, in seconds; stops reading when no video or audio can come any more."""
    streams = [stream for stream in container.streams if stream.index == video.index or is_copied(stream)]
    unended = {stream.index for stream in streams if stream.type in ("video", "audio") and not is_cover(stream)}
    for packet in _demuxed(container, streams):
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
        self._damaged, self._resized, self._combed = 0, 0, 0
        self._seen = source.seen
        self._video = source.video
        self._formats = PIXEL_FORMATS + (ALPHA_FORMATS if source.with_alpha else [])
        name = _alpha_decoder(source.video) if source.with_alpha else None
        context = av.CodecContext.create(name, "r") if name else source.video.codec_context
        assert isinstance(context, VideoCodecContext)
        self._context = context
        self._deinterlacer = Deinterlacer(source.scan, source.frames_of_each > 1) if source.frames_of_each else None
        self._looks = source.deinterlace != "off" and source.scan.kind == "progressive" and not source.scan.is_flagged
        self._first = source.first if source.first.width else None  # nowhere but in the search for it
        self._last_pts: int | None = None

    @property
    def tally(self) -> Tally:
        return Tally(self._damaged, self._resized, self._combed)

    def decode(self, packet: "Packet | None") -> list[av.VideoFrame]:
        """The frames that the packet completes (None: all that are left), each later than the one before it, of the
        first one's size, in one of PIXEL_FORMATS or ALPHA_FORMATS.
        """
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            self._damaged += 1
            frames = []
        self._damaged += any(frame.is_corrupt for frame in frames)
        self._combed += self._looks and sum(frame.interlaced_frame for frame in frames)
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
        self._resized += (frame.width, frame.height) != (width, height)
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

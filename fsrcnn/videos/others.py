"""The streams beside the one that is enlarged: copied, converted where the container cannot hold them, or left out.

What a container holds is asked of FFmpeg: the stream is put into an empty one of the same format, in memory.
"""

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.subtitles.stream import SubtitleStream

from fsrcnn.videos.summary import line_of
from fsrcnn.videos.tags import stream_tags

Packet: TypeAlias = "av.Packet[Stream]"

# Encoders in the order in which they are tried. The lossless ones are for sound that is stored without loss.
LOSSLESS, LOSSY = ("flac", "alac"), ("aac", "libopus", "libmp3lame", "mp2", "wmav2")
STORED_WHOLE = ("pcm_", "flac", "alac", "wavpack", "truehd", "mlp", "tta", "ape", "shorten")
TEXTS = ("subrip", "mov_text", "webvtt")
IS_TEXT = {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "microdvd", "sami", "subviewer", "stl"}
BIT_RATE = 96_000  # of a channel
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # FFmpeg's default ones
SEARCHED_MIB = 64  # of the start of a file, for all that a stream's packets alone tell
OPUS_RATE = 48_000  # hertz, of all that Opus takes the one that keeps most
MADE = {"libopus": "opus", "libmp3lame": "mp3"}  # the codecs of encoders that have other names

# FFmpeg's MPEG streams take whatever they are given, as data that nothing can play. What they do hold:
MPEG = {
    "mpegts": {
        *("mp1", "mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "truehd", "opus", "s302m"),
        *("dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"),
    },
    "mpeg": {"mp1", "mp2", "mp3", "ac3", "dts", "pcm_s16be", "pcm_dvd", "dvd_subtitle"},
}
STOPPED_BY_ORDER = {"flv"}  # the format in which FFmpeg ends the process at speakers in an order of the file's own
ATTACHMENTS = {"matroska"}  # the formats that hold files such as fonts
COVERS = {"mp4"}  # the format that holds a picture as a stream; Matroska holds it as a file
COVER_TYPES = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}


class Carrier(ABC):
    """Takes one stream's packets into the output."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    @abstractmethod
    def packets(self, packet: "Packet | None") -> Iterator[Packet]:
        """The packets to write for one that was read; None: for those that are still kept back."""


class Copy(Carrier):
    """The packets as they are."""

    def packets(self, packet: "Packet | None") -> Iterator[Packet]:
        if packet is not None:
            packet.stream = self.stream
            yield packet


class Sound(Carrier):
    """Sound decoded and encoded."""

    def __init__(self, source: AudioStream, stream: AudioStream) -> None:
        super().__init__(stream)
        self._source, self._target = source, stream

    def packets(self, packet: "Packet | None") -> Iterator[Packet]:
        try:
            frames = self._source.decode(packet)
        except av.FFmpegError:  # damaged; what can be decoded is kept
            frames = []
        for frame in frames:
            yield from self._target.encode(frame)
        if packet is None:
            yield from self._target.encode(None)


class Text(Carrier):
    """Subtitles of one kind of text written as another."""

    def __init__(self, source: SubtitleStream, stream: SubtitleStream) -> None:
        super().__init__(stream)
        self._source, self._target = source, stream

    def packets(self, packet: "Packet | None") -> Iterator[Packet]:
        if packet is None:
            return
        try:
            lines = self._source.codec_context.decode2(packet)
        except av.FFmpegError:  # damaged
            return
        if lines is None or not len(lines):  # the gap between two, which QuickTime's text has packets for
            return
        written = self._target.codec_context.encode_subtitle(lines)
        made: Packet = av.Packet(bytes(written))
        made.pts, made.dts, made.duration, made.time_base = packet.pts, packet.pts, packet.duration, packet.time_base
        made.stream = self.stream
        yield made


Adding: TypeAlias = "Callable[[OutputContainer], Carrier]"


class Others:
    """The other streams of an output; `carriers` takes each one's packets, by the index of the source's stream."""

    def __init__(self, output: OutputContainer) -> None:
        self.carriers: dict[int, Carrier] = {}
        self._output, self._format = output, output.format.name
        self._accepted: list[Adding] = []
        self._converted: list[str] = []
        self._left_out: list[str] = []
        self._unknown: list[str] = []

    def add(self, stream: Stream) -> None:
        """Adds the stream in the best way that the container allows, together with those that it has."""
        if isinstance(stream, AudioStream) and not stream.codec_context.sample_rate:
            self._unknown.append(named(stream))
            return
        for adding, codec in _ways(stream, self._format):
            is_file = stream.type == "attachment"  # which is not tried: many fonts are many megabytes
            if is_file or _holds(self._format, [*self._accepted, adding]):
                self._accepted += [] if is_file else [adding]
                self.carriers[stream.index] = adding(self._output)
                if codec:
                    self._converted.append(f"{named(stream)} is converted to {codec}")
                return
        self._left_out.append(named(stream))

    def said(self) -> list[str]:
        """A line for each stream that is converted, and one for those that are left out for the same reason."""
        left_out = {
            "the container cannot hold it": self._left_out,
            f"the first {SEARCHED_MIB} MiB do not tell what it is": self._unknown,
        }
        return self._converted + [f"left out, as {why}: {', '.join(names)}" for why, names in left_out.items() if names]


def named(stream: Stream) -> str:
    """The stream in a message."""
    kind = {"audio": "sound", "subtitle": "subtitles"}.get(stream.type, stream.type)
    return (
        f"stream {stream.index} ({' '.join(filter(None, ['cover' if is_cover(stream) else kind, codec_of(stream)]))})"
    )


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of the stream's codec; empty: it has none."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def is_cover(stream: Stream) -> bool:
    """Whether a stream of video is a picture that belongs to the file."""
    return bool(stream.disposition & Disposition.attached_pic)


def _ways(stream: Stream, container: str) -> Iterator[tuple[Adding, str]]:
    """The ways to take the stream along, the best first, and what it becomes; empty: itself."""
    codec = codec_of(stream)
    if stream.type == "attachment" and container not in ATTACHMENTS:
        return
    has_own_order = isinstance(stream, AudioStream) and _has_own_order(stream)
    if codec in MPEG.get(container, {codec}) and not (has_own_order and container in STOPPED_BY_ORDER):
        yield partial(_copied, template=stream), ""
    if isinstance(stream, AudioStream) and not has_own_order:
        for name in (LOSSLESS if codec.startswith(STORED_WHOLE) else ()) + LOSSY:
            if (made := MADE.get(name, name)) in MPEG.get(container, {made}):
                yield partial(_sound, source=stream, encoder=name), name
    if isinstance(stream, SubtitleStream) and codec in IS_TEXT and container not in MPEG:
        for name in TEXTS:
            yield partial(_text, source=stream, encoder=name), name


def _holds(container: str, additions: list[Adding]) -> bool:
    """Whether a file of the format takes these streams together."""
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial, av.logging.Capture():
            for add in additions:
                add(trial)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):  # PyAV's word for what the format has no name for, and FFmpeg's refusal
        return False
    return True


def _copied(output: OutputContainer, template: Stream) -> Carrier:
    added: Any = output.add_stream_from_template(template, opaque=True)
    if isinstance(template, AudioStream) and not _has_own_order(template):
        added.codec_context.layout = _layout(template)
    return Copy(_like(template, added))


def _sound(output: OutputContainer, source: AudioStream, encoder: str) -> Carrier:
    rate = OPUS_RATE if encoder == "libopus" else source.codec_context.sample_rate
    added = output.add_stream(encoder, rate=rate)
    assert isinstance(added, AudioStream)
    context = added.codec_context
    context.layout = _layout(source)
    if encoder not in LOSSLESS:
        context.bit_rate = BIT_RATE * source.codec_context.channels
    elif _bytes_of(source) > 2:
        context.format = "s32" if encoder == "flac" else "s32p"
    return Sound(source, _like(source, added))


def _has_own_order(source: AudioStream) -> bool:
    """Whether the speakers have an order of the file's own. PyAV up to 18.1 frees that twice if it is asked for it, and
    the process ends; such sound is only copied.
    """
    return bool(re.search(r", \d+ channels \(", line_of(source.container, source)))


def _layout(source: AudioStream) -> str:
    """The name of the speakers' layout; PCM has a number of channels alone, which MP4 and encoders refuse."""
    context = source.codec_context
    return (
        LAYOUTS.get(context.channels, context.layout.name) if "channels" in context.layout.name else context.layout.name
    )


def _bytes_of(source: AudioStream) -> int:
    return source.codec_context.format.bytes


def _text(output: OutputContainer, source: SubtitleStream, encoder: str) -> Carrier:
    added = output.add_stream(encoder)
    assert isinstance(added, SubtitleStream)
    source.codec_context.open(strict=False)  # from when on the header is known
    added.codec_context.subtitle_header = source.codec_context.subtitle_header
    return Text(source, _like(source, added))


def _like(source: Stream, added: Any) -> Any:
    """The added stream with the source's tags and purpose."""
    added.disposition = source.disposition
    added.metadata.update(stream_tags(source.metadata))
    return added

"""Films that come from elsewhere than a film's file, or go elsewhere: pipes of YUV4MPEG2, rows of numbered pictures.

Each way in gives a `Reel`, and each way out takes one, so that every pair works. The steps overlap as in upscale.py.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeAlias, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from tqdm import tqdm

from fsrcnn.ahead import ahead, map_ahead, number_ahead
from fsrcnn.errors import RequestError
from fsrcnn.files import written_whole
from fsrcnn.network import Network
from fsrcnn.sizes import Size, Steps
from fsrcnn.stamp import stamp
from fsrcnn.videos import Deinterlace, numbered, rgb, y4m
from fsrcnn.videos.deinterlace import SMALLEST, Deinterlacer, Scan
from fsrcnn.videos.frames import (
    LEFT,
    FrameSize,
    bits_of,
    bytes_of,
    frame_size,
    is_full_range,
    repeat_edge,
    sample_planes,
    side_data,
    sized,
)
from fsrcnn.videos.kept import carried, lost
from fsrcnn.videos.parts import Cuts, cut
from fsrcnn.videos.source import (
    FrameReader,
    Source,
    frame_count,
    no_frame,
    open_source,
    read_warnings,
    remarks,
    start_time,
)
from fsrcnn.videos.target import FRAME_RATE, MOST_OF_SHAPE, Encoding, finish, open_target, set_up
from fsrcnn.videos.upscale import repeated, steps_for

WHOLE_ROTATION = 9  # numbers of a display matrix

ALL = Cuts(-math.inf, math.inf, 0, seconds=math.inf, number=1, shift=0)
Made = TypeVar("Made")
Item: TypeAlias = "av.VideoFrame | str"  # a frame or, at the end, a warning


def _as_it_is(frame: av.VideoFrame) -> av.VideoFrame:
    return frame


class Reel(NamedTuple):
    """A film that comes in. number: about how many frames there are, None: unknown. said: what the user should know.

    begins: when the first frame is due, in seconds. fields: of the frames as they come, see `y4m.Header`. broken: once
    all items are taken, tells why there are not more; empty: there are not. stop: lets a thread that waits for items go
    on. to_encode: a frame, enlarged, as a film's file gets it.
    """

    source: Source
    items: Iterator[Item]
    number: int | None
    said: tuple[str, ...] = ()
    begins: float = 0
    fields: str = y4m.PROGRESSIVE
    broken: Callable[[], str] = str
    stop: Callable[[], object] = str
    to_encode: Callable[[av.VideoFrame], av.VideoFrame] = _as_it_is

    @property
    def rate(self) -> Fraction:
        """Frames a second."""
        return (self.source.video.guessed_rate or FRAME_RATE) * max(self.source.frames_of_each, 1)


# --- ways in ---


@contextmanager
def film_reel(
    path: Path, deinterlace: Deinterlace, duration: float | None, with_alpha: bool, start: float = 0
) -> Iterator[Reel]:
    """A film's file, `duration` seconds of it from `start` on; its sound and all else stay behind. Raises RequestError
    where `open_source` does, and if no frame begins in them.
    """
    with open_source(path, deinterlace, with_alpha) as source:
        first = start_time(source.container)
        cuts = cut(first, first + start, start, duration)  # in one part
        said = ("its sound, subtitles and other streams are left out",) if len(source.container.streams) > 1 else ()
        number = frame_count(source.container, source.video, start, duration)
        number = number and number * max(source.frames_of_each, 1)
        items = _film_items(source, cuts)
        if not isinstance(taken := next(items, None), av.VideoFrame):
            raise no_frame(path)
        yield Reel(source, chain([taken], items), number, said, begins=first + start)


def _film_items(source: Source, cuts: Cuts) -> Iterator[Item]:
    """The frames, then what the user should know of the file."""
    reader, reached = FrameReader(source, cuts, can_seek=False), start_time(source.container)
    reader.skip_to(0)
    for frame in reader.frames_before(cuts.number):
        reached = float(((frame.pts or 0) + frame.duration) * (frame.time_base or 0))
        yield frame
    yield from read_warnings(source.container, reached, cuts.end, 0, reader.tally())


@contextmanager
def y4m_reel(incoming: y4m.Incoming, name: str, deinterlace: Deinterlace, duration: float | None) -> Iterator[Reel]:
    """A film of YUV4MPEG2. It is read once, so its header alone says whether it is interlaced.

    Raises RequestError, naming `name`, if it is none, or has no frame.
    """
    reader = y4m.Reader(io.BufferedReader(incoming, y4m.READ_AT_ONCE), name)
    header, frames = reader.header, reader.frames()
    if (first := next(frames, None)) is None:
        raise RequestError(reader.broken or f"{name}: holds no frame")
    is_interlaced = header.fields in (y4m.TOP_FIRST, y4m.BOTTOM_FIRST) and min(first.width, first.height) >= SMALLEST
    scan = Scan("interlaced", True, header.fields == y4m.TOP_FIRST) if is_interlaced else Scan()
    rate = header.rate or y4m.DEFAULT_RATE
    frames, number = _first_seconds(chain([first], frames), rate, duration)
    with _stub(header._replace(rate=rate)) as (container, video):
        source = Source(container, video, first, set(), scan, deinterlace, False, header.chroma_location)
        fields, said = header.fields, []
        if source.frames_of_each:
            deinterlacer, fields = Deinterlacer(scan, source.frames_of_each > 1), y4m.PROGRESSIVE
            frames = chain.from_iterable(map(deinterlacer.frames, chain(frames, [None])))
        elif fields != y4m.PROGRESSIVE:
            said.append("is interlaced and enlarged as if it were not; its edges comb")
        if header.rate is None:
            said.append(f"does not say its frame rate; taken for {rate}")
        yield Reel(source, frames, number, tuple(said), 0, fields, lambda: reader.broken, incoming.stop)


@contextmanager
def row_reel(row: numbered.Row, rate: Fraction, duration: float | None, is_subsampled: bool) -> Iterator[Reel]:
    """A row of numbered pictures, `rate` a second. Raises as `numbered.frame_at` does.

    is_subsampled: once enlarged they become 4:2:0, which all players take; else they stay without subsampling.
    """
    _, has_alpha = numbered.pixels_of(row.paths[0])
    first = numbered.frame_at(row.paths[0], None)
    taken, most = _first_seconds(numbered.frames_of(row, first), rate, duration)
    frames = (_timed(frame, at, rate) for at, frame in enumerate(taken))
    like = _subsampled_like(first) if is_subsampled else first
    with _stub(y4m.header_of(like, LEFT, rate, y4m.PROGRESSIVE, Fraction(1))) as (container, video):
        number = len(row.paths) if most is None else min(most, len(row.paths))
        said = ("the pictures' alpha is left out",) if has_alpha else ()
        to_encode = subsampled if is_subsampled else _as_it_is
        yield Reel(Source(container, video, like, set()), frames, number, said, to_encode=to_encode)


def _first_seconds(
    frames: Iterator[av.VideoFrame], rate: Fraction, seconds: float | None
) -> tuple[Iterator[av.VideoFrame], int | None]:
    """The frames that start in the first seconds, and how many that are at most; None: all of them."""
    number = None if seconds is None else max(math.ceil(seconds * rate - 1e-6), 1)
    return islice(frames, number), number


@contextmanager
def _stub(header: y4m.Header) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A film of one frame in memory: it tells FFmpeg what frames that come from elsewhere are."""
    content = io.BytesIO()
    black = av.VideoFrame(header.width, header.height, header.pixel_format)
    content.write(header.line + y4m.FRAME + b"\n" + b"".join(plane.tobytes() for plane in sample_planes(black)))
    content.seek(0)
    with av.open(content, "r", format="yuv4mpegpipe") as container:
        yield container, container.streams.video[0]


def _timed(frame: av.VideoFrame, number: int, rate: Fraction) -> av.VideoFrame:
    frame.pts, frame.duration, frame.time_base = number, 1, 1 / rate
    return frame


def _subsampled_like(frame: av.VideoFrame) -> av.VideoFrame:
    """An empty frame of that size and those colours, in 4:2:0."""
    made = av.VideoFrame(frame.width, frame.height, _subsampled_format(frame))
    made.color_range, made.colorspace = frame.color_range, frame.colorspace
    made.color_primaries, made.color_trc = frame.color_primaries, frame.color_trc
    return made


def _subsampled_format(frame: av.VideoFrame) -> str:
    return "yuv420p" if bits_of(frame) == 8 else "yuv420p10le"


def subsampled(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame of yuv444p or yuv444p10le as 4:2:0, made even by repeating the last row or column."""
    width, height = (frame.width + 1) // 2 * 2, (frame.height + 1) // 2 * 2
    even = frame
    if (width, height) != (frame.width, frame.height):
        even = av.VideoFrame(width, height, frame.format.name)
        for plane, into in zip(sample_planes(frame), sample_planes(even), strict=True):
            into[: frame.height, : frame.width] = plane
            repeat_edge(into, frame.height, frame.width)
    small = even.reformat(format=_subsampled_format(frame), interpolation="BICUBIC")
    return _at_time_of(frame, small)


def _at_time_of(frame: av.VideoFrame, made: av.VideoFrame) -> av.VideoFrame:
    made.pts, made.duration = frame.pts, frame.duration
    if frame.time_base is not None:
        made.time_base = frame.time_base
    return made


# --- ways out ---


class Making(NamedTuple):
    """How a film's frames are enlarged: in the network's threads, by the steps, to the size."""

    network: Network
    steps: Steps
    size: FrameSize


def making_of(
    reel: Reel, name: str, network: Network, size: Size | None = None, strength: Callable[[], float] | None = None
) -> tuple[Making, list[str]]:
    """How the reel is enlarged, and what the user should know of it. Arguments as for `upscale_video`; name: the
    film's, for messages. Raises RequestError for a size out of reach.
    """
    first = reel.source.first
    steps, said = steps_for(size, network, first, Path(name))
    if strength and steps.networks:
        steps = steps.restoring(strength())
    frame = frame_size(first, steps)
    return Making(network, steps, frame), [*reel.said, *remarks(reel.source), *said, *repeated(steps, frame)]


@contextmanager
def made_ahead(
    reel: Reel, making: Making, make: Callable[[int, av.VideoFrame], Made]
) -> Iterator[Iterator[Made | Item]]:
    """What `make` makes of each frame and its number, in the network's threads, a few frames ahead; warnings stay."""
    numbers, size = count(), bytes_of(reel.source.first, making.size.width, making.size.height)

    def task(item: tuple[int, Item]) -> Made | Item:
        number, frame = item
        return make(number, frame) if isinstance(frame, av.VideoFrame) else frame

    items = ((next(numbers) if isinstance(item, av.VideoFrame) else -1, item) for item in reel.items)
    with (
        ahead(items) as taken,
        map_ahead(task, taken, making.network.pool, number_ahead(making.network.threads, size)) as made,
    ):
        try:
            yield made
        except BaseException:
            reel.stop()
            raise


def _bar(number: int | None) -> "tqdm[NoReturn]":
    return tqdm(total=number, unit="frame", dynamic_ncols=True, disable=None)


class Written(NamedTuple):
    """How many frames were written, how many were there already, and what the user should know."""

    frames: int
    there: int
    warnings: list[str]


def to_film(reel: Reel, making: Making, target: Path, encoding: Encoding) -> Written:
    """Writes a film's file, whole or not at all. Raises as `upscale_video` does."""
    source, (_, steps, size) = reel.source, making
    full_range, frames, warnings = is_full_range(source.first), 0, []
    with written_whole(target) as unfinished:
        with open_target(unfinished, target, source) as output, _bar(reel.number) as bar:
            made = set_up(output, target, source, size, encoding, ALL)
            kept, location = carried(made.written.codec, source), source.chroma_location
            warnings += made.said

            def make(_: int, lr: av.VideoFrame) -> av.VideoFrame:
                return reel.to_encode(sized(lr, steps, full_range, location, kept))

            with made_ahead(reel, making, make) as items:
                for item in items:
                    if isinstance(item, str):
                        warnings.append(item)
                    elif isinstance(item, av.VideoFrame):
                        output.mux(made.encoder.encode(item))
                        frames += 1
                        bar.update()
            output.mux(made.encoder.encode(None))
        finish(unfinished, made)
        warnings += lost(source, made.written, unfinished, ALL)
        stamp(unfinished, size.factor)
    return Written(frames, 0, warnings)


def to_y4m(reel: Reel, making: Making, out: y4m.Outgoing) -> Written:
    """Writes YUV4MPEG2 at a constant rate: frames of a film whose times vary are repeated or left out.

    Raises FailureError where the other program does not take it any more.
    """
    source, (_, steps, size) = reel.source, making
    first, full_range, warnings = source.first, is_full_range(source.first), []
    if first.rotation:
        warnings.append(f"is turned by {first.rotation} degrees, which YUV4MPEG2 cannot say; it is written unturned")
    shape = source.video.sample_aspect_ratio or None
    if size.stretch != 1:
        shape = ((shape or 1) * size.stretch).limit_denominator(MOST_OF_SHAPE)
    header = y4m.header_of(first, source.chroma_location, reel.rate, reel.fields, shape)

    def make(_: int, lr: av.VideoFrame) -> av.VideoFrame:
        return sized(lr, steps, full_range, source.chroma_location)

    out.write(header._replace(width=size.width, height=size.height).line)
    steady = Steady(reel.rate, reel.begins)
    with made_ahead(reel, making, make) as items, _bar(reel.number) as bar:
        for item in items:
            if isinstance(item, str):
                warnings.append(item)
            elif isinstance(item, av.VideoFrame):
                for frame in steady.frames(item):
                    y4m.write_frame(out, frame)
                bar.update()
        for frame in steady.frames(None):
            y4m.write_frame(out, frame)
    return Written(steady.written, 0, warnings + steady.said())


class Steady:
    """Frames at a constant rate: each is repeated until the next one's time, and left out if that is there already."""

    def __init__(self, rate: Fraction, start: float) -> None:
        self._rate, self._start = rate, start
        self._waiting: av.VideoFrame | None = None
        self.written, self._repeated, self._left_out = 0, 0, 0

    def frames(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """The frames that are due before this one; None: at the end."""
        waiting, self._waiting = self._waiting, frame
        if waiting is None:
            return
        times = 1 if frame is None else self._due(frame) - self.written
        self._left_out += times < 1
        self._repeated += max(times - 1, 0)
        for _ in range(times):
            self.written += 1
            yield waiting

    def _due(self, frame: av.VideoFrame) -> int:
        """Which frame of the constant rate this one is."""
        time = float((frame.pts or 0) * (frame.time_base or 0)) - self._start
        return math.floor(time * self._rate + 0.5)

    def said(self) -> list[str]:
        if not self._repeated + self._left_out:
            return []
        return [
            f"its times vary: for {self._rate} frames a second {self._repeated} are repeated and "
            f"{self._left_out} left out"
        ]


def to_pictures(reel: Reel, making: Making, folder: Path, mark: str, overwrite: bool) -> Written:
    """Writes each frame as a PNG file, upright, of 8 bits or, from 10, of 16; those that are there are left alone.

    mark: tells this film and request from others; empty: nothing does. Raises RequestError where the folder holds other
    frames, FailureError where writing fails.
    """
    source, (_, steps, size) = reel.source, making
    first, full_range, warnings = source.first, is_full_range(source.first), []
    there = numbered.check_folder(folder, mark, overwrite)
    data = side_data(first).get("DISPLAYMATRIX")
    display = np.frombuffer(data, np.int32)[:WHOLE_ROTATION] if data else None
    if rgb.turned(np.empty((1, 1, 1), np.uint8), display) is None:
        warnings.append("is turned by no multiple of 90 degrees; its frames are written as they are")
        display = None
    aspect = ((source.video.sample_aspect_ratio or 1) * size.stretch).limit_denominator(MOST_OF_SHAPE)
    shape = (aspect.numerator, aspect.denominator)
    if display is not None and not display[0]:
        shape = shape[::-1]
    chunks, matrix = numbered.chunks_of(first, shape, mark), rgb.matrix_of(first)

    def make(number: int, lr: av.VideoFrame) -> bool:
        if (name := numbered.name_of(number)) in there:
            return False
        sr = sized(lr, steps, full_range, source.chroma_location)
        pixels = rgb.picture_of(sr, matrix, full_range, source.chroma_location)
        upright = rgb.turned(pixels, display)
        assert upright is not None
        numbered.write_frame(folder / name, upright, chunks, size.factor)
        return True

    done = [0, 0]
    with made_ahead(reel, making, make) as items, _bar(reel.number) as bar:
        for item in items:
            if isinstance(item, str):
                warnings.append(item)
            else:
                done[bool(item)] += 1
                bar.update()
    return Written(done[True], done[False], warnings)

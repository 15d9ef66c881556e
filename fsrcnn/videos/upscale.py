"""One video enlarged into another, everything else of the file kept.

A film is made in parts (parts.py), each in three steps, in threads of their own and a few frames ahead of the next:
`read_parts` (demultiplex and decode), `sized` (the network) and `_make_parts` (encode). The end of a part is encoded
while the next one begins. Once all parts are there, `_join` writes them into the container, together with the packets
of the other streams.

On a CPU several frames are enlarged at a time, by one thread each, so that none has to wait for the others' parts of
its frame.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
from tqdm import tqdm

from fsrcnn.ahead import ahead, map_ahead, number_ahead
from fsrcnn.errors import FailureError, RequestError
from fsrcnn.files import full_disk_named, written_whole
from fsrcnn.network import Network
from fsrcnn.sizes import Size, Steps, steps_to
from fsrcnn.stamp import stamp
from fsrcnn.videos import DEINTERLACE, Deinterlace
from fsrcnn.videos.frames import FrameSize, bytes_of, frame_size, is_full_range, sized, subsampling
from fsrcnn.videos.kept import carried, lost
from fsrcnn.videos.packets import Footer, Tally, write_footer, write_packets
from fsrcnn.videos.parts import LEAST_SECONDS, Cuts, Parts, Run, cut, is_joined, new_run
from fsrcnn.videos.source import (
    Begin,
    End,
    PartItem,
    Rest,
    Source,
    Timeline,
    frame_count,
    no_frame,
    open_source,
    read_parts,
    remarks,
    start_time,
    timeline,
)
from fsrcnn.videos.target import (
    Encoding,
    encoder_of,
    encoding_error,
    finish,
    joined_packets,
    open_encoder,
    open_target,
    set_up,
    takes_alpha,
    write,
)


@dataclass(frozen=True)
class VideoResult:
    """What `upscale_video` has done: how many frames the film has (None: another process of the run completes it), and
    a line for each thing that the user should know.
    """

    frames: int | None
    warnings: tuple[str, ...]


class Film(NamedTuple):
    """What is to be made of a video: of which part of it, by which steps, frames of which size, how encoded."""

    source: Source
    target: Path
    cuts: Cuts
    steps: Steps
    size: FrameSize
    encoding: Encoding


def upscale_video(
    source: Path,
    target: Path,
    network: Network,
    codec: str | None = None,
    quality: int | None = None,
    preset: str | None = None,
    duration: float | None = None,
    deinterlace: Deinterlace = "auto",
    size: Size | None = None,
    strength: Callable[[], float] | None = None,
    start: float = 0.0,
    run: Run | None = None,
    bar: "tqdm[Any] | None" = None,
) -> VideoResult:
    """Enlarges the video `source` into the file `target`, whose suffix chooses the container.

    size: as the film is shown, turned if it is; None: the network's scale. Where chroma is subsampled it becomes even.
    A film that is as large already is copied, if nothing else is asked for; a larger one is reduced. strength: chooses
    how strongly it is restored, where a network enlarges it; None: not at all.
    codec: FFmpeg's name of the encoder; None: libx264, or what suits the container if it cannot hold H.264.
    quality: its constant rate factor (0 is the best); preset: its name or number for a speed; None: its own defaults.
    start, duration: seconds of every stream, from its start on and of what is taken; None: all.
    deinterlace: "auto" deinterlaces a film that is interlaced, one frame for each; "double" makes one for each field;
    "off" enlarges the frames as they are.
    run: the processes that share the film; None: this one alone. bar: counts the frames; None: one of its own.

    Everything that the file holds is kept, or a warning says that it is converted or left out. Of a damaged video, what
    can be decoded is kept. Where subsampled chroma needs an even size and the enlarged frame is odd, the last row or
    column is repeated. `target` is written whole or not at all; a file of that name is replaced. The parts of it that
    are finished when it is interrupted stay beside it, and the same call goes on from there.

    Raises RequestError for what cannot be read, encoded or held as asked, FailureError where writing fails.
    """
    _check(duration, start, deinterlace)
    run = run or new_run()
    if is_joined(target, run):
        return VideoResult(None, ())
    encoding = Encoding(codec, quality, preset)
    with open_source(source, deinterlace, takes_alpha(target, encoder_of(target, encoding))) as opened:
        if target.exists() and target.samefile(source):
            raise RequestError(f"{target}: is the source itself; choose another name")
        is_all = (codec, quality, preset, duration, start) == (None, None, None, None, 0) and not opened.frames_of_each
        can_copy = is_all and source.suffix.lower() == target.suffix.lower()
        steps, said = steps_for(size, network, opened.first, source, can_copy)
        if strength and steps.networks:
            steps = steps.restoring(strength())
        frame = frame_size(opened.first, steps)
        if steps.is_copy and can_copy:
            return _copied(source, target, run, opened.video.frames, said)
        said = remarks(opened) + said + repeated(steps, frame)
        first = start_time(opened.container)
        is_short = duration is not None and duration < 2 * LEAST_SECONDS and not start
        end, can_seek = Timeline(float("inf"), False) if is_short else timeline(opened)
        if start and first + start >= end:
            raise RequestError(f"start: got {start:g} seconds, and {source} has {end - first:.1f}; start earlier")
        film = Film(opened, target, cut(first, end, start, duration), steps, frame, encoding)
        expected = frame_count(opened.container, opened.video, start, duration)
        with ExitStack() as stack:
            if bar is None:
                bar = stack.enter_context(tqdm(total=expected, unit="frame", dynamic_ncols=True, disable=None))
            if bar.total is not None:
                bar.total += (expected or 0) * (max(opened.frames_of_each, 1) - 1)
            return _upscale(film, run, network, can_seek, bar, said)


def _check(duration: float | None, start: float, deinterlace: str) -> None:
    if duration is not None and not duration > 0:
        raise RequestError(f"duration: got {duration}, expected seconds above 0")
    if not 0 <= start < float("inf"):
        raise RequestError(f"start: got {start}, expected seconds, 0 or more")
    if deinterlace not in DEINTERLACE:
        raise RequestError(f"deinterlace: got {deinterlace!r}, expected {', '.join(DEINTERLACE)}")


def _copied(source: Path, target: Path, run: Run, frames: int, said: list[str]) -> VideoResult:
    """Copies the film as it is, in one process of the run."""
    parts = Parts(target, 1, {"size": "the source's"}, run)
    with parts.opened():
        if parts.take() is None:
            return VideoResult(None, ())
        with written_whole(target) as unfinished:
            shutil.copyfile(source, unfinished)
            stamp(unfinished, 1)
        parts.remove()
    return VideoResult(frames, (*parts.warnings, *said))


def _upscale(film: Film, run: Run, network: Network, can_seek: bool, bar: "tqdm[Any]", said: list[str]) -> VideoResult:
    """Makes the parts that are to be made here, and joins them if they are the last ones."""
    parts = Parts(film.target, film.cuts.number, _settings(film), run)
    with parts.opened():
        container = _tried(film, parts)
        there = parts.news()
        if there and not bar.disable:
            bar.initial += there  # which are no part of its speed
            bar.update(there)
        try:
            _make_parts(film, parts, network, container, can_seek, parts.take, bar)
            if not parts.take_join():
                return VideoResult(None, ())
            while gaps := parts.gaps():
                if not can_seek:
                    raise FailureError(f"{film.target}: its source cannot be read twice alike; copy it to another disk")
                can_seek, again = False, partial(next, iter(gaps), None)
                _make_parts(film, parts, network, container, can_seek, again, bar)
            if not any(footer.frames for footer in parts.footers()):
                parts.remove()
                raise no_frame(Path(film.source.container.name))
            result = _join(film, parts)
        except Exception:
            parts.fail()
            raise
        parts.remove()
    return VideoResult(result.frames, (*parts.warnings, *said, *result.warnings))


def _settings(film: Film) -> dict[str, Any]:
    """All that the frames of a part depend on, by names for a user."""
    source, state = film.source, Path(film.source.container.name).stat()
    return {
        "source": [state.st_size, state.st_mtime_ns],
        "network": [[each.digest, type(each).__name__] for each in film.steps.networks],
        "size": [film.size.width, film.size.height, film.steps.is_reduced],
        "codec": encoder_of(film.target, film.encoding),
        "quality": film.encoding.quality,
        "preset": film.encoding.preset,
        "container": film.target.suffix.lower(),
        "deinterlace": [source.deinterlace, *source.scan],
        "alpha": source.with_alpha,
        "start and duration": [str(each) for each in film.cuts],
        "versions": [av.__version__, *map(list, av.library_versions.values())],
    }


def _tried(film: Film, parts: Parts) -> str:
    """FFmpeg's name of the container, after all that it is to hold was put into an empty one: not only after hours."""
    trial = parts.new_file(0).with_suffix(film.target.suffix)
    try:
        with open_target(trial, film.target, film.source) as output:
            set_up(output, film.target, film.source, film.size, film.encoding, film.cuts)
            return output.format.name
    finally:
        trial.unlink(missing_ok=True)


# --- parts ---


class PartWriter:
    """One part on its way through the encoder into its file."""

    def __init__(self, film: Film, parts: Parts, container: str, begin: Begin) -> None:
        self._film, self._parts, self._begin = film, parts, begin
        self._new, self._frames = parts.new_file(begin.part), 0
        self._stack = ExitStack()
        self._stack.callback(self._new.unlink, missing_ok=True)
        try:
            with self._errors_named():
                self._file = self._stack.enter_context(self._new.open("xb"))
                encoder = open_encoder(container, film.target, film.source, film.size, film.encoding)
                self._encoder = self._stack.enter_context(encoder)
        except BaseException:  # an interruption too: nobody else knows of the file yet
            self.abandon()
            raise

    def write(self, frame: av.VideoFrame) -> None:
        """Takes the next frame, enlarged."""
        with self._errors_named():
            write_packets(self._file, self._encoder.encode(frame))
        self._frames += 1

    def finish(self, end: End) -> None:
        """Encodes what is left, and gives the file its name."""
        with self._errors_named(), self._stack:
            write_packets(self._file, self._encoder.encode(None) if self._frames else [])
            context = self._encoder.codec_context
            time_base = context.time_base
            footer = Footer(
                self._frames,
                self._begin.before,
                end.last,
                (time_base.numerator, time_base.denominator),
                end.tally,
                sorted(self._film.source.seen),
                (context.extradata or b"").hex(),
            )
            write_footer(self._file, footer)
            self._file.close()
            self._new.replace(self._parts.path(end.part))
        # This writer is kept until the film is made; x264 has hundreds of megabytes and 8 threads for a film of 4K.
        del self._encoder

    def abandon(self) -> None:
        """Removes what there is, if the part is not finished."""
        self._stack.close()

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            with full_disk_named(self._film.target):
                yield
        except av.FFmpegError as error:
            raise encoding_error(self._film.target, error) from error


def _make_parts(
    film: Film,
    parts: Parts,
    network: Network,
    container: str,
    can_seek: bool,
    take: Callable[[], int | None],
    bar: "tqdm[Any]",
) -> None:
    """Makes the parts that `take` gives. container: FFmpeg's name."""
    read = read_parts(film.source, film.cuts, take, can_seek)
    with (
        ExitStack() as writers,
        ThreadPoolExecutor(1) as finisher,
        _enlarged_items(film, network, read) as items,
    ):
        writer: PartWriter | None = None
        ending: Future[None] | None = None
        for item in items:
            if isinstance(item, Begin):
                writer = PartWriter(film, parts, container, item)
                writers.callback(writer.abandon)
                continue
            assert writer is not None
            if isinstance(item, End):
                if ending:
                    ending.result()
                ending = finisher.submit(writer.finish, item)
                bar.update(parts.news(without=item.part))
            else:
                writer.write(item)
                bar.update()
        if ending:
            ending.result()


@contextmanager
def _enlarged_items(film: Film, network: Network, read: Iterator[PartItem]) -> Iterator[Iterator[PartItem]]:
    """What is read of the video, its frames enlarged for an encoder, ahead of what is done with them."""
    source, full_range = film.source, is_full_range(film.source.first)
    kept = carried(encoder_of(film.target, film.encoding), source)
    number = number_ahead(network.threads, bytes_of(source.first, film.size.width, film.size.height))

    def enlarge(item: PartItem) -> PartItem:
        if isinstance(item, av.VideoFrame):
            return sized(item, film.steps, full_range, source.chroma_location, kept)
        return item

    with (
        ahead(read) as items,
        map_ahead(enlarge, items, network.pool, number) as sr_items,
    ):
        yield sr_items


# --- the film ---


def _join(film: Film, parts: Parts) -> VideoResult:
    """Writes the film from its parts and the other streams of the source."""
    source, footers = film.source, parts.footers()
    rest, tally = Rest(source, film.cuts), Tally()
    for footer in footers:
        tally = tally.plus(footer.tally)
        source.seen.update(footer.seen)
    with written_whole(film.target) as unfinished:
        with open_target(unfinished, film.target, source) as output:
            made = set_up(output, film.target, source, film.size, film.encoding, film.cuts)
            header = (made.encoder.codec_context.extradata or b"").hex()
            if any(footer.header != header for footer in footers):
                raise FailureError(
                    f"{film.target}: its parts were encoded in another way; remove {parts.folder} and start again"
                )
            paths = [parts.path(part) for part in range(parts.number)]
            refused = write(made, joined_packets(paths, made.encoder), rest.packets())
        said = made.said + rest.warnings(tally)
        if refused:
            said.append(f"{refused} packets of sound or subtitles have impossible times and are left out")
        finish(unfinished, made)
        said += lost(source, made.written, unfinished, film.cuts)
        stamp(unfinished, film.size.factor)
    return VideoResult(sum(footer.frames for footer in footers), tuple(said))


# --- size ---


def repeated(steps: Steps, frame: FrameSize) -> list[str]:
    """A line where the frames have a row or column more than the network made."""
    exact, even = (steps.width, steps.height), (frame.width, frame.height)
    if exact == even:
        return []
    return [f"{exact[0]} x {exact[1]} made even by repeating the last row or column: {even[0]} x {even[1]}"]


def steps_for(
    size: Size | None, network: Network, first: av.VideoFrame, source: Path, can_copy: bool = False
) -> tuple[Steps, list[str]]:
    """The steps for frames like the first one, and what the user should know of the result's size. can_copy: whether a
    film that has its size, which may be odd, is not encoded again. Raises RequestError, naming the file, for a size out
    of reach.
    """
    shown, multiples = (first.width, first.height), subsampling(first)[::-1]
    is_turned = first.rotation % 180 != 0
    if is_turned:
        shown, multiples = shown[::-1], multiples[::-1]
    if can_copy and size and size.of(*shown) == shown:
        multiples = (1, 1)
    try:
        steps = steps_to(size, network, *shown, multiples)
    except RequestError as error:
        raise RequestError(f"{source}: {error}") from error
    exact = size.of(*shown) if size and not steps.is_plain else (steps.width, steps.height)
    said = steps.remark(*shown)
    if exact != (steps.width, steps.height) and (steps.networks or exact == shown):
        said = [f"{exact[0]} x {exact[1]} made even: {steps.width} x {steps.height}"]
    return (steps._replace(width=steps.height, height=steps.width) if is_turned else steps), said

"""One video enlarged into another, everything else of the file kept.

The work is three steps, each in threads of its own and a few frames ahead of the next: `read` (demultiplex and
decode), `enlarged` (the network) and `write` (encode and multiplex). What passes from one to the next are decoded
frames, the packets of the streams that are copied, and warnings.

On a CPU several frames are enlarged at a time, by one thread each, so that none has to wait for the others' parts of
its frame.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from tqdm import tqdm

from fsrcnn.ahead import ahead, map_ahead, number_ahead
from fsrcnn.errors import RequestError
from fsrcnn.files import written_whole
from fsrcnn.network import Network
from fsrcnn.sizes import Size, Steps, steps_to
from fsrcnn.stamp import stamp
from fsrcnn.videos import DEINTERLACE, Deinterlace
from fsrcnn.videos.frames import FrameSize, bytes_of, frame_size, is_full_range, sized, subsampling
from fsrcnn.videos.kept import carried, lost
from fsrcnn.videos.source import Item, Source, frame_count, open_source, read, remarks, start_time
from fsrcnn.videos.target import Encoding, encoder_of, finish, open_target, set_up, takes_alpha, write


@dataclass(frozen=True)
class VideoResult:
    """What `upscale_video` has done: how many frames it wrote, and a line for each thing that the user should know."""

    frames: int
    warnings: tuple[str, ...]


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
) -> VideoResult:
    """Enlarges the video `source` into the file `target`, whose suffix chooses the container.

    size: as the film is shown, turned if it is; None: the network's scale. Where chroma is subsampled it becomes even.
    A film that is as large already is copied, if nothing else is asked for; a larger one is reduced. strength: chooses
    how strongly it is restored, where a network enlarges it; None: not at all.
    codec: FFmpeg's name of the encoder; None: libx264, or what suits the container if it cannot hold H.264.
    quality: its constant rate factor (0 is the best); preset: its name or number for a speed; None: its own defaults.
    duration: seconds of every stream, from the start; None: all.
    deinterlace: "auto" deinterlaces a film that is interlaced, one frame for each; "double" makes one for each field;
    "off" enlarges the frames as they are.

    Everything that the file holds is kept, or a warning says that it is converted or left out. Of a damaged video, what
    can be decoded is kept. Where subsampled chroma needs an even size and the enlarged frame is odd, the last row or
    column is repeated. `target` is written whole or not at all; a file of that name is replaced.

    Raises RequestError for what cannot be read, encoded or held as asked, FailureError where writing fails.
    """
    if duration is not None and not duration > 0:
        raise RequestError(f"duration: got {duration}, expected seconds above 0")
    if deinterlace not in DEINTERLACE:
        raise RequestError(f"deinterlace: got {deinterlace!r}, expected {', '.join(DEINTERLACE)}")
    encoding, seconds, frames = Encoding(codec, quality, preset), duration or math.inf, 0
    with open_source(source, deinterlace, takes_alpha(target, encoder_of(target, encoding))) as opened:
        if target.exists() and target.samefile(source):
            raise RequestError(f"{target}: is the source itself; choose another name")
        end = start_time(opened.container) + seconds
        steps, said = steps_for(size, network, opened.first, source)
        if strength and steps.networks:
            steps = steps.restoring(strength())
        frame = frame_size(opened.first, steps)
        warnings = remarks(opened) + said + repeated(steps, frame)
        is_all = (codec, quality, preset, duration) == (None,) * 4 and not opened.frames_of_each
        if steps.is_copy and is_all and source.suffix.lower() == target.suffix.lower():
            with written_whole(target) as unfinished:
                shutil.copyfile(source, unfinished)
                stamp(unfinished, 1)
            return VideoResult(opened.video.frames, tuple(said))
        with written_whole(target) as unfinished:
            with (
                open_target(unfinished, target, opened) as output,
                tqdm(total=frame_count(opened, duration), unit="frame", dynamic_ncols=True, disable=None) as bar,
            ):
                made = set_up(output, target, opened, frame, encoding, end)
                warnings += made.said
                with _enlarged_items(opened, steps, network, made.written.codec, seconds) as items:
                    for item in write(items, made):
                        if isinstance(item, str):
                            warnings.append(item)
                        else:
                            frames += 1
                            bar.update()
            finish(unfinished, made)
            warnings += lost(opened, made.written, unfinished, end)
            stamp(unfinished, frame.factor)
    return VideoResult(frames, tuple(warnings))


def repeated(steps: Steps, frame: FrameSize) -> list[str]:
    """A line where the frames have a row or column more than the network made."""
    exact, even = (steps.width, steps.height), (frame.width, frame.height)
    if exact == even:
        return []
    return [f"{exact[0]} x {exact[1]} made even by repeating the last row or column: {even[0]} x {even[1]}"]


def steps_for(size: Size | None, network: Network, first: av.VideoFrame, source: Path) -> tuple[Steps, list[str]]:
    """The steps for frames like the first one, and what the user should know of the result's size. Raises RequestError,
    naming the file, for a size out of reach.
    """
    shown, multiples = (first.width, first.height), subsampling(first)[::-1]
    is_turned = first.rotation % 180 != 0
    if is_turned:
        shown, multiples = shown[::-1], multiples[::-1]
    try:
        steps = steps_to(size, network, *shown, multiples)
    except RequestError as error:
        raise RequestError(f"{source}: {error}") from error
    said = steps.remark(*shown)
    exact = size.of(*shown) if size else (steps.width, steps.height)
    if size and steps.networks and not steps.is_plain and exact != (steps.width, steps.height):
        said.append(f"{exact[0]} x {exact[1]} made even: {steps.width} x {steps.height}")
    return (steps._replace(width=steps.height, height=steps.width) if is_turned else steps), said


@contextmanager
def _enlarged_items(
    source: Source, steps: Steps, network: Network, codec: str, seconds: float
) -> Iterator[Iterator[Item]]:
    """What `read` gives of the video, its frames enlarged for an encoder, ahead of what is done with them."""
    full_range, kept = is_full_range(source.first), carried(codec, source)
    number = number_ahead(network.threads, bytes_of(source.first, steps.width, steps.height))

    def enlarge(item: Item) -> Item:
        if isinstance(item, av.VideoFrame):
            return sized(item, steps, full_range, source.chroma_location, kept)
        return item

    with (
        ahead(read(source, seconds)) as items,
        map_ahead(enlarge, items, network.pool, number) as sr_items,
    ):
        yield sr_items

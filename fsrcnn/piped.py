"""The command line's other ways in and out: standard input and output, numbered pictures (--frames, --fps)."""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fsrcnn.errors import Error, FailureError, RequestError, one_line_errors, shown
from fsrcnn.network import Network
from fsrcnn.pictures.formats import FORMATS, MOST_SIGNATURE
from fsrcnn.pictures.restoration import Restoration, strength_of, summary
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.plan import Request, job_of, result_name
from fsrcnn.videos import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from fsrcnn.videos.numbered import Row
    from fsrcnn.videos.streams import Reel
    from fsrcnn.videos.y4m import Incoming

STANDARD = "-"  # input or output
STANDARD_INPUT, STANDARD_OUTPUT = "standard input", "standard output"  # in messages
INPUT, OUTPUT, ERRORS = 0, 1, 2  # descriptors
FILM_SUFFIX = ".mp4"  # of a film made of pictures, unless another one is asked for
MOST_RATE = 1000  # frames a second
BLOCK = 2**20  # bytes that are looked at, at both ends of a film, to know it again
TIME = "\0"  # stands for the time taken in a line that is not finished; no path has it
TURN_FILM = "ffmpeg -i FILE -f yuv4mpegpipe - makes it of any film"


def parsed_rate(text: str) -> Fraction:
    """Frames a second: "24", "24000/1001", "23.976". Raises ValueError for anything else."""
    numbers = re.fullmatch(r"([0-9]{1,9})(?:\.([0-9]{1,9})|/([0-9]{1,9}))?", text)
    if not numbers or (numbers[3] and not int(numbers[3])):
        raise ValueError
    rate = Fraction(text)
    if numbers[2]:  # 23.976 stands for 24000/1001
        ntsc = Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
        rate = ntsc if abs(ntsc - rate) < Fraction(1, 100) and rate.denominator > 1 else rate
    if not 0 < rate <= MOST_RATE:
        raise ValueError
    return rate


def is_piped(request: Request) -> bool:
    """Whether the request is one of these."""
    return bool(
        STANDARD in request.inputs or str(request.output) == STANDARD or request.frames or request.fps is not None
    )


def check(request: Request, processes: int) -> None:
    """Raises RequestError for what does not fit together, before anything is read."""
    (name, *others), output = request.inputs, request.output
    is_given, is_folder_of_frames = name == STANDARD, request.frames is not None
    for is_wrong, message in (
        (processes > 1, "standard input and output, --frames and --fps are for one process; run it without torchrun"),
        (others, f"inputs: got {len(request.inputs)}, expected one with --frames, --fps, and - for input or output"),
        (is_folder_of_frames and output, "frames: takes the place of output; leave one of the two out"),
        (
            is_given and not is_folder_of_frames and not output,
            f"output: {STANDARD_INPUT} needs one: --output - or a file, or --frames and a folder",
        ),
        (is_given and request.fps is not None, "fps: is for pictures; a film on standard input has its own"),
        (
            request.start and (is_given or request.fps is not None),
            "start: is for a film's file; leave it out",
        ),
        (is_given and _is_terminal(INPUT), f"{STANDARD_INPUT}: is a terminal; pipe a film or picture into it"),
        (
            str(output) == STANDARD and _is_terminal(OUTPUT),
            f"{STANDARD_OUTPUT}: is a terminal; pipe it into a program or a file",
        ),
    ):
        if is_wrong:
            raise RequestError(message)


def _is_terminal(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
        return os.isatty(descriptor)
    except OSError as error:
        name = STANDARD_OUTPUT if descriptor == OUTPUT else STANDARD_INPUT
        raise RequestError(f"{name}: is closed") from error


@contextmanager
def _output_alone(is_used: bool) -> Iterator[int]:
    """Standard output's descriptor, for results. All else that this process prints there goes to standard error."""
    if not is_used:
        yield OUTPUT
        return
    sys.stdout.flush()
    kept = os.dup(OUTPUT)
    os.dup2(ERRORS, OUTPUT)
    try:
        yield kept
    finally:
        sys.stdout.flush()
        os.dup2(kept, OUTPUT)
        os.close(kept)


def run(request: Request, network: Network, restoration: Restoration) -> None:
    """Does what is asked for and prints what was done. Raises Error."""
    started = time.monotonic()
    with _output_alone(str(request.output) == STANDARD) as output:
        with one_line_errors(STANDARD_INPUT if request.inputs == (STANDARD,) else request.inputs[0]):
            said, broken = _run(request, network, restoration, output)
        strengths = summary([*restoration.chosen.values()])
        line = "; ".join(filter(None, [said.replace(TIME, f"{time.monotonic() - started:.1f} s"), strengths]))
        print(shown(line), file=sys.stderr if str(request.output) == STANDARD else sys.stdout, flush=True)
    if broken:
        raise FailureError(f"{broken}; the frames before it are written")


def _run(request: Request, network: Network, restoration: Restoration, output: int) -> tuple[str, str]:
    """The last line, with TIME in it where something was done, and why the input ended early."""
    from fsrcnn.videos import numbered
    from fsrcnn.videos.y4m import MAGIC, Incoming

    (name,) = request.inputs
    if name == STANDARD:
        incoming = Incoming(INPUT)
        head = incoming.head(MOST_SIGNATURE)
        if not head:
            raise RequestError(f"{STANDARD_INPUT}: is empty; see what the program before it says")
        if not head.startswith(MAGIC):
            return _picture_given(incoming, head, request, network, restoration, output), ""
        from fsrcnn.videos.streams import y4m_reel

        with y4m_reel(incoming, STANDARD_INPUT, request.deinterlace, request.duration) as reel:
            strength = partial(restoration.of_video, Path(STANDARD), lambda _: 0.0)
            return _film(reel, STANDARD_INPUT, request, network, strength, output)
    if request.fps is not None:
        if not numbered.is_row(name):
            raise RequestError(f"fps: is for a folder or pattern of numbered pictures, and {name} is none")
        return _row(numbered.row_of(name), request.fps, request, network, restoration, output)
    source = Path(name)
    if not source.is_file():
        more = "; --fps makes a film of a folder of numbered pictures" if source.is_dir() else ""
        raise RequestError(f"{name}: expected one picture or film here{more}")
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return _film_file(source, request, network, restoration, output)
    if request.frames:
        raise RequestError(f"frames: {name} is no film; enlarge pictures without --frames")
    return _picture_file(source, request, network, restoration, output), ""


# --- films ---


def _film_file(
    source: Path, request: Request, network: Network, restoration: Restoration, output: int
) -> tuple[str, str]:
    from fsrcnn.videos.quantiser import film_strength
    from fsrcnn.videos.streams import film_reel

    strength = partial(restoration.of_video, source, film_strength)
    with film_reel(source, request.deinterlace, request.duration, bool(request.frames), request.start) as reel:
        return _film(reel, str(source), request, network, strength, output)


def _row(
    row: "Row", rate: Fraction, request: Request, network: Network, restoration: Restoration, output: int
) -> tuple[str, str]:
    from fsrcnn.pictures.pixels import Layout
    from fsrcnn.videos.numbered import pixels_of
    from fsrcnn.videos.streams import row_reel

    def told(first: Path) -> float:
        pixels, _ = pixels_of(first)
        height, width, bands = pixels.shape
        layout = Layout(height, width, bands, 8 * pixels.itemsize, has_alpha=False)
        return strength_of(first, layout, lambda: pixels)

    if request.frames:
        raise RequestError("frames: pictures become pictures without --frames and --fps; leave both out")
    strength = partial(restoration.of_video, row.paths[0], told)
    is_file = str(request.output) != STANDARD
    with row_reel(row, rate, request.duration, is_subsampled=is_file) as reel:
        return _film(reel, row.name, request, network, strength, output)


def _film(
    reel: "Reel", name: str, request: Request, network: Network, strength: Callable[[], float], output: int
) -> tuple[str, str]:
    """Writes the film where it is asked for."""
    from fsrcnn.videos import streams
    from fsrcnn.videos.target import Encoding
    from fsrcnn.videos.y4m import Outgoing

    is_given = name == STANDARD_INPUT
    to_file = None if request.frames or str(request.output) == STANDARD else _film_target(name, request)
    if to_file and to_file.exists() and not request.overwrite:
        return f"0 {request.size.done}; {to_file} was there already (--overwrite does it again)", ""
    making, warnings = streams.making_of(reel, name, network, request.size, strength)
    if request.frames:
        where = f"in {request.frames}, {reel.rate} a second"
        mark = "" if is_given else _mark(Path(name), request, making.steps.networks)
        written = streams.to_pictures(reel, making, request.frames, mark, request.overwrite)
    elif to_file:
        where = f"as {to_file}"
        written = streams.to_film(reel, making, to_file, Encoding(request.codec, request.quality, request.preset))
    else:
        where = f"to {STANDARD_OUTPUT}"
        written = streams.to_y4m(reel, making, Outgoing(output, STANDARD_OUTPUT))
    _tell(name, [*warnings, *written.warnings])
    there = f"; {written.there:,} were there already (--overwrite does them again)" if written.there else ""
    return f"{written.frames:,} frames {request.size.done} in {TIME}, {where}{there}", reel.broken()


def _film_target(name: str, request: Request) -> Path:
    """The file of a film that was no file. Raises RequestError for one that is of no film."""
    output = request.output
    if output and output.suffix.lower() in VIDEO_SUFFIXES and not output.is_dir():
        return output
    if name == STANDARD_INPUT or (output and not output.is_dir() and output.suffix):
        raise RequestError(f"output: {output} is no film's file; choose one that ends in {FILM_SUFFIX} or .mkv")
    row = Path(name)
    row = row if row.name not in ("", "..") else row.resolve()
    stem = row.name if row.is_dir() else re.sub(r"[^\w. -]+", "", row.stem) or "film"
    folder = output or row.parent
    return folder / result_name(Path(stem + FILM_SUFFIX), request)


def _mark(source: Path, request: Request, networks: tuple[Network, ...]) -> str:
    """Stands for the film's content, the networks, and all that changes its frames."""
    found = hashlib.sha256()
    with source.open("rb") as file:
        found.update(file.read(BLOCK))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - BLOCK, 0))
        found.update(file.read())
    weights = [each.digest for each in networks]
    asked = request.size, weights, request.ensemble, request.deinterlace, request.start
    found.update(repr((size, *asked)).encode())
    return found.hexdigest()[:32]


# --- pictures ---


def _picture_given(
    incoming: "Incoming", head: bytes, request: Request, network: Network, restoration: Restoration, output: int
) -> str:
    """Enlarges a picture from standard input."""
    format_ = next((each for each in FORMATS if each.signature.match(head)), None)
    if format_ is None:
        raise RequestError(f"{STANDARD_INPUT}: neither a picture that is known nor a film as YUV4MPEG2; {TURN_FILM}")
    if request.frames:
        raise RequestError(f"frames: {STANDARD_INPUT} is a picture; leave it out")
    with TemporaryDirectory() as folder:
        source = Path(folder) / f"picture{format_.suffixes[0]}"
        with source.open("wb") as file:
            while block := incoming.read(BLOCK):
                file.write(block)
        try:
            return _picture_file(source, request, network, restoration, output)
        except Error as error:
            raise type(error)(str(error).replace(str(source), STANDARD_INPUT)) from error


def _picture_file(source: Path, request: Request, network: Network, restoration: Restoration, output: int) -> str:
    def enlarge(target: Path) -> None:
        warnings = upscale_picture(
            source,
            target,
            network,
            restoration,
            accept_damaged=request.accept_damaged,
            memory_limit=request.memory_limit,
            size=request.size,
        )
        _tell(STANDARD_INPUT if request.inputs == (STANDARD,) else str(source), warnings)

    if str(request.output) != STANDARD:
        assert request.output
        job = job_of(source, request.output)
        if job.target.exists() and not request.overwrite:
            return f"0 {request.size.done}; {job.target} was there already (--overwrite does it again)"
        enlarge(job.target)
        return f"1 {request.size.done} in {TIME}, as {job.target}"
    from fsrcnn.videos.y4m import Outgoing

    with TemporaryDirectory() as folder:
        target = Path(folder) / result_name(source, request)
        enlarge(target)
        out = Outgoing(output, STANDARD_OUTPUT)
        with target.open("rb") as file:
            while block := file.read(BLOCK):
                out.write(block)
    return f"1 {request.size.done} in {TIME}, to {STANDARD_OUTPUT}"


def _tell(name: str, warnings: "list[str] | tuple[str, ...]") -> None:
    for warning in warnings:
        print(shown(f"{name}: {warning}"), file=sys.stderr)

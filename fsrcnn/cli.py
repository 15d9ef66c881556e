"""The command line of upscale.py and of the installed command `fsrcnn`."""

import argparse
import math
import os
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from tqdm import tqdm

from fsrcnn.devices import join_processes, keep_freed_memory, leave_processes, rank_and_ranks
from fsrcnn.ensemble import Ensemble
from fsrcnn.errors import (
    FAILURE,
    WRONG_REQUEST,
    Error,
    FailureError,
    Parser,
    RequestError,
    SeveralPicturesError,
    one_line_errors,
    shown,
)
from fsrcnn.geometry import MOST_FACTOR, VARIANTS
from fsrcnn.network import Network, load_network
from fsrcnn.pictures.formats import FORMATS, MEMORY_LIMIT
from fsrcnn.pictures.restoration import Restoration, summary
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.piped import check as check_piped
from fsrcnn.piped import is_piped, parsed_rate
from fsrcnn.piped import run as run_piped
from fsrcnn.plan import Job, Plan, Request, make_plan, unread_text
from fsrcnn.restore import AUTO, parsed_restore
from fsrcnn.signals import Interrupted, interruptible
from fsrcnn.sizes import DEFAULT_FACTOR, MOST_SIDE, checked_size
from fsrcnn.videos import DEINTERLACE
from fsrcnn.weights import shipped_weights

if TYPE_CHECKING:
    from fsrcnn.videos.parts import Run

PATIENCE = timedelta(days=365)  # a process that is done waits for the others, which may take days
MOST_PICTURES = 4  # enlarged at a time
SEVERAL = "animated or of several pages"
GIB = 2**30  # bytes
TURN = 0.2  # seconds
MOST_NAMES = 20  # of files that failed in the last line; each has been named with its reason

T = TypeVar("T")
Results = Generator[tuple[Job, Callable[[], tuple[str, ...]]], None, None]


class Enlarge(Protocol):
    """Enlarges one file; returns warnings. bar: counts the frames of videos."""

    def __call__(self, job: Job, bar: "tqdm[Any] | None" = None) -> tuple[str, ...]: ...


def read_request(arguments: list[str] | None = None) -> Request:
    """Reads a command line; arguments: None: the process's own. Raises RequestError if it is not valid."""
    parser = Parser(description="Enlarges pictures and videos by FSRCNN.", allow_abbrev=False)
    add = parser.add_argument
    add(
        "inputs",
        type=_name,
        nargs="*",
        metavar="INPUT",
        help='pictures, videos, folders (with all folders in them) and quoted patterns ("photos/**/*.jpg"); - is '
        "standard input: a picture, or a video as YUV4MPEG2",
    )
    add(
        "--output",
        type=_path,
        metavar="DIR|FILE",
        help="folder for the results, which keep the inputs' folder structure, or file for a single result; default: "
        "beside the inputs; - is standard output",
    )
    add("--suffix", help="added to a result's name before its extension; default: _x2, _800w and so on, by the size")
    written = [each.suffixes[0].removeprefix(".") for each in FORMATS if each.written_by]
    add(
        "--format",
        choices=["same", *written],
        default="same",
        help="format of enlarged pictures; same (the default): each source's own, PNG for GIF and AVIF",
    )
    add("--upscale-factor", type=_factor, metavar="N", help=f"2, 3, 4, 1.5, ..., {MOST_FACTOR} at most; default: 2")
    add("--width", type=_pixels, metavar="PIXELS", help="width of the results in place of a factor")
    add("--height", type=_pixels, metavar="PIXELS", help="their height; without a width beside it the aspect is kept")
    add("--fit", type=_frame, metavar="WxH", help="the largest results that fit into a frame, as 1920x1080")
    add("--variant", choices=list(VARIANTS), default="fsrcnn", help="fsrcnn, or the smaller and faster fsrcnn_s")
    add("--weights", type=_path, metavar="FILE", help="weights file to use in place of the shipped one")
    add(
        "--restore",
        type=parsed_restore,
        default=AUTO,
        metavar="auto|0..1",
        help="how strongly compressed pictures are restored: 0 not at all, 1 most; auto (the default): each by its own "
        "quality",
    )
    add(
        "--ensemble",
        action="store_true",
        help="the finest result: the mean of those for the picture's eight turned and mirrored forms, in about eight "
        "times the time",
    )
    add("--accept-damaged", action="store_true", help="enlarge damaged JPEGs too, as far as they are there")
    add(
        "--memory-limit",
        type=_gibibytes,
        default=MEMORY_LIMIT,
        metavar="GIB",
        help=f"memory that decoding one picture may need; default: {MEMORY_LIMIT / GIB:g}",
    )
    add("--overwrite", action="store_true", help="replace existing results, which are otherwise left alone")
    add("--device", default="auto", help="auto (CUDA, else MPS, else CPU; the default), cpu, cuda, cuda:1, ... or mps")
    add("--codec", help="videos: encoder, by FFmpeg's name; default: libx264, or what suits the container")
    add("--quality", type=int, help="videos: the encoder's constant rate factor, 0 is best; default: the encoder's own")
    add("--preset", help="videos: the encoder's preset, a name or number (libx264: ultrafast to placebo)")
    add("--start", type=float, default=0.0, metavar="SECONDS", help="videos: where to begin; default: at the start")
    add(
        "--duration",
        type=float,
        metavar="SECONDS",
        help="videos: how much to enlarge; default: to the end. With it or --start the result is called film_x2_trial",
    )
    add(
        "--deinterlace",
        choices=DEINTERLACE,
        default=DEINTERLACE[0],
        help="videos: auto (the default) deinterlaces those that are interlaced, a frame for each; double makes a "
        "frame for each field; off enlarges them as they are",
    )
    add("--frames", type=_path, metavar="DIR", help="a video: write its frames as numbered PNG files into the folder")
    add(
        "--fps",
        type=_rate,
        metavar="RATE",
        help="a folder or quoted pattern of numbered pictures: make a video of them, so many a second (24, 24000/1001)",
    )
    found = vars(parser.parse_intermixed_args(_without_dashes(sys.argv[1:] if arguments is None else arguments)))
    size = checked_size(**{name: found.pop(name) for name in ("upscale_factor", "width", "height", "fit")})
    request = Request(**found | {"inputs": tuple(found["inputs"]), "size": size})
    _check(request)
    return request


def _without_dashes(arguments: list[str]) -> list[str]:
    """The same request without --, behind which argparse's intermixed parsing still takes -a.png for a flag."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    names = (f"./{each}" if each.startswith("-") and each != "-" else each for each in arguments[end + 1 :])
    return [*arguments[:end], *names]


def _name(text: str) -> str:
    """A path of the command line, with the home folder for ~, which shells leave as it is in `--output=~/large`."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a path; . is the folder you are in")
    return os.path.expanduser(text)  # noqa: PTH111, unlike pathlib's it leaves the ~ where there is no such user


def _path(text: str) -> Path:
    """As `_name`, for a path that is no pattern."""
    if (path := _name(text)).startswith("~"):
        raise argparse.ArgumentTypeError(f"got {text!r}, and there is no such user; write ./{text}")
    return Path(path)


def _factor(text: str) -> float:
    if not re.fullmatch(r"[0-9]+\.?[0-9]*|\.[0-9]+", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0, {MOST_FACTOR} at most")
    return float(text)


def _pixels(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected a whole number of pixels above 0, {MOST_SIDE:,} at most"
        )
    return int(text)


def _frame(text: str) -> tuple[int, int]:
    if not (sides := re.fullmatch(r"([0-9]{1,10})[xX]([0-9]{1,10})", text)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a width and a height, such as 1920x1080")
    return int(sides[1]), int(sides[2])


def _gibibytes(text: str) -> int:
    """Bytes of a number of GiB."""
    number = float(text) if re.fullmatch(r"\d+\.?\d*|\.\d+", text) else 0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of GiB above 0")
    return math.ceil(number * GIB)


def _rate(text: str) -> Fraction:
    try:
        return parsed_rate(text)
    except ValueError as error:
        expected = "expected frames a second, such as 25 or 24000/1001"
        raise argparse.ArgumentTypeError(f"got {text!r}, {expected}") from error


def _check(request: Request) -> None:
    suffix = request.suffix or ""
    is_part_of_a_name = suffix.isprintable() and not any(each in suffix for each in ("/", "\\", ".."))
    for field, right, expected in (
        ("suffix", is_part_of_a_name, "a part of a name, without / and .."),
        ("quality", request.quality is None or request.quality >= 0, "zero or more"),
        ("start", 0 <= request.start < math.inf, "seconds, zero or more"),
        ("duration", request.duration is None or request.duration > 0, "more than zero"),
        ("inputs", bool(request.inputs), "a picture, a folder, a quoted pattern or a video"),
    ):
        if not right:
            raise RequestError(f"{field}: got {getattr(request, field)!r}, expected {expected}")


def enlarger(request: Request, network: Network, restoration: Restoration, run: "Run | None" = None) -> Enlarge:
    """Returns the function that enlarges one file. It raises Error, whatever is wrong with the file. run: the processes
    that share films.
    """

    def enlarge(job: Job, bar: "tqdm[Any] | None" = None) -> tuple[str, ...]:
        with one_line_errors(str(job.source)):
            if job.is_video:
                return _enlarge_video(job, request, network, restoration, run, bar)
            return upscale_picture(
                job.source,
                job.target,
                network,
                restoration,
                accept_damaged=request.accept_damaged,
                memory_limit=request.memory_limit,
                size=request.size,
            )

    return enlarge


def _enlarge_video(
    job: Job,
    request: Request,
    network: Network,
    restoration: Restoration,
    run: "Run | None",
    bar: "tqdm[Any] | None",
) -> tuple[str, ...]:
    try:
        from fsrcnn.videos.quantiser import film_strength
        from fsrcnn.videos.upscale import upscale_video
    except ModuleNotFoundError as error:
        raise RequestError(f"{job.source}: videos need PyAV: pip install av ({error})") from error
    return upscale_video(
        job.source,
        job.target,
        network,
        request.codec,
        request.quality,
        request.preset,
        request.duration,
        request.deinterlace,
        size=request.size,
        strength=partial(restoration.of_video, job.source, film_strength),
        start=request.start,
        run=run,
        bar=bar,
    ).warnings


def run_jobs(
    jobs: list[Job], enlarge: Enlarge, network: Network, request: Request, is_shown: bool, is_shared: bool = False
) -> tuple[dict[str, str], list[str]]:
    """Does the jobs, prints their warnings and errors, and returns the names of the files that failed with the reasons,
    and of those with several pictures that nobody named. is_shared: several processes share the videos; why one failed
    is then not printed. Raises Interrupted, which tells how many are done, what is kept of films, and whether the same
    command does the rest.
    """
    failed: dict[str, str] = {}
    several: list[str] = []
    done: list[Job] = []

    try:
        with (
            tqdm(total=len(jobs), unit="file", dynamic_ncols=True, disable=None if is_shown else True) as bar,
            _frame_bar(jobs, request, is_shown) as frames,
        ):

            def counted(job: Job) -> tuple[str, ...]:
                warnings = enlarge(job, frames)
                done.append(job)
                return warnings

            with closing(_results(jobs, counted, network)) as results:
                for job, result in results:
                    try:
                        for warning in result():
                            tqdm.write(shown(f"{job.source}: {warning}"), file=sys.stderr)
                    except Error as error:
                        if isinstance(error, SeveralPicturesError) and not job.is_named:
                            several.append(str(job.source))
                        else:
                            failed[str(job.source)] = str(error)
                            if not (is_shared and job.is_video):
                                tqdm.write(shown(f"failed: {error}"), file=sys.stderr)
                    bar.update()
    except Interrupted as error:
        rest = "does all of them again" if request.overwrite else "goes on"
        said = [f"interrupted: {len(done):,} of {len(jobs):,} done", *_kept(jobs), f"the same command {rest}"]
        raise Interrupted(error.number, "; ".join(said)) from error
    return failed, several


@contextmanager
def _frame_bar(jobs: list[Job], request: Request, is_shown: bool) -> Iterator["tqdm[Any] | None"]:
    """A bar for the frames of all videos among the jobs; None: there are none, or PyAV is missing."""
    films = [job for job in jobs if job.is_video]
    try:
        from fsrcnn.videos.source import about_frames
    except ModuleNotFoundError:
        films = []
    if not films:
        yield None
        return
    is_drawn = is_shown and sys.stderr.isatty()
    about = [about_frames(job.source, request.start, request.duration) for job in films] if is_drawn else [0]
    with tqdm(
        total=sum(about) if all(about) else None, unit="frame", dynamic_ncols=True, disable=not is_drawn, leave=False
    ) as bar:
        yield bar


def _kept(jobs: list[Job]) -> list[str]:
    """What is kept of films that were begun."""
    if not any(job.is_video for job in jobs):
        return []
    from fsrcnn.videos.parts import kept_text

    return [text for job in jobs if job.is_video and (text := kept_text(job.target))]


class Outcome(NamedTuple):
    """What became of jobs: the files that failed and why, how many files of several pictures were left out, and the
    strengths of those that were enlarged, by their names. Several processes may have failed at one video.
    """

    failed: dict[str, str]
    several: int
    restored: dict[str, float]


def _results(jobs: list[Job], enlarge: Callable[[Job], tuple[str, ...]], network: Network) -> Results:
    """Yields each job with a function that returns its warnings or raises its error. Several pictures are enlarged at a
    time, one more than the network has threads: one is read, looked at or written while others are enlarged. Then
    videos one by one: each overlaps its own steps.
    """
    pictures = [job for job in jobs if not job.is_video]
    with ThreadPoolExecutor(min(network.threads + 1, MOST_PICTURES)) as pool:
        try:
            futures = {pool.submit(enlarge, job): job for job in pictures}
            finished: SimpleQueue[Future[tuple[str, ...]]] = SimpleQueue()
            for future in futures:
                future.add_done_callback(finished.put)
            for _ in futures:
                future = _next_of(finished)
                yield futures[future], future.result
        except BaseException:
            network.stop()
            pool.shutdown(cancel_futures=True)
            raise
    for job in jobs:
        if job.is_video:
            yield job, partial(enlarge, job)


def _next_of(queue: SimpleQueue[T]) -> T:
    """The queue's next item, waited for in short turns: Python does not hear of a Ctrl-C that comes just before a wait
    until that ends.
    """
    while True:
        with suppress(Empty):
            return queue.get(timeout=TURN)


def _same_plan(request: Request, rank: int, ranks: int) -> "tuple[Plan | None, Run | None]":
    """The first process's plan, sent to all: the others would find results that are being written; and by what they
    know each other's parts of films, None without PyAV. If there can be no plan, the first process raises RequestError
    and the others get None.
    """
    if ranks == 1:
        return make_plan(request), None
    import torch.distributed as dist

    sent: list[tuple[Plan | None, str]] = [(None, "")]
    try:
        if rank == 0:
            sent = [(make_plan(request), secrets.token_hex(8))]
    finally:
        dist.broadcast_object_list(sent)
    plan, name = sent[0]
    try:
        from fsrcnn.videos.parts import Run
    except ModuleNotFoundError:
        return plan, None
    return plan, Run(name, is_shared=True)


def _shared_out(jobs: list[Job], rank: int, ranks: int) -> list[Job]:
    """The pictures of one process, and the videos, of which all of them make parts."""
    return [job for job in jobs if not job.is_video][rank::ranks] + [job for job in jobs if job.is_video]


def last_line(plan: Plan, outcomes: list[Outcome], seconds: float, request: Request) -> str:
    """What has been done, how long it took, where the results are, and what was left alone."""
    several = sum(each.several for each in outcomes)
    done = len(plan.jobs) - several - len(_merged([each.failed for each in outcomes]))
    if len(plan.jobs) == 1:
        where = f"as {plan.jobs[0].target}"
    elif request.output:
        where = f"in {request.output}"
    else:
        where = "beside their sources"
    said = [f"{done:,} {request.size.done}" + (f" in {_time_text(seconds)}, {where}" if done else "")]
    if text := summary(list(_merged([each.restored for each in outcomes]).values())):
        said.append(text)
    if plan.finished:
        were = "was" if plan.finished == 1 else "were"
        said.append(f"{plan.finished:,} {were} there already (--overwrite does them again)")
    if plan.results:
        said.append(f"results of earlier runs, left as they are: {plan.results:,}")
    if unread := plan.unread + Counter({SEVERAL: several}):
        said.append(f"not read: {unread_text(unread)}")
    return shown("; ".join(said))


def _merged(dictionaries: list[dict[str, T]]) -> dict[str, T]:
    return {key: value for each in dictionaries for key, value in each.items()}


def _time_text(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def upscale() -> int:
    """Runs the command line; returns the exit code."""
    with interruptible():
        return _upscale(read_request())


def _upscale(request: Request) -> int:
    started = time.monotonic()
    device = join_processes(request.device, PATIENCE)
    rank, ranks = rank_and_ranks()
    if piped := is_piped(request):
        check_piped(request, ranks)
    weights = request.weights or shipped_weights(request.variant, request.size.scale or DEFAULT_FACTOR)
    network = load_network(weights, request.size.scale, device)
    network = Ensemble(network) if request.ensemble else network
    restoration = Restoration(request.restore, network)
    if piped:
        run_piped(request, network, restoration)
        return 0
    plan, run = _same_plan(request, rank, ranks)
    if plan is None:
        return WRONG_REQUEST
    if rank == 0:
        for problem in plan.problems:
            print(shown(f"failed: {problem}"), file=sys.stderr)
    jobs = _shared_out(plan.jobs, rank, ranks)
    if not all(job.is_video for job in jobs):  # films are no faster by it, and those of 4K take a gigabyte more
        keep_freed_memory()
    failed, several = run_jobs(
        jobs, enlarger(request, network, restoration, run), network, request, rank == 0, ranks > 1
    )
    restored = {str(path): strength for path, strength in restoration.chosen.items() if str(path) not in failed}
    outcomes = [Outcome(failed, len(several), restored)]
    if ranks > 1:
        import torch.distributed as dist

        outcomes = outcomes * ranks
        dist.all_gather_object(outcomes, outcomes[rank])
    leave_processes()
    failed = _merged([each.failed for each in outcomes])
    if rank == 0 and run:
        _end_sharing(jobs, run, failed)
    failures = sorted(failed) + [problem.name for problem in plan.problems]
    is_said = bool(failed) and len(plan.jobs) + len(plan.problems) == 1  # all there is to say of a file that was alone
    if rank == 0 and not is_said:
        print(last_line(plan, outcomes, time.monotonic() - started, request), flush=True)
    if failures and rank == 0 and not is_said:
        more = f" and {len(failures) - MOST_NAMES:,} more" if len(failures) > MOST_NAMES else ""
        names = ", ".join(failures[:MOST_NAMES]) + more
        kind = RequestError if plan.is_nothing else FailureError
        raise kind(f"{len(failures):,} of {len(plan.jobs) + len(plan.problems):,} failed: {names}")
    return FAILURE if failures else 0


def _end_sharing(jobs: list[Job], run: "Run", failed: dict[str, str]) -> None:
    """Says why videos failed, once for all processes, and removes what these needed."""
    from fsrcnn.videos.parts import remove_marks

    for job in jobs:
        if job.is_video:
            remove_marks(job.target, run)
            if str(job.source) in failed:
                print(shown(f"failed: {failed[str(job.source)]}"), file=sys.stderr)

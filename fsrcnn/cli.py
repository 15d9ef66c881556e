"""The command line of upscale.py and of the installed command `fsrcnn`."""

import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from fsrcnn.devices import join_processes, keep_freed_memory, leave_processes, rank_and_ranks
from fsrcnn.errors import FAILURE, WRONG_REQUEST, Error, FailureError, Parser, RequestError, run_script
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.network import Network, load_network
from fsrcnn.pictures.formats import FORMATS
from fsrcnn.pictures.restoration import Restoration, summary
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.plan import Job, Plan, Request, make_plan
from fsrcnn.restore import AUTO, parsed_restore
from fsrcnn.weights import shipped_weights

PATIENCE = timedelta(days=365)  # a process that is done waits for the others, which may take days
MOST_PICTURES = 4  # enlarged at a time

Enlarge = Callable[[Job], tuple[str, ...]]  # enlarges one file; returns warnings


def read_request(arguments: list[str] | None = None) -> Request:
    """Reads a command line; arguments: None: the process's own. Raises RequestError if it is not valid."""
    parser = Parser(description="Enlarges pictures and videos by FSRCNN.", allow_abbrev=False)
    add = parser.add_argument
    add(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help='pictures, videos, folders (with all folders in them) and quoted patterns ("photos/**/*.jpg")',
    )
    add(
        "--output",
        type=Path,
        metavar="DIR|FILE",
        help="folder for the results, which keep the inputs' folder structure, or file for a single result; default: "
        "beside the inputs",
    )
    add("--suffix", help="added to a result's name before its extension; default: _x2 for a scale of 2, and so on")
    written = [each.suffixes[0].removeprefix(".") for each in FORMATS if each.written_by]
    add(
        "--format",
        choices=["same", *written],
        default="same",
        help="format of enlarged pictures; same (the default): each source's own, PNG for GIF and AVIF",
    )
    add("--upscale-factor", type=int, choices=SCALES, default=2, help="scale; default: 2")
    add("--variant", choices=list(VARIANTS), default="fsrcnn", help="fsrcnn, or the smaller and faster fsrcnn_s")
    add("--weights", type=Path, metavar="FILE", help="weights file to use in place of the shipped one")
    add(
        "--restore",
        type=parsed_restore,
        default=AUTO,
        metavar="auto|0..1",
        help="how strongly compressed pictures are restored: 0 not at all, 1 most; auto (the default): each by its own "
        "quality, videos not",
    )
    add("--overwrite", action="store_true", help="replace existing results, which are otherwise left alone")
    add("--device", default="auto", help="auto (CUDA, else MPS, else CPU; the default), cpu, cuda, cuda:1, ... or mps")
    add("--codec", help="videos: encoder, by FFmpeg's name; default: libx264, or what suits the container")
    add("--quality", type=int, help="videos: the encoder's constant rate factor, 0 is best; default: the encoder's own")
    add("--preset", help="videos: the encoder's preset, a name or number (libx264: ultrafast to placebo)")
    add("--duration", type=float, help="videos: seconds to enlarge, from the start; default: all")
    found = vars(parser.parse_intermixed_args(arguments))
    request = Request(**found | {"inputs": tuple(found["inputs"])})
    _check(request)
    return request


def _check(request: Request) -> None:
    for field, right, expected in (
        ("quality", request.quality is None or request.quality >= 0, "zero or more"),
        ("duration", request.duration is None or request.duration > 0, "more than zero"),
        ("inputs", bool(request.inputs), "a picture, a folder, a quoted pattern or a video"),
    ):
        if not right:
            raise RequestError(f"{field}: got {getattr(request, field)!r}, expected {expected}")


def enlarger(request: Request, network: Network, jobs: list[Job], restoration: Restoration) -> Enlarge:
    """Returns the function that enlarges one file. Raises RequestError if there are videos and PyAV is missing."""
    if any(job.is_video for job in jobs):
        try:
            from fsrcnn.videos.upscale import upscale_video
        except ModuleNotFoundError as error:
            raise RequestError(f"videos need PyAV: pip install av ({error})") from error

    def enlarge(job: Job) -> tuple[str, ...]:
        if job.is_video:
            settings = request.codec, request.quality, request.preset, request.duration
            restored = network.restored(restoration.of_video())
            return upscale_video(job.source, job.target, restored, *settings).warnings
        return upscale_picture(*job, network, restoration)

    return enlarge


def run_jobs(jobs: list[Job], enlarge: Enlarge, network: Network, shown: bool) -> list[Path]:
    """Does the jobs, prints their warnings and errors, and returns the files that failed."""
    failed = []
    with tqdm(total=len(jobs), unit="file", dynamic_ncols=True, disable=None if shown else True) as bar:
        for job, result in _results(jobs, enlarge, network):
            try:
                for warning in result():
                    tqdm.write(f"{job.source}: {warning}", file=sys.stderr)
            except (Error, OSError) as error:
                tqdm.write(f"failed: {error}", file=sys.stderr)
                failed.append(job.source)
            bar.update()
    return failed


def _results(
    jobs: list[Job], enlarge: Enlarge, network: Network
) -> Iterator[tuple[Job, Callable[[], tuple[str, ...]]]]:
    """Yields each job with a function that returns its warnings or raises its error. Several pictures are enlarged at a
    time, so that one is read or written while others are enlarged; then videos one by one: each overlaps its own steps.
    """
    pictures = [job for job in jobs if not job.is_video]
    with ThreadPoolExecutor(min(network.threads, MOST_PICTURES)) as pool:
        try:
            futures = {pool.submit(enlarge, job): job for job in pictures}
            for future in as_completed(futures):
                yield futures[future], future.result
        except BaseException:
            network.stop()
            pool.shutdown(cancel_futures=True)
            raise
    for job in jobs:
        if job.is_video:
            yield job, partial(enlarge, job)


def _same_plan(request: Request, rank: int, ranks: int) -> Plan | None:
    """The first process's plan, sent to all: the others would find results that are being written. If it cannot be
    made, the first process raises RequestError and the others get None.
    """
    if ranks == 1:
        return make_plan(request)
    import torch.distributed as dist

    plans: list[Plan | None] = [None]
    try:
        if rank == 0:
            plans = [make_plan(request)]
    finally:
        dist.broadcast_object_list(plans)
    return plans[0]


def upscale() -> int:
    """Runs the command line; returns the exit code."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that unfinished files are removed
    request = read_request()
    keep_freed_memory()
    device = join_processes(request.device, PATIENCE)
    rank, ranks = rank_and_ranks()
    weights = request.weights or shipped_weights(request.variant, request.upscale_factor)
    network = load_network(weights, request.upscale_factor, device)
    restoration = Restoration(request.restore, network)
    plan = _same_plan(request, rank, ranks)
    if plan is None:
        return WRONG_REQUEST
    enlarge = enlarger(request, network, plan.jobs, restoration)
    done = [(run_jobs(plan.jobs[rank::ranks], enlarge, network, shown=rank == 0), restoration.chosen)]
    if ranks > 1:
        import torch.distributed as dist

        done = done * ranks
        dist.all_gather_object(done, done[rank])
    leave_processes()
    failed, chosen = zip(*done, strict=True)
    failures = sorted(chain(*failed))
    if rank == 0:
        print(f"{len(plan.jobs) - len(failures)} enlarged", end="")
        print(f", {plan.finished} were there already (--overwrite does them again)" * (plan.finished > 0), end="")
        print(f", {plan.results} results of earlier runs left as they are" * (plan.results > 0))
        if said := summary([*chain(*chosen)]):
            print(said)
    if failures and rank == 0:
        raise FailureError(f"{len(failures)} of {len(plan.jobs)} failed: {', '.join(map(str, failures))}")
    return FAILURE if failures else 0


def main() -> None:
    """The command `fsrcnn`."""
    run_script(upscale)

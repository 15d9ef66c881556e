"""Enlarges pictures and videos: `python upscale.py photo.jpg`, a folder, or a quoted pattern."""

import glob
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from config import UpscaleConfig, read_upscale_config
from devices import join_processes, keep_freed_memory, leave_processes, rank_and_ranks
from errors import FAILURE, WRONG_REQUEST, FailureError, RequestError, run_script
from files import shipped_weights
from inference.pictures import FORMATS, READ_ONLY, upscale_picture
from inference.runner import Runner, load_runner

PATIENCE = timedelta(days=365)  # a process that has done its files waits for the others, which may have days to go
MOST_PICTURES = 4  # at a time
VIDEO_SUFFIXES = frozenset(".avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())
SUFFIXES = VIDEO_SUFFIXES | FORMATS.keys()


class Found(NamedTuple):
    """A file to enlarge and its place below the folder that was searched."""

    source: Path
    place: Path


class Job(NamedTuple):
    """A file to enlarge and the file that comes of it."""

    source: Path
    target: Path


class Plan(NamedTuple):
    """What a command comes to: the jobs to do, how many are done already, how many files found are results."""

    jobs: list[Job]
    finished: int
    results: int


def find_inputs(inputs: tuple[str, ...]) -> list[Found]:
    """Every file that the inputs name, hold or match, once. Raises RequestError for an input that leads to none."""
    found: dict[Path, Found] = {}
    for text in inputs:
        named = Path(text)
        if named.is_file():
            if named.suffix.lower() not in SUFFIXES:
                raise RequestError(f"{named}: no known picture or video ({' '.join(sorted(SUFFIXES))})")
            root, sources = named.parent, [named]
        elif named.is_dir():
            root, sources = named, list(_enlargeable(named.rglob("*")))
        elif glob.has_magic(text):
            root = Path(*takewhile(lambda part: not glob.has_magic(part), named.parts))
            sources = list(_enlargeable(root.glob(str(named.relative_to(root)))))
        else:
            raise RequestError(f"{named}: no such file or folder")
        if not sources:
            raise RequestError(f"{text}: nothing to enlarge here (looked for {' '.join(sorted(SUFFIXES))})")
        for source in sorted(sources):
            found.setdefault(source.absolute(), Found(source, source.relative_to(root)))
    return list(found.values())


def _enlargeable(paths: Iterable[Path]) -> Iterator[Path]:
    """The known files among what a search brought; a hidden one is unfinished, or not meant."""
    return (p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())


def result_name(source: Path, config: UpscaleConfig) -> str:
    ending = f"_x{config.upscale_factor}" if config.suffix is None else config.suffix
    return source.stem + ending + result_type(source, config)


def result_type(source: Path, config: UpscaleConfig) -> str:
    """The suffix of the format that the result is written in."""
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return source.suffix
    if config.format == "same":
        return ".png" if source.suffix.lower() in READ_ONLY else source.suffix
    return source.suffix if FORMATS[source.suffix.lower()] == FORMATS[f".{config.format}"] else f".{config.format}"


def names_one_file(output: Path) -> bool:
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def output_job(found: list[Found], output: Path) -> Job:
    """The one job whose result's name is given. Raises RequestError for several inputs or a format it cannot be."""
    if len(found) > 1:
        raise RequestError(f"output: {output} is one file, and there are {len(found)} inputs; name a folder")
    job = Job(found[0].source, output)
    if is_video(job) != (output.suffix.lower() in VIDEO_SUFFIXES) or output.suffix.lower() in READ_ONLY:
        raise RequestError(f"output: {job.source} cannot be written as {output.suffix}; choose another suffix")
    return job


def make_plan(config: UpscaleConfig) -> Plan:
    """Decides which file becomes which. Raises RequestError where that is not possible."""
    found = find_inputs(config.inputs)
    if config.output and names_one_file(config.output):
        jobs = {config.output: output_job(found, config.output)}
    else:
        jobs = folder_jobs(found, config)
    for source, target in jobs.values():
        if target.absolute() == source.absolute():
            raise RequestError(f"{source}: would be replaced by its own result; choose another suffix or output")
    to_do = [job for job in jobs.values() if config.overwrite or not job.target.exists()]
    return Plan(to_do, len(jobs) - len(to_do), len(found) - len(jobs))


def folder_jobs(found: list[Found], config: UpscaleConfig) -> dict[Path, Job]:
    """Those of the found files that are no results, by their results, in a folder or beside the inputs."""
    if config.output and config.output.exists() and not config.output.is_dir():
        raise RequestError(f"output: {config.output} is a file, expected a folder")
    scales = [replace(config, upscale_factor=scale) for scale in (2, 3, 4)]
    results = {result_name(source, each) for source, _ in found for each in scales}
    jobs: dict[Path, Job] = {}
    for source, place in found:
        if source.name in results and config.suffix != "":
            continue
        folder = config.output / place.parent if config.output else source.parent
        target = folder / result_name(source, config)
        if target in jobs:
            raise RequestError(f"{jobs[target].source} and {source} would both become {target}; do them one by one")
        jobs[target] = Job(source, target)
    return jobs


def enlarger(config: UpscaleConfig, runner: Runner, jobs: list[Job]) -> Callable[[Job], tuple[str, ...]]:
    """What enlarges one file and returns remarks. Raises RequestError where there are videos and no PyAV."""
    if any(is_video(job) for job in jobs):
        try:
            from inference.videos import upscale_video
        except ModuleNotFoundError as error:
            raise RequestError(f"videos need PyAV: pip install -r requirements.txt ({error})") from error

    def enlarge(job: Job) -> tuple[str, ...]:
        if is_video(job):
            settings = config.codec, config.quality, config.preset, config.duration
            return upscale_video(*job, runner, *settings).warnings
        return upscale_picture(*job, runner)

    return enlarge


def is_video(job: Job) -> bool:
    return job.source.suffix.lower() in VIDEO_SUFFIXES


def run_jobs(jobs: list[Job], enlarge: Callable[[Job], tuple[str, ...]], runner: Runner, shown: bool) -> list[Path]:
    """Does the jobs, says of each that fails why, and returns the files that failed."""
    failed = []
    with tqdm(total=len(jobs), unit="file", dynamic_ncols=True, disable=None if shown else True) as bar:
        for job, result in results(jobs, enlarge, runner):
            try:
                for remark in result():
                    tqdm.write(f"{job.source}: {remark}", file=sys.stderr)
            except (RequestError, FailureError, OSError) as error:
                tqdm.write(f"failed: {error}", file=sys.stderr)
                failed.append(job.source)
            bar.update()
    return failed


def results(
    jobs: list[Job], enlarge: Callable[[Job], tuple[str, ...]], runner: Runner
) -> Iterator[tuple[Job, Callable[[], tuple[str, ...]]]]:
    """Each job, once it is done, and what gives its remarks or raises its error: several pictures at a time, so that
    one is read or written while others are enlarged, then one video after the other, which overlap their own steps.
    """
    pictures = [job for job in jobs if not is_video(job)]
    with ThreadPoolExecutor(min(runner.threads, MOST_PICTURES)) as pool:
        try:
            futures = {pool.submit(enlarge, job): job for job in pictures}
            for future in as_completed(futures):
                yield futures[future], future.result
        except BaseException:
            runner.stop()
            pool.shutdown(cancel_futures=True)
            raise
    for job in jobs:
        if is_video(job):
            yield job, partial(enlarge, job)


def same_plan(config: UpscaleConfig, rank: int, ranks: int) -> Plan | None:
    """The plan that the first process makes: the others would find what is written meanwhile. Where it cannot be made,
    the first raises RequestError and the others get None.
    """
    if ranks == 1:
        return make_plan(config)
    import torch.distributed as dist

    plans: list[Plan | None] = [None]
    try:
        if rank == 0:
            plans = [make_plan(config)]
    finally:
        dist.broadcast_object_list(plans)
    return plans[0]


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # unfinished files are removed
    config = read_upscale_config(__doc__)
    keep_freed_memory()
    device = join_processes(config.device, PATIENCE)
    rank, ranks = rank_and_ranks()
    weights = config.weights or shipped_weights(config.variant, config.upscale_factor)
    runner = load_runner(weights, config.upscale_factor, device)
    plan = same_plan(config, rank, ranks)
    if plan is None:
        return WRONG_REQUEST
    enlarge = enlarger(config, runner, plan.jobs)
    failed = [run_jobs(plan.jobs[rank::ranks], enlarge, runner, shown=rank == 0)]
    if ranks > 1:
        import torch.distributed as dist

        failed = failed * ranks
        dist.all_gather_object(failed, failed[rank])
    leave_processes()
    failures = sorted(chain(*failed))
    if rank == 0:
        print(f"{len(plan.jobs) - len(failures)} enlarged", end="")
        print(f", {plan.finished} were there already (--overwrite does them again)" * (plan.finished > 0), end="")
        print(f", {plan.results} results of earlier runs left as they are" * (plan.results > 0))
    if failures and rank == 0:
        raise FailureError(f"{len(failures)} of {len(plan.jobs)} failed: {', '.join(map(str, failures))}")
    return FAILURE if failures else 0


if __name__ == "__main__":
    run_script(main)

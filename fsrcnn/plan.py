"""Which files a command line names, and what the result of each is called."""

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from fsrcnn.errors import RequestError
from fsrcnn.files import same_file
from fsrcnn.geometry import SCALES
from fsrcnn.pictures.formats import BY_SUFFIX
from fsrcnn.restore import AUTO, Restore
from fsrcnn.videos import VIDEO_SUFFIXES

SUFFIXES = BY_SUFFIX.keys() | VIDEO_SUFFIXES


@dataclass(frozen=True)
class Request:
    """What is to be enlarged, and how; the fields are the flags of cli.py, which says what each is."""

    inputs: tuple[str, ...]
    output: Path | None = None
    suffix: str | None = None
    format: str = "same"
    upscale_factor: int = 2
    variant: str = "fsrcnn"
    weights: Path | None = None
    restore: Restore = AUTO
    overwrite: bool = False
    device: str = "auto"
    codec: str | None = None
    quality: int | None = None
    preset: str | None = None
    duration: float | None = None


class Found(NamedTuple):
    """A file to enlarge and its place below the folder that was searched."""

    source: Path
    place: Path


class Job(NamedTuple):
    """A file to enlarge and the file to write the result to."""

    source: Path
    target: Path

    @property
    def is_video(self) -> bool:
        return self.source.suffix.lower() in VIDEO_SUFFIXES


class Plan(NamedTuple):
    """The jobs to do, how many more have been done already, and how many of the files found are results."""

    jobs: list[Job]
    finished: int
    results: int


def make_plan(request: Request) -> Plan:
    """Finds the files to enlarge and names their results. Raises RequestError if that is not possible."""
    found = find_inputs(request.inputs)
    if request.output and _names_one_file(request.output):
        jobs = {request.output: _only_job(found, request.output)}
    else:
        jobs = _folder_jobs(found, request)
    for source, target in jobs.values():
        if same_file(source, target):
            raise RequestError(f"{source}: would be replaced by its own result; choose another suffix or output")
    to_do = [job for job in jobs.values() if request.overwrite or not job.target.exists()]
    return Plan(to_do, len(jobs) - len(to_do), len(found) - len(jobs))


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
    """The pictures and videos among the paths; hidden files are left out, as unfinished or not meant."""
    return (p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())


def _result_name(source: Path, request: Request) -> str:
    ending = f"_x{request.upscale_factor}" if request.suffix is None else request.suffix
    return source.stem + ending + _result_type(source, request)


def _result_type(source: Path, request: Request) -> str:
    """The suffix of the format that the result is written in."""
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return source.suffix
    own, asked = BY_SUFFIX[source.suffix.lower()], f".{request.format}"
    if request.format == "same":
        return source.suffix if own.written_by else ".png"
    return source.suffix if asked in own.suffixes else asked


def _names_one_file(output: Path) -> bool:
    return output.suffix.lower() in SUFFIXES and not output.is_dir()


def _only_job(found: list[Found], output: Path) -> Job:
    """The job for a single result, `output`. Raises RequestError for several inputs, or if the formats do not fit."""
    if len(found) > 1:
        raise RequestError(f"output: {output} is one file, and there are {len(found)} inputs; name a folder")
    return job_of(found[0].source, output)


def job_of(source: Path, target: Path) -> Job:
    """The job that enlarges one file into another. Raises RequestError if there is no such file, or the formats do not
    fit.
    """
    if not source.is_file():
        raise RequestError(f"{source}: no such file")
    for path in (source, target):
        if path.suffix.lower() not in SUFFIXES:
            raise RequestError(f"{path}: no known picture or video ({' '.join(sorted(SUFFIXES))})")
    job, suffix = Job(source, target), target.suffix.lower()
    if job.is_video != (suffix in VIDEO_SUFFIXES) or not (job.is_video or BY_SUFFIX[suffix].written_by):
        raise RequestError(f"output: {source} cannot be written as {target.suffix}; choose another suffix")
    if same_file(source, target):
        raise RequestError(f"{source}: would be replaced by its own result; choose another suffix or output")
    return job


def _folder_jobs(found: list[Found], request: Request) -> dict[Path, Job]:
    """The jobs by their targets, in a folder or beside the inputs; files that are results themselves are left out."""
    if request.output and request.output.exists() and not request.output.is_dir():
        raise RequestError(f"output: {request.output} is a file, expected a folder")
    scales = [replace(request, upscale_factor=scale) for scale in SCALES]
    results = {_result_name(source, each) for source, _ in found for each in scales}
    jobs: dict[Path, Job] = {}
    for source, place in found:
        if source.name in results and request.suffix != "":
            continue
        folder = request.output / place.parent if request.output else source.parent
        target = folder / _result_name(source, request)
        if target in jobs:
            raise RequestError(f"{jobs[target].source} and {source} would both become {target}; do them one by one")
        jobs[target] = Job(source, target)
    return jobs

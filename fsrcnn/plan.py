"""Which files a command line names, and what the result of each is called."""

import glob
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from fsrcnn.errors import RequestError
from fsrcnn.files import is_file, is_folder, is_hidden, real_path, same_file, whole_path
from fsrcnn.geometry import SCALES
from fsrcnn.pictures.formats import BY_SUFFIX, MEMORY_LIMIT
from fsrcnn.restore import AUTO, Restore
from fsrcnn.sizes import Size
from fsrcnn.stamp import is_stamped
from fsrcnn.videos import VIDEO_SUFFIXES, Deinterlace

SUFFIXES = BY_SUFFIX.keys() | VIDEO_SUFFIXES
KNOWN = f"known: {' '.join(sorted(SUFFIXES))}"
# Pictures and films that people have and that are not enlarged: phones', cameras', editors', others.
UNREAD = frozenset(
    ".heic .heif .heics .hif .avifs .jfif .jpe .jxl .jp2 .j2k .jpf .jpx .jxr .wdp .psd .psb .xcf .kra .ora .svg .svgz "
    ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 .rwl .raf .pef .srw .x3f .3fr .iiq .erf .mrw .kdc .dcr "
    ".raw .mef .mos .gpr .eps .ico .icns .tga .dds .exr .hdr .ppm .pgm .pbm .pnm .pam .qoi .pcx .dib .apng .mng .jng "
    ".3gp .3g2 .asf .divx .dv .f4v .m1v .m2v .mjpeg .mod .mxf .ogm .rm .rmvb .tod .vob .h264 .h265 .hevc .gifv".split()
) - set(SUFFIXES)
LIKE_A_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")  # not the end of "2024.06.30" or "v1.5"
TRIAL = "_trial"  # ends the name of a few seconds of a film, which so do not stand in for all of it
FILES_AT_ONCE = 16  # that are looked into
ITSELF = "would be replaced by its own result; choose another suffix or output"


@dataclass(frozen=True)
class Request:
    """What is to be enlarged, and how; the fields are the flags of cli.py, which says what each is. `size` stands for
    four of them.
    """

    inputs: tuple[str, ...]
    output: Path | None = None
    suffix: str | None = None
    format: str = "same"
    size: Size = field(default_factory=Size)
    variant: str = "fsrcnn"
    weights: Path | None = None
    restore: Restore = AUTO
    ensemble: bool = False
    accept_damaged: bool = False
    memory_limit: int = MEMORY_LIMIT
    overwrite: bool = False
    device: str = "auto"
    codec: str | None = None
    quality: int | None = None
    preset: str | None = None
    start: float = 0.0
    duration: float | None = None
    deinterlace: Deinterlace = "auto"
    frames: Path | None = None
    fps: Fraction | None = None


class Found(NamedTuple):
    """A file, its place below the folder that was searched, and whether the command line names the file itself."""

    source: Path
    place: Path
    is_named: bool


class Problem(NamedTuple):
    """What is not enlarged, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class Search(NamedTuple):
    """What inputs lead to. unread: how many files are of formats in UNREAD, by their suffix."""

    found: list[Found]
    problems: list[Problem]
    unread: Counter[str]


class Job(NamedTuple):
    """A file to enlarge, the file to write the result to, and whether the user named the source itself."""

    source: Path
    target: Path
    is_named: bool = True

    @property
    def is_video(self) -> bool:
        return self.source.suffix.lower() in VIDEO_SUFFIXES


class Plan(NamedTuple):
    """The jobs to do, what cannot be done, how many jobs were done before, how many of the files found are results of
    earlier runs, and how many are of formats in UNREAD, by their suffix.
    """

    jobs: list[Job]
    problems: list[Problem]
    finished: int
    results: int
    unread: Counter[str]

    @property
    def is_nothing(self) -> bool:
        """Whether the request leads to no file that is, was or need not be enlarged."""
        return not (self.jobs or self.finished or self.results)


def make_plan(request: Request) -> Plan:
    """Finds the files to enlarge and names their results. What stands in one file's way is a problem of the plan.

    Raises RequestError for what is wrong whatever the files are, and for a single problem if there is nothing else.
    """
    if request.output:
        _check_output(request.output)
    found, problems, unread = find_inputs(request.inputs, request.output)
    sources = without_results(found, request.size.ending)
    if sources and request.output and _names_one_file(request.output):
        jobs = [_only_job(sources, request.output, request.format)]
    else:
        jobs = _jobs_of_folders(sources, request, problems)
    to_do, finished = _to_do(jobs, sources, request.overwrite, problems)
    targets = {whole_path(job.target) for job in jobs}
    left = [each for each in found if each not in sources and whole_path(each.source) not in targets]
    plan = Plan(to_do, problems, finished, len(left), unread)
    if plan.is_nothing and len(problems) == 1:
        raise RequestError(str(problems[0]))
    return plan


# --- the files that a command line leads to ---


def find_inputs(inputs: tuple[str, ...], output: Path | None = None) -> Search:
    """Every file that the inputs name, hold or match, once; an input that leads to none is a problem. Hidden files are
    left out unless they are named, and so is the folder `output` inside of a folder: it holds results.
    """
    found: dict[str, Found] = {}
    problems: list[Problem] = []
    unread: dict[str, str] = {}
    for text in inputs:
        try:
            files = sorted(_files_of(text, output, problems))
        except RequestError as error:
            problems.append(Problem(text, str(error)))
            continue
        for each in files:
            path, suffix = whole_path(each.source), each.source.suffix.lower()
            if suffix in UNREAD:
                unread[path] = suffix
            elif each.is_named or path not in found:
                found[path] = each
    return Search(list(found.values()), problems, Counter(unread.values()))


def _files_of(text: str, output: Path | None, problems: list[Problem]) -> list[Found]:
    """The files that one input leads to, of formats that are enlarged and of those in UNREAD. Adds what is wrong with
    some of them to the problems; raises RequestError, without the input's name, if there is none to enlarge.
    """
    named = Path(text)
    if is_file(named):
        if named.suffix.lower() not in SUFFIXES:
            raise RequestError(f"no known picture or video ({KNOWN})")
        return [Found(named, Path(named.name), is_named=True)]
    known = len(problems)
    if is_folder(named):
        root, paths = named, list(_walk(named, _inside(output, named), problems))
    elif glob.has_magic(text):
        root = Path(*takewhile(lambda part: not glob.has_magic(part), named.parts))
        paths = _matches(root, str(named.relative_to(root)), _inside(output, root))
    else:
        raise RequestError("not a file or folder" if os.path.lexists(text) else "no such file or folder")
    files = []
    for path in paths:
        if path.suffix.lower() in SUFFIXES | UNREAD and not is_folder(path):
            if is_file(path):
                files.append(Found(path, _place(path, root), is_named=False))
            else:
                problems.append(Problem(str(path), "not a file, or a link that leads to none; remove it"))
    if len(problems) == known and all(each.source.suffix.lower() in UNREAD for each in files):
        unread = f"; not read: {unread_text(Counter(f.source.suffix.lower() for f in files))}" if files else ""
        raise RequestError(f"nothing to enlarge here ({KNOWN}){unread}")
    return files


def _walk(folder: Path, left_out: Path | None, problems: list[Problem]) -> Iterator[Path]:
    """The files below a folder, but for hidden ones and the folder left_out. Unreadable folders become problems."""

    def unreadable(error: OSError) -> None:
        problems.append(Problem(os.fsdecode(error.filename), f"cannot be read ({error.strerror})"))

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        here = Path(parent)
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        if left_out:
            folders[:] = [name for name in folders if real_path(here / name) != left_out]
        yield from (here / name for name in names if not is_hidden(Path(name)))


def _matches(root: Path, pattern: str, left_out: Path | None) -> list[Path]:
    """The paths that a pattern matches, but for hidden ones, unless the pattern has a dot for them as a shell wants it,
    and what lies in the folder left_out. Raises RequestError for a pattern that is none.
    """
    try:
        paths = list(root.glob(pattern))
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot be searched ({error})") from error
    if not is_hidden(Path(pattern)):
        paths = [path for path in paths if not is_hidden(path.relative_to(root))]
    if left_out:
        paths = [path for path in paths if not real_path(path).is_relative_to(left_out)]
    return paths


def _inside(output: Path | None, root: Path) -> Path | None:
    """The real path of the folder `output` if it lies inside the folder `root`; else None."""
    if output and real_path(root) in real_path(output).parents:
        return real_path(output)
    return None


def _place(path: Path, root: Path) -> Path:
    """The path below the root; for one that a pattern with ".." finds elsewhere, the file's name."""
    place = path.relative_to(root)
    return Path(place.name) if ".." in place.parts else place


def unread_text(unread: Counter[str]) -> str:
    """For a user: "2 .heic, 1 .nef"."""
    return ", ".join(f"{number:,} {suffix}" for suffix, number in unread.most_common())


# --- results of earlier runs ---


def without_results(found: list[Found], ending: str) -> list[Found]:
    """The files that are not results of earlier runs. Results bear a stamp; of those that bear none, because of an
    earlier version or because another program took it off, the name tells: a_x2.png where there is an a.png, or
    another `ending` that this run's results have. If results alone are named, they are meant.
    """
    endings = {ending, *(f"_x{scale}" for scale in SCALES)}
    names = {each.source.stem + known for each in found for known in endings}
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:  # for disks and networks that take long to answer
        stamped = list(pool.map(is_stamped, [each.source for each in found]))
    results = {each for each, mark in zip(found, stamped, strict=True) if mark or each.source.stem in names}
    named = [each for each in found if each.is_named]
    if results.issuperset(named):
        results.difference_update(named)
    return [each for each in found if each not in results]


# --- what the results are called ---


def result_name(source: Path, request: Request) -> str:
    ending = request.size.ending if request.suffix is None else request.suffix
    is_trial = source.suffix.lower() in VIDEO_SUFFIXES and (request.start or request.duration)
    return source.stem + ending + (TRIAL if is_trial else "") + _result_type(source, request)


def _result_type(source: Path, request: Request) -> str:
    """The suffix of the format that the result is written in."""
    if source.suffix.lower() in VIDEO_SUFFIXES:
        return source.suffix
    own, asked = BY_SUFFIX[source.suffix.lower()], f".{request.format}"
    if request.format == "same":
        return source.suffix if own.written_by else ".png"
    return source.suffix if asked in own.suffixes else asked


def _check_output(output: Path) -> None:
    """Raises RequestError for an output that is neither the file for a single result nor a folder or its name."""
    above = next((path for path in output.parents if os.path.lexists(path)), output)
    for path in (output, above):
        if os.path.lexists(path) and not is_folder(path) and not (path is output and _names_one_file(path)):
            raise RequestError(f"output: {path} is a file, expected a folder")
    if LIKE_A_SUFFIX.fullmatch(output.suffix) and output.suffix.lower() not in SUFFIXES and not is_folder(output):
        raise RequestError(f"output: {output} has no known format ({KNOWN}); if it is to be a folder, make it first")


def _names_one_file(output: Path) -> bool:
    return output.suffix.lower() in SUFFIXES and not is_folder(output)


def _only_job(sources: list[Found], output: Path, format_: str) -> Job:
    """The job for a single result, `output`. Raises RequestError for several inputs, or if the formats do not fit."""
    if format_ != "same" and f".{format_}" not in getattr(BY_SUFFIX.get(output.suffix.lower()), "suffixes", ()):
        raise RequestError(f"format: got {format_}, and output is {output}; leave one of the two out")
    if len(sources) > 1:
        raise RequestError(f"output: {output} is one file, and there are {len(sources)} inputs; name a folder")
    return job_of(sources[0].source, output)


def job_of(source: Path, target: Path) -> Job:
    """The job that enlarges one file into another. Raises RequestError if there is no such file, or the formats do not
    fit.
    """
    if not source.is_file():
        raise RequestError(f"{source}: no such file")
    for path in (source, target):
        if path.suffix.lower() not in SUFFIXES:
            raise RequestError(f"{path}: no known picture or video ({KNOWN})")
    job, suffix = Job(source, target), target.suffix.lower()
    if job.is_video != (suffix in VIDEO_SUFFIXES) or not (job.is_video or BY_SUFFIX[suffix].written_by):
        raise RequestError(f"output: {source} cannot be written as {target.suffix}; choose another suffix")
    if same_file(source, target):
        raise RequestError(f"{source}: {ITSELF}")
    return job


def _jobs_of_folders(sources: list[Found], request: Request, problems: list[Problem]) -> list[Job]:
    """The jobs with results in a folder or beside the sources. Of several that would have one result, the source that
    keeps its format has it; the others are problems, and so are all if that is none or several.
    """
    by_target: dict[str, list[Job]] = {}
    for source, place, is_named in sources:
        folder = request.output / place.parent if request.output else source.parent
        job = Job(source, folder / result_name(source, request), is_named)
        by_target.setdefault(_as_the_system_sees(job.target), []).append(job)
    kept = []
    for jobs in by_target.values():
        owners = jobs if len(jobs) == 1 else [job for job in jobs if job.source.suffix == job.target.suffix]
        if len(owners) == 1:
            kept += owners
            others = [job for job in jobs if job is not owners[0]]
            advice = f"would become {jobs[0].target}, as {owners[0].source} does; enlarge it alone, with --output FILE"
            problems += [Problem(str(job.source), advice) for job in others]
        else:
            names = " and ".join(str(job.source) for job in jobs)
            advice = f"would both become {jobs[0].target}; enlarge them one by one, with --output FILE"
            problems.append(Problem(names, advice if len(jobs) == 2 else advice.replace("both", "all")))
    return kept


def _as_the_system_sees(path: Path) -> str:
    """The same for paths that lead to one file, also where capitals and the form of accents make no difference."""
    whole = whole_path(path)
    return unicodedata.normalize("NFC", whole).casefold() if sys.platform in ("darwin", "win32") else whole


def _to_do(jobs: list[Job], sources: list[Found], overwrite: bool, problems: list[Problem]) -> tuple[list[Job], int]:
    """The jobs that are not done yet, and how many are. Those whose result cannot be written, or would replace a
    source, are problems.
    """
    inputs: dict[tuple[int, int] | None, Path] = {}
    for source, _, _ in sources:
        with suppress(OSError):
            inputs[_identity(source)] = source
    to_do, finished = [], 0
    for job in jobs:
        try:
            there = _identity(job.target)
        except OSError as error:
            problems.append(Problem(str(job.source), f"its result {job.target} cannot be written ({error.strerror})"))
            continue
        if there and there in inputs:
            replaced = inputs[there]
            why = ITSELF if replaced == job.source else f"its result would replace {replaced}; choose another suffix"
            problems.append(Problem(str(job.source), why))
        elif there and job.target.is_dir():
            problems.append(Problem(str(job.source), f"its result {job.target} is there already, as a folder"))
        elif there and not overwrite:
            finished += 1
        else:
            to_do.append(job)
    return to_do, finished


def _identity(path: Path) -> tuple[int, int] | None:
    """The same for all paths that lead to one file, however they are written; None: there is none. Raises OSError for a
    name that is too long.
    """
    if ".." in path.parts:  # of a folder, perhaps, that is made only then
        path = real_path(path)
    folder = next((each for each in path.parents if is_folder(each)), path.parent)
    try:
        os.lstat(folder / path.name)  # too long, even where its folder is not there yet?
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return state.st_dev, state.st_ino

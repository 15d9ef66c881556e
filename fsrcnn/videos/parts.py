"""The parts that a film is made in: 20 to 60 seconds each, encoded by itself, kept until all are there and joined.

They lie in a hidden folder beside the result, each whole or absent. So an interrupted run goes on where it was, and
several processes share one film: each takes the next part that none has taken.

A run is known by a word of its own, the same for all processes that torchrun starts. What a file in the folder is:

    00012-SETTINGS.part       a finished part; SETTINGS: a digest of all that its content depends on
    SETTINGS.json             these
    00012-RUN.taken           a process of that run makes it
    00012-RUN-NUMBER.new      is being written
    RUN.lock                  locked as long as a process of that run lives
    failed-RUN, joined-RUN    what became of the film
"""

import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from fsrcnn.errors import FailureError
from fsrcnn.files import written_whole
from fsrcnn.videos.packets import Footer, read_footer

if TYPE_CHECKING:
    from av.container.core import Chapter

if os.name == "posix":
    import fcntl

# Seconds of a part: as many as a film of FEW parts has, within these. The more parts, the more processes share a film
# and the less an interruption costs; but each begins with a key frame.
LEAST_SECONDS, MOST_SECONDS, FEW = 20.0, 60.0, 6
# A part begins at the source's first key frame, where most scenes begin and a key frame costs least, in the last half
# of the seconds of the one before; if there is none, at their end.
SLACK = 1 / 2
ROUNDING = 1e-6  # seconds that a time may be off by
MOST_OF_NAME = 100  # bytes of a result's name in that of its folder


class Cuts(NamedTuple):
    """Where a film is cut. start, end: of what is enlarged, in seconds of the source's time; -inf and inf: all of it.
    first: where the first part begins. seconds: of a part. shift: seconds that the result is earlier than the source.
    """

    start: float
    end: float
    first: float
    seconds: float
    number: int
    shift: float

    def begins(self, part: int) -> float:
        """The time from which on a frame may be the part's first."""
        return self.start if part == 0 else self.first + (part - SLACK) * self.seconds - ROUNDING

    def is_in(self, part: int, seconds: float, is_key: bool) -> bool:
        """Whether a frame of this time, after those of the parts before, belongs to the part or one behind it."""
        if part == self.number:
            return seconds >= self.end
        wait = 0.0 if is_key or part == 0 else SLACK * self.seconds
        return seconds >= self.begins(part) + wait

    def shift_in(self, time_base: Fraction) -> int:
        """`shift` in another unit."""
        return round(self.shift / time_base)


def cut(first: float, end: float, start: float, duration: float | None) -> Cuts:
    """The parts of a film from `first` to `end`, in seconds, or of `duration` seconds of it from `start` on."""
    begin = first + start
    until = math.inf if duration is None else begin + duration - ROUNDING
    length = min(end, until) - begin
    seconds = min(max(length / FEW, LEAST_SECONDS), MOST_SECONDS)
    number = max(1, int(length / seconds + ROUNDING))
    return Cuts(begin - ROUNDING if start else -math.inf, until, begin, seconds, number, start)


def cut_chapter(chapter: "Chapter", cuts: Cuts) -> "Chapter | None":
    """The chapter in the time of the result; None: it is not of what is enlarged."""
    unit = chapter["time_base"] or Fraction(1)
    if chapter["start"] * unit >= cuts.end or (cuts.shift and chapter["end"] * unit <= cuts.start):
        return None
    if not cuts.shift:
        return chapter
    shift = cuts.shift_in(unit)
    return {**chapter, "start": max(chapter["start"] - shift, 0), "end": chapter["end"] - shift}


class Run(NamedTuple):
    """The processes that enlarge films together. name: theirs alone. is_shared: whether there are several."""

    name: str
    is_shared: bool = False


def new_run() -> Run:
    return Run(secrets.token_hex(8))


def folder_of(target: Path) -> Path:
    """The folder of a result's parts; a long name is shortened to what file systems take."""
    name = target.name
    if len(os.fsencode(name)) > MOST_OF_NAME:
        shortened = os.fsencode(name)[:MOST_OF_NAME].decode(errors="ignore")
        name = f"{shortened}.{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
    return target.with_name(f".{name}.parts")


def is_joined(target: Path, run: Run) -> bool:
    """Whether another process of the run has completed the film."""
    return (folder_of(target) / f"joined-{run.name}").exists()


def remove_marks(target: Path, run: Run) -> None:
    """Removes what a shared run leaves of a film that it completed."""
    if is_joined(target, run):
        shutil.rmtree(folder_of(target), ignore_errors=True)


def kept_text(target: Path) -> str:
    """For a user, after an interruption: how much of the film is kept; empty: nothing."""
    number = len(list(folder_of(target).glob("*.part")))
    return f"{number} finished parts of {target} are kept in {folder_of(target).name}" if number else ""


class Parts:
    """The parts of one film in a process of a run. `warnings`: what the user should know of parts made before."""

    def __init__(self, target: Path, number: int, settings: dict[str, Any], run: Run) -> None:
        self.folder, self.number = folder_of(target), number
        self.warnings: list[str] = []
        self._target, self._run, self._settings = target, run, settings
        self._digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        self._next = 0
        self._counted: set[int] = set()

    def path(self, part: int) -> Path:
        return self.folder / f"{part:05}-{self._digest}.part"

    @property
    def are_whole(self) -> bool:
        return all(self.path(part).exists() for part in range(self.number))

    def take(self) -> int | None:
        """The next part that is not there and that no process has taken; None: there is none, or the film failed."""
        while self._next < self.number:
            part, self._next = self._next, self._next + 1
            if (self.folder / f"failed-{self._run.name}").exists():
                return None
            if not self.path(part).exists() and self._claim(f"{part:05}"):
                return part
        return None

    def take_join(self) -> bool:
        """Whether this process is to join the parts."""
        return self.are_whole and self._claim("join")

    def fail(self) -> None:
        """Lets the run's other processes make no more parts of the film."""
        with suppress(OSError):
            (self.folder / f"failed-{self._run.name}").touch()

    def new_file(self, part: int) -> Path:
        """A name to write a part to, before it gets its own."""
        return self.folder / f"{part:05}-{self._run.name}-{secrets.token_hex(4)}.new"

    def footers(self) -> list[Footer]:
        return [read_footer(self.path(part)) for part in range(self.number)]

    def gaps(self) -> list[int]:
        """The parts that do not begin where the ones before them end, as a film that cannot be sought in leads to."""
        found, last = [], None
        for part, footer in enumerate(self.footers()):
            if footer.before is not None and last is not None and footer.before != last:
                found.append(part)
            last = last if footer.last is None else footer.last
        return found

    def news(self, without: int | None = None) -> int:
        """The frames in parts that have come since it was asked last. without: one that has been counted."""
        self._counted |= set() if without is None else {without}
        new = [part for part in range(self.number) if part not in self._counted and self.path(part).exists()]
        self._counted |= set(new)
        return sum(read_footer(self.path(part)).frames for part in new)

    def remove(self) -> None:
        """Removes the parts of a film that is complete."""
        if self._run.is_shared:
            (self.folder / f"joined-{self._run.name}").touch()
            for path in self.folder.glob("*.part"):
                path.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _claim(self, what: str) -> bool:
        try:
            (self.folder / f"{what}-{self._run.name}.taken").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    # --- the folder ---

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Within it the folder is there and this run's alone. It stays if it holds a finished part. Raises FailureError
        where another run is at the film.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / f"{self._run.name}.lock"
        with lock.open("ab") as held:
            _lock(held)
            self._clean()
            said = self.folder / f"{self._digest}.json"
            if not said.exists():
                with written_whole(said) as unfinished:
                    unfinished.write_text(json.dumps(self._settings), encoding="utf-8")
            try:
                yield
            finally:
                self._close(lock)

    def _close(self, lock: Path) -> None:
        if self._run.is_shared or not self.folder.exists():
            return
        for path in self.folder.glob(f"*-{self._run.name}*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # Windows removes no open file; the next run does
            lock.unlink(missing_ok=True)
        if not any(self.folder.glob("*.part")):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _clean(self) -> None:
        """Removes what runs that are no more left unfinished, and the parts with other settings, which it says."""
        for lock in self.folder.glob("*.lock"):
            if lock.stem != self._run.name and _is_locked(lock):
                raise FailureError(
                    f"{self._target}: is being enlarged by another run; wait for it, or write to another file"
                )
        kept = (f"-{self._run.name}", f"-{self._digest}.part", f"{self._run.name}.lock", f"{self._digest}.json")
        others = [path for path in self.folder.iterdir() if not any(each in path.name for each in kept)]
        if any(path.suffix == ".part" for path in others):
            self.warnings.append(f"finished parts of an earlier run are removed: {self._differences(others)}")
        for path in others:
            with suppress(OSError):  # another process of this run has removed it
                path.unlink()

    def _differences(self, files: list[Path]) -> str:
        """Which settings the parts that are there were made with."""
        for path in files:
            if path.suffix == ".json":
                with suppress(OSError, ValueError):
                    was = json.loads(path.read_text(encoding="utf-8"))
                    changed = [key for key, value in self._settings.items() if was.get(key) != value]
                    return "other " + ", ".join(changed)
        return "made otherwise"


def _lock(file: BinaryIO) -> None:
    """Locks the file, together with others of its run, until it is closed or the process ends."""
    if os.name == "posix":
        with suppress(OSError):  # a file system that has no locks
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _is_locked(path: Path) -> bool:
    """Whether a process has the file locked; on Windows, which removes no open file, whether one has it open."""
    try:
        if os.name != "posix":
            path.unlink()
            return False
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    return False

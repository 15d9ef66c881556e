"""Files written whole or not at all, and which files are meant."""

import errno
import functools
import hashlib
import json
import os
import platform
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsrcnn.errors import FailureError

FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}  # a disk, the longest file, a user's share of a disk
MAKE_ROOM = "make room, or write elsewhere, and run the command again"
# Bytes of a file's stem and of its suffix that the name of its unfinished file repeats: so few that some encrypted
# file systems, which take names of 143 bytes, take it too.
MOST_OF_STEM, MOST_OF_SUFFIX = 60, 20
UNFINISHED = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<process>[1-9][0-9]{0,9})-[0-9a-f]{16}(\..*)?", re.DOTALL)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields an empty file beside `path` to write to. Renames it to `path` when the block ends and removes it if the
    block raises, so that a reader never sees half a file. Makes the folder.

    The first time in a folder, it also removes what processes of this machine left there when they were killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.absolute())
    unfinished = path.with_name(_unfinished_name(path))
    # A new file, not what somebody else may have put there, such as a link to a file elsewhere.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(unfinished, flags, 0o666))
    try:
        with full_disk_named(path):
            yield unfinished
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _unfinished_name(path: Path) -> str:
    """A hidden name with this machine's and this process's number, unlike any other, with the suffix of `path`."""
    stem, suffix = _start(path.stem, MOST_OF_STEM), _start(path.suffix, MOST_OF_SUFFIX)
    return f".{stem}.{_machine()}-{os.getpid()}-{secrets.token_hex(8)}{suffix}"


def _start(text: str, most: int) -> str:
    return os.fsencode(text)[:most].decode(errors="ignore")


@functools.cache
def _machine() -> str:
    """Stands for what the numbers of processes belong to: the host and, in a container, its own numbers."""
    numbers = Path("/proc/self/ns/pid")  # on Linux
    place = f"{platform.node()} {numbers.stat().st_ino if numbers.exists() else ''}"
    return hashlib.sha256(place.encode()).hexdigest()[:8]


@functools.cache
def _remove_leftovers(folder: Path) -> None:
    """Removes the unfinished files in the folder whose process, of this machine, is no more."""
    with suppress(OSError):  # a folder that cannot be listed can perhaps still be written to
        for entry in list(os.scandir(folder)):
            match = UNFINISHED.fullmatch(entry.name)
            if match and match["machine"] == _machine() and not _runs(int(match["process"])):
                with suppress(OSError):
                    Path(entry).unlink()


def _runs(process: int) -> bool:
    """Whether there is a process of this number."""
    if os.name != "posix":  # where os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def is_hidden(place: Path) -> bool:
    """Whether a file is hidden or lies in a hidden folder. place: its path below the folder that was searched."""
    return any(part.startswith(".") and part not in (".", "..") for part in place.parts)


def is_file(path: Path) -> bool:
    """As pathlib's, but False where that raises: a name that is too long, a folder that may not be looked into."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """As `is_file`, for folders."""
    return os.path.isdir(path)  # noqa: PTH112


def whole_path(path: Path) -> str:
    """The path from the root, without the ".." that pathlib's absolute() keeps in "new/../a.png"."""
    return os.path.abspath(path)  # noqa: PTH100


def real_path(path: Path) -> Path:
    """The path from the root without links; unlike pathlib's resolve(), also for links that lead in circles."""
    return Path(os.path.realpath(path))


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turns a full disk's error, which does not say what was written, into a FailureError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise FailureError(f"{path}: cannot be written: {os.strerror(error.errno)}; {MAKE_ROOM}") from error


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, by links, "..", or capitals that make no difference. Neither it nor its
    folder needs to exist yet.
    """
    if whole_path(one) == whole_path(other):
        return True
    return one.exists() and other.exists() and one.samefile(other)


def write_json(path: Path, content: Any) -> None:
    """Writes content as indented JSON, floats at full precision."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

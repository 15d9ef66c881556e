"""Machine code, kept in the user's cache folder between runs.

What lies there is executed: the folder is closed to other users, and the folder and each entry are checked to be this
user's own. On Windows, whose permissions Python does not tell, the folder is inside the user's profile, which Windows
closes to others.
"""

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).parents[1]
NO_HOME = RuntimeError  # what pathlib raises for a user without a home
POSIX = os.name == "posix"
OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
MOST_BYTES = 64 * 2**20  # of all entries together
DIGEST_BYTES = hashlib.sha256().digest_size


@functools.cache
def folder() -> Path:
    """The user's cache folder for this package: ~/.cache/fsrcnn on Linux."""
    return platformdirs.user_cache_path("fsrcnn", appauthor=False)


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the files' content."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@functools.cache
def _makers() -> str:
    """A hash of the code that the compiled functions are made by, and the version of llvmlite, which contains LLVM."""
    facts = [PACKAGE / f"{name}.py" for name in ("geometry", "integers", "luma", "resize")]
    return digest([*sorted((PACKAGE / "native").glob("*.py")), *facts]) + version("llvmlite")


def kept(made_from: object, make: Callable[[], bytes]) -> bytes:
    """Returns `make()`, cached on disk under `repr(made_from)` and a hash of the code that makes it.

    An entry that is damaged, or lies under another entry's name, is made anew, as is one that others may have written.
    Where there is no folder, it cannot be written to, or it is another user's, nothing is cached.
    """
    key = hashlib.sha256(f"{_makers()} {made_from!r}".encode()).digest()
    try:
        _own_folder(folder())
        is_ours = True
    except (OSError, NO_HOME):
        is_ours = False
    if is_ours:
        with contextlib.suppress(OSError):
            entry = _read(folder() / key.hex())
            if entry[:DIGEST_BYTES] == hashlib.sha256(key + entry[DIGEST_BYTES:]).digest():
                return entry[DIGEST_BYTES:]
    content = make()
    if is_ours:
        with contextlib.suppress(OSError):
            _write_whole(folder() / key.hex(), hashlib.sha256(key + content).digest() + content)
            _remove_oldest(folder())
    return content


def _own_folder(path: Path) -> None:
    """Makes the folder, for this user alone. Empties one that others could write to before it is closed to them.

    Raises PermissionError for a folder of another user, OSError for a link or what is no folder.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not POSIX:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        _check_owner(found)
        if found.st_mode & OF_OTHERS:
            os.fchmod(descriptor, 0o700)
        if found.st_mode & WRITTEN_BY_OTHERS:
            for entry in path.iterdir():
                if not entry.is_dir() or entry.is_symlink():
                    entry.unlink()
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    """The content of an entry, which becomes the newest. Raises OSError for one that this user did not write."""
    flags = os.O_RDONLY | (os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC if POSIX else getattr(os, "O_BINARY", 0))
    with open(os.open(path, flags), "rb") as entry:  # noqa: PTH123  # a descriptor: what is checked is what is read
        if POSIX:
            found = os.fstat(entry.fileno())
            _check_owner(found)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & WRITTEN_BY_OTHERS:
                raise PermissionError
        with contextlib.suppress(OSError):  # where nothing can be written, what is there is still used
            os.utime(entry.fileno() if os.utime in os.supports_fd else path)
        return entry.read()


def _check_owner(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise PermissionError


def _remove_oldest(path: Path) -> None:
    """Removes the entries that were not used for longest while there are more than MOST_BYTES of them."""
    entries = [(each.stat(follow_symlinks=False), each) for each in path.iterdir() if each.is_file()]
    entries.sort(key=lambda entry: entry[0].st_mtime_ns)
    total = sum(found.st_size for found, _ in entries)
    for found, entry in entries:
        if total <= MOST_BYTES:
            break
        entry.unlink()
        total -= found.st_size


def _write_whole(path: Path, entry: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as unfinished:  # readable by this user alone
        try:
            unfinished.write(entry)
            unfinished.close()
            Path(unfinished.name).replace(path)
        except BaseException:
            unfinished.close()
            Path(unfinished.name).unlink()
            raise

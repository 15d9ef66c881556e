"""A lock on a folder, so that two trainings do not write into one."""

import contextlib
import errno
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fsrcnn.errors import RequestError

NAME = ".lock"
HELD = "is training in it; wait for it, stop it, or take another --exp-name"
TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}  # what systems answer for a lock that is held
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # and for a file system without locks
FAR = 2**20  # on Windows a locked byte cannot be read by others: one that the file does not have


class TakenError(RequestError):
    """Another process holds the folder."""


@contextmanager
def locked(folder: Path, held: str = HELD) -> Iterator[None]:
    """Holds the folder, which it makes, for this process; the system ends that with the process, however it ends.

    held: what the holder does and what the user can do. Raises TakenError, naming the holder, while another process
    holds it.
    """
    path = folder / NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            try:
                _lock(file)
            except OSError as error:
                if error.errno in TAKEN:
                    raise TakenError(_refusal(folder, file, held)) from error
                if error.errno not in NO_LOCKS:
                    raise
                print(f"{folder}: its file system has no locks; start no second training in it", file=sys.stderr)
            if not path.is_file() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                continue  # the holder before removed it between the opening and the lock
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
            file.flush()
            try:
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows removes no open file; it is used again
                    path.unlink()
                    folder.rmdir()  # only where nothing else was written
            return


def _refusal(folder: Path, file: BinaryIO, held: str) -> str:
    file.seek(0)
    holder = file.read().decode(errors="replace") or "another process"
    return f"{folder}: {holder} {held}"


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

"""Files written whole or not at all."""

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsrcnn.errors import FailureError

FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}  # a disk, the longest file, a user's share of a disk
MOST_BYTES = 100  # of a file's stem that the name of its unfinished file repeats


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to. Renames it to `path` when the block ends and removes it if the block
    raises, so that a reader never sees half a file. Makes the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique, as others may write to `path` too, and short enough even if `path` has the longest name possible.
    stem = os.fsencode(path.stem)[:MOST_BYTES].decode(errors="ignore")
    unfinished = path.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        with full_disk_named(path):
            yield unfinished
            unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turns a full disk's error, which does not say what was written, into a FailureError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        cause = os.strerror(error.errno)
        raise FailureError(
            f"{path}: cannot be written: {cause}; make room, or write elsewhere, and run the command again"
        ) from error


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file; neither it nor its folder needs to exist yet."""
    # Not pathlib's absolute(), which keeps the ".." of "new/../a.png".
    if os.path.abspath(one) == os.path.abspath(other):  # noqa: PTH100
        return True
    return one.exists() and other.exists() and one.samefile(other)


def write_json(path: Path, content: Any) -> None:
    """Writes content as indented JSON, floats at full precision."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

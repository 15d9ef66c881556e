"""Files written whole or not at all."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_BYTES = 100  # of a file's own name that its unfinished file is called by


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place when the block ends well and is removed when it does
    not, so that a reader never sees half a file. Makes the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of its own, whoever else writes to this name, and short enough where the name is as long as names can be.
    stem = os.fsencode(path.stem)[:MOST_BYTES].decode(errors="ignore")
    unfinished = path.with_name(f".{stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, whether or not there is one yet, or its folder."""
    # Not pathlib's absolute(), which keeps the ".." of "new/../a.png".
    if os.path.abspath(one) == os.path.abspath(other):  # noqa: PTH100
        return True
    return one.exists() and other.exists() and one.samefile(other)


def write_json(path: Path, content: Any) -> None:
    """Writes content as indented JSON, floats at full precision."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

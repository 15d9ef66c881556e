"""What is expensive to make, such as machine code, kept in the user's cache folder between runs."""

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import platformdirs

DIGEST_BYTES = hashlib.sha256().digest_size


@functools.cache
def folder() -> Path:
    """~/.cache/fsrcnn on Linux."""
    return platformdirs.user_cache_path("fsrcnn", appauthor=False)


@functools.cache
def _makers() -> bytes:
    """What everything here depends on: the code that makes it, and llvmlite, with LLVM in it."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return sources + version("llvmlite").encode()


def kept(made_from: object, make: Callable[[], bytes]) -> bytes:
    """What `make` makes, or made in an earlier run from the same, which `repr(made_from)` tells, by the same code.

    An entry that is damaged, or that lies under a name that is not its own, is made anew; where the folder cannot be
    written to, nothing is kept.
    """
    key = hashlib.sha256(_makers() + repr(made_from).encode()).digest()
    path = folder() / key.hex()
    with contextlib.suppress(OSError):
        entry = path.read_bytes()
        if entry[:DIGEST_BYTES] == hashlib.sha256(key + entry[DIGEST_BYTES:]).digest():
            return entry[DIGEST_BYTES:]
    content = make()
    with contextlib.suppress(OSError):
        _write_whole(path, hashlib.sha256(key + content).digest() + content)
    return content


def _write_whole(path: Path, entry: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as unfinished:
        try:
            unfinished.write(entry)
            unfinished.close()
            Path(unfinished.name).replace(path)
        except BaseException:
            unfinished.close()
            Path(unfinished.name).unlink()
            raise

"""Machine code, kept in the user's cache folder between runs."""

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).parents[1]
NO_HOME = RuntimeError  # what pathlib raises for a user without a home
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
    facts = [PACKAGE / f"{name}.py" for name in ("geometry", "luma", "resize")]
    return digest([*sorted((PACKAGE / "native").glob("*.py")), *facts]) + version("llvmlite")


def kept(made_from: object, make: Callable[[], bytes]) -> bytes:
    """Returns `make()`, cached on disk under `repr(made_from)` and a hash of the code that makes it.

    An entry that is damaged, or lies under another entry's name, is made anew. Where there is no folder, or it cannot
    be written to, nothing is cached.
    """
    key = hashlib.sha256(f"{_makers()} {made_from!r}".encode()).digest()
    with contextlib.suppress(OSError, NO_HOME):
        entry = (folder() / key.hex()).read_bytes()
        if entry[:DIGEST_BYTES] == hashlib.sha256(key + entry[DIGEST_BYTES:]).digest():
            return entry[DIGEST_BYTES:]
    content = make()
    with contextlib.suppress(OSError, NO_HOME):
        _write_whole(folder() / key.hex(), hashlib.sha256(key + content).digest() + content)
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

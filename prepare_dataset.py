"""Downloads the public image sets into data/, or copies them from `--source DIR`, and verifies every file."""

import hashlib
import re
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm

from config import PUBLIC_TEST_SETS, Config, read_config
from dataset import VALIDATION_SET
from fsrcnn.errors import FailureError, RequestError, run_script
from fsrcnn.files import written_whole

REGISTRY = Path(__file__).parent / "data" / "registry.txt"
DOWNLOADS_AT_ONCE = 8
ATTEMPTS = 3
PAUSE = 1.0  # seconds after the first attempt; after the second twice as long
TIMEOUT = 30  # seconds without an answer
TOO_MANY_REQUESTS = 429
FINAL = requests.exceptions.InvalidSchema, requests.TooManyRedirects  # errors that a further attempt cannot mend
BLOCK = 2**16  # bytes
RESTORING_TEST_SET = "LIVE1"  # brought with the default test sets, for the tables of compressed pictures
NAME = r"\w[\w.+-]*/\w[\w.+-]*"  # set/file: leads nowhere else on any system


class Listed(NamedTuple):
    """A file of the registry: its name, set/file, the SHA-256 of its content, where it comes from, and its bytes."""

    name: str
    sha256: str
    url: str
    size: int

    @property
    def of_set(self) -> str:
        return self.name.split("/")[0]


class BadDownloadError(Exception):
    """The server answered with something that cannot be the file."""


class WrongDigestError(Exception):
    """A file's content is not what the registry says."""


def read_registry(path: Path) -> list[Listed]:
    """The files that a registry lists, in lines of "set/file sha256:digest url bytes". Raises RequestError for another
    line, for a name that leads out of its set's folder, and for a URL that is not https.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    pattern = re.compile(rf"({NAME}) sha256:([0-9a-f]{{64}}) (https://\S+) (\d+)", re.ASCII)
    files = []
    for number, line in enumerate(lines, 1):
        if not (match := pattern.fullmatch(line)):
            expected = "set/file sha256:DIGEST https://URL BYTES"
            raise RequestError(f"{path}: line {number} is {line[:200]!r}, expected {expected}")
        files.append(Listed(match[1], match[2], match[3], int(match[4])))
    return files


def wanted_sets(config: Config, files: Iterable[Listed]) -> list[str]:
    """The registry's sets that the configuration names. Raises RequestError for a name that is neither one of them
    nor a folder.
    """
    known = sorted({file.of_set for file in files})
    named = [config.validation_set or VALIDATION_SET, *config.train_sets, *config.test_sets]
    for name in named:
        if name not in (*known, "Samples") and not Path(name).is_dir():
            raise RequestError(f"{name}: no such set or folder; the sets are {', '.join(known)}")
    if config.test_sets == PUBLIC_TEST_SETS:
        named.append(RESTORING_TEST_SET)
    return [name for name in known if name in named]


def bring(files: Iterable[Listed], data_dir: Path, source: Path | None = None) -> int:
    """Brings the files into data_dir, several at once, and returns their number.

    source: a folder with the same layout to copy from instead of downloading. A file that is there with the right
    digest is left alone; any other is written under a temporary name, verified and renamed. Raises FailureError, naming
    the file, at the first failure; the files brought by then are kept.
    """
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        jobs = {pool.submit(_bring_one, file, data_dir / file.name, source): file for file in files}
        try:
            done = as_completed(jobs)
            for job in tqdm(done, "verifying and bringing files", len(jobs), unit="file", dynamic_ncols=True):
                if error := job.exception():
                    raise _failure(jobs[job].name, error, source)
        except BaseException:  # Ctrl-C too: downloads under way are finished, no further one is begun
            pool.shutdown(cancel_futures=True)
            raise
    return len(jobs)


def _bring_one(file: Listed, target: Path, source: Path | None) -> None:
    if target.is_file() and _sha256(target) == file.sha256:
        return
    with written_whole(target) as unfinished:
        if source is None:
            _download(file, unfinished)
        else:
            shutil.copyfile(source / file.name, unfinished)
            _verify(file, unfinished)


def _download(file: Listed, path: Path) -> None:
    """Downloads and verifies a file, several times where a further attempt may help."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _receive(file, path)
            _verify(file, path)
            break
        except (WrongDigestError, requests.RequestException) as error:
            if attempt == ATTEMPTS or isinstance(error, FINAL) or _is_clients_fault(error):
                raise
            time.sleep(attempt * PAUSE)


def _is_clients_fault(error: Exception) -> bool:
    """Whether the server says that the request is wrong, with a status such as 404."""
    response = getattr(error, "response", None)
    return response is not None and 400 <= response.status_code < 500 and response.status_code != TOO_MANY_REQUESTS


def _receive(file: Listed, path: Path) -> None:
    """Downloads a file by https alone, wherever it is redirected to, and no more than its bytes."""
    with requests.Session() as session, path.open("wb") as target:
        del session.adapters["http://"]  # a redirection to http raises InvalidSchema
        headers = {"Accept-Encoding": "identity"}  # what is counted is then what is written
        with session.get(file.url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            response.raise_for_status()
            if "Content-Encoding" in response.headers:
                raise BadDownloadError(f"the server sent it as {response.headers['Content-Encoding']}, unasked")
            received = 0
            for block in response.iter_content(BLOCK):
                received += len(block)
                if received > file.size:
                    raise BadDownloadError(f"the server sent more than its {file.size:,} bytes")
                target.write(block)


def _verify(file: Listed, path: Path) -> None:
    if _sha256(path) != file.sha256:
        raise WrongDigestError


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _failure(name: str, error: BaseException, source: Path | None) -> FailureError:
    match error:
        case requests.exceptions.InvalidSchema():
            cause, remedy = f"leads to an address that is not https ({error})", "nothing is downloaded from there"
        case BadDownloadError():
            cause, remedy = str(error), "run the command again later, or import a local copy with --source DIR"
        case requests.RequestException():
            cause = f"download failed: {error}"
            remedy = "check the network and run the command again, or import a local copy with --source DIR"
        case WrongDigestError():
            cause = "the digest is not the registry's: the file was damaged on the way or changed at its source"
            remedy = "run the command again" if source is None else f"replace it in {source}"
        case FileNotFoundError() if source:
            cause, remedy = f"missing in {source}", "put it there, or download without --source"
        case OSError():
            cause, remedy = str(error), "solve that and run the command again; the files brought so far are kept"
        case _:
            raise error
    return FailureError(f"{name}: {cause}; {remedy}")


def main() -> None:
    config = read_config("prepare", __doc__)
    if config.source is not None and not config.source.is_dir():
        raise RequestError(f"source: no folder {config.source}")
    listed = read_registry(REGISTRY)
    sets = wanted_sets(config, listed)
    count = bring([file for file in listed if file.of_set in sets], config.data_dir, config.source)
    print(f"{config.data_dir}: {', '.join(sets)}: {count} files, all digests verified")


if __name__ == "__main__":
    run_script(main)

"""Downloads the public image sets into data/, or copies them from `--source DIR`, and verifies every file."""

import hashlib
import json
import os
import re
import shutil
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import requests
from tqdm import tqdm

from config import PUBLIC_TEST_SETS, Config, read_config
from dataset import VALIDATION_SET
from fsrcnn.errors import FailureError, RequestError, run_script
from fsrcnn.files import MAKE_ROOM, full_disk_named, write_json, written_whole
from training.lock import locked

REGISTRY = Path(__file__).parent / "data" / "registry.txt"
DOWNLOADS_AT_ONCE = 8
ATTEMPTS = 3
PAUSE = 1.0  # seconds after the first attempt; after the second twice as long
TIMEOUT = 30  # seconds without an answer
PARTIAL, RANGE_NOT_SATISFIABLE, TOO_MANY_REQUESTS = 206, 416, 429
FINAL = requests.exceptions.InvalidSchema, requests.TooManyRedirects  # errors that a further attempt cannot mend
BLOCK = 2**16  # bytes
RESTORING_TEST_SET = "LIVE1"  # brought with the default test sets, for the tables of compressed pictures
FILE = r"\w[\w.+-]*"
NAME = rf"{FILE}/{FILE}"  # set/file: leads nowhere else on any system
# Of a set that comes as an archive: in its folder the list of its pictures; in the hidden folder beside it, in which it
# is made, the archive, this list, and the pictures so far.
LIST, ARCHIVE, PICTURES = ".archive.json", "archive.zip", "pictures"
LOCAL_HEADER = 30  # bytes before a member's name in an archive


class Listed(NamedTuple):
    """A file of the registry: its name, set/file, the SHA-256 of its content, where it comes from, and its bytes."""

    name: str
    sha256: str
    url: str
    size: int

    @property
    def of_set(self) -> str:
        return self.name.split("/")[0]

    @property
    def is_archive(self) -> bool:
        """Whether the file is an archive of the set's pictures."""
        return self.name.endswith(".zip")


class Member(NamedTuple):
    """A picture in an archive: its name, the place of its entry, its bytes there and unpacked, and their CRC-32."""

    name: str
    start: int
    packed: int
    size: int
    crc: int
    deflated: bool


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


def _download(file: Listed, path: Path, bar: "tqdm[Any] | None" = None) -> None:
    """Downloads what the path lacks of a file and verifies it, several times where a further attempt may help."""
    attempt = 0
    found = most = path.stat().st_size  # found: of an earlier call, perhaps of another file; most: ever received
    while True:
        try:
            if path.stat().st_size < file.size:
                _receive(file, path, bar)
            if (received := path.stat().st_size) < file.size:
                raise requests.ConnectionError(f"the server ended after {received:,} of its {file.size:,} bytes")
            _verify(file, path)
            break
        except (WrongDigestError, requests.RequestException) as error:
            received, is_wrong = path.stat().st_size, isinstance(error, WrongDigestError)
            attempt, most = (1, received) if received > most else (attempt + 1, most)
            large = is_wrong and file.is_archive and not found
            if is_wrong:
                os.truncate(path, 0)
                if found:
                    found = most = 0
            if attempt == ATTEMPTS or large or isinstance(error, FINAL) or _is_clients_fault(error):
                raise
            time.sleep(attempt * PAUSE)


def _is_clients_fault(error: Exception) -> bool:
    """Whether the server says that the request is wrong, with a status such as 404."""
    response = getattr(error, "response", None)
    return response is not None and 400 <= response.status_code < 500 and response.status_code != TOO_MANY_REQUESTS


def _receive(file: Listed, path: Path, bar: "tqdm[Any] | None" = None) -> None:
    """Downloads what the path lacks of a file: by https alone, wherever it is redirected to, and no more than its
    bytes. bar: shows how many are there.
    """
    received = path.stat().st_size
    headers = {"Accept-Encoding": "identity"}  # what is counted is then what is written
    if received:
        headers["Range"] = f"bytes={received}-"
    with requests.Session() as session:
        del session.adapters["http://"]  # a redirection to http raises InvalidSchema
        with session.get(file.url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            if received and response.status_code == RANGE_NOT_SATISFIABLE:
                raise WrongDigestError  # the server's file ends before
            response.raise_for_status()
            if "Content-Encoding" in response.headers:
                raise BadDownloadError(f"the server sent it as {response.headers['Content-Encoding']}, unasked")
            if response.status_code != PARTIAL:
                received = 0  # all of it, from a server that does not know ranges
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {received}-"):
                raise BadDownloadError(f"the server sent another range than the bytes from {received:,}")
            with path.open("ab") as target:
                target.truncate(received)
                for block in response.iter_content(BLOCK):
                    received += len(block)
                    if received > file.size:
                        raise BadDownloadError(f"the server sent more than its {file.size:,} bytes")
                    target.write(block)
                    if bar is not None:
                        bar.update(received - bar.n)


def _verify(file: Listed, path: Path) -> None:
    if _sha256(path) != file.sha256:
        raise WrongDigestError


# --- sets that come as an archive ---


def bring_archive(file: Listed, data_dir: Path, source: Path | None = None) -> int:
    """Brings a set that comes as an archive, and returns the number of its pictures.

    Interrupted or killed at any moment, the next call goes on. The set's folder is there when all of its pictures are.
    The downloaded archive is unpacked from its end and made shorter by each picture, so that both together never need
    more than one picture's space above the larger of them. source: a folder that holds the archive, which is only read.
    Raises FailureError, naming the file, and RequestError for a folder of the set's name that holds no list.
    """
    target, work = data_dir / file.of_set, data_dir / f".{file.of_set}"
    if target.exists() and not work.exists():
        return _verify_unpacked(target)
    with locked(work, "is bringing this set; wait for it, or stop it"):
        missing = not target.exists()
        if missing:
            _unpack_set(file, work, source)
            (work / PICTURES).rename(target)
        (work / ARCHIVE).unlink(missing_ok=True)
        (work / LIST).unlink(missing_ok=True)
    return len(_read_list(target / LIST)) if missing else _verify_unpacked(target)


def _unpack_set(file: Listed, work: Path, source: Path | None) -> None:
    """Makes the set's folder, its list included, in the folder `work`."""
    try:
        members = _brought_members(file, work, source)
        archive = work / ARCHIVE if source is None else _local_copy(file, source)
        with archive.open("rb" if source else "r+b") as content:
            unpacking = unpack(content, members, work / PICTURES, shorten=source is None)
            for _ in tqdm(unpacking, f"unpacking {file.name}", len(members), unit="file", dynamic_ncols=True):
                pass
    except (WrongDigestError, BadDownloadError, requests.RequestException, OSError) as error:
        raise _failure(file.name, error, source) from error
    write_json(work / PICTURES / LIST, [member._asdict() for member in members])


def _brought_members(file: Listed, work: Path, source: Path | None) -> list[Member]:
    """The pictures of the archive, which is brought and verified unless it is being unpacked already."""
    if source is not None:
        _verify(file, _local_copy(file, source))
        return members_of(_local_copy(file, source))
    archive = work / ARCHIVE
    if not archive.is_file():
        (work / LIST).unlink(missing_ok=True)  # somebody has removed the archive: it is downloaded once more
    if not (work / LIST).is_file():
        archive.touch()
        there, free = archive.stat().st_size, shutil.disk_usage(work).free
        if file.size - there > free:
            needed = f"{file.size - there:,} bytes are to be downloaded, and {free:,} are free"
            raise FailureError(f"{file.name}: {needed} in {work.parent}; {MAKE_ROOM}")
        with (
            full_disk_named(archive),
            tqdm(desc=file.name, total=file.size, initial=there, unit="B", unit_scale=True, dynamic_ncols=True) as bar,
        ):
            _download(file, archive, bar)
        write_json(work / LIST, [member._asdict() for member in members_of(archive)])
    return _read_list(work / LIST)


def _local_copy(file: Listed, source: Path) -> Path:
    """The archive in a folder of the same layout as data_dir, or directly in the folder."""
    places = source / file.name, source / Path(file.name).name
    return next((path for path in places if path.is_file()), places[-1])


def _read_list(path: Path) -> list[Member]:
    return [Member(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]


def members_of(archive: Path) -> list[Member]:
    """The pictures of a zip archive by their places in it, whatever folder they lie in. Raises FailureError for an
    archive that holds anything else.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries, end = [entry for entry in opened.infolist() if not entry.is_dir()], opened.start_dir
    except zipfile.BadZipFile as error:
        raise FailureError(f"{archive}: not a zip archive ({error})") from error
    members = []
    for entry in sorted(entries, key=lambda entry: entry.header_offset, reverse=True):
        match = re.fullmatch(rf"(?:{FILE}/)?({FILE})", entry.filename, re.ASCII)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        plain = kind in (0, stat.S_IFREG) and entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if (
            not match
            or not plain
            or entry.flag_bits & 1
            or entry.header_offset + LOCAL_HEADER + entry.compress_size > end
        ):
            raise FailureError(f"{archive}: holds {entry.filename!r}, expected pictures in one folder alone")
        deflated = entry.compress_type == zipfile.ZIP_DEFLATED
        sizes = entry.header_offset, entry.compress_size, entry.file_size
        members.append(Member(match[1], *sizes, entry.CRC, deflated))
        end = entry.header_offset
    if not members or len({member.name.casefold() for member in members}) < len(members):
        raise FailureError(f"{archive}: holds {'two files of one name' if members else 'no files'}")
    return members[::-1]


def unpack(archive: BinaryIO, members: list[Member], folder: Path, shorten: bool) -> Iterator[str]:
    """Unpacks the pictures that the folder lacks, the last one of the archive first; yields the name of each.

    shorten: cuts each picture off the archive as soon as it is on the disk. Raises FailureError for a damaged one, and
    before the first one if they would not fit on the disk.
    """
    folder.mkdir(exist_ok=True)
    missing = [member for member in members if not (folder / member.name).is_file()]
    needed = sum(member.size for member in missing)
    if shorten:
        needed += max((member.size for member in missing), default=0) - os.fstat(archive.fileno()).st_size
    if needed > (free := shutil.disk_usage(folder).free):
        raise FailureError(f"{folder}: {needed:,} bytes are needed, and {free:,} are free; {MAKE_ROOM}")
    for member in members[::-1]:
        if not (folder / member.name).is_file():
            _unpack_one(archive, member, folder / member.name)
        if shorten:
            archive.truncate(min(member.start, os.fstat(archive.fileno()).st_size))
        yield member.name


def _unpack_one(archive: BinaryIO, member: Member, target: Path) -> None:
    archive.seek(member.start)
    header = archive.read(LOCAL_HEADER).ljust(LOCAL_HEADER)
    archive.seek(sum(struct.unpack("<HH", header[-4:])), os.SEEK_CUR)  # the name again, and what follows it
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left, size, crc = member.packed, 0, 0
    with written_whole(target) as unfinished:
        with unfinished.open("wb") as picture:
            while left and size <= member.size and (block := archive.read(min(left, BLOCK))):
                left -= len(block)
                pixels = _inflated(inflater, block) if member.deflated else block
                size, crc = size + len(pixels), zlib.crc32(pixels, crc)
                picture.write(pixels)
            picture.flush()
            os.fsync(picture.fileno())  # before the archive loses it
        if (left, size, crc) != (0, member.size, member.crc):
            raise FailureError(f"{archive.name}: {member.name} in it is damaged; remove {target.parent.parent}")


def _inflated(inflater: Any, block: bytes) -> bytes:
    try:
        return bytes(inflater.decompress(block))
    except zlib.error:
        return b""  # what is missing shows in the size and the CRC-32


def _verify_unpacked(folder: Path) -> int:
    """The number of pictures of a set that was unpacked. Raises FailureError where one is not what the archive held."""
    if not (folder / LIST).is_file():
        raise RequestError(f"{folder}: is there, but not from this command; leave the set out, or move it away")
    members = _read_list(folder / LIST)
    for member in tqdm(members, f"verifying {folder.name}", unit="file", dynamic_ncols=True):
        path = folder / member.name
        if not path.is_file() or path.stat().st_size != member.size or zlib.crc32(path.read_bytes()) != member.crc:
            raise FailureError(f"{path}: missing or damaged; remove {folder} and run the command again")
    return len(members)


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
    wanted = [file for file in listed if file.of_set in sets]
    count = bring([file for file in wanted if not file.is_archive], config.data_dir, config.source)
    count += sum(bring_archive(file, config.data_dir, config.source) for file in wanted if file.is_archive)
    print(f"{config.data_dir}: {', '.join(sets)}: {count} files, all digests verified")


if __name__ == "__main__":
    run_script(main)

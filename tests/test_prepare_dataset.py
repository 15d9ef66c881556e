"""Bringing the image sets, from a real server on this machine and from a folder."""

import gzip
import hashlib
import io
import re
import shutil
import ssl
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made import noise, posix, started

import prepare_dataset
from config import make_config
from fsrcnn.errors import FailureError, RequestError
from prepare_dataset import REGISTRY

CERTIFICATE = Path(__file__).with_name("localhost.pem")

FILES = {f"Set/{name}.png": name.encode() * 50_000 for name in ("a", "b", "c", "d")}
requested: Counter[str] = Counter()
faults: dict[str, str] = {}
# A set that comes as an archive: a folder of pictures, one of which does not get smaller, as no PNG does.
PICTURES = {f"{number:04}.png": noise(number, 10_000).tobytes() for number in range(1, 6)} | {"0006.png": bytes(60_000)}
ranges: list[tuple[int, int]] = []  # first byte and number of bytes of what was sent of the archive


def zipped(pictures: dict[str, bytes] = PICTURES, folder: str = "DIV2K_train_HR/") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if folder:
            archive.mkdir(folder)
        for name, content in pictures.items():
            archive.writestr(folder + name, content, zipfile.ZIP_STORED if name == "0003.png" else None)
    return buffer.getvalue()


ARCHIVE = zipped()


class Handler(BaseHTTPRequestHandler):
    def send_archive(self, fault: str | None):
        """The whole archive or the rest from a byte; cut or slow: no more than half of the whole on a connection."""
        asked = "" if fault == "no ranges" else self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        content = b"x" * len(ARCHIVE) if fault == "corrupt" else ARCHIVE[: -1000 if fault == "short" else None]
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        sent = content[start : len(content) // 2 + start if fault in ("cut", "slow") else None]
        ranges.append((start, len(sent)))
        self.wfile.write(sent)
        if fault == "slow":
            self.wfile.flush()
            time.sleep(2)

    def do_GET(self):
        name = self.path.lstrip("/")
        requested[name] += 1
        fault = faults.get(name)
        if name.endswith(".zip"):
            self.send_archive(fault)
            return
        content = FILES[name]
        if fault and "://" in fault:
            self.send_response(302)
            self.send_header("Location", fault)
            self.end_headers()
            return
        if fault == "once":  # cuts the first connection only
            fault = "cut" if requested[name] == 1 else None
        self.send_response(404 if fault == "missing" else 200)
        if fault == "endless":  # without a length, and without an end but the connection's
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(bytes(100_000))
        if fault == "packed":
            content = gzip.compress(bytes(10**7))
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(content[: len(content) // 2])
        elif fault == "corrupt":
            self.wfile.write(b"x" * len(content))
        else:
            self.wfile.write(content)

    def log_message(self, *_: object):
        pass


@contextmanager
def serving(tls: bool) -> Iterator[str]:
    """Runs a server; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The registry of a server's files."""
    requested.clear()
    faults.clear()
    ranges.clear()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(prepare_dataset, "PAUSE", 0.01)
    with serving(tls=True) as address:
        path = tmp_path / "registry.txt"
        path.write_text(
            "".join(
                f"{name} sha256:{hashlib.sha256(content).hexdigest()} {address}/{name} {len(content)}\n"
                for name, content in FILES.items()
            )
        )
        yield path


def bring(registry: Path, data: Path, source: Path | None = None) -> int:
    return prepare_dataset.bring(prepare_dataset.read_registry(registry), data, source)


def there(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, leftovers included."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_downloads_what_is_missing_or_damaged(registry: Path, tmp_path: Path):
    data = tmp_path / "data"
    (data / "Set").mkdir(parents=True)
    (data / "Set/a.png").write_bytes(FILES["Set/a.png"])
    (data / "Set/b.png").write_bytes(b"half")
    assert bring(registry, data) == 4
    assert there(data) == FILES
    assert requested == {"Set/b.png": 1, "Set/c.png": 1, "Set/d.png": 1}


def test_goes_on_after_a_connection_cut_once(registry: Path, tmp_path: Path):
    faults["Set/c.png"] = "once"
    bring(registry, tmp_path / "data")
    assert there(tmp_path / "data") == FILES
    assert requested["Set/c.png"] == 2


@pytest.mark.parametrize(("fault", "message"), [("cut", "download failed"), ("corrupt", "digest"), ("missing", "404")])
def test_a_bad_server_leaves_no_bad_file(registry: Path, tmp_path: Path, fault: str, message: str):
    faults["Set/c.png"] = fault
    with pytest.raises(FailureError, match=rf"^Set/c\.png: .*{message}"):
        bring(registry, tmp_path / "data")
    left = there(tmp_path / "data")  # of the others, those that were under way by then
    assert left.items() <= FILES.items()
    assert "Set/c.png" not in left


def test_no_server(registry: Path, tmp_path: Path):
    lines = registry.read_text(encoding="utf-8").splitlines()
    registry.write_text(
        lines[0].rsplit(":", 1)[0] + ":9/a.png 50000\n", encoding="utf-8"
    )  # the discard port: nobody listens
    with pytest.raises(FailureError, match=r"^Set/a\.png: .*check the network"):
        bring(registry, tmp_path / "data")
    assert there(tmp_path / "data") == {}


def test_imports_from_a_folder(registry: Path, tmp_path: Path):
    source, data = tmp_path / "source", tmp_path / "data"
    (source / "Set").mkdir(parents=True)
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    bring(registry, data, source)
    assert there(data) == FILES
    assert not requested
    (data / "Set/b.png").unlink()
    (source / "Set/b.png").write_bytes(b"damaged")
    with pytest.raises(FailureError, match=r"^Set/b\.png: the digest"):
        bring(registry, data, source)
    (source / "Set/b.png").unlink()
    with pytest.raises(FailureError, match=r"^Set/b\.png: missing in"):
        bring(registry, data, source)
    assert "Set/b.png" not in there(data)


@posix
def test_a_full_disk_keeps_what_is_there(registry: Path, tmp_path: Path):
    # The kernel refuses to let a file grow past the limit, as it would on a full disk.
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "from pathlib import Path; from fsrcnn.errors import run_script; from prepare_dataset import *\n"
        "run_script(lambda: print(bring(read_registry(Path(sys.argv[1])), Path(sys.argv[2]))))"
    )
    data = tmp_path / "data"
    (data / "Set").mkdir(parents=True)
    (data / "Set/a.png").write_bytes(FILES["Set/a.png"])
    command = [sys.executable, "-c", code, str(registry), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REGISTRY.parent.parent, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {data}/Set/")
    assert "File too large" in last
    assert there(data) == {"Set/a.png": FILES["Set/a.png"]}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("endless", "more than its 50,000 bytes"),
        ("packed", "sent it as gzip"),
        ("http", "an address that is not https"),
    ],
)
def test_a_server_that_wants_more_than_it_may_is_left(registry: Path, tmp_path: Path, fault: str, message: str):
    with serving(tls=False) as plain:
        faults["Set/c.png"] = f"{plain}/Set/d.png" if fault == "http" else fault
        with pytest.raises(FailureError, match=rf"^Set/c\.png: .*{message}"):
            bring(registry, tmp_path / "data")
    assert requested["Set/c.png"] == 1
    assert requested["Set/d.png"] == 1
    assert "Set/c.png" not in there(tmp_path / "data")


@pytest.mark.parametrize(
    "name",
    ["../a.png", "Set/../../a.png", "/tmp/a.png", "Set/..", "Set", "C:/a.png", "Set\\..\\a.png", "Set/a/b", ".ssh/a"],
)
def test_names_stay_in_their_folder(tmp_path: Path, name: str):
    (tmp_path / "registry.txt").write_text(f"{name} sha256:{'0' * 64} https://127.0.0.1/a 10\n", encoding="utf-8")
    with pytest.raises(RequestError, match=r"line 1 is .*, expected set/file"):
        prepare_dataset.read_registry(tmp_path / "registry.txt")


def test_nothing_is_listed_without_https(registry: Path):
    registry.write_text(registry.read_text(encoding="utf-8").replace("https:", "http:"), encoding="utf-8")
    with pytest.raises(RequestError, match="expected set/file sha256:DIGEST https://URL BYTES"):
        prepare_dataset.read_registry(registry)


def test_registry_names_every_set():
    listed = prepare_dataset.read_registry(REGISTRY)
    sets = {"T91": 91, "General-100": 100, "BSDS200": 199, "Set5": 5, "Set14": 14, "BSD100": 100, "LIVE1": 29}
    archives = {"DIV2K": 1, "DIV2K_valid": 1}
    assert Counter(file.of_set for file in listed) == sets | archives
    assert {file.of_set for file in listed if file.is_archive} == archives.keys()
    assert sum(file.size for file in listed if file.of_set in sets) < 2 * 10**8
    assert prepare_dataset.wanted_sets(make_config(), listed) == sorted(sets)
    assert "LIVE1" not in prepare_dataset.wanted_sets(make_config(test_sets=("Set5",)), listed)
    large = make_config(train_sets=("DIV2K",), validation_set="DIV2K_valid", test_sets=("Set5",))
    assert prepare_dataset.wanted_sets(large, listed) == ["DIV2K", "DIV2K_valid", "Set5"]


# --- a set that comes as an archive ---


@pytest.fixture
def archive(registry: Path) -> prepare_dataset.Listed:
    """The server's archive."""
    address = registry.read_text(encoding="utf-8").split()[2].rsplit("/", 2)[0]
    digest, name = hashlib.sha256(ARCHIVE).hexdigest(), "DIV2K/DIV2K_train_HR.zip"
    registry.write_text(f"{name} sha256:{digest} {address}/{name} {len(ARCHIVE)}\n", encoding="utf-8")
    return prepare_dataset.read_registry(registry)[0]


def of_archive(data: Path) -> dict[str, bytes]:
    """Everything in the data folder but the set's list, by the names of the pictures."""
    return {name.removeprefix("DIV2K/"): content for name, content in there(data).items() if "archive.json" not in name}


def test_an_archive_is_downloaded_and_unpacked_once(archive: prepare_dataset.Listed, tmp_path: Path):
    data = tmp_path / "data"
    for _ in range(2):
        assert prepare_dataset.bring_archive(archive, data) == len(PICTURES)
        assert of_archive(data) == PICTURES
    assert ranges == [(0, len(ARCHIVE))]
    assert [path.name for path in data.iterdir()] == ["DIV2K"]
    (data / "DIV2K" / "0002.png").write_bytes(PICTURES["0002.png"][::-1])
    with pytest.raises(FailureError, match=r"DIV2K/0002\.png: missing or damaged; remove .*DIV2K and run"):
        prepare_dataset.bring_archive(archive, data)


@pytest.mark.parametrize(("fault", "starts"), [("cut", [0, 65536, 131072]), (None, [1000]), ("no ranges", [0])])
def test_a_download_goes_on_where_it_ended(
    archive: prepare_dataset.Listed, tmp_path: Path, fault: str | None, starts: list[int]
):
    work = tmp_path / "data" / ".DIV2K"
    if fault != "cut":  # an earlier run's
        work.mkdir(parents=True)
        (work / "archive.zip").write_bytes(ARCHIVE[:1000])
    if fault:
        faults[archive.name] = fault
    prepare_dataset.bring_archive(archive, tmp_path / "data")
    assert of_archive(tmp_path / "data") == PICTURES
    assert [start for start, _ in ranges] == starts  # what is received of a block that is cut is not kept


def test_a_killed_download_goes_on(archive: prepare_dataset.Listed, registry: Path, tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from prepare_dataset import *\n"
        "bring_archive(read_registry(Path(sys.argv[1]))[0], Path(sys.argv[2]))"
    )
    faults[archive.name] = "slow"
    partial, half = tmp_path / "data" / ".DIV2K" / "archive.zip", len(ARCHIVE) // 2
    with started(
        [sys.executable, "-c", code, str(registry), str(tmp_path / "data")], cwd=REGISTRY.parent.parent
    ) as run:
        while run.poll() is None and not (partial.is_file() and partial.stat().st_size > half // 2):
            time.sleep(0.01)
        with pytest.raises(RequestError, match=rf"process {run.pid} on .* is bringing this set; wait for it"):
            prepare_dataset.bring_archive(archive, tmp_path / "data")
    had = partial.stat().st_size
    assert half // 2 < had <= half
    faults.clear()
    prepare_dataset.bring_archive(archive, tmp_path / "data")
    assert of_archive(tmp_path / "data") == PICTURES
    assert ranges[1:] == [(had, len(ARCHIVE) - had)]


@pytest.mark.parametrize("unpacked", range(len(PICTURES) + 1))
def test_unpacking_goes_on_and_needs_one_pictures_space(archive: prepare_dataset.Listed, tmp_path: Path, unpacked: int):
    work = tmp_path / "data" / ".DIV2K"
    work.mkdir(parents=True)
    (work / "archive.zip").write_bytes(ARCHIVE)
    members = prepare_dataset._brought_members(archive, work, None)
    largest, total = max(map(len, PICTURES.values())), sum(map(len, PICTURES.values()))
    with (work / "archive.zip").open("r+b") as content:
        unpacking = prepare_dataset.unpack(content, members, work / "pictures", shorten=True)
        for _ in range(unpacked):
            next(unpacking)
            used = sum(path.stat().st_size for path in [work / "archive.zip", *(work / "pictures").iterdir()])
            assert used < max(len(ARCHIVE), total) + largest < len(ARCHIVE) + total
    if unpacked:  # as if killed before the archive was made shorter by the last one, and while the next was written
        with (work / "archive.zip").open("ab") as content:
            content.write(ARCHIVE[(work / "archive.zip").stat().st_size :][:20])
        (work / "pictures" / ".0001.half.png").write_bytes(b"half")
        assert not (tmp_path / "data" / "DIV2K").exists()
    prepare_dataset.bring_archive(archive, tmp_path / "data")
    assert {name: content for name, content in of_archive(tmp_path / "data").items() if name[0] != "."} == PICTURES
    assert not requested
    assert not work.exists()


def test_an_archive_that_was_removed_is_downloaded_once_more(archive: prepare_dataset.Listed, tmp_path: Path):
    work = tmp_path / "data" / ".DIV2K"
    work.mkdir(parents=True)
    (work / "archive.zip").write_bytes(ARCHIVE)
    members = prepare_dataset._brought_members(archive, work, None)
    with (work / "archive.zip").open("r+b") as content:
        next(prepare_dataset.unpack(content, members, work / "pictures", shorten=True))
    (work / "archive.zip").unlink()
    prepare_dataset.bring_archive(archive, tmp_path / "data")
    assert of_archive(tmp_path / "data") == PICTURES


def test_an_archive_is_imported_and_left_as_it_is(archive: prepare_dataset.Listed, tmp_path: Path):
    with pytest.raises(FailureError, match=rf"^{archive.name}: missing in {re.escape(str(tmp_path))}; put it there"):
        prepare_dataset.bring_archive(archive, tmp_path / "data", tmp_path)
    local = tmp_path / "DIV2K_train_HR.zip"
    local.write_bytes(ARCHIVE[::-1])
    with pytest.raises(FailureError, match=rf"^{archive.name}: the digest is not the registry's"):
        prepare_dataset.bring_archive(archive, tmp_path / "data", tmp_path)
    local.write_bytes(ARCHIVE)
    local.chmod(stat.S_IREAD)
    prepare_dataset.bring_archive(archive, tmp_path / "data", tmp_path)
    assert of_archive(tmp_path / "data") == PICTURES
    assert local.read_bytes() == ARCHIVE
    assert not requested


def test_a_wrong_archive_is_downloaded_once_and_not_unpacked(archive: prepare_dataset.Listed, tmp_path: Path):
    faults[archive.name] = "corrupt"
    with pytest.raises(FailureError, match=rf"^{archive.name}: the digest is not the registry's"):
        prepare_dataset.bring_archive(archive, tmp_path / "data")
    assert requested[archive.name] == 1
    assert {name: len(content) for name, content in there(tmp_path / "data").items()} == {".DIV2K/archive.zip": 0}


@pytest.mark.parametrize("found", [0, 1000])
def test_an_archive_that_has_become_shorter_is_not_downloaded_for_ever(
    archive: prepare_dataset.Listed, tmp_path: Path, found: int
):
    faults[archive.name] = "short"
    work = tmp_path / "data" / ".DIV2K"
    work.mkdir(parents=True)
    (work / "archive.zip").write_bytes(ARCHIVE[:found])
    with pytest.raises(FailureError, match=rf"^{archive.name}: the digest is not the registry's"):
        prepare_dataset.bring_archive(archive, tmp_path / "data")
    assert ranges == [(found, len(ARCHIVE) - 1000 - found), (0, len(ARCHIVE) - 1000)][: 2 if found else 1]


@pytest.mark.parametrize(
    "name", ["../a.png", "x/../../a.png", "/a.png", "C:/a.png", "a\\..\\b.png", "x/y/a.png", ".a", "~"]
)
def test_an_archive_writes_to_its_folder_alone(tmp_path: Path, name: str):
    (tmp_path / "a.zip").write_bytes(zipped({name: b"content"} | PICTURES, folder=""))
    with pytest.raises(FailureError, match=r"a\.zip: holds .*, expected pictures in one folder alone"):
        prepare_dataset.members_of(tmp_path / "a.zip")


def test_an_archive_holds_plain_files_of_different_names(tmp_path: Path):
    link = zipfile.ZipInfo("x/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr(link, "/etc/passwd")
    with pytest.raises(FailureError, match=r"holds 'x/link\.png', expected pictures"):
        prepare_dataset.members_of(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(zipped({"x/a.png": b"1", "y/A.png": b"2"}, folder=""))
    with pytest.raises(FailureError, match="holds two files of one name"):
        prepare_dataset.members_of(tmp_path / "a.zip")
    (tmp_path / "a.zip").write_bytes(ARCHIVE[:-30])
    with pytest.raises(FailureError, match="not a zip archive"):
        prepare_dataset.members_of(tmp_path / "a.zip")


@pytest.mark.parametrize("name", ["0002.png", "0003.png"])
def test_a_damaged_picture_of_an_archive_is_named(tmp_path: Path, name: str):
    path = tmp_path / "a.zip"
    path.write_bytes(ARCHIVE)
    member = next(member for member in prepare_dataset.members_of(path) if member.name == name)
    place = member.start + 30 + member.packed // 2
    path.write_bytes(ARCHIVE[:place] + b"damaged" + ARCHIVE[place + 7 :])
    with path.open("rb") as content, pytest.raises(FailureError, match=rf"{name} in it is damaged"):
        list(prepare_dataset.unpack(content, [member], tmp_path / "pictures", shorten=False))
    assert not list((tmp_path / "pictures").iterdir())


def test_a_disk_that_is_too_small_is_named_before_anything(
    archive: prepare_dataset.Listed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FailureError, match=rf"{len(ARCHIVE):,} bytes are to be downloaded, and 1,000 are free"):
        prepare_dataset.bring_archive(archive, tmp_path / "data")
    assert not requested
    (tmp_path / archive.name).parent.mkdir()
    (tmp_path / archive.name).write_bytes(ARCHIVE)
    with pytest.raises(FailureError, match=rf"{sum(map(len, PICTURES.values())):,} bytes are needed, and 1,000"):
        prepare_dataset.bring_archive(archive, tmp_path / "data", tmp_path)


def test_a_folder_of_somebody_elses_is_left_alone(archive: prepare_dataset.Listed, tmp_path: Path):
    (tmp_path / "data" / "DIV2K").mkdir(parents=True)
    with pytest.raises(RequestError, match="DIV2K: is there, but not from this command; leave the set out, or move it"):
        prepare_dataset.bring_archive(archive, tmp_path / "data")

"""Bringing the image sets, from a real server on this machine and from a folder."""

import gzip
import hashlib
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made import posix

import prepare_dataset
from config import make_config
from fsrcnn.errors import FailureError, RequestError
from prepare_dataset import REGISTRY

CERTIFICATE = Path(__file__).with_name("localhost.pem")

FILES = {f"Set/{name}.png": name.encode() * 50_000 for name in ("a", "b", "c", "d")}
requested: Counter[str] = Counter()
faults: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/")
        requested[name] += 1
        content = FILES[name]
        fault = faults.get(name)
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
    assert there(tmp_path / "data") == {name: content for name, content in FILES.items() if name != "Set/c.png"}


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
    assert Counter(file.of_set for file in listed) == sets
    assert sum(file.size for file in listed) < 2 * 10**8
    assert prepare_dataset.wanted_sets(make_config(), listed) == sorted(sets)
    assert "LIVE1" not in prepare_dataset.wanted_sets(make_config(test_sets=("Set5",)), listed)

"""Bringing the image sets, from a real server on this machine and from a folder."""

import hashlib
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made import posix

from fsrcnn.errors import FailureError
from prepare_dataset import REGISTRY, bring

FILES = {f"Set/{name}.png": name.encode() * 50_000 for name in ("a", "b", "c", "d")}
requested: Counter[str] = Counter()
faults: dict[str, str] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/")
        requested[name] += 1
        content = FILES[name]
        fault = faults.get(name)
        if fault == "once":  # cuts the first connection only
            fault = "cut" if requested[name] == 1 else None
        self.send_response(404 if fault == "missing" else 200)
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


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Path]:
    """The registry of a server's files."""
    requested.clear()
    faults.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = tmp_path / "registry.txt"
        path.write_text(
            "".join(
                f"{name} sha256:{hashlib.sha256(content).hexdigest()} http://127.0.0.1:{server.server_port}/{name}\n"
                for name, content in FILES.items()
            )
        )
        yield path
        server.shutdown()


def there(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, leftovers included."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_downloads_what_is_missing_or_damaged(registry: Path, tmp_path: Path):
    data = tmp_path / "data"
    (data / "Set").mkdir(parents=True)
    (data / "Set/a.png").write_bytes(FILES["Set/a.png"])
    (data / "Set/b.png").write_bytes(b"half")
    assert bring(registry, ["Set"], data) == 4
    assert there(data) == FILES
    assert requested == {"Set/b.png": 1, "Set/c.png": 1, "Set/d.png": 1}


def test_goes_on_after_a_connection_cut_once(registry: Path, tmp_path: Path):
    faults["Set/c.png"] = "once"
    bring(registry, ["Set"], tmp_path / "data")
    assert there(tmp_path / "data") == FILES
    assert requested["Set/c.png"] == 2


@pytest.mark.parametrize(("fault", "message"), [("cut", "download failed"), ("corrupt", "digest"), ("missing", "404")])
def test_a_bad_server_leaves_no_bad_file(registry: Path, tmp_path: Path, fault: str, message: str):
    faults["Set/c.png"] = fault
    with pytest.raises(FailureError, match=rf"^Set/c\.png: .*{message}"):
        bring(registry, ["Set"], tmp_path / "data")
    assert there(tmp_path / "data") == {name: content for name, content in FILES.items() if name != "Set/c.png"}


def test_no_server(registry: Path, tmp_path: Path):
    lines = registry.read_text(encoding="utf-8").splitlines()
    registry.write_text(lines[0].rsplit(":", 1)[0] + ":9/a.png\n", encoding="utf-8")  # the discard port: nobody listens
    with pytest.raises(FailureError, match=r"^Set/a\.png: .*check the network"):
        bring(registry, ["Set"], tmp_path / "data")
    assert there(tmp_path / "data") == {}


def test_imports_from_a_folder(registry: Path, tmp_path: Path):
    source, data = tmp_path / "source", tmp_path / "data"
    (source / "Set").mkdir(parents=True)
    for name, content in FILES.items():
        (source / name).write_bytes(content)
    bring(registry, ["Set"], data, source)
    assert there(data) == FILES
    assert not requested
    (data / "Set/b.png").unlink()
    (source / "Set/b.png").write_bytes(b"damaged")
    with pytest.raises(FailureError, match=r"^Set/b\.png: the digest"):
        bring(registry, ["Set"], data, source)
    (source / "Set/b.png").unlink()
    with pytest.raises(FailureError, match=r"^Set/b\.png: missing in"):
        bring(registry, ["Set"], data, source)
    assert "Set/b.png" not in there(data)


@posix
def test_a_full_disk_keeps_what_is_there(registry: Path, tmp_path: Path):
    # The kernel refuses to let a file grow past the limit, as it would on a full disk.
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "from pathlib import Path; from fsrcnn.errors import run_script; from prepare_dataset import bring\n"
        "run_script(lambda: print(bring(Path(sys.argv[1]), ['Set'], Path(sys.argv[2]))))"
    )
    data = tmp_path / "data"
    (data / "Set").mkdir(parents=True)
    (data / "Set/a.png").write_bytes(FILES["Set/a.png"])
    command = [sys.executable, "-c", code, str(registry), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REGISTRY.parent.parent, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: Set/")
    assert "File too large" in last
    assert there(data) == {"Set/a.png": FILES["Set/a.png"]}


def test_registry_names_every_set():
    sets = Counter(line.split("/")[0] for line in REGISTRY.read_text(encoding="utf-8").splitlines())
    assert sets == {"T91": 91, "General-100": 100, "BSDS200": 199, "Set5": 5, "Set14": 14, "BSD100": 100, "LIVE1": 29}

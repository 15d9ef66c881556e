"""The page of web/, served from a folder below the root of a local server."""

import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from made import needed

WEB = Path(__file__).parents[2] / "web"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make page` makes of web/."""
    needed((WEB / "made" / "motorcycle.webm").exists(), "web/made (make page)")
    page = tmp_path_factory.mktemp("server") / "some" / "where"
    shutil.copytree(WEB, page)
    return page


@pytest.fixture(scope="session")
def address(folder: Path) -> Iterator[str]:
    """The address of the page, which lies below the server's root."""
    handler = functools.partial(Handler, directory=folder.parents[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/some/where/"
        server.shutdown()

"""The page of web/ in Firefox, driven over WebDriver BiDi by firefox.mjs."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from made import load, needed, network, posix, save, started
from numpy.typing import NDArray
from PIL import Image

from fsrcnn.pictures.upscale import upscale_picture

MODULES = Path(__file__).parents[2] / ".venv" / "node_modules"
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
NODE = shutil.which("node")
SLOW = 30  # seconds

pytestmark = posix


class Firefox:
    """A page in Firefox: each call is a command of firefox.mjs."""

    def __init__(self, process: "subprocess.Popen[str]", downloads: Path) -> None:
        self.process, self.downloads = process, downloads

    def __call__(self, *command: str | Path) -> Any:
        self.process.stdin.write(json.dumps(command, default=str) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, (command, answer)
        return answer["result"]

    def status(self, part: str) -> None:
        self("wait", f"document.querySelector('#status').textContent.includes({json.dumps(part)})")

    def enlarge(self, source: Path) -> None:
        self("choose", "#file", source)
        self.status("Finished in")

    def saved(self, name: str) -> Path:
        """The file that the page saves."""
        path, end = self.downloads / name, time.monotonic() + SLOW
        self("click", "#download")
        self.status(f"Saved {name}")
        while not (path.exists() and path.stat().st_size) or path.with_name(f"{name}.part").exists():
            assert time.monotonic() < end, f"{name} is not saved"
            time.sleep(0.05)
        return path


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    needed(bool(FIREFOX), "firefox-esr")
    needed(bool(NODE) and (MODULES / "puppeteer-core").exists(), "puppeteer-core (make extra, where there is npm)")
    folder = tmp_path_factory.mktemp("firefox")
    command = [NODE, Path(__file__).with_name("firefox.mjs"), MODULES, FIREFOX, folder]
    settings = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with started(command, env={**os.environ, "HOME": str(folder)}, **settings) as process:
        try:
            yield Firefox(process, folder / "downloads")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def page(firefox: Firefox, address: str) -> Iterator[Firefox]:
    """The page, newly opened without an example; checks at the end that the console is empty."""
    firefox("open", f"{address}#scale=2&network=fsrcnn_s")
    firefox.status("Finished in")
    yield firefox
    assert firefox("said") == []


def photograph() -> NDArray[np.uint8]:
    return skimage.data.astronaut()[50:140, 150:281]


def round_picture() -> NDArray[np.uint8]:
    """With a soft edge of every level of alpha."""
    y, x = np.mgrid[:90, :131]
    alpha = np.clip((60 - np.hypot(x - 65, y - 45)) * 5, 0, 255)
    return np.dstack([photograph(), alpha]).astype(np.uint8)


PICTURES = {
    "photograph": photograph,
    "translucent": round_picture,
    "deep": lambda: photograph().astype(np.uint16) * 257,
    "grey": lambda: photograph()[..., 1],
}


@pytest.mark.parametrize("kind", PICTURES)
def test_result_is_upscale_pys(page: Firefox, tmp_path: Path, kind: str):
    source = save(tmp_path / f"{kind}.png", PICTURES[kind]())
    page.enlarge(source)
    if kind == "deep":  # the page sees 8 bits of it
        source = save(tmp_path / "eight.png", photograph())
    upscale_picture(source, tmp_path / "expected.png", network("fsrcnn_s", 2))
    expected = load(tmp_path / "expected.png").astype(float)
    if kind == "grey":
        expected = np.dstack([expected] * 3)
    result = load(page.saved(f"{kind}_x2.png")).astype(float)
    assert result.shape == expected.shape
    visible = expected[..., 3] > 0 if kind == "translucent" else np.ones(expected.shape[:2], bool)
    difference = np.abs(result - expected)[visible]
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_results_are_saved_as_jpeg_and_webp(page: Firefox, tmp_path: Path):
    page.enlarge(save(tmp_path / "photo.png", photograph()))
    expected = load(page.saved("photo_x2.png")).astype(float)
    for value, kind, suffix in (("jpeg", "JPEG", "jpg"), ("webp", "WEBP", "webp")):
        page("click", f"input[name=format][value={value}]")
        with Image.open(page.saved(f"photo_x2.{suffix}")) as picture:
            assert (picture.format, picture.size) == (kind, (262, 180))
            assert np.abs(np.asarray(picture) - expected).mean() < 5


def test_long_pictures_are_whole(page: Firefox, tmp_path: Path):
    """Longer than Firefox's canvases."""
    source = save(tmp_path / "long.png", np.tile(photograph()[:40], (1, 130, 1)))
    page.enlarge(source)
    upscale_picture(source, tmp_path / "expected.png", network("fsrcnn_s", 2))
    result, expected = (load(each).astype(int) for each in (page.saved("long_x2.png"), tmp_path / "expected.png"))
    assert result.shape == (80, 34_060, 3)
    assert np.abs(result - expected).max() <= 1

"""Measures the network in a browser beside onnxruntime-web, and the page's films, and takes docs/browser.md's
screenshot: `python -m benchmarks.browser`.

Needs what `make extra` and `make page` bring, and Chromium.
"""

import base64
import functools
import json
import os
import platform
import shutil
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llvmlite import binding
from tqdm import tqdm

from benchmarks.network import ROUNDS, TOLERANCE, Case
from fsrcnn.errors import FailureError, Parser, RequestError, run_script
from fsrcnn.files import write_json, written_whole
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.luma import PEAK

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "browser.json"
SCREENSHOTS = {ROOT / "assets" / "page.png": (1280, 800), ROOT / "web" / "preview.jpg": (1200, 630)}
NEEDED = {
    ROOT / "web" / "made" / "motorcycle.webm": "make page",
    ROOT / ".venv" / "node_modules" / "onnxruntime-web": "make extra, with npm installed",
}
CASES = [Case(variant, scale, 1280, 720) for variant in VARIANTS for scale in SCALES]
INTEGERS_TOLERANCE = 2.5 / PEAK
SHORTEST = 100  # milliseconds that a timing lasts at least
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FILM_SECONDS = 8
# Counts how often the page draws an enlarged frame.
DRAWN = """() => {
  const canvas = document.querySelector("#after canvas"), context = canvas.getContext("2d");
  window.drawn = 0;
  const put = context.putImageData;
  context.putImageData = function (...args) { window.drawn++; return put.apply(this, args); };
  return [canvas.width, canvas.height];
}"""


class Handler(SimpleHTTPRequestHandler):
    """Serves the repository with the headers that a browser demands before it gives onnxruntime-web threads."""

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@contextmanager
def served() -> Iterator[str]:
    """Serves the repository to this machine; yields the address of its root."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=ROOT)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measure(browser: "Browser", address: str, case: Case, threads: int) -> dict[str, list[float]]:
    """Milliseconds of each way in each round. Raises FailureError if two ways disagree."""
    picture = case.picture()[0, 0]
    page = browser.new_page()
    page.goto(f"{address}/benchmarks/browser.html", wait_until="networkidle")
    said = page.evaluate(
        "(given) => measure(given)",
        {
            "name": f"{case.variant}_x{case.scale}",
            "threads": threads,
            "lr": base64.b64encode(picture.tobytes()).decode(),
            "width": picture.shape[1],
            "height": picture.shape[0],
            "rounds": ROUNDS,
            "shortest": SHORTEST,
        },
    )
    page.close()
    for error, most in ((said["error"], TOLERANCE), (said["integersError"], INTEGERS_TOLERANCE)):
        if not error <= most:
            raise FailureError(f"{case}: two ways are {error:.1e} apart, expected at most {most:.1e}")
    return said["times"]


def film_rate(browser: "Browser", address: str, variant: str) -> dict[str, Any]:
    """Frames a second at which the page enlarges its example film."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{address}/web/#example=motorcycle&scale=2&network={variant}")
    page.wait_for_function("() => parseInt(document.querySelector('#rate').textContent) > 0")
    page.wait_for_timeout(2000)
    width, height = page.evaluate(DRAWN)
    page.wait_for_timeout(FILM_SECONDS * 1000)
    drawn = page.evaluate("() => window.drawn")
    page.close()
    return {"width": width, "height": height, "frames_per_second": drawn / FILM_SECONDS}


def take_screenshot(browser: "Browser", address: str, path: Path, width: int, height: int) -> None:
    """Takes a picture of the page as it opens, for the README or for previews of links."""
    page = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page.goto(f"{address}/web/")
    page.wait_for_selector("#scores:visible")
    page.wait_for_timeout(1000)  # until the exact bicubic interpolation is there
    with written_whole(path) as unfinished:
        page.screenshot(path=unfinished, type="png" if path.suffix == ".png" else "jpeg")
    page.close()


def main() -> None:
    """Times the modules beside onnxruntime-web in Chromium and writes results/benchmark/browser.json."""
    Parser(description=__doc__).parse_args()
    for path, command in NEEDED.items():
        if not path.exists():
            raise RequestError(f"{path} is missing: {command}")
    chromium = shutil.which("chromium")
    if not chromium:
        raise RequestError("chromium is not installed")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise RequestError("playwright is missing: pip install -r requirements-extra.txt") from error
    threads = sorted({1, os.cpu_count() or 1})
    with served() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for path, (width, height) in SCREENSHOTS.items():
            take_screenshot(browser, address, path, width, height)
        films = {variant: film_rate(browser, address, variant) for variant in VARIANTS}
        for variant, film in films.items():
            print(f"film, {variant}: {film['frames_per_second']:.1f} frames a second, {film['width']}x{film['height']}")
        cases: dict[str, dict[str, Any]] = {}
        for case in tqdm(CASES, leave=False):
            cases[str(case)] = {str(count): measure(browser, address, case, count) for count in threads}
            for count, times in cases[str(case)].items():
                medians = {way: statistics.median(rounds) for way, rounds in times.items()}
                ratios = (f"{way} {time:.1f} ms ({time / medians['here']:.1f}x)" for way, time in medians.items())
                tqdm.write(f"{case}, {count} threads: {', '.join(ratios)}")
        version = browser.version
        browser.close()
    package = ROOT / ".venv" / "node_modules" / "onnxruntime-web" / "package.json"
    settings = {
        "processor": f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})",
        "rounds": ROUNDS,
        "versions": {
            "chromium": version,
            "onnxruntime-web": json.loads(package.read_text(encoding="utf-8"))["version"],
        },
    }
    write_json(RESULT, settings | {"films": films, "milliseconds": cases})


if __name__ == "__main__":
    run_script(main)

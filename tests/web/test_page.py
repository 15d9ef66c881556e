"""The page of web/ as a user has it: Chromium, driven by Playwright, opens it from a folder of a local server."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import pyvips
import skimage.data
from made import needed, network
from numpy.typing import NDArray
from PIL import Image

import fsrcnn
from dataset import write_image
from evaluation.scores import upscale_luma
from exports.page import write_film
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.resize import contributions
from imgproc import imresize, psnr, rgb_to_ycbcr, ssim, to_uint8

if os.environ.get("NOTHING_MISSING"):  # on CI
    import playwright.sync_api as playwright
else:
    playwright = pytest.importorskip("playwright.sync_api")
ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
AXE = ROOT / ".venv" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]
SLOW = 30_000  # milliseconds
PHONE, ASIDE, DESK = ({"width": width, "height": height} for width, height in ((360, 640), (740, 360), (1280, 800)))
ORIGINAL = WEB / "made" / "astronaut.png"

# Gives the page a file that lies at `address` as a browser does it when one is dropped or pasted.
GIVE = """async ([address, name, how]) => {
  const data = new DataTransfer();
  if (address) {
    const blob = await (await fetch(address)).blob();
    data.items.add(new File([blob], name, { type: blob.type }));
  }
  const options = { bubbles: true, cancelable: true };
  document.querySelector("#stage").dispatchEvent(
    how === "drop" ? new DragEvent("drop", { ...options, dataTransfer: data })
                   : new ClipboardEvent("paste", { ...options, clipboardData: data }));
}"""


PLAYING = "() => parseInt(document.querySelector('#rate').textContent) > 2"


@pytest.fixture(scope="module")  # in one process there is one driver at a time, and a benchmark's test has its own
def browser() -> Iterator["playwright.Browser"]:
    needed(bool(CHROMIUM), "chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(address: str, browser: "playwright.Browser", request: pytest.FixtureRequest) -> Iterator["playwright.Page"]:
    """The page, newly opened. Checks at the end that it asked for nothing foreign and that the console is empty.

    To save seconds, with the network that `choose` takes if not told otherwise, but for tests marked by `start`, and
    without its service worker, as over plain http, but for tests marked by `kept`.
    """
    kind = getattr(request, "param", "")
    with browser.new_context(viewport=DESK) as context:  # closed at the end, or a film plays on beside the next tests
        context.set_default_timeout(SLOW)
        if kind != "kept":
            context.add_init_script("delete Navigator.prototype.serviceWorker")
        opened, said, asked = context.new_page(), [], []
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        context.on("request", lambda request: asked.append(request.url))
        opened.goto(address if kind else f"{address}#scale=2&network=fsrcnn_s")
        yield opened
        assert not said
        assert all(url.startswith((address, f"blob:{address.partition('/some')[0]}")) for url in asked)


start = pytest.mark.parametrize("page", ["start"], indirect=True)  # with no settings, as visitors open it
kept = pytest.mark.parametrize("page", ["kept"], indirect=True)  # so, and its service worker keeps its files


def started(page: "playwright.Page") -> None:
    """Waits until the example that the page opens with is enlarged."""
    status(page, f"{sizes(168, 168, 3)}. Finished in")
    page.wait_for_function("() => !document.querySelector('#scores').hidden")
    page.keyboard.press("Shift")  # the line moves by itself until somebody does something
    page.locator("#slider").fill("50")


def choose(page: "playwright.Page", path: Path, scale: int = 2, variant: str = "fsrcnn_s") -> None:
    set_network(page, scale, variant)
    page.set_input_files("#file", path)


def set_network(page: "playwright.Page", scale: int, variant: str = "fsrcnn_s") -> None:
    page.check(f"input[name=scale][value='{scale}']")
    page.get_by_label("best" if variant == "fsrcnn" else "fast").check()


def sizes(width: int, height: int, scale: int) -> str:
    """As the page says them."""
    times = "\N{MULTIPLICATION SIGN}"
    return f"{width} {times} {height} → {width * scale} {times} {height * scale} pixels"


def downloaded(page: "playwright.Page", to: Path) -> Path:
    """The finished result, in the folder `to` under the name that the page gives it."""
    with page.expect_download() as download:
        page.click("#download")
    path = to / "downloaded" / download.value.suggested_filename
    download.value.save_as(path)
    return path


def size_to_come(page: "playwright.Page") -> float:
    """The bytes that the page says the file will have."""
    page.wait_for_function("() => document.querySelector('#size-to-come').textContent.startsWith('about')")
    number, unit = page.inner_text("#size-to-come").split()[1:]
    return float(number) * {"MB": 1e6, "KB": 1e3, "bytes": 1}[unit]


def status(page: "playwright.Page", part: str) -> str:
    """What the page says, once that contains `part`."""
    page.wait_for_function("part => document.querySelector('#status').textContent.includes(part)", arg=part)
    return page.inner_text("#status")


def photograph_pixels(height: int = 90, width: int = 131) -> NDArray[np.uint8]:
    return skimage.data.astronaut()[50 : 50 + height, :width]


def photograph(path: Path, height: int = 90, width: int = 131) -> Path:
    write_image(path, photograph_pixels(height, width))
    return path


def translucent(path: Path, width: int = 120, height: int = 100) -> Path:
    """A round picture with a soft edge, on full transparency."""
    y, x = np.mgrid[:height, :width]
    alpha = np.clip((48 - np.hypot(x - width / 2, y - height / 2)) * 20, 0, 255)
    pixels = np.dstack([photograph_pixels(height, width), alpha]).astype(np.uint8)
    pyvips.Image.new_from_array(pixels).copy(interpretation="srgb").write_to_file(str(path))
    return path


def read(path: Path) -> NDArray[np.int64]:
    """R, G, B and, where there is one, alpha."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB).astype(int)


def drawn(page: "playwright.Page", layer: str) -> NDArray[np.int64]:
    """What the canvas of a layer holds, R, G, B."""
    address = page.evaluate("layer => document.querySelector(`${layer} canvas`).toDataURL()", layer)
    content = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(int)


@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn", 2), ("fsrcnn_s", 3), ("fsrcnn", 4), ("fsrcnn_s", 2)])
def test_result_is_upscale_pys(page: "playwright.Page", tmp_path: Path, variant: str, scale: int):
    source = photograph(tmp_path / "a photo.v2.png")
    choose(page, source, scale, variant)
    assert sizes(131, 90, scale) in status(page, "Finished in")
    result = downloaded(page, tmp_path)
    assert result.name == f"a photo.v2_x{scale}.png"
    upscale_picture(source, tmp_path / "expected.png", network(variant, scale))
    difference = np.abs(read(result) - read(tmp_path / "expected.png"))
    assert difference.max() <= 1
    assert difference.mean() < 0.001


def test_alpha_is_kept(page: "playwright.Page", tmp_path: Path):
    source = translucent(tmp_path / "round.png")
    choose(page, source)
    status(page, "Finished in")
    upscale_picture(source, tmp_path / "expected.png", network("fsrcnn_s", 2))
    result, expected = read(downloaded(page, tmp_path)), read(tmp_path / "expected.png")
    assert np.abs(result[..., 3] - expected[..., 3]).max() <= 1
    visible = expected[..., 3] > 0
    assert np.abs(result - expected)[visible].max() <= 1


def test_translucent_jpegs_lie_on_white(page: "playwright.Page", tmp_path: Path):
    choose(page, translucent(tmp_path / "round.png"))
    status(page, "Finished in")
    page.get_by_label("JPEG", exact=True).check()
    assert (read(downloaded(page, tmp_path))[:10, :10] >= 254).all()


def test_inexact_alpha_is_said(page: "playwright.Page", address: str, tmp_path: Path):
    page.add_init_script("delete globalThis.VideoFrame")
    page.add_init_script(
        "OffscreenCanvas.prototype.getContext = new Proxy(OffscreenCanvas.prototype.getContext, {"
        "apply: (get, canvas, [kind, ...rest]) => kind === 'webgl2' ? null : get.call(canvas, kind, ...rest) });"
    )
    page.goto("about:blank")
    page.goto(address)
    choose(page, translucent(tmp_path / "round.png"))
    assert status(page, "Finished in").endswith("This browser rounds the colours of translucent pixels.")


def test_the_first_picture_of_an_animation_is_said_to_be_it(page: "playwright.Page", tmp_path: Path):
    set_network(page, 2)
    for width, (suffix, pictures) in enumerate((("png", 2), ("gif", 2), ("webp", 2), ("gif", 1)), start=30):
        first, *others = [Image.fromarray(np.full((20, width, 3), level, np.uint8)) for level in (0, 255)[:pictures]]
        first.save(tmp_path / f"moving.{suffix}", save_all=True, append_images=others, duration=100)
        page.set_input_files("#file", tmp_path / f"moving.{suffix}")
        said = status(page, f"{sizes(width, 20, 2)}. Finished in")
        assert said.endswith("only the first picture.") == (pictures > 1), suffix


def test_flat_colours_stay(page: "playwright.Page", tmp_path: Path):
    source = tmp_path / "flat.png"
    write_image(source, np.full((40, 60, 3), (200, 30, 97), np.uint8))
    choose(page, source, 3, "fsrcnn")
    status(page, "Finished in")
    result = read(downloaded(page, tmp_path))
    assert result.shape == (120, 180, 3)
    assert (result == (200, 30, 97)).all()


def test_exifs_orientation_is_applied(page: "playwright.Page", tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(skimage.data.chelsea()[:100, :150]).save(tmp_path / "turned.jpg", exif=exif)
    choose(page, tmp_path / "turned.jpg")
    assert sizes(100, 150, 2) in status(page, "Finished in")
    assert downloaded(page, tmp_path).name == "turned_x2.png"


@start
def test_dropped_and_pasted_files_are_enlarged(page: "playwright.Page"):
    refusals = {"drop": "Only files can be dropped here.", "paste": "The clipboard holds no picture."}
    for how, refusal in refusals.items():
        page.evaluate(GIVE, ["made/coffee_x2.jpg", "coffee.jpg", how])
        status(page, f"{sizes(300, 198, 3)}. Finished in")
        page.evaluate(GIVE, [None, None, how])
        assert page.inner_text("#status.wrong") == refusal


@start
def test_another_scale_and_variant_enlarge_anew(page: "playwright.Page", tmp_path: Path):
    page.set_input_files("#file", photograph(tmp_path / "photo.png"))
    status(page, f"{sizes(131, 90, 3)}. Finished")
    set_network(page, 4)
    status(page, f"{sizes(131, 90, 4)}. Finished")


@start
def test_slider_by_mouse_and_keyboard(page: "playwright.Page"):
    started(page)
    stage, slider = page.locator("#stage").bounding_box(), page.locator("#slider")
    middle = stage["y"] + stage["height"] / 2
    page.mouse.move(stage["x"] + stage["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] / 4, middle, steps=4)
    page.mouse.up()
    assert abs(float(slider.input_value()) - 25) <= 1
    shown = page.evaluate("getComputedStyle(document.querySelector('#after')).clipPath")
    assert shown == f"inset(0px 0px 0px {slider.input_value()}%)"
    before = float(slider.input_value())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert float(slider.input_value()) == before + 1


@start
def test_zoom_pan_and_loupe(page: "playwright.Page"):
    started(page)
    page.click("#whole")
    page.locator("#stage").focus()
    for key in ("+", "+", "+", "ArrowRight"):
        page.keyboard.press(key)
    page.click("#loupe-button")
    page.mouse.move(600, 400)
    page.wait_for_timeout(500)  # in which bicubic interpolation settles
    before, after = drawn(page, "#before"), drawn(page, "#after")
    assert 0 < np.abs(before - after).mean() < 6
    assert page.locator("#loupe figcaption").all_inner_texts() == ["bicubic", "FSRCNN", "original"]
    page.mouse.wheel(0, -300)
    page.click("#fit")


def test_bicubic_side_is_imresizes(page: "playwright.Page", tmp_path: Path):
    source = photograph(tmp_path / "photo.png")
    choose(page, source, 3)
    status(page, "Finished in")
    page.click("#whole")
    page.wait_for_timeout(500)
    expected = to_uint8(imresize(read(source), 3)).astype(int)
    seen = drawn(page, "#before")
    top, left = (seen.shape[0] - 270) // 2, (seen.shape[1] - 393) // 2
    assert np.abs(seen[top : top + 270, left : left + 393] - expected).max() <= 1


def test_large_picture_can_be_cancelled(page: "playwright.Page", tmp_path: Path):
    write_image(tmp_path / "large.jpg", cv2.resize(skimage.data.astronaut(), (1800, 1600)))
    choose(page, tmp_path / "large.jpg", 4, "fsrcnn")
    status(page, sizes(1800, 1600, 4))
    page.click("#cancel")
    assert "Cancelled" in page.inner_text("#status")
    assert page.locator("#download").is_hidden()
    set_network(page, 2)
    status(page, f"{sizes(1800, 1600, 2)}. Finished in")  # too large to be drawn as it is
    downloads = []
    page.on("download", lambda download: downloads.append(download))
    page.click("#download")
    page.wait_for_function("() => document.querySelector('#saved-part').value > 0.1")
    page.click("#stop")
    page.wait_for_function("() => document.querySelector('#saved').hidden")
    assert page.inner_text("#status") == ""
    page.get_by_label("JPEG", exact=True).check()
    assert size_to_come(page) == pytest.approx(downloaded(page, tmp_path).stat().st_size, rel=0.2)
    assert len(downloads) == 1


def test_wrong_and_too_large_files_are_explained(page: "playwright.Page", tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    choose(page, tmp_path / "notes.txt")
    status(page, "notes.txt is no picture")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    choose(page, tmp_path / "broken.mp4")
    status(page, "broken.mp4 cannot be played")
    Image.new("1", (5200, 5000)).save(tmp_path / "large.png")
    choose(page, tmp_path / "large.png", 4)
    assert "400 megapixels at most" in status(
        page, "The picture has 26 megapixels, at \N{MULTIPLICATION SIGN}4 416 megapixels"
    )
    choose(page, photograph(tmp_path / "fine.png"))
    status(page, "Finished in")


@start
def test_picture_refused_at_every_scale_leaves_an_empty_stage(page: "playwright.Page", tmp_path: Path):
    started(page)
    Image.new("1", (12_000, 9_000)).save(tmp_path / "huge.png")
    page.set_input_files("#file", tmp_path / "huge.png")
    assert "smaller scale" not in status(page, "400 megapixels at most")
    assert page.locator("#nothing").is_visible()
    assert page.locator(".name:visible").count() == 0
    choose(page, photograph(tmp_path / "fine.png"))
    status(page, "Finished in")
    assert page.locator(".name:visible").count() == 2


@start
def test_missing_camera_and_missing_simd_are_explained(page: "playwright.Page", address: str):
    page.add_init_script("WebAssembly.validate = () => false; delete Navigator.prototype.mediaDevices;")
    started(page)
    page.evaluate("delete Navigator.prototype.mediaDevices")
    page.click("#camera")
    status(page, "There is no camera here")
    page.goto(address)
    status(page, "no WebAssembly SIMD")
    assert page.locator("#camera").is_disabled()
    page.evaluate("document.body.addEventListener('drop', (event) => (globalThis.dropped = event))")
    page.evaluate(GIVE, ["made/coffee_x2.jpg", "coffee.jpg", "drop"])
    assert page.evaluate("dropped.defaultPrevented")  # or the browser would leave the page for the file


@kept
def test_works_without_a_network(page: "playwright.Page", folder: Path, address: str):
    page.evaluate("navigator.serviceWorker.ready")
    kept = page.evaluate(
        "caches.open('fsrcnn').then((cache) => cache.keys()).then((all) => all.map((each) => each.url))"
    )
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {url.removeprefix(address) for url in kept} | {"index.html"} == (
        files - {"package.json", "service-worker.js"}
    ) | {""}
    page.context.set_offline(True)
    page.goto(address)
    started(page)
    page.get_by_role("button", name="JPEG").click()
    status(page, f"{sizes(200, 132, 3)}. Finished in")


@start
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_and_accessibility(page: "playwright.Page", tmp_path: Path, scheme: str):
    needed(AXE.exists(), "axe-core (make extra, where there is npm)")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # or the audit sees colours in transition
    page.set_viewport_size(PHONE)
    audit = "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes.map((n) => n.html)]))"
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(audit) == []
    assert page.locator("[data-text]:empty, [data-label='']").count() == 0
    page.set_input_files("#file", [photograph(tmp_path / f"{name}.png") for name in ("one", "two")])
    status(page, "Finished in")
    page.get_by_role("button", name="Text", exact=True).click()
    page.get_by_label("original").check()
    page.click("#loupe-button")
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(audit) == []
    for control in page.locator("button:visible").all():
        assert control.bounding_box()["height"] >= 36


def test_policy_allows_nothing_foreign(page: "playwright.Page"):
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    sources = {source for directive in policy.split(";") for source in directive.split()[1:]}
    assert policy.startswith("default-src 'none'")
    assert sources == {"'none'", "'self'", "'wasm-unsafe-eval'", "blob:"}


@kept
def test_opens_with_a_result_beside_its_original(page: "playwright.Page", tmp_path: Path):
    page.wait_for_function("() => Math.abs(document.querySelector('#slider').value - 50) > 20")  # once, by itself
    started(page)
    upscale_picture(WEB / "made" / "astronaut_x3.png", tmp_path / "sr.png", network("fsrcnn", 3))
    original, sr = (rgb_to_ycbcr(read(path).astype(float))[3:-3, 3:-3, 0] for path in (ORIGINAL, tmp_path / "sr.png"))
    said = re.fullmatch(
        r"(\d+)% less error than .*: PSNR ([\d.]+) dB against ([\d.]+), SSIM ([\d.]+) against .*",
        page.inner_text("#scores"),
    )
    less, after, before, alike = (float(number) for number in said.groups())
    assert after == pytest.approx(psnr(sr, original), abs=0.01)
    assert alike == pytest.approx(ssim(sr, original), abs=0.0003)
    assert less == pytest.approx(100 * (1 - 10 ** ((before - after) / 10)), abs=1)
    assert page.locator(".name").all_inner_texts() == [f"bicubic\n{before:.1f} dB", f"FSRCNN\n{after:.1f} dB"]
    page.get_by_role("button", name="Photo").click()
    page.get_by_label("original").check()
    page.click("#fit")
    page.click("#whole")
    page.wait_for_timeout(200)
    seen, hr = drawn(page, "#before"), read(ORIGINAL)
    left = (seen.shape[1] - hr.shape[1] + 1) // 2  # rounded up
    rows = min(seen.shape[0], hr.shape[0])
    top = (hr.shape[0] - rows) // 2
    assert np.abs(seen[:rows, left : left + hr.shape[1]] - hr[top : top + rows]).max() <= 1


def test_nothing_moves_where_that_is_not_wanted(page: "playwright.Page", address: str):
    page.emulate_media(reduced_motion="reduce")
    page.goto("about:blank")
    page.goto(address)
    status(page, "Finished in")
    page.wait_for_timeout(500)
    assert page.input_value("#slider") == "50"


def test_the_line_is_seized_anywhere_and_follows_a_click(page: "playwright.Page", tmp_path: Path):
    choose(page, photograph(tmp_path / "photo.png"))
    status(page, "Finished in")
    stage = page.locator("#stage").bounding_box()
    left, width, low = stage["x"], stage["width"], stage["y"] + stage["height"] * 0.9
    page.mouse.click(left + width * 0.3, low)
    assert abs(float(page.input_value("#slider")) - 30) <= 0.5
    page.wait_for_timeout(400)  # or the next would be a double click
    page.mouse.move(left + width * 0.3, low)
    page.mouse.down()
    page.mouse.move(left + width * 0.7, low - 50, steps=3)
    page.mouse.up()
    assert abs(float(page.input_value("#slider")) - 70) <= 0.5
    assert page.inner_text("#percent") != "100%"
    page.mouse.dblclick(left + width * 0.5, low)
    assert page.inner_text("#percent") == "100%"
    assert abs(float(page.input_value("#slider")) - 70) <= 0.5


def test_fingers(address: str, browser: "playwright.Browser"):
    """Two zoom the picture; one moves the line across, and scrolls the page up and down."""
    with browser.new_context(viewport=ASIDE, has_touch=True, is_mobile=True, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(address)
        started(page)
        assert page.locator("#touch").is_visible()
        stage = page.locator("#stage").bounding_box()
        assert stage["height"] <= 0.75 * ASIDE["height"]
        x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
        driver = context.new_cdp_session(page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            fingers = [{"x": left, "y": top, "id": number} for number, (left, top) in enumerate(points)]
            driver.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

        touch("touchStart", (x - 30, y))
        touch("touchStart", (x - 30, y), (x + 30, y))
        for apart in (40, 50, 60):
            touch("touchMove", (x - apart, y), (x + apart, y))
        touch("touchEnd")
        assert page.inner_text("#percent") == "400%"
        assert page.input_value("#slider") == "50"
        touch("touchStart", (x + 100, y))
        for along in (90, 60, 0, -74):
            touch("touchMove", (x + along, y))
        touch("touchEnd")
        assert abs(float(page.input_value("#slider")) - 40) <= 1
        assert page.evaluate("scrollY") == 0
        touch("touchStart", (x + 100, y))
        for up in (10, 30, 60, 90):
            touch("touchMove", (x + 100, y - up))
        touch("touchEnd")
        page.wait_for_function("() => scrollY > 30")
        assert abs(float(page.input_value("#slider")) - 40) <= 1
        page.get_by_role("button", name="Text", exact=True).tap()  # which scrolls down to it
        status(page, "A page of text")
        page.wait_for_function("() => document.querySelector('#stage').getBoundingClientRect().top >= -1")


def test_several_files_wait_and_are_saved_one_by_one(page: "playwright.Page", tmp_path: Path):
    files = [photograph(tmp_path / f"{name}.png", width=width) for name, width in (("one", 40), ("two", 50))]
    (tmp_path / "three.png").write_bytes(b"no picture")
    set_network(page, 2)
    page.set_input_files("#file", [*files, tmp_path / "three.png"])
    status(page, f"{sizes(40, 90, 2)}. Finished")
    shelf = page.locator("#files button:not(.remove)")
    assert shelf.all_inner_texts() == ["one.png", "two.png", "three.png"]
    assert shelf.nth(0).get_attribute("aria-current") == "true"
    names = []
    page.on("download", lambda download: names.append(download.suggested_filename))
    page.click("#save-all")
    assert status(page, "Saved 2 files") == "Saved 2 files; one file could not be saved."
    assert page.evaluate("document.activeElement.id") == "save-all"
    assert sorted(names) == ["one_x2.png", "two_x2.png"]
    assert page.locator("#files small").all_inner_texts() == ["saved", "saved", "not readable"]
    page.get_by_label("Remove three.png").click()
    page.get_by_label("Remove two.png").click()
    assert page.locator("#queue").is_hidden()


def test_escape_ends_save_all_and_what_was_removed_is_not_saved(page: "playwright.Page", tmp_path: Path):
    set_network(page, 2)
    page.set_input_files("#file", [photograph(tmp_path / f"{name}.png") for name in ("one", "two", "three")])
    status(page, "Finished in")
    names = []
    page.on("download", lambda download: names.append(download.suggested_filename))
    page.evaluate("""() => new Promise((resolve) => {
      new MutationObserver(([{ target }], observer) => {
        if (!target.textContent.includes("→")) return;
        observer.disconnect(); // it is being enlarged, and no progress is shown yet
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
        resolve();
      }).observe(document.querySelector("#status"), { childList: true });
      document.querySelector("#save-all").click();
    })""")
    status(page, "Cancelled")
    assert page.locator("#close").is_visible()
    assert page.is_enabled("#save-all")
    page.evaluate("for (const id of ['#save-all', 'li:last-child .remove']) document.querySelector(id).click()")
    assert status(page, "Saved 2 files") == "Saved 2 files."
    assert sorted(names) == ["one_x2.png", "two_x2.png"]


def test_saving_goes_on_while_another_picture_is_opened(page: "playwright.Page", tmp_path: Path):
    write_image(tmp_path / "large.png", cv2.resize(skimage.data.astronaut(), (600, 500)))
    choose(page, tmp_path / "large.png", 4)
    status(page, "Finished in")
    with page.expect_download() as download:
        page.click("#download")
        page.set_input_files("#file", photograph(tmp_path / "photo.png"))
    assert download.value.suggested_filename == "large_x4.png"


def test_saving_that_waits_for_the_picture_stops_at_once(page: "playwright.Page", tmp_path: Path):
    write_image(tmp_path / "large.png", cv2.resize(skimage.data.astronaut(), (600, 500)))
    choose(page, tmp_path / "large.png", 2)
    status(page, "Finished in")
    stopped = page.evaluate("""async () => {
      for (const each of ["input[value='4']", "#download", "#stop"]) document.querySelector(each).click();
      await new Promise(requestAnimationFrame);
      return document.querySelector("#saved").hidden;
    }""")
    assert stopped
    assert status(page, "Finished in")


def test_formats_and_the_size_to_come(page: "playwright.Page", tmp_path: Path):
    choose(page, photograph(tmp_path / "photo.png"))
    status(page, "Finished in")
    for label, kind, suffix in (("JPEG", "JPEG", "jpg"), ("WebP", "WEBP", "webp")):
        page.get_by_label(label, exact=True).check()
        page.get_by_label("Quality").fill("80")
        size = size_to_come(page)
        path = downloaded(page, tmp_path)
        assert path.name == f"photo_x2.{suffix}"
        assert size == pytest.approx(path.stat().st_size, rel=0.05)
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == (kind, (262, 180))
    assert "format=webp&quality=80" in page.url


def test_result_is_copied(page: "playwright.Page", tmp_path: Path):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, photograph(tmp_path / "photo.png"))
    status(page, "Finished in")
    page.click("#copy")
    status(page, "Copied")
    size = """async () => {
      const [item] = await navigator.clipboard.read();
      const { width, height } = await createImageBitmap(await item.getType("image/png"));
      return [width, height];
    }"""
    assert page.evaluate(size) == [262, 180]


@kept
def test_address_holds_the_settings_and_back_leads_to_the_start(page: "playwright.Page", address: str):
    started(page)
    set_network(page, 2)
    page.get_by_role("button", name="Text").click()
    status(page, f"{sizes(384, 258, 2)}. Finished")
    assert page.url == f"{address}#example=text&scale=2&network=fsrcnn_s"
    page.reload()
    status(page, f"{sizes(384, 258, 2)}. Finished")
    page.keyboard.press("Escape")
    status(page, f"{sizes(252, 252, 2)}. Finished")
    assert page.locator("#close").is_hidden()
    page.go_forward()
    status(page, f"{sizes(384, 258, 2)}. Finished")
    page.go_back()
    status(page, f"{sizes(252, 252, 2)}. Finished")


@start
def test_two_clicks_on_close_lead_to_the_start_only(page: "playwright.Page", address: str):
    page.get_by_role("button", name="Text").click()
    status(page, "A page of text")
    page.evaluate("for (const _ of '12') document.querySelector('#close').click()")
    started(page)
    assert page.url == address


def test_settings_that_there_are_not_are_left_out(page: "playwright.Page", address: str):
    for setting in ("example=constructor", "__defineGetter__=1", "scale=5", "restore=x"):
        page.goto("about:blank")
        page.goto(f"{address}#{setting}")
        started(page)
        assert page.url == address


def test_escape_stops_reading(address: str, browser: "playwright.Browser"):
    with browser.new_context(viewport=DESK, service_workers="block") as context:
        page, held = context.new_page(), []
        page.route("**/coffee_x2.jpg", lambda route: held.append(route))
        page.goto(f"{address}#scale=2&network=fsrcnn_s")
        status(page, "Finished")
        page.get_by_role("button", name="JPEG").click()
        status(page, "Reading JPEG")
        page.keyboard.press("Escape")
        assert page.inner_text("#status") == ""
        for route in held:
            route.continue_()
        page.wait_for_timeout(500)
        assert page.url == f"{address}#scale=2&network=fsrcnn_s"


@start
def test_address_may_be_written_by_hand(page: "playwright.Page", address: str):
    started(page)
    page.evaluate("location.hash = 'example=drawing&scale=4&restore=0.5'")
    status(page, f"{sizes(192, 129, 4)}. Finished")
    assert page.input_value("#strength") == "0.5"
    page.click("#close")
    status(page, f"{sizes(126, 126, 4)}. Finished")
    assert page.evaluate("document.activeElement.id") == "file"
    page.evaluate("location.hash = 'scale=9&restore=much&width=-1&example=none'")
    status(page, f"{sizes(168, 168, 3)}. Finished")
    assert page.url == address


@start
def test_refused_scale_is_not_kept(page: "playwright.Page", tmp_path: Path):
    Image.new("1", (5200, 5000)).save(tmp_path / "large.png")
    page.set_input_files("#file", photograph(tmp_path / "small.png"))
    status(page, f"{sizes(131, 90, 3)}. Finished")
    set_network(page, 4)
    status(page, f"{sizes(131, 90, 4)}. Finished")
    page.set_input_files("#file", tmp_path / "large.png")
    assert "Shown at \N{MULTIPLICATION SIGN}3." in status(page, "400 megapixels at most")
    assert page.is_checked("input[name=scale][value='3']")
    page.click("#cancel")


@pytest.mark.parametrize(
    ("answer", "words"), [("abort", "is this computer offline?"), ("missing", "`make page` makes it")]
)
def test_missing_networks_are_explained(address: str, browser: "playwright.Browser", answer: str, words: str):
    with browser.new_context(viewport=DESK, service_workers="block") as context:
        page = context.new_page()
        fail = {"abort": lambda route: route.abort(), "missing": lambda route: route.fulfill(status=404)}[answer]
        page.route("**/*.wasm", fail)
        page.goto(address)
        status(page, words)


def test_without_scripts_the_page_says_so(address: str, browser: "playwright.Browser"):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        assert "needs JavaScript" in page.inner_text("noscript")


def test_svg_is_drawn_and_enlarged(page: "playwright.Page", tmp_path: Path):
    set_network(page, 2)
    for size, colour, pixel in (('width="40" height="30"', "red", (255, 0, 0)), ("", "blue", (0, 0, 255))):
        drawing = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 30" {size}>'
        drawing += f'<path fill="{colour}" d="M0 0h40v30H0z"/></svg>'
        (tmp_path / f"{colour}.svg").write_text(drawing, encoding="utf-8")
        page.set_input_files("#file", tmp_path / f"{colour}.svg")
        status(page, f"{sizes(40, 30, 2)}. Finished")
        assert (read(downloaded(page, tmp_path))[..., :3] == pixel).all()
        (tmp_path / "broken.svg").write_text("<svg", encoding="utf-8")
        page.set_input_files("#file", tmp_path / "broken.svg")
        status(page, "broken.svg is no picture")


def test_can_be_installed_and_previewed():
    manifest = json.loads((WEB / "manifest.webmanifest").read_text(encoding="utf-8"))
    assert {"icon.svg", "icon.png"} == {icon["src"] for icon in manifest["icons"]}
    for name, size in (("icon.png", (512, 512)), ("preview.jpg", (1200, 630))):
        with Image.open(WEB / name) as picture:
            assert picture.size == size


@pytest.mark.parametrize(("width", "height", "scale"), [(200, 137, 2), (394, 271, 4)])
def test_any_width_is_reduced_as_matlab_does(
    page: "playwright.Page", tmp_path: Path, width: int, height: int, scale: int
):
    source = translucent(tmp_path / "round.png", 131, 90)
    upscale_picture(source, tmp_path / "expected.png", network("fsrcnn_s", scale))
    expected = read(tmp_path / "expected.png").astype(float)
    for axis, length in enumerate((height, width)):
        lengths = expected.shape[axis], length
        weights, indices = contributions(*lengths, length / expected.shape[axis])
        expected = np.moveaxis(np.einsum("nt,nt...->n...", weights, np.moveaxis(expected, axis, 0)[indices]), 0, axis)
    set_network(page, 2)
    page.check("input[name=scale][value='size']")
    page.fill("#width", str(width))
    page.keyboard.press("Enter")
    page.set_input_files("#file", source)
    status(page, f"{width} \N{MULTIPLICATION SIGN} {height} pixels. Finished")
    result = downloaded(page, tmp_path)
    assert result.name == f"round_{width}x{height}.png"
    expected = to_uint8(expected)
    difference = np.abs(read(result) - expected)
    assert difference[..., 3].max() <= 1
    assert difference[expected[..., 3] == 255].max() <= 1  # elsewhere hidden colours, of which neither is right, count


def test_refused_widths_are_explained(page: "playwright.Page", tmp_path: Path):
    choose(page, photograph(tmp_path / "photo.png"))
    status(page, "Finished")
    page.check("input[name=scale][value='size']")
    for width, words in ((131, "nothing is to be enlarged"), (525, "more than four times")):
        page.fill("#width", str(width))
        page.keyboard.press("Enter")
        status(page, words)


def test_a_width_holds_for_all_pictures_that_can_have_it(page: "playwright.Page", address: str, tmp_path: Path):
    page.goto(f"{address}#scale=size&width=601&network=fsrcnn_s")
    status(page, "Finished")  # of the example, which is too small for it
    wide, small = photograph(tmp_path / "wide.png", 90, 200), photograph(tmp_path / "small.png")
    for source, width, height, checked in ((wide, 601, 270, "size"), (small, 524, 360, "4"), (wide, 601, 270, "size")):
        page.set_input_files("#file", source)
        status(page, f"{width} \N{MULTIPLICATION SIGN} {height} pixels. Finished")
        assert page.is_checked(f"input[name=scale][value='{checked}']")
        assert page.url.endswith("#scale=size&width=601&network=fsrcnn_s")


def test_save_right_after_typing_a_width_saves_that_width(page: "playwright.Page", tmp_path: Path):
    choose(page, photograph(tmp_path / "photo.png"))
    status(page, "Finished")
    page.check("input[name=scale][value='size']")
    page.fill("#width", "300")
    path = downloaded(page, tmp_path)
    assert path.name == "photo_300x206.png"
    assert read(path).shape == (206, 300, 3)


def test_long_pictures_are_whole(page: "playwright.Page", tmp_path: Path):
    """Longer than any browser's canvas."""
    source = tmp_path / "long.png"
    write_image(source, np.tile(photograph_pixels(40, 500), (1, 33, 1)))
    choose(page, source, 4)
    status(page, f"{sizes(16_500, 40, 4)}. Finished")
    upscale_picture(source, tmp_path / "expected.png", network("fsrcnn_s", 4))
    result, expected = read(downloaded(page, tmp_path)), read(tmp_path / "expected.png")
    assert np.abs(result - expected).max() <= 1
    page.click("#whole")
    page.wait_for_timeout(500)
    before, after = drawn(page, "#before"), drawn(page, "#after")
    top, width = (after.shape[0] - 160) // 2, after.shape[1]
    left = 33_000 - (width + 1) // 2
    assert np.abs(after[top : top + 160] - expected[:, left : left + width]).max() <= 1
    assert 0 < np.abs(before[top : top + 160] - expected[:, left : left + width]).mean() < 6
    page.get_by_label("WebP", exact=True).check()
    page.click("#download")
    status(page, "A WebP file has at most 16,383 pixels a side; save a PNG.")
    page.click("#fit")
    page.wait_for_timeout(200)
    assert drawn(page, "#after").max(axis=2).any(axis=0).all()  # not black anywhere


@start
def test_film_is_enlarged_live(page: "playwright.Page", tmp_path: Path):
    still = skimage.data.astronaut()[40:400, :]
    film = tmp_path / "film.webm"
    write_film(film, [cv2.resize(still, (640, 360))] * 30)
    choose(page, film)
    page.wait_for_function(PLAYING)
    assert sizes(640, 360, 2) in page.inner_text("#status")
    page.set_viewport_size({"width": 320, "height": 480})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size(DESK)
    page.click("#play")
    page.wait_for_function("() => document.querySelector('#play').textContent === 'Play'")
    page.wait_for_timeout(300)
    small, large = drawn(page, "#before"), drawn(page, "#after")
    expected = upscale_luma(network("fsrcnn_s", 2), rgb_to_ycbcr(small.astype(float))[..., 0])
    assert psnr(rgb_to_ycbcr(large.astype(float))[8:-8, 8:-8, 0], expected[8:-8, 8:-8]) > 45
    assert psnr(cv2.resize(large.astype(np.uint8), (640, 360), interpolation=cv2.INTER_AREA), small) > 30
    set_network(page, 3)
    status(page, sizes(640, 360, 3))
    page.wait_for_function("() => document.querySelector('#after canvas').width === 1920")
    page.click("#play")
    page.click("#close")
    started(page)
    assert page.inner_text("#rate") == ""
    page.emulate_media(reduced_motion="reduce")
    choose(page, film)
    page.wait_for_function("() => document.querySelector('#play').textContent === 'Play'")
    page.wait_for_timeout(500)
    frame = downloaded(page, tmp_path)
    assert frame.name == "film_x2.png"
    assert psnr(read(frame)[::2, ::2].astype(float), cv2.resize(still, (640, 360)).astype(float)) > 25


def test_paused_film_is_never_black(page: "playwright.Page", tmp_path: Path):
    film = tmp_path / "film.webm"
    still = cv2.resize(skimage.data.coffee(), (640, 360))
    write_film(film, [still] * 5)
    page.emulate_media(reduced_motion="reduce")
    choose(page, film)
    status(page, f"{sizes(640, 360, 2)}, compression")
    for scale, variant in ((3, "fsrcnn_s"), (2, "fsrcnn")):
        set_network(page, scale, variant)
        status(page, f"{sizes(640, 360, scale)}, compression")
        assert psnr(drawn(page, "#after")[::scale, ::scale].astype(float), still.astype(float)) > 20
        page.wait_for_timeout(500)
        small, large = drawn(page, "#before"), drawn(page, "#after")
        expected = upscale_luma(network(variant, scale), rgb_to_ycbcr(small.astype(float))[..., 0])
        assert psnr(rgb_to_ycbcr(large.astype(float))[8:-8, 8:-8, 0], expected[8:-8, 8:-8]) > 40
    assert (read(downloaded(page, tmp_path)) == drawn(page, "#after")).all()


@start
def test_camera_is_enlarged_live(page: "playwright.Page"):
    page.get_by_label("fast").check()
    page.click("#camera")
    page.wait_for_function(PLAYING)
    assert page.locator("#seek").is_hidden()
    page.click("#close")


def jpeg_in_png(path: Path, quality: int) -> Path:
    """A photograph saved as JPEG and then without loss."""
    file = io.BytesIO()
    Image.fromarray(skimage.data.coffee()[::2, ::2].copy()).save(file, "JPEG", quality=quality)
    Image.open(file).save(path)
    return path


def test_compressed_pictures_are_restored_as_upscale_py_does(page: "playwright.Page", tmp_path: Path):
    source = jpeg_in_png(tmp_path / "compressed.png", 50)
    choose(page, source)
    assert status(page, "Finished in").endswith(", compression removed by 85%.")
    assert page.input_value("#strength") == "0.85"
    assert "The pixels say" in page.inner_text("#chosen")
    fsrcnn.enlarge_file(source, tmp_path / "expected.png", 2, variant="fsrcnn_s")
    difference = np.abs(read(downloaded(page, tmp_path)) - read(tmp_path / "expected.png"))
    assert difference.max() <= 1
    assert difference.mean() < 0.001


def test_a_jpegs_tables_are_read_and_the_slider_takes_another_strength(page: "playwright.Page", tmp_path: Path):
    Image.fromarray(skimage.data.coffee()[:40, :48]).save(tmp_path / "small.jpg", quality=70)
    choose(page, tmp_path / "small.jpg")
    assert status(page, "Finished in").endswith(", compression removed by 70%.")
    assert page.inner_text("#chosen") == "The file says: compressed, quality about 70 of 100."
    before = read(downloaded(page, tmp_path))
    slider = page.get_by_label("How strongly compressed pictures are restored")
    slider.focus()
    page.keyboard.press("Home")
    page.wait_for_function("!document.querySelector('#status').textContent.includes('removed')")
    assert status(page, "Finished in")
    assert page.get_attribute("#auto", "aria-pressed") == "false"
    assert (read(downloaded(page, tmp_path)) != before).any()
    page.click("#auto")
    assert status(page, "removed by 70%")
    assert (read(downloaded(page, tmp_path)) == before).all()

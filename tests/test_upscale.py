"""Pictures enlarged as a user does it: the pixels, what belongs to them, batches, and what goes wrong."""

import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import pyvips
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

import upscale
from errors import run_script
from imgproc import imresize
from model import FSRCNN, VARIANTS, FusedFSRCNN, load_weights, reach, upscale_luma
from picture import fill_transparent, upscaled_strips
from upscale import PRETRAINED

Run = Callable[..., tuple[int, str, str]]
REPOSITORY = Path(upscale.__file__).parent


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs upscale.py with a command line, on the CPU; returns exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["upscale.py", *map(str, arguments), "--device", "cpu"])
        with pytest.raises(SystemExit) as stop:
            run_script(upscale.main)
        return stop.value.code or 0, *capsys.readouterr()

    return run


def save(path: Path, pixels: NDArray[np.unsignedinteger]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(pixels).write_to_file(str(path))
    return path


def picture(pixels: NDArray[np.unsignedinteger]) -> pyvips.Image:
    """As a file with h x w (x 1 to 4) samples is read."""
    grey = pixels.ndim == 2 or pixels.shape[2] < 3
    deep = pixels.dtype == np.uint16
    kind = ("grey16" if deep else "b-w") if grey else ("rgb16" if deep else "srgb")
    return pyvips.Image.new_from_array(pixels, interpretation=kind)


@lru_cache
def shipped(variant: str, scale: int) -> FusedFSRCNN:
    return load_weights(PRETRAINED / f"{variant}_x{scale}.pth").fuse()


def upscaled(pixels: NDArray[np.unsignedinteger], variant: str, scale: int) -> NDArray[np.unsignedinteger]:
    network = shipped(variant, scale)
    return np.concatenate(list(upscaled_strips(picture(pixels), network, Path("picture"))))


def load(path: Path) -> NDArray[np.unsignedinteger]:
    return pyvips.Image.new_from_file(str(path)).numpy()


def noise(*shape: int, dtype: type = np.uint8) -> NDArray[np.unsignedinteger]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


# --- the parts make up the whole ---


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reach_is_exact(variant: str, scale: int):
    """One LR pixel changed changes SR pixels as far away as `reach` says, to one side at least, and none further."""
    torch.manual_seed(0)
    network = FSRCNN(scale, **VARIANTS[variant]).double()
    assert reach(network) == reach(network.fuse()) == VARIANTS[variant]["m"] + (3 if scale == 4 else 4)
    centre = 12
    lr = torch.rand(1, 1, 2 * centre + 1, 2 * centre + 1, dtype=torch.float64, requires_grad=True)
    furthest = 0
    for phase in range(scale):
        lr.grad = None
        network(lr)[0, 0, scale * centre + phase, scale * centre + phase].backward()
        rows = lr.grad[0, 0].abs().amax(1).nonzero().flatten() - centre
        furthest = max(furthest, int(rows.abs().max()))
    assert furthest == reach(network)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 2), (17, 16), (31, 40)])
def test_luma_in_parts_is_luma_as_a_whole(monkeypatch: pytest.MonkeyPatch, scale: int, shape: tuple[int, int]):
    network = shipped("fsrcnn", scale)
    lr = skimage.data.camera()[: shape[0], 200 : 200 + shape[1]]
    whole = network(torch.tensor(lr / np.float32(255))[None, None])[0, 0].numpy()
    for size in (1, 13):
        monkeypatch.setattr("model._PART", size)
        np.testing.assert_allclose(upscale_luma(network, lr) / 255, whole, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("scale", "bands"), [(2, 4), (3, 3), (4, 2)])
def test_picture_in_parts_is_picture_as_a_whole(monkeypatch: pytest.MonkeyPatch, scale: int, bands: int):
    pixels = noise(61, 47, bands, dtype=np.uint16)
    pixels[10:50, 5:30, -1] = 0
    whole = upscaled(pixels, "fsrcnn_s", scale)
    monkeypatch.setattr("picture.PART", 11)
    parts = upscaled(pixels, "fsrcnn_s", scale)
    assert parts.shape == (61 * scale, 47 * scale, bands)
    # 16-bit levels: the network's float32 rounding alone, a few millionths of the range.
    assert np.abs(parts.astype(int) - whole).max() <= 1
    if bands % 2 == 0:  # alpha, without the network
        np.testing.assert_array_equal(parts[..., -1], whole[..., -1])
        expected = np.floor(imresize(pixels[..., -1] * (255 / 65535), scale) * (65535 / 255) + 0.5).clip(0, 65535)
        np.testing.assert_array_equal(whole[..., -1], expected)


def test_memory_is_bounded_by_the_parts(tmp_path: Path):
    """Four times the pixels do not need more memory once a picture has several parts."""
    script = (
        "import resource, sys, upscale; sys.argv = ['', *sys.argv[1:]]; upscale.main(); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for side in (800, 1600):
        source = save(tmp_path / f"{side}.png", noise(side, side, 3))
        command = [sys.executable, "-c", script, source, "--variant", "fsrcnn_s", "--device", "cpu"]
        output = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
        peaks.append(int(output.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 60, peaks  # MB; the larger result alone has 29 MB, in float64 it would have 234


# --- colours, depth and alpha ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(20, 23, 3), (3, 2, 3), (20, 20, 1)])
@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn", 2), ("fsrcnn", 4), ("fsrcnn_s", 4)])
def test_flat_colours_stay(variant: str, scale: int, shape: tuple[int, int, int], dtype: type):
    peak, extremes = np.iinfo(dtype).max, [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]]
    for colour in [*extremes, *np.random.default_rng(0).random((8, 3))]:
        colour = np.round(np.array(colour[: shape[2]]) * peak).astype(dtype)
        enlarged = upscaled(np.broadcast_to(colour, shape).copy(), variant, scale)
        assert np.abs(enlarged.astype(int) - colour).max() <= 1


def test_the_network_does_the_luma():
    """Of a photograph reduced and enlarged again more is left than with bicubic interpolation."""
    hr = skimage.data.astronaut()
    lr = np.clip(np.round(imresize(hr, 1 / 2)), 0, 255).astype(np.uint8)
    sr = upscaled(lr, "fsrcnn", 2)
    error = [np.mean((enlarged - hr.astype(float)) ** 2) for enlarged in (sr, imresize(lr, 2))]
    assert 10 * np.log10(error[1] / error[0]) > 1  # dB


def test_edges_of_transparency_have_no_fringe():
    """A red disc on transparent black stays red to its edge, and what is opaque or empty stays so."""
    y, x = np.mgrid[-20:20, -20:20]
    alpha = np.clip((15 - np.hypot(x, y)) * 255, 0, 255).astype(np.uint8)
    pixels = np.dstack([np.where(alpha > 0, channel, 0) for channel in (200, 30, 40)] + [alpha]).astype(np.uint8)
    enlarged = upscaled(pixels, "fsrcnn", 3).astype(int)
    visible = enlarged[..., 3] > 0
    assert np.abs(enlarged[visible][:, :3] - (200, 30, 40)).max() <= 1
    assert (enlarged[54:66, 54:66, 3] == 255).all()
    assert (enlarged[:9, :9, 3] == 0).all()


def test_fill_transparent_by_hand():
    colour = np.array([[[90.0], [7.0], [30.0], [5.0], [5.0], [5.0]]])
    alpha = np.array([[[255.0], [0.0], [85.0], [0.0], [0.0], [0.0]]])
    filled = fill_transparent(colour, alpha, 1)
    # Both neighbours are equally near: (90 * 255 + 30 * 85) / (255 + 85); the last two have no visible neighbour.
    np.testing.assert_allclose(filled[0, :, 0], [90, 75, 30, 30, 5, 5])


# --- what belongs to a picture ---


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_metadata_is_kept_and_orientation_applied(run: Run, tmp_path: Path, suffix: str):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010E: "a description", 0x011A: 300.0, 0x011B: 300.0, 0x0128: 2})
    exif.get_ifd(0x8769)[0x829A] = 0.125  # exposure time
    pixels = np.repeat(np.arange(24, dtype=np.uint8)[:, None] * 10, 40, axis=1)  # darkest at the top
    source = tmp_path / f"Ünï.код.v1{suffix}"
    Image.fromarray(pixels).convert("RGB").save(source, icc_profile=icc, exif=exif, dpi=(300, 300), quality=100)
    code, _, errors = run(source)
    assert code == 0, errors
    with Image.open(tmp_path / f"Ünï.код.v1_x2{suffix}") as enlarged:
        assert enlarged.size == (48, 80)  # turned by a quarter
        right, left = np.asarray(enlarged)[:, [-1, 0], 0].mean(axis=0)
        assert right < 20
        assert left > 210  # 6: the first row is on the right
        assert enlarged.getexif().get(0x0112, 1) == 1
        assert enlarged.getexif()[0x010E] == "a description"
        assert enlarged.info["icc_profile"] == icc
        assert float(enlarged.getexif()[0x011A]) == pytest.approx(300, abs=0.01)
        if suffix != ".tif":
            assert enlarged.getexif().get_ifd(0x8769)[0x829A] == 0.125


def test_exif_that_a_tiff_loses_is_spoken_of(run: Run, tmp_path: Path):
    tags = ImageFileDirectory_v2()
    tags[0x8769] = {0x829A: 0.125}
    Image.fromarray(noise(9, 8, 3)).save(tmp_path / "a.tif", tiffinfo=tags)
    save(tmp_path / "b.tif", noise(9, 8, 3))
    code, _, errors = run(tmp_path)
    assert code == 0
    assert [line.split(":")[0] for line in errors.splitlines() if "EXIF" in line] == [str(tmp_path / "a.tif")]


def test_depth_and_channels_are_the_files(run: Run, tmp_path: Path):
    """A dark 16-bit picture is still one of 16 bits; every kind of picture comes out as its own kind."""
    dark = noise(9, 8, 3).astype(np.uint16)
    for suffix, shape in itertools.product((".png", ".tif"), ((9, 8), (9, 8, 3))):
        save(tmp_path / f"deep{len(shape)}{suffix}", dark[..., 0] if len(shape) == 2 else dark)
    rgb = Image.fromarray(noise(9, 8, 3))
    kinds = {"1.png": "b-w", "L.png": "b-w", "LA.png": "b-w", "P.png": "srgb", "RGBA.png": "srgb", "CMYK.jpg": "cmyk"}
    kinds |= {"CMYK.tif": "cmyk", "L.jpg": "b-w", "RGBA.webp": "srgb", "1.tif": "b-w", "LA.tif": "b-w"}
    for name in kinds:
        rgb.convert(Path(name).stem).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    for mode in ("1", "L", "P", "RGB"):
        rgb.convert(mode).save(tmp_path / f"{mode}.bmp", dpi=(300, 300))
    code, output, errors = run(tmp_path)
    assert code == 0, errors
    assert "19 enlarged" in output
    for name, kind in kinds.items():
        before, after = (pyvips.Image.new_from_file(str(tmp_path / n)) for n in (name, name.replace(".", "_x2.")))
        assert (after.interpretation, after.bands, after.format) == (kind, before.bands, before.format)
    for suffix in (".png", ".tif"):
        assert load(tmp_path / f"deep2_x2{suffix}").dtype == load(tmp_path / f"deep3_x2{suffix}").dtype == np.uint16
        assert load(tmp_path / f"deep3_x2{suffix}").max() < 400
    for mode, expected in {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}.items():
        with Image.open(tmp_path / f"{mode}_x2.bmp") as enlarged:
            assert (enlarged.mode, enlarged.size) == (expected, (16, 18))
            assert enlarged.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_lossless_webp_stays_lossless(run: Run, tmp_path: Path):
    Image.fromarray(noise(9, 8, 3)).save(tmp_path / "a.webp", lossless=True)
    save(tmp_path / "a.png", load(tmp_path / "a.webp"))
    assert run(tmp_path)[0] == 0
    np.testing.assert_array_equal(load(tmp_path / "a_x2.webp"), load(tmp_path / "a_x2.png"))


# --- batches ---


def test_folder_keeps_its_structure_and_finished_files(run: Run, tmp_path: Path):
    pictures, output = tmp_path / "in", tmp_path / "in" / "big"
    for name in ("a.png", "sub/a.png", "sub/b.jpg", "notes/readme.txt", ".hidden.png"):
        save(pictures / name, noise(9, 8, 3)) if not name.endswith("txt") else (pictures / name).parent.mkdir()
    code, said, _ = run(pictures, "--output", output, "--upscale-factor", 3, "--variant", "fsrcnn_s")
    made = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.*"))
    assert (code, made) == (0, ["a_x3.png", "sub/a_x3.png", "sub/b_x3.jpg"])
    (output / "a_x3.png").write_text("mine")
    (output / "sub" / "b_x3.jpg").unlink()
    # From the folder itself now, in which there are results: they are not enlarged, and nothing is done twice.
    code, said, _ = run(pictures / "**/*.png", pictures, "--output", output, "--upscale-factor", 3)
    assert code == 0
    assert "1 enlarged, 2 were there already" in said
    assert "2 results of earlier runs" in said
    assert (output / "a_x3.png").read_text() == "mine"
    code, said, _ = run(pictures / "a.png", "--output", output, "--upscale-factor", 3, "--overwrite")
    assert "1 enlarged" in said
    assert load(output / "a_x3.png").shape == (27, 24, 3)


def test_one_bad_file_does_not_stop_the_others(run: Run, tmp_path: Path):
    pictures = {
        "animation.webp": b"",
        "animation.png": b"",
        "cut.png": save(tmp_path / "good.png", noise(60, 60, 3)).read_bytes()[:-3000],
        "cut.jpg": save(tmp_path / "good.jpg", noise(60, 60, 3)).read_bytes()[:-1500],
        "cut.webp": save(tmp_path / "good.webp", noise(60, 60, 3)).read_bytes()[:-1500],
        "cut.tif": save(tmp_path / "good.tif", noise(60, 60, 3)).read_bytes()[:-3000],
        "cut.bmp": b"BM" + b"\0" * 20,
        "empty.png": b"",
        "float.tif": b"",
        "jpeg.png": (tmp_path / "good.jpg").read_bytes(),
        "long.webp": save(tmp_path / "long.webp", noise(1, 8192, 3)).read_bytes(),
        "pages.tif": b"",
        "text.png": b"not a picture",
    }
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    frames = [Image.fromarray(noise(9, 8, 3)), Image.fromarray(noise(9, 8, 3) // 2)]
    for name in ("animation.webp", "animation.png", "pages.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    cv2.imwrite(str(tmp_path / "float.tif"), np.zeros((9, 8), dtype=np.float32))
    code, output, errors = run(tmp_path)
    assert code == 1
    assert "4 enlarged" in output
    failures = [line for line in errors.splitlines() if line.startswith("failed: ")]
    assert len(failures) == len(pictures)
    for name, line in zip(sorted(pictures), sorted(failures), strict=True):
        assert str(tmp_path / name) in line
    assert errors.splitlines()[-1].startswith(f"error: {len(pictures)} of {len(pictures) + 4} failed: ")
    assert all(name in errors.splitlines()[-1] for name in pictures)
    results = sorted(path.name for path in tmp_path.iterdir() if path.name not in pictures and "good." not in path.name)
    assert results == ["good_x2.jpg", "good_x2.png", "good_x2.tif", "good_x2.webp"]  # and nothing half-written


def test_a_bomb_is_refused(tmp_path: Path, run: Run):
    """A PNG whose header promises 60000 x 60000 pixels."""
    header = bytearray(save(tmp_path / "bomb.png", noise(4, 4, 3)).read_bytes())
    header[16:24] = (60000).to_bytes(4, "big") * 2
    header[29:33] = __import__("zlib").crc32(header[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(header)
    code, _, errors = run(tmp_path)
    assert code == 1
    assert "60000 x 60000 pixels is more" in errors


# The command line below a folder with a.png and sub/a.png, and what the one line of complaint must name.
MISTAKES = [
    ([], "inputs: got ()"),
    (["missing.png"], "missing.png: no such file or folder"),
    (["missing/*.png"], "nothing to enlarge here"),
    (["EMPTY"], "nothing to enlarge here"),
    (["notes.txt"], "notes.txt: no known picture"),
    (["a.png", "sub/a.png", "--output", "out"], "would both become"),
    (["a.png", "--output", "notes.txt"], "notes.txt is a file"),
    (["a.png", "--upscale-factor", "5"], "--upscale-factor"),
    (["a.png", "--upscale-factor", "3", "--weights", "X2"], "is for x2, asked for was x3; add --upscale-factor 2"),
    (["a.png", "--weights", "notes.txt"], "not a PyTorch weights file"),
    (["a.png", "--weights", "none.pth"], "none.pth: no such weights file"),
    (["a.png", "--duration", "0"], "duration: got 0.0, expected more than zero"),
]


@pytest.mark.parametrize(("arguments", "named"), MISTAKES, ids=[" ".join(mistake[0]) for mistake in MISTAKES])
def test_a_mistake_gets_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
):
    monkeypatch.chdir(tmp_path)
    save(Path("a.png"), noise(9, 8, 3))
    save(Path("sub/a.png"), noise(9, 8, 3))
    Path("EMPTY").mkdir()
    Path("notes.txt").write_text("notes")
    code, _, errors = run(*(PRETRAINED / "fsrcnn_x2.pth" if word == "X2" else word for word in arguments))
    assert (code, errors.count("\n")) == (2, 1)
    assert named in errors
    assert not list(tmp_path.rglob("*_x?.png"))


# --- real processes ---

COMMAND = [sys.executable, str(REPOSITORY / "upscale.py"), "--device", "cpu"]


@pytest.mark.parametrize(("suffix", "limit"), [(".png", 20_000), (".bmp", 43_240)])  # 43,200 bytes of pixels
def test_a_full_disk_leaves_nothing(tmp_path: Path, suffix: str, limit: int):
    """The first limit is too small for the temporary file, the second only for the result."""
    source = tmp_path / f"a{suffix}"
    Image.fromarray(noise(60, 60, 3)).save(source)

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run([*COMMAND, source], capture_output=True, text=True, preexec_fn=small_files)
    assert done.returncode == 1
    assert ("temporary file" in done.stderr) == (suffix == ".png")
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing_half_written(tmp_path: Path, number: int, code: int):
    source = save(tmp_path / "a.png", np.zeros((3000, 3000, 3), dtype=np.uint8))
    process = subprocess.Popen([*COMMAND, source], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".a_x2.*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == [source]


def test_several_processes_share_the_files(tmp_path: Path):
    for index in range(5):
        save(tmp_path / f"{index}.png", noise(9, 8, 3))
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, *COMMAND[1:], tmp_path, "--variant", "fsrcnn_s"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode != 0
    assert "5 enlarged" in done.stdout
    assert done.stderr.count("failed: ") == 2 or done.stderr.count("bad.png") == 2  # where it happened, and in the list
    assert len(list(tmp_path.glob("*_x2.png"))) == 5
    (tmp_path / "bad.png").unlink()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert "0 enlarged, 5 were there already" in done.stdout

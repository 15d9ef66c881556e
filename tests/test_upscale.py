"""Pictures enlarged as a user does it: the pixels, what belongs to them, batches, and what goes wrong."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import pyvips
from made import load, noise, posix, save, small_files, started
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fsrcnn import cli
from fsrcnn.errors import run_script
from fsrcnn.weights import shipped_weights

Run = Callable[..., tuple[int, str, str]]
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs upscale.py with a command line, on the CPU; returns exit code, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["upscale.py", *map(str, arguments), "--device", "cpu"])
        with pytest.raises(SystemExit) as stop:
            run_script(cli.upscale)
        return stop.value.code or 0, *capsys.readouterr()

    return run


# --- what belongs to a picture ---


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_metadata_is_kept_and_orientation_applied(run: Run, tmp_path: Path, suffix: str):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010E: "a description", 0x011A: 300.0, 0x011B: 300.0, 0x0128: 2})
    details = {0x829A: 0.125, 0xA002: 40, 0xA003: 24}  # exposure time, and the sizes
    exif.get_ifd(0x8769).update(details)
    if suffix == ".tif":  # or Pillow does not write them
        exif[0x8769] = details
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
        assert enlarged.getexif().get_ifd(0x8769)[0x829A] == 0.125
        assert [enlarged.getexif().get_ifd(0x8769)[side] for side in (0xA002, 0xA003)] == [48, 80]


def test_exif_that_a_bmp_loses_is_warned_of(run: Run, tmp_path: Path):
    tags = ImageFileDirectory_v2()
    tags[0x8769] = {0x829A: 0.125}
    Image.fromarray(noise(9, 8, 3)).save(tmp_path / "a.tif", tiffinfo=tags)
    save(tmp_path / "b.tif", noise(9, 8, 3))
    code, _, errors = run(tmp_path, "--format", "bmp")
    assert code == 0
    assert [line.split(": ")[0] for line in errors.splitlines() if "EXIF" in line] == [str(tmp_path / "a.tif")]


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


def test_stills_of_formats_that_are_only_read_become_png(run: Run, tmp_path: Path):
    rgb = Image.fromarray(noise(9, 8, 3))
    rgb.quantize(16).save(tmp_path / "a.gif")
    rgb.save(tmp_path / "b.avif")
    rgb.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.fromarray(255 - noise(9, 8, 3))])
    code, said, errors = run(tmp_path)
    assert (code, errors) == (0, "")
    assert said.endswith("; not read: 1 animated or of several pages\n")
    code, _, errors = run(tmp_path / "moving.gif")
    assert code == 1
    assert "moving.gif: an animation" in errors
    assert sorted(path.name for path in tmp_path.glob("*_x2*")) == ["a_x2.png", "b_x2.png"]
    assert load(tmp_path / "a_x2.png").shape[:2] == load(tmp_path / "b_x2.png").shape[:2] == (18, 16)


def test_the_format_and_the_name_of_the_result(run: Run, tmp_path: Path):
    save(tmp_path / "a.png", noise(9, 8, 3, dtype=np.uint16))
    save(tmp_path / "b.jpeg", noise(9, 8, 3))
    code, _, errors = run(tmp_path, "--format", "jpg", "--suffix", "_large", "--output", tmp_path / "out")
    assert code == 0
    assert errors.strip() == f"{tmp_path / 'a.png'}: 16 bits a channel became 8, all that the format has"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_large.jpg", "b_large.jpeg"]
    assert run(tmp_path / "a.png", "--output", tmp_path / "deep" / "result.TIF")[0] == 0
    assert load(tmp_path / "deep" / "result.TIF").dtype == np.uint16
    save(tmp_path / "alpha.png", noise(9, 8, 4))
    assert "has transparency, which jpeg cannot hold" in run(tmp_path / "alpha.png", "--format", "jpg")[2]
    assert run(tmp_path / "alpha.png", "--format", "webp")[0] == 0


def test_names_behind_dashes_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    save(Path("-a.png"), noise(9, 8, 3))
    monkeypatch.setattr(sys, "argv", ["upscale.py", "--width", "10", "--", "-a.png"])
    assert cli.upscale() == 0
    assert load(Path("-a_10w.png")).shape == (11, 10, 3)


def test_cmyk_is_enlarged_as_its_inverse(run: Run, tmp_path: Path):
    """Cyan, magenta and yellow are inverted, enlarged as red, green and blue, and inverted back."""
    rgb = noise(12, 10, 3)
    cmyk = np.dstack([255 - rgb, np.zeros((12, 10), np.uint8)])
    pyvips.Image.new_from_array(cmyk, interpretation="cmyk").write_to_file(str(tmp_path / "cmyk.tif"))
    save(tmp_path / "rgb.tif", rgb)
    assert run(tmp_path)[0] == 0
    np.testing.assert_array_equal(255 - load(tmp_path / "cmyk_x2.tif")[..., :3], load(tmp_path / "rgb_x2.tif"))
    assert load(tmp_path / "cmyk_x2.tif")[..., 3].max() <= 1


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
    (output / "a_x3.png").write_text("mine", encoding="utf-8")
    (output / "sub" / "b_x3.jpg").unlink()
    # The folder now holds results, which are left out; the inputs overlap, and no file is enlarged twice.
    code, said, _ = run(pictures / "**/*.png", pictures, "--output", output, "--upscale-factor", 3)
    assert code == 0
    assert said.startswith("1 enlarged in ")
    there = "2 were there already (--overwrite does them again)"
    assert said.endswith(f" s, as {output / 'sub' / 'b_x3.jpg'}; restored: 1 of 1, by 0.60; {there}\n")
    assert (output / "a_x3.png").read_text(encoding="utf-8") == "mine"
    code, said, _ = run(pictures / "a.png", "--output", output, "--upscale-factor", 3, "--overwrite")
    assert "1 enlarged" in said
    assert load(output / "a_x3.png").shape == (27, 24, 3)


def test_one_bad_file_does_not_stop_the_others(run: Run, tmp_path: Path):
    pictures = {
        "cut.png": save(tmp_path / "good.png", noise(60, 60, 3)).read_bytes()[:-3000],
        "cut.jpg": save(tmp_path / "good.jpg", noise(60, 60, 3)).read_bytes()[:-1500],
        "cut.webp": save(tmp_path / "good.webp", noise(60, 60, 3)).read_bytes()[:-1500],
        "cut.tif": save(tmp_path / "good.tif", noise(60, 60, 3)).read_bytes()[:-3000],
        "cut.bmp": b"BM" + b"\0" * 20,
        "empty.png": b"",
        "float.tif": b"",
        "long.webp": save(tmp_path / "long.webp", noise(1, 8192, 3)).read_bytes(),
        "text.png": b"not a picture",
    }
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    several = ("animation.webp", "animation.png", "pages.tif")
    frames = [Image.fromarray(noise(9, 8, 3)), Image.fromarray(noise(9, 8, 3) // 2)]
    for name in several:
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    cv2.imwrite(str(tmp_path / "float.tif"), np.zeros((9, 8), dtype=np.float32))
    code, output, errors = run(tmp_path)
    assert code == 1
    assert output.startswith("4 enlarged in ")
    assert output.endswith("; not read: 3 animated or of several pages\n")
    failures = [line for line in errors.splitlines() if line.startswith("failed: ")]
    assert len(failures) == len(pictures)
    for name, line in zip(sorted(pictures), sorted(failures), strict=True):
        assert str(tmp_path / name) in line
    assert errors.splitlines()[-1].startswith(f"error: {len(pictures)} of {len(pictures) + 4 + len(several)} failed: ")
    assert all(name in errors.splitlines()[-1] for name in pictures)
    before = {*pictures, *several}
    results = sorted(path.name for path in tmp_path.iterdir() if path.name not in before and "good." not in path.name)
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


# The command line, in a folder with a.png and sub/a.png, and what the one-line message must name.
MISTAKES = [
    ([], "inputs: got ()"),
    (["missing.png"], "missing.png: no such file or folder"),
    (["missing/*.png"], "nothing to enlarge here"),
    (["EMPTY"], "nothing to enlarge here"),
    (["notes.txt"], "notes.txt: no known picture"),
    (["a.png", "sub/a.png", "--output", "out"], "would both become"),
    (["a.png", "--output", "notes.txt"], "notes.txt is a file"),
    (["a.png", "sub/a.png", "--output", "b.png"], "b.png is one file, and there are 2 inputs"),
    (["a.png", "--output", "b.gif"], "a.png cannot be written as .gif"),
    (["a.png", "--output", "b.mp4"], "a.png cannot be written as .mp4"),
    (["a.png", "--suffix", ""], "a.png: would be replaced by its own result"),
    (["a.png", "--output", "a.png", "--overwrite"], "a.png: would be replaced by its own result"),
    (["a.png", "--upscale-factor", "17"], "upscale_factor: got 17.0, expected a number above 0, 16 at most"),
    (["a.png", "--upscale-factor", "3", "--weights", "X2"], "is for x2, expected x3; add --upscale-factor 2"),
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
    Path("notes.txt").write_text("notes", encoding="utf-8")
    code, _, errors = run(*(shipped_weights("fsrcnn", 2) if word == "X2" else word for word in arguments))
    assert (code, errors.count("\n")) == (2, 1)
    assert named in errors
    assert not list(tmp_path.rglob("*_x?.png"))


# --- real processes ---

COMMAND = [sys.executable, str(REPOSITORY / "upscale.py"), "--device", "cpu"]


def test_pytorch_is_not_imported(tmp_path: Path):
    """Not even with an empty cache: importing it takes several times as long as a small picture does."""
    source = save(tmp_path / "a.png", noise(9, 8, 3))
    script = "import sys; from fsrcnn import cli; cli.upscale(); print('torch' in sys.modules)"
    command = [sys.executable, "-c", script, source, "--device", "cpu", "--overwrite", "--variant", "fsrcnn_s"]
    run = functools.partial(subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for _ in "cold", "warm":
        assert run(env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}).stdout.split()[-1] == "False"
    assert list((tmp_path / "cache" / "fsrcnn").iterdir())


@posix
@pytest.mark.parametrize(
    ("suffix", "limit"), [(".png", 20_000), (".tif", 20_000), (".bmp", 43_240)]
)  # 43,200 bytes of pixels
def test_a_full_disk_leaves_nothing(tmp_path: Path, suffix: str, limit: int):
    source = tmp_path / f"a{suffix}"
    Image.fromarray(noise(60, 60, 3)).save(source)
    done = subprocess.run(
        [*COMMAND, source], capture_output=True, text=True, preexec_fn=functools.partial(small_files, limit)
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "make room, or write elsewhere, and run the command again" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "RGBA", "16 bits"])
def test_png_from_strips_has_the_pixels_of_a_large_result_in_a_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    source = tmp_path / "a.png"
    if kind == "16 bits":
        save(source, noise(300, 7, 3).astype(np.uint16) * 257)
    else:
        Image.fromarray(noise(300, 7, 3)).convert(kind).save(source)
    monkeypatch.setattr("fsrcnn.pictures.writing.IN_MEMORY", 0)
    assert run(source)[0] == run(source, "--format", "tif")[0] == 0
    np.testing.assert_array_equal(load(tmp_path / "a_x2.png"), load(tmp_path / "a_x2.tif"))
    with Image.open(tmp_path / "a_x2.png") as enlarged:
        enlarged.verify()  # its checksums


@posix
def test_without_a_place_for_errors_pictures_are_enlarged(tmp_path: Path):
    source = save(tmp_path / "a.png", noise(9, 8, 3))
    done = subprocess.run([*COMMAND, source], stdout=subprocess.PIPE, preexec_fn=functools.partial(os.close, 2))
    assert done.returncode == 0
    assert load(tmp_path / "a_x2.png").shape == (18, 16, 3)


@posix
def test_a_full_disk_for_the_temporary_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = save(tmp_path / "a.tif", noise(60, 60, 3))
    monkeypatch.setattr("fsrcnn.pictures.writing.IN_MEMORY", 0)
    try:
        small_files(20_000)
        code, _, errors = run(source)
    finally:
        small_files(None)
    assert code == 1
    assert "temporary file cannot be written" in errors
    assert list(tmp_path.iterdir()) == [source]


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing_half_written(tmp_path: Path, number: int, code: int):
    source = save(tmp_path / "a.png", np.zeros((3000, 3000, 3), dtype=np.uint8))
    heard = functools.partial(signal.signal, number, signal.SIG_DFL)  # what `make test &` ignores is inherited
    with started([*COMMAND, source], stderr=subprocess.PIPE, text=True, preexec_fn=heard) as process:
        while not list(tmp_path.glob(".a_x2.*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert errors.splitlines()[-1] == "interrupted: 0 of 1 done; the same command goes on"
    assert list(tmp_path.iterdir()) == [source]


@posix
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
    assert "0 enlarged; 5 were there already" in done.stdout

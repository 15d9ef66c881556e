"""The package as pip installs it: the engine and the shipped weights, in an environment without PyTorch."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made import load, make_clip, network, noise, save

from fsrcnn.geometry import SCALES, VARIANTS

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys
import numpy, fsrcnn, model
assert model.OF_THE_CALLER
numpy.save("large.npy", fsrcnn.enlarge(numpy.load("small.npy"), 3))
numpy.save("sr.npy", fsrcnn.load("fsrcnn_s", 4)(numpy.ones((9, 8), numpy.float32)))
print(fsrcnn.__file__, "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_engine_and_the_shipped_weights_alone(wheel: Path):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    weights = {
        f"fsrcnn/pretrained/{variant}_x{scale}{restoring}.safetensors"
        for variant in VARIANTS
        for scale in SCALES
        for restoring in ("", "_restore")
    }
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fsrcnn").rglob("*.py")}
    assert set(names) == weights | code


def test_an_installed_wheel_enlarges_without_pytorch_and_beside_modules_of_the_same_names(wheel: Path, tmp_path: Path):
    environment, project = tmp_path / "venv", tmp_path / "project"
    venv.create(environment)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        environment,
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*install, f"{wheel}[video]", "-c", ROOT / "constraints.txt"], check=True, capture_output=True)
    for name in ("model", "errors", "files", "config"):
        save(project / "photo.png", noise(40, 30, 3))
        (project / f"{name}.py").write_text("OF_THE_CALLER = True\n", encoding="utf-8")
    make_clip(project / "clip.mkv")
    np.save(project / "small.npy", noise(20, 21, 4))
    (project / "main.py").write_text(SCRIPT, encoding="utf-8")
    # Elsewhere than in the user's cache folder: nothing is compiled yet.
    run = {"cwd": project, "capture_output": True, "text": True, "env": {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}}
    done = subprocess.run([programs / "fsrcnn", "photo.png", "clip.mkv", "--upscale-factor", "3"], **run)
    assert (done.returncode, done.stdout.partition(" in ")[0]) == (0, "2 enlarged"), done.stderr
    assert load(project / "photo_x3.png").shape == (120, 90, 3)
    assert (project / "clip_x3.mkv").stat().st_size > 1000
    done = subprocess.run([programs / "python", "main.py"], **run)
    assert done.returncode == 0, done.stderr
    place, imported = done.stdout.split()
    assert Path(place).is_relative_to(environment)
    assert imported == "False"
    from fsrcnn import enlarge

    np.testing.assert_array_equal(np.load(project / "large.npy"), enlarge(noise(20, 21, 4), 3))
    np.testing.assert_array_equal(np.load(project / "sr.npy"), network("fsrcnn_s", 4)(np.ones((9, 8), np.float32)))
    done = subprocess.run([programs / "fsrcnn", "photo.png", "--weights", "w.pth"], **run)
    assert (done.returncode, done.stderr) == (2, "error: w.pth: no such weights file\n")

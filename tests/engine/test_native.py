"""native/__init__.py: without which packages nothing is compiled, and that other import errors are not hidden."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plain import enlarged

import fsrcnn
from fsrcnn.weights import load_weights, shipped_weights

PACKAGE = Path(fsrcnn.__file__).parent

HIDDEN = """
import sys

class Hidden:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden)
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs code that imports the package in a folder."""
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["llvmlite", "platformdirs"])
def test_without_an_optional_package_there_is_no_host(name: str):
    done = python(f"{HIDDEN.format(name=name)}\nfrom fsrcnn import native\nprint(native.HOST)", PACKAGE.parent)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


@pytest.mark.parametrize("mistake", ["import llvmlight", "from fsrcnn.native import treshold"])
def test_a_mistake_inside_is_not_taken_for_a_missing_package(tmp_path: Path, mistake: str):
    shutil.copytree(PACKAGE, tmp_path / "fsrcnn", ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "fsrcnn" / "native" / "target.py"
    target.write_text(f"{target.read_text(encoding='utf-8')}\n{mistake}\n", encoding="utf-8")
    done = python("import fsrcnn.native", tmp_path)
    assert done.returncode == 1
    assert mistake.split()[-1] in done.stderr.splitlines()[-1]


def test_network_compiles_from_an_empty_cache_without_pytorch(tmp_path: Path):
    path, lr = shipped_weights("fsrcnn_s", 2), np.random.default_rng(0).random((20, 30), np.float32)
    np.save(tmp_path / "lr.npy", lr)
    code = f"""{HIDDEN.format(name="torch")}
import importlib
import pkgutil
from pathlib import Path

import numpy as np

from fsrcnn import native
from fsrcnn.native import cache
from fsrcnn.network import CompiledNetwork, load_network

folder = Path({str(tmp_path / "cache")!r})
cache.folder = lambda: folder
network = load_network(Path({str(path)!r}), 2, "cpu")
assert isinstance(network, CompiledNetwork)
np.save({str(tmp_path / "sr.npy")!r}, network(np.load({str(tmp_path / "lr.npy")!r})))
for module in pkgutil.iter_modules(native.__path__):
    importlib.import_module(f"fsrcnn.native.{{module.name}}")
assert len(list(folder.iterdir())) == 1
"""
    done = python(code, PACKAGE.parent)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "sr.npy"), enlarged(lr, load_weights(path)), atol=3e-6, rtol=3e-6)

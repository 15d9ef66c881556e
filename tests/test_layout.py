"""Imports point one way: what each folder and file at the top may import of ours."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest
from made import noise

ROOT = Path(__file__).parent.parent
PAPER = {"config", "model", "imgproc", "dataset"}
MAY_IMPORT = {
    "fsrcnn": {"fsrcnn"},  # the engine stands alone
    "model": {"fsrcnn"},
    "imgproc": {"fsrcnn"},
    "config": {"fsrcnn"},
    "dataset": {"fsrcnn", "imgproc"},
    "evaluation": PAPER | {"fsrcnn", "evaluation"},
    "training": PAPER | {"fsrcnn", "evaluation", "training"},
    "exports": PAPER | {"fsrcnn", "exports"},
    "benchmarks": PAPER | {"fsrcnn", "evaluation", "training", "exports", "benchmarks"},
    "hubconf": {"fsrcnn"},  # and model.py by its path
}
# What model.py, imgproc.py and dataset.py may take from the engine: what both sides need.
SHARED = {"errors", "files", "geometry", "luma", "resize", "weights", "pytorch", "pictures"}
# What the engine may take from elsewhere; torch inside of functions alone, but for fsrcnn/pytorch.py.
ENGINE_NEEDS = {
    "numpy",
    "cv2",
    "pyvips",
    "PIL",
    "isal",
    "safetensors",
    "llvmlite",
    "platformdirs",
    "tqdm",
    "av",
    "simplejpeg",
}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")} - MAY_IMPORT.keys()


def named(node: ast.AST) -> set[str]:
    """What an import statement names: a.b and a.b.c of `from a.b import c`."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return set()


def imported(path: Path) -> set[str]:
    """Our modules, a.b, that a file imports, at its top or inside functions."""
    names = set().union(*(named(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    return {name for name in names if is_ours(name)}


def is_ours(name: str) -> bool:
    place = ROOT / name.replace(".", "/")
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def graph() -> dict[str, set[str]]:
    """Every module of ours, a or a.b, and those of ours that it imports."""
    files = [*ROOT.glob("*.py"), *(path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py"))]
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    return {name: imported(path) - {name} for path, name in names.items()}


def test_imports_point_one_way():
    for name, imports in graph().items():
        top = name.partition(".")[0]
        if top not in SCRIPTS:
            wrong = {each for each in imports if each.partition(".")[0] not in MAY_IMPORT[top]}
            assert not wrong, name
        assert not imports & SCRIPTS, name


def test_the_papers_files_take_from_the_engine_what_both_sides_need():
    for name in ("model", "imgproc", "dataset"):
        taken = {each.split(".")[1] for each in graph()[name] if each.startswith("fsrcnn.")}
        assert taken <= SHARED, name


def test_the_engine_needs_no_more_than_its_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = " ".join([*project["dependencies"], *project["optional-dependencies"]["video"]])
    packages = {"cv2": "opencv-python", "PIL": "pillow"}
    assert all(packages.get(name, name) in asked for name in ENGINE_NEEDS)
    for path in (ROOT / "fsrcnn").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_import = {name.partition(".")[0] for node in tree.body for name in named(node)}
        foreign = at_import - sys.stdlib_module_names - {"fsrcnn"}
        assert foreign <= ENGINE_NEEDS | ({"torch"} if path.name == "pytorch.py" else set()), path


def test_no_circles():
    # A package's __init__ is imported before its modules, so it must not need them.
    remaining = {name: {each for each in uses if not each.startswith(f"{name}.")} for name, uses in graph().items()}
    assert remaining["train"] >= {"training.run", "dataset"}
    while free := [name for name, imports in remaining.items() if not imports & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert not remaining


def test_large_files_that_differ_are_told_from_each_other_at_once():
    """Also on CI: see conftest.py."""
    with pytest.raises(AssertionError, match="At index 0 diff"):
        assert noise(100_000).tobytes() == (255 - noise(100_000)).tobytes()

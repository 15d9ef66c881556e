"""Imports point one way: what each folder and file at the top may import of ours."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEAVES = {"config", "errors", "files", "imgproc"}
SHARED = LEAVES | {"native", "model", "dataset", "devices"}
MAY_IMPORT = {
    "errors": set(),
    "imgproc": set(),
    "native": {"native"},
    "model": {"native"},
    "config": {"errors"},
    "files": {"errors"},
    "devices": {"errors"},
    "dataset": {"errors", "files", "imgproc"},
    "inference": SHARED | {"inference"},
    "training": SHARED | {"inference", "training"},
    "exports": SHARED | {"inference", "exports"},
    "benchmarks": SHARED | {"inference", "training", "exports", "benchmarks"},
    "hubconf": {"inference", "model"},
}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")} - MAY_IMPORT.keys()


def imported(path: Path) -> set[str]:
    """The modules that a file names in its imports, wherever they stand, as far as they are ours: a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in names if (ROOT / name.replace(".", "/")).is_dir() or module(name).is_file()}
    return {name for name in ours if not (ROOT / name.replace(".", "/")).is_dir()}


def module(name: str) -> Path:
    return (ROOT / name.replace(".", "/")).with_suffix(".py")


def graph() -> dict[str, set[str]]:
    """Every module of ours, a or a.b, and those it imports."""
    files = [*ROOT.glob("*.py"), *(path for folder in MAY_IMPORT for path in (ROOT / folder).glob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): imported(path) for path in files}


def test_imports_point_one_way():
    for name, imports in graph().items():
        top = name.partition(".")[0]
        if top not in SCRIPTS:
            wrong = {each for each in imports if each.partition(".")[0] not in MAY_IMPORT[top]}
            assert not wrong, name
        assert not imports & SCRIPTS, name


def test_no_circles():
    remaining = graph()
    assert remaining["train"] >= {"training.run", "dataset"}
    while free := [name for name, imports in remaining.items() if not imports & remaining.keys()]:
        for name in free:
            del remaining[name]
    assert not remaining

"""The documents: links and paths lead somewhere, commands are taken, Python blocks and some commands run as printed."""

import ast
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import skimage.data
from made import make_clip, needed, noise, posix
from PIL import Image

from config import FIELDS, checked, read_config, read_flags
from dataset import read_image, write_image
from exports.request import ExportConfig
from fsrcnn.cli import read_request
from fsrcnn.errors import RequestError

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
MOST_LINES = 170  # of README.md

# What takes a command line of each script, without doing what it asks for.
READERS = {
    "train.py": lambda arguments: read_config("train", "", arguments),
    "validate.py": lambda arguments: read_config("valid", "", arguments),
    "prepare_dataset.py": lambda arguments: read_config("prepare", "", arguments),
    "upscale.py": read_request,
    "fsrcnn": read_request,
    "export.py": lambda arguments: checked(ExportConfig, **read_flags(ExportConfig(), "", None, arguments)),
}
PYTHONS = {"python", "python3"}
PLACEHOLDERS = {"NAME", "SCALE"}  # of values that a change of the code brings
OTHER_PROGRAMS = {*"cat pip uv source pre-commit tensorboard mpv cc ffmpeg ./enlarge vspipe hf".split()}
# Paths that are not in the repository: what commands make, and the reader's own.
MADE = (
    *("results/test/demo", "results/fsrcnn_x3*", "results/NAME_x3/*", "results/exported/*.pb"),
    *("results/exported/*.tflite", "results/exported/*.mlpackage"),
    *("exports/NAME.py", "tests/exports/test_NAME.py"),
)


class Block(NamedTuple):
    """A fenced block: the page that it is in, its language, its text."""

    page: Path
    language: str
    text: str


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Block]:
    found = [(page, match) for page in PAGES for match in re.finditer(r"^```(\w+)\n(.*?)^```", read(page), re.M | re.S)]
    return [Block(page, match[1], match[2]) for page, match in found if match[1] == language]


def spans(page: Path) -> list[str]:
    """What stands in backticks in the text, each on one line."""
    prose = re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def lines_of(text: str) -> list[str]:
    """The lines of a block of commands, those joined that end in a backslash."""
    return text.replace("\\\n", " ").splitlines()


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each command, without comments, what pipes and && join apart, variables put in."""
    variables: dict[str, str] = {}
    for line in lines_of(text):
        for name, value in variables.items():
            line = line.replace(f"${name}", value)
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|>;")
        lexer.wordchars += "[]<{},:"
        words = list(lexer)
        if words and (assigned := re.fullmatch(r"([a-z]+)=(.*)", words[0])):
            variables[assigned[1]] = assigned[2]
            continue
        for joint, group in itertools.groupby(words, lambda word: set(word) <= set("&|;")):
            if not joint:
                yield list(itertools.takewhile(lambda word: word != ">", group))


def targets() -> set[str]:
    """The Makefile's targets."""
    return set(" ".join(re.findall(r"^([^\s:#][^:=#]*):(?!=)", read(ROOT / "Makefile"), re.M)).split())


def check(command: list[str]) -> None:
    """Fails where a command is not one of ours or of OTHER_PROGRAMS, or has arguments that it does not take."""
    program, *arguments = command
    if program == "make":
        assert {argument for argument in arguments if "=" not in argument} <= targets(), command
    elif program in PYTHONS and arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), command
        assert not arguments[1].startswith("benchmarks.") or not arguments[2:], command
    elif program in PYTHONS or program == "torchrun":
        script = next(place for place, argument in enumerate(arguments) if argument.endswith(".py"))
        check_arguments(arguments[script], arguments[script + 1 :])
    elif program == "fsrcnn":
        check_arguments(program, arguments)
    else:
        assert program in OTHER_PROGRAMS, command


def check_arguments(script: str, arguments: list[str]) -> None:
    """Fails where a script does not take the arguments; of a placeholder's flag it must have the name."""
    given = [argument for argument in arguments if argument != "FLAGS"]
    for flag, value in itertools.pairwise(arguments):
        if value in PLACEHOLDERS:
            assert flag.removeprefix("--").replace("-", "_") in FIELDS, flag
            given = [argument for argument in given if argument not in (flag, value)]
    if given != ["--help"]:
        READERS[script](given)


def anchors(page: Path) -> set[str]:
    """What links within a page can name: its headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short():
    assert len(read(ROOT / "README.md").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if not link.startswith("https://"):
            place, _, anchor = link.partition("#")
            target = page.parent / place if place else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_are_there(page: Path):
    ours = {path.name for path in ROOT.iterdir()} - {"data"}
    words = [*spans(page), *(word for block in blocks("sh") if block.page == page for word in block.text.split())]
    for word in words:
        if not re.fullmatch(r"[\w./*-]+", word) or any(fnmatch(word, pattern) for pattern in MADE):
            continue
        if ("/" in word and word.split("/")[0] in ours) or re.fullmatch(r"\w+\.py", word):
            places = [ROOT, ROOT / "tests", *(path for path in ROOT.iterdir() if path.is_dir())]
            assert any([*place.glob(word)] for place in (places if "/" not in word else [ROOT])), word


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_taken(page: Path):
    printed = [command for block in blocks("sh") if block.page == page for command in commands_in(block.text)]
    starts = tuple(f"{program} " for program in ("python", "make", "torchrun"))
    printed += [command for span in spans(page) if span.startswith(starts) for command in commands_in(span)]
    for command in printed:
        check(command)


WRONG = """
python train.py --no-such
python train.py --no-such NAME
python validate.py --steps 5
python upscale.py a --variant x
python export.py --format x
python -m benchmarks.no_such
make no-such
unknown --flag
"""


@pytest.mark.parametrize("line", WRONG.strip().splitlines())
def test_a_wrong_command_would_be_found(line: str):
    (command,) = commands_in(line)
    with pytest.raises((AssertionError, RequestError)):
        check(command)


@posix
def test_make_help_lists_every_target():
    needed(bool(shutil.which("make")), "make")
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)$", read(ROOT / "Makefile"), re.M)
    assert sorted(line.split()[1] for line in shown.splitlines()) == sorted(phony.split())


# --- blocks and commands that run ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The repository without what is large, and pictures and a video by the names that the documents use."""
    code = shutil.ignore_patterns(
        ".*", "__pycache__", "made", "test", "paper", "quick", "transfer", "before_finetuning"
    )
    for name in ("fsrcnn", "training", "evaluation", "exports", "results", "web"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=code)
    for path in ROOT.glob("*.py"):
        shutil.copy(path, tmp_path)
    photograph = skimage.data.chelsea()
    for name in ("photo.jpg", "holiday/photo.png", "scans/1999/a.tif"):
        write_image(tmp_path / name, photograph[:60, :80])
    Image.fromarray(photograph[:30, :40]).save(tmp_path / "drawing.gif")
    make_clip(tmp_path / "film.mkv")
    return tmp_path


def test_python_blocks_are_python():
    for block in blocks("python"):
        ast.parse(block.text)


@posix
@pytest.mark.parametrize("page", sorted({block.page for block in blocks("python")}), ids=name_of)
def test_python_blocks_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch):
    # OpenCV's contrib modules lie apart: their block runs in tests/exports/test_opencv.py.
    texts = [block.text for block in blocks("python") if block.page == page and "dnn_superres" not in block.text]
    for module in re.findall(r"^import (\w+)", "".join(texts), re.M):
        needed(bool(importlib.util.find_spec(module)), module)
    monkeypatch.chdir(folder)
    (folder / "path/to/this").mkdir(parents=True)
    (folder / "path/to/this/repository").symlink_to(ROOT)
    names = {"picture": noise(40, 120, 3), "pictures": noise(2, 12, 16, 3), "y": noise(20, 24)}
    names["lr"] = names["y"].astype(np.float32) / 255
    for text in texts:
        exec(compile(text, str(page), "exec"), names)


RUN = """
python validate.py --test-sets Samples --variant fsrcnn_s --upscale-factor 4
python upscale.py photo.jpg
python upscale.py photo.jpg holiday/ --upscale-factor 3
python upscale.py photo.jpg holiday/ "scans/**/*.tif" --upscale-factor 3 --output enlarged
python upscale.py film.mkv --duration 10
python upscale.py drawing.gif --output large.webp
python upscale.py holiday/ --format jpg --suffix _large
"""
MAKES = {
    "photo_x2.jpg": (120, 160),
    "holiday/photo_x3.png": (180, 240),
    "enlarged/photo_x3.jpg": (180, 240),
    "enlarged/1999/a_x3.tif": (180, 240),
    "large.webp": (60, 80),
    "holiday/photo_large.jpg": (120, 160),
}


@posix
def test_commands_run_as_printed(folder: Path):
    printed = [line.partition("  #")[0].strip() for block in blocks("sh") for line in lines_of(block.text)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in RUN.strip().splitlines():
        assert command in printed, command
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for name, size in MAKES.items():
        assert read_image(folder / name).shape[:2] == size, name
    assert (folder / "film_x2_trial.mkv").is_file()
    assert (folder / "results/test/fsrcnn_s/metrics.json").is_file()

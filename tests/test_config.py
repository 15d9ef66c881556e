"""The configuration as a user meets it: values edited in config.py, flags in a terminal."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made import posix, started

from config import FIELDS, OF_RECIPES, READ_BY, RECIPES, Config, make_config, read_config
from dataset import list_images, read_image, write_image
from fsrcnn.errors import RequestError
from fsrcnn.weights import load_weights

ROOT = Path(__file__).parent.parent
Run = Callable[..., tuple[int, str]]


# --- values and recipes ---


def test_the_fields_hold_the_default_recipes_values():
    assert RECIPES["default"] == {name: getattr(Config(), name) for name in OF_RECIPES}
    assert make_config() == Config()


def test_flags_do_what_edited_values_do():
    assert read_config("train", "", []) == Config()
    flags = ["--upscale-factor", "2", "4", "--learning-rate", "0.5", "--resume"]
    expected = dataclasses.replace(Config(), upscale_factor=(2, 4), learning_rate=0.5, resume=True)
    assert read_config("train", "", flags) == expected


def test_a_flag_beside_a_recipe_wins():
    config = read_config("train", "", ["--recipe", "paper", "--learning-rate", "0.5", "--optimizer", "soap"])
    expected = {**RECIPES["paper"], "recipe": "paper", "learning_rate": 0.5, "optimizer": "soap"}
    assert {field: getattr(config, field) for field in expected} == expected


def test_none_is_no_value():
    flags = ["--recipe", "restore", "--transfer-from", "a", "--reductions", "none", "--jpeg-qualities", "none"]
    config = read_config("train", "", flags)
    assert (config.reductions, config.jpeg_qualities) == ((), ())
    assert read_config("train", "", ["--reductions", "0.5"]).reductions == (0.5,)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("mode", "test", "'', 'train' or 'valid'"),
        ("loss", "l2", "'l1_then_mse', 'l1', 'mse' or 'euclidean'"),
        ("upscale_factor", (), "one scale or several"),
        ("upscale_factor", 5, "2, 3 or 4"),
        ("upscale_factor", (2, 2.5), "a valid integer"),
        ("batch_size", 0, "more than zero"),
        ("steps", "many", "a valid integer"),
        ("ema_decay", 1.0, "at least 0 and less than 1"),
        ("learning_rate", float("nan"), "a number above zero"),
        ("seed", -1, "zero or more"),
        ("train_sets", (), "one name or several"),
        ("test_sets", "", "one name or several"),
        ("exp_name", "a/b", "a folder's name, without a path"),
        ("exp_name", "..", "a folder's name, without a path"),
        ("patch_margin", 1, "0 or 2"),
        ("recipe", "papers", "'default', 'default_finetune', 'restore', 'paper' or 'paper_finetune'"),
        ("results_dir", 3, "a path"),
        ("seeds", 1, "the number of seeds, two or more, or the seeds themselves"),
        ("seeds", (5, 5), "the number of seeds, two or more, or the seeds themselves"),
        ("seeds", (0, -1), "zero or more"),
        ("jpeg_qualities", (0, 50), "whole numbers from 1 to 100"),
        ("reductions", (0.9, 1.0), "numbers from 0.01 to 1, or none"),
        ("reductions", 1e-9, "numbers from 0.01 to 1, or none"),
        ("reductions", (0.9, 0.9), "each once"),
    ],
)
def test_a_value_that_cannot_be_meant_is_named_with_what_would_be_right(field: str, value: object, expected: str):
    with pytest.raises(RequestError) as error:
        make_config(**{field: value})
    assert str(error.value).startswith(f"{field}: got ")
    assert f"expected {expected}" in str(error.value)


def test_each_script_reads_what_it_offers():
    for script, names in (("valid", READ_BY["valid"]), ("prepare", READ_BY["prepare"])):
        text = (ROOT / {"valid": "validate.py", "prepare": "prepare_dataset.py"}[script]).read_text(encoding="utf-8")
        assert set(re.findall(r"\bconfig\.(\w+)", text)) == names
    trained = "".join(
        path.read_text(encoding="utf-8") for path in [ROOT / "train.py", *(ROOT / "training").glob("*.py")]
    )
    assert set(re.findall(r"\bconfig\.(\w+)", trained)) & FIELDS.keys() >= READ_BY["train"] - {"d", "s", "m"}


# --- a copy of the repository, edited and run in a terminal ---


# Runs scripts one after another; prints the exit code of each.
IN_TURN = """
import runpy, sys
for sys.argv in {commands}:
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        print("exit code", stop.code or 0)
"""


class Copy:
    """A copy of the repository in a folder of its own, with small data."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.folder, self.data_dir = folder, data_dir
        code = shutil.ignore_patterns("__pycache__", "*.csv", "*.json", "*.png", "*.pth", "before_finetuning")
        for name in ("fsrcnn", "training", "evaluation", "results/pretrained"):
            shutil.copytree(ROOT / name, folder / name, ignore=code)
        (folder / "data").mkdir()
        for path in [*ROOT.glob("*.py"), ROOT / "data/registry.txt"]:
            shutil.copy(path, folder / path.relative_to(ROOT))

    def edit(self, **values: str) -> None:
        """Puts Python text in place of values in config.py, as an editor does."""
        path = self.folder / "config.py"
        text = path.read_text(encoding="utf-8")
        for name, value in values.items():
            start = re.search(rf"^    {name}: ", text, re.MULTILINE).start()
            text, number = text[:start], 0
            rest = path.read_text(encoding="utf-8")[start:]
            rest, number = re.subn(r"(?<=[^=]) = .*(?=\n    \"\"\")", f" = {value}", rest, count=1)
            assert number == 1
            text += rest
            path.write_text(text, encoding="utf-8")

    def run(self, script: str, *flags: object) -> tuple[int, str]:
        """The exit code, and everything that a terminal of 200 columns shows."""
        import pty  # not on Windows

        command = [sys.executable, script, *map(str, flags)]
        shown, terminal = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", "FORCE_COLOR": "1"}
        place = {"cwd": self.folder, "env": environment}
        output = b""
        with started(command, stdin=terminal, stdout=terminal, stderr=terminal, **place) as process:
            os.close(terminal)
            while True:
                try:
                    part = os.read(shown, 2**16)
                except OSError:  # the process has ended
                    break
                if not part:
                    break
                output += part
            os.close(shown)
            return process.wait(), output.decode().replace("\r\n", "\n")

    def run_in_turn(self, *commands: list[object]) -> list[tuple[int, str]]:
        """The same of several commands, [script, *flags], run in one process, as PyTorch takes seconds to import."""
        text = IN_TURN.format(commands=[[*map(str, command)] for command in commands])
        (self.folder / "in_turn.py").write_text(text, encoding="utf-8")
        code, shown = self.run("in_turn.py")
        assert code == 0, shown
        done = re.findall(r"(.*?)^exit code (\d+)\n", shown, re.DOTALL | re.MULTILINE)
        assert len(done) == len(commands), shown
        return [(int(code), text) for text, code in done]


@pytest.fixture
def copy(tmp_path: Path, data_dir: Path) -> Copy:
    return Copy(tmp_path / "repository", data_dir)


def best(copy: Copy, name: str) -> dict:
    return json.loads((copy.folder / "results" / name / "best.json").read_text(encoding="utf-8"))


@posix
def test_what_is_written_in_the_file_wins_over_the_recipe(copy: Copy):
    copy.edit(recipe='"paper"', learning_rate="1e-2", train_sets='("Train")', data_dir=f"{str(copy.data_dir)!r}")
    copy.edit(upscale_factor="[3]", steps="2", batch_size="2", results_dir='"results"', device='"cpu"')
    code, shown = copy.run("train.py")
    assert code == 0, shown
    assert "3 pictures as they are, and reduced by 0.9, 0.8, 0.7, 0.6 as far as a patch fits: 15 in all;" in shown
    assert "12,809 parameters, 12,464 multiply-adds per LR pixel" in shown
    assert "inf" not in shown
    recipe = best(copy, "fsrcnn_x3")["recipe"]
    assert recipe["learning_rate"] == 0.01
    assert recipe["train_sets"] == ["Train"]
    assert recipe["deconv_learning_rate"] == 1e-4  # the recipe's
    assert (recipe["steps"], recipe["batch_size"], recipe["loss"]) == (2, 2, "euclidean")
    assert read_image(copy.folder / "results/fsrcnn_x3/curve.png").shape[2] == 3


@posix
def test_a_run_is_validated_by_its_name_and_every_output_says_what_was_scored(copy: Copy):
    copy.edit(exp_name='"mine"', upscale_factor="(3)", steps="3", train_sets='"Train"', test_sets='"Train"', d="20")
    copy.edit(batch_size="2", data_dir=f"{str(copy.data_dir)!r}")
    other = ["validate.py", "--exp-name", "other", "--device", "cpu"]
    done = copy.run_in_turn(["train.py", "--device", "cpu"], ["validate.py", "--device", "cpu"], other)
    assert [code for code, _ in done] == [0, 0, 0], done
    assert "FSRCNN(20, 12, 4) x3" in done[0][1]
    assert "results/mine/best.safetensors" in done[1][1]
    assert "results/pretrained/fsrcnn_x3.safetensors" in done[2][1]
    metrics = json.loads((copy.folder / "results/test/mine/metrics.json").read_text(encoding="utf-8"))
    entry = metrics["mine"]["Train"]
    assert entry["weights"] == "results/mine/best.safetensors"
    assert entry["sha256"] == load_weights(copy.folder / "results/mine/best.safetensors").digest


@posix
def test_files_and_sets_of_one_name_are_told_apart(copy: Copy):
    shipped = copy.folder / "results/pretrained/fsrcnn_s_x4.safetensors"
    small = read_image(list_images(copy.data_dir / "Train")[0])[:60, :60]
    for name in ("a", "b"):
        write_image(copy.folder / name / "mine" / "picture.png", small if name == "a" else 255 - small)
        (copy.folder / name / "net.safetensors").write_bytes(shipped.read_bytes())
    weights = ["a/net.safetensors", "b/net.safetensors", "a/net.safetensors"]
    flags = ["--upscale-factor", 4, "--device", "cpu", "--test-sets", "a/mine", "b/mine", "a/mine"]
    code, shown = copy.run("validate.py", "--weights", *weights, *flags)
    assert code == 0, shown
    folder = copy.folder / "results/test/fsrcnn"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert [*metrics] == ["a/net", "b/net"]
    assert [*metrics["a/net"]] == ["a/mine", "b/mine"]
    one, other = (read_image(folder / "a/net" / name / "mine/picture.png").astype(int) for name in ("a", "b"))
    assert np.abs(one - (255 - other)).mean() < 5


@posix
def test_validation_pictures_of_the_users_own(copy: Copy, tmp_path: Path):
    for path in list_images(copy.data_dir / "Train"):
        write_image(tmp_path / "own" / path.name, read_image(path)[:90, :110])
        write_image(tmp_path / "sets/Mine" / path.name, read_image(path))
    command = ["train.py", "--train-sets", "Mine", "--data-dir", tmp_path / "sets", "--steps", 2, "--batch-size", 2]
    command += ["--upscale-factor", 2, "--device", "cpu", "--validation-set"]
    same = [*command, tmp_path / "sets/Mine", "--exp-name", "same"]
    (code, shown), (refused, why) = copy.run_in_turn([*command, tmp_path / "own"], same)
    assert code == 0, shown
    assert best(copy, "fsrcnn_x2")["recipe"]["validation_set"] == str(tmp_path / "own")
    assert (refused, why.count("\n")) == (2, 1)
    assert why.startswith("error: train_sets: ")  # nothing is left to train on


# The script, its flags, and what its one-line message must contain, where config.py holds RECIPE.
MISTAKES = [
    ("train.py", ["--no-such"], "error: unrecognized arguments: --no-such"),
    ("validate.py", ["--steps", "5"], "error: unrecognized arguments: --steps 5"),
    ("upscale.py", ["a.png", "--variant", "x"], "error: argument --variant: invalid choice: 'x'"),
    ("train.py", [], "error: transfer_from: got None, expected the weights that"),
]
RECIPE = '"default_finetune"'


@posix
def test_a_mistake_gets_one_clean_line_in_a_terminal(copy: Copy):
    copy.edit(recipe=RECIPE)
    done = copy.run_in_turn(*([script, *flags] for script, flags, _ in MISTAKES))
    for (code, shown), (_, _, message) in zip(done, MISTAKES, strict=True):
        (line,) = shown.splitlines()
        assert code == 2
        assert line.startswith(message)
        assert line.isprintable()


@posix
def test_help_shows_the_values_in_force(copy: Copy):
    copy.edit(batch_size="5")
    code, shown = copy.run("train.py", "--recipe", "paper", "--help")
    assert code == 0
    options = shown.partition("show this help message and exit")[2]
    told = dict(re.findall(r"--([\w-]+)\s.*?\(now:\s+([^)]+)\)", options, re.DOTALL))
    assert (told["learning-rate"], told["loss"], told["train-sets"]) == ("0.001", "euclidean", "T91")
    assert told["batch-size"] == "5"  # written in the file
    assert {name.replace("-", "_") for name in told} == READ_BY["train"]


@posix
def test_only_the_mode_of_the_other_script_is_remarked_on(copy: Copy):
    flags = ["--test-sets", copy.data_dir / "Train", "--upscale-factor", 4, "--variant", "fsrcnn_s", "--device", "cpu"]
    copy.edit(mode='"train"')
    code, shown = copy.run("validate.py", *flags)
    assert code == 0, shown
    assert shown.startswith("mode: config.py says 'train', and this script does 'valid'\n")
    assert "mode" not in copy.run("prepare_dataset.py", "--source", "none")[1]


def test_help_of_a_benchmark_writes_nothing():
    readme = (ROOT / "README.md").stat().st_mtime_ns
    done = subprocess.run([sys.executable, "-m", "benchmarks.report", "--help"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"usage: ")
    assert (ROOT / "README.md").stat().st_mtime_ns == readme

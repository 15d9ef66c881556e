"""The scripts as a user meets them: results where they belong, and for every mistake one line and an exit code."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made import noise

import export
import prepare_dataset
import train
import validate
from dataset import read_image, write_image
from evaluation.comparison import TILE
from evaluation.differences import differences as differences_of
from fsrcnn.errors import run_script
from fsrcnn.geometry import SCALES
from fsrcnn.weights import save_weights, shipped_weights
from model import FSRCNN

SCRIPTS = {"train": train.main, "validate": validate.main, "prepare": prepare_dataset.main, "export": export.main}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script with a command line, as run_script does; returns exit code, output and errors."""

    def run(script: str, *arguments: object) -> tuple[int, str, str]:
        flags = [str(argument) for argument in arguments]
        place = ["--results-dir", str(tmp_path / "results")] if script in ("train", "validate") else []
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *place, *flags])
        with pytest.raises(SystemExit) as stop:
            run_script(SCRIPTS[script])
        return stop.value.code or 0, *capsys.readouterr()

    return run


def test_validate_writes_table_metrics_and_pictures(run: Run, tmp_path: Path):
    pictures = tmp_path / "mine"
    rng = np.random.default_rng(0)
    colour = cv2.resize(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8), (125, 94), interpolation=cv2.INTER_CUBIC)
    write_image(pictures / "colour.png", colour)
    write_image(pictures / "grey.png", colour[..., 0])
    code, output, errors = run("validate", "--test-sets", pictures, "--upscale-factor", 2, 4, "--device", "cpu")
    assert code == 0, errors
    folder = tmp_path / "results" / "test" / "fsrcnn"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == ["fsrcnn_x2", "fsrcnn_x4"]
    for name, scale in (("fsrcnn_x2", 2), ("fsrcnn_x4", 4)):
        entry = metrics[name][str(pictures)]
        for method in ("bicubic", "fsrcnn"):
            for metric in ("psnr", "ssim"):
                values = [image[method][metric] for image in entry["images"].values()]
                assert entry[method][metric] == pytest.approx(sum(values) / 2)
        bicubic, fsrcnn = entry["bicubic"]["psnr"], entry["fsrcnn"]["psnr"]
        assert f"{bicubic:.2f}" in output
        assert f"{fsrcnn:.2f}" in output
        assert f"{fsrcnn - bicubic:+.2f}" in output
        recovered = read_image(folder / name / "mine" / "colour.png")
        assert recovered.shape == (94 - 94 % scale, 125 - 125 % scale, 3)
        assert np.abs(recovered.astype(int) - colour[: recovered.shape[0], : recovered.shape[1]]).mean() < 10
        assert read_image(folder / name / "mine" / "grey.png").ndim == 2
    assert read_image(folder / "comparison.png").shape[1] > 4 * TILE


def test_validate_scores_samples_where_no_set_is_there(run: Run, tmp_path: Path):
    code, output, _ = run("validate", "--data-dir", tmp_path, "--upscale-factor", 4, "--device", "cpu")
    assert code == 0
    assert "Samples" in output.splitlines()[0]
    assert list(
        json.loads((tmp_path / "results/test/fsrcnn/metrics.json").read_text(encoding="utf-8"))["fsrcnn_x4"]
    ) == ["Samples"]


def test_validate_scores_the_means_of_eight_under_a_plus(run: Run, tmp_path: Path):
    flags = ["--test-sets", "Samples", "--upscale-factor", 4, "--variant", "fsrcnn_s", "--device", "cpu", "--ensemble"]
    code, output, errors = run("validate", *flags)
    assert code == 0, errors
    folder = tmp_path / "results" / "test" / "fsrcnn_s"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    plain, finest = metrics["fsrcnn_s_x4"]["Samples"], metrics["fsrcnn_s_x4+"]["Samples"]
    assert plain["bicubic"] == finest["bicubic"]
    assert finest["fsrcnn"]["psnr"] > plain["fsrcnn"]["psnr"] + 0.05
    assert output.count("fsrcnn_s_x4+") == 3  # its scores, its difference from the plain one, its weights
    assert {path.name for path in (folder / "fsrcnn_s_x4+" / "Samples").iterdir()} == {
        f"{name}.png" for name in finest["images"]
    }


def test_train_runs_and_refuses_to_write_over_a_run(run: Run, data_dir: Path, tmp_path: Path):
    flags = ["--data-dir", data_dir, "--train-sets", "Train", "--steps", 2, "--batch-size", 2, "--device", "cpu"]
    code, output, _ = run("train", *flags)
    assert code == 0
    weights = [tmp_path / "results" / f"fsrcnn_x{scale}" / "best.safetensors" for scale in SCALES]
    assert all(str(path) in output for path in weights)
    code, output, _ = run("validate", "--weights", *weights, "--test-sets", data_dir / "Train", "--device", "cpu")
    assert code == 0
    assert "fsrcnn_x3" in output
    assert run("train", *flags)[0] == 2
    code, output, _ = run("train", *flags, "--resume")
    assert (code, output.count("finished")) == (0, 3)
    code, _, errors = run("train", *flags[:-4], "--batch-size", 3, "--resume")
    assert code == 2
    assert "batch_size" in errors.splitlines()[-1]


# The command line, the exit code, and what the one-line message must name.
MISTAKES = [
    (["train", "--upscale-factor", "5"], 2, "upscale_factor: got '5', expected 2, 3 or 4"),
    (["train", "--no-such-field", "1"], 2, "--no-such-field"),
    (["train", "--steps", "many"], 2, "steps: got 'many', expected a valid integer"),
    (["train", "--steps", "0"], 2, "steps: got '0'"),
    (["train", "--steps", "9" * 20], 2, "more than zero, at most 9223372036854775807"),
    (["train", "--seed", "9" * 20], 2, "zero or more, at most 9223372036854775807"),
    (["train", "--data-dir", "DATA", "--train-sets", "Train", "--batch-size", "9" * 15], 1, "does not fit into memory"),
    (["train", "--data-dir", "DATA", "--train-sets", "Train", "--d", "9" * 14], 1, "does not fit into memory"),
    (["train", "--variant", "large"], 2, "fsrcnn_s"),
    (["train", "--device", "cuda:99"], 2, "device: cuda:99"),
    (["train", "--device", "meta"], 2, "device: meta"),
    (["train", "--exp-name", "a/b"], 2, "exp_name"),
    (["train", "--exp-name", "a"], 2, "upscale_factor"),
    (["train", "--resume"], 2, "resume"),
    (["train", "--data-dir", "EMPTY"], 2, "prepare_dataset.py"),
    (["train", "--data-dir", "DATA", "--train-sets", "EMPTY"], 2, "no pictures"),
    (["train", "--data-dir", "DATA", "--train-sets", "TINY"], 2, "no picture is 52 x 52"),
    (["train", "--data-dir", "DATA", "--train-sets", "BROKEN"], 1, "broken.png"),
    (["train", "--data-dir", "DATA", "--train-sets", "BLANK"], 1, "blank.png: the file is empty"),
    (["validate", "--weights", "missing.pth"], 2, "missing.pth: no such weights file"),
    (["validate", "--weights", "TEXT"], 2, "not a PyTorch weights file"),
    (["validate", "--weights", "X2", "--upscale-factor", "3"], 2, "is for x2"),
    (["validate", "--test-sets", "Set6"], 2, "Set6"),
    (["validate", "--test-sets", "EMPTY"], 2, "no pictures"),
    (["validate", "--test-sets", "TINY"], 2, "8 x 8 pixels"),
    (["validate", "--test-sets", "BROKEN"], 1, "broken.png"),
    (["validate", "--test-sets", "DEEP"], 1, "16 bits"),
    (["export", "--format", "jpeg"], 2, "format: got 'jpeg'"),
    (["export", "--upscale-factor", "5"], 2, "upscale_factor: got '5', expected 2, 3 or 4"),
    (["export", "--weights", "X2", "--upscale-factor", "3"], 2, "is for x2"),
    (["export", "--weights", "TEXT"], 2, "not a PyTorch weights file"),
    (["export", "--output", "TEXT"], 2, "is a file, expected a folder"),
    (["prepare", "--source", "missing"], 2, "source: no folder missing"),
    (["prepare", "--source", "EMPTY"], 1, "missing in"),
    (["prepare", "--source", "EMPTY", "--test-sets", "Set6"], 2, "Set6"),
]


def test_several_weights_are_compared_picture_by_picture(run: Run, tmp_path: Path):
    weights = [shipped_weights(variant, scale) for variant, scale in (("fsrcnn", 2), ("fsrcnn_s", 2), ("fsrcnn", 4))]
    pictures = tmp_path / "mine"
    for number, name in enumerate("abc"):
        write_image(pictures / f"{name}.png", cv2.GaussianBlur(noise(40, 48, 3), (0, 0), 1 + number))
    write_image(pictures / "flat.png", np.full((40, 40), 90, np.uint8))
    flags = "--upscale-factor", 2, 4, "--test-sets", pictures, "--device", "cpu", "--exp-name", "several"
    code, output, errors = run("validate", "--weights", *weights, *flags)
    assert code == 0, errors
    folder = tmp_path / "results" / "test" / "several"
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    large, small, x4 = (metrics[name][str(pictures)]["images"] for name in ("fsrcnn_x2", "fsrcnn_s_x2", "fsrcnn_x4"))
    with (folder / "pictures.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["upscale_factor"], row["picture"]) for row in rows] == [(f, p) for f in "24" for p in sorted(large)]
    for row in rows[:4]:
        assert float(row["fsrcnn_s_x2 psnr"]) == small[row["picture"]]["fsrcnn"]["psnr"]
        assert float(row["bicubic ssim"]) == large[row["picture"]]["bicubic"]["ssim"]
        assert row["fsrcnn_x4 psnr"] == ""
    assert float(rows[4]["fsrcnn_x4 psnr"]) == x4["a"]["fsrcnn"]["psnr"]
    with (folder / "differences.csv").open(newline="", encoding="utf-8") as file:
        psnr, ssim = csv.DictReader(file)
    assert (psnr["weights"], psnr["against"], psnr["metric"]) == ("fsrcnn_s_x2", "fsrcnn_x2", "psnr")
    each = [small[name]["fsrcnn"]["psnr"] - large[name]["fsrcnn"]["psnr"] for name in large]
    mean = sum(each) / 4
    assert float(psnr["mean"]) == pytest.approx(mean)
    assert float(psnr["standard_deviation"]) == pytest.approx((sum((value - mean) ** 2 for value in each) / 3) ** 0.5)
    assert int(psnr["better"]) == sum(value > 0 for value in each)
    assert sum(int(ssim[column]) for column in ("better", "worse", "equal")) == 4
    (line,) = [line for line in output.splitlines() if f"{mean:+.3f}" in line]
    assert line.split()[0] == "fsrcnn_s_x2"


def test_a_file_named_as_another_ones_mean_of_eight_is_refused(run: Run, tmp_path: Path):
    for name in ("x", "x+"):
        shutil.copy(shipped_weights("fsrcnn_s", 2), tmp_path / f"{name}.safetensors")
    flags = "--upscale-factor", 2, "--test-sets", "Samples", "--device", "cpu"
    weights = tmp_path / "x+.safetensors", tmp_path / "x.safetensors"
    code, _, errors = run("validate", "--weights", *weights, "--ensemble", *flags)
    assert code == 2
    assert "weights: a file's name is that of another one and a +" in errors


def test_differences_of_one_picture_and_of_equal_scores():
    def scored(*psnr: float) -> dict[str, object]:
        images = {f"{number}": {"fsrcnn": {"psnr": value, "ssim": 0.5}} for number, value in enumerate(psnr)}
        return {"Set": {"upscale_factor": 3, "images": images}}

    (psnr, ssim) = differences_of({"a": scored(math.inf), "b": scored(math.inf)})
    assert psnr == ("b", "a", "Set", "psnr", 1, 0.0, None, 0, 0, 1)
    psnr, ssim = differences_of({"a": scored(30.0, 31.0, 32.0), "b": scored(31.0, 31.0, 30.0)})
    assert psnr[5:] == (pytest.approx(-1 / 3), pytest.approx((7 / 3) ** 0.5), 1, 1, 1)
    assert ssim[5:] == (0.0, 0.0, 0, 0, 3)
    psnr, ssim = differences_of({"a": scored(30.0, 31.0), "b": scored(math.inf, 30.0)})
    assert psnr[5:] == (math.inf, None, 1, 1, 0)
    psnr, ssim = differences_of({"a": scored(30.0, math.inf), "b": scored(math.inf, 30.0)})
    assert math.isnan(psnr.mean)
    assert psnr[6:] == (None, 1, 1, 0)


def test_export_writes_and_names_a_file_for_each_scale(run: Run, tmp_path: Path):
    code, output, errors = run("export", "--format", "opencv", "--variant", "fsrcnn_s", "--output", tmp_path / "pb")
    assert code == 0, errors
    for scale, line in zip(SCALES, output.splitlines(), strict=True):
        path = tmp_path / "pb" / f"fsrcnn_s_x{scale}.pb"
        assert line.startswith(f"{path}: {path.stat().st_size:,} bytes, ")
        assert 0 < float(line.split()[3]) < 1e-5


@pytest.mark.parametrize(("request_", "code", "named"), MISTAKES, ids=[" ".join(mistake[0]) for mistake in MISTAKES])
def test_a_mistake_gets_one_line(run: Run, data_dir: Path, tmp_path: Path, request_: list[str], code: int, named: str):
    rng = np.random.default_rng(0)
    write_image(tmp_path / "TINY" / "tiny.png", rng.integers(0, 256, (8, 8), dtype=np.uint8))
    for name, content in (("BROKEN/broken.png", b"\x89PNG\r\n\x1a\n nonsense"), ("BLANK/blank.png", b"")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "DEEP").mkdir()
    cv2.imwrite(str(tmp_path / "DEEP" / "deep.png"), rng.integers(0, 65536, (40, 40), dtype=np.uint16))
    (tmp_path / "TEXT").write_text("weights", encoding="utf-8")
    torch.manual_seed(0)
    save_weights(FSRCNN(2).weights(), tmp_path / "X2.safetensors")
    places = {name: tmp_path / name for name in ("EMPTY", "TINY", "BROKEN", "BLANK", "DEEP", "TEXT", "X2")}
    places |= {"DATA": data_dir, "X2": tmp_path / "X2.safetensors"}
    script, *arguments = (places.get(word, word) for word in request_)
    if script == "prepare":
        arguments += ["--data-dir", tmp_path / "brought"]
    got, _, errors = run(script, *arguments)
    complaints = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert (got, len(complaints)) == (code, 1)
    assert errors.rstrip().endswith(complaints[0])
    assert named in complaints[0]
    assert "Traceback" not in errors


def test_a_pattern_of_weights_needs_no_shell(run: Run, tmp_path: Path):
    pattern = shipped_weights("fsrcnn", 2).with_name("fsrcnn*_x2.safetensors")
    code, output, _ = run("validate", "--weights", pattern, "--test-sets", "Samples", "--upscale-factor", 2)
    assert code == 0
    scores, _, differences = output.partition("\nagainst fsrcnn_s_x2")
    assert [line.split()[0] for line in scores.splitlines() if "Samples" in line] == ["fsrcnn_s_x2", "fsrcnn_x2"]
    assert [line.split()[0] for line in differences.splitlines() if "Samples" in line] == ["fsrcnn_x2"]


def test_names_that_the_terminal_cannot_show_are_no_error():
    script = "from fsrcnn.errors import run_script; run_script(lambda: print('\\u043a\\udcff'))"
    for encoding in ("cp1252", "utf-8"):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\udcff" in done.stdout

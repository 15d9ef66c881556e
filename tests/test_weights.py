"""The shipped weights are what their json files and the committed table say."""

import json
from pathlib import Path

import pytest

import report
from dataset import VALIDATION_SET, folder_pairs, samples, validation_pairs
from model import load_weights, upscale_luma, weights_digest

ROOT = Path(__file__).parent.parent
PRETRAINED = ROOT / "results" / "pretrained"
SHIPPED = [f"{variant}_x{scale}" for variant in ("fsrcnn", "fsrcnn_s") for scale in (2, 3, 4)]
METRICS = json.loads((ROOT / "results" / "test" / "pretrained" / "metrics.json").read_text())
SETS_AT_HAND = ["Samples", *(name for name in ("Set5", "Set14") if (ROOT / "data" / name).is_dir())]


def mean_psnr(name: str, pairs) -> float:
    model = load_weights(PRETRAINED / f"{name}.pth").fuse()
    scores = [pair.score(upscale_luma(model, pair.lr))["psnr"] for pair in pairs]
    return sum(scores) / len(scores)


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_score_what_their_json_says(name: str):
    said = json.loads((PRETRAINED / f"{name}.json").read_text())
    assert weights_digest(load_weights(PRETRAINED / f"{name}.pth")) == said["sha256"]
    scale = int(name[-1])
    assert mean_psnr(name, samples(scale)) == pytest.approx(said["samples"]["psnr"], abs=0.01)
    if (ROOT / "data" / VALIDATION_SET).is_dir():
        validation = validation_pairs(ROOT / "data", scale)
        assert mean_psnr(name, validation) == pytest.approx(said["validation"]["psnr"], abs=0.01)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("set_name", SETS_AT_HAND)
def test_weights_keep_their_scores_on_the_test_sets(name: str, set_name: str):
    scale = int(name[-1])
    pairs = samples(scale) if set_name == "Samples" else folder_pairs(ROOT / "data" / set_name, scale)
    now = mean_psnr(name, pairs)
    assert now >= METRICS[name][set_name]["fsrcnn"]["psnr"] - 0.02


@pytest.mark.parametrize("name", SHIPPED)
def test_committed_table_is_consistent(name: str):
    for entry in METRICS[name].values():
        gains = [image["fsrcnn"]["psnr"] - image["bicubic"]["psnr"] for image in entry["images"].values()]
        assert sum(gains) / len(gains) == pytest.approx(entry["fsrcnn"]["psnr"] - entry["bicubic"]["psnr"])
        assert sum(gains) > 0


def test_readme_tables_are_those_of_the_results():
    assert (ROOT / "README.md").read_text(encoding="utf-8") == report.readme()

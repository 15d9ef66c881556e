"""Weights files: round trips, others' files, and that the shipped ones are what their json files and the table say."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made import random_network

from benchmarks import report
from dataset import VALIDATION_SET, folder_pairs, samples, validation_pairs
from errors import RequestError
from inference.parts import upscale_luma
from inference.weights import PRETRAINED, load_weights, save_weights, weights_digest
from model import VARIANTS

ROOT = Path(__file__).parents[2]
SHIPPED = [f"{variant}_x{scale}" for variant in ("fsrcnn", "fsrcnn_s") for scale in (2, 3, 4)]
METRICS = json.loads((ROOT / "results" / "test" / "pretrained" / "metrics.json").read_text(encoding="utf-8"))
SETS_AT_HAND = ["Samples", *(name for name in ("Set5", "Set14") if (ROOT / "data" / name).is_dir())]


def mean_psnr(name: str, pairs) -> float:
    model = load_weights(PRETRAINED / f"{name}.pth").fuse()
    scores = [pair.score(upscale_luma(model, pair.lr))["psnr"] for pair in pairs]
    return sum(scores) / len(scores)


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_score_what_their_json_says(name: str):
    said = json.loads((PRETRAINED / f"{name}.json").read_text(encoding="utf-8"))
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


def test_weights_file_round_trip(tmp_path: Path):
    model = random_network(4, "fsrcnn_s")
    save_weights(model, tmp_path / "a.pth")
    loaded = load_weights(tmp_path / "a.pth")
    assert loaded.model_args == {"upscale_factor": 4, "d": 32, "s": 5, "m": 1}
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def as_yjn870(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of yjn870/FSRCNN-pytorch, in which shrink, map and expand are one sequence."""
    mid = [key for key in state_dict if key.split(".")[0] in ("shrink", "map", "expand")]
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in mid))
    names = {"feature_extraction": "first_part", "deconv": "last_part"}
    renamed = {}
    for key, value in state_dict.items():
        layer, _, parameter = key.rpartition(".")
        if key in mid:
            renamed[f"mid_part.{layers.index(layer)}.{parameter}"] = value
        else:
            renamed[key.replace(key.split(".")[0], names[key.split(".")[0]])] = value
    return renamed


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {f"module.{key}": value for key, value in weights.items()},
        lambda weights: {"state_dict": {f"_orig_mod.module.{key}": value for key, value in weights.items()}},
        as_yjn870,
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in as_yjn870(weights).items()}},
    ],
)
def test_others_weights_load(tmp_path: Path, variant: str, wrap: Callable[[dict], dict]):
    model, path = random_network(3, variant), tmp_path / "other.pth"
    torch.save(wrap(dict(model.state_dict())), path)
    loaded = load_weights(path, upscale_factor=3)
    assert loaded.model_args == model.model_args
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    with pytest.raises(RequestError, match="--upscale-factor"):
        load_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PyTorch weights file"),
        (b"not weights", "not a PyTorch weights file"),
        ([1, 2], "expected the keys feature_extraction.0.weight.*found nothing"),
        ({"conv1.weight": torch.zeros(1)}, "expected the keys feature_extraction.0.weight.*found conv1.weight"),
        ({"state_dict": {}, "model_args": {"upscale_factor": 2}}, "Missing key"),
        ({"state_dict": {}, "model_args": {"scale": 2}}, "unexpected keyword"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, message: str):
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(RequestError, match=message) as error:
        load_weights(path)
    assert str(path) in str(error.value)

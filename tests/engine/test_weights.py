"""Weights files: round trips, others' files, and that the shipped ones agree with their json files and the tables."""

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from made import random_network
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from benchmarks import report
from dataset import VALIDATION_SET, folder_pairs, sample_pairs, validation_pairs
from evaluation.scores import mean_score
from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.network import load_network
from fsrcnn.weights import INTEGER_RANGES, PRETRAINED, Weights, load_weights, save_weights, shipped_weights
from model import FSRCNN

ROOT = Path(__file__).parents[2]
SHIPPED = [f"{variant}_x{scale}" for variant in VARIANTS for scale in SCALES]
METRICS = json.loads((ROOT / "results" / "test" / "pretrained" / "metrics.json").read_text(encoding="utf-8"))
SETS_AT_HAND = ["Samples", *(name for name in ("Set5", "Set14") if (ROOT / "data" / name).is_dir())]


def mean_psnr(name: str, pairs) -> float:
    return mean_score(load_network(PRETRAINED / f"{name}.safetensors", device="cpu"), pairs, "zeros")["psnr"]


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_score_what_their_json_says(name: str):
    said = json.loads((PRETRAINED / f"{name}.json").read_text(encoding="utf-8"))
    assert load_weights(PRETRAINED / f"{name}.safetensors").digest == said["sha256"]
    scale = int(name[-1])
    assert mean_psnr(name, sample_pairs(scale)) == pytest.approx(said["samples"]["psnr"], abs=0.01)
    if (ROOT / "data" / VALIDATION_SET).is_dir():
        validation = validation_pairs(ROOT / "data", scale)
        assert mean_psnr(name, validation) == pytest.approx(said["validation"]["psnr"], abs=0.01)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("set_name", SETS_AT_HAND)
def test_weights_keep_their_scores_on_the_test_sets(name: str, set_name: str):
    scale = int(name[-1])
    pairs = sample_pairs(scale) if set_name == "Samples" else folder_pairs(ROOT / "data" / set_name, scale)
    now = mean_psnr(name, pairs)
    assert now >= METRICS[name][set_name]["fsrcnn"]["psnr"] - 0.02


@pytest.mark.parametrize("name", SHIPPED)
def test_committed_table_is_consistent(name: str):
    for entry in METRICS[name].values():
        gains = [image["fsrcnn"]["psnr"] - image["bicubic"]["psnr"] for image in entry["images"].values()]
        assert sum(gains) / len(gains) == pytest.approx(entry["fsrcnn"]["psnr"] - entry["bicubic"]["psnr"])
        assert sum(gains) > 0


def test_tables_of_the_documents_are_those_of_the_results():
    pages = report.pages()
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, path
    for name in report.made_tables():
        assert sum(f"<!-- {name} -->\n" in text for text in pages.values()) == 1, name


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
    assert loaded.sizes == model.sizes
    assert all(
        torch.equal(torch.from_numpy(value), model.state_dict()[name]) for name, value in loaded.parameters.items()
    )
    with pytest.raises(RequestError, match="--upscale-factor"):
        load_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PyTorch weights file"),
        (b"not weights", "not a PyTorch weights file"),
        ([1, 2], "expected the keys feature_extraction.0.weight.*found nothing"),
        ({"conv1.weight": torch.zeros(1)}, "expected the keys feature_extraction.0.weight.*found conv1.weight"),
        ({"a\x1b[31m" * 20: torch.zeros(1)}, r"found a\\x1b\[31m"),
        ({"state_dict": {}, "model_args": {"upscale_factor": 2}}, "found nothing"),
        ({"state_dict": 3, "model_args": 4}, "found nothing"),
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
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


class Foreign:
    """What a file of another program may hold; `pickle` would make it, and so run its code."""


def zipped(content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return file.getvalue()


def saved_by_torch(content: object, **how: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **how)
    return file.getvalue()


FOREIGN = {
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "page": b"<!DOCTYPE html><html>404</html>",
    "noise": np.random.default_rng(0).bytes(5000),
    "zip": zipped({"a.txt": b"text"}),
    "bomb": zipped({"archive/data.pkl": bytes(10**7)}, zipfile.ZIP_DEFLATED),
    "numbers": pickle.dumps([1, 2]),
    "class": pickle.dumps(Foreign()),
    "class in a zip": saved_by_torch(Foreign()),
    "code": b"cos\nsystem\n(S'touch here'\ntR.",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_get_one_line(tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder):
    path = tmp_path / "other.pth"
    path.write_bytes(FOREIGN[kind])
    warnings.simplefilter("always")
    with pytest.raises(RequestError, match=r"other\.pth: damaged, or not a PyTorch weights file$"):
        load_weights(path, 2)
    assert not recwarn
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_pth_files_get_one_line(tmp_path: Path, legacy: bool):
    model, path = random_network(2, "fsrcnn_s"), tmp_path / "other.pth"
    content = bytearray(saved_by_torch(dict(model.state_dict()), _use_new_zipfile_serialization=not legacy))
    path.write_bytes(content)
    assert load_weights(path, 2).digest == model.weights().digest
    for length in (*range(0, len(content), len(content) // 60), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(RequestError, match=r"other\.pth: "):
            load_weights(path, 2)
    if legacy:  # a file without checksums, which nobody can tell from another network's
        return
    for bit in np.random.default_rng(0).integers(0, 8 * len(content), 100):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        try:
            assert load_weights(path, 2).digest == model.weights().digest  # nothing that is read was changed
        except RequestError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017


def test_a_small_file_does_not_become_a_large_tensor(tmp_path: Path):
    weights = dict(random_network(2).state_dict())
    weights["feature_extraction.0.weight"] = torch.zeros(1).expand(10**9, 1, 5, 5)
    torch.save(weights, tmp_path / "other.pth")
    assert (tmp_path / "other.pth").stat().st_size < 200_000
    with pytest.raises(RequestError, match="tensors that are no plain arrays"):
        load_weights(tmp_path / "other.pth", 2)


def test_complex_values_are_no_weights(tmp_path: Path):
    weights = {key: value.to(torch.complex64) for key, value in random_network(2).state_dict().items()}
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(RequestError, match="tensors that are no plain arrays"):
        load_weights(tmp_path / "other.pth", 2)


def broken(change: Callable[[dict[str, np.ndarray]], object], scale: int = 3) -> Weights:
    """A network's weights after a change to their arrays."""
    weights = random_network(3, "fsrcnn_s").weights()
    change(weights.parameters)
    return Weights(weights.sizes._replace(upscale_factor=scale), weights.parameters)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays["deconv.weight"].__setitem__((0, 0, 0, 0), np.nan), "deconv.weight holds values that"),
        (lambda arrays: arrays["map.0.bias"].__setitem__(0, np.inf), "map.0.bias holds values that"),
        (lambda arrays: arrays.pop("deconv.bias"), "missing deconv.bias"),
        (lambda arrays: arrays.update({"map.9.weight": np.zeros(3, np.float32)}), "extra map.9.weight"),
        (
            lambda arrays: arrays.update({"deconv.weight": np.zeros((32, 1, 8, 8), np.float32)}),
            r"expected \(32, 1, 9, 9",
        ),
        (lambda arrays: arrays.update({"shrink.0.weight": np.zeros((0, 32, 1, 1), np.float32)}), "are empty"),
    ],
)
def test_what_is_not_exactly_a_networks_weights_is_refused(tmp_path: Path, change, message: str, suffix: str):
    path, weights = tmp_path / f"a{suffix}", broken(change)
    if suffix == ".pth":
        arrays = {name: torch.from_numpy(value) for name, value in weights.parameters.items()}
        torch.save({"state_dict": arrays, "model_args": {"upscale_factor": 3, "d": 32, "s": 5, "m": 10**9}}, path)
    else:
        save_weights(weights, path)
    with pytest.raises(RequestError, match=message) as error:
        load_weights(path)
    assert str(path) in str(error.value)


# --- safetensors ---


def test_round_trip_the_same_bytes_every_time(tmp_path: Path):
    weights = random_network(4, "fsrcnn_s").weights()
    for name in "ab":
        save_weights(weights, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    loaded = load_weights(tmp_path / "a.safetensors")
    assert (loaded.sizes, loaded.digest) == ((4, 32, 5, 1), weights.digest)
    assert list(loaded.parameters) == list(weights.parameters)
    assert all((value == weights.parameters[name]).all() for name, value in loaded.parameters.items())


def test_anyone_can_read_them_and_tell_the_scale_from_the_tensors_alone():
    tensors = load_file(shipped_weights("fsrcnn", 3))
    assert tensors.pop("upscale_factor").shape == ()
    assert int(load_file(shipped_weights("fsrcnn", 4))["upscale_factor"]) == 4
    assert tensors.pop(INTEGER_RANGES).shape == (1, 2, 56 + 12 + 4 * 12 + 56)
    FSRCNN(3).load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    with safe_open(shipped_weights("fsrcnn_s", 2), "np") as file:
        said = file.metadata()
    assert {"format": "fsrcnn 1", "variant": "fsrcnn_s", "upscale_factor": "2", "d": "32"}.items() <= said.items()


def test_additions_are_kept_and_part_of_the_digest(tmp_path: Path):
    plain, addition = random_network(2, "fsrcnn_s").weights(), {"integer.other": np.arange(3, dtype=np.int16)}
    both = Weights(plain.sizes, plain.parameters, addition)
    assert both.digest != plain.digest
    save_weights(both, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load_weights(tmp_path / "a.safetensors").additions["integer.other"], [0, 1, 2])


def test_flipped_bits_and_truncated_files_are_refused(tmp_path: Path):
    content, path = bytearray(shipped_weights("fsrcnn_s", 2).read_bytes()), tmp_path / "a.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    bits = [*range(0, 8 * header, 7), *np.random.default_rng(0).integers(8 * header, 8 * len(content), 300)]
    for bit in map(int, bits):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RequestError, match=r"a\.safetensors: "):
            load_weights(path)
    for length in (0, 1, 7, 8, header - 1, header, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(RequestError, match="damaged"):
            load_weights(path)
    path.write_bytes(content)
    assert load_weights(path).sizes.variant == "fsrcnn_s"


def test_weights_that_others_saved_as_safetensors_say_so(tmp_path: Path):
    save_file(random_network(2).weights().parameters, tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match="not made by this project, or damaged"):
        load_weights(tmp_path / "a.safetensors")


def test_a_newer_format_and_another_scale_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_weights(broken(lambda _: None, scale=7), tmp_path / "x7.safetensors")
    with pytest.raises(RequestError, match="is for x7, expected one of x2, x3, x4"):
        load_weights(tmp_path / "x7.safetensors")
    monkeypatch.setattr("fsrcnn.weights.FORMAT", "2")
    save_weights(random_network(2).weights(), tmp_path / "new.safetensors")
    monkeypatch.undo()
    with pytest.raises(RequestError, match="its format is fsrcnn 2, newer than is read"):
        load_weights(tmp_path / "new.safetensors")

"""The folder for the Hugging Face Hub, read by huggingface_hub; nothing goes over the network."""

import importlib.util
import json
from pathlib import Path

import numpy as np
from made import needed, noise

import fsrcnn
from config import checked
from exports.formats import exporter
from exports.hub import model_card
from exports.request import ExportConfig
from fsrcnn.weights import load_weights, shipped_weights


def test_card_and_weights_are_read(tmp_path: Path):
    needed(importlib.util.find_spec("huggingface_hub") is not None, "huggingface_hub (`make extra`)")
    from huggingface_hub import ModelCard

    path = shipped_weights("fsrcnn_s", 3)
    weights = load_weights(path)
    for exported in exporter("hub")(path, weights, checked(ExportConfig, format="hub")):
        (tmp_path / exported.name).parent.mkdir(exist_ok=True)
        (tmp_path / exported.name).write_bytes(exported.content)
    folder = tmp_path / "fsrcnn_s_x3"
    card = ModelCard.load(folder / "README.md")
    assert (card.data.license, card.data.pipeline_tag, card.data.library_name) == (
        "apache-2.0",
        "image-to-image",
        "fsrcnn",
    )
    assert "FSRCNN(32, 5, 1)" in card.text
    assert "dB" in card.text
    assert "compressed" not in card.text
    assert "60% of the weights" in model_card("restored", weights, {}, 0.6)
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (said["upscale_factor"], said["sha256"]) == (3, weights.digest)
    lr = noise(9, 12) / np.float32(255)
    network = fsrcnn.load(folder / "model.safetensors", device="cpu")
    assert np.array_equal(network(lr), fsrcnn.load("fsrcnn_s", 3, device="cpu")(lr))

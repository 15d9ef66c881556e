"""A folder for the Hugging Face Hub: model card, configuration and weights; nothing is uploaded."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exports.request import ExportConfig
from exports.shared import Exported, json_beside
from fsrcnn.luma import BLACK_LEVEL, PEAK, WHITE_LEVEL
from fsrcnn.weights import LICENCE, Weights, load_weights, save_weights, weights_name

WEIGHTS_FILE = "model.safetensors"
CARD = """\
---
license: {licence}
library_name: fsrcnn
pipeline_tag: image-to-image
tags:
- super-resolution
- image-upscaling
- fsrcnn
- arxiv:1608.00367
---

# {name}

Enlarges pictures and videos {scale} times: FSRCNN({d}, {s}, {m}) of *Accelerating the Super-Resolution Convolutional
Neural Network* (Dong, Loy and Tang, ECCV 2016), {parameters:,} parameters.

It takes luma, {levels} as MATLAB's rgb2ycbcr has it, and gives {scale} times its height and width.
{training}
```python
import fsrcnn
from huggingface_hub import hf_hub_download

weights = hf_hub_download("OWNER/{name}", "{file}")
fsrcnn.enlarge_file("photo.jpg", "large.png", {scale}, weights=weights)
network = fsrcnn.load(weights)
sr = network(lr)  # luma, float32 H x W in [0, 1]
```

`{file}` holds the parameters by FSRCNN-PyTorch's names, and the scale as the tensor `upscale_factor`. SHA-256 of
the parameters and of what the file says of itself: {sha256}.
"""
TRAINING = """
Trained on {sets}; {psnr:.2f} dB PSNR of luma on the validation pictures.
"""
RESTORING = """
For compressed pictures: {percent:g}% of the weights are of a network that also removes the traces of compression.
"""


def model_card(name: str, weights: Weights, about: dict[str, Any], restore: float) -> str:
    """The text of README.md. about: the json beside the weights file; empty: there is none. restore: how far the
    weights are blended with restoring ones.
    """
    training = TRAINING.format(sets=", ".join(about["recipe"]["train_sets"]), **about["validation"]) if about else ""
    training += RESTORING.format(percent=100 * restore) if restore else ""
    return CARD.format(
        name=name,
        scale=weights.upscale_factor,
        **weights.sizes._asdict(),
        parameters=weights.sizes.parameters,
        levels=f"Y / {PEAK} with Y in {BLACK_LEVEL}..{WHITE_LEVEL}",
        training=training,
        file=WEIGHTS_FILE,
        licence=LICENCE.lower(),
        sha256=weights.digest,
    )


def configuration(weights: Weights) -> str:
    """The text of config.json, which the Hub counts downloads by."""
    said = {"model_type": "fsrcnn", "variant": weights.sizes.variant, **weights.sizes._asdict()}
    return json.dumps(said | {"licence": LICENCE, "sha256": weights.digest}, indent=2) + "\n"


def weights_content(weights: Weights) -> bytes:
    """The weights file, compared with the weights."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS_FILE
        save_weights(weights, path)
        assert load_weights(path).digest == weights.digest
        return path.read_bytes()


def export(path: Path, weights: Weights, config: ExportConfig) -> Iterator[Exported]:
    """The files of a folder that is called as the weights are."""
    name = weights_name(path)
    files = {
        "README.md": model_card(name, weights, json_beside(path), config.restore).encode(),
        "config.json": configuration(weights).encode(),
        WEIGHTS_FILE: weights_content(weights),
    }
    for file, content in files.items():
        yield Exported(f"{name}/{file}", content, "the same weights" if file == WEIGHTS_FILE else "its description")

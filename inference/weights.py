"""Weights files: the shipped ones, reading and writing, others' translated."""

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from errors import RequestError
from files import PRETRAINED as PRETRAINED
from files import shipped_weights as shipped_weights
from model import FSRCNN


def weights_name(path: Path) -> str:
    """What a weights file is called: by its own name, or by its folder's for a run's best.pth."""
    return path.resolve().parent.name if path.stem == "best" else path.stem


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Writes a dictionary of tensors, as tensors of the CPU, and plain values. On a full disk raises OSError, which
    torch.save does not.
    """
    buffer = io.BytesIO()
    torch.save(_on_cpu(content), buffer)
    path.write_bytes(buffer.getvalue())


def _on_cpu(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _on_cpu(value) for key, value in content.items()}
    return content.cpu() if isinstance(content, Tensor) else content


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote. Raises RequestError for a file that is missing or is something else."""
    if not path.is_file():
        raise RequestError(f"{path}: no such weights file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise RequestError(f"{path}: damaged, or not a PyTorch weights file") from error
    return content if isinstance(content, dict) else {}


def save_weights(model: FSRCNN, path: Path) -> None:
    """Writes the weights file that `load_weights` reads."""
    state_dict = {name: value.detach().clone() for name, value in model.state_dict().items()}
    save_checkpoint({"state_dict": state_dict, "model_args": model.model_args}, path)


def weights_digest(model: FSRCNN) -> str:
    """SHA-256 of the state dict: of each name and its values, float32, in order."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_weights(path: Path, upscale_factor: int | None = None) -> FSRCNN:
    """The network of a weights file, on the CPU.

    Takes this project's files and those of FSRCNN-PyTorch and yjn870/FSRCNN-pytorch: a state dict, plain or under
    "state_dict", its keys perhaps prefixed by DataParallel or torch.compile. The latter do not say their scale, which
    `upscale_factor` then gives. Raises RequestError, naming the file and what was expected and found, for a file that
    is missing or does not hold exactly an FSRCNN's weights.
    """
    content = load_checkpoint(path)
    state_dict = _with_our_keys(content.get("state_dict", content))
    try:
        model_args = content.get("model_args") or _model_args(state_dict, upscale_factor)
        model = FSRCNN(**model_args)
        model.load_state_dict(state_dict)
    except (TypeError, RuntimeError) as error:
        raise RequestError(f"{path}: not an FSRCNN's weights: {' '.join(str(error).split())}") from error
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error
    return model


def _with_our_keys(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without wrappers' prefixes, and with the names of yjn870/FSRCNN-pytorch translated."""
    plain = {re.sub(r"^(module\.|_orig_mod\.)+", "", str(key)): value for key, value in state_dict.items()}
    layers = [int(key.split(".")[1]) for key in plain if re.fullmatch(r"mid_part\.\d+\.weight", key)]
    expand = max(layers, default=0) - 1  # the last convolution of mid_part; a PReLU follows it

    def translated(key: str) -> str:
        if match := re.fullmatch(r"mid_part\.(\d+)\.(\w+)", key):
            index = int(match[1])
            part, first = ("shrink", 0) if index < 2 else ("map", 2) if index < expand else ("expand", expand)
            return f"{part}.{index - first}.{match[2]}"
        return key.replace("first_part.", "feature_extraction.").replace("last_part.", "deconv.")

    return {translated(key): value for key, value in plain.items()}


def _model_args(state_dict: dict[str, Tensor], upscale_factor: int | None) -> dict[str, int]:
    """The arguments of the network that a state dict belongs to, from the shapes in it."""
    features, shrink = state_dict.get("feature_extraction.0.weight"), state_dict.get("shrink.0.weight")
    if features is None or shrink is None:
        expected, found = ", ".join(FSRCNN(2, m=1).state_dict()), ", ".join(map(str, state_dict)) or "nothing"
        raise RequestError(f"not an FSRCNN's weights: expected the keys {expected}, ...; found {found}")
    if upscale_factor is None:
        raise RequestError("does not say which scale it is for: give it by --upscale-factor")
    m = sum(key.startswith("map.") and value.ndim == 4 for key, value in state_dict.items())
    return {"upscale_factor": upscale_factor, "d": len(features), "s": len(shrink), "m": m}

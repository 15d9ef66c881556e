"""Weights files: finds the shipped ones, reads, checks and writes safetensors, and translates others' `.pth` files.

A file holds the paper's parameters by FSRCNN-PyTorch's names, float32, and a scalar tensor `upscale_factor`, which
cannot be told from the other tensors' shapes. It may hold further tensors, whose names begin with one of ADDITIONS. The
metadata say what the weights are; `sha256` is that of all tensors (name, type, shape, values) and all other metadata.
"""

import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fsrcnn.errors import RequestError
from fsrcnn.files import written_whole
from fsrcnn.geometry import SCALES, VARIANTS, Sizes

FORMAT = "1"
SUFFIX = ".safetensors"
LICENCE = "Apache-2.0"
SCALE_TENSOR = "upscale_factor"
ADDITIONS = ("integer.",)

PACKAGE = Path(__file__).parent
# An installed package holds the shipped weights itself; in the repository they lie among the results.
INSTALLED = PACKAGE / "pretrained"
PRETRAINED = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "results" / "pretrained"

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Weights:
    """An FSRCNN's parameters, float32, by name in the order of `Sizes.shapes`; additions: what else the file holds."""

    sizes: Sizes
    parameters: Tensors
    additions: Tensors = field(default_factory=dict)

    @property
    def upscale_factor(self) -> int:
        return self.sizes.upscale_factor

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors and metadata, as their file holds it."""
        return _digest(_tensors(self), _metadata(self.sizes))


def shipped_weights(variant: str, upscale_factor: int) -> Path:
    """The file of the weights that come with this package; variant: one of `geometry.VARIANTS`."""
    return PRETRAINED / f"{variant}_x{upscale_factor}{SUFFIX}"


def shipped_variant(path: Path, upscale_factor: int) -> str | None:
    """The variant that a weights file is shipped as; None: it is another file."""
    return next(
        (name for name in VARIANTS if path.absolute() == shipped_weights(name, upscale_factor).absolute()), None
    )


def weights_name(path: Path) -> str:
    """What a weights file is called: by its own name, or by its folder's for a run's best.safetensors."""
    return path.resolve().parent.name if path.stem == "best" else path.stem


def save_weights(weights: Weights, path: Path) -> None:
    """Writes the safetensors file that `load_weights` reads, the same bytes for the same weights."""
    said = _metadata(weights.sizes) | {"sha256": weights.digest}
    with written_whole(path) as unfinished:
        unfinished.write_bytes(_in_order(save_tensors(_tensors(weights), said)))


def load_weights(path: Path, upscale_factor: int | None = None) -> Weights:
    """Reads a weights file and checks names, shapes, scale, that every value is finite and, of safetensors, the digest.

    Besides safetensors it takes `.pth` files (which need PyTorch): this project's earlier ones, and state dicts of
    FSRCNN-PyTorch and yjn870/FSRCNN-pytorch, plain or under "state_dict", with or without the key prefixes of
    DataParallel and torch.compile. A state dict does not hold its scale: `upscale_factor` gives it.

    Raises RequestError, naming the file and what was expected and found, for a file that is missing, damaged, or does
    not hold exactly an FSRCNN's weights.
    """
    if not path.is_file():
        raise RequestError(f"{path}: no such weights file")
    try:
        is_ours = path.suffix.lower() == SUFFIX
        return _checked(*(_read_safetensors(path) if is_ours else _state_dict_of(_load_pth(path), upscale_factor)))
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


# --- safetensors ---


def _tensors(weights: Weights) -> Tensors:
    return {SCALE_TENSOR: np.array(weights.upscale_factor), **weights.parameters, **weights.additions}


def _metadata(sizes: Sizes) -> dict[str, str]:
    said = {"format": f"fsrcnn {FORMAT}", "variant": sizes.variant or "custom", "licence": LICENCE}
    return said | {name: str(value) for name, value in sizes._asdict().items()}


def _digest(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        digest.update(json.dumps([name, value.dtype.str, tensors[name].shape]).encode() + value.tobytes())
    return digest.hexdigest()


def _in_order(content: bytes) -> bytes:
    """The file with its metadata sorted: the library writes them in another order every time."""
    start, end = 8, 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[start:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(end - start)
    return content[:start] + text + content[end:]


def _read_safetensors(path: Path) -> tuple[Tensors, int]:
    content = path.read_bytes()
    try:
        tensors = load_tensors(content)
        said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise RequestError("damaged, or not a safetensors file; replace it") from error
    if said.get("format", "").startswith("fsrcnn ") and said["format"] != f"fsrcnn {FORMAT}":
        raise RequestError(f"its format is {_shown([said['format']])}, newer than is read; update this program")
    if "sha256" not in said:
        raise RequestError("not made by this project, or damaged: its metadata have no sha256; replace it")
    if said.pop("sha256") != _digest(tensors, said):
        raise RequestError("damaged: its content is not what its sha256 says; replace it")
    scale = tensors.pop(SCALE_TENSOR, None)
    if scale is None or scale.shape or scale.dtype.kind not in "iu":
        raise RequestError(f"not an FSRCNN's weights: no tensor {SCALE_TENSOR} that is a scale")
    return tensors, int(scale)


# --- others' files ---


def read_pth(path: Path) -> dict[Any, Any]:
    """Reads a PyTorch file onto the CPU: tensors and plain values; runs no code in it. Raises RequestError, naming the
    file, if it is damaged or no PyTorch file, and if PyTorch is missing.
    """
    try:
        return _load_pth(path)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def _load_pth(path: Path) -> dict[Any, Any]:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise RequestError("reading it needs PyTorch: pip install torch") from error
    try:
        if zipfile.is_zipfile(path):  # all but files from before PyTorch 1.6
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise ValueError("compressed, which PyTorch's are not, perhaps to fill the memory")
                if damaged := archive.testzip():  # torch.load does not look at the checksums
                    raise ValueError(damaged)
        with warnings.catch_warnings(action="ignore"):  # about files that are refused at once
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes both raise errors of any type
        raise RequestError("damaged, or not a PyTorch weights file") from error
    return content if isinstance(content, dict) else {}


def _state_dict_of(content: dict[Any, Any], upscale_factor: int | None) -> tuple[Tensors, int]:
    """The arrays and the scale of what a PyTorch file holds."""
    state_dict = content.get("state_dict", content)
    tensors = _with_our_keys(state_dict if isinstance(state_dict, dict) else {})
    said = content.get("model_args")
    scale = said.get("upscale_factor") if isinstance(said, dict) else upscale_factor
    if "deconv.weight" in tensors and scale is None:
        raise RequestError("does not say which scale it is for: give it by --upscale-factor")
    return tensors, scale if isinstance(scale, int) else 0


def _with_our_keys(state_dict: Mapping[Any, Any]) -> Tensors:
    """A state dict's tensors without wrappers' prefixes, and with the names of yjn870/FSRCNN-pytorch translated."""
    plain = {re.sub(r"^(module\.|_orig_mod\.)+", "", str(key)): value for key, value in state_dict.items()}
    layers = [int(match[1]) for key in plain if (match := re.fullmatch(r"mid_part\.(\d+)\.weight", key))]
    expand = max(layers, default=0) - 1  # the last convolution of mid_part; a PReLU follows it

    def translated(key: str) -> str:
        if match := re.fullmatch(r"mid_part\.(\d+)\.(\w+)", key):
            index = int(match[1])
            layer, first = ("shrink", 0) if index < 2 else ("map", 2) if index < expand else ("expand", expand)
            return f"{layer}.{index - first}.{match[2]}"
        return key.replace("first_part.", "feature_extraction.").replace("last_part.", "deconv.")

    arrays = {translated(key): value for key, value in plain.items() if hasattr(value, "detach")}
    try:
        if any(value.numel() * value.element_size() > value.untyped_storage().nbytes() for value in arrays.values()):
            raise RuntimeError("a small file's tensor may repeat its values until they fill the memory")
        if any(value.is_complex() for value in arrays.values()):
            raise TypeError("half of each value would be lost")
        return {key: value.detach().float().numpy() for key, value in arrays.items()}
    except (TypeError, RuntimeError, NotImplementedError) as error:  # sparse tensors, tensors without values
        raise RequestError("not an FSRCNN's weights: holds tensors that are no plain arrays") from error


# --- what both must hold ---


def _checked(tensors: Tensors, upscale_factor: int) -> Weights:
    """The weights, if these are exactly an FSRCNN's parameters. Shapes are checked before values."""
    additions = {name: value for name, value in tensors.items() if name.startswith(ADDITIONS)}
    parameters = {name: value for name, value in tensors.items() if name not in additions}
    features, shrink = parameters.get("feature_extraction.0.weight"), parameters.get("shrink.0.weight")
    if features is None or shrink is None or not features.ndim == shrink.ndim == 4:
        expected = ", ".join(list(Sizes(2, 1, 1, 1).shapes())[:4])
        raise RequestError(f"not an FSRCNN's weights: expected the keys {expected}, ...; found {_shown(parameters)}")
    if upscale_factor not in SCALES:
        raise RequestError(f"is for x{upscale_factor}, expected one of {', '.join(f'x{scale}' for scale in SCALES)}")
    if not features.size or not shrink.size:
        raise RequestError(f"not an FSRCNN's weights: {features.shape} and {shrink.shape} are empty")
    m = sum(re.fullmatch(r"map\.\d+\.bias", name) is not None for name in parameters)
    sizes = Sizes(upscale_factor, len(features), len(shrink), m)
    shapes = sizes.shapes()
    for what, names in (("missing", shapes.keys() - parameters.keys()), ("extra", parameters.keys() - shapes.keys())):
        if names:
            raise RequestError(f"not an FSRCNN's weights: {what} {_shown(sorted(names))}")
    for name, shape in shapes.items():
        if parameters[name].shape != shape:
            raise RequestError(f"not an FSRCNN's weights: {name} is {parameters[name].shape}, expected {shape}")
        if parameters[name].dtype != np.float32 or not np.isfinite(parameters[name]).all():
            raise RequestError(f"damaged: {name} holds values that are no finite float32; replace it")
    return Weights(sizes, {name: parameters[name] for name in shapes}, additions)


def _shown(names: Any, most: int = 4, length: int = 40) -> str:
    """Names from a file as a message shows them: a few, shortened, and without a terminal's control characters."""
    shown = [ascii(name)[1:-1][:length] for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "") or "nothing"

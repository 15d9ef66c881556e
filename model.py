"""FSRCNN (Dong, Loy and Tang, 2016, arXiv 1608.00367) in its three equal forms.

`FSRCNN` is the paper's network, op for op. `CollapsibleFSRCNN` is the form it is trained in, `FusedFSRCNN` the form
it is run in; each converts exactly to or from the paper's.
"""

import hashlib
import io
import itertools
import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from errors import RequestError

try:
    import native
    import native_training
except ImportError:  # llvmlite is not there
    native = None

# The paper's two networks: FSRCNN (section 3.2) and FSRCNN-s (section 4.3).
VARIANTS: dict[str, dict[str, int]] = {
    "fsrcnn": {"d": 56, "s": 12, "m": 4},
    "fsrcnn_s": {"d": 32, "s": 5, "m": 1},
}

_DECONV_KERNEL = 9
_DECONV_PADDING = 4
_PART = 512  # LR pixels that `upscale_luma` gives the network at once, along each axis


class FSRCNN(nn.Module):
    """The network of the paper's section 3.2: FSRCNN(d, s, m).

    Input: N x 1 x H x W float, luma in [0, 1]. Output: N x 1 x scale*H x scale*W, about [0, 1], not clipped.
    The state dict has the keys of FSRCNN-PyTorch, whose weights load as they are. A new network has PyTorch's own
    initialisation; see `initialise`.
    """

    def __init__(self, upscale_factor: int, d: int = 56, s: int = 12, m: int = 4) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor
        self.model_args = {"upscale_factor": upscale_factor, "d": d, "s": s, "m": m}
        self.feature_extraction = nn.Sequential(nn.Conv2d(1, d, 5, padding=2), nn.PReLU(d))
        self.shrink = nn.Sequential(nn.Conv2d(d, s, 1), nn.PReLU(s))
        self.map = nn.Sequential()
        for _ in range(m):
            self.map.extend([nn.Conv2d(s, s, 3, padding=1), nn.PReLU(s)])
        self.expand = nn.Sequential(nn.Conv2d(s, d, 1), nn.PReLU(d))
        self.deconv = nn.ConvTranspose2d(
            d,
            1,
            _DECONV_KERNEL,
            stride=upscale_factor,
            padding=_DECONV_PADDING,
            output_padding=upscale_factor - 1,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.deconv(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """What the deconvolution works on: N x 1 x H x W to N x d x H x W."""
        return self.expand(self.map(self.shrink(self.feature_extraction(x))))

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """Every convolution in order, without the deconvolution."""
        return (module for module in self.modules() if isinstance(module, nn.Conv2d))

    def fuse(self) -> "FusedFSRCNN":
        """The inference form with these weights."""
        return FusedFSRCNN(self)


def initialise(model: FSRCNN, start: Literal["msra", "bicubic"]) -> None:
    """Sets the starting weights, drawn from torch's global generator.

    "msra" is the paper's (section 3.2): He et al.'s Gaussian for PReLU in the convolutions, a Gaussian of deviation
    0.001 in the deconvolution, biases zero, slopes 0.25.

    "bicubic" starts as bicubic interpolation: channel 0 of every layer carries the picture through (luma is never
    negative, so PReLU passes it) to a deconvolution that holds the bicubic kernel for it, as far as 9 x 9 taps reach,
    and zeros for the other channels, which are random.
    """
    for module in model.modules():
        if isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, 0.25)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.25)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.001)
            nn.init.zeros_(module.bias)
    if start == "bicubic":
        _carry_picture(model)


@torch.no_grad()
def _carry_picture(model: FSRCNN) -> None:
    for conv in model.convolutions():
        centre = conv.kernel_size[0] // 2
        if conv.in_channels == conv.out_channels:  # the mapping layers start near the identity
            conv.weight.mul_(0.1)
            nn.init.zeros_(conv.weight[0])
            conv.weight[:, :, centre, centre] += torch.eye(conv.in_channels)
        else:
            nn.init.zeros_(conv.weight[0])
            conv.weight[0, 0, centre, centre] = 1
    nn.init.zeros_(model.deconv.weight)
    model.deconv.weight[0, 0] = _bicubic_deconvolution(model.upscale_factor)


def _bicubic_deconvolution(upscale_factor: int) -> Tensor:
    """The 9 x 9 deconvolution kernel nearest to bicubic interpolation: a = -0.5, each phase summing to one."""
    taps = torch.arange(_DECONV_KERNEL, dtype=torch.float64)
    # Output pixel scale*i + tap - padding lies this far from input pixel i, in input pixels.
    x = ((taps - _DECONV_PADDING + 0.5) / upscale_factor - 0.5).abs()
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    kernel = torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))
    for phase in range(upscale_factor):
        kernel[phase::upscale_factor] /= kernel[phase::upscale_factor].sum()
    return torch.outer(kernel, kernel).float()


def subpixel_kernel(deconv_weight: Tensor, upscale_factor: int) -> Tensor:
    """The kernel of the convolution that `subpixel_deconvolution` runs in place of the deconvolution.

    deconv_weight: d x 1 x 9 x 9; returns scale^2 x d x k x k with k = ceil(9 / scale): tap scale*j + p of the
    deconvolution is tap j, counted from the end, of the convolution for phase p. Differentiable.
    """
    scale, k = upscale_factor, math.ceil(_DECONV_KERNEL / upscale_factor)
    surplus = scale * k - _DECONV_KERNEL
    blocks = F.pad(deconv_weight, (0, surplus, 0, surplus)).reshape(-1, k, scale, k, scale).flip(1, 3)
    return blocks.permute(2, 4, 0, 1, 3).reshape(scale**2, -1, k, k)


def subpixel_deconvolution(x: Tensor, kernel: Tensor, bias: Tensor, upscale_factor: int) -> Tensor:
    """The deconvolution as a convolution on the small picture and a pixel shuffle.

    x: N x d x H x W; kernel: as `subpixel_kernel` makes it; bias: 1. Returns N x 1 x scale*H x scale*W.
    """
    scale, (height, width) = upscale_factor, x.shape[-2:]
    padding = math.ceil(_DECONV_PADDING / scale)
    # The shuffled picture starts this many pixels before the deconvolution's (none at x2 and x4).
    start = _DECONV_PADDING - scale * (kernel.shape[-1] - 1 - padding)
    shuffled = F.pixel_shuffle(F.conv2d(x, kernel, bias.expand(scale**2), padding=padding), scale)
    return shuffled[..., start : start + scale * height, start : start + scale * width]


class FusedFSRCNN(nn.Module):
    """The inference form. Input and output as `FSRCNN`'s, equal to about 1e-6.

    Float32 pictures on a CPU are run by one compiled function (see native.py). On other devices, in other precisions,
    without llvmlite, and where the graph is recorded for a gradient or an export, the deconvolution is a convolution
    on the small picture and a pixel shuffle, which spares the scatter over the large picture.
    """

    def __init__(self, model: FSRCNN) -> None:
        super().__init__()
        self.upscale_factor = model.upscale_factor
        self.model_args = model.model_args
        plain = FSRCNN(**model.model_args)
        plain.load_state_dict(model.state_dict())
        self.features = nn.Sequential(plain.feature_extraction, plain.shrink, plain.map, plain.expand)
        self.kernel = nn.Parameter(subpixel_kernel(plain.deconv.weight, self.upscale_factor))
        self.bias = plain.deconv.bias
        if native:
            self.register_buffer("packed", native.pack(list(plain.parameters()), self.upscale_factor), persistent=False)
        self.to(model.deconv.weight.device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if _runs_natively(x, self.kernel):
            return native.upscale(x, self.packed, **self.model_args)
        return self.subpixel(x)

    def subpixel(self, x: Tensor) -> Tensor:
        """The same in PyTorch's operations: for any device and precision, differentiable, and for export."""
        features = self.features(x.contiguous(memory_format=torch.channels_last))
        return subpixel_deconvolution(features, self.kernel, self.bias, self.upscale_factor)


def _runs_natively(x: Tensor, weight: Tensor) -> bool:
    """Whether the compiled functions can run on this input, and nobody asks for what they do not give: a graph that is
    recorded for an export, or for the gradient of the input.
    """
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing() or (torch.is_grad_enabled() and x.requires_grad)
    if native is None or recorded or x.ndim != 4 or x.shape[1] != 1 or not x.numel():
        return False
    return all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (x, weight))


class LinearFactors(nn.Module):
    """Parametrisation of a weight as the product of two linear factors (collapsible linear blocks, Bhardwaj et al.,
    arXiv 2103.09404), which trains faster and ends better than the weight itself.

    The weight, seen as a matrix of its first dimension by all others, is start + outer @ inner; `start` is a
    constant that makes the initial value the weight that was given.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = weight.shape[0], weight[0].numel()
        inner = torch.randn(self.width, columns) * math.sqrt(1 / columns)
        outer = torch.randn(rows, self.width) * math.sqrt(1 / self.width)
        self.register_buffer("start", weight.detach() - (outer @ inner).view_as(weight))
        return inner, outer

    def forward(self, inner: Tensor, outer: Tensor) -> Tensor:
        return self.start + (outer @ inner).view_as(self.start)


class CollapsibleFSRCNN(FSRCNN):
    """The training form: every weight a product of two linear factors, `width` wide, multiplied out at each step so
    that a step costs what the plain network's does. A width of 0 trains the weights themselves.

    It starts as the function of the `FSRCNN` it is made from, and `collapse` returns the `FSRCNN` it has become.
    The deconvolution is computed as a convolution and pixel shuffle; on a CPU the error of float32 patches and its
    gradient come from one compiled function (see native_training.py).
    """

    def __init__(self, model: FSRCNN, width: int = 128) -> None:
        super().__init__(**model.model_args)
        self.load_state_dict(model.state_dict())
        names = (name.rpartition(".") for name, _ in model.named_parameters())
        self._places = [(self.get_submodule(layer), parameter) for layer, _, parameter in names]
        if width:
            for layer in (*self.convolutions(), self.deconv):
                parametrize.register_parametrization(layer, "weight", LinearFactors(width))

    def forward(self, x: Tensor) -> Tensor:
        kernel = subpixel_kernel(self.deconv.weight, self.upscale_factor)
        return subpixel_deconvolution(self.features(x), kernel, self.deconv.bias, self.upscale_factor)

    def error(self, lr: Tensor, hr: Tensor, squared: bool) -> Tensor:
        """The sum of the absolute or squared differences from hr, N x 1 x scale*H x scale*W in [0, 1]."""
        if _runs_natively(lr, self.deconv.bias):
            return native_training.error(lr, hr, self.collapsed_parameters(), squared)
        difference = self(lr) - hr
        return (difference.square() if squared else difference.abs()).sum()

    def collapsed_parameters(self) -> list[Tensor]:
        """The parameters of the `FSRCNN` this is equal to, in the order of its ``parameters()``."""
        return [getattr(layer, parameter) for layer, parameter in self._places]

    @torch.no_grad()
    def collapse(self) -> FSRCNN:
        """The paper's network with the same function, on the same device; shares no memory with this one."""
        plain = FSRCNN(**self.model_args).to(self.deconv.bias.device)
        for parameter, value in zip(plain.parameters(), self.collapsed_parameters(), strict=True):
            parameter.copy_(value)
        return plain


class Span(NamedTuple):
    """A part of an axis in LR pixels, start..stop, inside the window first..last that it depends on."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def window(self) -> slice:
        return slice(self.first, self.last)

    def inside(self, scale: int) -> slice:
        """Where the part lies in its window, both enlarged."""
        return slice(scale * (self.start - self.first), scale * (self.stop - self.first))

    def enlarged(self, scale: int) -> slice:
        """Where the part lies in the whole, both enlarged."""
        return slice(scale * self.start, scale * self.stop)


def spans(length: int, size: int, margin: int) -> Iterator[Span]:
    """An axis in parts of `size`, each with a window `margin` wider on both sides, up to the ends of the axis."""
    for start in range(0, length, size):
        stop = min(start + size, length)
        yield Span(start, stop, max(start - margin, 0), min(stop + margin, length))


def reach(model: nn.Module) -> int:
    """How many LR pixels to each side an SR pixel depends on, by the layers' kernels: 8 for FSRCNN at x2 and x3."""
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    return sum(conv.kernel_size[0] // 2 for conv in convolutions) + math.ceil(_DECONV_PADDING / model.upscale_factor)


def upscale_luma(model: nn.Module, lr: np.ndarray) -> np.ndarray:
    """Runs any of the forms on one picture, on one part after another so that the network's memory stays bounded.

    lr: H x W luma in 0..255, any real dtype; returns scale*H x scale*W, float32, 0..255, neither rounded nor clipped.
    """
    device, scale, margin = next(model.parameters()).device, model.upscale_factor, reach(model)
    height, width = lr.shape
    sr = np.empty((scale * height, scale * width), dtype=np.float32)
    for rows, columns in itertools.product(spans(height, _PART, margin), spans(width, _PART, margin)):
        window = np.asarray(lr[rows.window, columns.window], dtype=np.float32) / np.float32(255)
        with torch.inference_mode():
            part = model(torch.from_numpy(window)[None, None].to(device))[
                0, 0, rows.inside(scale), columns.inside(scale)
            ]
        np.multiply(part.cpu().numpy(), np.float32(255), out=sr[rows.enlarged(scale), columns.enlarged(scale)])
    return sr


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Writes a dictionary of tensors and plain values. On a full disk raises OSError, which torch.save does not."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote. Raises RequestError for a file that is missing or is something else."""
    if not path.is_file():
        raise RequestError(f"{path}: no such weights file")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise RequestError(f"{path}: damaged, or not a PyTorch weights file") from error
    return content if isinstance(content, dict) else {}


def save_weights(model: FSRCNN, path: Path) -> None:
    """Writes the weights file that `load_weights` reads."""
    state_dict = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
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


def select_device(name: str) -> torch.device:
    """The device of a name as torch takes it, or "auto": CUDA, else MPS, else the CPU.

    Raises RequestError for a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"device: {name} cannot be used here ({str(error).splitlines()[0]}); try auto or cpu"
        ) from error
    return device

"""What a run is: every setting with its default, in one place.

Edit a default here, or pass it on the command line (`--steps 1000`); both do the same thing.
"""

import contextlib
import dataclasses
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import tyro

from fsrcnn.errors import RequestError
from fsrcnn.geometry import SCALES


@dataclass(frozen=True)
class Config:
    """Every setting of a run; a value that cannot be meant raises RequestError."""

    # --- general ---
    mode: tyro.conf.Suppress[Literal["train", "valid", "prepare"]] = "train"
    """What is checked before work starts; each script sets its own."""
    upscale_factor: tuple[int, ...] = (2, 3, 4)
    """Scales, of 2, 3 and 4: train.py trains one network for each, validate.py scores those."""
    variant: Literal["fsrcnn", "fsrcnn_s"] = "fsrcnn"
    """The paper's network: fsrcnn (56, 12, 4), or the small fsrcnn_s (32, 5, 1)."""
    d: int = 0
    """Training: outputs of the first and of the expanding convolution; 0: the variant's."""
    s: int = 0
    """Training: outputs of the shrinking and the mapping convolutions; 0: the variant's."""
    m: int = 0
    """Training: number of mapping convolutions; 0: the variant's."""
    device: str = "auto"
    """auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, ... or mps."""
    seed: int = 0
    """Seed of the starting weights and of the patches."""
    exp_name: str = ""
    """Name of the run's folder under results_dir; empty: {variant}_x{scale} for a training, {variant} for a test."""
    results_dir: Path = Path("results")
    """Folder for everything a run writes."""

    # --- data ---
    data_dir: Path = Path("data")
    """Folder of the image sets, data/T91 and so on."""
    source: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """prepare_dataset.py: local folder to import the sets from, instead of downloading them."""
    train_sets: tuple[str, ...] = ("T91", "General-100", "BSDS200")
    """Sets in data_dir, or folders of yours, to train on; the 20 validation pictures of BSDS200 are always left out."""

    # --- training ---
    recipe: Literal["default", "default_finetune", "paper", "paper_finetune"] = "default"
    """Settings in place of the defaults below (see RECIPES): paper, training as in its section 4.1 on T91;
    default_finetune and paper_finetune, a second training of the weights in --transfer-from, on larger patches or, the
    paper's second stage, with General-100 added."""
    transfer_from: Annotated[Path | None, tyro.conf.arg(metavar="WEIGHTS")] = None
    """Weights to start from: of the same scale all of them, of another scale the convolutions (section 3.4)."""
    deconv_only_steps: int = 0
    """First steps in which the deconvolution alone is trained; as many as steps: transferred convolutions stay."""
    start: Literal["bicubic", "msra", "msra_fan_out"] = "bicubic"
    """Starting weights: bicubic interpolation, or the paper's random ones, by a layer's inputs or its outputs."""
    loss: Literal["l1_then_mse", "l1", "mse", "euclidean"] = "l1_then_mse"
    """Mean absolute error, mean squared error, the one for 70 % of the steps and then the other, or Caffe's euclidean
    loss: half the squared error of a patch, summed over its pixels."""
    optimizer: Literal["soap", "adam", "sgd"] = "soap"
    """SOAP (see training/optimizer.py), Adam, or SGD with momentum 0.9."""
    learning_rate: float = 5e-3
    """Learning rate of the convolutions."""
    deconv_learning_rate: float = 5e-3
    """Learning rate of the deconvolution."""
    bias_rate_factor: float = 1.0
    """Learning rate of the convolutions' biases, as a multiple of learning_rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rates over the steps: down to zero along a cosine, or as they are."""
    warmup_steps: int = 300
    """Steps over which the learning rates rise to their values, so that the bicubic start is not shaken off."""
    steps: int = 120_000
    """Number of batches."""
    batch_size: int = 16
    """Patches in a batch."""
    patch_size: int = 26
    """Side of a square LR patch, in LR pixels. Pictures that are smaller are left out."""
    patch_margin: Literal[0, 2] = 0
    """LR pixels that LR patches have more on each side: 2, what the first convolution sees there in place of zeros. HR
    patches then lack their last scale - 1 rows and columns, where Caffe's deconvolution has no output."""
    sampling: Literal["uniform", "psnr"] = "uniform"
    """Where patches are cut: all places of all pictures alike, or first a picture is drawn, the more often the less
    bicubic enlargement errs there, since the mean of PSNRs weighs it so."""
    ema_decay: float = 0.999
    """Per-step decay of the moving average of the weights, which is what is validated and kept; 0: the weights."""
    validate_every: int = 2000
    """Steps between validations; each also saves the run."""
    resume: bool = False
    """Go on with the interrupted run of the same settings."""

    # --- validation ---
    test_sets: tuple[str, ...] = ("Set5", "Set14", "BSD100")
    """Sets in data_dir, folders of yours, or Samples, photographs that come with scikit-image."""
    weights: tuple[Path, ...] = ()
    """Weights files to score; empty: those in results/pretrained of the variant and the scales."""
    border: Literal["zeros", "replicate"] = "zeros"
    """What a network that is validated sees beyond a picture: zeros, as in training by default, or the outermost pixels
    again, as in the paper's MATLAB script, which weights trained with patch_margin 2 need."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_scales(self)
        _require(self, "exp_name", Path(self.exp_name).name == self.exp_name, "a folder's name, without a path")
        _require(self, "seed", self.seed >= 0, "zero or more")
        if self.mode == "train":
            self._check_training()

    def _check_training(self) -> None:
        for field in ("steps", "batch_size", "patch_size", "validate_every", "learning_rate", "deconv_learning_rate"):
            _require(self, field, getattr(self, field) > 0, "more than zero")
        for field in ("d", "s", "m", "warmup_steps", "deconv_only_steps"):
            _require(self, field, getattr(self, field) >= 0, "zero or more")
        _require(self, "bias_rate_factor", self.bias_rate_factor > 0, "more than zero")
        _require(self, "ema_decay", 0 <= self.ema_decay < 1, "at least 0 and less than 1")
        _require(self, "train_sets", bool(self.train_sets), "at least one set")
        one_run = not self.exp_name or len(self.upscale_factor) == 1
        _require(self, "exp_name", one_run, "left out, or one upscale_factor given, when several networks are trained")


# Settings that go together; a flag given beside --recipe still wins.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    # In larger patches fewer pixels feel the zeros beyond the border, nearly as few as in pictures. They come last,
    # because smaller ones, of more pictures in a batch, get further at first (results/RECIPE.md).
    "default_finetune": {
        "loss": "mse",
        "learning_rate": 1e-3,
        "deconv_learning_rate": 1e-3,
        "steps": 150_000,
        "batch_size": 8,
        "patch_size": 52,
        "sampling": "psnr",
    },
    # Section 4.1: T91, MSE by SGD at 1e-3 and 1e-4 in the deconvolution. The rates belong to Caffe's sum over pixels.
    # What the paper leaves open is as its authors' released code is described (results/PAPER.md). The warm-up is ours.
    "paper": {
        "train_sets": ("T91",),
        "start": "msra_fan_out",
        "loss": "euclidean",
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "deconv_learning_rate": 1e-4,
        "bias_rate_factor": 0.1,
        "schedule": "constant",
        "ema_decay": 0.9999,
        "batch_size": 128,
        "patch_size": 7,
        "patch_margin": 2,
        "border": "replicate",
    },
}
# "In the fine-tuning, General-100 is added and the learning rates are halved."
RECIPES["paper_finetune"] = RECIPES["paper"] | {
    "train_sets": ("T91", "General-100"),
    "learning_rate": 5e-4,
    "deconv_learning_rate": 5e-5,
}


# What decides the weights that a training ends with: part of the record of a run, and fixed once it has begun.
RECIPE_FIELDS = (
    "upscale_factor variant d s m seed train_sets transfer_from deconv_only_steps start loss optimizer "
    "learning_rate deconv_learning_rate bias_rate_factor schedule warmup_steps steps batch_size patch_size "
    "patch_margin sampling ema_decay border"
).split()


AnyConfig = TypeVar("AnyConfig")


def read_config(mode: Literal["train", "valid", "prepare"], description: str) -> Config:
    """The configuration of a script: config.py's defaults, the recipe's settings, then the command line's flags.

    Raises RequestError for an unknown flag or a wrong value.
    """
    defaults = Config(mode=mode)
    recipe = read_command_line(defaults, description).recipe
    return read_command_line(dataclasses.replace(defaults, recipe=recipe, **RECIPES[recipe]), description)


def read_command_line(defaults: AnyConfig, description: str) -> AnyConfig:
    """The dataclass `defaults` with the command line's flags in it. Raises RequestError for what it does not take."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            flags = (tyro.conf.FlagCreatePairsOff,)
            return tyro.cli(type(defaults), default=defaults, description=description, config=flags)
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        # tyro draws a box around its message; ours are one line.
        boxed = complaint.getvalue().partition("\n")[2]
        raise RequestError(" ".join(re.sub(r"[^\x20-\x7e]", " ", boxed).split())) from None


def _require(config: Any, field: str, right: bool, expected: str) -> None:
    if not right:
        raise RequestError(f"{field}: got {getattr(config, field)!r}, expected {expected}")


def check_scales(config: Any) -> None:
    *lower, highest = SCALES
    right = bool(config.upscale_factor) and set(config.upscale_factor) <= set(SCALES)
    _require(config, "upscale_factor", right, f"{', '.join(map(str, lower))} or {highest}")


def check_choices(config: Any) -> None:
    """A default edited in this file has not passed through the command line's check of its choices."""
    for field, annotation in get_type_hints(type(config)).items():
        choices = getattr(annotation, "__args__", ()) if "Literal" in str(annotation) else ()
        _require(
            config, field, not choices or getattr(config, field) in choices, f"one of {', '.join(map(str, choices))}"
        )

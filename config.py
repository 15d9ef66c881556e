"""What a run is: every setting, and the recipes.

Edit a value here, or give it as a flag (`--steps 1000`): both do the same. The values are the recipe "default"; where
another recipe has another one, it stands before it, in `Recipes`. Another value that you write here, or any value that
you give as a flag, wins over every recipe. To hold on to a value of the recipe "default" beside another recipe, write
the field without its `Recipes` (`batch_size: int = 16`), or give the flag.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, BeforeValidator, ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from fsrcnn.errors import Parser, RequestError
from fsrcnn.geometry import SCALES, VARIANTS

Mode = Literal["train", "valid"]
Script = Literal["train", "valid", "prepare"]
Recipe = Literal["default", "default_finetune", "restore", "paper", "paper_finetune"]


@dataclasses.dataclass(frozen=True)
class Recipes:
    """What the recipes have for a field: the first value is the default recipe's, which is the field's own."""

    default: Any
    default_finetune: Any = None
    restore: Any = None
    paper: Any = None
    paper_finetune: Any = None


def one_of(*values: Any) -> AfterValidator:
    """The check that a value is one of these."""
    return that(lambda value: value in values, f"{', '.join(map(str, values[:-1]))} or {values[-1]}")


def that(is_right: Callable[[Any], bool], expected: str) -> AfterValidator:
    """The check that a value is right; expected: what would be, in words."""

    def check(value: Any) -> Any:
        if not is_right(value):
            raise ValueError(expected)
        return value

    return AfterValidator(check)


def _as_path(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("a path")
    return Path(value)


# 3 where several may stand means (3,), and "Set5" means ("Set5",).
SEVERAL = BeforeValidator(lambda value: tuple(value) if isinstance(value, list | tuple) else (value,))
Scales = Annotated[tuple[Annotated[int, one_of(*SCALES)], ...], SEVERAL, that(bool, "one scale or several")]
Variant = Annotated[str, one_of(*VARIANTS)]
Name = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
FilePath = Annotated[Path, BeforeValidator(_as_path)]
Names = Annotated[tuple[Name, ...], SEVERAL, that(lambda names: names and all(names), "one name or several")]
Paths = Annotated[tuple[FilePath, ...], SEVERAL]
FolderName = Annotated[str, that(lambda name: Path(name).name == name != "..", "a folder's name, without a path")]
HIGHEST = 2**63 - 1  # what PyTorch takes
Count = Annotated[int, that(lambda value: 0 <= value <= HIGHEST, f"zero or more, at most {HIGHEST}")]
Positive = Annotated[int, that(lambda value: 0 < value <= HIGHEST, f"more than zero, at most {HIGHEST}")]
# "none", the flag's way to say it, is no value.
OR_NONE = BeforeValidator(lambda value: () if value in ("none", ["none"], ("none",)) else value)
Qualities = Annotated[
    tuple[Annotated[int, that(lambda value: 1 <= value <= 100, "whole numbers from 1 to 100, or none")], ...],
    SEVERAL,
    OR_NONE,
]
Reductions = Annotated[
    tuple[Annotated[float, that(lambda value: 0.01 <= value < 1, "numbers from 0.01 to 1, or none")], ...],
    SEVERAL,
    OR_NONE,
    that(lambda values: len(set(values)) == len(values), "each once"),
]
SEEDS = "the number of seeds, two or more, or the seeds themselves, all different"
Seeds = Annotated[
    tuple[Count, ...],
    BeforeValidator(lambda values: tuple(part for value in values for part in str(value).split(","))),
    SEVERAL,
    that(lambda seeds: seeds != (0,) and seeds != (1,) and len(set(seeds)) == len(seeds), SEEDS),
]
Rate = Annotated[float, that(lambda value: 0 < value < math.inf, "a number above zero")]

Settings = TypeVar("Settings")

# Field by field, the defaults too; a field's text is its help.
SETTINGS = ConfigDict(use_attribute_docstrings=True, validate_default=True, extra="forbid")


def lists_are_tuples(kind: type[Settings]) -> type[Settings]:
    """Lets a list be written where a tuple stands, which a dataclass refuses as a default."""
    for name, value in list(vars(kind).items()):
        if isinstance(value, list):
            setattr(kind, name, tuple(value))
    return kind


# The test sets that need not be there.
PUBLIC_TEST_SETS = ("Set5", "Set14", "BSD100")


@dataclass(frozen=True, config=SETTINGS)
@lists_are_tuples
class Config:
    """Every setting of a run."""

    # --- general ---
    mode: Literal["", "train", "valid"] = ""
    """"train" or "valid", if you want to be told when you run the other script; the script itself decides."""
    upscale_factor: Scales = (2, 3, 4)
    """Scales: train.py trains one network for each, validate.py scores those."""
    variant: Variant = "fsrcnn"
    """The paper's network: fsrcnn (56, 12, 4), or the small fsrcnn_s (32, 5, 1)."""
    device: str = "auto"
    """auto (CUDA, else MPS, else CPU), cpu, cuda, cuda:1, ... or mps."""
    exp_name: FolderName = ""
    """Name of the run, a folder in results_dir. Training: where it goes; empty: {variant}_x{scale}. Validation: the run
    whose weights are scored, if there is one of this name, and the folder in results_dir/test; empty: {variant}."""
    results_dir: FilePath = Path("results")
    """Folder for everything a run writes."""

    # --- data ---
    data_dir: FilePath = Path("data")
    """Folder of the image sets, data/T91 and so on."""
    source: FilePath | None = None
    """Local folder to import the sets from, instead of downloading them."""
    train_sets: Annotated[
        Names, Recipes(("T91", "General-100", "BSDS200"), paper=("T91",), paper_finetune=("T91", "General-100"))
    ] = ("T91", "General-100", "BSDS200")
    """Sets in data_dir, or folders of yours, to train on, without the pictures of the validation set."""
    validation_set: Name = ""
    """Folder whose pictures decide which weights are kept; empty: 20 pictures of BSDS200, never trained on."""
    test_sets: Names = ("Set5", "Set14", "BSD100")
    """Sets in data_dir, folders of yours, or Samples, photographs that come with scikit-image."""

    reductions: Reductions = (0.9, 0.8, 0.7, 0.6)
    """Factors by which each training picture is reduced, so that patches are cut from it at each of these sizes too:
    with the picture itself the paper's five. none: for sets of large pictures, which hold patches enough."""
    cache_dir: FilePath | None = None
    """Folder for the luma of the training pictures and their LR pictures, which are made once and then mapped into
    memory; empty: .cache in data_dir. It may be removed at any time."""

    # --- the network ---
    d: Count = 0
    """Outputs of the first and of the expanding convolution; 0: the variant's."""
    s: Count = 0
    """Outputs of the shrinking and the mapping convolutions; 0: the variant's."""
    m: Count = 0
    """Number of mapping convolutions; 0: the variant's."""
    transfer_from: FilePath | None = None
    """Weights to start from: of the same scale all of them, of another scale the convolutions (section 3.4)."""
    start: Annotated[
        Literal["bicubic", "msra", "msra_fan_out"],
        Recipes("bicubic", paper="msra_fan_out", paper_finetune="msra_fan_out"),
    ] = "bicubic"
    """Starting weights: bicubic interpolation, or the paper's random ones, by a layer's inputs or its outputs."""

    # --- training ---
    recipe: Recipe = "default"
    """Settings that go together. paper: as in its section 4.1, on T91. default_finetune and paper_finetune: a second
    training, of the weights in transfer_from: on larger patches; with General-100 added, the paper's second stage.
    restore: a further training of the same, on compressed pictures."""
    seed: Count = 0
    """Seed of the starting weights and of the patches."""
    seeds: Seeds = ()
    """Train and score several networks that differ by their seed alone: 3 stands for seed and the two after it, 1 5 9
    for these; none: one network, from seed. The score is the validation's, and that on test_sets."""
    deconv_only_steps: Count = 0
    """Number of first steps that train only the deconvolution. Equal to steps: the convolutions never change."""
    loss: Annotated[
        Literal["l1_then_mse", "l1", "mse", "euclidean"],
        Recipes("l1_then_mse", default_finetune="mse", restore="mse", paper="euclidean", paper_finetune="euclidean"),
    ] = "l1_then_mse"
    """Mean absolute error, mean squared error, the one for 70 % of the steps and then the other, or Caffe's euclidean
    loss: half the squared error of a patch, summed over its pixels."""
    optimizer: Annotated[Literal["soap", "adam", "sgd"], Recipes("soap", paper="sgd", paper_finetune="sgd")] = "soap"
    """SOAP (see training/optimizer.py), Adam, or SGD with momentum 0.9."""
    learning_rate: Annotated[
        Rate, Recipes(5e-3, default_finetune=1e-3, restore=1e-3, paper=1e-3, paper_finetune=5e-4)
    ] = 5e-3
    """Learning rate of the convolutions."""
    deconv_learning_rate: Annotated[
        Rate, Recipes(5e-3, default_finetune=1e-3, restore=1e-3, paper=1e-4, paper_finetune=5e-5)
    ] = 5e-3
    """Learning rate of the deconvolution."""
    bias_rate_factor: Annotated[Rate, Recipes(1.0, paper=0.1, paper_finetune=0.1)] = 1.0
    """Learning rate of the convolutions' biases, as a multiple of learning_rate."""
    schedule: Annotated[
        Literal["cosine", "constant"], Recipes("cosine", paper="constant", paper_finetune="constant")
    ] = "cosine"
    """The learning rates over the steps: down to zero along a cosine, or constant."""
    warmup_steps: Count = 300
    """Steps over which the learning rates rise to their values, so that the bicubic start is not shaken off."""
    steps: Annotated[Positive, Recipes(120_000, default_finetune=150_000, restore=50_000)] = 120_000
    """Number of batches."""
    batch_size: Annotated[Positive, Recipes(16, default_finetune=8, restore=4, paper=128, paper_finetune=128)] = 16
    """Patches in a batch."""
    patch_size: Annotated[Positive, Recipes(26, default_finetune=52, restore=52, paper=7, paper_finetune=7)] = 26
    """Side of a square LR patch, in LR pixels. Pictures that are smaller are left out."""
    patch_margin: Annotated[int, one_of(0, 2), Recipes(0, paper=2, paper_finetune=2)] = 0
    """LR pixels that LR patches have more on each side: 2, what the first convolution sees there in place of zeros. HR
    patches then lack their last scale - 1 rows and columns, where Caffe's deconvolution has no output."""
    sampling: Annotated[Literal["uniform", "psnr"], Recipes("uniform", default_finetune="psnr", restore="psnr")] = (
        "uniform"
    )
    """Where patches are cut. uniform: at any place of any picture with equal chance; psnr: first a picture is drawn,
    more often the smaller its error after bicubic enlargement, since the mean of PSNRs weighs it so."""
    # Without compression the starting weights stay as they are: no patch is cut from a picture that is not compressed.
    jpeg_qualities: Annotated[Qualities, Recipes((), restore=(10, 20, 30, 40, 50, 60, 70, 80, 90, 95))] = ()
    """JPEG qualities, 1 to 100, that LR pictures are compressed at, one per step in turn; none: no compression. A
    step's loss is that of the starting and the trained weights blended by its quality (training/recipe.py)."""
    ema_decay: Annotated[
        float,
        that(lambda value: 0 <= value < 1, "at least 0 and less than 1"),
        Recipes(0.999, paper=0.9999, paper_finetune=0.9999),
    ] = 0.999
    """Per-step decay of the moving average of the weights, which is what is validated and kept; 0: the weights."""
    validate_every: Annotated[Positive, Recipes(2000, restore=5000)] = 2000
    """Steps between validations; each also saves the run."""
    resume: bool = False
    """Go on with the interrupted run of the same settings."""

    # --- validation ---
    weights: Paths = ()
    """Weights files to score; empty: those of the run exp_name, or else the shipped ones of the variant."""
    arithmetic: Literal["float32", "int16"] = "float32"
    """What the network that is scored computes in: float32, or the 16-bit integers of 8-bit pictures and films."""
    border: Annotated[
        Literal["zeros", "replicate"], Recipes("zeros", paper="replicate", paper_finetune="replicate")
    ] = "zeros"
    """What a network that is validated sees beyond a picture: zeros, as in training by default, or the outermost pixels
    again, as in the paper's MATLAB script, which weights trained with patch_margin 2 need."""
    ensemble: bool = False
    """Score each network a second time, by the means of its results for the eight turned and mirrored forms of each
    picture, under its name with a + behind it."""


FIELDS = {field.name: field for field in dataclasses.fields(Config)}

# What each script reads, and so offers as flags.
READ_BY = {
    "train": FIELDS.keys() - {"mode", "source", "weights", "arithmetic", "ensemble"},
    "valid": set(
        "upscale_factor variant device exp_name results_dir data_dir test_sets weights".split()
        + "arithmetic border ensemble".split()
    ),
    "prepare": set("data_dir source train_sets validation_set test_sets".split()),
}

# What decides the weights that a training ends with: part of the record of a run, and fixed once it has begun.
RECIPE_FIELDS = (
    "upscale_factor variant d s m seed train_sets validation_set transfer_from deconv_only_steps start loss optimizer "
    "learning_rate deconv_learning_rate bias_rate_factor schedule warmup_steps steps batch_size patch_size "
    "patch_margin sampling reductions jpeg_qualities ema_decay border"
).split()

# The fields that recipes have values for, and these values.
OF_RECIPES = {
    name: next(each for each in hint.__metadata__ if isinstance(each, Recipes))
    for name, hint in get_type_hints(Config, include_extras=True).items()
    if any(isinstance(each, Recipes) for each in getattr(hint, "__metadata__", ()))
}
RECIPES: dict[str, dict[str, Any]] = {
    recipe: {
        name: values.default if (value := getattr(values, recipe)) is None else value
        for name, values in OF_RECIPES.items()
    }
    for recipe in get_args(Recipe)
}


def make_config(**settings: Any) -> Config:
    """The configuration with these settings, else what this file says, else the recipe's values.

    Raises RequestError for the first value that cannot be meant, with the field, the value and what would be right.
    """
    recipe = checked(Config, recipe=settings.get("recipe", Config.recipe)).recipe
    # A value in this file that is not the default recipe's has been written there, and stays.
    untouched = {name for name, values in OF_RECIPES.items() if FIELDS[name].default == values.default}
    of_recipe = {name: value for name, value in RECIPES[recipe].items() if name in untouched}
    return checked(Config, **of_recipe | settings)


def read_config(script: Script, description: str, arguments: Sequence[str] | None = None) -> Config:
    """The configuration of a script: its flags, else what this file says, else the recipe's values. Says so where the
    file's mode is another script's. arguments: None: the process's.

    Raises RequestError for a flag that the script does not read and for a value that cannot be meant.
    """
    names = READ_BY[script]
    first = Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", default=Config.recipe)
    recipe = first.parse_known_args(arguments)[0].recipe if "recipe" in names else Config.recipe
    config = make_config(**read_flags(make_config(recipe=recipe), description, names, arguments))
    if config.mode and script in get_args(Mode) and config.mode != script:
        print(f"mode: config.py says {config.mode!r}, and this script does {script!r}", file=sys.stderr)
    return config


# --- what other settings share with these ---


def checked(kind: type[Settings], **values: Any) -> Settings:
    """The settings with these values, for a dataclass with SETTINGS. Raises RequestError as `make_config` does."""
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise RequestError(f"{first['loc'][0]}: got {first['input']!r}, expected {expected}") from None


def read_flags(
    shown: Any, description: str, names: Iterable[str] | None = None, arguments: Sequence[str] | None = None
) -> dict[str, Any]:
    """The flags that the command line gives, unchecked, by their fields' names.

    shown: settings, whose values --help shows; names: the fields that are offered as flags; None: all. Raises
    RequestError for other flags.
    """
    parser = Parser(description=description, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    fields = type(shown).__pydantic_fields__
    for name, field in fields.items():
        if names is not None and name not in names:
            continue
        value = getattr(shown, name)
        text = f"{' '.join((field.description or '').split())} (now: {_shown(value)})".replace("%", "%%")
        if isinstance(value, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
        else:
            several = "+" if isinstance(value, tuple) else None
            parser.add_argument(f"--{name.replace('_', '-')}", nargs=several, metavar=name.upper(), help=text)
    return vars(parser.parse_args(arguments))


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value) if value != "" else "empty"

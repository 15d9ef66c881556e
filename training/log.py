"""The log of a training: mean loss, log.csv and TensorBoard."""

import csv
import math
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from dataset import EvaluationPair
from evaluation.scores import upscale_luma
from fsrcnn.devices import rank_and_ranks
from fsrcnn.errors import FailureError
from fsrcnn.files import written_whole
from fsrcnn.network import Network
from imgproc import to_uint8

COLUMNS = ("step", "seconds", "learning_rate", "loss", "psnr", "ssim", "psnr_unaveraged")


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of the processes' values; every process has to call it."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value / rank_and_ranks()[1]


class LossMeter:
    """Mean loss since the last reading, kept on the device."""

    def __init__(self, device: torch.device) -> None:
        self._sum, self._count = torch.zeros((), device=device), 0

    def add(self, loss: Tensor) -> None:
        self._sum += loss
        self._count += 1

    def read(self, step: int) -> float:
        """The mean up to `step`. Raises FailureError where it is not finite."""
        mean = mean_over_ranks(self._sum / self._count).item()
        if not math.isfinite(mean):
            raise FailureError(f"the loss is {mean} at step {step}: start again with a lower learning_rate")
        return mean


class Log:
    """The log of a run: log.csv and, for TensorBoard, the same values and pictures."""

    def __init__(self, folder: Path, step: int) -> None:
        """Starts the log, or keeps of an existing one what was logged up to `step`."""
        self._path = folder / "log.csv"
        rows = []
        if step and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with written_whole(self._path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        self._board = SummaryWriter(folder / "tensorboard", purge_step=step)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def write(self, step: int, seconds: float, values: dict[str, float], pictures: Tensor) -> None:
        """Adds a row of values, named as in COLUMNS, and the pictures, 3 x H x W uint8."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow({"step": step, "seconds": round(seconds, 1), **values})
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.add_image("bicubic, FSRCNN, ground truth", pictures, step)


def crops(network: Network, pairs: list[EvaluationPair], size: int = 120) -> Tensor:
    """Rows of bicubic, FSRCNN and ground truth of each picture's centre, 3 x H x W in 0..255, for TensorBoard."""
    tiles = []
    for pair in pairs:
        top, left = ((length - size) // 2 for length in pair.hr.shape)
        for image in (pair.bicubic(), upscale_luma(network, pair.lr), pair.hr):
            tiles.append(torch.from_numpy(to_uint8(image)[None, top : top + size, left : left + size]))
    return make_grid(tiles, nrow=3)


def read_log(path: Path) -> dict[str, list[float]]:
    """The columns of a training's log.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {field: [float(row[field]) for row in rows] for field in rows[0]}


def draw_curve(log: Path, picture: Path, title: str) -> None:
    """Draws a training's log.csv: PSNR on the validation pictures against steps and against time."""
    from matplotlib.figure import Figure  # here, because it is slow to import

    values = read_log(log)
    minutes = [seconds / 60 for seconds in values["seconds"]]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for each, x, label in zip(axes, (values["step"], minutes), ("steps", "minutes"), strict=True):
        each.plot(x, values["psnr"], marker=".")
        each.set_xlabel(label)
        each.locator_params(axis="x", nbins=6)
        each.grid(alpha=0.3)
    axes[0].set_ylabel("PSNR in dB, validation pictures")
    figure.suptitle(title)
    with written_whole(picture) as unfinished:
        figure.savefig(unfinished, dpi=100)

"""The log of a training: mean loss, log.csv and TensorBoard."""

import contextlib
import csv
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.distributed as dist
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import summary

from dataset import EvaluationPair
from evaluation.scores import upscale_luma
from fsrcnn.devices import rank_and_ranks
from fsrcnn.errors import RequestError
from fsrcnn.files import full_disk_named, written_whole
from fsrcnn.network import Network
from imgproc import to_uint8
from training.run import NotFiniteError

COLUMNS = ("step", "seconds", "learning_rate", "loss", "psnr", "ssim", "psnr_unaveraged")


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of the processes' values; every process has to call it."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value / rank_and_ranks()[1]


class LossMeter:
    """Mean loss since the start, kept on the device: each reading waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._sum, self._count = torch.zeros((), device=device), 0
        self._unread: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        self._unread.append(loss)

    def read(self, step: int) -> float:
        """The mean up to `step`. Raises NotFiniteError, with the first step, where a loss was not finite."""
        if self._unread:
            unread = torch.stack(self._unread)
            self._sum, self._count = self._sum + unread.sum(), self._count + len(unread)
            self._check(unread, step)
            self._unread.clear()
        return mean_over_ranks(self._sum / max(self._count, 1)).item()

    def _check(self, losses: Tensor, step: int) -> None:
        """losses: this process's of the steps up to `step`. Every process finds the first step of any process."""
        finite = losses.isfinite()
        good = finite.to(torch.int32).cumprod(0).sum()
        if dist.is_initialized():
            dist.all_reduce(good, dist.ReduceOp.MIN)
        if (number := int(good)) < len(losses):
            raise NotFiniteError("the loss is", step - len(losses) + 1 + number)


class Log:
    """The log of a run: log.csv and, for TensorBoard, the same values and pictures."""

    def __init__(self, folder: Path, step: int) -> None:
        """Starts the log, or keeps of an existing one what was logged up to `step`. Says which lines are damaged."""
        self._path = folder / "log.csv"
        lines = [",".join(COLUMNS)]
        if step and self._path.is_file():
            lines += self._lines_up_to(step)
        with written_whole(self._path) as unfinished:
            unfinished.write_bytes("".join(f"{line}\r\n" for line in lines).encode())
        self._board = Board(folder / "tensorboard", step)

    def _lines_up_to(self, step: int) -> list[str]:
        header, lines, damaged = read_lines(self._path)
        if header != list(COLUMNS):
            expected = ",".join(COLUMNS)
            raise RequestError(f"{self._path}: its first line is not {expected}; move it away to go on without it")
        if damaged:
            print(f"{self._path}: left out: {damaged} damaged lines", file=sys.stderr)
        return [",".join(line) for line in lines if int(line[0]) <= step]

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def write(self, step: int, seconds: float, values: dict[str, float], pictures: Tensor) -> None:
        """Adds a row of values, named as in COLUMNS, and the pictures, 3 x H x W uint8."""
        with full_disk_named(self._path), self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow({"step": step, "seconds": round(seconds, 1), **values})
        summaries = [summary.scalar(name, value) for name, value in values.items()]
        self._board.write(
            step, [*summaries, summary.image("bicubic, FSRCNN, ground truth", pictures, dataformats="CHW")]
        )


class Board:
    """A file of events for TensorBoard. SummaryWriter's thread prints a traceback where a disk is full, and stops.

    What cannot be written is left out, and that is said once: log.csv holds the same values.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Starts a file that replaces, from `step` on, what earlier files in the folder hold."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"
        self._file: BinaryIO | None = self._path.open("wb")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(event_pb2.Event(file_version="brain.Event:2"), event_pb2.Event(step=step, session_log=start))

    def write(self, step: int, summaries: list[Any]) -> None:
        self._add(*(event_pb2.Event(step=step, summary=each) for each in summaries))

    def _add(self, *events: Any) -> None:
        if self._file is None:
            return
        try:
            records = RecordWriter(self._file)
            for event in events:
                event.wall_time = time.time()
                records.write(event.SerializeToString())
            self._file.flush()
        except OSError as error:
            print(f"{self._path}: {error.strerror}; nothing more is written to it, only to log.csv", file=sys.stderr)
            self.close()

    def close(self) -> None:
        if self._file:
            with contextlib.suppress(OSError):  # said already: what could not be written before cannot be now
                self._file.close()
            self._file = None


def crops(network: Network, pairs: list[EvaluationPair], size: int = 120) -> Tensor:
    """Rows of bicubic, FSRCNN and ground truth of each picture's centre, 3 x H x W in 0..255, for TensorBoard."""
    from torchvision.utils import make_grid  # takes longer to import than a wrong request to be refused

    tiles = []
    for pair in pairs:
        top, left = (max(0, length - size) // 2 for length in pair.hr.shape)
        for image in (pair.bicubic(), upscale_luma(network, pair.lr), pair.hr):
            part = to_uint8(image)[top : top + size, left : left + size]
            tile = np.zeros((size, size), np.uint8)  # black, where the picture is smaller
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(torch.from_numpy(tile[None]))
    return make_grid(tiles, nrow=3)


def read_log(path: Path) -> dict[str, list[float]]:
    """The columns of a training's log.csv, without damaged lines."""
    header, lines, _ = read_lines(path)
    return {field: [float(line[index]) for line in lines] for index, field in enumerate(header)}


def read_lines(path: Path) -> tuple[list[str], list[list[str]], int]:
    """The header and the whole lines of a log.csv, split at its commas, and the number of damaged lines."""
    content = path.read_text(encoding="utf-8", errors="replace").split("\n")
    header, *lines = [line.split(",") for line in content[:-1]] or [[]]
    whole = [line for line in lines if len(line) == len(header) and all(map(_is_number, line)) and line[0].isdecimal()]
    return header, whole, len(lines) - len(whole) + bool(content[-1])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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

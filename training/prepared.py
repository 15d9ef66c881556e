"""What a training reads from its pictures, prepared once in files that are mapped into memory: their luma with the
paper's reductions, the LR pictures, and how often to draw each.

Each of the three is a folder of the cache, there as a whole or not at all. Its name stands for all that decides its
content: the pictures' paths, sizes and times, the settings that matter, and the code. Several processes make it, and
one that was interrupted goes on. This module imports no PyTorch, which these processes would each hold in memory.
"""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from dataset import compressed_versions, psnr_weight, read_image, reduced_size, with_reductions
from fsrcnn.devices import cpu_threads, keep_freed_memory
from fsrcnn.errors import Error, FailureError, RequestError
from fsrcnn.files import full_disk_named
from imgproc import imresize, luma, modcrop
from training.lock import TakenError, locked

Kind = Literal["luma", "lr", "weights"]
TYPES: dict[Kind, type[np.generic]] = {"luma": np.uint8, "lr": np.float32, "weights": np.float64}
MADE_FROM: dict[Kind, tuple[Kind, ...]] = {"luma": (), "lr": ("luma",), "weights": ("luma", "lr")}
TELLS: dict[Kind, str] = {
    "luma": "reading pictures",
    "lr": "reducing pictures",
    "weights": "weighing pictures",
}
ROOT = Path(__file__).parents[1]
CODE = "imgproc.py dataset.py fsrcnn/luma.py fsrcnn/resize.py training/prepared.py".split()  # decides the content
VALUES, ABOUT, DONE, UNFINISHED = "values", "about.json", "done", ".unfinished"
AT_LEAST = 4_000_000  # pixels that are worth a process of their own
MOST_PROCESSES = 16
SECONDS_BETWEEN_RECORDS = 5.0
SECONDS_BETWEEN_LOOKS = 0.2  # at what another process makes
HEAD_START = 1.0  # seconds that the first of several processes has to take the lock
LOCK = ".lock"
HELD = "prepares the same pictures"
GIGA = 1e9


class Wanted(NamedTuple):
    """Which pictures, and what is made of them."""

    paths: tuple[Path, ...]
    upscale_factor: int
    smallest: int
    """HR pixels that a picture, or its reduction, must be high and wide: the size of a patch."""
    reductions: tuple[float, ...] = ()
    weighted: bool = False
    """Whether to make the weights of `psnr_weight`."""
    qualities: tuple[int, ...] = ()
    """JPEG qualities: for each, one more version of every LR picture in place of the one that is not compressed."""
    seed: int = 0
    """Of the compression."""


@dataclass(frozen=True)
class Pictures:
    """Training pictures in mapped files: read-only, all pictures flat and end to end."""

    upscale_factor: int
    qualities: tuple[int, ...]
    hr: NDArray[np.uint8]
    lr: NDArray[np.float32]  # luma in 0..255, not rounded; of each picture, one after the other, its qualities
    hr_start: NDArray[np.int64]  # where each picture begins in hr
    hr_size: NDArray[np.int64]  # N x 2: its height and width there, of which LR is modcrop's part
    lr_start: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    number: int  # of pictures, without their reductions
    too_small: tuple[Path, ...]  # pictures that are left out

    @property
    def bytes(self) -> int:
        return self.hr.nbytes + self.lr.nbytes


def prepare(wanted: Wanted, folder: Path, first: bool = True) -> Pictures:
    """The training pictures, made in `folder` unless they are there; versions smaller than `smallest` are left out.
    Waits while another process makes them.

    first: of several processes that ask at once, the one that makes them and says so. Raises RequestError if every
    picture is too small, FailureError where the disk has too little room, OSError for a picture that cannot be read.
    """
    preparation = Preparation(wanted, folder, _stamps(wanted.paths))
    preparation.check()
    kinds: tuple[Kind, ...] = ("luma", "lr", "weights") if wanted.weighted else ("luma", "lr")
    if missing := [kind for kind in kinds if not preparation.is_there(kind)]:
        _make_folder(folder)
        if first:
            _remove_outdated(preparation, kinds)
            _say_size(preparation, missing)
        else:
            time.sleep(HEAD_START)
        for kind in missing:
            _make(preparation, kind, first)
    return preparation.pictures()


def _stamps(paths: tuple[Path, ...]) -> tuple[tuple[int, int, int], ...]:
    """The size of each file, the time that it says its content is of, and the system's own time of its last change (on
    Windows: of its creation): archives and `cp -p` set the first time, and all BMP files of one shape have one size.
    """
    every = (path.stat() for path in paths)
    return tuple((status.st_size, status.st_mtime_ns, status.st_ctime_ns) for status in every)


@cache
def _code() -> str:
    """Stands for the code and the libraries that decide what is made."""
    content = b"".join((ROOT / name).read_bytes() for name in CODE)
    return _digest([hashlib.sha256(content).hexdigest(), cv2.__version__, np.__version__])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Preparation:
    """What is made of the pictures, and where."""

    wanted: Wanted
    cache: Path
    stamps: tuple[tuple[int, int, int], ...]

    def folder(self, kind: Kind) -> Path:
        """Where a kind lies: its name, what decides it, and the stamps of the pictures."""
        return self.cache / f"{self.identity(kind)}-{_digest(self.stamps)}"

    def identity(self, kind: Kind) -> str:
        """A name for what decides the content, but for the stamps of the pictures."""
        wanted = self.wanted
        decides: list[Any] = [_code(), [str(path.absolute()) for path in wanted.paths], wanted.reductions]
        if wanted.qualities:
            decides.append("colour")
        if kind == "luma":
            return f"luma-{_digest(decides)}"
        if wanted.qualities:
            decides += [wanted.qualities, wanted.seed, wanted.smallest]
        return f"{kind}_x{wanted.upscale_factor}-{_digest(decides)}"

    @property
    def versions(self) -> int:
        """How many sizes there are of each picture."""
        return 1 + len(self.wanted.reductions)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Height and width of each version of each picture, one after the other."""
        sizes = self._about("luma")["sizes"] if self.is_there("luma") else map(picture_size, self.wanted.paths)
        versions = (reduced_size(height, width, self.wanted.reductions) for height, width in sizes)
        return np.array([size for of_picture in versions for size in of_picture], dtype=np.int64).reshape(-1, 2)

    def is_kept(self) -> NDArray[np.bool_]:
        """Which versions are large enough for a patch."""
        return self.sizes.min(axis=1) >= self.wanted.smallest

    def is_reduced(self) -> NDArray[np.bool_]:
        """Of which versions there is LR. It does not depend on the size of patches where nothing is compressed."""
        return self.is_kept() if self.wanted.qualities else self.sizes.min(axis=1) >= self.wanted.upscale_factor

    def check(self) -> None:
        """Raises RequestError if every picture is too small."""
        if not self.is_kept().any():
            side = self.wanted.smallest
            raise RequestError(f"train_sets: no picture is {side} x {side}, the size of a patch; lower patch_size")

    def is_there(self, kind: Kind) -> bool:
        """Whether it is there, and as long as it was written."""
        try:
            length = self._about(kind)["bytes"]
            return (self.folder(kind) / VALUES).stat().st_size == length
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _about(self, kind: Kind) -> dict[str, Any]:
        return json.loads((self.folder(kind) / ABOUT).read_text(encoding="utf-8"))

    def lengths(self, kind: Kind) -> NDArray[np.int64]:
        """How many values each version of each picture has, one after the other."""
        if kind == "weights":
            return np.ones(len(self.sizes), dtype=np.int64)
        if kind == "luma":
            return self.sizes.prod(axis=1)
        copies = max(len(self.wanted.qualities), 1)
        return copies * (self.sizes // self.wanted.upscale_factor).prod(axis=1) * self.is_reduced()

    def starts(self, kind: Kind) -> NDArray[np.int64]:
        """Where each version begins, and where the last one ends."""
        return np.concatenate([np.zeros(1, dtype=np.int64), self.lengths(kind).cumsum()])

    def bytes(self, kind: Kind) -> int:
        return int(self.lengths(kind).sum()) * np.dtype(TYPES[kind]).itemsize

    def mapped(self, kind: Kind) -> NDArray[Any]:
        """The values, mapped into memory, read-only."""
        return np.memmap(self.folder(kind) / VALUES, TYPES[kind], mode="r").view(np.ndarray)

    def pictures(self) -> Pictures:
        """What has been made, as far as it is large enough."""
        wanted, kept = self.wanted, self.is_kept()
        return Pictures(
            wanted.upscale_factor,
            wanted.qualities,
            self.mapped("luma"),
            self.mapped("lr"),
            self.starts("luma")[:-1][kept],
            self.sizes[kept],
            self.starts("lr")[:-1][kept],
            self.mapped("weights")[kept] if wanted.weighted else None,
            int(kept[:: self.versions].sum()),
            tuple(path for path, large in zip(wanted.paths, kept[:: self.versions], strict=True) if not large),
        )


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture's file, from its first bytes where these tell. Raises OSError as `read_image`."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # it warns of large pictures
            return image.height, image.width
    except Exception:  # damaged files raise errors of many types; reading the whole picture says what is wrong
        height, width = read_image(path).shape[:2]
        return height, width


class Maker:
    """Makes what a kind holds of each picture."""

    def __init__(self, preparation: Preparation, kind: Kind) -> None:
        self.preparation, self.wanted, self.kind = preparation, preparation.wanted, kind
        self.sizes, self.is_reduced = preparation.sizes, preparation.is_reduced()
        self.place = preparation.starts(kind)
        before = MADE_FROM[kind]
        self.start = {each: preparation.starts(each) for each in before}
        self.made = {each: preparation.mapped(each) for each in before}

    def write(self, index: int) -> None:
        """Writes what there is of a picture into its place of the unfinished file."""
        values = np.concatenate(self._values(index)).astype(TYPES[self.kind], copy=False)
        versions = self._versions(index)
        start, end = self.place[versions.start], self.place[versions.stop]
        if len(values) != end - start:
            raise RequestError(f"{self.wanted.paths[index]}: was changed while it was read; run the command again")
        path = unfinished(self.preparation.folder(self.kind)) / VALUES
        with full_disk_named(path), path.open("r+b") as file:
            file.seek(int(start) * values.itemsize)
            file.write(values.data)

    def _versions(self, index: int) -> range:
        return range(index * self.preparation.versions, (index + 1) * self.preparation.versions)

    def _values(self, index: int) -> list[NDArray[Any]]:
        match self.kind:
            case "luma":
                return [luma(image).ravel() for image in self._read(index)]
            case "lr":
                return self._lr(index)
            case "weights":
                return [np.array([self._weight(version)]) for version in self._versions(index)]

    def _read(self, index: int) -> list[NDArray[np.uint8]]:
        """A picture and its reductions, in colour for compression."""
        image = read_image(self.wanted.paths[index])
        return with_reductions(image if self.wanted.qualities else luma(image), self.wanted.reductions)

    def _lr(self, index: int) -> list[NDArray[Any]]:
        """The LR luma of each version, or one for each quality."""
        scale, qualities, lr = self.wanted.upscale_factor, self.wanted.qualities, [np.empty(0, np.float32)]
        images = self._read(index) if qualities else [self._hr(version) for version in self._versions(index)]
        for version, image in zip(self._versions(index), images, strict=True):
            if not self.is_reduced[version]:
                continue
            lr_image = imresize(modcrop(image, scale), 1 / scale)
            number = int(self.is_reduced[:version].sum())  # among the pictures that are large enough
            random = np.random.default_rng((self.wanted.seed, number, 0))
            made = compressed_versions(lr_image, qualities, random) if qualities else [lr_image]
            lr += [each.astype(np.float32).ravel() for each in made]
        return lr

    def _hr(self, version: int) -> NDArray[np.uint8]:
        start = self.start["luma"][version]
        height, width = self.sizes[version]
        return self.made["luma"][start : start + height * width].reshape(height, width)

    def _weight(self, version: int) -> float:
        if not self.is_reduced[version]:
            return 0.0
        hr = modcrop(self._hr(version), self.wanted.upscale_factor)
        height, width = (length // self.wanted.upscale_factor for length in hr.shape)
        middle = len(self.wanted.qualities) // 2
        start = self.start["lr"][version] + middle * height * width
        return psnr_weight(self.made["lr"][start : start + height * width].reshape(height, width), hr)


def _make_folder(folder: Path) -> None:
    """Raises RequestError where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RequestError(f"cache_dir: cannot write to {folder} ({error.strerror}); name another folder") from error


def unfinished(folder: Path) -> Path:
    """What a folder is called before it is whole."""
    return folder.with_name(folder.name + UNFINISHED)


def _remove_outdated(preparation: Preparation, kinds: tuple[Kind, ...]) -> None:
    """Removes what was made of the same files when they were others. A training that still reads it keeps it."""
    for kind in kinds:
        folder = preparation.folder(kind)
        for other in preparation.cache.glob(f"{preparation.identity(kind)}-*"):
            if other.name.startswith(folder.name) or other.name.endswith(LOCK):
                continue
            with contextlib.suppress(TakenError), locked(_lock_of(other), HELD):
                (other / ABOUT).unlink(missing_ok=True)
                shutil.rmtree(other, ignore_errors=True)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name.removesuffix(UNFINISHED) + LOCK)


def _say_size(preparation: Preparation, missing: list[Kind]) -> None:
    """Says how much is going to be written. Raises FailureError where there is not room for it."""
    folder, pictures = preparation.cache, len(preparation.wanted.paths)
    size = sum(preparation.bytes(kind) for kind in missing)
    left = size - sum(_taken(unfinished(preparation.folder(kind))) for kind in missing)
    free, others = shutil.disk_usage(folder).free, sum(map(_taken, folder.iterdir())) - (size - left)
    pixels = int(preparation.sizes[:: preparation.versions].prod(axis=1).sum())
    what = f"{pictures:,} pictures of {pixels / 1e6:,.1f} megapixels are prepared once"
    if preparation.wanted.reductions:
        what += f", with reductions by {', '.join(map(str, preparation.wanted.reductions))}"
    print(f"{folder}: {what}: {_gigabytes(size)}, of {_gigabytes(free)} free", end="")
    print(
        f"; {_gigabytes(others)} are there of other trainings (make clean-cache)" if others > GIGA else "", flush=True
    )
    if left > free:
        less = "take `--reductions none`, " if preparation.wanted.reductions else ""
        raise FailureError(
            f"{folder}: {_gigabytes(left)} are needed for the training pictures and {_gigabytes(free)} are free; "
            f"make room, {less}or name another cache_dir"
        )


def _taken(folder: Path) -> int:
    """Bytes that a folder's files take on the disk."""
    taken = 0
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed or removed by a process that prepares others
            status = path.stat()
            taken += 512 * status.st_blocks if hasattr(status, "st_blocks") else status.st_size
    return taken


def _gigabytes(number: int) -> str:
    return f"{number / GIGA:,.2f} GB"


def _make(preparation: Preparation, kind: Kind, speaks: bool) -> None:
    """Makes a kind unless it is there by the time that this process may."""
    folder = preparation.folder(kind)
    with ExitStack() as stack:
        _wait_for(stack, _lock_of(folder), speaks)
        if preparation.is_there(kind):
            return
        shutil.rmtree(folder, ignore_errors=True)  # where it is not as it was written
        about = {"bytes": preparation.bytes(kind), "pictures": [str(path) for path in preparation.wanted.paths]}
        about["sizes"] = preparation.sizes[:: preparation.versions].tolist()
        with full_disk_named(unfinished(folder)):
            _write_values(preparation, kind, speaks)
            _write_synced(unfinished(folder) / ABOUT, json.dumps(about).encode())
            (unfinished(folder) / DONE).unlink()
            unfinished(folder).replace(folder)


def _wait_for(stack: ExitStack, folder: Path, speaks: bool) -> None:
    """Holds the folder until the stack's end, as soon as no other process does."""
    told = not speaks
    while True:
        try:
            stack.enter_context(locked(folder, HELD))
            return
        except TakenError as error:
            if not told:
                print(f"{error}; waiting for it", flush=True)
            told = True
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _write_values(preparation: Preparation, kind: Kind, speaks: bool) -> None:
    """Writes the values of all pictures. What has been written is recorded every few seconds, and at the end."""
    folder, pictures = unfinished(preparation.folder(kind)), len(preparation.wanted.paths)
    folder.mkdir(parents=True, exist_ok=True)
    length = preparation.bytes(kind)
    done = _done(folder, pictures, length)
    with (folder / VALUES).open("ab") as file:
        file.truncate(length)
        pixels = preparation.sizes[:: preparation.versions].prod(axis=1)
        interval = 0.1 if sys.stderr.isatty() else 30.0  # seconds: a log file keeps every line
        recorded = time.monotonic()
        bar = tqdm(
            desc=TELLS[kind],
            total=int(pixels.sum()),
            initial=int(pixels[done > 0].sum()),
            unit="pixel",
            unit_scale=True,
            mininterval=interval,
            delay=1,
            leave=False,
            disable=not speaks,
        )
        try:
            with bar:
                for index in made(preparation, kind, np.flatnonzero(done == 0).tolist()):
                    done[index] = 1
                    bar.update(int(pixels[index]))
                    if time.monotonic() > recorded + SECONDS_BETWEEN_RECORDS:
                        _record(file.fileno(), done, folder / DONE)
                        recorded = time.monotonic()
        finally:
            _record(file.fileno(), done, folder / DONE)


def _done(folder: Path, pictures: int, length: int) -> NDArray[np.uint8]:
    """For each picture, whether an interrupted process has written and recorded it. length: bytes of the values: where
    the file has others, it is not the one that was recorded.
    """
    values, record = folder / VALUES, folder / DONE
    is_recorded = record.is_file() and values.is_file() and values.stat().st_size == length
    content = record.read_bytes() if is_recorded else b""
    return np.frombuffer(content if len(content) == pictures else bytes(pictures), np.uint8).copy()


def _record(values: int, done: NDArray[np.uint8], path: Path) -> None:
    """Records what is done, once it is on the disk. values: the open file of the values."""
    content = done.tobytes()
    os.fsync(values)
    _write_synced(path, content)


def _write_synced(path: Path, content: bytes) -> None:
    """Writes a file that is the old or the new one, also after the machine has stopped."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def made(preparation: Preparation, kind: Kind, indices: list[int]) -> Iterator[int]:
    """Writes what there is of these pictures; yields each one's index when it is written."""
    pixels = int(preparation.sizes[:: preparation.versions].prod(axis=1)[indices].sum())
    processes = min(cpu_threads(), MOST_PROCESSES, pixels // AT_LEAST, len(indices))
    if processes > 1:
        yield from _made_by_processes(preparation, kind, indices, processes)
        return
    maker = Maker(preparation, kind)
    for index in indices:
        maker.write(index)
        yield index


def _made_by_processes(preparation: Preparation, kind: Kind, indices: list[int], processes: int) -> Iterator[int]:
    answers: Queue[int | Exception] = Queue()
    with ExitStack() as stack:
        for number in range(processes):
            job = pickle.dumps((preparation, kind, indices[number::processes]))
            Thread(target=let_work, args=(stack.enter_context(started_process()), job, answers), daemon=True).start()
        for _ in indices:
            answer = answers.get()
            if isinstance(answer, Exception):
                raise answer
            yield answer


@contextmanager
def started_process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does `work`, and is killed at the end of the block."""
    command = [sys.executable, "-c", "from training.prepared import work; work()"]
    # In a session of its own: Ctrl-C is for the process that started it.
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def let_work(process: "subprocess.Popen[bytes]", job: bytes, answers: "Queue[int | Exception]") -> None:
    """Gives a process its job and passes on what it answers; an error too, should it end before it is done."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(EOFError, pickle.UnpicklingError, ValueError, OSError):  # of one that ends, or is killed
        process.stdin.write(job)
        process.stdin.close()
        while True:
            answers.put(pickle.load(process.stdout))
    if code := process.wait():
        answers.put(FailureError(f"a process that prepares pictures ended ({code}); run the command again: it goes on"))


def work() -> None:
    """What such a process does: the job that it reads, telling of each picture that is written, or of an error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows; the process that started this one ends it
    cv2.setNumThreads(1)
    keep_freed_memory()
    preparation, kind, indices = pickle.load(sys.stdin.buffer)
    try:
        maker = Maker(preparation, kind)
        for index in indices:
            maker.write(index)
            _tell(index)
    except BrokenPipeError:  # the process that started this one is gone
        sys.exit(1)
    except (Error, OSError, MemoryError) as error:
        _tell(error)


def _tell(answer: int | Exception) -> None:
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()

"""Measures upscale.py from file to file, a folder of pictures and a video: `python -m benchmarks.files`.

As it is, and with --restore 0 in integers and in float32: a weights file without ranges has no integer form.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import skimage.data
from llvmlite import binding
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.report import files_table
from dataset import write_image
from fsrcnn.devices import cpu_threads
from fsrcnn.errors import FailureError, Parser, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import VARIANTS
from fsrcnn.integers import PEAK_STEPS, LumaSteps
from fsrcnn.network import LumaPlane, Network, load_network
from fsrcnn.weights import Weights, load_weights, save_weights, shipped_weights
from imgproc import luma

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "files.json"
ROUNDS = 5
SCALE = 2
KINDS = ("PNG", "JPEG")
PICTURES, PICTURE_SIZE = 24, (640, 480)
LARGE_SIDE = 8000
FRAMES, FRAME_SIZE, RATE = 300, (640, 360), 30
AUTO, INTEGERS, FLOATS = "", ", restore 0", ", restore 0, float32"  # what follows a task's name


def crops(number: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Crops of a photograph, size = (width, height), each further right and down than the one before."""
    photograph = cv2.resize(skimage.data.astronaut(), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    (width, height), steps = size, np.linspace(0, 1, number)
    corners = [(int(step * (1024 - height)), int(step * (1024 - width))) for step in steps]
    return [photograph[top : top + height, left : left + width] for top, left in corners]


def make_pictures(folder: Path, suffix: str) -> Path:
    folder.mkdir()
    for i, picture in enumerate(crops(PICTURES, PICTURE_SIZE)):
        write_image(folder / f"{i:02}{suffix}", picture)
    return folder


def encode(path: Path, frames: Iterable[av.VideoFrame], size: tuple[int, int]) -> None:
    """H.264 with the encoder's defaults, as upscale.py encodes."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height = size
        for frame in frames:
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def make_video(path: Path) -> None:
    frames = [av.VideoFrame.from_ndarray(picture, "rgb24") for picture in crops(FRAMES, FRAME_SIZE)]
    encode(path, [frame.reformat(format="yuv420p") for frame in frames], FRAME_SIZE)


def bicubic_video(source: Path, target: Path) -> None:
    """Enlarges a video without a network: decodes, enlarges by FFmpeg's bicubic interpolation, encodes."""
    width, height = (SCALE * length for length in FRAME_SIZE)
    with av.open(str(source)) as video:
        video.streams.video[0].thread_type = "AUTO"
        enlarged = (frame.reformat(width, height, interpolation="BICUBIC") for frame in video.decode(video=0))
        encode(target, enlarged, (width, height))


def upscale(*arguments: str | Path) -> None:
    """Runs upscale.py as a user does. Raises FailureError if it fails."""
    command = [sys.executable, ROOT / "upscale.py", *arguments, "--upscale-factor", str(SCALE), "--overwrite"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailureError(f"upscale.py ended with {done.returncode}: {done.stderr.strip()}")


def run_network(network: Network, planes: list[LumaPlane]) -> None:
    """Enlarges the same pictures' luma, already in memory: the upper bound of upscale.py's speed."""
    list(network.pool.map(lambda plane: network.rows(plane, 0, len(plane)), planes))


def run_in_steps(network: Network, planes: list[LumaSteps]) -> None:
    """The same in integers."""
    list(network.pool.map(lambda plane: network.rows_in_steps(plane, 0, len(plane)), planes))


def without_ranges(path: Path, folder: Path) -> Path:
    """A copy of a weights file that runs in float32."""
    weights = load_weights(path)
    copy = folder / path.name
    save_weights(Weights(weights.sizes, weights.parameters), copy)
    return copy


def cpu_seconds() -> float:
    """The processor's time of this process and of the children that have ended."""
    return sum(os.times()[:4])


def seconds(task: Callable[[], None]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    start, before = time.perf_counter(), cpu_seconds()
    task()
    return time.perf_counter() - start, cpu_seconds() - before


def main() -> None:
    """Times upscale.py on a folder of pictures and on a video and writes results/benchmark/files.json."""
    Parser(description=__doc__).parse_args()
    with TemporaryDirectory() as name:
        results, video, one, large = (Path(name) / each for each in ("results", "video.mp4", "one.png", "large.png"))
        folders = {kind: make_pictures(Path(name) / kind, f".{kind.lower()}") for kind in KINDS}
        make_video(video)
        write_image(one, np.zeros((16, 16, 3), np.uint8))
        write_image(large, cv2.resize(skimage.data.astronaut(), (LARGE_SIDE, LARGE_SIDE)))
        planes = [luma(picture).astype(np.float32) / np.float32(255) for picture in crops(PICTURES, PICTURE_SIZE)]
        steps = [np.floor(plane * PEAK_STEPS + 0.5).astype(np.int16) for plane in planes]
        tasks: dict[str, Callable[[], None]] = {
            "start": lambda: upscale(one, "--output", results),
            "video, bicubic": lambda: bicubic_video(video, results / "bicubic.mp4"),
        }
        for variant in VARIANTS:
            path = shipped_weights(variant, SCALE)
            network, floats = load_network(path, SCALE, "cpu"), without_ranges(path, Path(name))
            tasks[f"network, {variant}"] = partial(run_network, network, planes)
            if network.in_integers:
                tasks[f"network, {variant}, integers"] = partial(run_in_steps, network, steps)
            flags = ("--output", results, "--variant", variant)
            tasks[f"large, {variant}"] = partial(upscale, large, *flags)
            clean = {AUTO: (), INTEGERS: ("--restore", "0"), FLOATS: ("--restore", "0", "--weights", floats)}
            for kind, source in (folders | {"video": video}).items():
                for way in (AUTO,) if kind == "JPEG" else clean:
                    tasks[f"{kind}, {variant}{way}"] = partial(upscale, source, *flags, *clean[way])
        rounds = [{name: seconds(task) for name, task in tasks.items()} for _ in tqdm(range(ROUNDS), leave=False)]
    times, cpu_times = ({name: [each[name][i] for each in rounds] for name in tasks} for i in range(2))

    machine = f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})"
    settings = {"processor": machine, "threads": cpu_threads(), "scale": SCALE}
    sizes = {
        "pictures": {"number": PICTURES, "width": PICTURE_SIZE[0], "height": PICTURE_SIZE[1]},
        "video": {"number": FRAMES, "width": FRAME_SIZE[0], "height": FRAME_SIZE[1]},
        "large": {"number": 1, "width": LARGE_SIDE, "height": LARGE_SIDE},
    }
    said = settings | sizes | {"seconds": times, "cpu_seconds": cpu_times}
    write_json(RESULT, said)
    print(files_table(said))


if __name__ == "__main__":
    run_script(main)

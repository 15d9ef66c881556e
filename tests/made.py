"""What tests are made with: networks, noise, picture files and clips; and skipping where a program is missing."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pyvips
import skimage.data
import torch
from numpy.typing import NDArray
from torch import nn

from dataset import VALIDATION_NAMES, VALIDATION_SET, write_image
from fsrcnn.geometry import variant_sizes
from fsrcnn.native.target import Target, host
from fsrcnn.network import Network, load_network
from fsrcnn.pytorch import SubpixelFSRCNN
from fsrcnn.videos.frames import bits_of, sample_planes
from fsrcnn.videos.target import own_priority
from fsrcnn.weights import Weights, load_weights, shipped_weights
from model import FSRCNN, initialise
from training.patches import TrainingPatches
from training.prepared import Wanted, prepare

WIDTH, HEIGHT, FRAMES = 64, 48, 10
TIMES = [0, 3, 4, 9, 12, 13, 20, 22, 29, 31]  # of the frames, in units of 1/50 s: a variable frame rate
TIME_BASE = Fraction(1, 50)


def random_network(scale: int, variant: str = "fsrcnn") -> FSRCNN:
    """A network whose weights, biases and slopes are all random and large enough to show in the output."""
    torch.manual_seed(0)
    model = FSRCNN(**variant_sizes(variant, scale)._asdict())
    initialise(model, "msra")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=max(parameter.detach().std(correction=0).item(), 0.05))
    return model


# Windows has neither limits on the size of files nor signals from other processes, and PyTorch's torchrun fails there.
posix = pytest.mark.skipif(os.name != "posix", reason="left out: not on Windows")


@contextmanager
def started(command: Sequence[str | Path], **settings: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process, which is killed at the end, whatever happens."""
    with subprocess.Popen(command, **settings) as process:
        try:
            yield process
        finally:
            process.kill()


def small_files(limit: int | None) -> None:
    """Makes the kernel refuse files of this process beyond `limit` bytes, as on a full disk; None: lifts the limit."""
    import resource  # not on Windows

    highest = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (highest if limit is None else limit, highest))


def needed(there: bool, what: str) -> None:
    """Skips a test if a program that it needs is missing; on CI none may be (conftest.py)."""
    if not there and os.environ.get("NOTHING_MISSING"):
        pytest.fail(f"{what} is missing")
    if not there:
        pytest.skip(f"left out: {what} is missing")


@lru_cache
def shipped(variant: str, scale: int) -> SubpixelFSRCNN:
    """The shipped network in PyTorch's operations."""
    return SubpixelFSRCNN(load_weights(shipped_weights(variant, scale)))


@lru_cache
def network(variant: str, scale: int) -> Network:
    """The shipped network as upscale.py runs it on a CPU."""
    return load_network(shipped_weights(variant, scale), scale, "cpu")


def without_integers(weights: Weights) -> Weights:
    """The same without the ranges of their integer form, so that 8-bit pictures are enlarged in float32 too."""
    return Weights(weights.sizes, weights.parameters)


def other_targets() -> list[Target]:
    """Targets whose code this machine runs: with AVX2 alone on x86-64, and without fused multiply-add."""
    here = host()
    others = [here._replace(fma=False)]
    if here.triple.startswith("x86_64"):
        others.append(here._replace(cpu="x86-64-v3", features="", lanes=8, registers=16))
        others.append(here._replace(cpu="x86-64-v2", features="", lanes=4, registers=16, fma=False))
    return others


def noise(*shape: int, dtype: type = np.uint8) -> NDArray[np.unsignedinteger]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def save(path: Path, pixels: NDArray[np.unsignedinteger]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(pixels).write_to_file(str(path))
    return path


def picture(pixels: NDArray[np.unsignedinteger]) -> pyvips.Image:
    """The picture as read from a file with h x w (x 1 to 4) samples."""
    grey = pixels.ndim == 2 or pixels.shape[2] < 3
    deep = pixels.dtype == np.uint16
    kind = ("grey16" if deep else "b-w") if grey else ("rgb16" if deep else "srgb")
    return pyvips.Image.new_from_array(pixels, interpretation=kind)


def load(path: Path) -> NDArray[np.unsignedinteger]:
    return pyvips.Image.new_from_file(str(path)).numpy()


def save_data(folder: Path) -> Path:
    """Writes training pictures from three of scikit-image's photographs, and validation pictures from a fourth."""
    for name, image in (
        ("astronaut", skimage.data.astronaut()),
        ("chelsea", skimage.data.chelsea()),
        ("motorcycle", skimage.data.stereo_motorcycle()[0]),
    ):
        write_image(folder / "Train" / f"{name}.png", image[:300, :400])
    coffee = skimage.data.coffee()
    for index, name in enumerate(sorted(VALIDATION_NAMES)):
        top, left = 90 * (index // 5), 110 * (index % 5)
        write_image(folder / VALIDATION_SET / f"{name}.png", coffee[top : top + 80, left : left + 100])
    return folder


def patches_of(
    folder: Path,
    images: list[NDArray[np.uint8]],
    scale: int,
    patch_size: int,
    seed: int = 0,
    margin: int = 0,
    **wanted: Any,
) -> TrainingPatches:
    """The patches of these pictures, written to the folder and prepared there; wanted: see `Wanted`."""
    paths = tuple(folder / "pictures" / f"{index}.png" for index in range(len(images)))
    for path, image in zip(paths, images, strict=True):
        write_image(path, image)
    smallest = scale * (patch_size + 2 * margin)
    pictures = prepare(Wanted(paths, scale, smallest, seed=seed, **wanted), folder / "cache")
    return TrainingPatches(pictures, patch_size, seed, margin=margin)


def moving_pattern(index: int, height: int, width: int, bits: int) -> np.ndarray:
    """A plane of a moving pattern with edges, texture and values over the whole range of 8 or 10 bits."""
    y, x = np.mgrid[:height, :width]
    wave = 0.5 + 0.5 * np.sin((x + 2 * index) * 0.4) * np.cos(y * 0.3 - index)
    return np.round((2**bits - 1) * np.where((x + index) % 23 < 4, 1.0 - wave, wave)).astype(np.uint16)


def make_clip(
    path: Path,
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "ffv1",
    times: list[int] = TIMES,
    rotation: int = 0,
    tone: bool = False,
    subtitle: bool = False,
    **settings: Any,
) -> Path:
    """Writes a clip of moving patterns; `settings` are set on its encoder."""
    with own_priority(), av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=settings.pop("options", {}))
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = stream.time_base = TIME_BASE
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(rotation)
        if tone:
            sound = output.add_stream("aac", rate=8000, layout="mono")
            sound.metadata["language"] = "fin"
        if subtitle:
            lines = output.add_mux_stream("subrip", time_base=Fraction(1, 1000))
            lines.metadata["language"] = "swe"
            lines.disposition = av.stream.Disposition.forced
            output.add_attachment("letters.ttf", "application/x-truetype-font", b"a font")
        output.metadata["title"] = "A moving pattern"
        output.set_chapters(
            [{"id": 1, "start": 0, "end": 300, "time_base": Fraction(1, 1000), "metadata": {"title": "All of it"}}]
        )
        for index, time in enumerate(times):
            frame = av.VideoFrame(*size, pixel_format)
            for plane in sample_planes(frame):
                plane[:] = moving_pattern(index, *plane.shape, bits_of(frame))
            frame.pts, frame.time_base = time, TIME_BASE
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if tone:
            wave = np.sin(np.arange(8000 * times[-1] // 50) * 0.3, dtype=np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
            output.mux(sound.encode(frame))
            output.mux(sound.encode())
        if subtitle:
            packet = av.Packet(b"A line of text")
            packet.pts = packet.dts = 100
            packet.duration, packet.time_base, packet.stream = 200, Fraction(1, 1000), lines
            output.mux(packet)
    return path

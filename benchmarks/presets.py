"""What the presets of encoders cost and are worth at 1280 x 720: `python -m benchmarks.presets`.

Films are made from training photographs: a camera moves over several of them, side by side, and another one moves
across the picture. They are reduced, compressed as films are (x264, CRF 18), enlarged, and encoded by each preset at
three constant rate factors. PSNR and SSIM of the luma are against the frames that were reduced, at the size in bytes of
the encoder's usual preset.
"""

import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from dataset import VALIDATION_NAMES, read_image
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import VARIANTS
from fsrcnn.network import Network, load_network
from fsrcnn.videos.frames import enlarged, sample_planes
from fsrcnn.videos.target import own_priority
from fsrcnn.videos.upscale import upscale_video
from fsrcnn.weights import shipped_weights
from imgproc import imresize, psnr, ssim, to_uint8

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "presets.json"
PHOTOGRAPHS = ROOT / "data" / "BSDS200"
SCALE, STRENGTH = 2, 0.1  # the restoring strength of a film of CRF 18
FRAME_SIZE, FRAMES, RATE = (1280, 720), 48, 25
FILMS, ACROSS = 2, 4  # photographs side by side, in rows and columns of so many
STEPS = (5, 3)  # pixels that the camera moves from frame to frame
SCORED = slice(3, None, 11)  # of the frames
PIXEL_FORMAT = "yuv420p"
# By encoder: its usual constant rate factor, other options, the name of the preset's option, and presets, the encoder's
# own default first.
ENCODERS: dict[str, tuple[int, dict[str, str], str, tuple[str, ...]]] = {
    "libx264": (23, {}, "preset", ("medium", "ultrafast", "superfast", "veryfast", "faster", "fast", "slow")),
    "libx265": (28, {"x265-params": "log-level=error"}, "preset", ("medium", "superfast", "veryfast", "fast")),
    "libsvtav1": (35, {}, "preset", ("10", "12", "8", "6")),
    "libvpx-vp9": (32, {"b": "0"}, "cpu-used", ("1", "2", "4", "5")),
}
APART = (-4, 0, 4)  # the rate factors of a preset, from the usual one

# A process between, as a process's peak begins with what its parent has; the peak of the one that it runs, in KiB.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


class Film(NamedTuple):
    """truths: luma of the frames that are scored; content: the film's file; frames: enlarged, all of them."""

    truths: list[NDArray[np.uint8]]
    content: bytes
    frames: list[av.VideoFrame]


class Encoded(NamedTuple):
    """size: bytes a frame; seconds: of all cores, a frame; scores are means. loss: PSNR against what was encoded."""

    crf: int
    size: float
    seconds: float
    psnr: float
    ssim: float
    loss: float


def photographs(number: int) -> list[NDArray[np.uint8]]:
    """Training photographs, R, G, B, the wide ones, in the order of their names."""
    paths = (path for path in sorted(PHOTOGRAPHS.glob("*.png")) if path.stem not in VALIDATION_NAMES)
    wide = (picture for picture in map(read_image, paths) if picture.shape[1] > picture.shape[0])
    return [next(wide) for _ in range(number)]


def moving(pictures: list[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The frames of a film over ACROSS x ACROSS pictures, and one more that moves the other way."""
    *tiles, other = pictures
    rows = [np.concatenate(tiles[ACROSS * row : ACROSS * (row + 1)], axis=1) for row in range(ACROSS)]
    ground, (width, height) = np.concatenate(rows), FRAME_SIZE
    for number in range(FRAMES):
        left, top = (step * number for step in STEPS)
        frame = ground[top : top + height, left : left + width].copy()
        at = 2 * number
        frame[at : at + other.shape[0], 700 - 3 * number :][:, : other.shape[1]] = other
        yield frame


def made_film(pictures: list[NDArray[np.uint8]], network: Network) -> Film:
    truths = list(moving(pictures))
    small = [av.VideoFrame.from_ndarray(to_uint8(imresize(frame, 1 / SCALE)), "rgb24") for frame in truths]
    content = encode([frame.reformat(format=PIXEL_FORMAT) for frame in small], "libx264", {"crf": "18"})
    large = [enlarged(frame, network, full_range=False) for frame in decoded(content)]
    lumas = [av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format=PIXEL_FORMAT) for frame in truths[SCORED]]
    return Film([sample_planes(frame)[0].astype(np.uint8) for frame in lumas], content, large)


def encode(frames: list[av.VideoFrame], codec: str, options: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with own_priority(), av.open(content, "w", format="matroska") as output:
        stream = cast(VideoStream, output.add_stream(codec, rate=RATE, options=options))
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, PIXEL_FORMAT
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return content.getvalue()


def decoded(content: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(content), "r") as container:
        return list(container.decode(video=0))


def cpu_seconds() -> float:
    """Of this process, all threads."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def encoded(films: list[Film], codec: str, options: dict[str, str], crf: int) -> Encoded:
    started = cpu_seconds()
    contents = [encode(film.frames, codec, options | {"crf": str(crf)}) for film in films]
    seconds, number = cpu_seconds() - started, FRAMES * len(films)
    scores = []
    for film, content in zip(films, contents, strict=True):
        for frame, sr, truth in zip(decoded(content)[SCORED], film.frames[SCORED], film.truths, strict=True):
            luma = sample_planes(frame)[0]
            scores.append((psnr(luma, truth), ssim(luma, truth), psnr(luma, sample_planes(sr)[0])))
    return Encoded(crf, sum(map(len, contents)) / number, seconds / number, *np.mean(scores, axis=0).tolist())


def at_size(points: list[Encoded], size: float) -> dict[str, float]:
    """The scores and the CPU's time at so many bytes a frame, between the rate factors."""
    points = sorted(points, key=lambda point: point.size)
    sizes = np.log([point.size for point in points])
    found = {}
    for name in ("seconds", "psnr", "ssim", "loss"):
        values = [getattr(point, name) for point in points]
        found[name] = float(np.polyval(np.polyfit(sizes, values, 2), np.log(size)))
    return found


def describe(codec: str, films: list[Film]) -> Iterator[dict[str, Any]]:
    """A row of the table for each preset: all that was measured, and what it is at the usual preset's size."""
    usual, options, name, presets = ENCODERS[codec]
    size = 0.0
    for preset in presets:
        points = [encoded(films, codec, options | {name: preset}, usual + apart) for apart in APART]
        size = size or points[APART.index(0)].size
        measured = [point._asdict() for point in points]
        yield {"codec": codec, "preset": preset, "size": size, "at_size": at_size(points, size), "measured": measured}


def shares(film: Film, folder: Path) -> dict[str, float]:
    """CPU seconds a frame of each step of upscale.py by itself, and of the whole."""
    source, found = folder / "film.mkv", {}
    source.write_bytes(film.content)

    def take(step: str, work: Callable[[], Any]) -> Any:
        started = cpu_seconds()
        done = work()
        found[step] = (cpu_seconds() - started) / FRAMES
        return done

    frames = take("decode", lambda: decoded(film.content))
    take("encode", lambda: encode(film.frames, "libx264", {}))
    for variant in VARIANTS:
        network = load_network(shipped_weights(variant, SCALE), SCALE, "cpu")
        enlarged(frames[0], network, full_range=False)  # compiles it
        take(f"enlarge, {variant}", lambda: [enlarged(frame, network, full_range=False) for frame in frames])  # noqa: B023
        take(f"all, {variant}", lambda: upscale_video(source, folder / f"{variant}.mkv", network))  # noqa: B023
    return found


def peak_memory(film: Film, folder: Path) -> dict[str, int]:
    """Bytes that upscale.py needs at most, by the number of frames, fewer first."""
    found = {}
    for times in (1, 4):
        source = folder / f"long{times}.mkv"
        source.write_bytes(encode(times * decoded(film.content), "libx264", {"crf": "18"}))
        command = [sys.executable, "-c", MEASURED, sys.executable, str(ROOT / "upscale.py"), str(source)]
        done = subprocess.run([*command, "--device", "cpu"], check=True, capture_output=True, text=True)
        found[str(times * FRAMES)] = int(done.stdout.split()[-1]) * 1024
    return found


def main() -> None:
    """Makes the films, encodes and scores them, and writes results/benchmark/presets.json. Encoders that are in it
    already are not measured again.
    """
    Parser(description=__doc__).parse_args()
    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    network = load_network(shipped_weights("fsrcnn", SCALE), SCALE, "cpu").restored(STRENGTH)
    each = ACROSS**2 + 1
    pictures = photographs(FILMS * each)
    films = [made_film(pictures[each * number : each * (number + 1)], network) for number in range(FILMS)]
    rows: list[dict[str, Any]] = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    with TemporaryDirectory() as name:
        said = {
            "frames": FRAMES * FILMS,
            "shares": shares(films[0], Path(name)),
            "peak_memory": peak_memory(films[0], Path(name)),
        }
    write_json(RESULT, said | {"rows": rows})
    done = {row["codec"] for row in rows}
    for codec in ENCODERS:
        if codec in done:
            continue
        for row in describe(codec, films):
            rows.append(row)
            print(codec, row["preset"], row["at_size"], [point["size"] for point in row["measured"]], flush=True)
        write_json(RESULT, said | {"rows": rows})


if __name__ == "__main__":
    run_script(main)

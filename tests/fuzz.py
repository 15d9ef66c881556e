"""Damaged pictures, weights, checkpoints and videos, and odd command lines: `python -m tests.fuzz`.

Right are a result, or an error of ours in one line, with nothing else left behind. Any other input is kept in
results/fuzz, and the exit code is 1. Every input has a number that makes it again: `--kinds pictures --only 123`.
"""

import argparse
import contextlib
import io
import json
import os
import random
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from itertools import chain, product
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import cv2
import hypothesis
import numpy as np
from hypothesis import strategies as some
from PIL import Image

import fsrcnn
from fsrcnn.errors import FailureError, run_script
from fsrcnn.files import write_json
from fsrcnn.videos import VIDEO_SUFFIXES
from fsrcnn.weights import load_weights, shipped_weights

ROOT = Path(__file__).parents[1]
KEPT, FIGURES = ROOT / "results" / "fuzz", ROOT / "results" / "benchmark" / "reliability.json"
SECONDS, MEMORY = 300, 3 * 2**30  # that one input may take: a few bytes may truly be a large picture
RENEWED = 2000  # inputs after which a process is replaced: what leaks slowly is no fault of the next input
FAULT = "fault"
CONTEXT = get_context("spawn")  # libvips and thread pools do not survive a fork
INTEGERS = (0, 1, 2, 3, 7, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


class WrongError(Exception):
    """What an input must not lead to."""


class Seed(NamedTuple):
    """A sound file, from which damaged ones are made; kind: as which it is counted."""

    kind: str
    suffix: str
    content: bytes


# --- damage ---


def changed(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """The content with one or three changes, most of them near its beginning; the end may be another file's."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 3))):
        place = chance.randrange(min(len(data), chance.choice((32, 512, 2**30))) or 1)
        end = place + chance.randint(1, chance.choice((4, 64, len(data) + 1)))
        match chance.choice(("bit", "bit", "zero", "noise", "delete", "repeat", "integer", "integer", "cut", "splice")):
            case "bit":
                data[place : place + 1] = bytes(each ^ 1 << chance.randrange(8) for each in data[place : place + 1])
            case "zero":
                data[place:end] = bytes(len(data[place:end]))
            case "noise":
                data[place:end] = chance.randbytes(len(data[place:end]))
            case "delete":
                del data[place:end]
            case "repeat":
                data[place:place] = data[place:end]
            case "integer":
                size, order = chance.choice((1, 2, 4)), chance.choice(("big", "little"))
                data[place : place + size] = (chance.choice(INTEGERS) % 256**size).to_bytes(size, order)
            case "cut":
                del data[place:]
            case "splice":
                data[place:] = other[chance.randrange(len(other)) :]
    return bytes(data)


def sealed_png(data: bytes) -> bytes:
    """The PNG with right checksums, so that a decoder goes on to what has changed."""
    parts, place = [data[:8]], 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        parts += [data[place:end], zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")]
        place = end + 4
    return b"".join(parts)


def changed_zip(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """The zip file with one of its members changed, and right checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(buffer := io.BytesIO(), "w") as after:
        members = {name: before.read(name) for name in before.namelist()}
        name = chance.choice([name for name, member in members.items() if member])
        for each, member in (members | {name: changed(members[name], other, chance)}).items():
            after.writestr(each, member)
    return buffer.getvalue()


def damaged(seeds: list[Seed], number: int) -> tuple[Seed, Seed]:
    """The damaged file of a number, and the sound one."""
    chance, seed = random.Random(number), seeds[number % len(seeds)]
    other, sealed = chance.choice(seeds).content, chance.random() < 0.5
    if sealed and zipfile.is_zipfile(io.BytesIO(seed.content)):
        return Seed(f"{seed.kind}, checksums right", seed.suffix, changed_zip(seed.content, other, chance)), seed
    content = changed(seed.content, other, chance)
    return seed._replace(content=sealed_png(content) if sealed and seed.suffix == ".png" else content), seed


def check_line(text: str) -> None:
    """A message is one line, with nothing that a terminal would act on."""
    if not text.isprintable() or not 10 < len(text) < 1000:
        raise WrongError(f"not a message of one line: {text!r}")


# --- pictures and videos ---


@cache
def picture_seeds() -> list[Seed]:
    """Small pictures in nine kinds of files."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8).repeat(4, 0).repeat(3, 1)
    clear, deep = Image.fromarray(pixels), Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    grey, colour, palette, ink = (clear.convert("RGB").convert(mode) for mode in ("L", "RGB", "P", "CMYK"))
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010E: "a description", 0x011A: 300.0})
    tiffs = [{"compression": name} for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    kinds: dict[str, tuple[str, list[Image.Image], list[dict[str, Any]]]] = {
        "PNG": (".png", [grey, colour, palette, clear, deep], [{}, {"exif": exif}]),
        "JPEG, baseline": (".jpg", [grey, colour, ink], [{"exif": exif, "dpi": (300, 300)}, {"subsampling": 0}]),
        "JPEG, progressive": (".jpg", [grey, colour, ink], [{"progressive": True, "restart_marker_rows": 1}]),
        "BMP": (".bmp", [grey, colour, palette, grey.convert("1")], [{}]),
        "GIF": (".gif", [grey, palette], [{}, {"interlace": 0}]),
        "TIFF": (".tif", [grey, colour], tiffs),
        "WebP, lossy": (".webp", [colour, clear], [{"exif": exif}]),
        "WebP, lossless": (".webp", [colour, clear], [{"lossless": True}]),
        "AVIF": (".avif", [colour, clear], [{"speed": 10, "exif": exif}]),
    }
    made = [
        [Seed(kind, suffix, saved(*each, suffix)) for each in product(*of)] for kind, (suffix, *of) in kinds.items()
    ]
    return [seeds[turn % len(seeds)] for turn in range(60) for seeds in made]  # as many of each kind


def saved(image: Image.Image, options: dict[str, Any], suffix: str) -> bytes:
    image.save(buffer := io.BytesIO(), Image.registered_extensions()[suffix], **options)
    return buffer.getvalue()


@cache
def video_seeds() -> list[Seed]:
    """Clips of four frames, some with sound."""
    from tests.made import make_clip

    codecs = {
        ".mp4": "libx264",
        ".mkv": "ffv1",
        ".webm": "libvpx",
        ".mov": "mpeg4",
        ".avi": "mpeg4",
        ".ts": "mpeg2video",
    }
    with tempfile.TemporaryDirectory() as folder:
        return [
            Seed(suffix, suffix, make_clip(path, "yuv420p", (32, 24), codec, [0, 2, 4, 6], tone=tone).read_bytes())
            for (suffix, codec), tone in product(codecs.items(), (False, True))
            if (path := Path(folder) / f"a{suffix}") and not (tone and suffix == ".webm")  # which has no AAC
        ]


def enlarged(seed: Seed, target: Path) -> tuple[str, object]:
    """What became of a file, enlarged beside the target, and what the result shows. Raises WrongError."""
    source, remarks, pixels = target.with_name(f"in{seed.suffix}"), (), None
    source.write_bytes(seed.content)
    try:
        remarks = fsrcnn.enlarge_file(source, target, variant="fsrcnn_s", device="cpu")
        pixels = pixels_of(target)
    except fsrcnn.Error as error:
        check_line(str(error))
    if left := {path.name for path in target.parent.iterdir()} - {source.name, target.name if pixels else ""}:
        raise WrongError(f"left behind: {left}")
    for remark in remarks:
        check_line(f"{source.name}: {remark}")
    return "refused" if pixels is None else "enlarged with a remark" if remarks else "enlarged", pixels


def pixels_of(path: Path) -> object:
    """What a result shows, to compare with another: a video's frames in number and size alone. Fails if it is none."""
    if path.suffix not in VIDEO_SUFFIXES:
        try:
            Image.open(path).close()
        except Image.DecompressionBombError:  # more pixels than are compared
            return path.stat().st_size
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        return pixels.shape, pixels.dtype, zlib.crc32(pixels.tobytes())
    import av

    from fsrcnn.videos.source import ANY_TAGS

    with av.open(str(path), **ANY_TAGS) as container:
        return [(frame.width, frame.height) for frame in container.decode(video=0)]


@cache
def undamaged(seed: Seed, suffix: str) -> object:
    with tempfile.TemporaryDirectory() as folder:
        return enlarged(seed, Path(folder) / f"out{suffix}")[1]


def try_file(seeds: Callable[[], list[Seed]], number: int, folder: Path) -> str:
    """Enlarges a damaged file; says what became of it, and whether the result shows something else."""
    seed, sound = damaged(seeds(), number)
    suffix = ".png" if seed.suffix in (".gif", ".avif") or (seeds is picture_seeds and number % 2) else seed.suffix
    said, pixels = enlarged(seed, folder / f"out{suffix}")
    return f"{seed.kind}: {said}" + ", and differs" * (pixels is not None and pixels != undamaged(sound, suffix))


# --- weights and checkpoints ---


@cache
def saved_config() -> Any:
    from config import Config

    return Config(variant="fsrcnn_s", upscale_factor=(2,), device="cpu", exp_name="run")


@cache
def weights_seeds() -> list[Seed]:
    """A weights file of ours, others' in PyTorch's two formats, and a saved run."""
    import torch

    from training.run import save_run, start_run

    tensors = {name: torch.from_numpy(value) for name, value in load_weights(SHIPPED).parameters.items()}
    seeds = [Seed("safetensors", ".safetensors", SHIPPED.read_bytes())]
    for kind, as_zip in (("pth", True), ("pth before PyTorch 1.6", False)):
        torch.save({"state_dict": tensors}, buffer := io.BytesIO(), _use_new_zipfile_serialization=as_zip)
        seeds.append(Seed(kind, ".pth", buffer.getvalue()))
    with tempfile.TemporaryDirectory() as folder:
        save_run(start_run(saved_config(), torch.device("cpu")), saved_config(), Path(folder))
        return [*seeds, Seed("checkpoint", ".pth", (Path(folder) / "last.pth").read_bytes())]


SHIPPED = shipped_weights("fsrcnn_s", 2)


def loaded(seed: Seed, folder: Path) -> object:
    """What a weights file or checkpoint holds; None: it is refused. Raises WrongError."""
    path = folder / f"last{seed.suffix}"
    path.write_bytes(seed.content)
    try:
        if not seed.kind.startswith("checkpoint"):
            return load_weights(path, 2).digest
        import torch

        from training.run import load_run

        run = load_run(saved_config(), torch.device("cpu"), folder)
        return run.step, [(key, zlib.crc32(value.numpy().tobytes())) for key, value in run.model.state_dict().items()]
    except fsrcnn.Error as error:
        check_line(str(error))
        if path.name not in str(error):
            raise WrongError(f"the file is not named: {error}") from error
        return None


def try_weights(number: int, folder: Path) -> str:
    """Reads a damaged file; says what became of it. What has checksums must be taken as it was, or not at all."""
    seed, sound = damaged(weights_seeds(), number)
    held = loaded(seed, folder)
    differs = held is not None and held != loaded(sound, folder)
    if differs and seed.kind in ("safetensors", "pth", "checkpoint"):
        raise WrongError("other values are taken")
    return f"{seed.kind}: {'refused' if held is None else 'taken'}" + ", and differs" * differs


# --- command lines ---

EXAMPLES = 20  # command lines to an input
FLAGS = "--output --suffix --format --upscale-factor --width --height --fit --variant --weights".split()
FLAGS += "--duration --quality --device".split()
ODD = [*"-.~* []{}%'\n\x1b\u202e\udcff\xe9", "a" * 250, "\xe9" * 124, "a.png", "b.webm", "sub", "**", "..", "", "_x2"]
VALUES = [
    "2",
    "3",
    "jpg",
    "same",
    "fsrcnn_s",
    "cpu",
    "-1",
    "nan",
    "out/b.png",
    "../c",
    "/../../c",
    "out/../c",
    "~/c",
    "9x9",
    "1.5",
]


def run_command(folder: Path, name: str, arguments: list[str]) -> None:
    """Runs upscale.py in the deepest of some folders, beside a picture of a name. Raises WrongError."""
    from fsrcnn import cli
    from fsrcnn.native import cache as code

    place = folder / "1/2/3/4/5/6"
    place.mkdir(parents=True)
    source, content, there = place / f"{name}.png", picture_seeds()[0].content, False
    with contextlib.suppress(OSError):  # a name that the file system refuses
        there = source.write_bytes(content) > 0
    said, sys.argv = io.StringIO(), ["upscale.py", "--device", "cpu", "--variant", "fsrcnn_s", *arguments]
    quiet = contextlib.redirect_stderr(said), contextlib.redirect_stdout(said)
    code.folder()  # found before the home is another
    home = mock.patch.dict(os.environ, HOME=str(folder), USERPROFILE=str(folder))  # where "~" leads
    with home, contextlib.chdir(place), quiet[0], quiet[1], contextlib.suppress(SystemExit):
        run_script(cli.upscale)
    if "--help" not in arguments and not all(line.isprintable() for line in said.getvalue().split("\n")):
        raise WrongError(f"not lines that a terminal can show: {said.getvalue()!r}")
    if there and source.read_bytes() != content:
        raise WrongError("the original was replaced")
    outside = [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(place)]
    if outside and "--output" not in arguments:
        raise WrongError(f"written outside of the folder: {outside}")


def try_requests(number: int, folder: Path) -> str:
    """Runs command lines with odd names and options."""
    letters = some.characters(exclude_characters="/\0", exclude_categories=["Cs"])  # none leads far away
    names = some.text(letters, min_size=1, max_size=12) | some.lists(some.sampled_from(ODD), max_size=3).map("".join)
    options = some.tuples(some.sampled_from(FLAGS), names | some.sampled_from(VALUES))
    more = some.lists(some.sampled_from(["--overwrite", "--", "--help", "--no-such", ".", "*.png"]) | names, max_size=3)

    @hypothesis.seed(number)
    @hypothesis.settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(names, some.lists(options, max_size=3), more)
    def run(name: str, pairs: list[tuple[str, str]], others: list[str]) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            run_command(Path(place), name, [f"{name}.png", *(word for pair in pairs for word in pair), *others])

    run()
    return f"{EXAMPLES} command lines"


# --- processes ---

Attempt = Callable[[int, Path], str]  # tries the input of a number in an empty folder; returns what became of it


class Kind(NamedTuple):
    """A kind of inputs: how many there are, how one is tried, and what damaged files are made from."""

    count: int
    attempt: Attempt
    seeds: Callable[[], list[Seed]] | None = None


KINDS = {
    "pictures": Kind(20_000, partial(try_file, picture_seeds), picture_seeds),
    "weights": Kind(2_000, try_weights, weights_seeds),
    "videos": Kind(1_000, partial(try_file, video_seeds), video_seeds),
    "requests": Kind(2_000 // EXAMPLES, try_requests),
}


def serve(pipe: connection.Connection, attempt: Attempt, numbers: list[int], memory: int) -> None:
    """Tries inputs with at most so many bytes of memory; sends what became of each, and the message of a fault."""
    import resource

    os.environ["OMP_NUM_THREADS"] = os.environ["VIPS_CONCURRENCY"] = "1"  # there is a process for each core
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries' warnings
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    pipe.send("ready")
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            try:
                pipe.send((attempt(number, Path(folder)), ""))
            except Exception as error:
                pipe.send((FAULT, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


def tried_in_order(attempt: Attempt, seconds: float, memory: int, numbers: list[int]) -> list[tuple[int, str, str]]:
    """Tries inputs in a process, which is replaced where one ends it or holds it up."""
    done: list[tuple[int, str, str]] = []
    while rest := numbers[len(done) :][:RENEWED]:
        pipe, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve, args=(theirs, attempt, rest, memory), daemon=True)
        process.start()
        theirs.close()
        try:
            pipe.recv()  # "ready"
            for number in rest:
                if not pipe.poll(seconds):
                    raise TimeoutError
                done.append((number, *pipe.recv()))
            process.join(seconds)
        except TimeoutError:
            done.append((number, FAULT, f"took more than {seconds} seconds"))
        except EOFError:
            process.join()
            done.append((number, FAULT, f"ended the process ({process.exitcode})"))
        finally:
            process.kill()
            process.join()
    return done


def tried(
    attempt: Attempt, numbers: Iterable[int], processes: int = 2, seconds: float = SECONDS, memory: int = MEMORY
) -> Iterator[tuple[int, str, str]]:
    """The number of each input, what became of it, and the message of a fault."""
    numbers = list(numbers)
    with ThreadPoolExecutor(processes) as pool:
        shares = [numbers[first::processes] for first in range(processes)]
        return chain(*pool.map(partial(tried_in_order, attempt, seconds, memory), shares))


def record(part: str, figures: dict[str, Any]) -> None:
    """Writes the figures of one part of the tests into the file that docs/reliability.md is filled from; those of the
    kinds that fuzzing did not try this time stay.
    """
    known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    kept = known.get(part, {}) if part == "fuzz" else {}
    write_json(FIGURES, known | {part: kept | figures})


def keep(folder: Path, name: str, number: int, message: str) -> None:
    """Keeps an input that had a fault, with the message."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-{number}.txt").write_text(message, encoding="utf-8", errors="backslashreplace")
    if seeds := KINDS[name].seeds:
        seed, _ = damaged(seeds(), number)
        (folder / f"{name}-{number}{seed.suffix}").write_bytes(seed.content)
    print(f"{name} {number}: {ascii(message.splitlines()[0])[1:-1]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="inputs to try again")
    parser.add_argument("--share", type=float, default=1.0, help="part of the inputs to try, 0 to 1")
    parser.add_argument("--kept", type=Path, default=KEPT, help="folder for the inputs that have a fault")
    request, figures = parser.parse_args(), {}
    for name in request.kinds:
        kind, counts, began = KINDS[name], Counter[str](), time.monotonic()
        numbers = request.only or range(max(1, round(kind.count * request.share)))
        for number, outcome, message in tried(kind.attempt, numbers, os.cpu_count() or 1):
            counts[outcome] += 1
            if outcome == FAULT:
                keep(request.kept, name, number, message)
        seconds = round(time.monotonic() - began)
        print(f"{name}: {counts.total()} inputs in {seconds} s")
        print("".join(f"{count:8} {outcome}\n" for outcome, count in sorted(counts.items())), flush=True)
        figures[name] = {"inputs": counts.total(), "seconds": seconds, "outcomes": dict(sorted(counts.items()))}
    if request.share == 1 and not request.only:
        record("fuzz", figures)
    if faults := sum(each["outcomes"].get(FAULT, 0) for each in figures.values()):
        raise FailureError(f"{faults} inputs had faults; they are in {request.kept}")


if __name__ == "__main__":
    run_script(main)

"""What it costs in size that films are made in parts, each encoded by itself: `python -m benchmarks.parts`.

Films of scikit-image's photographs, with grain, in scenes of 2 to 12 seconds: the camera circles, or it stands still,
where a key frame costs most; with key frames where scenes begin, as encoders set them, or in a fixed rhythm; and a
longer one, of which parts last a minute. Each is enlarged in parts, and as a single one.
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from benchmarks.films import PHOTOGRAPHS
from fsrcnn import load
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import write_json
from fsrcnn.videos import parts
from fsrcnn.videos.target import own_priority
from fsrcnn.videos.upscale import upscale_video

RESULT = Path(__file__).parents[1] / "results" / "benchmark" / "parts.json"
WIDTH, HEIGHT, RATE = 160, 90, 25
SCENES = (3.1, 6.4, 2.2, 9.7, 4.8, 12.3, 3.6, 7.9, 5.5, 8.3, 11.2, 4.1, 6.2)  # seconds
RADIUS, TURN = 30, 8.0  # pixels of the camera's circle, and seconds that it takes
GRAIN = 1.5  # levels of 255, standard deviation
SOURCE = {"crf": "12", "preset": "fast"}
RHYTHMS = {"at scenes": {}, "every 2 s": {"g": "50", "x264-params": "scenecut=0"}}  # of the source's key frames
ENCODERS: dict[str, str | None] = {"libx264": None, "libx265": "fast"}  # and their presets
# Films: their names, the camera's radius, how often the scenes are shown.
FILMS = (("moving", RADIUS, 1), ("still", 0.0, 1), ("still, seven minutes", 0.0, 5))
LENGTHS = {"parts": (parts.LEAST_SECONDS, parts.MOST_SECONDS), "whole": (1e9, 1e9)}  # seconds of a part


def frames(radius: float, times: int) -> Iterator[NDArray[np.uint8]]:
    """The film's frames, R, G, B, height x width x 3."""
    noise, photographs = np.random.default_rng(0), [make() for make in PHOTOGRAPHS.values()]
    for number, seconds in enumerate(times * SCENES):
        photograph = photographs[number % len(photographs)]
        for index in range(round(seconds * RATE)):
            angle = 2 * np.pi * index / RATE / TURN
            top = int(photograph.shape[0] / 2 - HEIGHT / 2 + radius * np.sin(angle) - 10 * (number // 4 % 4))
            left = int(photograph.shape[1] / 2 - WIDTH / 2 + radius * np.cos(angle))
            cut = photograph[top : top + HEIGHT, left : left + WIDTH].astype(np.float32)
            yield (cut + noise.normal(0, GRAIN, cut.shape).astype(np.float32)).round().clip(0, 255).astype(np.uint8)


def make_film(path: Path, radius: float, times: int, rhythm: dict[str, str]) -> Path:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE, options=SOURCE | rhythm)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for rgb in frames(radius, times):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        output.mux(stream.encode(None))
    return path


def measure(folder: Path) -> list[dict[str, str | int | float]]:
    """The sizes of the films in bytes, by encoder and by how they are cut."""
    found: list[dict[str, str | int | float]] = []
    for (name, radius, times), (keys, rhythm) in product(FILMS, RHYTHMS.items()):
        source = make_film(folder / f"{name} {keys}.mkv", radius, times, rhythm)
        for codec, preset in ENCODERS.items():
            sizes = {}
            for cut, (parts.LEAST_SECONDS, parts.MOST_SECONDS) in LENGTHS.items():
                target = folder / f"{name} {keys} {codec} {cut}.mkv"
                with own_priority():
                    upscale_video(source, target, load("fsrcnn_s", 2, device="cpu"), codec, preset=preset)
                sizes[cut] = target.stat().st_size
            cost = sizes["parts"] / sizes["whole"] - 1
            found.append({"film": name, "key frames": keys, "codec": codec, **sizes, "cost": round(cost, 4)})
            print(found[-1], flush=True)
    return found


def main() -> None:
    Parser(description=__doc__).parse_args()
    with TemporaryDirectory() as folder:
        seconds = {"scenes": sum(SCENES), "parts": LENGTHS["parts"]}
        write_json(RESULT, {"seconds": seconds, "sizes": measure(Path(folder))})


if __name__ == "__main__":
    run_script(main)

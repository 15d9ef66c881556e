"""What restoring gains in films, by codec and constant rate factor: `python -m benchmarks.films`.

Films of a camera that circles over scikit-image's photographs are reduced, encoded, and enlarged again. The scores are
PSNR of the luma against the frames that were reduced.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import av
import cv2
import numpy as np
import skimage.data
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fsrcnn.errors import Parser, run_script
from fsrcnn.files import write_json
from fsrcnn.luma import PEAK
from fsrcnn.network import LumaPlane, Network, network_of
from fsrcnn.videos.frames import sample_planes
from fsrcnn.videos.quantiser import film_strength
from fsrcnn.videos.target import own_priority
from fsrcnn.weights import PRETRAINED, SUFFIX, load_weights
from imgproc import imresize, psnr, rgb_to_ycbcr, to_uint8

RESULT = Path(__file__).parents[1] / "results" / "benchmark" / "films.json"
PHOTOGRAPHS: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "astronaut": skimage.data.astronaut,
    "coffee": skimage.data.coffee,
    "motorcycle": lambda: skimage.data.stereo_motorcycle()[0],
    "rocket": skimage.data.rocket,
}
SCALE = 2
FRAME_SIZE, FRAMES, RATE = (448, 320), 36, 25
RADIUS = 14  # pixels of the camera's circle
SCORED = slice(1, None, 7)  # of the frames
PIXEL_FORMAT = "yuv420p"
CODECS: dict[str, dict[str, str]] = {
    "libx264": {},
    "libx265": {"x265-params": "log-level=error"},
    "libvpx-vp9": {"deadline": "good", "cpu-used": "4", "b": "0"},
    "libsvtav1": {"preset": "8"},
}
FACTORS = (18, 23, 28, 33)
STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)


def film(photograph: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Its frames, R, G, B, height x width x 3: the camera circles over the photograph's middle."""
    frames = []
    for turn in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False):
        margins = [(frame - length) / 2 for frame, length in zip(FRAME_SIZE, photograph.shape[1::-1], strict=True)]
        move = [margin - RADIUS * at for margin, at in zip(margins, (np.sin(turn), np.cos(turn)), strict=True)]
        matrix = np.array([[1, 0, move[0]], [0, 1, move[1]]])
        frames.append(
            cv2.warpAffine(photograph, matrix, FRAME_SIZE, flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
        )
    return frames


def encode(path: Path, frames: list[NDArray[np.uint8]], codec: str, factor: int) -> None:
    options = CODECS.get(codec, {}) | {"crf": str(factor)}
    with own_priority(), av.open(str(path), "w") as output:
        stream = cast(VideoStream, output.add_stream(codec, rate=RATE, options=options))
        stream.width, stream.height = frames[0].shape[1::-1]
        stream.pix_fmt = PIXEL_FORMAT
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format=PIXEL_FORMAT)))
        output.mux(stream.encode())


def decoded(path: Path) -> Iterator[LumaPlane]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield sample_planes(frame)[0].astype(np.float32) / np.float32(PEAK)


def networks() -> dict[float, Network]:
    """fsrcnn at each of STRENGTHS."""
    shipped = load_weights(PRETRAINED / f"fsrcnn_x{SCALE}{SUFFIX}")
    restoring = load_weights(PRETRAINED / f"fsrcnn_x{SCALE}_restore{SUFFIX}").parameters

    def blended(strength: float) -> Network:
        parameters = {
            name: value + np.float32(strength) * (restoring[name] - value) for name, value in shipped.parameters.items()
        }
        return network_of(dataclasses.replace(shipped, parameters=parameters, additions={}), "cpu")

    return {strength: blended(strength) for strength in STRENGTHS}


def score(lr: LumaPlane, hr: NDArray[np.uint8], network: Network) -> float:
    """PSNR of the enlarged luma without the border, as of a picture's."""
    inside = slice(SCALE, -SCALE)
    return psnr(to_uint8(PEAK * network(lr))[inside, inside], hr[inside, inside])


def describe(
    codec: str, factor: int, films: list[list[NDArray[np.uint8]]], by_strength: dict[float, Network]
) -> dict[str, object]:
    """A row of the table: mean PSNR at each strength, and the strengths that `film_strength` gives the films."""
    chosen, scores = [], []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mkv"
        for frames in films:
            encode(path, [to_uint8(imresize(frame, 1 / SCALE)) for frame in frames], codec, factor)
            chosen.append(film_strength(path))
            truths = [to_uint8(rgb_to_ycbcr(frame)[..., 0]) for frame in frames[SCORED]]
            pairs = list(zip(list(decoded(path))[SCORED], truths, strict=True))
            scores.append([np.mean([score(*pair, network) for pair in pairs]) for network in by_strength.values()])
    at_chosen = [np.interp(strength, STRENGTHS, each) for strength, each in zip(chosen, scores, strict=True)]
    return {
        "codec": codec,
        "crf": factor,
        "strengths": chosen,
        "psnr": dict(zip(map(str, STRENGTHS), np.mean(scores, axis=0).tolist(), strict=True)),
        "gain": float(np.mean(at_chosen) - np.mean(scores, axis=0)[0]),
        "least_gain": float(np.min(np.array(at_chosen) - np.array(scores)[:, 0])),
    }


def main() -> None:
    """Encodes, enlarges and scores the films, and writes results/benchmark/films.json."""
    Parser(description=__doc__).parse_args()
    films, by_strength = [film(photograph()) for photograph in PHOTOGRAPHS.values()], networks()
    rows = []
    for codec in CODECS:
        for factor in FACTORS:
            rows.append(describe(codec, factor, films, by_strength))
            print(rows[-1], flush=True)
    write_json(RESULT, {"films": list(PHOTOGRAPHS), "network": f"fsrcnn_x{SCALE}", "rows": rows})


if __name__ == "__main__":
    run_script(main)

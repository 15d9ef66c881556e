"""The examples of the page in web/, from photographs that come with scikit-image: `python -m exports.page`."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from dataset import write_image
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import written_whole
from imgproc import imresize, modcrop, to_uint8

FOLDER = Path(__file__).parents[1] / "web" / "made"
PICTURES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "astronaut": skimage.data.astronaut,
    "chelsea": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
}
FILM = "motorcycle"
FRAME_SIZE, FRAMES, RATE = (640, 360), 240, 30


def film_frames() -> list[NDArray[np.uint8]]:
    """A camera that circles over a photograph, R, G, B, height x width x 3: the last frame leads to the first."""
    photograph = skimage.data.stereo_motorcycle()[0]
    height, width = photograph.shape[:2]
    frames = []
    for turn in np.linspace(0, 2 * np.pi, FRAMES, endpoint=False):
        zoom = 1.25 - 0.15 * np.cos(turn)  # pixels of a frame to one of the photograph
        centre = (width * (0.5 + 0.1 * np.sin(turn)), height * (0.5 + 0.12 * np.sin(turn)))
        move = [half - zoom * at for half, at in zip((FRAME_SIZE[0] / 2, FRAME_SIZE[1] / 2), centre, strict=True)]
        matrix = np.array([[zoom, 0, move[0]], [0, zoom, move[1]]])
        frames.append(
            cv2.warpAffine(photograph, matrix, FRAME_SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        )
    return frames


def write_film(path: Path, frames: list[NDArray[np.uint8]]) -> None:
    """Writes the frames as VP9, which every browser plays."""
    options = {"deadline": "realtime", "cpu-used": "8", "crf": "24"}
    with written_whole(path) as unfinished, av.open(str(unfinished), "w") as output:
        stream = output.add_stream("libvpx-vp9", rate=RATE, options=options)
        stream.width, stream.height = FRAME_SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 0
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format="yuv420p")))
        output.mux(stream.encode())


def write_examples(folder: Path) -> None:
    for name, photograph in PICTURES.items():
        small = to_uint8(imresize(modcrop(photograph(), 2), 1 / 2))
        write_image(folder / f"{name}.png", small)
    frames = film_frames()
    write_image(folder / f"{FILM}.png", frames[0])
    write_film(folder / f"{FILM}.webm", frames)


def main() -> None:
    Parser(description=__doc__).parse_args()
    write_examples(FOLDER)


if __name__ == "__main__":
    run_script(main)

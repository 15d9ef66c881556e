"""What the page in web/ needs besides the modules: `python -m exports.page`.

- The weights for compressed pictures, of each step between the clean and the restoring ones.
- Its examples: photographs that come with scikit-image, and a page of text and a drawing that are made here.
"""

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dataset import write_image
from exports.wasm import words_file
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import written_whole
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.restore import STEPS, blended, restoring_path
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import imresize, to_uint8

FOLDER = Path(__file__).parents[1] / "web" / "made"
FILM = "motorcycle"
FRAME_SIZE, FRAMES, RATE = (640, 360), 240, 30
SMOOTHING = 4  # a drawing is made this many times as large and reduced, so that its edges are smooth
INK, PAPER = (38, 34, 52), (250, 247, 238)

Pixels = NDArray[np.uint8]


class Example(NamedTuple):
    """An original, whose sides are multiples of all scales, and the quality of a JPEG made of it; None: a PNG."""

    original: Callable[[], Pixels]
    jpeg_quality: int | None = None


def text_page() -> Pixels:
    """A page of text, from large letters to the smallest that can be read, set in Pillow's own font, which is CC0."""
    lines = (
        (54, "Letters are lines."),
        (32, "Bicubic interpolation blurs them and leaves"),
        (27, "a halo around each. The network has learnt from"),
        (23, "photographs how an edge looked before it was made small."),
        (19, "What it cannot do: a letter that is gone stays gone. Is this a 3 or an 8?"),
        (16, "Where a few pixels no longer tell the two apart, the network does not choose for you:"),
        (14, "it invents nothing. 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz"),
        (12, "This line is twelve pixels high in the original, and three, four or six when it is made small."),
    )
    page = Image.new("RGB", (768 * SMOOTHING, 516 * SMOOTHING), PAPER)
    draw = ImageDraw.Draw(page)

    def line(*ends: float) -> None:
        draw.line([end * SMOOTHING for end in ends], INK, 2 * SMOOTHING)

    top = 36
    for size, words in lines:
        draw.text((40 * SMOOTHING, top * SMOOTHING), words, INK, ImageFont.load_default(size * SMOOTHING))
        top += round(size * 1.55)
    for number in range(17):  # strokes that come ever closer
        left = 40 + 14 * number - 0.32 * number**2
        line(left, 410, left + 34, 478)
    for number in range(9):
        line(340, 478 - 8 * number, 560, 478 - 3 * number)
    for radius in range(6, 44, 7):
        box = [(centre + side * radius) * SMOOTHING for side in (-1, 1) for centre in (660, 440)]
        draw.ellipse(box, outline=INK, width=2 * SMOOTHING)
    return np.array(page.reduce(SMOOTHING))


def drawing() -> Pixels:
    """A lighthouse in flat colours with dark outlines, as comics have them."""
    width, height = 768, 516
    canvas = np.empty((height * SMOOTHING, width * SMOOTHING, 3), np.uint8)
    canvas[:] = (168, 216, 232)

    def at(points: Sequence[tuple[float, float]]) -> NDArray[np.int32]:
        return (np.array(points) * SMOOTHING).round().astype(np.int32)

    def shape(points: Sequence[tuple[float, float]], colour: tuple[int, int, int], outline: float = 3) -> None:
        cv2.fillPoly(canvas, [at(points)], colour, cv2.LINE_AA)
        if outline:
            cv2.polylines(canvas, [at(points)], True, INK, round(outline * SMOOTHING), cv2.LINE_AA)

    def line(points: Sequence[tuple[float, float]], thickness: float = 2, colour: tuple[int, int, int] = INK) -> None:
        cv2.polylines(canvas, [at(points)], False, colour, round(thickness * SMOOTHING), cv2.LINE_AA)

    def circle(x: float, y: float, radius: float, colour: tuple[int, int, int], outline: float = 3) -> None:
        centre, size = (round(x * SMOOTHING), round(y * SMOOTHING)), round(radius * SMOOTHING)
        cv2.circle(canvas, centre, size, colour, -1, cv2.LINE_AA)
        if outline:
            cv2.circle(canvas, centre, size, INK, round(outline * SMOOTHING), cv2.LINE_AA)

    for ray in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        inner, outer = 62, 78 if round(ray * 12 / np.pi) % 2 else 92
        line([(120 + np.cos(ray) * r, 104 + np.sin(ray) * r) for r in (inner, outer)], 3, (240, 150, 40))
    circle(120, 104, 52, (252, 206, 74))
    for x, y, size in ((300, 90, 1.0), (640, 66, 0.8), (470, 150, 0.55)):
        puffs = ((-46, 6, 26), (-14, -12, 34), (26, -4, 28), (52, 8, 20))
        for dx, dy, radius in puffs:
            circle(x + dx * size, y + dy * size, radius * size, (255, 255, 255))
        for dx, dy, radius in puffs:
            circle(x + dx * size, y + dy * size, (radius - 1.5) * size - 1, (255, 255, 255), 0)
    shape([(0, 330), (768, 330), (768, 516), (0, 516)], (58, 128, 168), 2)
    for row in range(9):  # waves
        y = 346 + 19 * row
        for x in range(-40 + 23 * (row % 3), 768, 70):
            wave = [(x + t, y + 4 * np.sin(t / 46 * 2 * np.pi)) for t in range(0, 47, 2)]
            line(wave, 1.6, (196, 232, 240))
    shape(
        [(430, 420), (474, 352), (540, 330), (650, 326), (716, 372), (768, 384), (768, 516), (410, 516)], (122, 108, 96)
    )
    for number in range(22):  # hatching of the rock
        x = 446 + 14 * number
        line([(x, 506), (x + 18, 446 - 24 * np.sin(number / 3))], 1.4, (82, 70, 66))
    shape([(540, 338), (566, 122), (634, 122), (660, 338)], (250, 246, 236))
    for lower, upper in ((338, 290), (242, 194), (160, 128)):
        side = [(540 + (338 - y) * 26 / 216, 660 - (338 - y) * 26 / 216, y) for y in (lower, upper)]
        shape([(side[0][0], lower), (side[0][1], lower), (side[1][1], upper), (side[1][0], upper)], (206, 58, 52))
    shape([(552, 122), (648, 122), (642, 108), (558, 108)], (70, 66, 84))
    shape([(572, 108), (628, 108), (628, 66), (572, 66)], (255, 236, 150))
    for x in (586, 600, 614):
        line([(x, 66), (x, 108)], 2)
    shape([(562, 66), (638, 66), (600, 34)], (206, 58, 52))
    line([(600, 34), (600, 16)], 3)
    for x, y in ((588, 256), (592, 208)):
        shape([(x, y), (x + 18, y), (x + 18, y + 22), (x, y + 22)], (60, 84, 120), 2)
    shape([(586, 338), (614, 338), (614, 306), (600, 296), (586, 306)], (96, 66, 48), 2)
    shape([(92, 398), (268, 398), (238, 440), (122, 440)], (150, 84, 52))  # a boat
    line([(104, 412), (258, 412)], 1.6)
    line([(112, 426), (250, 426)], 1.6)
    line([(180, 398), (180, 232)], 4)
    shape([(186, 244), (262, 384), (186, 384)], (250, 246, 236))
    shape([(174, 262), (174, 384), (104, 384)], (232, 120, 80))
    for y in range(276, 384, 18):
        line([(186, y), (186 + (y - 244) * 76 / 140, y)], 1.2, (150, 140, 130))
    for x, y in ((330, 236), (362, 222), (388, 246), (60, 226), (436, 214)):  # gulls
        line([(x - 14, y - 6), (x - 6, y - 8), (x, y), (x + 6, y - 8), (x + 14, y - 6)], 2)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


EXAMPLES = {
    "astronaut": Example(lambda: skimage.data.astronaut()[4:508, 4:508]),
    "text": Example(text_page),
    "coffee": Example(lambda: skimage.data.coffee()[2:398], jpeg_quality=50),
    "drawing": Example(drawing),
    "sky": Example(lambda: skimage.data.hubble_deep_field()[96:600, 60:828]),
}


def made_small(example: Example, scale: int) -> bytes:
    """The original reduced by a scale, as MATLAB does it: a PNG, or a JPEG of the example's quality."""
    small = Image.fromarray(to_uint8(imresize(example.original(), 1 / scale)))
    file = io.BytesIO()
    if example.jpeg_quality is None:
        small.save(file, "PNG", optimize=True)
    else:
        small.save(file, "JPEG", quality=example.jpeg_quality)
    return file.getvalue()


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
    for name, example in EXAMPLES.items():
        write_image(folder / f"{name}.png", example.original())
        suffix = "png" if example.jpeg_quality is None else "jpg"
        for scale in SCALES:
            with written_whole(folder / f"{name}_x{scale}.{suffix}") as unfinished:
                unfinished.write_bytes(made_small(example, scale))
    frames = film_frames()
    write_image(folder / f"{FILM}.png", frames[0])
    write_film(folder / f"{FILM}.webm", frames)


def write_words(folder: Path) -> None:
    """Writes the weights of each network and strength: fsrcnn_x2_restore60.words for 0.6."""
    for variant, scale in itertools.product(VARIANTS, SCALES):
        path = shipped_weights(variant, scale)
        clean, restoring = load_weights(path), load_weights(restoring_path(path))
        for step in range(1, STEPS + 1):
            name = f"{path.stem}_restore{100 * step // STEPS}.words"
            with written_whole(folder / name) as unfinished:
                unfinished.write_bytes(words_file(blended(clean, restoring, step / STEPS)))


def main() -> None:
    Parser(description=__doc__).parse_args()
    write_words(FOLDER)
    write_examples(FOLDER)


if __name__ == "__main__":
    run_script(main)

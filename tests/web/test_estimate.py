"""web/quality.js tells the same qualities as fsrcnn/pictures/headers.py and quality.py, and the same strengths."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from made import needed
from PIL import Image

from fsrcnn.pictures.headers import file_quality
from fsrcnn.pictures.quality import pixel_quality
from fsrcnn.restore import strength_at

SCRIPT = Path(__file__).parents[2] / "web" / "quality.js"

# Prints the qualities of files and of pixels, and the strengths at qualities.
PROGRAM = """
import {{ readFileSync }} from "node:fs";
const {{ fileQuality, pixelQuality, strengthAt }} = await import({script});
const read = (name) => new Uint8Array(readFileSync(`{folder}/${{name}}`));
const files = {files}.map((name) => fileQuality(read(name)));
const pixels = {pixels}.map(([name, width, height]) => pixelQuality(read(name), width, height));
console.log(JSON.stringify({{ files, pixels, strengths: {qualities}.map(strengthAt) }}));
"""


def in_node(folder: Path, files: list[str], pixels: list[tuple[str, int, int]], qualities: list[float]) -> dict:
    needed(bool(shutil.which("node")), "Node")
    places = {"script": json.dumps(SCRIPT.as_uri()), "folder": folder}
    lists = {name: json.dumps(each) for name, each in (("files", files), ("pixels", pixels), ("qualities", qualities))}
    command = ["node", "--input-type=module", "--eval", PROGRAM.format(**places, **lists)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)


def saved(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def reopened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_files_qualities_are_the_engines(tmp_path: Path):
    picture = Image.fromarray(skimage.data.coffee()[:120, :160])
    contents = [saved(picture, quality=quality, progressive=bool(quality % 2)) for quality in range(1, 101, 3)]
    contents += [saved(picture, "WEBP", quality=quality) for quality in range(0, 101, 10)]
    contents += [
        saved(picture, "WEBP", quality=60, exif=b"Exif\0\0" + bytes(99)),
        saved(picture, "WEBP", lossless=True),
    ]
    contents += [saved(picture, qtables=[[10] * 64] * 2), saved(picture, "PNG"), b"", b"\xff\xd8", contents[20][:200]]
    names = [f"{number}" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    found = in_node(tmp_path, names, [], [])["files"]
    for name, quality in zip(names, found, strict=True):
        expected = file_quality(tmp_path / name)
        assert quality == (expected and pytest.approx(expected, rel=1e-9)), name


def test_pixels_qualities_are_the_engines(tmp_path: Path):
    pictures = []
    for name in ("astronaut", "chelsea"):
        clean = Image.fromarray(getattr(skimage.data, name)()).resize((240, 160), Image.Resampling.BOX)
        pictures += [clean, clean.convert("P").convert("RGB")]
        for quality in (10, 30, 60, 80, 90, 95):
            once = reopened(saved(clean, quality=quality))
            pictures += [once, once.crop((3, 5, 235, 158)), reopened(saved(once, quality=95))]
        pictures.append(reopened(saved(clean, qtables=[list(range(6, 38)) * 2] * 2)))
        pictures.append(reopened(saved(clean.convert("L"), quality=50)).convert("RGB"))
    random = np.random.default_rng(5)
    for quality in (30, 60):
        pictures.append(reopened(saved(clean, quality=quality)).transpose(Image.Transpose.ROTATE_90))
    for size in (8, 16, 24):  # of tiles that recur but for some noise
        tiles = np.tile(random.integers(0, 256, (size, size, 1)), (240 // size, 240 // size, 3)) * 0.8 + 20
        pictures.append(Image.fromarray(np.rint(tiles + random.normal(0, 0.5, tiles.shape)).astype(np.uint8)))
    pictures += [clean.crop((0, 0, 7, 5)), Image.new("RGB", (64, 64), "red")]
    held = []
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}").write_bytes(picture.convert("RGBA").tobytes())
        held.append((f"{number}", picture.width, picture.height))
    expected = [pixel_quality(np.asarray(picture.convert("RGB"))) for picture in pictures]
    assert None in expected
    assert len({each for each in expected if each}) > 5
    assert in_node(tmp_path, [], held, [])["pixels"] == expected


def test_strengths_are_the_engines(tmp_path: Path):
    qualities = [*range(1, 101), 19.9, 57.5, 92.5]
    assert in_node(tmp_path, [], [], qualities)["strengths"] == [strength_at(quality) for quality in qualities]

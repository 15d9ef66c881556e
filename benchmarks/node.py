"""Measures the WebAssembly modules in Node beside onnxruntime-web, on one thread: `python -m benchmarks.node`.

Needs npm, wasm-ld and what `make extra` installs. Node before 24 has no relaxed-simd and allocates registers badly.
"""

import json
import platform
import statistics
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llvmlite import binding
from tqdm import tqdm

from benchmarks.network import ROUNDS, TOLERANCE, Case, print_table
from exports.wasm import wasm_files
from fsrcnn.errors import FailureError, Parser, RequestError, run_script
from fsrcnn.files import write_json
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.luma import PEAK

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "benchmark" / "node.json"
PEER = ROOT / ".venv" / "node_modules" / "onnxruntime-web" / "package.json"
CASES = [Case(variant, scale, 640 * scale, 360 * scale) for variant in VARIANTS for scale in SCALES]
INTEGERS = "integers"
WAYS = {INTEGERS: ".wasm", "relaxed-simd": ".relaxed.wasm", "SIMD": ".wasm"}  # the modules by what they are timed in
INTEGERS_TOLERANCE = 2.5 / PEAK
SHORTEST = 500  # milliseconds that a timing lasts at least


def printed_by(command: list[str]) -> str:
    """The first line that a program in Node prints. Does not wait for its end: at exit Node first compiles all of
    onnxruntime-web anew, which takes half a minute. Raises FailureError if it prints none.
    """
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = next(process.stdout or iter(()), "")
        finally:
            process.kill()
    if not line:
        raise FailureError(f"{command[1]} has printed nothing")
    return line


def measure(case: Case) -> dict[str, Any]:
    """Node's version and the milliseconds of each way in each round. Raises FailureError if two ways disagree."""
    picture = case.picture()[0, 0]
    with TemporaryDirectory() as folder:
        files = wasm_files(case.network().weights)
        for suffix, content in files.items():
            (Path(folder) / f"network{suffix}").write_bytes(content)
        (Path(folder) / "plane").write_bytes(picture.tobytes())
        asked = {
            "modules": {way: f"{folder}/network{suffix}" for way, suffix in WAYS.items()},
            "integers": INTEGERS,
            "onnx": str(ROOT / "results" / "exported" / f"{case.variant}_x{case.scale}.onnx"),
            "plane": f"{folder}/plane",
            "width": picture.shape[1],
            "height": picture.shape[0],
            "rounds": ROUNDS,
            "shortest": SHORTEST,
        }
        command = ["node", str(Path(__file__).with_suffix(".mjs")), json.dumps(asked)]
        said = json.loads(printed_by(command))
    for way, error in said["errors"].items():
        most = INTEGERS_TOLERANCE if way == INTEGERS else TOLERANCE
        if not error <= most:
            raise FailureError(f"{case}: {way} is {error:.1e} from onnxruntime-web, expected at most {most:.1e}")
    return said


def main() -> None:
    """Times both modules of each network and writes results/benchmark/node.json."""
    Parser(description=__doc__).parse_args()
    if not PEER.is_file():
        raise RequestError(f"{PEER.parent} is missing: make extra, with npm installed")
    measured = {str(case): measure(case) for case in tqdm(CASES, leave=False)}
    rows = [["network and output", *WAYS, "onnxruntime-web"]]
    for case, said in measured.items():
        medians = {way: statistics.median(rounds) for way, rounds in said["times"].items()}
        rows.append([case, *(f"{medians[way]:.1f} ms" if way in medians else "none" for way in rows[0][1:])])
    print_table(rows)
    settings = {
        "processor": f"{platform.processor() or platform.machine()} ({binding.get_host_cpu_name()})",
        "rounds": ROUNDS,
        "versions": {
            "node": next(iter(measured.values()))["node"],
            "onnxruntime-web": json.loads(PEER.read_text(encoding="utf-8"))["version"],
        },
    }
    write_json(RESULT, settings | {"milliseconds": {case: said["times"] for case, said in measured.items()}})


if __name__ == "__main__":
    run_script(main)

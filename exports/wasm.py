"""WebAssembly modules for browsers and Node: native/library.py's code, linked; web/fsrcnn.js calls it."""

import json
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from model import FSRCNN
from native.library import object_file
from native.target import named_target, relaxed

NAME = "upscale"  # what the functions of every module begin with
FUNCTIONS = ("float", "uint8", "work_size", "upscale_factor")
STACK = 16 * 1024
SCRIPT = Path(__file__).parents[1] / "web" / "fsrcnn.js"
FIRST_NODE_WITH_RELAXED_SIMD = 21

# Node's side of `run_wasm`: a module and a plane from files, the enlarged plane to standard output.
RUN = """
import {{ readFileSync }} from "node:fs";
const {{ Network }} = await import({script});
const network = await Network.from(readFileSync({module}));
const lr = new Float32Array(new Uint8Array(readFileSync({plane})).buffer);
const sr = network.upscale(lr, {width}, {height});
process.stdout.write(new Uint8Array(sr.buffer));
"""


def wasm_files(model: FSRCNN) -> dict[str, bytes]:
    """The modules by what is added to their names: for every engine with SIMD, and with relaxed-simd's multiply-add.

    A module imports nothing and exports its memory, `__heap_base`, from where on the memory is free, and the functions
    of exports/c.py's header, which begin with "upscale_". Raises OSError where there is no wasm-ld.
    """
    plain = named_target("wasm32")
    parameters = list(model.parameters())
    targets = {".wasm": plain, ".relaxed.wasm": relaxed(plain)}
    return {name: link(object_file(NAME, parameters, model.model_args, [each])) for name, each in targets.items()}


def link(content: bytes) -> bytes:
    """The object file as a module."""
    exported = [f"--export={NAME}_{function}" for function in FUNCTIONS]
    options = ["--no-entry", "--strip-all", "--gc-sections", "-O2", "-z", f"stack-size={STACK}", "--export=__heap_base"]
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.o", Path(folder) / "network.wasm"
        source.write_bytes(content)
        subprocess.run(["wasm-ld", *options, *exported, source, "-o", target], check=True, capture_output=True)
        return target.read_bytes()


def run_wasm(content: bytes, lr: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """What a module makes of H x W luma in Node; None where there is no Node."""
    if not shutil.which("node"):
        return None
    version = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout
    older = int(version.lstrip("v").partition(".")[0]) < FIRST_NODE_WITH_RELAXED_SIMD
    flags = ["--experimental-wasm-relaxed-simd"] if older else []
    with TemporaryDirectory() as folder:
        module, plane = Path(folder) / "network.wasm", Path(folder) / "plane"
        module.write_bytes(content)
        plane.write_bytes(lr.tobytes())
        places = {"script": SCRIPT.as_uri(), "module": str(module), "plane": str(plane)}
        script = RUN.format(
            **{name: json.dumps(at) for name, at in places.items()}, width=lr.shape[1], height=lr.shape[0]
        )
        command = ["node", *flags, "--input-type=module", "--eval", script]
        raw = subprocess.run(command, check=True, capture_output=True).stdout
    scale = int(np.sqrt(len(raw) / lr.nbytes))
    return np.frombuffer(raw, np.float32).reshape(scale * lr.shape[0], scale * lr.shape[1])

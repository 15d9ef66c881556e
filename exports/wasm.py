"""WebAssembly modules for browsers and Node, which web/fsrcnn.js calls: fsrcnn/native/library.py's code, linked."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exports.request import ExportConfig
from exports.shared import Exported, compared, distance
from fsrcnn.errors import RequestError
from fsrcnn.integers import integer_network
from fsrcnn.native.library import object_file
from fsrcnn.native.packing import pack_integers
from fsrcnn.native.target import named_target, relaxed
from fsrcnn.weights import Weights, weights_name

NAME = "upscale"  # the prefix of every module's functions
FUNCTIONS = ("float", "uint8", "int16", "words", "words_size", "work_size", "upscale_factor")
STACK = 16 * 1024
SCRIPT = Path(__file__).parents[1] / "web" / "fsrcnn.js"
KINDS = {"float32": "Float32Array", "uint8": "Uint8Array", "int16": "Int16Array"}
FIRST_NODE_WITH_RELAXED_SIMD = 21

# Node's side of `run_wasm`: reads a module and a plane from files, writes the enlarged plane to standard output.
RUN = """
import {{ readFileSync }} from "node:fs";
const {{ Network }} = await import({script});
const network = await Network.from(readFileSync({module}));
const lr = new {kind}(new Uint8Array(readFileSync({plane})).buffer);
const sr = network.upscale(lr, {width}, {height}, {{ fullRange: {full_range} }});
process.stdout.write(new Uint8Array(sr.buffer));
"""


def wasm_files(weights: Weights) -> dict[str, bytes]:
    """The modules by the suffixes of their names: for every engine with SIMD, and with relaxed-simd's multiply-add.

    A module imports nothing. It exports its memory, `__heap_base`, from where on the memory is free, and the functions
    of `object_file` with the prefix "upscale_". Raises OSError where wasm-ld is missing.
    """
    plain = named_target("wasm32")
    targets = {".wasm": plain, ".relaxed.wasm": relaxed(plain)}
    return {suffix: link(object_file(NAME, weights, [target])) for suffix, target in targets.items()}


def words_file(weights: Weights) -> bytes:
    """The weights in integers as a module reads them, to be put in place of those of another network of the same sizes.

    Raises ValueError where they have no ranges for it.
    """
    network = integer_network(weights)
    if network is None:
        raise ValueError("the weights have no ranges for integers")
    return pack_integers(network, named_target("wasm32").for_integers).astype("<i4").tobytes()


def link(content: bytes) -> bytes:
    """Links an object file into a module."""
    exported = [f"--export-if-defined={NAME}_{function}" for function in FUNCTIONS]
    options = ["--no-entry", "--strip-all", "--gc-sections", "-O2", "-z", f"stack-size={STACK}", "--export=__heap_base"]
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.o", Path(folder) / "network.wasm"
        source.write_bytes(content)
        subprocess.run(["wasm-ld", *options, *exported, source, "-o", target], check=True, capture_output=True)
        return target.read_bytes()


def run_wasm(content: bytes, lr: NDArray[Any], full_range: bool = False) -> NDArray[Any] | None:
    """Runs a module in Node: H x W luma to scale*H x scale*W of the same type, one of those in KINDS; None where Node
    is missing.
    """
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
            **{name: json.dumps(at) for name, at in places.items()},
            kind=KINDS[lr.dtype.name],
            width=lr.shape[1],
            height=lr.shape[0],
            full_range=json.dumps(full_range),
        )
        command = ["node", *flags, "--input-type=module", "--eval", script]
        raw = subprocess.run(command, check=True, capture_output=True).stdout
    scale = int(np.sqrt(len(raw) / lr.nbytes))
    return np.frombuffer(raw, lr.dtype).reshape(scale * lr.shape[0], scale * lr.shape[1])


def export(path: Path, weights: Weights, _: ExportConfig) -> Iterator[Exported]:
    """Two modules, compared with PyTorch in Node: web/fsrcnn.js loads the faster one that the engine can run."""
    if not shutil.which("wasm-ld"):
        raise RequestError("format: wasm needs wasm-ld, which is in LLVM's linker (Debian's package lld)")
    for suffix, content in wasm_files(weights).items():
        error = distance(weights, partial(run_wasm, content))
        yield Exported(f"{weights_name(path)}{suffix}", content, compared(error, "Node"))

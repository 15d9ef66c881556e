"""An object file and a header for programs in C and what calls C: native/library.py's machine code."""

import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

from model import FSRCNN
from native.library import object_file
from native.target import X86_LEVELS, Target, named_target

EXAMPLE = Path(__file__).with_name("example.c")
EXAMPLES_NETWORK = "fsrcnn_x2"

HEADER = """\
/* FSRCNN (Dong, Loy and Tang, 2016) x{scale}: luma enlarged by machine code with the weights inside.
   Weights {sha256}, licence Apache-2.0. Written by export.py.

   All functions are safe to call from several threads at once, allocate nothing, and need memset alone. */
#ifndef {guard}
#define {guard}

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* {scale}: how many times wider and higher pictures become. */
int {name}_upscale_factor(void);

/* Bytes of work memory for pictures of this width. Each thread needs its own; what is in it does not matter. */
size_t {name}_work_size(int width);

/* Enlarges rows first_row to last_row, the latter not among them, of the plane lr, width x height, into rows
   {scale} * first_row to {scale} * last_row of the plane sr. Other rows of lr are read, none of sr is written: threads
   can take strips of rows. Strides are in bytes, from each row to the next, and may be negative; lr and sr point to
   the first pixel of row 0, aligned as pixels are. work is aligned to 4 bytes.

   Luma is 16 to 235, where full_range is not 0: 0 to 255; of floats these are 16/255 to 235/255, and 0 to 1. Results
   of 8 bits are rounded and clipped to 0..255, floats are not clipped. */
void {name}_uint8(const uint8_t *lr, ptrdiff_t lr_stride, uint8_t *sr, ptrdiff_t sr_stride, int width, int height,
    int first_row, int last_row, int full_range, void *work);
void {name}_float(const float *lr, ptrdiff_t lr_stride, float *sr, ptrdiff_t sr_stride, int width, int height,
    int first_row, int last_row, int full_range, void *work);

#ifdef __cplusplus
}}
#endif

#endif
"""


def identifier(name: str) -> str:
    """The name as C can have it."""
    return re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII)


def header_file(name: str, model: FSRCNN, digest: str) -> bytes:
    """The header of a network's object files; digest: of its weights."""
    name = identifier(name)
    return HEADER.format(name=name, guard=f"{name.upper()}_H", scale=model.upscale_factor, sha256=digest).encode()


def grouped(names: tuple[str, ...]) -> dict[str, list[Target]]:
    """The targets of each object file, by what is added to its name. Several levels of x86-64 share one, which begins
    with what every x86-64 can run. Raises ValueError for a name that is not known.
    """
    levels = [name for name in X86_LEVELS if name in names]
    if len(levels) > 1:
        levels = list(dict.fromkeys(["x86-64", *levels]))
    groups = {"x86-64": [named_target(name) for name in levels]} if len(levels) > 1 else {}
    return groups | {name: [named_target(name)] for name in names if len(levels) < 2 or name not in X86_LEVELS}


def c_file(name: str, model: FSRCNN, targets: list[Target]) -> bytes:
    """The object file for a target, or for several levels of x86-64 from the lowest to the highest."""
    return object_file(identifier(name), list(model.parameters()), model.model_args, targets)


def run_c(name: str, files: dict[str, bytes], target: Target, lr: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """What the example makes of H x W luma with the files, by their names: a network's header and an object file.

    For another architecture it is run by QEMU. None where there is no compiler or no QEMU for the target.
    """
    here = target.triple == binding.get_default_triple()
    if not here and "linux" not in target.triple:
        return None
    tools = ["cc"] if here else [f"{target.architecture}-linux-gnu-gcc", f"qemu-{target.architecture}"]
    if not all(shutil.which(tool) for tool in tools):
        return None
    compiler, *emulator = tools
    with TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
        source = EXAMPLE.read_text(encoding="utf-8").replace(EXAMPLES_NETWORK, identifier(name))
        (Path(folder) / "example.c").write_text(source, encoding="utf-8")
        objects = [file for file in files if file.endswith(".o")]
        static = [] if here else ["-static"]
        command = [compiler, "-O2", "-Wall", "-Werror", "-Wno-unknown-pragmas", *static, "example.c", *objects]
        subprocess.run([*command, "-o", "enlarge"], cwd=folder, check=True, capture_output=True)
        command = [*emulator, f"{folder}/enlarge", *(str(size) for size in lr.shape[::-1]), "float"]
        raw = subprocess.run(command, input=lr.tobytes(), check=True, capture_output=True).stdout
    scale = int(np.sqrt(len(raw) / lr.nbytes))
    return np.frombuffer(raw, np.float32).reshape(scale * lr.shape[0], scale * lr.shape[1])

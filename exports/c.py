"""Object files and a header for programs in C and what calls C: the machine code of fsrcnn/native/library.py."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from llvmlite import binding

from exports.request import ExportConfig
from exports.shared import Exported, Luma, compared, distance
from fsrcnn.errors import RequestError
from fsrcnn.integers import integer_network
from fsrcnn.luma import BLACK_LEVEL, PEAK, WHITE_LEVEL
from fsrcnn.native.library import object_file
from fsrcnn.native.target import X86_LEVELS, Target, named_target
from fsrcnn.weights import Weights, weights_name

EXAMPLE = Path(__file__).with_name("example.c")
EXAMPLES_NETWORK = "fsrcnn_x2"

INTEGERS = """

   8 bits are enlarged in 16-bit integers where these are faster than float32: on x86-64 with VNNI, or with AVX2 and
   not AVX-512. Results are the same there, byte for byte; elsewhere a few pixels are one level off."""
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

   Luma is {levels}, where full_range is not 0: 0 to {peak}; of floats these are {fractions}, and 0 to 1. Results
   of 8 bits are rounded and clipped to 0..{peak}, floats are not clipped.{integers} */
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
    """The name with an underscore for whatever C does not allow in an identifier."""
    return re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII)


def header_file(name: str, weights: Weights) -> bytes:
    """The header of a network's object files."""
    name = identifier(name)
    text = HEADER.format(
        name=name,
        guard=f"{name.upper()}_H",
        scale=weights.upscale_factor,
        sha256=weights.digest,
        peak=PEAK,
        levels=f"{BLACK_LEVEL} to {WHITE_LEVEL}",
        fractions=f"{BLACK_LEVEL}/{PEAK} to {WHITE_LEVEL}/{PEAK}",
        integers=INTEGERS if integer_network(weights) else "",
    )
    return text.encode()


def grouped(names: Sequence[str]) -> dict[str, list[Target]]:
    """The targets of each object file, by the suffix of its name. Several levels of x86-64 share one file, which begins
    with the level that every x86-64 can run. Raises ValueError for an unknown name, and for several levels elsewhere
    than on x86-64, where LLVM cannot put them together.
    """
    levels = [name for name in X86_LEVELS if name in names]
    if len(levels) > 1:
        if not binding.get_default_triple().startswith("x86_64"):
            raise ValueError("several levels of x86-64 in one file can only be made on x86-64; name one")
        levels = list(dict.fromkeys(["x86-64", *levels]))
    groups = {"x86-64": [named_target(name) for name in levels]} if len(levels) > 1 else {}
    return groups | {name: [named_target(name)] for name in names if len(levels) < 2 or name not in X86_LEVELS}


def c_file(name: str, weights: Weights, targets: Sequence[Target]) -> bytes:
    """The object file for a target, or for several levels of x86-64 from the lowest to the highest."""
    return object_file(identifier(name), weights, targets)


def run_c(name: str, files: dict[str, bytes], target: Target, lr: Luma) -> Luma | None:
    """Runs example.c with the files, a network's header and one object file by their names, on H x W luma: compiled by
    this machine's compiler, or for another architecture by a cross compiler and run by QEMU.

    Returns scale*H x scale*W luma, None where the compiler or QEMU is missing.
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


def export(path: Path, weights: Weights, config: ExportConfig) -> Iterator[Exported]:
    """An object file for each target, compared with PyTorch in the example, and the header of them all."""
    try:
        groups = grouped(config.target)
    except ValueError as error:
        raise RequestError(f"target: {error}") from error
    name = weights_name(path)
    header = {f"{name}.h": header_file(name, weights)}
    for suffix, targets in groups.items():
        file = f"{name}-{suffix}.o"
        content = c_file(name, weights, targets)

        def run(
            lr: Luma, files: dict[str, bytes] = header | {file: content}, target: Target = targets[0]
        ) -> Luma | None:
            return run_c(name, files, target, lr)

        yield Exported(file, content, compared(distance(weights, run), "a C compiler or an emulator for it"))
    yield Exported(*header.popitem(), "the functions of these object files")

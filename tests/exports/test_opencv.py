"""The files for dnn_superres, run by that class itself in an environment of its own: contrib and plain OpenCV cannot be
installed together.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from made import needed
from numpy.typing import NDArray
from programs import ROOT, run_in_programs

from dataset import folder_pairs
from exports.opencv import opencv_file
from exports.shared import reference
from fsrcnn.geometry import SCALES, VARIANTS
from fsrcnn.luma import GAIN, OFFSET
from fsrcnn.weights import load_weights, shipped_weights
from imgproc import imresize, luma, to_uint8

# PSNR in dB on Set5, by the same protocol, of the files that the class's users have.
THEIRS = {2: 34.82, 3: 30.54, 4: 28.36}
PROGRAM = """
import sys
from pathlib import Path
import cv2
graph, scale, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
network = cv2.dnn_superres.DnnSuperResImpl_create()
network.readModel(graph)
network.setModel("fsrcnn", scale)
for path in folder.glob("*.png"):
    cv2.imwrite(str(folder / "sr" / path.name), network.upsample(cv2.imread(str(path))))
"""


def upsampled(
    folder: Path, variant: str, scale: int, pictures: dict[str, NDArray[np.uint8]]
) -> dict[str, NDArray[np.uint8]]:
    """H x W x 3 pictures in B, G, R order, as the class enlarges them."""
    (folder / "sr").mkdir()
    (folder / "graph.pb").write_bytes(opencv_file(load_weights(shipped_weights(variant, scale))))
    for name, pixels in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    run_in_programs("python", "-c", PROGRAM, folder / "graph.pb", scale, folder)
    return {name: cv2.imread(str(folder / "sr" / f"{name}.png")) for name in pictures}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_class_gives_the_networks_luma(tmp_path: Path, variant: str, scale: int):
    camera = skimage.data.camera()
    grey = {"even": camera[100:140, 100:160], "odd": camera[200:233, 130:177], "small": camera[:1, :2]}
    weights = load_weights(shipped_weights(variant, scale))
    for name, sr in upsampled(tmp_path, variant, scale, {k: np.dstack([v] * 3) for k, v in grey.items()}).items():
        y = reference(weights, grey[name] / np.float32(255) * GAIN + OFFSET)
        expected = to_uint8((y - OFFSET) / GAIN * 255)
        assert sr.shape == (*expected.shape, 3)
        assert np.abs(sr[..., 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("scale", THEIRS)
def test_set5_is_enlarged_better_than_by_the_files_in_use(tmp_path: Path, scale: int):
    """The protocol with an LR picture of 8 bits in colour, as the class's users have it."""
    needed((ROOT / "data" / "Set5").is_dir(), "data/Set5 (`python prepare_dataset.py`)")
    pairs = {pair.name: pair for pair in folder_pairs(ROOT / "data" / "Set5", scale)}
    lr = {name: to_uint8(imresize(pair.hr_image, 1 / scale))[..., ::-1] for name, pair in pairs.items()}
    sr = upsampled(tmp_path, "fsrcnn", scale, lr)
    scores = [pairs[name].score(luma(np.ascontiguousarray(sr[name][..., ::-1])))["psnr"] for name in pairs]
    assert np.mean(scores) > THEIRS[scale] + 1.5

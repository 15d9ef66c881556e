"""The page's and the Makefile's constants of the network, of luma and of bicubic interpolation equal those of
fsrcnn/geometry.py, luma.py and resize.py.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made import needed

from fsrcnn.geometry import SCALES, VARIANTS, variant_sizes
from fsrcnn.limits import enlarged_by_repeating, extremes, limits
from fsrcnn.luma import BLACK_LEVEL, PEAK, RGB_TO_YCBCR, WHITE_LEVEL, YCBCR_OFFSET
from fsrcnn.resize import REACH, TAPS, phase_weights
from fsrcnn.weights import shipped_weights

ROOT = Path(__file__).parents[2]
PLANES, PICTURES = "web/planes.js", "web/pictures.js"

# Prints each scale's bicubic weights, and the luma of the flat pictures on which the network's error is measured.
PROGRAM = """
const {{ Bicubic, measureFlatErrors }} = await import({planes});
const black = {{ upscaleFactor: 1, upscale: (lr) => lr.map(() => 0) }};
const levels = [...measureFlatErrors(black, 1, 1)].map((error) => -error);
const phases = {scales}.map((scale) => new Bicubic(1, 1, scale).phases);
console.log(JSON.stringify({{ phases, levels }}));
"""


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def found(pattern: str, name: str) -> tuple[str, ...]:
    """The groups of the pattern, which matches one place in the file."""
    (match,) = re.finditer(pattern, text(name))
    return match.groups()


def sum_in(variable: str, name: str) -> dict[str, float]:
    """The sum that a file assigns to a variable: the factor of each name in it, and the constant under ""."""
    (right,) = found(rf"\s{re.escape(variable)} = (.*);", name)
    terms = re.findall(r"([-+]?) ?(?:(\d[\d.]*)(?: \* (\w+))?|([a-z][\w\[\]]*))", right)
    return {factor or alone: float(f"{sign}{number or 1}") for sign, number, factor, alone in terms}


def test_page_offers_every_network():
    offered = re.findall(r'name="(scale|variant)" value="(\w+)"', text("web/index.html"))
    assert [int(value) for name, value in offered if name == "scale"] == list(SCALES)
    assert [value for name, value in offered if name == "variant"] == list(VARIANTS)


def test_makefile_trains_every_network():
    (networks,) = found(r"NETWORKS := (.*)", "Makefile")
    assert networks.split() == [shipped_weights(variant, scale).stem for variant in VARIANTS for scale in SCALES]


def test_page_knows_how_far_a_network_reaches():
    (variants,) = found(r"VARIANTS = \{(.*)\};", PICTURES)
    mappings = {name: int(m) for name, m in re.findall(r"(\w+): \{ mappings: (\d+) \}", variants)}
    assert mappings == {name: sizes["m"] for name, sizes in VARIANTS.items()}
    formula = r"return (\d+) \+ VARIANTS\[variant\]\.mappings \+ Math\.ceil\((\d+) / scale\);"
    features, deconv = (int(number) for number in found(formula, PICTURES))
    for variant, m in mappings.items():
        for scale in SCALES:
            assert features + m + -(-deconv // scale) == variant_sizes(variant, scale).reach


def test_page_converts_colours_as_matlab_does():
    for plane, row, offset in zip(("y", "cb", "cr"), RGB_TO_YCBCR * PEAK, YCBCR_OFFSET, strict=True):
        expected = dict(zip(("r", "g", "b", ""), (*row, offset), strict=True))
        assert sum_in(f"{plane}[i]", PLANES) == pytest.approx(expected, abs=1e-9)
    black, gain = found(r"luma = \(y\[i\] - ([\d.]+)\) \* ([\d.]+);", PLANES)
    offsets = [float(black), *(-sum_in(name, PLANES)[""] for name in ("blue", "red"))]
    assert offsets == list(YCBCR_OFFSET)
    for place, row in zip(("rgba[to]", "rgba[to + 1]", "rgba[to + 2]"), np.linalg.inv(RGB_TO_YCBCR), strict=True):
        factors = sum_in(place, PLANES)
        written = [factors["luma"] * float(gain), factors.get("blue", 0), factors.get("red", 0)]
        assert written == pytest.approx(list(row), abs=1e-5)


def test_page_corrects_flat_colour_over_the_range_of_luma():
    black, span = found(r"level = \(\(y\[x\] - (\d+)\) / (\d+)\) \* \(LEVELS - 1\);", PLANES)
    assert (int(black), int(span)) == (BLACK_LEVEL, WHITE_LEVEL - BLACK_LEVEL)


def test_page_interpolates_as_matlab_does():
    (reach,) = found(r"static REACH = (\d+);", PLANES)
    assert int(reach) == REACH
    needed(bool(shutil.which("node")), "Node")
    program = PROGRAM.format(planes=json.dumps((ROOT / PLANES).as_uri()), scales=list(SCALES))
    command = ["node", "--input-type=module", "--eval", program]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for scale, phases in zip(SCALES, said["phases"], strict=True):
        weights = np.zeros((scale, TAPS))
        for row, phase in zip(weights, phases, strict=True):
            row[REACH + phase["first"] :][: len(phase["weights"])] = phase["weights"]
        np.testing.assert_allclose(weights, phase_weights(scale), rtol=0, atol=1e-7)
    levels = np.linspace(BLACK_LEVEL, WHITE_LEVEL, len(said["levels"]))
    np.testing.assert_allclose(said["levels"], levels, rtol=0, atol=1e-4)


# Limits a row of the enlarged plane for each row of the small one, and prints them all.
LIMITING = """
const {{ Limits }} = await import({planes});
const y = Float32Array.from({y});
const sr = Float32Array.from({sr});
const limits = new Limits(y, {width}, {height}, {scale});
const size = {width} * {scale};
for (let row = 0; row < {height} * {scale}; row++) {{
  limits.apply(sr.subarray(row * size, (row + 1) * size), Math.floor(row / {scale}));
}}
console.log(JSON.stringify([...sr]));
"""


@pytest.mark.parametrize(("height", "width", "scale"), [(9, 14, 2), (1, 1, 3), (5, 2, 4)])
def test_page_limits_as_the_engine_does(height: int, width: int, scale: int):
    needed(bool(shutil.which("node")), "Node")
    random = np.random.default_rng(0)
    y = random.uniform(100, 120, (height, width)).astype(np.float32)
    sr = random.uniform(0, 255, (height * scale, width * scale)).astype(np.float32)
    low, high = (enlarged_by_repeating(each, scale) for each in limits(*extremes(y)))
    expected = np.clip(sr, low.astype(np.float32), high.astype(np.float32))
    assert (expected != sr).any()
    planes = json.dumps((ROOT / PLANES).as_uri())
    values = {"y": y.ravel().tolist(), "sr": sr.ravel().tolist()}
    program = LIMITING.format(planes=planes, height=height, width=width, scale=scale, **values)
    command = ["node", "--input-type=module", "--eval", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    np.testing.assert_array_equal(np.array(json.loads(printed), np.float32).reshape(sr.shape), expected)

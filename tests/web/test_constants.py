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
from made import needed, noise
from plain import random_weights, with_ranges

from exports.wasm import wasm_files
from fsrcnn import integers
from fsrcnn.geometry import SCALES, VARIANTS, variant_sizes
from fsrcnn.integers import integer_network
from fsrcnn.limits import extremes
from fsrcnn.luma import PEAK, RGB_TO_YCBCR, YCBCR_OFFSET
from fsrcnn.pictures.pixels import same_distance
from fsrcnn.resize import REACH, TAPS, phase_weights
from fsrcnn.weights import shipped_weights

ROOT = Path(__file__).parents[2]
PLANES, PICTURES = "web/planes.js", "web/pictures.js"

# Prints each scale's bicubic weights.
PROGRAM = """
const {{ Bicubic }} = await import({planes});
console.log(JSON.stringify({scales}.map((scale) => new Bicubic(1, 1, scale).phases)));
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
    black, gain = found(r"luma = \(y\[i\] / STEPS - ([\d.]+)\) \* ([\d.]+);", PLANES)
    offsets = [float(black), *(-sum_in(name, PLANES)[""] for name in ("blue", "red"))]
    assert offsets == list(YCBCR_OFFSET)
    for place, row in zip(("rgba[to]", "rgba[to + 1]", "rgba[to + 2]"), np.linalg.inv(RGB_TO_YCBCR), strict=True):
        factors = sum_in(place, PLANES)
        written = [factors["luma"] * float(gain), factors.get("blue", 0), factors.get("red", 0)]
        assert written == pytest.approx(list(row), abs=1e-5)


def test_page_interpolates_as_matlab_does():
    (reach,) = found(r"static REACH = (\d+);", PLANES)
    assert int(reach) == REACH
    needed(bool(shutil.which("node")), "Node")
    program = PROGRAM.format(planes=json.dumps((ROOT / PLANES).as_uri()), scales=list(SCALES))
    command = ["node", "--input-type=module", "--eval", program]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for scale, phases in zip(SCALES, said, strict=True):
        weights = np.zeros((scale, TAPS))
        for row, phase in zip(weights, phases, strict=True):
            row[REACH + phase["first"] :][: len(phase["weights"])] = phase["weights"]
        np.testing.assert_allclose(weights, phase_weights(scale), rtol=0, atol=1e-7)


# Prints the luma of a picture, enlarged, less the network's error on flat colour, limited: all of it in integers.
LUMA = """
import {{ readFileSync }} from "node:fs";
const {{ Network }} = await import({network});
const {{ enlargedLuma, flatLength, lumaOf, measureFlatErrors }} = await import({planes});
const network = await Network.from(readFileSync({module}));
const [width, height, reach] = {sizes};
const errors = measureFlatErrors(network, flatLength(width, reach), flatLength(height, reach));
const y = lumaOf(Uint8ClampedArray.from({rgba}));
const part = {{ y, width, height, top: 0, first: 0, last: height, reach }};
console.log(JSON.stringify(Array.from(enlargedLuma(network, errors, part), (row) => [...row])));
"""


@pytest.mark.parametrize(("height", "width", "scale"), [(9, 34, 2), (1, 1, 3), (25, 2, 4)])
def test_luma_of_the_pages_pictures_is_that_of_the_integers(tmp_path: Path, height: int, width: int, scale: int):
    needed(bool(shutil.which("node") and shutil.which("wasm-ld")), "Node or wasm-ld (package lld)")
    weights = with_ranges(random_weights(variant_sizes("fsrcnn_s", scale)))
    network, reach = integer_network(weights), weights.sizes.reach
    (tmp_path / "network.wasm").write_bytes(wasm_files(weights)[".wasm"])
    rgba = noise(height, width, 4)
    rgba[:, width // 2 :] //= 8  # a quiet half, which is limited
    places = {"network": ROOT / "web" / "fsrcnn.js", "planes": ROOT / PLANES}
    values = {name: json.dumps(path.as_uri()) for name, path in places.items()}
    program = LUMA.format(
        **values,
        module=json.dumps(str(tmp_path / "network.wasm")),
        sizes=[width, height, reach],
        rgba=rgba.ravel().tolist(),
    )
    command = ["node", "--input-type=module", "--eval", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    np.testing.assert_array_equal(np.array(json.loads(printed)), plain_luma(network, rgba[..., :3], reach))


def plain_luma(network: integers.IntegerNetwork, pixels: np.ndarray, reach: int) -> np.ndarray:
    """The same by the plain form in NumPy."""
    (height, width), scale = pixels.shape[:2], network.sizes.upscale_factor
    y = integers.luma_of(pixels)
    rows, columns = (min(length, 2 * reach + 1) for length in (height, width))

    def error(luma: int) -> np.ndarray:
        sr = integers.enlarge(network, np.full((rows, columns), luma, np.int16))
        return (sr - luma).reshape(rows, scale, columns, scale).transpose(0, 2, 1, 3)

    errors = np.stack([error(integers.flat_luma(level)) for level in range(integers.FLAT_LEVELS)])
    places = same_distance(height, rows, reach), same_distance(width, columns, reach)
    sr = integers.enlarge(network, y)
    limited = integers.corrected_and_limited(sr, y, *extremes(y), errors, *places)
    assert (limited != sr).any()
    return limited

"""The WebAssembly modules as Node runs them through web/fsrcnn.js."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from made import needed, noise, random_network
from plain import random_weights, with_ranges

from exports.shared import reference
from exports.wasm import SCRIPT, run_wasm, wasm_files, words_file
from fsrcnn import integers
from fsrcnn.geometry import variant_sizes
from fsrcnn.weights import Weights

CHECKS = """
import {{ readFileSync }} from "node:fs";
import assert from "node:assert";
const {{ Network }} = await import({script});
const bytes = readFileSync({module});
assert.equal(WebAssembly.Module.imports(new WebAssembly.Module(bytes)).length, 0);
const network = await Network.from(bytes);
assert.equal(network.upscaleFactor, 3);
const [width, height] = [37, 30];
const lr = Uint8Array.from({{ length: width * height }}, (_, i) => (i * 7919) % 256);
const whole = network.upscale(lr, width, height, {{ fullRange: true }});
const strips = [[0, 11], [11, 12], [12, 30]].flatMap(([firstRow, lastRow]) =>
  [...network.upscale(lr, width, height, {{ firstRow, lastRow, fullRange: true }})]);
assert.deepEqual([...whole], strips);
assert.ok(whole instanceof Uint8Array && whole.length === 9 * lr.length);
const floats = network.upscale(Float32Array.from(lr, (level) => level / 255), width, height, {{ fullRange: true }});
const rounded = [...floats].map((luma) => Math.min(Math.max(Math.floor(luma * 255 + 0.5), 0), 255));
assert.ok(rounded.every((level, i) => Math.abs(level - whole[i]) <= 1));
assert.ok(rounded.filter((level, i) => level !== whole[i]).length < 5);
const wrong = [[lr.subarray(1), width, height], [[...lr], width, height], [new Float64Array(lr), width, height],
  [lr, height, height], [lr, -width, -height], [lr, 0, height], [lr, width / 2, 2 * height],
  [lr, width, height, {{ firstRow: 5, lastRow: 5 }}], [lr, width, height, {{ lastRow: 31 }}],
  [lr, width, height, {{ firstRow: -1 }}], [lr, width, height, {{ firstRow: 0.5 }}]];
for (const args of wrong) assert.throws(() => network.upscale(...args), RangeError);
assert.throws(() => network.upscale(lr.subarray(1), width, height), /got 1109 samples, expected 37 x 30 = 1110/);
assert.throws(() => network.upscale(Int16Array.from(lr), width, height),
  /lr: expected one of Float32Array, Uint8Array, Uint8ClampedArray$/);
globalThis.fetch = async () => new Response("", {{ status: 404, statusText: "Not Found" }});
await assert.rejects(Network.load("http://host/fsrcnn.wasm"), ({{ message, status, url }}) =>
  message === `${{url}}: 404 Not Found` && status === 404 && /^http:..host.fsrcnn(.relaxed)?.wasm$/.test(url));
"""


def programs_needed() -> None:
    needed(bool(shutil.which("wasm-ld") and shutil.which("node")), "wasm-ld (package lld) or Node")


@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn_s", 2), ("fsrcnn", 3), ("fsrcnn_s", 4)])
def test_modules_give_the_networks_result(variant: str, scale: int):
    programs_needed()
    weights = random_network(scale, variant).weights()
    for content in wasm_files(weights).values():
        for shape in [(1, 1), (7, 11), (40, 401)]:
            lr = torch.rand(shape).numpy()
            np.testing.assert_allclose(run_wasm(content, lr), reference(weights, lr), rtol=0, atol=1e-5)


def test_module_stands_alone_and_takes_rows_and_bytes(tmp_path: Path):
    programs_needed()
    module = tmp_path / "network.wasm"
    module.write_bytes(wasm_files(random_network(3, "fsrcnn_s").weights())[".wasm"])
    checks = CHECKS.format(script=json.dumps(SCRIPT.as_uri()), module=json.dumps(str(module)))
    done = subprocess.run(["node", "--input-type=module", "--eval", checks], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("variant", "scale"), [("fsrcnn_s", 2), ("fsrcnn", 3), ("fsrcnn_s", 4)])
def test_integers_of_both_modules_are_the_plain_ones(variant: str, scale: int):
    programs_needed()
    weights = with_ranges(random_weights(variant_sizes(variant, scale)))
    network = integers.integer_network(weights)
    samples = noise(7, 45)
    steps = (noise(7, 45, dtype=np.uint16) % (integers.PEAK_STEPS + 1)).astype(np.int16)
    for content in wasm_files(weights).values():
        assert np.array_equal(run_wasm(content, steps), integers.enlarge(network, steps))
        for full_range in (False, True):
            expected = integers.enlarge_samples(network, samples, full_range)
            assert np.array_equal(run_wasm(content, samples, full_range), expected)


# Prints a plane enlarged by the words of other weights.
WORDS = """
import {{ readFileSync }} from "node:fs";
import assert from "node:assert";
const {{ Network }} = await import({script});
const answers = {{ "http://host/network.wasm": {module}, "http://host/other.words": {words} }};
globalThis.fetch = async (url) => new Response(readFileSync(answers[url.replace(".relaxed", "")]));
const network = await Network.load(...Object.keys(answers));
process.stdout.write(network.upscale(Uint8Array.from({lr}), 13, 11));
assert.throws(() => network.useWords(new ArrayBuffer(8)), /^RangeError: words: got 8 bytes, expected \\d+$/);
"""


def test_other_weights_take_the_place_of_the_integers(tmp_path: Path):
    programs_needed()
    weights = with_ranges(random_weights(variant_sizes("fsrcnn_s", 2)))
    other = Weights(weights.sizes, {name: value / 2 for name, value in weights.parameters.items()}, weights.additions)
    (tmp_path / "network.wasm").write_bytes(wasm_files(weights)[".wasm"])
    (tmp_path / "other.words").write_bytes(words_file(other))
    lr = noise(11, 13)
    places = {"module": tmp_path / "network.wasm", "words": tmp_path / "other.words"}
    values = {name: json.dumps(str(path)) for name, path in places.items()}
    program = WORDS.format(script=json.dumps(SCRIPT.as_uri()), lr=lr.ravel().tolist(), **values)
    done = subprocess.run(["node", "--input-type=module", "--eval", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    expected, unchanged = (
        integers.enlarge_samples(integers.integer_network(each), lr, False) for each in (other, weights)
    )
    assert done.stdout == expected.tobytes() != unchanged.tobytes()

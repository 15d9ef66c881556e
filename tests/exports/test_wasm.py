"""The WebAssembly modules as Node runs them through web/fsrcnn.js."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from made import needed, random_network

from exports.shared import reference
from exports.wasm import SCRIPT, run_wasm, wasm_files

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

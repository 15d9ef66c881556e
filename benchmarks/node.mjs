// Times our network and onnxruntime-web's in Node, on one thread: benchmarks/node.py runs it and says what to measure.

import { readFileSync } from "node:fs";
import * as ort from "../.venv/node_modules/onnxruntime-web/dist/ort.min.mjs";
import { Network } from "../web/fsrcnn.js";

const PEAK_STEPS = 8160; // of luma in integers

const { modules, integers, onnx, plane, width, height, rounds, shortest } = JSON.parse(process.argv[2]);
const lr = new Float32Array(new Uint8Array(readFileSync(plane)).buffer);
const steps = Int16Array.from(lr, (luma) => Math.round(luma * PEAK_STEPS));

const ways = {};
for (const [way, file] of Object.entries(modules)) {
  const bytes = readFileSync(file);
  if (!WebAssembly.validate(bytes)) continue; // an engine without relaxed-simd
  const network = await Network.from(bytes);
  ways[way] = () => network.upscale(way === integers ? steps : lr, width, height);
}
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(onnx), { executionProviders: ["wasm"] });
const input = new ort.Tensor("float32", lr, [1, 1, height, width]);
ways["onnxruntime-web"] = async () => (await session.run({ lr: input })).sr.data;

const errors = {};
const expected = await ways["onnxruntime-web"]();
for (const [way, run] of Object.entries(ways)) {
  const [sr, peak] = [await run(), way === integers ? PEAK_STEPS : 1];
  errors[way] = sr.reduce((most, y, i) => Math.max(most, Math.abs(y / peak - expected[i])), 0);
}
const times = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
for (let round = 0; round < rounds; round++) {
  for (const [way, run] of Object.entries(ways)) {
    const began = performance.now();
    let runs = 0;
    while (performance.now() - began < shortest) {
      await run();
      runs++;
    }
    times[way].push((performance.now() - began) / runs);
  }
}
console.log(JSON.stringify({ node: process.version, times, errors }));

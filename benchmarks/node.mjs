// Times our network and onnxruntime-web's in Node, on one thread: benchmarks/node.py runs it and says what to measure.

import { readFileSync } from "node:fs";
import * as ort from "../.venv/node_modules/onnxruntime-web/dist/ort.min.mjs";
import { Network } from "../web/fsrcnn.js";

const { modules, onnx, plane, width, height, rounds, shortest } = JSON.parse(process.argv[2]);
const lr = new Float32Array(new Uint8Array(readFileSync(plane)).buffer);

const ways = {};
for (const [way, file] of Object.entries(modules)) {
  const bytes = readFileSync(file);
  if (!WebAssembly.validate(bytes)) continue; // an engine without relaxed-simd
  const network = await Network.from(bytes);
  ways[way] = () => network.upscale(lr, width, height);
}
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(onnx), { executionProviders: ["wasm"] });
const input = new ort.Tensor("float32", lr, [1, 1, height, width]);
ways["onnxruntime-web"] = async () => (await session.run({ lr: input })).sr.data;

const results = [];
for (const run of Object.values(ways)) results.push(await run());
const error = Math.max(...results.map((sr) => sr.reduce((most, y, i) => Math.max(most, Math.abs(y - results[0][i])), 0)));
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
console.log(JSON.stringify({ node: process.version, times, error }));

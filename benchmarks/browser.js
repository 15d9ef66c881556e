// Times our network and onnxruntime-web's in this page: benchmarks/browser.py calls `measure`.

import * as ort from "../.venv/node_modules/onnxruntime-web/dist/ort.all.min.mjs";
import { Network } from "../web/fsrcnn.js";
import { Pool } from "../web/pool.js";

const REACH = 8; // pixels of the small picture to each side that a result depends on, at most
const PEAK_STEPS = 8160; // of luma in integers
const PAUSE = 200; // milliseconds before each timing, in which the previous way's threads come to rest

/** Enlarges luma into sr, a strip on each worker. */
async function pooled(pool, module, lr, width, height, sr) {
  const rows = Math.ceil(height / pool.size);
  const strips = Array.from({ length: pool.size }, async (_, index) => {
    const [first, last] = [index * rows, Math.min((index + 1) * rows, height)];
    const [top, bottom] = [Math.max(first - REACH, 0), Math.min(last + REACH, height)];
    const part = { width, height: bottom - top, firstRow: first - top, lastRow: last - top };
    const plane = lr.slice(top * width, bottom * width);
    sr.set(await pool.run("luma", { module, plane, ...part }), (first / height) * sr.length);
  });
  await Promise.all(strips);
  return sr;
}

/** lr: the luma, a Float32Array, or an Int16Array in steps, which is enlarged in integers. */
async function ours(name, threads, lr, width, height) {
  const address = new URL(`../web/made/${name}.wasm`, import.meta.url).href;
  if (threads === 1) {
    const network = await Network.load(address);
    return () => network.upscale(lr, width, height);
  }
  const scale = Number(name.at(-1));
  const [pool, sr] = [new Pool(threads), new lr.constructor(lr.length * scale ** 2)];
  return () => pooled(pool, { address }, lr, width, height, sr);
}

async function onnx(name, provider, lr, width, height) {
  const model = new URL(`../results/exported/${name}.onnx`, import.meta.url).href;
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  const input = new ort.Tensor("float32", lr, [1, 1, height, width]);
  return async () => (await session.run({ lr: input })).sr.getData();
}

/**
 * Milliseconds per run of each way in each round, the ways in turn, and how far the others' results and those in
 * integers are from ours in float32. lr: the picture's float32 luma in base64. Each page has one number of threads:
 * onnxruntime-web cannot change it.
 */
window.measure = async ({ name, threads, lr, width, height, rounds, shortest }) => {
  const plane = new Float32Array(Uint8Array.from(atob(lr), (letter) => letter.charCodeAt()).buffer);
  ort.env.wasm.numThreads = threads;
  const steps = Int16Array.from(plane, (luma) => Math.round(luma * PEAK_STEPS));
  const ways = { here: await ours(name, threads, steps, width, height) };
  ways["here, float32"] = await ours(name, threads, plane, width, height);
  ways["onnxruntime-web, wasm"] = await onnx(name, "wasm", plane, width, height);
  const gpu = await navigator.gpu?.requestAdapter();
  if (gpu) ways["onnxruntime-web, WebGPU"] = await onnx(name, "webgpu", plane, width, height);
  const [inSteps, expected, ...others] = await Promise.all(Object.values(ways).map((run) => run()));
  const distance = (sr, peak = 1) => sr.reduce((most, y, i) => Math.max(most, Math.abs(y / peak - expected[i])), 0);
  const error = Math.max(...others.map((sr) => distance(sr)));
  const integersError = distance(inSteps, PEAK_STEPS);
  const times = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
  for (let round = 0; round < rounds; round++) {
    for (const [way, run] of Object.entries(ways)) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      await run();
      let [began, runs] = [performance.now(), 0];
      while (performance.now() - began < shortest || !runs) {
        await run();
        runs++;
      }
      times[way].push((performance.now() - began) / runs);
    }
  }
  return { times, error, integersError };
};

// Runs tasks one after another: a message is a task's name and arguments, the answer its result.

import { Network } from "./fsrcnn.js";
import { enlargedRows, flatLength, measureFlatErrors } from "./planes.js";
import { Axis, resize } from "./resize.js";
import { scores } from "./scores.js";

const KEPT = 3; // networks at most, the last ones used: each has megabytes of memory
const networks = new Map(); // by the addresses of the module and of its weights
const flatErrors = new WeakMap(); // of each network, by the size of the flat pictures

/** module: see moduleOf in pictures.js. */
function networkOf(module) {
  const key = Object.values(module).join();
  const network = networks.get(key) ?? Network.load(module.address, module.words);
  networks.delete(key);
  networks.set(key, network); // as the last one
  if (networks.size > KEPT) networks.delete(networks.keys().next().value);
  network.catch(() => networks.delete(key)); // the next picture tries again
  return network;
}

function flatErrorsOf(network, { width, height, reach }) {
  if (!flatErrors.has(network)) flatErrors.set(network, new Map());
  const size = [width, height].map((length) => flatLength(length, reach));
  const [known, key] = [flatErrors.get(network), size.join()];
  if (!known.has(key)) known.set(key, measureFlatErrors(network, ...size));
  return known.get(key);
}

const TASKS = {
  /** Loads a network and measures the errors on flat colour that `rows` needs for most pictures. */
  async prepare({ module, reach }) {
    flatErrorsOf(await networkOf(module), { width: Infinity, height: Infinity, reach });
  },
  /** Enlarges rows of a picture: see enlargedRows in planes.js. */
  async rows({ module, ...rows }) {
    const network = await networkOf(module);
    return enlargedRows(network, flatErrorsOf(network, rows), rows);
  },
  /** Resizes a part of a picture by bicubic interpolation: see resize.js. */
  resize: ({ rgba, across, down }) => resize(rgba, new Axis(across), new Axis(down)),
  /** How near a picture comes to its original: see scores.js. */
  scores: ({ rgba, original, width, border }) => scores(rgba, original, width, border),
  /** Enlarges rows of a frame's 8-bit luma. */
  async luma({ module, plane, width, height, ...rows }) {
    return (await networkOf(module)).upscale(plane, width, height, rows);
  },
};

onmessage = async ({ data: { task, args } }) => {
  try {
    const result = await TASKS[task](args);
    postMessage({ result }, result?.buffer ? [result.buffer] : []);
  } catch (error) {
    const { message = String(error), status, url } = error ?? {};
    postMessage({ error: { message, status, url } });
  }
};

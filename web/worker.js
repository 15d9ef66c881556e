// Runs tasks one after another: a message is a task's name and arguments, the answer its result.

import { Network } from "./fsrcnn.js";
import { bicubicRgba, enlargedRows, flatLength, measureFlatErrors } from "./planes.js";

const networks = new Map(); // by the module's address
const flatErrors = new Map(); // by that and by the size of the flat pictures

function networkOf(module) {
  if (!networks.has(module)) networks.set(module, Network.load(module));
  networks.get(module).catch(() => networks.delete(module)); // the next picture tries again
  return networks.get(module);
}

function flatErrorsOf(module, network, { width, height, reach }) {
  const size = [width, height].map((length) => flatLength(length, reach));
  const key = [module, size].join();
  if (!flatErrors.has(key)) flatErrors.set(key, measureFlatErrors(network, ...size));
  return flatErrors.get(key);
}

const TASKS = {
  /** Loads a network and measures the errors on flat colour that `rows` needs for most pictures. */
  async prepare({ module, reach }) {
    flatErrorsOf(module, await networkOf(module), { width: Infinity, height: Infinity, reach });
  },
  /** Enlarges rows of a picture: see enlargedRows in planes.js. */
  async rows({ module, ...rows }) {
    const network = await networkOf(module);
    return enlargedRows(network, flatErrorsOf(module, network, rows), rows);
  },
  /** Enlarges part of a picture by bicubic interpolation. */
  bicubic: ({ rgba, width, height, scale }) => bicubicRgba(rgba, width, height, scale),
  /** Enlarges rows of a frame's 8-bit luma. */
  async luma({ module, plane, width, height, ...rows }) {
    return (await networkOf(module)).upscale(plane, width, height, rows);
  },
};

onmessage = async ({ data: { task, args } }) => {
  try {
    const result = await TASKS[task](args);
    postMessage({ result }, result ? [result.buffer] : []);
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};

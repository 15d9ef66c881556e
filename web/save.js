// Makes files of results in a worker, so that the page goes on meanwhile.

import { Refusal } from "./pictures.js";
import { TEXTS } from "./texts.js";

const MOST = { "image/jpeg": 65_535, "image/webp": 16_383 }; // pixels of a side, by the formats
const PIECE = 2 ** 20; // pixels that are copied to the worker at once, about
// Bands of rows of a large result show the size that its file will have: pixels of all, how many, a JPEG block's rows.
const [SAMPLED, BANDS, BLOCK] = [2 ** 20, 4, 16];

/** Whether this browser writes files of a type. */
export async function canSave(type) {
  if (type === "image/png") return Boolean(globalThis.CompressionStream);
  const canvas = new OffscreenCanvas(1, 1);
  canvas.getContext("2d"); // or there is nothing to convert
  return (await canvas.convertToBlob({ type })).type === type;
}

/**
 * Makes a file. result: a Raster that is complete. quality: 0 to 1, not for PNG. onProgress is called with the fraction
 * that is done. Throws the signal's reason if it is aborted, and a Refusal for what the format or the browser cannot
 * hold.
 */
export async function save(result, { type, quality }, onProgress, signal) {
  signal.throwIfAborted();
  const { width, height, alpha } = result;
  const name = TEXTS.formats[type];
  if (Math.max(width, height) > MOST[type]) throw new Refusal(TEXTS.tooLong(name, MOST[type]));
  const worker = new Worker(new URL("encoder.js", import.meta.url), { type: "module" });
  const pieces = piecesOf(result);
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      worker.onerror = ({ message }) => reject(new Error(message || "a worker could not be started"));
      worker.onmessage = ({ data: { file, refused, error } }) => {
        if (file) return resolve(file);
        if (refused) return reject(new Refusal(TEXTS.notWritten(name)));
        if (error) return reject(new Error(error));
        const { value } = pieces.next();
        onProgress(value ? value.done : 1);
        return worker.postMessage(value?.rgba ?? null, value ? [value.rgba.buffer] : []);
      };
      worker.postMessage({ type, quality, width, height, alpha });
    });
  } finally {
    worker.terminate();
  }
}

/** The bytes that a file will have, about; exact for small results. */
export async function sizeOf(result, encoding, signal) {
  const sample = sampleOf(result);
  const { size } = await save(sample, encoding, () => {}, signal);
  return Math.round((size * result.height) / sample.height);
}

/** The result's rows from top to bottom, in copies, and the fraction of the result that lies above each. */
function* piecesOf({ width, height, strips }) {
  const rows = Math.max(1, Math.floor(PIECE / width));
  let above = 0;
  for (const { pixels } of strips) {
    for (let row = 0; row < pixels.height; row += rows) {
      const rgba = pixels.data.slice(4 * width * row, 4 * width * (row + rows));
      yield { rgba, done: (above + row) / height };
    }
    above += pixels.height;
  }
}

function sampleOf(result) {
  const { width, height, alpha } = result;
  if (width * height <= SAMPLED) return result;
  const bands = Math.min(BANDS, Math.max(1, Math.floor(SAMPLED / (width * BLOCK))));
  const rows = Math.min(Math.floor(height / bands), BLOCK * Math.max(1, Math.floor(SAMPLED / (width * bands * BLOCK))));
  const strips = Array.from({ length: bands }, (_, band) => {
    const top = Math.floor(((band + 0.5) * height) / bands - rows / 2);
    return { pixels: new ImageData(result.rows(top, rows), width) };
  });
  return { width, height: rows * bands, alpha, strips };
}

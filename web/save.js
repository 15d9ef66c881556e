// Stand-in until the encoders in a worker are merged.

import { Refusal } from "./pictures.js";
import { pngFile } from "./png.js";

export async function save(result, { type, quality }, onProgress, signal) {
  if (type === "image/png") return pngFile(result);
  const canvas = new OffscreenCanvas(result.width, result.height);
  const context = canvas.getContext("2d");
  for (const { top, pixels } of result.strips) context.putImageData(pixels, 0, top);
  const blob = await canvas.convertToBlob({ type, quality });
  signal?.throwIfAborted();
  if (blob.type !== type) throw new Refusal(`This browser cannot write ${type}.`);
  return blob;
}

export async function sizeOf(result, encoding, signal) {
  if (result.width * result.height > 2 ** 24) return null; // it would block the page
  return (await save(result, encoding, () => {}, signal)).size;
}

export async function canSave() {
  return true;
}

// Makes one file, in a worker. The first message says of what; then it asks for piece after piece of whole rows, 8-bit
// RGBA, until there are no more, and answers with the file.

import { pngFile } from "./png.js";

let arrived; // takes the next piece

async function* pieces() {
  for (;;) {
    const piece = new Promise((resolve) => (arrived = resolve));
    postMessage({});
    const rgba = await piece;
    if (!rgba) return;
    yield rgba;
  }
}

/** Returns null if the browser cannot write such a file, or not of this size. Translucent JPEGs lie on white. */
async function canvasFile({ type, quality, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context || !holds(context, width, height)) return null;
  let top = 0;
  for await (const rgba of pieces()) {
    const pixels = new ImageData(rgba, width);
    context.putImageData(pixels, 0, top);
    top += pixels.height;
  }
  if (type === "image/jpeg") {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
  }
  const file = await canvas.convertToBlob({ type, quality });
  return file.type === type ? file : null;
}

/** Whether a canvas keeps what is drawn in its last corner: too large ones do not, and may not say so. */
function holds(context, width, height) {
  try {
    context.fillRect(width - 1, height - 1, 1, 1);
    const [, , , alpha] = context.getImageData(width - 1, height - 1, 1, 1).data;
    context.clearRect(width - 1, height - 1, 1, 1);
    return alpha === 255;
  } catch {
    return false;
  }
}

async function encode(picture) {
  const file = picture.type === "image/png" ? await pngFile(picture, pieces()) : await canvasFile(picture);
  postMessage(file ? { file } : { refused: true });
}

onmessage = ({ data }) => {
  if (arrived) return arrived(data);
  return encode(data).catch((error) => postMessage({ error: `${error.name} ${error.message}` }));
};

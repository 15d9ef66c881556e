// Makes a PNG file of any size, piece by piece: the browser's own canvases are limited in size, and lose colour where
// they are translucent.

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const SIGNATURE = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
const [RGB, RGBA] = [2, 6]; // colour types
const UP = 2; // filter type: each byte less the one above it

function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...type].map((letter) => letter.charCodeAt()), 4);
  bytes.set(data, 8);
  let crc = 0xffffffff;
  for (let i = 4; i < bytes.length - 4; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  view.setUint32(bytes.length - 4, ~crc);
  return bytes;
}

function header(width, height, alpha) {
  const data = new Uint8Array(13);
  const view = new DataView(data.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  data.set([8, alpha ? RGBA : RGB], 8);
  return chunk("IHDR", data);
}

/** A piece's bytes as PNG has them, a filter type before each row, and no alpha without `channels` for it. */
function filtered(rgba, width, channels, above) {
  const rows = rgba.length / (4 * width);
  const bytes = new Uint8Array(rows * (1 + width * channels));
  for (let row = 0, to = 0, from = 0; row < rows; row++) {
    bytes[to++] = UP;
    for (let at = 0; at < above.length; from += 4) {
      for (let channel = 0; channel < channels; channel++, at++) {
        const value = rgba[from + channel];
        bytes[to++] = value - above[at];
        above[at] = value;
      }
    }
  }
  return bytes;
}

/** Makes the file. pieces: 8-bit RGBA of whole rows, from top to bottom, an asynchronous iterator. */
export async function pngFile({ width, height, alpha }, pieces) {
  const parts = [SIGNATURE, header(width, height, alpha), chunk("sRGB", new Uint8Array([0]))];
  const channels = alpha ? 4 : 3;
  const above = new Uint8Array(width * channels);
  const source = new ReadableStream({
    async pull(controller) {
      const { value: rgba, done } = await pieces.next();
      done ? controller.close() : controller.enqueue(filtered(rgba, width, channels, above));
    },
  });
  const compressed = source.pipeThrough(new CompressionStream("deflate")).getReader();
  for (let read = await compressed.read(); !read.done; read = await compressed.read()) {
    parts.push(chunk("IDAT", read.value));
  }
  return new Blob([...parts, chunk("IEND", new Uint8Array())], { type: "image/png" });
}

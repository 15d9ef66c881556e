// Makes a PNG file of a result of any size, strip by strip: the browser's own canvases are limited in size, and lose
// colour where they are translucent.

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

/** The strips' bytes as PNG has them: a filter type before each row, and no alpha for an opaque result. */
function* filtered({ strips, width, alpha }) {
  const channels = alpha ? 4 : 3;
  let above = new Uint8Array(width * channels);
  for (const { pixels } of strips) {
    const bytes = new Uint8Array(pixels.height * (1 + width * channels));
    for (let row = 0, to = 0, from = 0; row < pixels.height; row++) {
      const line = new Uint8Array(width * channels);
      bytes[to++] = UP;
      for (let at = 0; at < line.length; from += 4) {
        for (let channel = 0; channel < channels; channel++, at++) {
          line[at] = pixels.data[from + channel];
          bytes[to++] = line[at] - above[at];
        }
      }
      above = line;
    }
    yield bytes;
  }
}

/** Makes the file. result: a finished Result of pictures.js. */
export async function pngFile(result) {
  const parts = [SIGNATURE, header(result.width, result.height, result.alpha), chunk("sRGB", new Uint8Array([0]))];
  const rows = filtered(result);
  const source = new ReadableStream({
    pull(controller) {
      const { value, done } = rows.next();
      done ? controller.close() : controller.enqueue(value);
    },
  });
  const compressed = source.pipeThrough(new CompressionStream("deflate")).getReader();
  for (let read = await compressed.read(); !read.done; read = await compressed.read()) {
    parts.push(chunk("IDAT", read.value));
  }
  return new Blob([...parts, chunk("IEND", new Uint8Array())], { type: "image/png" });
}

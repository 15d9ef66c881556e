// A translucent picture's pixels as its file has them: a canvas keeps fewer levels of colour for more transparent ones.

import { paste, tiles } from "./rasters.js";

const SIDE = 2 ** 12; // pixels of what is read at once: all GPUs take textures of this size
// A PNG file of one pixel, R 200, G 100, B 50, alpha 1.
const KNOWN = [200, 100, 50, 1];
const FILE = new Uint8Array([
  137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 31, 21, 196,
  137, 0, 0, 0, 13, 73, 68, 65, 84, 120, 218, 99, 56, 145, 98, 196, 8, 0, 4, 182, 1, 96, 39, 160, 131, 201, 0, 0, 0,
  0, 73, 69, 78, 68, 174, 66, 96, 130,
]);
const UNMULTIPLIED = { premultiplyAlpha: "none" };

let way = null; // a promise of the function that reads a bitmap here

/** 8-bit RGBA, or null in a browser that has no way to it. Throws for what is no picture. */
export async function unmultiplied(file, { width, height }) {
  way ??= findWay();
  const read = await way;
  if (!read) return null;
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (const tile of tiles(width, height, SIDE)) {
    const bitmap = await createImageBitmap(file, tile.left, tile.top, tile.width, tile.height, UNMULTIPLIED);
    paste(await read(bitmap), tile, rgba, width);
    bitmap.close();
  }
  return rgba;
}

/** The first way that reads the known pixel; null: there is none. */
async function findWay() {
  for (const read of [byFrame, byGraphics]) {
    const bitmap = await createImageBitmap(new Blob([FILE], { type: "image/png" }), UNMULTIPLIED);
    const rgba = await read(bitmap).catch(() => []); // a way that this browser does not have
    if (KNOWN.every((value, index) => value === rgba[index])) return read;
  }
  return null;
}

/** Firefox's way. */
async function byFrame(bitmap) {
  const frame = new VideoFrame(bitmap, { timestamp: 0 });
  const rgba = new Uint8Array(4 * bitmap.width * bitmap.height);
  await frame.copyTo(rgba, { format: "RGBA" });
  frame.close();
  return rgba;
}

/** The way of the others, by WebGL. */
async function byGraphics(bitmap) {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const rgba = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return rgba;
}

// One picture: read, enlarged strip by strip by the workers, and drawn as far as it is enlarged.

import { marginOf } from "./planes.js";
import { TEXTS } from "./texts.js";

export const VARIANTS = { fsrcnn: { mappings: 4 }, fsrcnn_s: { mappings: 1 } };
// Pixels of a result, of four bytes each: 1.6 GB at most, less if the browser reports less memory.
export const LARGEST = Math.min(4, navigator.deviceMemory ?? 4) * 100e6;
const STRIP = 2 ** 22; // pixels of a strip of the result, about
const LEAST_ROWS = 32; // of a strip: with fewer, the margins above and below it cost too much
const DRAWN = 2 ** 23; // pixels of a result that is drawn as it is; a larger one has a reduced copy for zooming out

/** An error whose message the page shows to its user. */
export class Refusal extends Error {}

/** Where a network's module and the restoring one are, and how far the weights lie between the two, 0 to 1. */
export function moduleOf(variant, scale, strength) {
  const [address, restoring] = ["", "_restore100"].map((suffix) =>
    new URL(`made/${variant}_x${scale}${suffix}.wasm`, import.meta.url).href);
  return { address, restoring, strength };
}

/** Pixels of the picture to each side that an enlarged pixel depends on, by the layers' kernels. */
export function reachOf(variant, scale) {
  return 2 + VARIANTS[variant].mappings + Math.ceil(4 / scale);
}

export class Picture {
  /** Reads a picture file, upright and in sRGB. Throws a Refusal for what is no picture. */
  static async read(file) {
    try {
      const picture = new Picture(await createImageBitmap(file));
      picture.alpha = !/jpeg|bmp/.test(file.type) && picture.#hasAlpha();
      if (picture.alpha) picture.exact = await unmultiplied(file, picture);
      return picture;
    } catch {
      throw new Refusal(TEXTS.unreadable(file.name));
    }
  }

  constructor(bitmap) {
    this.bitmap = bitmap;
    [this.width, this.height] = [bitmap.width, bitmap.height];
    this.canvas = new OffscreenCanvas(1, 1);
  }

  /** 8-bit RGBA of a rectangle. */
  pixels(left, top, width, height) {
    if (this.exact) return cropped(this.exact, this.width, { left, top, width, height });
    this.canvas.width = width;
    this.canvas.height = height;
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(this.bitmap, -left, -top);
    return context.getImageData(0, 0, width, height).data;
  }

  #hasAlpha() {
    const rows = Math.max(1, Math.floor(STRIP / this.width));
    for (let top = 0; top < this.height; top += rows) {
      const rgba = this.pixels(0, top, this.width, Math.min(rows, this.height - top));
      for (let i = 3; i < rgba.length; i += 4) if (rgba[i] < 255) return true;
    }
    return false;
  }
}

/**
 * A translucent picture's 8-bit RGBA as the file has it: a canvas keeps fewer levels of colour for more transparent
 * pixels. Returns null if the browser has no WebGL or the picture is too large for it; then the canvas has to do.
 */
async function unmultiplied(file, { width, height }) {
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  if (!gl || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
  const bitmap = await createImageBitmap(file, { premultiplyAlpha: "none" });
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const rgba = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return new Uint8ClampedArray(rgba.buffer);
}

function cropped(rgba, stride, { left, top, width, height }) {
  const part = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 4 * ((top + row) * stride + left);
    part.set(rgba.subarray(from, from + 4 * width), 4 * width * row);
  }
  return part;
}

/** Makes the workers load a network, so that the first picture does not wait for it. */
export function prepare(variant, scale, strength, pool) {
  return pool.each("prepare", { module: moduleOf(variant, scale, strength), reach: reachOf(variant, scale) });
}

/**
 * Fills a result by the workers. Calls onStrip after each strip with the fraction of the picture that is done. Throws
 * the signal's reason if it is aborted.
 */
export async function enlarge(result, variant, strength, pool, { signal, onStrip }) {
  const { picture, scale } = result;
  const { width, height, alpha } = picture;
  const [module, reach] = [moduleOf(variant, scale, strength), reachOf(variant, scale)];
  const margin = marginOf(reach, alpha);
  const most = Math.min(Math.ceil(STRIP / (width * scale ** 2)), Math.ceil(height / pool.size / 2));
  const rows = Math.max(LEAST_ROWS, most);
  let [next, done] = [0, 0];

  async function work() {
    while (next < height) {
      const first = next;
      const last = (next = Math.min(first + rows, height));
      const [top, bottom] = [Math.max(first - margin, 0), Math.min(last + margin, height)];
      const rgba = picture.pixels(0, top, width, bottom - top);
      const strip = await pool.run("rows", { module, rgba, width, height, top, first, last, alpha, reach });
      signal.throwIfAborted();
      result.add(first * scale, strip);
      done += last - first;
      onStrip(done / height);
    }
  }

  await Promise.all(Array.from({ length: pool.size }, work));
}

/** An enlarged picture, perhaps not finished yet: what is missing is drawn as the browser enlarges it. */
export class Result {
  /** Throws a Refusal for a picture that is too large. */
  constructor(picture, scale) {
    const [pixels, enlarged] = [1, scale ** 2].map((times) => picture.width * picture.height * times);
    if (enlarged > LARGEST) {
      throw new Refusal(TEXTS.tooLarge(pixels, scale, enlarged, LARGEST));
    }
    Object.assign(this, { picture, scale, alpha: picture.alpha, strips: [] });
    [this.width, this.height] = [picture.width * scale, picture.height * scale];
    this.reduction = 2 ** Math.max(0, Math.ceil(Math.log2(this.width * this.height / DRAWN) / 2));
    this.copy = new OffscreenCanvas(Math.ceil(this.width / this.reduction), Math.ceil(this.height / this.reduction));
    this.context = this.copy.getContext("2d");
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(picture.bitmap, 0, 0, this.width / this.reduction, this.height / this.reduction);
  }

  /** Adds rows from `top` on, 8-bit RGBA pixels. */
  add(top, rgba) {
    const pixels = new ImageData(rgba, this.width);
    this.strips.push({ top, pixels });
    this.strips.sort((a, b) => a.top - b.top);
    if (this.reduction === 1) return this.context.putImageData(pixels, 0, top);
    const strip = new OffscreenCanvas(this.width, pixels.height);
    strip.getContext("2d").putImageData(pixels, 0, 0);
    const place = [0, top / this.reduction, this.width / this.reduction, pixels.height / this.reduction];
    this.context.clearRect(...place);
    return this.context.drawImage(strip, ...place);
  }

  /** A canvas with at least the rectangle, the factor by which it is reduced, and the place of its top left corner. */
  part({ left, top, width, height }, zoom) {
    if (this.reduction * zoom <= 1 || this.reduction === 1) {
      return { canvas: this.copy, reduction: this.reduction, left: 0, top: 0 };
    }
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.drawImage(this.picture.bitmap, -left, -top, this.width, this.height);
    for (const strip of this.strips) context.putImageData(strip.pixels, -left, strip.top - top);
    return { canvas, reduction: 1, left, top };
  }
}

/** A result of pixels that are there already. */
export function still(pixels, alpha = false) {
  const { width, height } = pixels;
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  const part = () => ({ canvas, reduction: 1, left: 0, top: 0 });
  return { width, height, alpha, strips: [{ top: 0, pixels }], part };
}

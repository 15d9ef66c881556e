// One picture: read, and enlarged strip by strip by the workers.

import { unmultiplied } from "./alpha.js";
import { marginOf } from "./planes.js";
import { paste, Raster, SIDE, tiles } from "./rasters.js";
import { TEXTS } from "./texts.js";

export const VARIANTS = { fsrcnn: { mappings: 4 }, fsrcnn_s: { mappings: 1 } };
// Pixels of a result, of four bytes each: 1.6 GB at most, less if the browser reports less memory.
export const LARGEST = Math.min(4, navigator.deviceMemory ?? 4) * 100e6;
const STRIP = 2 ** 22; // pixels of a strip of the result, about
export const STEPS = 20; // strengths of restoring
const LEAST_ROWS = 32; // of a strip: with fewer, the margins above and below it cost too much

/** An error whose message the page shows to its user. */
export class Refusal extends Error {}

/** Where a network's module is, and the weights that restore compressed pictures by a strength of 0 to 1. */
export function moduleOf(variant, scale, strength) {
  const made = (file) => new URL(`made/${variant}_x${scale}${file}`, import.meta.url).href;
  const step = Math.round(strength * STEPS);
  return { address: made(".wasm"), words: step && made(`_restore${(100 / STEPS) * step}.words`) };
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
      picture.animated = await isAnimated(file);
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

  /** Whether the colours of its translucent pixels are not as exact as the file has them. */
  get inexact() {
    return this.alpha && !this.exact;
  }

  /** 8-bit RGBA of a rectangle. */
  pixels(left, top, width, height) {
    if (this.exact) return cropped(this.exact, this.width, { left, top, width, height });
    if (Math.max(width, height) <= SIDE) return this.#drawn(left, top, width, height);
    const rgba = new Uint8ClampedArray(4 * width * height);
    for (const tile of tiles(width, height)) {
      paste(this.#drawn(left + tile.left, top + tile.top, tile.width, tile.height), tile, rgba, width);
    }
    return rgba;
  }

  #drawn(left, top, width, height) {
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

/** Whether the file holds several pictures, of which the first is read; false where the browser does not tell. */
async function isAnimated(file) {
  const { type } = file;
  if (!globalThis.ImageDecoder || !type || !(await ImageDecoder.isTypeSupported(type))) return false;
  const decoder = new ImageDecoder({ type, data: file.stream() });
  await decoder.completed; // only then is the number of frames known
  const { frameCount } = decoder.tracks.selectedTrack;
  decoder.close();
  return frameCount > 1;
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
export class Result extends Raster {
  /** Throws a Refusal for a picture that is too large. */
  constructor(picture, scale) {
    const [pixels, enlarged] = [1, scale ** 2].map((times) => picture.width * picture.height * times);
    if (enlarged > LARGEST) throw new Refusal(TEXTS.tooLarge(pixels, scale, enlarged, LARGEST));
    super(picture.width * scale, picture.height * scale, picture.alpha, picture.bitmap);
    Object.assign(this, { picture, scale });
  }
}

// One picture: read, enlarged strip by strip over the workers, and drawn from what there is of it.

import { marginOf } from "./planes.js";

export const VARIANTS = { fsrcnn: { mappings: 4 }, fsrcnn_s: { mappings: 1 } };
// Pixels of a result, of four bytes each: 1.6 GB at most, less where the browser says that there is less memory.
export const LARGEST = Math.min(4, navigator.deviceMemory ?? 4) * 100e6;
const STRIP = 2 ** 22; // pixels of a result at once, about
const LEAST_ROWS = 32; // of a strip, below which seeing what is above and below it costs too much
const DRAWN = 2 ** 23; // pixels of a result that are drawn as they are; of a larger one a reduced copy, zoomed out

/** What the page tells its user in a sentence. */
export class Refusal extends Error {}

export function moduleOf(variant, scale) {
  return new URL(`made/${variant}_x${scale}.wasm`, import.meta.url).href;
}

/** Pixels to each side that an enlarged pixel depends on, by the layers' kernels. */
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
      throw new Refusal(`${file.name} is no picture or film that this browser can read.`);
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
 * A translucent picture's 8-bit RGBA as the file has it: a canvas keeps fewer levels of colour the less it can be seen.
 * Nothing where the browser has no WebGL or the picture is too large for it; then the canvas has to do.
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

/** Has the workers load a network, so that they are quick when a picture comes. */
export function prepare(variant, scale, pool) {
  return pool.each("prepare", { module: moduleOf(variant, scale), reach: reachOf(variant, scale) });
}

/**
 * Fills a result over the workers. Calls onStrip after each strip with the part of the picture that is done. Throws the
 * signal's reason where it is aborted.
 */
export async function enlarge(result, variant, pool, { signal, onStrip }) {
  const { picture, scale } = result;
  const { width, height, alpha } = picture;
  const [module, reach] = [moduleOf(variant, scale), reachOf(variant, scale)];
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

export function megapixels(pixels) {
  const millions = pixels / 1e6;
  return `${millions < 10 ? millions.toFixed(1) : Math.round(millions)} megapixels`;
}

/** An enlarged picture, which may not be there as a whole yet: what is missing is drawn as the browser enlarges it. */
export class Result {
  /** Throws a Refusal for a picture that is too large. */
  constructor(picture, scale) {
    const [pixels, enlarged] = [1, scale ** 2].map((times) => picture.width * picture.height * times);
    if (enlarged > LARGEST) {
      throw new Refusal(
        `The picture has ${megapixels(pixels)}, at x${scale} ${megapixels(enlarged)}; this page makes ` +
          `${megapixels(LARGEST)} at most. A smaller scale may do, and upscale.py has no such limit.`,
      );
    }
    Object.assign(this, { picture, scale, alpha: picture.alpha, strips: [] });
    [this.width, this.height] = [picture.width * scale, picture.height * scale];
    this.reduction = 2 ** Math.max(0, Math.ceil(Math.log2(this.width * this.height / DRAWN) / 2));
    this.copy = new OffscreenCanvas(Math.ceil(this.width / this.reduction), Math.ceil(this.height / this.reduction));
    this.context = this.copy.getContext("2d");
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(picture.bitmap, 0, 0, this.width / this.reduction, this.height / this.reduction);
  }

  /** The rows from `top` on, as 8-bit RGBA pixels. */
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

  /** A canvas with at least the rectangle, how often it is reduced, and where its top left corner lies. */
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

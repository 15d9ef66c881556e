// Pixels of any size, strip by strip, and how they are drawn: browsers' canvases are limited, and fail silently.

export const SIDE = 2 ** 14; // pixels of a canvas's side: browsers have 16,384, 32,767 or 65,535 at most
const DRAWN = 2 ** 23; // pixels that are drawn as they are; of more, a reduced copy is drawn when zoomed out

/** The rectangles, of `side` pixels at most, that make up one of width x height. */
export function* tiles(width, height, side = SIDE) {
  for (let top = 0; top < height; top += side) {
    for (let left = 0; left < width; left += side) {
      yield { left, top, width: Math.min(side, width - left), height: Math.min(side, height - top) };
    }
  }
}

/** Copies 8-bit RGBA of a rectangle into pixels of `stride` columns, where the rectangle lies. */
export function paste(part, { left, top, width, height }, rgba, stride) {
  for (let row = 0; row < height; row++) {
    rgba.set(part.subarray(4 * width * row, 4 * width * (row + 1)), 4 * ((top + row) * stride + left));
  }
}

/** The smallest power of two by which lengths are to be divided to fit into a canvas. */
function reductionOf(...lengths) {
  return 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(...lengths) / SIDE)));
}

/** 8-bit RGBA of width x height pixels in strips of whole rows. What is not there yet is drawn as in the background. */
export class Raster {
  /** background: a bitmap of any size, which is stretched; or none. */
  constructor(width, height, alpha, background = null) {
    Object.assign(this, { width, height, alpha, background, strips: [] });
    const area = 2 ** Math.max(0, Math.ceil(Math.log2((width * height) / DRAWN) / 2));
    this.reduction = Math.max(area, reductionOf(width, height));
    const [wide, high] = [width, height].map((length) => Math.ceil(length / this.reduction));
    this.copy = this.#canvas(wide, high, this.reduction, { left: 0, top: 0 });
  }

  /** Adds rows from `top` on, 8-bit RGBA pixels. */
  add(top, rgba) {
    const strip = { top, pixels: new ImageData(rgba, this.width) };
    this.strips.push(strip);
    this.strips.sort((a, b) => a.top - b.top);
    draw(this.copy.getContext("2d"), strip, this.reduction, { left: 0, top: 0 });
  }

  /** A copy of some whole rows, which are there. */
  rows(first, count) {
    const rgba = new Uint8ClampedArray(4 * this.width * count);
    for (const { top, pixels } of this.strips) {
      const [from, to] = [Math.max(first, top), Math.min(first + count, top + pixels.height)];
      if (from >= to) continue;
      const [start, end] = [from - top, to - top].map((row) => 4 * this.width * row);
      rgba.set(pixels.data.subarray(start, end), 4 * this.width * (from - first));
    }
    return rgba;
  }

  /** A canvas with at least the rectangle, the factor by which it is reduced, and the place of its top left corner. */
  part({ left, top, width, height }, zoom) {
    const reduction = reductionOf(width, height);
    if (this.reduction * zoom <= 1 || this.reduction <= reduction) {
      return { canvas: this.copy, reduction: this.reduction, left: 0, top: 0 };
    }
    const [wide, high] = [width, height].map((length) => Math.ceil(length / reduction));
    const canvas = this.#canvas(wide, high, reduction, { left, top });
    const context = canvas.getContext("2d");
    for (const strip of this.strips) {
      const isSeen = strip.top < top + height && strip.top + strip.pixels.height > top;
      if (isSeen) draw(context, strip, reduction, { left, top });
    }
    return { canvas, reduction, left, top };
  }

  /** A canvas with the background. */
  #canvas(width, height, reduction, { left, top }) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const place = [-left, -top, this.width, this.height].map((length) => length / reduction);
    if (this.background) context.drawImage(this.background, ...place);
    return canvas;
  }
}

/** Draws a strip on a canvas whose top left corner lies at `corner`, reduced. */
function draw(context, { top, pixels }, reduction, corner) {
  if (reduction === 1) return context.putImageData(pixels, -corner.left, top - corner.top);
  for (const tile of tiles(pixels.width, pixels.height)) {
    const canvas = new OffscreenCanvas(tile.width, tile.height);
    canvas.getContext("2d").putImageData(pixels, -tile.left, -tile.top);
    const place = [tile.left - corner.left, top + tile.top - corner.top, tile.width, tile.height];
    const reduced = place.map((length) => length / reduction);
    context.clearRect(...reduced);
    context.drawImage(canvas, ...reduced);
  }
}

/** A raster of pixels that are there already. */
export function still(pixels, alpha = false) {
  const raster = new Raster(pixels.width, pixels.height, alpha);
  raster.add(0, pixels.data);
  return raster;
}

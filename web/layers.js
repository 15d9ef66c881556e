// The layers of a view: see view.js.

import { Bicubic, bicubicRgba } from "./planes.js";

const CRISP = 6; // screen pixels a pixel from which on pixels are shown as squares, not interpolated
const SETTLED = 100; // milliseconds that a view stands still before it is interpolated exactly
const LARGEST_PART = 2 ** 24; // pixels of a view that is interpolated exactly

/** An element that the browser itself scales to the result's size: a video, or a canvas that is redrawn. */
export class ElementLayer {
  /** scale: pixels of the result to one of the element. */
  constructor(element, scale) {
    Object.assign(this, { element, scale });
  }

  place({ width, height, zoom, x, y }) {
    const { style } = this.element;
    [style.width, style.height] = [`${width}px`, `${height}px`];
    style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    style.imageRendering = zoom * devicePixelRatio >= CRISP && this.scale === 1 ? "pixelated" : "auto";
  }

  sample(context, left, top, size) {
    const { scale } = this;
    context.drawImage(this.element, left / scale, top / scale, size / scale, size / scale, 0, 0, size, size);
  }
}

/** A canvas as large as the stage, on which the visible part is drawn. */
class DrawnLayer {
  constructor() {
    this.element = document.createElement("canvas");
  }

  place(view) {
    const { element } = this;
    const { clientWidth, clientHeight } = view.stage;
    element.width = Math.round(clientWidth * devicePixelRatio);
    element.height = Math.round(clientHeight * devicePixelRatio);
    const context = element.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    context.translate(view.x, view.y);
    context.scale(view.zoom, view.zoom);
    context.imageSmoothingQuality = "high";
    this.draw(context, view);
  }
}

/** Draws a Result of pictures.js. */
export class ResultLayer extends DrawnLayer {
  constructor(result) {
    super();
    this.result = result;
  }

  draw(context, { visible, zoom }) {
    const ratio = zoom * devicePixelRatio;
    const { canvas, reduction, left, top } = this.result.part(visible, ratio);
    context.imageSmoothingEnabled = ratio < CRISP;
    context.drawImage(canvas, left, top, canvas.width * reduction, canvas.height * reduction);
  }

  sample(context, left, top, size) {
    const part = this.result.part({ left, top, width: size, height: size }, Infinity);
    context.drawImage(part.canvas, part.left - left, part.top - top);
  }
}

/** Draws a Picture of pictures.js by bicubic interpolation: the browser's, and the exact one once the view is still. */
export class BicubicLayer extends DrawnLayer {
  constructor(picture, scale, pool) {
    super();
    Object.assign(this, { picture, scale, pool, exact: null });
  }

  draw(context, view) {
    const { picture, scale, exact } = this;
    const ratio = view.zoom * devicePixelRatio;
    context.drawImage(picture.bitmap, 0, 0, picture.width * scale, picture.height * scale);
    clearTimeout(this.timer);
    if (ratio < 0.5 || view.visible.width * view.visible.height > LARGEST_PART) return;
    context.imageSmoothingEnabled = ratio < CRISP;
    if (!exact || !contains(exact, view.visible)) this.timer = setTimeout(() => this.#interpolate(view), SETTLED);
    else {
      context.clearRect(exact.left, exact.top, exact.width, exact.height);
      context.drawImage(exact.canvas, exact.left, exact.top);
    }
  }

  async #interpolate(view) {
    const { rgba, left, top, width, height } = this.#window(view.visible);
    const enlarged = await this.pool.run("bicubic", { rgba, width, height, scale: this.scale });
    this.exact = this.#cropped(enlarged, { left, top, width, height });
    view.refresh();
  }

  /** The part of the picture, in its own pixels, on which a rectangle of the result depends. */
  #window(rectangle) {
    const { picture, scale } = this;
    const span = (first, length, end) => {
      const start = Math.max(0, Math.floor(first / scale) - Bicubic.REACH);
      return [start, Math.min(end, Math.ceil((first + length) / scale) + Bicubic.REACH) - start];
    };
    const [left, width] = span(rectangle.left, rectangle.width, picture.width);
    const [top, height] = span(rectangle.top, rectangle.height, picture.height);
    return { rgba: picture.pixels(left, top, width, height), left, top, width, height };
  }

  /** The exact part of an enlarged window: without its margin, except at the picture's border. */
  #cropped(enlarged, window) {
    const { picture, scale } = this;
    const inside = (first, length, end) => {
      const start = first ? first + Bicubic.REACH : 0;
      const stop = first + length < end ? first + length - Bicubic.REACH : end;
      return [start * scale, (stop - start) * scale];
    };
    const [left, width] = inside(window.left, window.width, picture.width);
    const [top, height] = inside(window.top, window.height, picture.height);
    const canvas = new OffscreenCanvas(width, height);
    const pixels = new ImageData(enlarged, window.width * scale);
    canvas.getContext("2d").putImageData(pixels, window.left * scale - left, window.top * scale - top);
    return { canvas, left, top, width, height };
  }

  sample(context, left, top, size) {
    const window = this.#window({ left, top, width: size, height: size });
    const enlarged = bicubicRgba(window.rgba, window.width, window.height, this.scale);
    const part = this.#cropped(enlarged, window);
    context.drawImage(part.canvas, part.left - left, part.top - top);
  }
}

function contains(outer, inner) {
  return (
    outer.left <= inner.left && outer.top <= inner.top &&
    outer.left + outer.width >= inner.left + inner.width && outer.top + outer.height >= inner.top + inner.height
  );
}

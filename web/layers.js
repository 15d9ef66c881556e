// The layers of a view: see view.js.

import { Axis, resize } from "./resize.js";

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

/** Draws a Raster of rasters.js. */
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
  /** size: the width and height to which the picture is enlarged. */
  constructor(picture, { width, height }, pool) {
    super();
    Object.assign(this, { picture, width, height, pool, exact: null });
  }

  draw(context, view) {
    const { picture, width, height, exact } = this;
    const ratio = view.zoom * devicePixelRatio;
    context.drawImage(picture.bitmap, 0, 0, width, height);
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
    if (!view.layers.includes(this)) return; // another picture is shown meanwhile
    const { visible } = view;
    const rgba = await this.pool.run("resize", this.#partOf(visible));
    this.exact = { canvas: canvasOf(rgba, visible.width), ...visible };
    view.refresh();
  }

  /** What a rectangle of the result is made of, as resize.js takes it. */
  #partOf(rectangle) {
    const { picture, width, height } = this;
    const axis = (from, to, first, length) =>
      ({ from, to, start: Math.max(0, first), stop: Math.min(to, first + length) });
    const across = axis(picture.width, width, rectangle.left, rectangle.width);
    const down = axis(picture.height, height, rectangle.top, rectangle.height);
    const [columns, rows] = [new Axis(across), new Axis(down)];
    return { rgba: picture.pixels(columns.first, rows.first, columns.length, rows.length), across, down };
  }

  sample(context, left, top, size) {
    const { rgba, across, down } = this.#partOf({ left, top, width: size, height: size });
    const resized = resize(rgba, new Axis(across), new Axis(down));
    context.drawImage(canvasOf(resized, across.stop - across.start), across.start - left, down.start - top);
  }
}

function canvasOf(rgba, width) {
  const pixels = new ImageData(rgba, width);
  const canvas = new OffscreenCanvas(width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function contains(outer, inner) {
  return (
    outer.left <= inner.left && outer.top <= inner.top &&
    outer.left + outer.width >= inner.left + inner.width && outer.top + outer.height >= inner.top + inner.height
  );
}

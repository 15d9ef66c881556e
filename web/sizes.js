// Results of any width, as in fsrcnn/sizes.py: enlarged by the scale that reaches it, then reduced.

import { Refusal } from "./pictures.js";
import { Raster } from "./rasters.js";
import { Axis } from "./resize.js";
import { TEXTS } from "./texts.js";

const SCALES = [2, 3, 4];
const STRIP = 2 ** 21; // pixels of the finished result, about, that are reduced at once

/** The scale by which a picture comes to a width, and the size that it then has. Throws a Refusal where none does. */
export function planOf(picture, { width }) {
  // Rounded to the nearest, halves up: in whole numbers, so that it is exact.
  const height = Math.max(1, Math.floor((2 * picture.height * width + picture.width) / (2 * picture.width)));
  if (width <= picture.width) throw new Refusal(TEXTS.tooNarrow(width, picture.width));
  const scale = SCALES.find((each) => each * picture.width >= width && each * picture.height >= height);
  if (!scale) throw new Refusal(TEXTS.tooWide(width, picture.width));
  return { scale, width, height };
}

/** Reduces a finished result to width x height pixels. onProgress is called with the fraction that is done. */
export async function sized(result, width, height, { pool, signal, onProgress }) {
  const reduced = new Raster(width, height, result.alpha);
  const rows = Math.max(1, Math.floor((STRIP / result.width) * (height / result.height)));
  let [next, done] = [0, 0];

  async function work() {
    while (next < height) {
      const start = next;
      const stop = (next = Math.min(start + rows, height));
      const down = { from: result.height, to: height, start, stop };
      const { first, length } = new Axis(down);
      const across = { from: result.width, to: width };
      const strip = await pool.run("resize", { rgba: result.rows(first, length), across, down });
      signal.throwIfAborted();
      reduced.add(start, strip);
      done += stop - start;
      onProgress(done / height);
    }
  }

  await Promise.all(Array.from({ length: pool.size }, work));
  return reduced;
}

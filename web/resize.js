// MATLAB's bicubic imresize to any size, as in fsrcnn/resize.py; reducing widens the kernel, against aliasing.

import { cubic, mirrored } from "./planes.js";

/**
 * How an axis of `from` samples becomes one of `to`: each sample from `start` to `stop` - 1 is a weighted sum. Only
 * `length` of the old samples are needed, from `first` on; the indices count from there.
 */
export class Axis {
  constructor({ from, to, start = 0, stop = to }) {
    const stretch = Math.min(to / from, 1);
    const width = 4 / stretch;
    this.taps = Math.ceil(width) + 1;
    this.weights = new Float32Array((stop - start) * this.taps);
    this.indices = new Int32Array(this.weights.length);
    let [first, last] = [Infinity, -Infinity];
    for (let sample = start, at = 0; sample < stop; sample++, at += this.taps) {
      const centre = (sample + 0.5) / (to / from) - 0.5;
      const left = Math.floor(centre - width / 2) + 1;
      const weights = Array.from({ length: this.taps }, (_, tap) => cubic((centre - left - tap) * stretch));
      const sum = weights.reduce((total, weight) => total + weight);
      for (let tap = 0; tap < this.taps; tap++) {
        const index = mirrored(left + tap, from);
        [first, last] = [Math.min(first, index), Math.max(last, index)];
        this.weights[at + tap] = weights[tap] / sum;
        this.indices[at + tap] = index;
      }
    }
    Object.assign(this, { first, length: last - first + 1, size: stop - start });
    this.indices.forEach((index, at) => (this.indices[at] = index - first));
  }
}

/** rgba: 8-bit pixels, across.length x down.length. Returns those of across.size x down.size. */
export function resize(rgba, across, down) {
  const result = new Uint8ClampedArray(4 * across.size * down.size);
  const line = new Float32Array(4 * across.length);
  for (let row = 0; row < down.size; row++) {
    sumRows(rgba, down, row, line);
    sumPixels(line, across, result.subarray(4 * across.size * row, 4 * across.size * (row + 1)));
  }
  return result;
}

function sumRows(rgba, { weights, indices, taps }, row, line) {
  line.fill(0);
  for (let tap = row * taps; tap < (row + 1) * taps; tap++) {
    const [weight, from] = [weights[tap], indices[tap] * line.length];
    if (!weight) continue;
    for (let i = 0; i < line.length; i++) line[i] += weight * rgba[from + i];
  }
}

function sumPixels(line, { weights, indices, taps, size }, result) {
  for (let x = 0, to = 0, tap = 0; x < size; x++, to += 4) {
    let [r, g, b, a] = [0, 0, 0, 0];
    for (const end = tap + taps; tap < end; tap++) {
      const [weight, at] = [weights[tap], 4 * indices[tap]];
      r += weight * line[at];
      g += weight * line[at + 1];
      b += weight * line[at + 2];
      a += weight * line[at + 3];
    }
    result[to] = r;
    result[to + 1] = g;
    result[to + 2] = b;
    result[to + 3] = a;
  }
}

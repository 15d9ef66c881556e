// How near a picture comes to its original, as in imgproc.py: PSNR and SSIM of the luma, without the border.

import { yCbCr } from "./planes.js";

const SIGMA = 1.5; // of SSIM's Gaussian window (Wang et al. 2004), which has 11 x 11 pixels
const RADIUS = 5;
const [C1, C2] = [(0.01 * 255) ** 2, (0.03 * 255) ** 2];

/** sr, hr: 8-bit RGBA pixels of `width` columns, of which `border` pixels are cut from each side. PSNR is in dB. */
export function scores(sr, hr, width, border) {
  const [one, other] = [sr, hr].map((rgba) => shaved(yCbCr(rgba).y, width, border));
  return { psnr: psnr(one, other), ssim: ssim(one, other, width - 2 * border) };
}

function shaved(plane, width, border) {
  const height = plane.length / width - 2 * border;
  const inner = new Float64Array((width - 2 * border) * height);
  for (let row = 0; row < height; row++) {
    const from = (row + border) * width + border;
    inner.set(plane.subarray(from, from + width - 2 * border), row * (width - 2 * border));
  }
  return inner;
}

function psnr(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += (one[i] - other[i]) ** 2;
  return 10 * Math.log10((255 ** 2 * one.length) / sum);
}

function ssim(one, other, width) {
  const product = (a, b) => a.map((value, i) => value * b[i]);
  const planes = [one, other, product(one, one), product(other, other), product(one, other)];
  const [x, y, xx, yy, xy] = planes.map((plane) => windowed(plane, width));
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    const [varianceX, varianceY] = [xx[i] - x[i] ** 2, yy[i] - y[i] ** 2];
    const alike = (2 * x[i] * y[i] + C1) * (2 * (xy[i] - x[i] * y[i]) + C2);
    sum += alike / ((x[i] ** 2 + y[i] ** 2 + C1) * (varianceX + varianceY + C2));
  }
  return sum / x.length;
}

/** The plane's means under the Gaussian window, where the window lies inside the plane. */
function windowed(plane, width) {
  const taps = Float64Array.from({ length: 2 * RADIUS + 1 }, (_, i) => Math.exp(-0.5 * ((i - RADIUS) / SIGMA) ** 2));
  const total = taps.reduce((sum, tap) => sum + tap);
  const weights = taps.map((tap) => tap / total);
  const rows = filtered(plane, width, plane.length / width, weights, 1);
  return filtered(rows, width - 2 * RADIUS, plane.length / width, weights, width - 2 * RADIUS);
}

/** Filters along rows (step 1) or along columns (step: the width), of which 2 * RADIUS fewer are left. */
function filtered(plane, width, height, weights, step) {
  const [wide, high] = step === 1 ? [width - 2 * RADIUS, height] : [width, height - 2 * RADIUS];
  const result = new Float64Array(wide * high);
  for (let row = 0, to = 0; row < high; row++) {
    for (let column = 0; column < wide; column++, to++) {
      const at = row * width + column;
      let sum = 0;
      for (let tap = 0; tap < weights.length; tap++) sum += weights[tap] * plane[at + tap * step];
      result[to] = sum;
    }
  }
  return result;
}

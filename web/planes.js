// All that surrounds the network, as in fsrcnn/luma.py, resize.py, limits.py and pictures/pixels.py: colours, bicubic
// interpolation, the network's error on flat colour, and limits. A plane is a Float32Array, row after row, in 0..255;
// the network's luma an Int16Array in steps of 1/32 of a level, all of whose arithmetic is that of fsrcnn/integers.py.

const FRACTION_BITS = 5;
const STEPS = 2 ** FRACTION_BITS;
const BLACK = 16;
const LEVELS = 220; // of the flat pictures on which the network's error is measured
const LIMIT_REACH = 2; // pixels around one that its enlargement is limited by

/** MATLAB's rgb2ycbcr, unrounded. rgba: 8-bit pixels. */
export function yCbCr(rgba) {
  const length = rgba.length / 4;
  const [y, cb, cr] = [0, 1, 2].map(() => new Float32Array(length));
  for (let i = 0, at = 0; i < length; i++, at += 4) {
    const r = rgba[at] / 255;
    const g = rgba[at + 1] / 255;
    const b = rgba[at + 2] / 255;
    y[i] = 65.481 * r + 128.553 * g + 24.966 * b + 16;
    cb[i] = -37.797 * r - 74.203 * g + 112 * b + 128;
    cr[i] = 112 * r - 93.786 * g - 18.214 * b + 128;
  }
  return { y, cb, cr };
}

/** The luma of `yCbCr`, rounded, in steps. */
export function lumaOf(rgba) {
  return Int16Array.from({ length: rgba.length / 4 }, (_, i) => {
    const [r, g, b] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    return ((r * 538524 + g * 1057236 + b * 205323 + 32768) >> 16) + BLACK * STEPS;
  });
}

/** Writes MATLAB's ycbcr2rgb of the planes, y in steps, into rgba from pixel `at` on, which rounds and clips. */
function putRgb(y, cb, cr, rgba, at) {
  for (let i = 0, to = at * 4; i < y.length; i++, to += 4) {
    const luma = (y[i] / STEPS - 16) * 1.1643835616438356;
    const blue = cb[i] - 128;
    const red = cr[i] - 128;
    rgba[to] = luma + 1.59602689 * red;
    rgba[to + 1] = luma - 0.39176254 * blue - 0.81296829 * red;
    rgba[to + 2] = luma + 2.01723264 * blue;
    rgba[to + 3] = 255;
  }
}

/** Keys' cubic convolution kernel with a = -0.5. */
export function cubic(position) {
  const x = Math.abs(position);
  if (x <= 1) return (1.5 * x - 2.5) * x * x + 1;
  return x <= 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** MATLAB's imresize by a whole number, row by row: beyond the border the plane is mirrored, edge included. */
export class Bicubic {
  static REACH = 2; // pixels of the small plane to each side

  constructor(width, height, scale) {
    Object.assign(this, { width, height, scale });
    this.phases = Array.from({ length: scale }, (_, phase) => {
      const offset = (phase + 0.5) / scale - 0.5;
      const first = Math.floor(offset - 2) + 1;
      return { first, weights: [0, 1, 2, 3].map((tap) => cubic(offset - first - tap)) };
    });
    this.columns = Int32Array.from({ length: width + 4 }, (_, i) => mirrored(i - 2, width));
    this.line = new Float32Array(width + 4);
  }

  /** Writes row `row` of the enlarged plane into `out`. */
  row(plane, row, out) {
    const { width, height, scale, columns, line } = this;
    const { first, weights } = this.phases[row % scale];
    const [e, f, g, h] = weights;
    const [a, b, c, d] = [0, 1, 2, 3].map((tap) => mirrored(Math.floor(row / scale) + first + tap, height) * width);
    for (let i = 0; i < line.length; i++) {
      const at = columns[i];
      line[i] = e * plane[a + at] + f * plane[b + at] + g * plane[c + at] + h * plane[d + at];
    }
    this.phases.forEach(({ first, weights: [p, q, r, s] }, phase) => {
      for (let x = 0, at = first + 2, to = phase; x < width; x++, at++, to += scale) {
        out[to] = p * line[at] + q * line[at + 1] + r * line[at + 2] + s * line[at + 3];
      }
    });
  }
}

export function mirrored(position, length) {
  const inside = ((position % (2 * length)) + 2 * length) % (2 * length);
  return inside < length ? inside : 2 * length - 1 - inside;
}

/** The length of a flat picture's axis at which it has every error that a longer one has. */
export function flatLength(length, reach) {
  return Math.min(length, 2 * reach + 1);
}

/** The network's errors on LEVELS flat pictures of width x height pixels, luma 16 to 235, one after another. */
export function measureFlatErrors(network, width, height) {
  const size = width * height;
  const errors = new Int16Array(LEVELS * size * network.upscaleFactor ** 2);
  for (let level = 0; level < LEVELS; level++) {
    const luma = (BLACK + level) << FRACTION_BITS;
    const enlarged = network.upscale(new Int16Array(size).fill(luma), width, height);
    errors.set(enlarged.map((value) => value - luma), level * enlarged.length);
  }
  return errors;
}

/**
 * The network's error on flat colour, which is subtracted, so that flat colours stay. It is up to one level inside the
 * picture, and up to seven at the border, beyond which the network sees black.
 */
class FlatError {
  /** errors: see measureFlatErrors, for pictures of flatLength x flatLength. */
  constructor(errors, scale, width, height, reach) {
    const [across, down] = [width, height].map((length) => flatLength(length, reach));
    Object.assign(this, { errors, scale });
    this.across = places(width, across, reach);
    this.down = places(height, down, reach);
    this.stride = across * scale;
    this.size = down * scale * this.stride;
  }

  /** Subtracts it from `enlarged`, row `row` of the enlarged luma. y: the row of the small picture below it. */
  subtractFrom(enlarged, row, y) {
    const { scale, across, stride, size, errors } = this;
    const start = (this.down[Math.floor(row / scale)] * scale + (row % scale)) * stride;
    for (let x = 0, to = 0; x < y.length; x++) {
      const below = Math.min(Math.max((y[x] >> FRACTION_BITS) - BLACK, 0), LEVELS - 2);
      const part = y[x] - ((BLACK + below) << FRACTION_BITS);
      let at = below * size + start + across[x] * scale;
      for (let phase = 0; phase < scale; phase++, at++, to++) {
        enlarged[to] -= errors[at] + ((part * (errors[at + size] - errors[at]) + STEPS / 2) >> FRACTION_BITS);
      }
    }
  }
}

/** Keeps an enlarged plane near the range of the small plane's pixels around each of its own. */
class Limits {
  /** y: the small plane, width x height. */
  constructor(y, width, height, scale) {
    Object.assign(this, { y, width, height, scale, row: -1 });
    [this.least, this.greatest, this.low, this.high] = [0, 1, 2, 3].map(() => new Int32Array(width));
  }

  /** Limits `enlarged`, a row of the enlarged plane whose small row is `row`. */
  apply(enlarged, row) {
    if (row !== this.row) this.measure(row);
    const { scale, width, low, high } = this;
    for (let x = 0, to = 0; x < width; x++) {
      for (let phase = 0; phase < scale; phase++, to++) {
        enlarged[to] = Math.min(Math.max(enlarged[to], low[x]), high[x]);
      }
    }
  }

  measure(row) {
    const { y, width, height, least, greatest, low, high } = this;
    this.row = row;
    least.set(y.subarray(row * width, (row + 1) * width));
    greatest.set(least);
    const bottom = Math.min(row + LIMIT_REACH, height - 1);
    for (let other = Math.max(row - LIMIT_REACH, 0); other <= bottom; other++) {
      for (let x = 0, at = other * width; x < width; x++, at++) {
        if (y[at] < least[x]) least[x] = y[at];
        if (y[at] > greatest[x]) greatest[x] = y[at];
      }
    }
    for (let x = 0; x < width; x++) {
      const last = Math.min(x + LIMIT_REACH, width - 1);
      let [lowest, highest] = [Infinity, -Infinity];
      for (let other = Math.max(x - LIMIT_REACH, 0); other <= last; other++) {
        if (least[other] < lowest) lowest = least[other];
        if (greatest[other] > highest) highest = greatest[other];
      }
      const widening = (3 * (highest - lowest) + 1) >> 1; // by one and a half times their range
      low[x] = lowest - widening;
      high[x] = highest + widening;
    }
  }
}

/**
 * Maps each pixel of an axis to the pixel of an axis of `size` at the same distance from the border. Those further than
 * `reach` from it, which are all alike, share one.
 */
function places(length, size, reach) {
  return Int32Array.from({ length }, (_, i) =>
    i < reach ? i : Math.max(Math.min(reach, size - 1), size - (length - i)));
}

/**
 * Gives fully transparent pixels, whose colour means nothing, the mean premultiplied colour around them, the near ones
 * counting most, so that it does not seep into the edges. Where nothing visible is near, they stay as they are.
 */
function fillTransparent(rgba, width, height, radius) {
  const gaussian = (_, i) => Math.exp(-4.5 * ((i - radius) / radius) ** 2);
  const weights = Float32Array.from({ length: 2 * radius + 1 }, gaussian);
  const sums = [0, 1, 2, 3].map((channel) => {
    const plane = Float32Array.from({ length: width * height }, (_, i) =>
      rgba[i * 4 + 3] * (channel < 3 ? rgba[i * 4 + channel] : 1));
    return blurred(blurred(plane, width, height, weights, 1), width, height, weights, width);
  });
  for (let i = 0; i < width * height; i++) {
    if (rgba[i * 4 + 3] || !(sums[3][i] > 0)) continue;
    for (let channel = 0; channel < 3; channel++) rgba[i * 4 + channel] = sums[channel][i] / sums[3][i];
  }
}

/** The plane filtered along one axis: step is 1 along rows, width along columns; beyond the border is nothing. */
function blurred(plane, width, height, weights, step) {
  const radius = (weights.length - 1) / 2;
  const result = new Float32Array(plane.length);
  for (let i = 0; i < plane.length; i++) {
    const [place, length] = step === 1 ? [i % width, width] : [Math.floor(i / width), height];
    const last = Math.min(radius, length - 1 - place);
    for (let tap = Math.max(-radius, -place); tap <= last; tap++) {
      result[i] += weights[tap + radius] * plane[i + tap * step];
    }
  }
  return result;
}

/** Rows above and below that `enlargedRows` needs. */
export function marginOf(reach, alpha) {
  return alpha ? 2 * reach + Bicubic.REACH : reach;
}

/**
 * Yields rows of enlarged luma, less the network's error on flat colour and limited, each an Int32Array in steps, which
 * the next row overwrites.
 *
 * y: the luma of a window of whole rows from row `top` of the picture on. The others: see enlargedRows.
 */
export function* enlargedLuma(network, flatErrors, { y, width, height, top, first, last, reach }) {
  const scale = network.upscaleFactor;
  const seen = y.length / width;
  const enlarged = network.upscale(y, width, seen, { firstRow: first - top, lastRow: last - top });
  const flatError = new FlatError(flatErrors, scale, width, height, reach);
  const limits = new Limits(y, width, seen, scale);
  const luma = new Int32Array(width * scale);
  for (let row = first * scale, at = 0; row < last * scale; row++, at += luma.length) {
    const small = Math.floor(row / scale) - top;
    luma.set(enlarged.subarray(at, at + luma.length));
    flatError.subtractFrom(luma, row, y.subarray(small * width, (small + 1) * width));
    limits.apply(luma, small);
    yield luma;
  }
}

/**
 * Rows of a picture enlarged: luma by the network, chroma and alpha by bicubic interpolation.
 *
 * flatErrors: see measureFlatErrors, for flatLength x flatLength. width, height: of the picture. rgba: a window of
 * whole rows from row `top` on, of which first..last - 1, counted in the picture, are enlarged. reach: pixels to each
 * side that an enlarged pixel depends on. Returns 8-bit RGBA pixels.
 */
export function enlargedRows(network, flatErrors, { rgba, width, height, top, first, last, alpha, reach }) {
  const scale = network.upscaleFactor;
  const seen = rgba.length / 4 / width;
  if (alpha) fillTransparent(rgba, width, seen, reach + Bicubic.REACH);
  const { cb, cr } = yCbCr(rgba);
  const part = { y: lumaOf(rgba), width, height, top, first, last, reach };
  const bicubic = new Bicubic(width, seen, scale);
  const opacity = alpha && Float32Array.from(cb, (_, i) => rgba[i * 4 + 3]);
  const [blue, red, opaque] = [0, 1, 2].map(() => new Float32Array(width * scale));
  const result = new Uint8ClampedArray(4 * width * scale * (last - first) * scale);
  let [row, at] = [(first - top) * scale, 0];
  for (const luma of enlargedLuma(network, flatErrors, part)) {
    bicubic.row(cb, row, blue);
    bicubic.row(cr, row, red);
    putRgb(luma, blue, red, result, at);
    if (alpha) {
      bicubic.row(opacity, row, opaque);
      for (let i = 0; i < opaque.length; i++) result[(at + i) * 4 + 3] = opaque[i];
    }
    row++;
    at += luma.length;
  }
  return result;
}

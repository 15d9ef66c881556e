// How strongly a picture was compressed, in libjpeg's scale of quality, by its file's header and by its pixels, and how
// strongly it is restored: as in fsrcnn/pictures/headers.py, fsrcnn/pictures/quality.py and fsrcnn/restore.py.

// The strength for a picture compressed as libjpeg does at a quality; in between it is interpolated.
const STRENGTHS = { 20: 1, 30: 0.95, 40: 0.9, 50: 0.84, 60: 0.77, 70: 0.68, 80: 0.5, 90: 0.25, 95: 0.13, 100: 0 };
export const STEPS = 20; // strengths are multiples of 1 / STEPS

// Annex K of ITU-T T.81: the luma's quantisation steps at quality 50, row by row from the lowest frequency.
const LUMINANCE = [
  16, 11, 10, 16, 24, 40, 51, 61,
  12, 12, 14, 19, 26, 58, 60, 55,
  14, 13, 16, 24, 40, 57, 69, 56,
  14, 17, 22, 29, 51, 87, 80, 62,
  18, 22, 37, 56, 68, 109, 103, 77,
  24, 35, 55, 64, 81, 104, 113, 92,
  49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99,
];
const QUALITIES = range(100).map((index) => index + 1);
const LARGEST_STEP = 255; // of a table of 8 bits

const START_OF_SCAN = 0xda;
const QUANTISATION_TABLES = 0xdb;

const VP8_INDICES = [0, 4, 8.5, 13.5, 19, 28, 38, 51, 60, 73, 84, 127];
const VP8_QUALITIES = [100, 98, 95.5, 93, 89.5, 85, 79.5, 68.5, 57, 44, 38, 20];
const VP8_HEADER = 10; // bytes of a frame before its first partition
const VP8_BYTES = 256; // of a frame's start, which hold all that is read of it

const SEEN = { width: 2048, height: 1024 }; // pixels from the top left corner that are looked at

const LUMA = [299, 587, 114]; // of R, G and B, in thousandths
const UNIT = 1000;
const SIDE = 8; // pixels of a block
const BLOCKS = 1024;
const FIRST_BLOCKS = 256;
const LEAST_BLOCKS = 32;
const LEAST_CONTRAST = 2;
const MIXED = range(SIDE ** 2).map((index) => (index + 1) ** 2 * 7 + 1);
const HIGHEST = 5;
const [LEAST_QUALITY, MOST_QUALITY] = [10, 98];
const [BINS_A_LEVEL, BINS] = [4, 512];
const DEVIATIONS = [0.3, 0.7, 1.8];
const OUTLIERS = 0.05;
const [COMPARED, BUSY, LARGE, TWIN] = [192, 6, 8, 0.03];
const FIRST_EVIDENCE = -100;
const EVIDENCE = 40;
const [WITNESSES, WITNESS] = [6, 5];
const SHARE = 0.2;
const NEIGHBOURS = 4;
const FITTING = 0.35;
const [CLEAR, UNCLEAR] = [20, 2];
const EDGE = 8;
const SEARCHED = 512;

let made = null; // of `model`

/**
 * How strongly a picture is restored, 0 to 1, and by which quality, told by its file's header or by its pixels; both are
 * null where nothing shows that it was compressed. bytes: its file's. picture: a Picture.
 */
export function estimate(bytes, picture) {
  const [width, height] = [Math.min(picture.width, SEEN.width), Math.min(picture.height, SEEN.height)];
  const shown = pixelQuality(picture.pixels(0, 0, width, height), width, height);
  const told = fileQuality(bytes);
  const quality = Math.min(told ?? Infinity, shown ?? Infinity);
  const from = quality === Infinity ? null : quality === told ? "file" : "pixels";
  return { strength: strengthAt(quality), quality: from && quality, from };
}

/** The strength for a quality of 1 to 100; Infinity: not compressed. */
export function strengthAt(quality) {
  const strength = interpolated(quality, Object.keys(STRENGTHS).map(Number), Object.values(STRENGTHS));
  return roundedToEven(strength * STEPS) / STEPS;
}

// --- files ---

/** The quality that a JPEG or a lossy WebP was saved at, 1 to 100; null where its header does not tell. */
export function fileQuality(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xd8) {
    const table = jpegTable(bytes);
    return table && tableQuality(table);
  }
  if (text(bytes, 0) === "RIFF" && text(bytes, 8) === "WEBP") {
    const index = webpQuantiser(bytes);
    return index === null ? null : interpolated(index, VP8_INDICES, VP8_QUALITIES);
  }
  return null;
}

/** The quantisation steps of a JPEG's first channel, 64 row by row; null where there are none before its pixels. */
function jpegTable(bytes) {
  const tables = new Map();
  let number = null;
  for (let at = 2; bytes[at] === 0xff && at + 1 < bytes.length; ) {
    const marker = bytes[at + 1];
    if (marker === 0xff) {
      at++; // any marker may be preceded by fill bytes
      continue;
    }
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    if (marker === START_OF_SCAN || !(length >= 2)) break;
    const content = bytes.subarray(at + 4, at + 2 + length);
    if (marker === QUANTISATION_TABLES) readTables(content, tables);
    else if (isFrame(marker) && content.length > 8) number = content[8];
    at += 2 + length;
  }
  return tables.get(number) ?? null;
}

/** Whether a marker starts a frame, whatever its coding. */
function isFrame(marker) {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

function readTables(content, tables) {
  for (let at = 0; at < content.length; ) {
    const wide = content[at] >> 4 ? 2 : 1;
    if (content.length < at + 1 + 64 * wide) return;
    const table = new Array(64);
    zigzag().forEach((place, index) => {
      const from = at + 1 + index * wide;
      table[place] = wide === 2 ? (content[from] << 8) | content[from + 1] : content[from];
    });
    tables.set(content[at] & 15, table);
    at += 1 + 64 * wide;
  }
}

/** The places, row by row, of a table's steps in their order in a file: along the diagonals, to and fro. */
function zigzag() {
  return range(15).flatMap((order) => {
    const rows = range(8).filter((row) => order - row >= 0 && order - row < 8);
    return (order % 2 ? rows : rows.reverse()).map((row) => 8 * row + order - row);
  });
}

/** The luma's table at a quality as libjpeg scales it, not clipped to the bits of a file. */
function standardTable(quality) {
  const percent = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
  return LUMINANCE.map((step) => Math.max(Math.floor((step * percent + 50) / 100), 1));
}

/** The quality of the standard table nearest to this one in the logarithm. */
function tableQuality(table) {
  const steps = table.map((step) => Math.min(Math.max(step, 1), LARGEST_STEP));
  const distances = QUALITIES.map((quality) => {
    const standard = standardTable(quality).map((step) => Math.min(step, LARGEST_STEP));
    return logarithmicDistance(standard, steps);
  });
  return QUALITIES[greatest(distances.map((distance) => -distance))];
}

function logarithmicDistance(table, other) {
  return table.reduce((sum, step, index) => sum + Math.abs(Math.log(step) - Math.log(other[index])), 0);
}

/** The mean index of the quantisers of a lossy WebP, 0 (finest) to 127; null for others. */
function webpQuantiser(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    const frame = bytes.subarray(at + 8, at + 8 + Math.min(size, VP8_BYTES));
    const starts = frame[3] === 0x9d && frame[4] === 0x01 && frame[5] === 0x2a;
    if (text(bytes, at) === "VP8 " && frame.length > VP8_HEADER && starts) {
      return vp8Quantiser(frame.subarray(VP8_HEADER));
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** VP8's boolean decoder (RFC 6386, section 7.3). After the end of the bytes it reads zeros. */
class Bits {
  constructor(bytes) {
    Object.assign(this, { bytes, next: 1, left: 8, value: bytes[0], range: 255 });
  }

  flag(probability = 128) {
    const split = 1 + (((this.range - 1) * probability) >> 8);
    // `value` holds a byte and, below it, the bits of the next ones that were moved up so far.
    const found = this.value >= split;
    this.range = found ? this.range - split : split;
    if (found) this.value -= split;
    for (; this.range < 128; this.range *= 2) this.value = 2 * this.value + this.#bit();
    return Number(found);
  }

  #bit() {
    if (!this.left) [this.left, this.next] = [8, this.next + 1];
    this.left--;
    return ((this.bytes[this.next] ?? 0) >> this.left) & 1;
  }

  number(bits) {
    let value = 0;
    for (let bit = 0; bit < bits; bit++) value = 2 * value + this.flag();
    return value;
  }

  /** A number and its sign, where a flag says that they follow; else 0. */
  signed(bits) {
    if (!this.flag()) return 0;
    const value = this.number(bits);
    return this.flag() ? -value : value;
  }
}

/** The mean index of the quantisers of a key frame's segments, each as frequent as the header says that it is. */
function vp8Quantiser(bytes) {
  const bits = new Bits(bytes);
  bits.number(2); // colour space and clamping
  let [quantisers, absolute, shares] = [[0, 0, 0, 0], 0, [1, 0, 0, 0]];
  if (bits.flag()) {
    const [hasMap, hasData] = [bits.flag(), bits.flag()];
    if (hasData) {
      absolute = bits.flag();
      quantisers = range(4).map(() => bits.signed(7));
      for (let each = 0; each < 4; each++) bits.signed(6); // the loop filter's
    }
    if (hasMap) {
      const [first, low, high] = range(3).map(() => (bits.flag() ? bits.number(8) : 255) / 255);
      shares = [first * low, first * (1 - low), (1 - first) * high, (1 - first) * (1 - high)];
    }
  }
  bits.number(10); // the loop filter's kind, level and sharpness
  if (bits.flag() && bits.flag()) for (let each = 0; each < 8; each++) bits.signed(6);
  bits.number(2); // how many partitions there are
  const index = bits.number(7);
  const clipped = quantisers.map((each) => Math.min(Math.max(each + (absolute ? 0 : index), 0), 127));
  return clipped.reduce((sum, each, segment) => sum + each * shares[segment], 0);
}

function text(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

// --- pixels ---

/** The lowest quality of a JPEG that the pixels show; null where they show none. rgba: width x height. */
export function pixelQuality(rgba, width, height) {
  const [top, left] = shownGrid(rgba, width, height);
  const grids = top || left ? [[0, 0], [top, left]] : [[0, 0]];
  const found = grids.map((grid) => qualityOn(rgba, width, height, grid)).filter((quality) => quality !== null);
  return found.length ? Math.min(...found) : null;
}

function qualityOn(rgba, width, height, grid) {
  const first = gainsOfSteps(gainsOf(distinctBlocks(rgba, width, height, grid, FIRST_BLOCKS)));
  if (sum(first.map((each) => Math.max(...each))) < FIRST_EVIDENCE) return null;
  const blocks = distinctBlocks(rgba, width, height, grid, BLOCKS);
  if (blocks.length < LEAST_BLOCKS || repeats(blocks)) return null;
  const gains = gainsOf(blocks);
  const ofSteps = gainsOfSteps(gains);
  // A picture on its side has its tables on their side.
  const turned = model().turned.map((place) => gains[place]);
  const [ofTables, clearest] = [gains, turned]
    .map(gainsOfTables)
    .map((each) => [each, Math.max(...each.map(sum))])
    .reduce((best, other) => (other[1] > best[1] ? other : best));
  if (clearest >= FITTING * sum(ofSteps.map((each) => Math.max(...each)))) return standardQuality(ofTables);
  return nearestQuality(ofSteps);
}

/** Up to `most` blocks of luma that differ from each other and are neither flat nor clipped, spread over the picture. */
function distinctBlocks(rgba, width, height, [top, left], most) {
  const [rows, columns] = [height - top, width - left].map((length) => Math.max(Math.floor(length / SIDE), 0));
  const count = Math.min(rows * columns, most);
  const blocks = new Map();
  for (let number = 0; number < count; number++) {
    const index = Math.floor((number * rows * columns) / count);
    const corner = (top + SIDE * Math.floor(index / columns)) * width + left + SIDE * (index % columns);
    const block = lumaOf(rgba, width, corner);
    if (!block || Math.max(...block) - Math.min(...block) < LEAST_CONTRAST * UNIT) continue;
    const key = block.reduce((mixed, luma, place) => (mixed + Math.imul(luma - block[0], MIXED[place])) | 0, 0);
    if (!blocks.has(key)) blocks.set(key, block);
  }
  return [...blocks].sort(([key], [other]) => key - other).map(([, block]) => block);
}

/** Whether most of the blocks that have much in them resemble another but for some noise. */
function repeats(blocks) {
  const { transform } = model();
  const busy = blocks
    .slice(0, COMPARED)
    .map((block) => transform.map((row) => coefficientOf(row, block)))
    .filter((block) => block.filter((each) => Math.abs(each) >= LARGE).length >= BUSY);
  const energy = (block) => sum(block.map((each) => each ** 2));
  const twins = busy.filter((block) =>
    busy.some((other) => other !== block && energy(block.map((each, at) => each - other[at])) < TWIN * energy(block)));
  return busy.length >= LEAST_BLOCKS && 2 * twins.length > busy.length;
}

/** A block's luma in thousandths of a level, row by row; null where a channel is clipped. */
function lumaOf(rgba, width, corner) {
  const block = new Int32Array(SIDE ** 2);
  for (let place = 0; place < block.length; place++) {
    const at = 4 * (corner + Math.floor(place / SIDE) * width + (place % SIDE));
    for (let channel = 0; channel < 3; channel++) {
      const value = rgba[at + channel];
      if (value === 0 || value === 255) return null;
      block[place] += LUMA[channel] * value;
    }
  }
  return block;
}

/** The first row and column of the 8 x 8 blocks at whose borders the picture has the most corners. */
function shownGrid(rgba, stride, rows) {
  const [width, height] = [Math.min(stride, SEARCHED), Math.min(rows, SEARCHED)];
  const [down, across] = [new Int32Array(Math.max(height - 1, 0)), new Int32Array(Math.max(width - 1, 0))];
  const green = (row, column) => rgba[4 * (row * stride + column) + 1];
  for (let row = 0; row + 1 < height; row++) {
    for (let column = 0; column + 1 < width; column++) {
      const above = green(row, column + 1) - green(row, column);
      const below = green(row + 1, column + 1) - green(row + 1, column);
      const corner = Math.min(Math.abs(below - above), EDGE);
      down[row] += corner;
      across[column] += corner;
    }
  }
  return [firstBorder(down), firstBorder(across)];
}

function firstBorder(corners) {
  const whole = new Array(SIDE).fill(0);
  const last = Math.floor(corners.length / SIDE) * SIDE;
  for (let index = 0; index < last; index++) whole[index % SIDE] += corners[index];
  const higher = whole.map((each, index) => 2 * each - whole[(index + SIDE - 1) % SIDE] - whole[(index + 1) % SIDE]);
  return (greatest(higher) + 1) % SIDE;
}

/**
 * What is the same for all pictures: the DCT's rows for the coefficients that are looked at, the gains of a
 * coefficient's value by deviation and step, one row a bin, the tables of the qualities that are compared, and of each
 * coefficient the number of the one whose row is its column.
 */
function model() {
  made ??= makeModel();
  return made;
}

function makeModel() {
  const scaled = (frequency) => (frequency ? 0.5 : Math.sqrt(1 / SIDE));
  const cosine = (frequency, place) => scaled(frequency) * Math.cos(((2 * place + 1) * frequency * Math.PI) / 16);
  const places = range(SIDE ** 2);
  const order = (place) => Math.floor(place / SIDE) + (place % SIDE);
  const used = places.filter((place) => order(place) > 0 && order(place) <= HIGHEST);
  const transform = used.map((place) =>
    places.map((at) => cosine(Math.floor(place / SIDE), Math.floor(at / SIDE)) * cosine(place % SIDE, at % SIDE)));
  const turned = used.map((place) => used.indexOf(SIDE * (place % SIDE) + Math.floor(place / SIDE)));
  const qualities = range(MOST_QUALITY - LEAST_QUALITY + 1).map((index) => index + LEAST_QUALITY);
  const tables = qualities.map((quality) => used.map((place) => standardTable(quality)[place]));
  const steps = Math.max(...tables.flat());
  const gains = range(BINS).map((bin) => {
    const row = new Float32Array(DEVIATIONS.length * steps);
    DEVIATIONS.forEach((deviation, index) => {
      for (let step = 1; step <= steps; step++) {
        row[index * steps + step - 1] = gain(bin / BINS_A_LEVEL, step, deviation);
      }
    });
    return row;
  });
  return { transform, turned, tables, steps, gains };
}

function gain(value, step, deviation) {
  const off = Math.abs(((value + step / 2) % step) - step / 2);
  const near = (Math.exp(-0.5 * (off / deviation) ** 2) * step) / (deviation * Math.sqrt(2 * Math.PI));
  const found = Math.log((1 - OUTLIERS) * near + OUTLIERS);
  return value < step / 2 ? Math.min(found, 0) : found;
}

/** A coefficient of a block in levels. row: of the transform. */
function coefficientOf(row, block) {
  let coefficient = 0;
  for (let place = 0; place < row.length; place++) coefficient += row[place] * block[place];
  return coefficient / UNIT;
}

/** For each coefficient the logarithms of the likelihood ratios, by deviation and step. */
function gainsOf(blocks) {
  const { transform, steps, gains } = model();
  return transform.map((row) => {
    const histogram = new Int32Array(BINS);
    for (const block of blocks) {
      const bin = Math.floor(Math.abs(coefficientOf(row, block)) * BINS_A_LEVEL + 0.5);
      if (bin < BINS) histogram[bin]++;
    }
    const found = new Float64Array(DEVIATIONS.length * steps);
    histogram.forEach((count, bin) => {
      if (count) for (let index = 0; index < found.length; index++) found[index] += count * gains[bin][index];
    });
    return found;
  });
}

/** The gains of the steps from 2 on, as 1 is no trace, at the deviation likeliest for each: coefficients x steps. */
function gainsOfSteps(gains) {
  const { steps } = model();
  const places = DEVIATIONS.map((_, deviation) => deviation * steps);
  return gains.map((each) => range(steps).slice(1).map((index) => Math.max(...places.map((at) => each[at + index]))));
}

/** The gains of each quality's steps at the deviation likeliest for all: qualities x coefficients. */
function gainsOfTables(gains) {
  const { tables, steps } = model();
  return tables.map((table) => {
    const byDeviation = DEVIATIONS.map((_, deviation) =>
      table.map((step, coefficient) => gains[coefficient][deviation * steps + step - 1]));
    return byDeviation[greatest(byDeviation.map(sum))];
  });
}

function standardQuality(ofTables) {
  const evidence = ofTables.map(sum);
  const least = Math.max(EVIDENCE, SHARE * Math.max(...evidence));
  const index = evidence.findIndex((each, at) =>
    each >= least &&
    each === Math.max(...evidence.slice(Math.max(at - NEIGHBOURS, 0), at + NEIGHBOURS + 1)) &&
    ofTables[at].filter((found) => found >= WITNESS).length >= WITNESSES);
  return index < 0 ? null : LEAST_QUALITY + index;
}

/** The quality of the standard table nearest to the steps, from 2 on, that the coefficients show. */
function nearestQuality(ofSteps) {
  if (ofSteps.filter((each) => Math.max(...each) >= CLEAR).length < ofSteps.length - UNCLEAR) return null;
  const steps = ofSteps.map((each) => greatest(each) + 2);
  return LEAST_QUALITY + greatest(model().tables.map((table) => -logarithmicDistance(table, steps)));
}

// --- numbers ---

function range(length) {
  return Array.from({ length }, (_, index) => index);
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** The index of the first greatest value. */
function greatest(values) {
  return values.reduce((best, value, index) => (value > values[best] ? index : best), 0);
}

/** Interpolates between the points (xs[i], ys[i]), xs ascending, and keeps the ends' values beyond them. */
function interpolated(x, xs, ys) {
  const after = xs.findIndex((each) => each > x);
  if (after <= 0) return ys[after ? ys.length - 1 : 0];
  const slope = (ys[after] - ys[after - 1]) / (xs[after] - xs[after - 1]);
  return slope * (x - xs[after - 1]) + ys[after - 1];
}

/** Rounds as Python does: halves to the even number. */
function roundedToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

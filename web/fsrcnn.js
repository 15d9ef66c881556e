// The network as export.py writes it for WebAssembly, in one thread: a page makes one in each of its workers.

// A module whose one function is a relaxed-simd multiply-add.
const RELAXED = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2,
  253, 133, 2, 11,
]);
const PAGE = 65536;
const ALIGNMENT = 64;

export class Network {
  /** bytes: the content of a .wasm file, as Node reads it, too. */
  static async from(bytes) {
    const { instance } = await WebAssembly.instantiate(bytes);
    return new Network(instance.exports);
  }

  /**
   * url: of a .wasm file; .relaxed.wasm is loaded in its place if the engine has relaxed-simd. Throws an Error with the
   * status and the url for what the server does not give.
   */
  static async load(url) {
    const best = WebAssembly.validate(RELAXED) ? url.replace(/\.wasm$/, ".relaxed.wasm") : url;
    const response = await fetch(best);
    const { ok, status, statusText } = response;
    if (!ok) throw Object.assign(new Error(`${best}: ${status} ${statusText}`), { status, url: best });
    return Network.from(await response.arrayBuffer());
  }

  /**
   * Moves the weights towards another network's, 0: not at all, 1: all the way. The other is of the same variant and
   * scale and has not run yet, nor has this one: their memories differ in the weights alone, of 32 bits.
   */
  blend(other, strength) {
    const end = this.exports.__heap_base.value;
    if (other.exports.__heap_base.value !== end) throw new Error("the restoring weights are of another network");
    const views = [this, other].map(({ exports }) => [Uint32Array, Float32Array].map((View) =>
      new View(exports.memory.buffer, 0, Math.floor(end / View.BYTES_PER_ELEMENT))));
    const [[bits, weights], [otherBits, otherWeights]] = views;
    for (let i = 0; i < bits.length; i++) {
      if (bits[i] !== otherBits[i]) weights[i] += strength * (otherWeights[i] - weights[i]);
    }
  }

  constructor(exports) {
    this.exports = exports;
    this.upscaleFactor = exports.upscale_upscale_factor();
  }

  /**
   * Enlarges a plane of luma: row after row, a Float32Array in [0, 1] or a Uint8Array or Uint8ClampedArray in 0..255.
   * Enlarges rows firstRow..lastRow - 1 alone if they are given; the network still sees those above and below. Returns
   * the enlarged rows, an array of the same kind. Luma is 16 to 235 of 255, or with fullRange 0 to 255. Throws a
   * RangeError for another kind or length, and for rows that the plane does not have.
   */
  upscale(lr, width, height, { firstRow = 0, lastRow = height, fullRange = false } = {}) {
    check(lr, width, height, firstRow, lastRow);
    const { exports, upscaleFactor: scale } = this;
    const Plane = lr.constructor;
    const bytes = Plane.BYTES_PER_ELEMENT;
    const stride = width * bytes;
    const length = width * scale * (lastRow - firstRow) * scale;
    const [from, to, work] = this.#places(lr.byteLength, length * bytes, exports.upscale_work_size(width));
    new Plane(exports.memory.buffer, from, lr.length).set(lr);
    const upscale = bytes === 4 ? exports.upscale_float : exports.upscale_uint8;
    const top = to - firstRow * scale * stride * scale;
    upscale(from, stride, top, stride * scale, width, height, firstRow, lastRow, Number(fullRange), work);
    return new Plane(exports.memory.buffer, to, length).slice();
  }

  /** Addresses for these sizes in bytes; grows the memory where it is too small. */
  #places(...sizes) {
    const { memory, __heap_base: heap } = this.exports;
    const places = [];
    let end = heap.value;
    for (const size of sizes) {
      const place = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
      places.push(place);
      end = place + size;
    }
    const missing = end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
    return places;
  }
}

function check(lr, width, height, firstRow, lastRow) {
  const kinds = [Float32Array, Uint8Array, Uint8ClampedArray];
  if (!kinds.includes(lr?.constructor)) {
    throw new RangeError(`lr: expected one of ${kinds.map(({ name }) => name).join(", ")}`);
  }
  for (const [name, length] of Object.entries({ width, height })) {
    if (!(Number.isInteger(length) && length > 0)) throw new RangeError(`${name}: got ${length}, expected 1 or more`);
  }
  if (lr.length !== width * height) {
    throw new RangeError(`lr: got ${lr.length} samples, expected ${width} x ${height} = ${width * height}`);
  }
  const isRange = [firstRow, lastRow].every(Number.isInteger) && 0 <= firstRow && firstRow < lastRow && lastRow <= height;
  if (!isRange) throw new RangeError(`firstRow, lastRow: got ${firstRow}, ${lastRow}, expected rows of 0 to ${height}`);
}

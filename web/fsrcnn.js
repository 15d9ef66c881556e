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
   * url: of a .wasm file; .relaxed.wasm is loaded in its place if the engine has relaxed-simd. words: the url of other
   * weights for the integers, see useWords. Throws an Error with the status and the url for what the server does not
   * give.
   */
  static async load(url, words) {
    const best = WebAssembly.validate(RELAXED) ? url.replace(/\.wasm$/, ".relaxed.wasm") : url;
    const [module, others] = await Promise.all([fetched(best), words && fetched(words)]);
    const network = await Network.from(module);
    if (others) network.useWords(others);
    return network;
  }

  constructor(exports) {
    this.exports = exports;
    this.upscaleFactor = exports.upscale_upscale_factor();
    this.kinds = { Float32Array: exports.upscale_float, Int16Array: exports.upscale_int16 };
    for (const kind of ["Uint8Array", "Uint8ClampedArray"]) this.kinds[kind] = exports.upscale_uint8;
  }

  /**
   * Puts other weights in place of those in integers; those in float32 stay. bytes: an ArrayBuffer, as exports/page.py
   * writes it for a network of the same variant and scale. Throws a RangeError for one of another length.
   */
  useWords(bytes) {
    const { memory, upscale_words: words, upscale_words_size: size } = this.exports;
    const [got, expected] = [bytes.byteLength, size?.() ?? 0];
    if (got !== expected) throw new RangeError(`words: got ${got} bytes, expected ${expected}`);
    if (got) new Uint8Array(memory.buffer, words(), got).set(new Uint8Array(bytes));
  }

  /**
   * Enlarges a plane of luma: row after row, a Float32Array in [0, 1], a Uint8Array or Uint8ClampedArray in 0..255, or
   * an Int16Array in 0..8160, steps of 1/32. All but floats are enlarged in 16-bit integers, if the module has them; one
   * that has none takes no Int16Array. Enlarges rows firstRow..lastRow - 1 alone if they are given; the network still
   * sees those above and below. Returns the enlarged rows, an array of the same kind. Luma is 16 to 235 of 255, or with
   * fullRange, which means nothing to an Int16Array, 0 to 255. Throws a RangeError for another kind or length, and for
   * rows that the plane does not have.
   */
  upscale(lr, width, height, { firstRow = 0, lastRow = height, fullRange = false } = {}) {
    const { exports, upscaleFactor: scale, kinds } = this;
    check(lr, width, height, firstRow, lastRow, kinds);
    const Plane = lr.constructor;
    const bytes = Plane.BYTES_PER_ELEMENT;
    const stride = width * bytes;
    const length = width * scale * (lastRow - firstRow) * scale;
    const [from, to, work] = this.#places(lr.byteLength, length * bytes, exports.upscale_work_size(width));
    new Plane(exports.memory.buffer, from, lr.length).set(lr);
    const top = to - firstRow * scale * stride * scale;
    kinds[Plane.name](from, stride, top, stride * scale, width, height, firstRow, lastRow, Number(fullRange), work);
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

async function fetched(url) {
  const response = await fetch(url);
  const { ok, status, statusText } = response;
  if (!ok) throw Object.assign(new Error(`${url}: ${status} ${statusText}`), { status, url });
  return response.arrayBuffer();
}

function check(lr, width, height, firstRow, lastRow, kinds) {
  const taken = Object.keys(kinds).filter((kind) => kinds[kind]);
  if (!taken.includes(lr?.constructor.name)) throw new RangeError(`lr: expected one of ${taken.join(", ")}`);
  for (const [name, length] of Object.entries({ width, height })) {
    if (!(Number.isInteger(length) && length > 0)) throw new RangeError(`${name}: got ${length}, expected 1 or more`);
  }
  if (lr.length !== width * height) {
    throw new RangeError(`lr: got ${lr.length} samples, expected ${width} x ${height} = ${width * height}`);
  }
  const isOrdered = 0 <= firstRow && firstRow < lastRow && lastRow <= height;
  if (!isOrdered || ![firstRow, lastRow].every(Number.isInteger)) {
    throw new RangeError(`firstRow, lastRow: got ${firstRow}, ${lastRow}, expected rows of 0 to ${height}`);
  }
}

// Runs the compiled network of a WebAssembly module on words and pixels in files, as integer_forward.py does.
const { readFileSync } = require("node:fs");
const [code, packed, pixels, ...numbers] = process.argv.slice(2);
const [width, height, scale, columns, workBytes, eightBits, fullRange] = numbers.map(Number);
const { run, memory, __heap_base } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(code))).exports;
const [words, lr] = [readFileSync(packed), readFileSync(pixels)];
let free = __heap_base.value;
const places = [words.length, lr.length, lr.length * scale ** 2, workBytes].map((bytes) => {
  const place = (free + 63) & ~63;
  free = place + bytes;
  return place;
});
memory.grow(Math.ceil(free / 65536));
const [weights, small, large, work] = places;
const bytes = new Uint8Array(memory.buffer);
bytes.set(words, weights);
bytes.set(lr, small);
const stride = lr.length / height;
for (let left = 0; left < width; left += columns) {
  run(small, large, weights, work, stride, stride * scale, width, height, 0, height, left, columns, eightBits, fullRange);
}
process.stdout.write(bytes.slice(large, large + lr.length * scale ** 2));

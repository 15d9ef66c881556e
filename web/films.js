// Enlarges a video, a file's or a camera's, while it plays: luma by the network, chroma by linear interpolation.

import { moduleOf, reachOf, Refusal } from "./pictures.js";
import { yCbCr } from "./planes.js";
import { TEXTS } from "./texts.js";

const SLOTS = 2; // frames that are worked on at once: the workers have one while another is put together
const SECOND = 1000;
const OPAQUE = { alpha: false };
const LARGEST = 4096 * 2304; // pixels of an enlarged frame

export class Film {
  /** Plays a file, or the camera without one; paused at first without `play`. Throws a Refusal if there is no film. */
  static async open(file, { play = true } = {}) {
    if (!window.VideoFrame || !HTMLVideoElement.prototype.requestVideoFrameCallback) {
      throw new Refusal(TEXTS.noWebCodecs);
    }
    const video = document.createElement("video");
    Object.assign(video, { muted: true, loop: true, playsInline: true });
    if (file) video.src = URL.createObjectURL(file);
    else video.srcObject = await camera();
    try {
      await (play ? video.play() : firstFrame(video));
    } catch {
      throw new Refusal(TEXTS.unplayable(file?.name));
    }
    const film = new Film(video);
    if (film.width) return film;
    film.close(); // or it would play on, unseen
    throw new Refusal(TEXTS.noPictures(file.name));
  }

  constructor(video) {
    this.video = video;
    [this.width, this.height] = [video.videoWidth, video.videoHeight];
    // The original frame is drawn together with the enlarged one: the video itself has moved on by then.
    [this.small, this.large] = [0, 1].map(() => document.createElement("canvas"));
    [this.small.width, this.small.height] = [this.width, this.height];
    for (const event of ["pause", "seeked"]) video.addEventListener(event, () => this.#again());
  }

  /** Enlarges the film from now on. Calls onFrame after each frame with the number of frames in the last second. */
  enlarge(variant, scale, strength, pool, onFrame) {
    const { width, height } = this;
    if (width * height * scale ** 2 > LARGEST) {
      throw new Refusal(TEXTS.tooLargeLive(width, height, scale));
    }
    Object.assign(this, { scale, pool, onFrame, reach: reachOf(variant, scale) });
    this.module = moduleOf(variant, scale, strength);
    Object.assign(this, { taken: 0, drawn: 0, shown: [], run: Symbol(variant) });
    this.free = Array.from({ length: SLOTS }, () => new Slot(width, height, scale));
    [this.large.width, this.large.height] = [width * scale, height * scale];
    // What the browser makes of the frame, until the network's is there.
    for (const canvas of [this.small, this.large]) {
      canvas.getContext("2d", OPAQUE).drawImage(this.video, 0, 0, canvas.width, canvas.height);
    }
    this.#follow(this.run);
    this.#again();
  }

  /** The frame that the film is paused at, enlarged: an ImageData. */
  async still() {
    const slot = new Slot(this.width, this.height, this.scale);
    await this.#fill(slot);
    return slot.large;
  }

  /** Enlarges the current frame if the film is paused: the browser announces only those of films that play. */
  #again() {
    if (this.run && this.video.paused) this.#take(this.run);
  }

  close() {
    this.run = null;
    this.video.pause();
    this.video.srcObject?.getTracks().forEach((track) => track.stop());
    if (this.video.src) URL.revokeObjectURL(this.video.src);
  }

  /** Takes frame after frame of one run. */
  #follow(run) {
    this.video.requestVideoFrameCallback(() => {
      if (run !== this.run) return;
      this.#follow(run);
      this.#take(run);
    });
  }

  /** Enlarges the current frame; drops it if there is no free slot, but for the one that the film is paused at. */
  async #take(run) {
    const slot = this.free.pop();
    this.missed = !slot;
    if (!slot) return;
    const number = ++this.taken;
    try {
      await this.#fill(slot);
      if (run === this.run && number > this.drawn) this.#show(number, slot);
    } catch (error) {
      if (run === this.run) this.onFrame(0, error);
    }
    if (run !== this.run) return;
    this.free.push(slot);
    if (this.missed) this.#again();
  }

  #show(number, { small, large }) {
    this.drawn = number;
    this.small.getContext("2d", OPAQUE).putImageData(small, 0, 0);
    this.large.getContext("2d", OPAQUE).putImageData(large, 0, 0);
    const now = performance.now();
    this.shown = [...this.shown.filter((time) => time > now - SECOND), now];
    this.onFrame(this.shown.length);
  }

  /** Puts the current frame and the enlarged one into the slot. */
  async #fill(slot) {
    const { width, height, scale } = this;
    const frame = await frameOf(this.video, slot.small);
    const [wide, high] = [width * scale, height * scale];
    const luma = this.#luma(frame, slot.i420);
    const chromaWide = Math.ceil(wide / 2);
    const size = chromaWide * Math.ceil(high / 2);
    frame.chroma.forEach((plane, index) => {
      const at = wide * high + index * size;
      interpolate(plane, frame.chromaWidth, slot.i420.subarray(at, at + size), chromaWide);
    });
    await luma;
    const { timestamp, colorSpace } = frame;
    const format = { format: "I420", codedWidth: wide, codedHeight: high, timestamp, colorSpace };
    await convert(new VideoFrame(slot.i420, format), slot.large);
  }

  /** Enlarges the luma into the first plane of i420, in as many strips as there are workers. */
  #luma({ luma, colorSpace }, i420) {
    const { width, height, scale, pool, module, reach } = this;
    const rows = Math.ceil(height / pool.size);
    const strip = async (first) => {
      const last = Math.min(first + rows, height);
      const [top, bottom] = [Math.max(first - reach, 0), Math.min(last + reach, height)];
      const plane = luma.slice(top * width, bottom * width);
      const part = { firstRow: first - top, lastRow: last - top, fullRange: Boolean(colorSpace.fullRange) };
      const enlarged = await pool.run("luma", { module, plane, width, height: bottom - top, ...part });
      i420.set(enlarged, first * scale * width * scale);
    };
    return Promise.all(Array.from({ length: Math.ceil(height / rows) }, (_, index) => strip(index * rows)));
  }
}

/** Memory for one frame: its pixels, and the enlarged one's planes and pixels. */
class Slot {
  constructor(width, height, scale) {
    const [wide, high] = [width * scale, height * scale];
    this.small = new ImageData(width, height);
    this.large = new ImageData(wide, high);
    this.i420 = new Uint8Array(wide * high + 2 * Math.ceil(wide / 2) * Math.ceil(high / 2));
  }
}

/** Waits until the video has a frame to show. */
function firstFrame(video) {
  return new Promise((resolve, reject) => {
    video.addEventListener("loadeddata", resolve);
    video.addEventListener("error", reject);
    video.preload = "auto";
    video.load();
  });
}

async function camera() {
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 360 } } });
  } catch (error) {
    throw new Refusal(error.name === "NotAllowedError" ? TEXTS.cameraNotAllowed : TEXTS.noCamera);
  }
}

/** Puts the video's current frame into pixels and returns its 8-bit planes: luma, and chroma of chromaWidth columns. */
async function frameOf(video, pixels) {
  const { width, height } = pixels;
  const frame = new VideoFrame(video);
  const { format, visibleRect, displayWidth, displayHeight, rotation, timestamp } = frame;
  const upright = visibleRect?.width === width && visibleRect.height === height && !rotation;
  const square = displayWidth === width && displayHeight === height;
  if (format === "I420" && upright && square) return decoded(frame, pixels);
  frame.close();
  return drawn(video, timestamp, pixels);
}

/** The pixels and planes of a frame as the decoder made it. */
async function decoded(frame, pixels) {
  const { width, height } = pixels;
  const chromaWidth = Math.ceil(width / 2);
  const [size, chromaSize] = [width * height, chromaWidth * Math.ceil(height / 2)];
  const planes = new Uint8Array(size + 2 * chromaSize);
  const chromaAt = [size, size + chromaSize];
  await frame.copyTo(planes, {
    layout: [{ offset: 0, stride: width }, ...chromaAt.map((offset) => ({ offset, stride: chromaWidth }))],
  });
  const chroma = chromaAt.map((at) => planes.subarray(at, at + chromaSize));
  const { timestamp, colorSpace } = frame;
  await convert(frame, pixels);
  return { luma: planes.subarray(0, size), chroma, chromaWidth, timestamp, colorSpace };
}

const BT601 = { matrix: "smpte170m", primaries: "bt709", transfer: "bt709", fullRange: false };

/** The pixels and planes of a frame drawn on a canvas: for frames that are turned, not of 8 bits, or on the GPU. */
function drawn(video, timestamp, pixels) {
  draw(video, pixels);
  const { y, cb, cr } = yCbCr(pixels.data);
  const [luma, ...chroma] = [y, cb, cr].map((plane) => Uint8Array.from(plane, (value) => value + 0.5));
  return { luma, chroma, chromaWidth: pixels.width, timestamp, colorSpace: BT601 };
}

/** Copies a frame's pixels and closes it; through a canvas, which is slower, if the browser cannot convert it. */
async function convert(frame, pixels) {
  try {
    await frame.copyTo(pixels.data, { format: "RGBA" });
  } catch {
    draw(frame, pixels);
  }
  frame.close();
}

function draw(image, { data, width, height }) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { ...OPAQUE, willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  data.set(context.getImageData(0, 0, width, height).data);
}

/** Enlarges a plane, or reduces it a little, by linear interpolation into `enlarged`, whose rows are `wide`. */
function interpolate(plane, width, enlarged, wide) {
  const [height, high] = [plane.length / width, enlarged.length / wide];
  const columns = Array.from({ length: wide }, (_, column) => between(column, wide, width));
  const names = ["before", "after", "fraction"];
  const [left, right, fraction] = names.map((name) => Int32Array.from(columns, (each) => each[name]));
  const line = new Int32Array(width);
  for (let row = 0, to = 0; row < high; row++) {
    const { before, after, fraction: down } = between(row, high, height);
    for (let x = 0; x < width; x++) {
      line[x] = plane[before * width + x] * (256 - down) + plane[after * width + x] * down;
    }
    for (let x = 0; x < wide; x++, to++) {
      enlarged[to] = (line[left[x]] * (256 - fraction[x]) + line[right[x]] * fraction[x] + 32768) >> 16;
    }
  }
}

/** The two of `length` samples between which one of `enlarged` lies, and the fraction of the way in 256ths. */
function between(index, enlarged, length) {
  const at = Math.min(Math.max(((index + 0.5) * length) / enlarged - 0.5, 0), length - 1);
  const before = Math.floor(at);
  return { before, after: Math.min(before + 1, length - 1), fraction: Math.round((at - before) * 256) };
}

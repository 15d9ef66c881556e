// The page: opens files, reads the settings, and shows the results and messages.

import { readAddress, writeAddress } from "./address.js";
import { EXAMPLES, fileOf } from "./examples.js";
import { Film } from "./films.js";
import { BicubicLayer, ElementLayer, ResultLayer } from "./layers.js";
import { enlarge, LARGEST, Picture, prepare, Refusal, Result } from "./pictures.js";
import { Pool } from "./pool.js";
import { estimate } from "./quality.js";
import { Queue } from "./queue.js";
import { still } from "./rasters.js";
import { Saving } from "./saving.js";
import { planOf, sized } from "./sizes.js";
import { drawn } from "./svg.js";
import { TEXTS, translate } from "./texts.js";
import { View } from "./view.js";

const START = "astronaut"; // the example that the page opens with
// A module whose one function uses SIMD.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);
const CANCELLED = "cancelled";
const UPDATED = 500; // milliseconds between two updates of the frames per second and of the time left
const PATIENCE = 250; // milliseconds before the progress is shown
const LONG = 2; // seconds from which on the time that it will take is told
const HEAD = 2 ** 22; // bytes of a file, at most, before its pixels
// The strength for every film, whose codec the browser does not tell: what gains at every rate of every codec measured.
const FILM_STRENGTH = 0.1;
const SLOWER = 3; // times as long as the fast network the best one takes, about
const SMALL = 0.7; // screen pixels for each pixel of the result below which the two sides look alike
// Pixels of a picture by which the network's pace is measured, at least, and of one that takes no longer for each of its
// pixels than larger ones; smaller ones take about COLD times as long.
const [MEASURED, LARGE, COLD] = [20_000, 200_000, 2.5];

const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
// { name, restored: { strength, quality, from }, picture() or film, example, start, item, detail, scale }: scale is the
// setting by which it is shown.
let current = null;
// The scale that the user has asked for. Content that cannot be shown by it is shown by another, for itself alone.
let asked = "3";
const view = new View(
  Object.fromEntries(["stage", "before", "after", "slider", "loupe"].map((id) => [id, $(id)])),
  (ratio) => {
    const shown = view.layers.length > 0;
    $("percent").textContent = shown ? TEXTS.percent(ratio) : "";
    $("hint").textContent = shown && ratio < SMALL ? TEXTS.small(ratio) : "";
  },
);
const saving = new Saving(say, remember);
const queue = new Queue(
  { queue: $("queue"), list: $("files"), title: $("queue-title") },
  { onShow: (item) => attempt(openItem)(item), onRemove: forget },
);
const pace = {}; // seconds for each pixel of a picture, by variant, as measured last
let pool;
let opening = 0; // the number of the last opening: an earlier one that is still reading gives up
let isReading = false; // whether the last opening still reads
let work = new AbortController(); // of the picture that is enlarged now
let isLeaving = false; // whether the browser is on its way back to the start

// --- messages ---

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
  if (wrong) $("status").scrollIntoView({ block: "nearest" });
}

/** Tells the user what an error means; what is shown stays. */
function explain(error) {
  if (error === CANCELLED) return;
  say(wordsOf(error), true);
}

function wordsOf(error) {
  const text = `${error.name} ${error.message}`;
  if (error instanceof Refusal) return error.message;
  if (/memory|allocation/i.test(text)) return TEXTS.noMemory;
  const missing = /(made\/[\w.]+): 404/.exec(text);
  if (missing) return TEXTS.notMade(missing[1]);
  if (/Failed to fetch|NetworkError|Load failed/.test(text)) return TEXTS.offline;
  return error.message;
}

/** Runs a control's task and explains its errors to the user. */
function attempt(task) {
  return async (...args) => {
    try {
      await task(...args);
    } catch (error) {
      explain(error);
    }
  };
}

// --- settings ---

function setting(name) {
  return document.querySelector(`input[name=${name}]:checked`).value;
}

/** Checks the radio button with the value, or the one that is checked at first if there is none. */
function choose(name, value) {
  const inputs = [...document.querySelectorAll(`input[name=${name}]`)];
  (inputs.find((input) => input.value === value) ?? inputs.find((input) => input.defaultChecked)).checked = true;
}

function chooseScale(scale) {
  choose("scale", scale);
  $("size").hidden = setting("scale") !== "size";
}

function isPressed(id) {
  return $(id).getAttribute("aria-pressed") === "true";
}

function press(id, pressed) {
  $(id).setAttribute("aria-pressed", String(pressed));
  return pressed;
}

/** How strongly what is opened is restored: as the user set it, or as it seems to need it. */
function strength() {
  if (isPressed("auto")) $("strength").value = current?.restored.strength ?? 0;
  const { from, quality } = current?.restored ?? {};
  const chosen = TEXTS.chosen[isPressed("auto") ? from ?? "none" : "own"];
  $("chosen").textContent = typeof chosen === "function" ? chosen(Math.round(quality)) : chosen;
  $("percentage").textContent = TEXTS.percent(Number($("strength").value));
  return Number($("strength").value);
}

/** Puts the settings into the address. pushed: see writeAddress. */
function remember({ pushed = false } = {}) {
  const settings = {
    example: (current?.start ? "" : current?.example) ?? "",
    scale: asked,
    width: $("width").value,
    network: setting("variant"),
    restore: isPressed("auto") ? "auto" : $("strength").value,
    format: setting("format"),
    quality: $("quality").value,
  };
  const back = pushed || Boolean(history.state?.back); // whether the entry before this one is the start
  writeAddress(settings, { item: current?.item?.id ?? null, back }, pushed);
}

function applyAddress() {
  const { scale, width, network, restore, format, quality } = readAddress();
  chooseScale(scale);
  asked = setting("scale");
  choose("variant", network);
  choose("format", format);
  [$("width").value, $("quality").value] = [width, quality];
  press("auto", restore === "auto");
  if (restore !== "auto") $("strength").value = restore;
}

// --- opening ---

/** Makes content what is shown; content that a later opening has overtaken is given up. */
async function open(reading, { history: place = "push" } = {}) {
  const number = ++opening;
  isReading = true;
  const content = await reading.finally(() => {
    if (number === opening) isReading = false;
  });
  if (number !== opening) {
    content.film?.close();
    throw CANCELLED;
  }
  const wasStart = !current || Boolean(current.start);
  close();
  current = content;
  if (place === "push") remember({ pushed: wasStart && !content.start });
  if (place === "replace") remember();
  queue.select(content.item ?? null);
  for (const button of $("examples").querySelectorAll("button")) {
    button.setAttribute("aria-current", String(button.dataset.example === content.example));
  }
  $("close").hidden = Boolean(content.start);
  $("film").hidden = !content.film;
  $("nothing").hidden = true;
  $("stage").classList.remove("empty");
  // On a phone, the examples and the files lie far below it.
  if (!content.start) $("stage").scrollIntoView({ block: "nearest" });
  if (content.film) watch(content.film);
  try {
    await show();
  } catch (error) {
    if (current === content && !view.layers.length) showNothing(); // it was refused before anything was drawn
    throw error;
  }
}

function close() {
  work.abort(CANCELLED);
  current?.film?.close();
  current = null;
  view.clear();
  saving.withdraw();
  for (const each of ["rate", "percent", "hint"]) $(each).textContent = "";
  $("progress").hidden = $("scores").hidden = $("sides").hidden = true;
  choose("left", "bicubic");
}

async function readFile(file) {
  say(TEXTS.reading(file.name));
  const name = file.name.replace(/\.[^.]*$/, "");
  if (file.type.startsWith("video/")) {
    const film = await Film.open(file, { play: !calm.matches });
    return { name, film, restored: { strength: FILM_STRENGTH, from: "film" } };
  }
  // A broken drawing is left for Picture.read to refuse.
  const picture = await Picture.read(file.type === "image/svg+xml" ? await drawn(file).catch(() => file) : file);
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  return { name, picture: async () => picture, restored: estimate(head, picture) };
}

async function openItem(item, options) {
  const reading = readFile(item.file).then((content) => ({ ...content, item }));
  try {
    await open(reading, options);
  } catch (error) {
    if (error !== CANCELLED && current?.item !== item) queue.mark(item, "wrong");
    throw error;
  }
}

/** Opens the first of several files; the others wait in the queue. */
const openFiles = attempt(async (files) => {
  const [first] = queue.add([...files]);
  await openItem(first);
});

const openCamera = attempt(async () => {
  say(TEXTS.waiting);
  const restored = { strength: 0, from: "camera" };
  await open(Film.open(null).then((film) => ({ name: "camera", film, restored })));
});

/** Reads an example. start: whether it is the one that the page opens with. */
async function example(name, start = false) {
  const scale = () => (asked === "size" ? 4 : Number(asked));
  const content = await readFile(await fetched(fileOf(name, scale())));
  Object.assign(content, { name, example: name, start, detail: EXAMPLES[name].detail });
  if (content.film) return content;
  // Of each scale another small picture, made from the same original; what failed is tried again.
  const read = { [scale()]: content.picture() };
  const once = (key, reading) => (read[key] ??= reading().catch((error) => {
    delete read[key];
    throw error;
  }));
  content.picture = () => once(scale(), () => fetched(fileOf(name, scale())).then(Picture.read));
  content.original = () => once("original", () => fetched(`${name}.png`).then(createImageBitmap).then(pixelsOf));
  return content;
}

async function fetched(file) {
  const response = await fetch(`made/${file}`);
  if (!response.ok) throw new Error(`made/${file}: ${response.status}`);
  return new File([await response.blob()], file, { type: response.headers.get("content-type") });
}

/** The pixels of a bitmap or a canvas, as an ImageData. */
function pixelsOf(image) {
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}

/** Shows the start: the first example, with the line moving once by itself if nobody has touched anything. */
const start = attempt(async ({ moving = false } = {}) => {
  try {
    await open(example(START, true), { history: "none" });
  } catch (error) {
    if (!current && error !== CANCELLED) showNothing();
    throw error;
  }
  if (moving && !calm.matches) view.demonstrate();
});

function showNothing() {
  $("nothing").hidden = false;
  $("stage").classList.add("empty");
}

/** Gives up what is being read; what is shown stays. */
function stopReading() {
  opening++;
  isReading = false;
  say("");
}

/** Leaves what is opened, by the browser's Back if that leads to the start. */
async function leave() {
  if (!current || current.start || isLeaving) return;
  const focused = document.activeElement === $("close");
  if (history.state?.back) {
    isLeaving = true; // a second step back would leave the page
    history.back();
  } else {
    await start();
    remember();
  }
  if (focused) $("file").focus();
}

/** Goes where the address leads: after Back and Forward, or when somebody has written into it. */
const follow = attempt(async ({ state } = {}) => {
  isLeaving = false;
  if (!state) applyAddress();
  const { example: name } = readAddress();
  const item = state?.item && queue.find(state.item);
  if (item) return openItem(item, { history: "replace" });
  if (Object.hasOwn(EXAMPLES, name)) return open(example(name), { history: "replace" });
  await start({ moving: !current });
  return remember();
});

function forget(item) {
  if (current?.item === item) leave();
}

// --- showing ---

/** Enlarges what is opened by the current settings. */
async function show() {
  if (current.film) return showFilm(current);
  return showPicture(current);
}

const showAgain = attempt(async () => {
  remember();
  if (current) await show();
});

/**
 * What plan(scale) returns for the scale that is asked for, as { ..., scale, note }. Where it refuses that one, the
 * user's content that is shown stays as it is; other content is planned by the first of the others that is not refused.
 */
function planned(content, others, plan) {
  const refusals = [];
  const shown = content.scale && !content.start;
  for (const scale of shown ? [asked] : [asked, ...others]) {
    try {
      const plans = plan(scale);
      chooseScale(content.start ? asked : scale);
      return { ...plans, scale, note: refusals.length ? TEXTS.kept(refusals[0].message, scale) : "" };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refusals.push(error);
    }
  }
  if (shown && asked !== "size") { // of a width, another can be given
    asked = content.scale;
    chooseScale(asked);
    remember();
  }
  throw refusals.at(-1);
}

/** The scales to try in place of the one that is asked for: the next smaller ones; of a width, those nearest to it. */
function otherScales(content, width) {
  if (asked !== "size") return ["3", "2"].filter((scale) => scale < asked);
  return content.start || $("width").value > width ? ["4", "3", "2"] : ["2"];
}

/** The size that is asked for, and a Result to be filled. */
function planPicture(picture, scale) {
  if (scale !== "size") {
    const result = new Result(picture, Number(scale));
    return { result, width: result.width, height: result.height };
  }
  const width = Number($("width").value);
  if (!Number.isInteger(width) || width < 1) throw new Refusal(TEXTS.badWidth);
  const plan = planOf(picture, { width });
  return { result: new Result(picture, plan.scale), width: plan.width, height: plan.height };
}

async function showPicture(content) {
  const before = asked;
  const picture = await content.picture();
  if (content !== current || before !== asked) throw CANCELLED; // another has been chosen meanwhile
  const plan = planned(content, otherScales(content, picture.width), (scale) => planPicture(picture, scale));
  const { result, scale, width, height, note } = plan;
  work.abort(CANCELLED);
  work = new AbortController();
  const { signal } = work;
  $("scores").hidden = $("sides").hidden = true;
  const [variant, restoring] = [setting("variant"), strength()];
  const sizes = sizesOf(content, note, picture, { width, height });
  const first = content.scale === undefined;
  content.scale = scale;
  const layers = layersOf(picture, result, result);
  view.show(result.width, result.height, layers);
  if (first && content.detail) view.detail(content.detail);
  const finishing = waitFor(enlarged(result, { width, height, variant, restoring, signal, sizes }), signal);
  const name = `${content.name}_${scale === "size" ? `${width}x${height}` : `x${scale}`}`;
  // What can be saved already stays so: a click on Save that ends the typing of a width saves what it asks for.
  saving.offered && !content.start ? saving.offer(name, () => finishing) : saving.withdraw();
  const finished = await finishing.catch((error) => {
    if (!signal.aborted) saving.withdraw();
    throw error;
  });
  if (finished !== result) view.show(width, height, layersOf(picture, result, finished));
  const original = await comparison(content, picture, finished, signal);
  signal.throwIfAborted();
  const restored = restoring ? `, ${TEXTS.restored(restoring)}` : "";
  const notes = [picture.inexact && TEXTS.inexactAlpha, picture.animated && TEXTS.animated].filter(Boolean);
  say([`${sizes}.`, `${TEXTS.finished(finished.seconds)}${restored}.`, ...notes].join(" "));
  if (content.start) return;
  if (!saving.offered) saving.offer(name, async () => finished);
  if (original) $("sides").hidden = false;
}

/** What is shown, with a note on the scale that was refused, where there is one. */
function sizesOf({ example: name }, note, from, to) {
  const caption = name ? `${TEXTS.caption[name]}:` : "";
  return [note, caption, TEXTS.sizes(from, to)].filter(Boolean).join(" ");
}

function layersOf(picture, result, finished) {
  const layers = [new BicubicLayer(picture, finished, pool), new ResultLayer(finished)];
  [layers[0].name, layers[1].name] = [TEXTS.bicubic, "FSRCNN"];
  return layers;
}

/** Fills a result, and reduces it to the width and height; shows how far it is. */
async function enlarged(result, { width, height, variant, restoring, signal, sizes }) {
  const { picture, scale } = result;
  const pixels = picture.width * picture.height;
  const other = Object.keys(pace).find((each) => each !== variant);
  const guess = pace[variant] ?? (other && pace[other] * (variant === "fsrcnn" ? SLOWER : 1 / SLOWER));
  const expected = guess * pixels > LONG ? `, ${TEXTS.expected(guess * pixels)}` : "";
  say(`${sizes}${expected} …`);
  await prepare(variant, scale, restoring, pool);
  signal.throwIfAborted();
  const began = performance.now();
  let updated = began;
  await enlarge(result, variant, restoring, pool, {
    signal,
    onStrip(done) {
      $("done").value = done;
      view.refresh();
      const now = performance.now();
      if (now - updated < UPDATED || done === 1) return;
      updated = now;
      $("left").textContent = TEXTS.left(((now - began) / 1000) * (1 / done - 1));
    },
  });
  const seconds = (performance.now() - began) / 1000;
  if (pixels >= MEASURED) pace[variant] = seconds / pixels / (pixels < LARGE ? COLD : 1);
  if (width === result.width && height === result.height) return Object.assign(result, { seconds });
  const reduced = await sized(result, width, height, { pool, signal, onProgress: (part) => ($("done").value = part) });
  signal.throwIfAborted();
  return Object.assign(reduced, { seconds: (performance.now() - began) / 1000 });
}

/** Awaits a task and shows the progress meanwhile, unless it takes a moment only. */
async function waitFor(task, signal) {
  $("done").value = 0;
  $("left").textContent = "";
  const timer = setTimeout(() => {
    if (!signal.aborted) $("progress").hidden = false;
  }, PATIENCE);
  try {
    return await task;
  } finally {
    clearTimeout(timer);
    if (!signal.aborted) hideProgress();
  }
}

function hideProgress() {
  const focused = $("progress").contains(document.activeElement);
  $("progress").hidden = true;
  if (focused) $("stage").focus({ preventScroll: true });
}

/** Shows an example's original as a third layer, and how near the two others come to it. */
async function comparison(content, picture, result, signal) {
  const original = await content.original?.();
  signal.throwIfAborted();
  if (original?.width !== result.width || original.height !== result.height) return null;
  const { width, height } = result;
  const scale = width / picture.width;
  const sr = result.rows(0, height);
  const rgba = picture.pixels(0, 0, picture.width, picture.height);
  const [across, down] = [{ from: picture.width, to: width }, { from: picture.height, to: height }];
  const bicubic = await pool.run("resize", { rgba, across, down });
  const [before, after] = await Promise.all([bicubic, sr].map((pixels) =>
    pool.run("scores", { rgba: pixels, original: original.data, width, border: scale })));
  signal.throwIfAborted();
  const layer = new ResultLayer(still(original));
  layer.name = TEXTS.original;
  [view.layers[0].note, view.layers[1].note] = [before, after].map(({ psnr }) => `${psnr.toFixed(1)} dB`);
  view.show(width, height, [...view.layers.slice(0, 2), layer]);
  compare();
  const less = 1 - 10 ** ((before.psnr - after.psnr) / 10);
  $("verdict").textContent = TEXTS.verdict(TEXTS.percent(less));
  $("numbers").textContent = TEXTS.numbers(before, after);
  $("scores").hidden = false;
  return original;
}

/** Shows to the left of the line what is set there. */
function compare() {
  view.compare(setting("left") === "original" ? 2 : 0);
}

function showFilm(content) {
  const { film } = content;
  const restoring = strength();
  let updated = 0;
  const onFrame = (shown, error) => {
    if (content !== current) return;
    if (error) return explain(error);
    view.refresh();
    const { currentTime, duration, paused } = film.video;
    if (performance.now() - updated < UPDATED) return;
    updated = performance.now();
    $("seek").value = currentTime / duration || 0;
    $("rate").textContent = paused ? "" : TEXTS.rate(shown);
  };
  const plan = planned(content, otherScales(content, Infinity), (scale) => {
    if (scale === "size") throw new Refusal(TEXTS.filmWidth);
    film.enlarge(setting("variant"), Number(scale), restoring, pool, onFrame);
  });
  const scale = Number(plan.scale);
  content.scale = plan.scale;
  const { width, height, small, large } = film;
  const size = { width: width * scale, height: height * scale };
  const layers = [new ElementLayer(small, scale), new ElementLayer(large, 1)];
  [layers[0].name, layers[1].name] = [TEXTS.browser, "FSRCNN"];
  view.show(size.width, size.height, layers);
  const restored = restoring ? `, ${TEXTS.restored(restoring)}` : "";
  say(`${sizesOf(content, plan.note, film, size)}${restored}.`);
  saving.offer(`${content.name}_x${scale}`, async () => {
    film.video.pause();
    return still(await film.still());
  }, true);
}

/** Keeps the film's controls as the film is. */
function watch(film) {
  const { video } = film;
  const update = () => {
    if (current?.film !== film) return;
    $("play").textContent = video.paused ? TEXTS.play : TEXTS.pause;
    if (video.paused) $("rate").textContent = "";
  };
  for (const event of ["play", "pause"]) video.addEventListener(event, update);
  video.addEventListener("volumechange", () => press("sound", !video.muted));
  $("seek").hidden = $("sound").hidden = !Number.isFinite(video.duration);
  press("sound", !video.muted);
  update();
}

function cancel() {
  work.abort(CANCELLED);
  saving.withdraw();
  hideProgress();
  say(TEXTS.cancelled);
}

function cancelSaving() {
  saving.cancel();
  say("");
}

function isSavingAll() {
  return $("save-all").disabled;
}

/** Enlarges and saves every picture of the queue, by the same settings. */
const saveAll = attempt(async () => {
  const items = queue.items.filter(({ file }) => !file.type.startsWith("video/"));
  let [saved, failed] = [0, 0];
  $("save-all").disabled = true;
  try {
    for (const [index, item] of items.entries()) {
      if (!queue.find(item.id)) continue; // removed meanwhile
      queue.mark(item, "working");
      try {
        await openItem(item);
        say(TEXTS.savingAll(index + 1, items.length, item.file.name));
        const mark = current.scale === asked ? "saved" : "other";
        await saving.save();
        queue.mark(item, mark);
        saved++;
      } catch (error) {
        queue.mark(item, error === CANCELLED ? "" : current?.item === item ? "refused" : "wrong");
        if (error === CANCELLED) throw error;
        failed++;
      }
      if (current?.item !== item && item.mark !== "wrong") throw CANCELLED; // the user has opened another
    }
  } finally {
    $("save-all").disabled = false;
    if (document.activeElement === document.body) $("save-all").focus(); // which it has lost
  }
  const films = queue.items.some(({ file }) => file.type.startsWith("video/"));
  say(TEXTS.savedAll(saved, failed, films), failed > 0);
});

// --- controls ---

function connectSettings() {
  $("file").addEventListener("change", () => {
    const files = [...$("file").files];
    $("file").value = "";
    if (files.length) openFiles(files);
  });
  $("camera").addEventListener("click", openCamera);
  $("scales").addEventListener("change", () => {
    asked = setting("scale");
    chooseScale(asked);
    showAgain();
  });
  $("width").addEventListener("change", showAgain);
  $("variants").addEventListener("change", showAgain);
  $("auto").addEventListener("click", () => {
    press("auto", !isPressed("auto"));
    showAgain();
  });
  $("strength").addEventListener("input", () => {
    press("auto", false);
    strength();
  });
  $("strength").addEventListener("change", showAgain);
}

function connectView() {
  $("fit").addEventListener("click", () => view.fit());
  $("whole").addEventListener("click", () => view.wholePixels());
  $("in").addEventListener("click", () => view.zoomTo(view.zoom * 1.5));
  $("out").addEventListener("click", () => view.zoomTo(view.zoom / 1.5));
  $("loupe-button").addEventListener("click", () => {
    view.loupeShown = press("loupe-button", !isPressed("loupe-button"));
  });
  $("sides").addEventListener("change", compare);
  $("close").addEventListener("click", leave);
  $("cancel").addEventListener("click", cancel);
}

function connectFilm() {
  $("play").addEventListener("click", attempt(async () => {
    const { video } = current.film;
    await (video.paused ? video.play() : video.pause());
  }));
  $("seek").addEventListener("input", () => {
    const { video } = current.film;
    video.currentTime = $("seek").value * video.duration;
  });
  $("sound").addEventListener("click", () => {
    current.film.video.muted = !current.film.video.muted;
  });
}

function connectSaving() {
  const run = (task) => attempt(() => saving[task]().catch((error) => {
    if (error.name === "NotAllowedError") throw new Refusal(TEXTS.noCopy);
    throw error;
  }));
  $("download").addEventListener("click", run("save"));
  $("copy").addEventListener("click", run("copy"));
  $("stop").addEventListener("click", cancelSaving);
  $("save-all").addEventListener("click", saveAll);
}

function connectDocument() {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const { files } = event.dataTransfer;
    files.length ? openFiles(files) : say(TEXTS.onlyFiles, true);
  });
  document.addEventListener("paste", ({ clipboardData, target }) => {
    if (target.matches?.("input[type=number]")) return;
    const { files } = clipboardData;
    files.length ? openFiles(files) : say(TEXTS.noPicture, true);
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    if (saving.running) cancelSaving();
    else if (!$("progress").hidden || (isSavingAll() && !isReading)) cancel();
    else if (isReading && current) stopReading();
    else leave();
  });
  addEventListener("popstate", follow);
}

function listExamples() {
  for (const name of Object.keys(EXAMPLES)) {
    const [item, button, picture, label] = ["li", "button", "img", "span"].map((tag) => document.createElement(tag));
    picture.src = `made/${EXAMPLES[name].suffix === "webm" ? `${name}.png` : fileOf(name, 3)}`;
    picture.alt = "";
    picture.addEventListener("error", () => (picture.style.visibility = "hidden")); // or a sign of it is shown
    button.type = "button";
    button.dataset.example = name;
    label.textContent = TEXTS.example[name];
    button.append(picture, label);
    button.addEventListener("click", attempt(() => {
      say(TEXTS.reading(TEXTS.example[name]));
      return open(example(name));
    }));
    item.append(button);
    $("examples").append(item);
  }
}

function main() {
  translate();
  document.body.dataset.drop = TEXTS.dropHere;
  $("limit").textContent = TEXTS.limit(LARGEST);
  if (!globalThis.WebAssembly?.validate(SIMD)) {
    say(TEXTS.noSimd, true);
    $("stage").classList.add("empty");
    $("shelf").hidden = true;
    // Or the browser would leave the page for the file.
    for (const event of ["dragover", "drop"]) document.addEventListener(event, (dragged) => dragged.preventDefault());
    for (const control of document.querySelectorAll("button, input")) control.disabled = true;
    return;
  }
  pool = new Pool(navigator.hardwareConcurrency || 2);
  for (const connect of [connectSettings, connectView, connectFilm, connectSaving, connectDocument]) connect();
  applyAddress();
  listExamples();
  follow();
  navigator.serviceWorker?.register("service-worker.js"); // for offline use; plain http has no service workers
}

main();

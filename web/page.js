// The page: opens files, reads the settings, and shows the results and messages.

import { Film } from "./films.js";
import { BicubicLayer, ElementLayer, ResultLayer } from "./layers.js";
import { enlarge, LARGEST, megapixels, Picture, prepare, Refusal, Result } from "./pictures.js";
import { pngFile } from "./png.js";
import { Pool } from "./pool.js";
import { strengthOf } from "./quality.js";
import { View } from "./view.js";

const EXAMPLES = { astronaut: "png", chelsea: "png", coffee: "png", motorcycle: "webm" };
// A module whose one function uses SIMD.
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);
const CANCELLED = "cancelled";
const UPDATED = 500; // milliseconds between two updates of the frames per second
const HEAD = 2 ** 22; // bytes of a file, at most, before its pixels
// The strength for every film, whose codec the browser does not tell: what gains at every rate of every codec measured.
const FILM_STRENGTH = 0.1;

const $ = (id) => document.getElementById(id);
const view = new View(Object.fromEntries(["stage", "before", "after", "slider", "loupe"].map((id) => [id, $(id)])));
let pool;
let opened = null; // { name, strength, picture } or { name, strength, film }; strength: how strongly it is restored
let work = new AbortController(); // of the picture that is enlarged now
let finished = null; // the whole Result

function setting(name) {
  return document.querySelector(`input[name=${name}]:checked`).value;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

/** Tells the user what an error means; what is shown stays. */
function explain(error) {
  if (error === CANCELLED) return;
  const memory = !(error instanceof Refusal) && /memory|allocation/i.test(`${error.name} ${error.message}`);
  say(memory ? "The browser does not have enough memory for this; try a smaller scale." : error.message, true);
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

const open = attempt(async (file) => {
  say(`Reading ${file.name} …`);
  const { name } = file;
  if (file.type.startsWith("video/")) return start({ name, film: await Film.open(file), strength: FILM_STRENGTH });
  const picture = await Picture.read(file);
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  return start({ name, picture, strength: strengthOf(head, picture) });
});

const openCamera = attempt(async () => {
  say("Waiting for the camera …");
  await start({ name: "camera", film: await Film.open(null), strength: 0 });
});

const openExample = attempt(async (file) => {
  const response = await fetch(`made/${file}`);
  if (!response.ok) throw new Refusal(`The example ${file} is missing; make page makes it.`);
  await open(new File([await response.blob()], file, { type: response.headers.get("content-type") }));
});

async function start(content) {
  close();
  opened = content;
  $("start").hidden = true;
  $("stage").classList.remove("empty");
  $("stage").tabIndex = 0;
  $("controls").hidden = false;
  $("film").hidden = !opened.film;
  $("seek").hidden = $("sound").hidden = !Number.isFinite(opened.film?.video.duration);
  $("before-name").textContent = opened.film ? "browser" : "bicubic";
  await show();
}

function close() {
  work.abort(CANCELLED);
  opened?.film?.close();
  [opened, finished] = [null, null];
  view.clear();
  $("start").hidden = false;
  $("stage").classList.add("empty");
  $("stage").removeAttribute("tabindex");
  $("controls").hidden = $("progress").hidden = $("download").hidden = true;
}

/** How strongly what is opened is restored: as the user set it, or as it seems to need it. */
function strength() {
  if (opened && $("auto").getAttribute("aria-pressed") === "true") $("strength").value = opened.strength;
  return Number($("strength").value);
}

function restored(strength) {
  return strength ? `, restored by ${strength}` : "";
}

/** Enlarges the opened picture or film by the current settings. */
const show = attempt(async () => {
  if (!opened) return;
  work.abort(CANCELLED);
  $("download").hidden = true;
  await (opened.film ? showFilm(opened.film) : showPicture(opened.picture));
});

async function showPicture(picture) {
  const scale = Number(setting("scale"));
  const result = new Result(picture, scale);
  view.show(result.width, result.height, [new BicubicLayer(picture, scale, pool), new ResultLayer(result)]);
  finished = null;
  work = new AbortController();
  const { signal } = work;
  const sizes = `${picture.width} × ${picture.height} → ${result.width} × ${result.height}`;
  say(sizes);
  $("done").value = 0;
  $("progress").hidden = false;
  try {
    const [variant, restoring] = [setting("variant"), strength()];
    await prepare(variant, scale, restoring, pool);
    signal.throwIfAborted();
    const began = performance.now();
    await enlarge(result, variant, restoring, pool, {
      signal,
      onStrip(done) {
        $("done").value = done;
        view.refresh();
      },
    });
    const seconds = (performance.now() - began) / 1000;
    const rate = (result.width * result.height) / 1e6 / seconds;
    say(`${sizes} in ${seconds.toFixed(2)} s, ${rate.toFixed(1)} megapixels a second${restored(restoring)}`);
    finished = result;
    $("download").hidden = false;
  } finally {
    if (!signal.aborted) $("progress").hidden = true;
  }
}

function showFilm(film) {
  const [scale, restoring] = [Number(setting("scale")), strength()];
  let updated = 0;
  film.enlarge(setting("variant"), scale, restoring, pool, (shown, error) => {
    if (error) return explain(error);
    view.refresh();
    const { currentTime, duration } = film.video;
    if (performance.now() - updated < UPDATED) return;
    updated = performance.now();
    $("seek").value = currentTime / duration || 0;
    $("rate").textContent = film.video.paused ? "" : `${shown} frames a second`;
  });
  const { width, height, small, large } = film;
  view.show(width * scale, height * scale, [new ElementLayer(small, scale), new ElementLayer(large, 1)]);
  say(`${width} × ${height} → ${width * scale} × ${height * scale}${restored(restoring)}`);
}

function cancel() {
  work.abort(CANCELLED);
  $("progress").hidden = true;
  say("Cancelled; the browser itself enlarges the rest.");
}

const download = attempt(async () => {
  const { name } = opened;
  const before = $("status").textContent;
  say("Writing the PNG …");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await pngFile(finished));
  link.download = `${name.replace(/\.[^.]*$/, "")}_x${finished.scale}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say(before);
});

function toggle(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
  return pressed;
}

function connect() {
  $("file").addEventListener("change", () => {
    if ($("file").files.length) open($("file").files[0]);
    $("file").value = "";
  });
  $("camera").addEventListener("click", openCamera);
  for (const set of ["scales", "variants"]) $(set).addEventListener("change", show);
  $("auto").addEventListener("click", ({ currentTarget }) => {
    toggle(currentTarget, currentTarget.getAttribute("aria-pressed") !== "true");
    show();
  });
  $("strength").addEventListener("change", () => {
    toggle($("auto"), false);
    show();
  });
  $("download").addEventListener("click", download);
  $("cancel").addEventListener("click", cancel);
  $("close").addEventListener("click", () => {
    close();
    say("");
  });

  $("fit").addEventListener("click", () => view.fit());
  $("whole").addEventListener("click", () => view.wholePixels());
  $("in").addEventListener("click", () => view.zoomTo(view.zoom * 1.5));
  $("out").addEventListener("click", () => view.zoomTo(view.zoom / 1.5));
  $("loupe-button").addEventListener("click", ({ currentTarget }) => {
    view.loupeShown = toggle(currentTarget, currentTarget.getAttribute("aria-pressed") !== "true");
  });

  $("play").addEventListener("click", () => {
    const { film } = opened;
    film.video.paused ? film.video.play() : film.video.pause();
    $("play").textContent = film.video.paused ? "Play" : "Pause";
    film.again();
  });
  $("seek").addEventListener("input", () => {
    const { video } = opened.film;
    video.currentTime = $("seek").value * video.duration;
  });
  $("sound").addEventListener("click", ({ currentTarget }) => {
    opened.film.video.muted = !toggle(currentTarget, opened.film.video.muted);
  });

  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("stage").classList.add("over");
  });
  for (const end of ["dragleave", "drop"]) document.addEventListener(end, () => $("stage").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    file ? open(file) : say("Only files can be dropped here.", true);
  });
  document.addEventListener("paste", ({ clipboardData }) => {
    const [file] = clipboardData.files;
    file ? open(file) : say("The clipboard holds no picture.", true);
  });
}

function listExamples() {
  for (const [name, suffix] of Object.entries(EXAMPLES)) {
    const picture = new Image();
    picture.src = `made/${name}.png`;
    picture.alt = "";
    const button = document.createElement("button");
    button.type = "button";
    const label = name[0].toUpperCase() + name.slice(1);
    button.append(picture, suffix === "webm" ? `${label}, a film` : label);
    button.addEventListener("click", () => openExample(`${name}.${suffix}`));
    const item = document.createElement("li");
    item.append(button);
    $("examples").append(item);
  }
}

function main() {
  $("limit").textContent = `The limit is ${megapixels(LARGEST)} a result.`;
  if (!globalThis.WebAssembly?.validate(SIMD)) {
    say("This browser has no WebAssembly SIMD, which the network needs; browsers of the last years have it.", true);
    for (const control of document.querySelectorAll("button, input")) control.disabled = true;
    return;
  }
  pool = new Pool(navigator.hardwareConcurrency || 2);
  prepare(setting("variant"), Number(setting("scale")), 0, pool).catch(explain);
  connect();
  listExamples();
  navigator.serviceWorker?.register("service-worker.js"); // for offline use; plain http has no service workers
}

main();

// The part of the page that saves and copies a result.

import { canSave, save, sizeOf } from "./save.js";
import { TEXTS } from "./texts.js";

const SUFFIXES = { png: "png", jpeg: "jpg", webp: "webp" };
const RESTING = 150; // milliseconds that the settings rest before the size is estimated
const KEPT = 60_000; // milliseconds that a saved file's address lives

const $ = (id) => document.getElementById(id);

export class Saving {
  /** say: shows a text. onSettings is called when the user has chosen another format or quality. */
  constructor(say, onSettings) {
    Object.assign(this, { say, onSettings, offered: null, work: new AbortController(), sizing: new AbortController() });
    for (const each of ["formats", "quality"]) $(each).addEventListener("input", () => this.#update());
    for (const each of ["formats", "quality"]) $(each).addEventListener("change", () => this.onSettings());
    $("copy").hidden = !globalThis.ClipboardItem || !navigator.clipboard?.write;
    for (const input of document.querySelectorAll("input[name=format]")) {
      canSave(`image/${input.value}`).then((can) => (input.parentElement.hidden = !can));
    }
    this.#update();
  }

  get format() {
    return document.querySelector("input[name=format]:checked").value;
  }

  /**
   * Offers a result, in place of what has been offered; a file that is being saved goes on. name: the file's, without
   * suffix. result: a function that resolves to one. frame: whether it is one of a film.
   */
  offer(name, result, frame = false) {
    this.offered = { name, result, frame };
    $("saving").hidden = false;
    this.#update();
  }

  /** Offers nothing; a file that is being saved goes on. */
  withdraw() {
    this.sizing.abort();
    this.offered = null;
    $("saving").hidden = true;
  }

  cancel() {
    this.work.abort("cancelled");
  }

  get running() {
    return !$("saved").hidden;
  }

  /** Saves what is offered; rejects with "cancelled" if it is cancelled. Returns the file's name and bytes. */
  async save() {
    const name = `${this.offered.name}.${SUFFIXES[this.format]}`;
    const blob = await this.#made(this.#encoding(), name);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), KEPT);
    this.say(TEXTS.saved(name, blob.size));
    return { name, bytes: blob.size };
  }

  async copy() {
    // The promise, not its result: browsers allow copying only while they handle the click.
    const picture = this.#made({ type: "image/png" }, this.offered.name);
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
    } catch (error) {
      await picture;
      throw error;
    }
    this.say(TEXTS.copied);
  }

  #encoding() {
    return { type: `image/${this.format}`, quality: $("quality").value / 100 };
  }

  async #made(encoding, name) {
    this.cancel();
    const { signal } = (this.work = new AbortController());
    const focused = document.activeElement; // which the buttons lose while they are disabled
    this.say(TEXTS.saving(name));
    $("saved-part").value = 0;
    $("saved").hidden = false;
    for (const button of ["download", "copy"]) $(button).disabled = true;
    try {
      const stopped = new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      const result = await Promise.race([this.offered.result(), stopped]);
      return await save(result, encoding, (part) => ($("saved-part").value = part), signal);
    } finally {
      if (this.work.signal === signal) this.#ended(focused);
    }
  }

  #ended(focused) {
    const lost = document.activeElement === document.body || $("saved").contains(document.activeElement);
    $("saved").hidden = true;
    for (const button of ["download", "copy"]) $(button).disabled = false;
    if (lost) focused.focus();
  }

  /** Shows what belongs to the format, and soon the size that the file will have. */
  #update() {
    const { format, offered } = this;
    $("quality-row").hidden = format === "png";
    $("quality-value").textContent = $("quality").value;
    $("download").textContent = (offered?.frame ? TEXTS.saveFrame : TEXTS.save)(TEXTS.formats[`image/${format}`]);
    $("size-to-come").textContent = "";
    this.sizing.abort();
    if (!offered || offered.frame) return;
    const { signal } = (this.sizing = new AbortController());
    setTimeout(async () => {
      if (signal.aborted) return;
      const sizing = offered.result().then((result) => !signal.aborted && sizeOf(result, this.#encoding(), signal));
      const bytes = await sizing.catch(() => null); // why there is no result is said where it is made
      if (bytes && !signal.aborted) $("size-to-come").textContent = TEXTS.sizeToCome(bytes);
    }, RESTING);
  }
}

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

  /** name: the file's, without suffix. result: a function that resolves to one. frame: whether it is one of a film. */
  offer(name, result, frame = false) {
    this.offered = { name, result, frame };
    $("saving").hidden = false;
    this.#update();
  }

  withdraw() {
    this.cancel();
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
    this.say(TEXTS.saving(name));
    $("saved-part").value = 0;
    $("saved").hidden = false;
    for (const button of ["download", "copy"]) $(button).disabled = true;
    try {
      const result = await this.offered.result();
      return await save(result, encoding, (part) => ($("saved-part").value = part), signal);
    } finally {
      if (this.work.signal === signal) this.#ended();
    }
  }

  #ended() {
    const focused = $("saved").contains(document.activeElement);
    $("saved").hidden = true;
    for (const button of ["download", "copy"]) $(button).disabled = false;
    if (focused) $("download").focus();
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
      const bytes = await sizeOf(await offered.result(), this.#encoding(), signal).catch(() => null);
      if (bytes && !signal.aborted) $("size-to-come").textContent = TEXTS.sizeToCome(bytes);
    }, RESTING);
  }
}

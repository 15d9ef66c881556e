// The user's files: a strip of thumbnails, of which one is shown. One file alone has no strip.

import { drawn } from "./svg.js";
import { TEXTS } from "./texts.js";

const THUMBNAIL = { width: 175, height: 116 }; // CSS pixels, at most
let made = Promise.resolve(); // one thumbnail after another: a large picture takes much memory while it is read

export class Queue {
  /** Builds the strip in `list` (a ul); onShow and onRemove are called with an item: { id, file, mark }. */
  constructor({ queue, list, title }, { onShow, onRemove }) {
    Object.assign(this, { queue, list, title, onShow, onRemove, items: [], last: 0 });
  }

  /** Adds files and returns their items. */
  add(files) {
    const added = files.map((file) => ({ id: ++this.last, file, mark: "" }));
    for (const item of added) this.#build(item);
    this.items.push(...added);
    this.#count();
    return added;
  }

  find(id) {
    return this.items.find((item) => item.id === id);
  }

  /** Marks an item as one of TEXTS.marks. */
  mark(item, mark) {
    item.mark = mark;
    item.said.textContent = TEXTS.marks[mark];
    item.said.className = mark;
  }

  /** Marks the item that is shown; null: none. */
  select(shown) {
    for (const item of this.items) item.button.setAttribute("aria-current", String(item === shown));
    shown?.element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #count() {
    this.queue.hidden = this.items.length < 2;
    this.title.textContent = TEXTS.files(this.items.length);
    if (this.queue.hidden) return;
    for (const item of this.items.filter((each) => !each.drawn)) {
      item.drawn = true;
      made = made.then(() => draw(item));
    }
  }

  #build(item) {
    const { name } = item.file;
    [item.element, item.button, item.remove, item.said, item.canvas] = ["li", "button", "button", "small", "canvas"].map(
      (tag) => document.createElement(tag),
    );
    const caption = document.createElement("span");
    caption.textContent = name;
    item.button.type = item.remove.type = "button";
    item.button.title = name;
    item.button.setAttribute("aria-label", TEXTS.show(name));
    item.button.append(item.canvas, caption, item.said);
    item.button.addEventListener("click", () => this.onShow(item));
    item.remove.className = "remove";
    item.remove.textContent = "×";
    item.remove.setAttribute("aria-label", TEXTS.remove(name));
    item.remove.addEventListener("click", () => this.#remove(item));
    item.element.append(item.button, item.remove);
    if (item.file.type.startsWith("video/")) this.mark(item, "film");
    this.list.append(item.element);
  }

  #remove(item) {
    const next = item.element.nextElementSibling ?? item.element.previousElementSibling;
    item.element.remove();
    this.items = this.items.filter((each) => each !== item);
    this.#count();
    next?.querySelector("button").focus();
    this.onRemove(item);
  }
}

/** Draws the item's thumbnail, unless the browser reads no picture there: a film, or a file that is shown as wrong. */
async function draw({ file, canvas }) {
  const [width, height] = [THUMBNAIL.width, THUMBNAIL.height].map((length) => length * devicePixelRatio);
  Object.assign(canvas, { width, height });
  const isDrawing = file.type === "image/svg+xml";
  const bitmap = await (isDrawing ? drawn(file) : Promise.resolve(file)).then(createImageBitmap).catch(() => null);
  if (!bitmap) return;
  const zoom = Math.max(width / bitmap.width, height / bitmap.height);
  const [wide, high] = [bitmap.width * zoom, bitmap.height * zoom];
  canvas.getContext("2d").drawImage(bitmap, (width - wide) / 2, (height - high) / 2, wide, high);
  bitmap.close();
}

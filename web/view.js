// Two layers of one size, on either side of a slider, zoomed and moved together, and a loupe on both.
//
// A layer has an element on the stage; place(view), which moves and scales the element to match the view; and
// sample(context, left, top, size), which draws size x size of its pixels, unscaled, at the top left of a context.

const MOST = 32; // screen pixels for each pixel of the result, along each axis, at most
const STEP = 48; // CSS pixels that an arrow key moves
const LOUPE = { pixels: 24, times: 7 };

export class View {
  /** stage: holds before, after (where the layers come to lie), slider and loupe (two canvases). */
  constructor({ stage, before, after, slider, loupe }) {
    Object.assign(this, { stage, before, after, slider, loupe, layers: [], pointers: new Map(), fitted: true });
    [this.width, this.height, this.zoom, this.x, this.y] = [1, 1, 1, 0, 0];
    slider.addEventListener("input", () => this.#slide());
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#press(event));
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, ({ pointerId }) => this.pointers.delete(pointerId));
    }
    stage.addEventListener("pointerleave", () => this.#point(null));
    stage.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resized()).observe(stage);
    this.#slide();
  }

  /** Shows layers of width x height pixels, the same part as before if the shape is the same. */
  show(width, height, layers) {
    const times = this.width / width;
    const alike = Math.abs(this.height / height / times - 1) < 1e-6;
    Object.assign(this, { width, height, layers });
    this.before.replaceChildren(layers[0].element);
    this.after.replaceChildren(layers[1].element);
    alike && !this.fitted ? this.#move(this.zoom * times, this.x, this.y) : this.fit();
  }

  clear() {
    Object.assign(this, { layers: [], fitted: true });
    for (const side of [this.before, this.after]) side.replaceChildren();
  }

  /** Draws what has changed in the layers. */
  refresh() {
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      for (const layer of this.layers) layer.place(this);
      this.#drawLoupe();
    });
  }

  fit() {
    this.fitted = true;
    this.#move(this.#fitting());
  }

  /** Shows one pixel of the result on each screen pixel. */
  wholePixels() {
    this.zoomTo(1 / devicePixelRatio);
  }

  /** Zooms about a point of the stage, its centre where none is given. */
  zoomTo(zoom, [x, y] = this.#centre()) {
    const least = Math.min(this.#fitting(), 1 / devicePixelRatio);
    const next = Math.min(Math.max(zoom, least), MOST / devicePixelRatio);
    this.fitted = next === this.#fitting();
    const times = next / this.zoom;
    this.#move(next, x - (x - this.x) * times, y - (y - this.y) * times);
  }

  set loupeShown(shown) {
    this.loupe.hidden = !shown;
    this.#drawLoupe();
  }

  /** The rectangle of the result that is on the stage, in whole pixels. */
  get visible() {
    const [stageWidth, stageHeight] = this.#size();
    const left = Math.max(0, Math.floor(-this.x / this.zoom));
    const top = Math.max(0, Math.floor(-this.y / this.zoom));
    const right = Math.min(this.width, Math.ceil((stageWidth - this.x) / this.zoom));
    const bottom = Math.min(this.height, Math.ceil((stageHeight - this.y) / this.zoom));
    return { left, top, width: Math.max(1, right - left), height: Math.max(1, bottom - top) };
  }

  #size() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  #centre() {
    return this.#size().map((length) => length / 2);
  }

  #fitting() {
    const [width, height] = this.#size();
    return Math.min(width / this.width, height / this.height, MOST / devicePixelRatio);
  }

  /** Zooms and moves the layers: without x and y to the middle, where smaller ones stay; larger ones leave no gap. */
  #move(zoom, x = 0, y = 0) {
    const place = (at, length, stage) => {
      const room = stage - length * zoom;
      return room >= 0 ? room / 2 : Math.min(0, Math.max(at, room));
    };
    const [stageWidth, stageHeight] = this.#size();
    Object.assign(this, { zoom, x: place(x, this.width, stageWidth), y: place(y, this.height, stageHeight) });
    this.refresh();
  }

  #resized() {
    this.fitted ? this.fit() : this.#move(this.zoom, this.x, this.y);
  }

  #slide() {
    this.stage.style.setProperty("--slider", `${this.slider.value}%`);
  }

  #wheel(event) {
    if (!this.layers.length) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    this.zoomTo(this.zoom * Math.exp(-0.002 * lines * event.deltaY), this.#at(event));
  }

  #at({ clientX, clientY }) {
    const { left, top } = this.stage.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  #press(event) {
    if (!this.layers.length || event.target.closest("input, button") || event.button) return;
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#at(event));
    this.#point(this.#at(event));
  }

  #drag(event) {
    const now = this.#at(event);
    const before = this.pointers.get(event.pointerId);
    this.#point(now);
    if (!before) return;
    this.pointers.set(event.pointerId, now);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return this.#move(this.zoom, this.x + now[0] - before[0], this.y + now[1] - before[1]);
    const distance = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
    return this.zoomTo((this.zoom * distance(now)) / distance(before), other);
  }

  #key(event) {
    if (event.target !== this.stage) return;
    const move = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const zoom = { "+": 1.25, "=": 1.25, "-": 0.8 }[event.key];
    if (move) this.#move(this.zoom, this.x + STEP * move[0], this.y + STEP * move[1]);
    else if (zoom) this.zoomTo(this.zoom * zoom);
    else if (event.key === "0") this.fit();
    else if (event.key === "1") this.wholePixels();
    else return;
    event.preventDefault();
  }

  #point(at) {
    this.pointed = at;
    this.#drawLoupe();
  }

  /** Draws both layers around the pointer, or around the centre for keyboard users. */
  #drawLoupe() {
    if (this.loupe.hidden || !this.layers.length) return;
    const { pixels, times } = LOUPE;
    const [x, y] = this.pointed ?? this.#centre();
    const first = (at, length) => Math.min(Math.max(Math.round(at - pixels / 2), 0), Math.max(length - pixels, 0));
    const [left, top] = [first((x - this.x) / this.zoom, this.width), first((y - this.y) / this.zoom, this.height)];
    const small = new OffscreenCanvas(pixels, pixels);
    const context = small.getContext("2d");
    [...this.loupe.querySelectorAll("canvas")].forEach((canvas, index) => {
      context.clearRect(0, 0, pixels, pixels);
      this.layers[index].sample(context, left, top, pixels);
      canvas.width = canvas.height = pixels * times;
      const large = canvas.getContext("2d");
      large.imageSmoothingEnabled = false;
      large.drawImage(small, 0, 0, canvas.width, canvas.height);
    });
    const { offsetWidth, offsetHeight } = this.loupe;
    const [width, height] = this.#size();
    const gap = 20;
    const right = Math.max(0, Math.min(x - offsetWidth / 2, width - offsetWidth));
    const above = y - offsetHeight - gap;
    const down = above >= 0 ? above : Math.min(y + gap, height - offsetHeight);
    this.loupe.style.transform = `translate(${right}px, ${down}px)`;
  }
}

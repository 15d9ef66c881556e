// Pictures of one size, two of them on either side of a line, zoomed and moved together, and a loupe on all.
//
// A layer has an element on the stage; place(view), which moves and scales the element to match the view; and
// sample(context, left, top, size), which draws size x size of its pixels, unscaled, at the top left of a context. The
// page gives it a name, shown at the picture, and a note beside the name.

const MOST = 32; // screen pixels for each pixel of the result, along each axis, at most
const STEP = 48; // CSS pixels that an arrow key moves
const LOUPE = { side: 168, times: 4, more: 3 }; // CSS pixels; magnification at least, and at least `more` than the view's
const LINE = 16; // CSS pixels from the line within which it is seized
const STILL = 5; // CSS pixels that a pointer moves during a click, at most
const TWICE = 350; // milliseconds between two clicks that are a double one
const SHOW = { lasts: 3600, places: [50, 20, 80, 50] }; // milliseconds; places of the line in percent

export class View {
  /**
   * stage: holds before and after (each a layer's place and a name), slider and loupe. onZoom is called with the screen
   * pixels for each pixel of the result.
   */
  constructor({ stage, before, after, slider, loupe }, onZoom) {
    Object.assign(this, { stage, before, after, slider, loupe, onZoom, layers: [], left: 0, fitted: true });
    [this.width, this.height, this.zoom, this.x, this.y] = [1, 1, 1, 0, 0];
    this.pointers = new Map(); // by their numbers: { at, from, mode }; mode: line, move or point
    slider.addEventListener("input", () => this.#slide());
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#press(event));
    // The browser would give the stage the focus, in place of the line.
    stage.addEventListener("mousedown", (event) => event.target.closest("#progress") || event.preventDefault());
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    stage.addEventListener("pointerup", (event) => this.#release(event));
    stage.addEventListener("pointercancel", ({ pointerId }) => this.pointers.delete(pointerId));
    stage.addEventListener("pointerleave", () => this.#point(null));
    // Two fingers are for the picture; of one, the browser takes what scrolls the page: see touch-action.
    const two = (event) => event.touches.length > 1 && event.preventDefault();
    for (const touch of ["touchstart", "touchmove"]) stage.addEventListener(touch, two, { passive: false });
    stage.addEventListener("keydown", (event) => this.#key(event));
    for (const end of ["pointerdown", "keydown", "wheel"]) {
      addEventListener(end, () => this.#endShow(), { capture: true, passive: true });
    }
    new ResizeObserver(() => this.#resized()).observe(stage);
    this.#slide();
  }

  /**
   * Shows layers of width x height pixels: the first, or `left`, to the left of the line, the second to its right. Keeps
   * the part that is shown if the shape is the same.
   */
  show(width, height, layers) {
    const times = this.width / width;
    const alike = Math.abs(this.height / height / times - 1) < 0.01;
    Object.assign(this, { width, height, layers });
    this.left = layers[this.left] ? this.left : 0;
    this.#put();
    alike && !this.fitted ? this.#move(this.zoom * times, this.x, this.y) : this.fit();
  }

  clear() {
    Object.assign(this, { layers: [], left: 0, fitted: true });
    for (const side of [this.before, this.after]) side.querySelector(".layer").replaceChildren();
  }

  /** Shows another layer to the left of the line: the first, 0, or the third, 2. */
  compare(index) {
    this.left = index;
    this.#put();
    this.refresh();
  }

  #put() {
    const sides = [[this.before, this.layers[this.left]], [this.after, this.layers[1]]];
    for (const [side, layer] of sides) side.querySelector(".layer").replaceChildren(layer.element);
    this.rename();
  }

  /** Shows the layers' names and notes anew. */
  rename() {
    const sides = [[this.before, this.layers[this.left]], [this.after, this.layers[1]]];
    for (const [side, { name, note }] of sides) {
      const parts = [document.createElement("b"), document.createElement("span")];
      [parts[0].textContent, parts[1].textContent] = [name, note ?? ""];
      side.querySelector(".name").replaceChildren(...parts.slice(0, note ? 2 : 1));
    }
  }

  /** Draws what has changed in the layers. */
  refresh() {
    this.due ??= requestAnimationFrame(() => {
      this.due = null;
      if (!this.layers.length) return;
      for (const layer of [this.layers[this.left], this.layers[1]]) layer.place(this);
      this.#drawLoupe();
    });
  }

  fit() {
    this.fitted = true;
    this.#move(this.#fitting());
  }

  /** Shows one pixel of the result on each screen pixel. */
  wholePixels(at) {
    this.zoomTo(1 / devicePixelRatio, at);
  }

  /**
   * Shows a square of the result, its centre and side in shares of the result's width, as large as the stage has room,
   * with 2 to 5 screen pixels for each of its pixels.
   */
  detail([x, y, side]) {
    const [width, height] = this.#size();
    const most = (Math.max(width, height) / (side * this.width)) * devicePixelRatio;
    const zoom = Math.min(Math.max(2, Math.floor(most)), 5) / devicePixelRatio;
    if (zoom <= this.#fitting()) return this.fit();
    this.fitted = false;
    return this.#move(zoom, width / 2 - x * this.width * zoom, height / 2 - y * this.width * zoom);
  }

  /** Moves the line to both sides and back, once, until the user does something. */
  demonstrate() {
    const { lasts, places } = SHOW;
    const began = performance.now();
    const step = (now) => {
      const at = Math.min(1, Math.max(0, now - began) / lasts) * (places.length - 1);
      const index = Math.min(Math.floor(at), places.length - 2);
      const eased = (1 - Math.cos(Math.PI * (at - index))) / 2;
      this.#setLine(places[index] + (places[index + 1] - places[index]) * eased);
      this.moving = at < places.length - 1 ? requestAnimationFrame(step) : null;
    };
    this.#endShow();
    this.moving = requestAnimationFrame(step);
  }

  #endShow() {
    cancelAnimationFrame(this.moving);
    this.moving = null;
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
    this.stage.classList.toggle("loupe", shown);
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

  /** Whether the picture is larger than the stage, so that there is something to move. */
  get #movable() {
    const [width, height] = this.#size();
    return this.width * this.zoom > width + 1 || this.height * this.zoom > height + 1;
  }

  /** Zooms and moves the layers: without x and y to the middle, where smaller ones stay; larger ones leave no gap. */
  #move(zoom, x = 0, y = 0) {
    const place = (at, length, stage) => {
      const room = stage - length * zoom;
      const best = room >= 0 ? room / 2 : Math.min(0, Math.max(at, room));
      return Math.round(best * devicePixelRatio) / devicePixelRatio; // or 1:1 would blur
    };
    const [stageWidth, stageHeight] = this.#size();
    Object.assign(this, { zoom, x: place(x, this.width, stageWidth), y: place(y, this.height, stageHeight) });
    const edges = { left: this.x, top: this.y, right: stageWidth - this.x - this.width * zoom };
    for (const [edge, length] of Object.entries(edges)) {
      this.stage.style.setProperty(`--${edge}`, `${Math.max(0, length)}px`);
    }
    this.stage.classList.toggle("movable", this.#movable);
    this.onZoom(zoom * devicePixelRatio);
    this.refresh();
  }

  #resized() {
    this.fitted ? this.fit() : this.#move(this.zoom, this.x, this.y);
  }

  #slide() {
    this.stage.style.setProperty("--slider", `${this.slider.value}%`);
  }

  /** Moves the line to a place in percent. */
  #setLine(place) {
    this.slider.value = place;
    this.#slide();
  }

  #lineTo([x]) {
    this.#setLine((100 * x) / this.stage.clientWidth);
  }

  #wheel(event) {
    if (!this.layers.length) return;
    const before = this.zoom;
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    this.zoomTo(this.zoom * Math.exp(-0.002 * lines * event.deltaY), this.#at(event));
    if (this.zoom !== before || event.ctrlKey) event.preventDefault(); // at either end, the wheel scrolls the page
  }

  #at({ clientX, clientY }) {
    const { left, top } = this.stage.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  #press(event) {
    if (!this.layers.length || event.target.closest("#progress") || event.button) return;
    const at = this.#at(event);
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { at, from: at, mode: this.#modeOf(event, at) });
    if (this.pointers.size > 1) for (const pointer of this.pointers.values()) pointer.mode = "move";
    this.#point(at);
  }

  /** What a pointer that comes down does when it is moved. */
  #modeOf({ pointerType }, [x]) {
    const near = Math.abs(x - (this.slider.value / 100) * this.stage.clientWidth) <= LINE;
    if (near) this.slider.focus({ preventScroll: true }); // for the arrow keys
    else this.stage.focus({ preventScroll: true });
    if (near) return "line";
    if (pointerType === "touch") return this.loupe.hidden ? "line" : "point";
    return this.#movable ? "move" : "line";
  }

  #drag(event) {
    const now = this.#at(event);
    const pointer = this.pointers.get(event.pointerId);
    this.#point(now);
    this.stage.classList.toggle("near", pointer ? pointer.mode === "line" : this.#isNear(now));
    if (!pointer) return;
    const { at } = pointer;
    pointer.at = now;
    pointer.moved ||= Math.hypot(now[0] - pointer.from[0], now[1] - pointer.from[1]) > STILL;
    if (!pointer.moved) return;
    // A finger that starts up or down scrolls the page: the browser takes it over in a moment.
    pointer.across ??= Math.abs(now[0] - pointer.from[0]) >= Math.abs(now[1] - pointer.from[1]);
    if (pointer.mode === "line" && (pointer.across || event.pointerType !== "touch")) this.#lineTo(now);
    if (pointer.mode !== "move") return;
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) return this.#move(this.zoom, this.x + now[0] - at[0], this.y + now[1] - at[1]);
    // Two fingers: their middle moves the picture, their distance zooms it.
    const distance = ([x, y]) => Math.hypot(x - other.at[0], y - other.at[1]) || 1;
    const middle = ([x, y]) => [(x + other.at[0]) / 2, (y + other.at[1]) / 2];
    const [before, after] = [middle(at), middle(now)];
    this.zoomTo((this.zoom * distance(now)) / distance(at), before);
    this.#move(this.zoom, this.x + after[0] - before[0], this.y + after[1] - before[1]);
  }

  #isNear([x]) {
    return Math.abs(x - (this.slider.value / 100) * this.stage.clientWidth) <= LINE;
  }

  #release({ pointerId }) {
    const pointer = this.pointers.get(pointerId);
    this.pointers.delete(pointerId);
    if (!pointer || pointer.moved || this.pointers.size) return;
    const now = performance.now();
    if (this.clicked && now - this.clicked.time < TWICE) {
      this.#setLine(this.clicked.line);
      this.clicked = null;
      const whole = Math.abs(this.zoom * devicePixelRatio - 1) < 1e-6;
      whole ? this.fit() : this.wholePixels(pointer.at);
      return;
    }
    this.clicked = { time: now, line: this.slider.value };
    this.#lineTo(pointer.at);
  }

  #key(event) {
    if (event.target !== this.stage || event.ctrlKey || event.metaKey || event.altKey) return;
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

  /** Draws all layers around the pointer, or around the centre for keyboard users. */
  #drawLoupe() {
    if (this.loupe.hidden || !this.layers.length) return;
    const [x, y] = this.pointed ?? this.#centre();
    const times = Math.ceil(Math.max(LOUPE.times, LOUPE.more * this.zoom));
    const pixels = Math.max(5, Math.ceil(LOUPE.side / times)) | 1; // an odd number: the crosshair is on a pixel
    const first = (at) => Math.floor(at) - (pixels - 1) / 2;
    const [left, top] = [first((x - this.x) / this.zoom), first((y - this.y) / this.zoom)];
    const small = new OffscreenCanvas(pixels, pixels);
    const context = small.getContext("2d");
    this.#lenses().forEach((canvas, index) => {
      context.clearRect(0, 0, pixels, pixels);
      const [inLeft, inTop] = [[left, this.width], [top, this.height]].map(([at, length]) =>
        Math.min(Math.max(at, 0), Math.max(length - pixels, 0)));
      context.save();
      context.translate(inLeft - left, inTop - top);
      this.layers[index].sample(context, inLeft, inTop, pixels);
      context.restore();
      canvas.width = canvas.height = pixels * times;
      const large = canvas.getContext("2d");
      large.imageSmoothingEnabled = false;
      large.drawImage(small, 0, 0, canvas.width, canvas.height);
    });
    this.loupe.style.setProperty("--pixel", `${100 / pixels}%`);
    this.#placeLoupe(x, y);
  }

  /** A canvas for each layer, with its name. */
  #lenses() {
    const names = this.layers.map(({ name }) => name);
    if (this.lensNames?.join() !== names.join()) {
      this.lensNames = names;
      this.loupe.replaceChildren(...names.map((name) => {
        const [lens, caption] = [document.createElement("figure"), document.createElement("figcaption")];
        caption.textContent = name;
        lens.append(document.createElement("canvas"), caption);
        return lens;
      }));
    }
    return [...this.loupe.querySelectorAll("canvas")];
  }

  #placeLoupe(x, y) {
    const { offsetWidth, offsetHeight } = this.loupe;
    const [width, height] = this.#size();
    const gap = 24;
    const right = Math.max(0, Math.min(x - offsetWidth / 2, width - offsetWidth));
    const above = y - offsetHeight - gap;
    const down = above >= 0 ? above : Math.min(y + gap, height - offsetHeight);
    this.loupe.style.transform = `translate(${right}px, ${down}px)`;
  }
}

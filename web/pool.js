// Workers that share tasks; each has a network and memory of its own.

export class Pool {
  constructor(size) {
    this.size = size;
    const script = new URL("worker.js", import.meta.url);
    this.idle = Array.from({ length: size }, () => new Worker(script, { type: "module" }));
    this.waiting = [];
  }

  /** Runs a task on every worker; to be called while all are idle. */
  each(task, args) {
    return Promise.all(Array.from({ length: this.size }, () => this.run(task, args)));
  }

  /**
   * Runs a task of worker.js and returns its result. The pixels in args are transferred, not copied. A task's error has
   * the status and url of what could not be loaded, where that was it.
   */
  run(task, args) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ task, args, resolve, reject });
      this.#next();
    });
  }

  #next() {
    while (this.idle.length && this.waiting.length) {
      const worker = this.idle.pop();
      const { task, args, resolve, reject } = this.waiting.shift();
      const finish = (settle) => {
        this.idle.push(worker);
        settle();
        this.#next();
      };
      worker.onmessage = ({ data: { result, error } }) =>
        finish(() => (error ? reject(Object.assign(new Error(error.message), error)) : resolve(result)));
      worker.onerror = (event) => finish(() => reject(new Error(event.message || "a worker could not be started")));
      const pixels = args.rgba ?? args.plane;
      worker.postMessage({ task, args }, pixels ? [pixels.buffer] : []);
    }
  }
}

// Workers that share tasks; each has a network and memory of its own.

export class Pool {
  constructor(size) {
    this.size = size;
    const script = new URL("worker.js", import.meta.url);
    this.idle = Array.from({ length: size }, () => new Worker(script, { type: "module" }));
    this.waiting = [];
  }

  /** Has every worker do a task: it is meant to be called while none is at work. */
  each(task, args) {
    return Promise.all(Array.from({ length: this.size }, () => this.run(task, args)));
  }

  /** The result of a task of worker.js. Of args, the pixels are handed over. */
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
        finish(() => (error ? reject(new Error(error)) : resolve(result)));
      worker.onerror = (event) => finish(() => reject(new Error(event.message || "a worker could not be started")));
      const pixels = args.rgba ?? args.plane;
      worker.postMessage({ task, args }, pixels ? [pixels.buffer] : []);
    }
  }
}

// The page's side of a student that learns: it starts the workers, asks them, and gathers what they
// say. Nothing here computes, so that the page's own thread stays free.

/** Workers that train one student together. */
export class LearningTeam {
  /**
   * @param {string} script A worker's: of deit_edu.widgets.kernels.script.
   * @param {number} size How many workers share a batch.
   * @param {object} heard
   * @param {(step: number, loss: number) => void} heard.step After each step, on all of its batch.
   * @param {(reason: string) => void} heard.died When a worker is lost: the team can do no more.
   */
  constructor(script, size, { step, died }) {
    this.heard = { step, died };
    this.losses = new Map(); // step: those of the members that are through it
    this.waiting = new Map(); // a question's number: what to do with its answer
    this.asked = 0;
    this.step = 0; // that all have made
    /** @type {Promise<unknown>} */
    this.running = Promise.resolve();
    // A classic worker from a Blob: a module worker fails on file://.
    this.url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    this.workers = Array.from({ length: size }, () => new Worker(this.url));
    for (const worker of this.workers) {
      worker.onmessage = ({ data }) => this.hear(data);
      worker.onerror = ({ message }) => this.lose(message || "a worker could not start");
    }
  }

  hear({ id, answer, failed, step, loss }) {
    if (id === undefined) {
      this.count(step, loss);
      return;
    }
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (failed) reject(new Error(failed));
    else resolve(answer);
  }

  /** A step is made when every member has made it; its loss is the mean of theirs. */
  count(step, loss) {
    const losses = [...(this.losses.get(step) ?? []), loss];
    this.losses.set(step, losses);
    if (losses.length < this.workers.length) return;
    this.losses.delete(step);
    this.step = step;
    this.heard.step(step, losses.reduce((sum, one) => sum + one, 0) / losses.length);
  }

  lose(reason) {
    this.end();
    this.heard.died(reason);
    for (const { reject } of this.waiting.values()) reject(new Error(reason));
    this.waiting.clear();
  }

  /** Ask one worker. */
  ask(worker, ask, given = {}, transfer = []) {
    return new Promise((resolve, reject) => {
      this.waiting.set(++this.asked, { resolve, reject });
      worker.postMessage({ ask, id: this.asked, ...given }, transfer);
    });
  }

  askAll(ask, given) {
    return Promise.all(this.workers.map((worker) => this.ask(worker, ask, given)));
  }

  /**
   * Get ready; see LearningWorker.begin for what is given.
   * @returns {Promise<{ variant: string, bytes: number }>} Which kernels run; memory of all
   * workers.
   */
  async begin(given) {
    const ports = this.workers.map(() => []);
    for (let one = 0; one < ports.length; one++) {
      for (let other = one + 1; other < ports.length; other++) {
        const { port1, port2 } = new MessageChannel();
        ports[one].push(port1);
        ports[other].push(port2);
      }
    }
    const begun = await Promise.all(
      this.workers.map((worker, rank) =>
        this.ask(worker, "begin", { ...given, rank, ports: ports[rank] }, ports[rank]),
      ),
    );
    URL.revokeObjectURL(this.url); // all have read it: a page that races often keeps no copies
    return { variant: begun[0].variant, bytes: begun.reduce((sum, { bytes }) => sum + bytes, 0) };
  }

  /**
   * Learn up to a step; asked again meanwhile, it goes on when it has stopped.
   * @param {number} until
   * @returns {Promise<unknown>} When it stopped.
   */
  learn(until) {
    this.running = this.running.then(() => this.askAll("learn", { until }));
    return this.running;
  }

  /** Stop within two steps, all members after the same. @returns {Promise<unknown>} When it did. */
  async pause() {
    await this.askAll("pause");
    return this.running;
  }

  /** Another lesson within two steps. @param {Lesson} lesson */
  change(lesson) {
    return this.askAll("change", { lesson });
  }

  /** @returns {Promise<Measured>} How well the student does on the scenes kept aside. */
  measure() {
    return this.ask(this.workers[0], "measure");
  }

  /** @param {number} scene @returns {Promise<{ attention: Float32Array, pixels: Uint8Array }>} */
  look(scene) {
    return this.ask(this.workers[0], "look", { scene });
  }

  /** @param {object} metadata @returns {Promise<{ file: Uint8Array }>} The student, to be kept. */
  keep(metadata) {
    return this.ask(this.workers[0], "keep", { metadata });
  }

  end() {
    for (const worker of this.workers) worker.terminate();
    URL.revokeObjectURL(this.url);
  }
}

// Two students that race: on the same scenes, from the same seed, each in workers of its own.
import { LearningTeam } from "./kernels/learning_team.js";
import { mean } from "./numbers.js";
import { SIDES } from "./race_settings.js";

/**
 * @typedef {object} RacePoint What was seen of a student after a step.
 * @property {number} step
 * @property {number | null} loss the mean since the last point
 * @property {Measured} measured
 */

/** A race at work. It computes nothing itself: the page stays quick. */
export class Race {
  /**
   * @param {string} script a worker's
   * @param {object} use
   * @param {number} use.workers that share the batches of each student
   * @param {number} use.total steps
   * @param {number} use.every steps between two looks at the scenes kept aside
   * @param {(at: { a: RacePoint, b: RacePoint }) => void} use.onPoint after each look
   * @param {(step: number) => void} use.onStep after each step of both
   * @param {(reason: string) => void} use.onLoss when a worker is lost: the race is over
   */
  constructor(script, { workers, total, every, onPoint, onStep, onLoss }) {
    this.heard = { onPoint, onStep };
    this.total = total;
    this.every = every;
    this.wanted = false; // whether it is to go on
    /** @type {Promise<void> | null} */
    this.loop = null; // while it goes
    this.teams = {};
    this.losses = { a: [], b: [] };
    for (const side of SIDES) {
      this.teams[side] = new LearningTeam(script, workers, {
        step: (_, loss) => this.count(side, loss),
        died: (reason) => {
          this.end();
          onLoss(reason);
        },
      });
    }
  }

  /** The step that both have made. */
  get step() {
    return Math.min(...SIDES.map((side) => this.teams[side].step));
  }

  count(side, loss) {
    this.losses[side].push(loss);
    this.heard.onStep(this.step);
  }

  /**
   * Get ready, and look at both before the first step.
   * @param {{ a: object, b: object }} given of each student: see LearningWorker.begin
   * @returns {Promise<{ variant: string, bytes: number }>} which kernels run, and all memory
   */
  async begin(given) {
    const begun = await this.both((team, side) => team.begin(given[side]));
    await this.measure();
    return { variant: begun[0].variant, bytes: begun[0].bytes + begun[1].bytes };
  }

  both(ask) {
    return Promise.all(SIDES.map((side) => ask(this.teams[side], side)));
  }

  /**
   * Learn up to a step, and look at every so manieth.
   * @param {number} [until]
   * @returns {Promise<void>} when it is there, or was paused
   */
  run(until = this.total) {
    this.wanted = true;
    this.until = until;
    this.loop ??= this.go().finally(() => {
      this.loop = null;
    });
    return this.loop;
  }

  async go() {
    while (this.wanted && this.step < this.until) {
      const next = this.every * (Math.floor(this.step / this.every) + 1);
      await this.both((team) => team.learn(Math.min(next, this.until)));
      await this.level();
      if (this.step === next || this.step === this.until) await this.measure();
    }
  }

  /** Stopped in the middle, one may be a step or two behind: it catches up. */
  async level() {
    const most = Math.max(...SIDES.map((side) => this.teams[side].step));
    await this.both((team) => team.learn(most));
  }

  /** Stop soon. @returns {Promise<void>} when both did */
  async pause() {
    this.wanted = false;
    await this.both((team) => team.pause());
    await this.loop;
  }

  async measure() {
    const found = await this.both((team) => team.measure());
    const points = SIDES.map((side, i) => ({
      step: this.step,
      loss: this.losses[side].length ? mean(this.losses[side]) : null,
      measured: found[i],
    }));
    this.losses = { a: [], b: [] };
    this.heard.onPoint({ a: points[0], b: points[1] });
  }

  /**
   * Another lesson for one of them, soon.
   * @param {"a" | "b"} side
   * @param {Lesson} lesson
   */
  change(side, lesson) {
    return this.teams[side].change(lesson);
  }

  /**
   * Where the tokens of both look in a scene kept aside.
   * @param {number} scene
   * @returns {Promise<object[]>} of A and of B: LearningWorker.look
   */
  look(scene) {
    return this.both((team) => team.look(scene));
  }

  /**
   * One of the students as a safetensors file.
   * @param {"a" | "b"} side
   * @param {object} metadata
   */
  keep(side, metadata) {
    return this.teams[side].keep(metadata);
  }

  end() {
    this.wanted = false;
    for (const side of SIDES) this.teams[side].end();
  }
}

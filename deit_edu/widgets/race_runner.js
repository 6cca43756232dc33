// The race that a figure runs: begun, paused, changed in the middle, finished.
import LEARNING from "./kernels/learning_worker.js?text";
import { Race } from "./race.js";
import { configOf, givenToBoth } from "./race_given.js";
import { SIDES, lessonOf } from "./race_settings.js";

/**
 * @typedef {object} ShownRace a race that is shown: a recorded one, or the reader's own
 * @property {StudentSettings} a what A learns from now
 * @property {StudentSettings} b
 * @property {number} seed
 * @property {{ a: RacePoint, b: RacePoint }[]} points
 * @property {number[]} marks steps at which something was changed
 * @property {{ a: number[][][], b: number[][][] } | null} [maps] of a record: where tokens look
 */

/** At most one race of the reader's own, whose students can be asked when it is over, too. */
export class RaceRunner {
  /**
   * @param {Model} model the figure's
   * @param {object} heard
   * @param {(shown: ShownRace) => void} heard.begun before anything is loaded
   * @param {(at: { a: RacePoint, b: RacePoint }) => void} heard.point after each look
   * @param {(step: number) => void} heard.step after each step of both
   * @param {() => void} heard.finished once, when all steps are made
   * @param {(reason: string) => void} heard.lost when a worker is lost
   * @param {(words: string) => void} heard.note where it runs
   */
  constructor(model, heard) {
    this.model = model;
    this.regime = model.get("regime");
    this.heard = heard;
    /** @type {Race | null} */
    this.race = null;
    this.finished = false;
  }

  /** Whether there is a race that can go on. */
  get going() {
    return Boolean(this.race) && this.race.step < this.regime.steps;
  }

  get step() {
    return this.race?.step ?? 0;
  }

  /** A new race from the seed, unless one can go on. */
  async ready() {
    if (this.going) return;
    this.end();
    const { model, regime, heard } = this;
    const [a, b] = SIDES.map((side) => model.get(side));
    const lessons = [a, b].map((settings) => lessonOf(settings, regime));
    heard.begun({ a, b, seed: model.get("seed"), points: [], marks: [] });
    heard.note("Loading the items and the teachers ...");
    const given = await givenToBoth(model);
    const workers = navigator.hardwareConcurrency >= 4 ? 2 : 1;
    this.race = new Race(LEARNING, {
      workers,
      total: regime.steps,
      every: regime.every,
      onPoint: heard.point,
      onStep: heard.step,
      onLoss: heard.lost,
    });
    const begun = await this.race.begin({
      a: { ...given, config: configOf(model, a), lesson: lessons[0] },
      b: { ...given, config: configOf(model, b), lesson: lessons[1] },
    });
    heard.note(whereItRuns(begun, workers));
  }

  /** @param {number} [until] the step to stop at; all of them, if none is given */
  async run(until = this.regime.steps) {
    await this.race.run(until);
    if (!this.race || this.going || this.finished) return;
    this.finished = true;
    this.heard.finished();
  }

  /** Stop soon; resolves when it did. */
  async pause() {
    if (this.going) await this.race.pause();
  }

  /**
   * Another lesson in the middle.
   * @param {"a" | "b"} side whose
   * @param {StudentSettings} settings what it is
   */
  async change(side, settings) {
    await this.race.change(side, lessonOf(settings, this.regime));
  }

  /** The race is over, and its students are gone. */
  end() {
    this.race?.end();
    this.race = null;
    this.finished = false;
  }
}

function whereItRuns({ variant, bytes }, workers) {
  const kernels = variant === "relaxed" ? "relaxed SIMD" : "SIMD";
  return (
    `Trained here by WebAssembly (${kernels}), in ${2 * workers} workers with ` +
    `${(bytes / 1e6).toFixed(0)} MB. Nothing leaves your browser.`
  );
}

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
   * @param {(shown: ShownRace) => void} heard.begun once everything is loaded
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
    /** @type {Promise<void> | null} */
    this.beginning = null; // of the one race that counts; whoever is called later looks if it is so
    /** @type {Race | null} */
    this.race = null;
    this.finished = false;
  }

  /** Whether there is a race that is not over: its last look comes after its last step. */
  get going() {
    return Boolean(this.race) && !this.finished;
  }

  /** Whether a race that is going has made its last step. */
  get looksLast() {
    return this.going && this.step >= this.regime.steps;
  }

  /** Whether a race is wanted that has no workers yet. */
  get loading() {
    return Boolean(this.beginning) && !this.race;
  }

  get step() {
    return this.race?.step ?? 0;
  }

  /**
   * A new race from the seed, unless one can go on or is loading.
   * @returns {Promise<boolean>} whether it still counts: not if it was ended meanwhile
   */
  async ready() {
    if (!this.going && !this.loading) this.startOver();
    const { beginning } = this;
    await beginning;
    return beginning === this.beginning;
  }

  /** What is chosen while it loads holds; what it comes to when it was ended is nobody's. */
  startOver() {
    this.end();
    const counts = () => beginning === this.beginning;
    const beginning = givenToBoth(this.model)
      .then((given) => (counts() ? this.begin(given) : undefined))
      .catch((error) => {
        if (counts()) throw error;
      });
    this.beginning = beginning;
    this.heard.note("Loading the items and the teachers ...");
  }

  /** Workers for what is chosen now. */
  async begin(given) {
    const { model, regime, heard } = this;
    const [a, b] = SIDES.map((side) => model.get(side));
    const lessons = [a, b].map((settings) => lessonOf(settings, regime));
    heard.begun({ a, b, seed: given.seed, points: [], marks: [] });
    const workers = workersFor(regime.batch);
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
    const { race } = this;
    await race.run(Math.min(until, this.regime.steps));
    if (race !== this.race || !this.looksLast) return;
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
    this.beginning = null;
    this.finished = false;
  }
}

/** Of each student: two, where there are processors for them and a batch has two halves. */
const workersFor = (batch) => (navigator.hardwareConcurrency >= 4 && batch % 2 === 0 ? 2 : 1);

function whereItRuns({ variant, bytes }, workers) {
  const kernels = variant === "relaxed" ? "relaxed SIMD" : "SIMD";
  return (
    `Trained here by WebAssembly (${kernels}), in ${2 * workers} workers with ` +
    `${(bytes / 1e6).toFixed(0)} MB. Nothing leaves your browser.`
  );
}

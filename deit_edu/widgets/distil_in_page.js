import { button, picker, put, slider } from "./controls.js";
import { drawImage, legend } from "./drawing.js";
import { complain, frame, make, side } from "./elements.js";
import { raceCharts } from "./race_charts.js";
import { studentControls } from "./race_controls.js";
import { configOf, metadataOf } from "./race_given.js";
import { lastLayerMaps, lookedAt, pairedDots } from "./race_pictures.js";
import { RaceRunner } from "./race_runner.js";
import { MOST_RESULTS, judgeSeeds, seedsOf } from "./race_seeds.js";
import { NAMES, SIDES, addressOf, raceIn, resultOf, sentenceOf, wordOf } from "./race_settings.js";

/**
 * The view that runs: all views of a figure hear that it is to run, and one does. That is the one
 * whose button was pressed, or the first that heard when Python said so.
 * @type {DistilFigure | null}
 */
let chosen = null;

/** The figure: what is shown, and the race that may be running behind it. */
class DistilFigure {
  /**
   * @param {Model} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    this.regime = model.get("regime");
    this.frame = frame(model, el, "Distil a student in this page");
    this.root = this.frame.root;
    this.elsewhere = false; // whether another view of this figure runs
    this.runner = new RaceRunner(model, {
      begun: (shown) => this.begun(shown),
      point: (at) => this.pointReached(at),
      step: (step) => this.stepMade(step),
      finished: () => this.finish(),
      lost: (reason) => this.stop(reason),
      note: (words) => {
        this.note.textContent = words;
      },
    });
    this.readAddress();
    this.makeParts();
    this.follow();
    this.showRecord();
  }

  // ---- the page's address ----

  /** In a page without a kernel, the race stands in its address. */
  readAddress() {
    const { model } = this;
    this.addressed = Boolean(model.load) && model.get("recorded_pair");
    const race = this.addressed && raceIn(location.hash, Object.keys(model.get("teachers")));
    if (race) for (const [name, value] of Object.entries(race)) model.set(name, value);
  }

  writeAddress() {
    if (!this.addressed) return;
    const race = { a: this.model.get("a"), b: this.model.get("b"), seed: this.model.get("seed") };
    history.replaceState(history.state, "", `#${addressOf(race)}`);
  }

  // ---- parts ----

  makeParts() {
    const { model, root } = this;
    this.accuracy = make("div");
    this.seeds = make("div");
    this.charts = make("div", { className: "side" });
    this.looked = make("div");
    this.note = make("p", { className: "note" });
    this.progress = make("p", { className: "note", "aria-hidden": "true" });
    this.runButton = button("Run", () => this.press(!model.get("running")));
    root.append(this.makeButtons(), this.progress);
    this.frame.end();
    const step = { label: "step shown", min: 0, max: this.regime.steps, step: this.regime.every };
    root.append(
      side(this.accuracy, this.seeds),
      slider(model, "step", step),
      side(...SIDES.map((side) => studentControls(model, side))),
      this.charts,
      this.makePicker(),
      this.looked,
      this.note,
    );
  }

  makeButtons() {
    const keep = (side) => button(`Keep ${NAMES[side]}`, () => this.keep(side));
    const next = button("Next seed", () => this.nextSeed());
    const step = button("One step", () => this.oneStep());
    return make("div", {}, this.runButton, step, next, ...SIDES.map(keep));
  }

  makePicker() {
    const { model } = this;
    const shape = model.get("image_shape");
    const names = model.get("class_names");
    const images = model.get("shown_scenes").map(({ pixels, label }) => {
      const canvas = make("canvas");
      drawImage(canvas, Uint8Array.from(pixels), shape);
      return { canvas, name: names[label] };
    });
    return picker(model, "scene", { label: "where do the tokens look?", images });
  }

  // ---- what follows from what ----

  follow() {
    const { model } = this;
    for (const side of SIDES) model.on(`change:${side}`, () => this.settingsChanged(side));
    model.on("change:seed", () => this.settingsChanged());
    model.on("change:running", () => this.runningChanged());
    model.on("change:step", () => this.draw());
    model.on("change:scene", () => this.look());
    this.onVisible = () => this.tabChanged();
    document.addEventListener("visibilitychange", this.onVisible);
  }

  /** In the middle of a race another lesson; else the record of such a race, if there is one. */
  settingsChanged(side) {
    complain(this.root, "");
    this.writeAddress();
    if (!this.runner.going) {
      if (!this.runner.loading) this.runner.end();
      this.showRecord();
    } else if (side) {
      this.lessonChanged(side);
    }
  }

  lessonChanged(side) {
    const { shown } = this;
    const [chosen, own] = [this.model.get(side), shown[side]];
    if (this.runner.looksLast) {
      complain(this.root, "The last step is made: it holds from the next race on.");
      return;
    }
    if (chosen.tokens !== own.tokens) {
      complain(
        this.root,
        "One token or two is decided before the first step: it holds from the next race on.",
      );
    }
    const now = { ...chosen, tokens: own.tokens };
    if (Object.keys(now).every((name) => now[name] === own[name])) return;
    shown[side] = now;
    this.attempt(async () => {
      await this.runner.change(side, now);
      shown.marks.push(this.runner.step);
    });
  }

  /** As if by a button of this view. */
  press(running) {
    if (running) chosen = this;
    put(this.model, "running", running);
  }

  runningChanged() {
    const running = this.model.get("running");
    this.runButton.textContent = running ? "Pause" : "Run";
    if (running) chosen ??= this;
    else if (!this.elsewhere) chosen = null;
    this.elsewhere = running && chosen !== this;
    this.attempt(running ? () => this.run() : () => this.pause());
  }

  /** A race stops while nobody can see it. */
  tabChanged() {
    if (!this.runner.going || !this.runs()) return;
    this.attempt(document.hidden ? () => this.pause() : () => this.run());
  }

  /** What cannot be gets one sentence, and the figure goes on. */
  async attempt(what) {
    try {
      await what();
    } catch (error) {
      this.stop(error.message);
    }
  }

  stop(reason) {
    this.runner.end();
    this.note.textContent = "";
    if (this.runs()) put(this.model, "running", false);
    const memory = /memory|allocation/i.test(reason);
    const advice = memory
      ? ": there is too little memory here, so close other pages and try again"
      : "";
    complain(this.root, `The race ended: ${reason}${advice}`);
  }

  // ---- racing ----

  begun(shown) {
    complain(this.root, "");
    this.shown = shown;
  }

  /** Whether this view's race is to go on. */
  runs() {
    return this.model.get("running") && !this.elsewhere;
  }

  async run() {
    if (!this.runs() || !(await this.runner.ready())) return;
    if (!document.hidden && this.runs()) await this.runner.run();
  }

  async pause() {
    if (!this.runner.going) return;
    await this.runner.pause();
    if (this.runner.going) this.stepMade(this.runner.step, ", paused");
  }

  async oneStep() {
    put(this.model, "running", false);
    await this.attempt(async () => {
      if (!(await this.runner.ready())) return;
      await this.runner.pause();
      await this.runner.run(this.runner.step + 1);
    });
  }

  nextSeed() {
    this.runner.end();
    const { model } = this;
    put(model, "running", false);
    put(model, "seed", model.get("seed") + 1);
    this.press(true);
  }

  /** What a race came to counts, if nothing was changed in it. */
  finish() {
    put(this.model, "running", false);
    this.draw();
    if (this.shown.marks.length) return;
    const own = [...this.model.get("results"), resultOf(this.shown)];
    put(this.model, "results", own.slice(-MOST_RESULTS));
    this.drawSeeds();
  }

  pointReached(at) {
    this.shown.points.push(at);
    put(this.model, "points", [...this.shown.points]);
    this.model.set("step", at.a.step);
    this.model.save_changes();
    this.draw();
    this.look();
  }

  stepMade(step, how = "") {
    const { steps } = this.regime;
    this.progress.textContent = `Seed ${this.shown.seed}: step ${step} of ${steps}${how}`;
  }

  async keep(side) {
    const { race } = this.runner;
    if (!race) {
      complain(this.root, "Only a student of a race of your own can be kept: press Run first.");
      return;
    }
    const { model, shown } = this;
    const metadata = metadataOf(model, NAMES[side], shown[side], shown.seed);
    await this.attempt(async () => {
      const { file } = await race.keep(side, metadata);
      const url = URL.createObjectURL(new Blob([file]));
      make("a", { href: url, download: `student_${NAMES[side]}.safetensors` }).click();
      URL.revokeObjectURL(url);
    });
  }

  // ---- pictures ----

  /** The finished race of the first seed that the library has of these two, if it has. */
  showRecord() {
    const { model } = this;
    const [a, b] = SIDES.map((side) => model.get(side));
    const recorded = model.get("recorded");
    const [one, other] = [recorded[wordOf(a)], recorded[wordOf(b)]];
    const points =
      one && other ? one.points.map((point, i) => ({ a: point, b: other.points[i] })) : [];
    this.shown = { a, b, seed: points.length ? 0 : model.get("seed"), points, marks: [] };
    this.shown.maps = points.length ? { a: one.maps, b: other.maps } : null;
    this.progress.textContent = points.length
      ? "A finished race, from the library's records. Press Run for one of your own."
      : "";
    this.draw();
    this.look();
    this.drawSeeds();
  }

  /** The point that the slider is at: the last one that is not later. */
  pointShown() {
    const { points } = this.shown;
    const step = this.model.get("step");
    return points.findLast((at) => at.a.step <= step) ?? points[0];
  }

  draw() {
    const at = this.pointShown();
    if (!at) {
      this.accuracy.replaceChildren();
      this.charts.replaceChildren();
      this.frame.say("These two have not raced yet: press Run.");
      return;
    }
    const { model } = this;
    const { points, marks, seed } = this.shown;
    const { steps } = this.regime;
    const [accuracy, ...others] = raceCharts(points, { steps, at: at.a.step, marks });
    this.accuracy.replaceChildren(accuracy, makeLegend());
    this.charts.replaceChildren(...others);
    const quarter = steps / 4;
    if (this.runner.going && model.get("running") && at.a.step % quarter) return;
    const scenes = model.get("item_labels").byteLength - model.get("learnt");
    const given = { seed, steps, scenes, teachers: model.get("teacher_names") };
    this.frame.say(sentenceOf(at, this.shown, given));
  }

  /** Where the tokens of both look in the chosen scene: now, or at the end of the recorded race. */
  async look() {
    const { model, shown } = this;
    const { race } = this.runner;
    const scene = model.get("scene");
    if (!race) {
      const stored = model.get("shown_scenes")[scene];
      this.drawLooked(stored, shown.maps && SIDES.map((side) => shown.maps[side][scene]));
      return;
    }
    const found = await race.look(scene).catch(() => null); // a race that ended has said why
    if (!found || race !== this.runner.race) return;
    const maps = found.map(({ attention }, i) => {
      const config = configOf(model, shown[SIDES[i]]);
      return lastLayerMaps(attention, config, config.distilled ? 2 : 1);
    });
    this.drawLooked(found[0], maps);
  }

  drawLooked(scene, maps) {
    if (!scene || !maps?.[0] || !maps[1]) {
      this.looked.replaceChildren();
      return;
    }
    const shape = this.model.get("image_shape");
    const of = (side, i) =>
      lookedAt({ pixels: Uint8Array.from(scene.pixels), maps: maps[i] }, shape, NAMES[side]);
    this.looked.replaceChildren(side(...SIDES.map(of)));
  }

  /** All seeds of these two, and what they come to together. */
  async drawSeeds() {
    const { model, shown } = this;
    const words = { a: wordOf(shown.a), b: wordOf(shown.b) };
    const results = seedsOf(words, model.get("recorded"), model.get("results"));
    if (!results.length) {
      this.seeds.replaceChildren();
      put(model, "difference", {});
      return;
    }
    const { words: said, ...difference } = await judgeSeeds(results, model.get("bootstrap"));
    if (shown !== this.shown) return;
    put(model, "difference", difference);
    const lines = results.length === 1 ? "one seed" : `each of ${results.length} seeds`;
    this.seeds.replaceChildren(
      make("h4", {}, "Seed by seed"),
      pairedDots(results, `Accuracy of A and of B, a line for ${lines}`),
      make("p", { className: "verdict" }, said),
    );
  }

  end() {
    document.removeEventListener("visibilitychange", this.onVisible);
    if (this.runs()) put(this.model, "running", false); // another view can
    this.runner.end();
  }
}

const makeLegend = () =>
  legend([
    ["class", "class head"],
    ["distillation", "distillation head"],
    ["fused", "both heads"],
    ["teacher", "teacher"],
  ]);

/**
 * @param {{ model: Model, el: HTMLElement }} given the figure's model, and where it goes
 * @returns {() => void} ends it
 */
function render({ model, el }) {
  const figure = new DistilFigure(model, el);
  return () => figure.end();
}

export default { render };

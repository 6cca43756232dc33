import { drawBeforehand, pairedDifference, verdictOf } from "./bootstrap.js";
import { button, choice, menu, picker, put, slider } from "./controls.js";
import { drawImage, legend } from "./drawing.js";
import { complain, frame, make, side } from "./elements.js";
import LEARNING from "./kernels/learning_worker.js?text";
import { load, sizeOf, unpacked } from "./numbers.js";
import { Race } from "./race.js";
import {
  curveChart,
  headCurves,
  lastLayerMaps,
  lookedAt,
  pairedDots,
  sideCurves,
} from "./race_pictures.js";
import {
  SIDES,
  addressOf,
  lambdaOf,
  lessonOf,
  raceIn,
  scoreOf,
  sentenceOf,
  teacherChoice,
  withTeacher,
  wordOf,
} from "./race_settings.js";

const NAMES = { a: "A", b: "B" };
/** @type {[string, string][]} */
const KINDS_SHOWN = [
  ["hard", "hard"],
  ["soft", "soft"],
];
/** @type {[string, string][]} */
const TOKENS_SHOWN = [
  ["class", "one token"],
  ["both", "two tokens"],
];
const LIMIT = 200; // results that are kept: the interval's width is known for so many seeds
const AHEAD = { reproduced: "B is ahead", reversed: "A is ahead", "not resolved": "not resolved" };

/** The figure: what is shown, and the race that may be running behind it. */
class DistilFigure {
  /**
   * @param {Model} model
   * @param {HTMLElement} el
   */
  constructor(model, el) {
    this.model = model;
    this.regime = model.get("regime");
    this.teachers = Object.keys(model.get("teachers"));
    /** @type {Race | null} */
    this.race = null; // the last one, whose students can still be asked
    this.counted = false; // whether it is among the results
    this.frame = frame(model, el, "Distil a student in this page");
    this.root = this.frame.root;
    this.readAddress();
    this.makeParts();
    this.follow();
    this.showRecord();
  }

  // ---- the page's address ----

  /** In a page without a kernel, the race stands in its address. */
  readAddress() {
    this.addressed = Boolean(this.model.load) && this.model.get("recorded_pair");
    const race = this.addressed && raceIn(location.hash, this.teachers);
    if (race) for (const [name, value] of Object.entries(race)) this.model.set(name, value);
  }

  writeAddress() {
    if (!this.addressed) return;
    const race = { a: this.model.get("a"), b: this.model.get("b"), seed: this.model.get("seed") };
    history.replaceState(history.state, "", `#${addressOf(race)}`);
  }

  // ---- parts ----

  makeParts() {
    const { model, root } = this;
    this.charts = make("div", { className: "side" });
    this.looked = make("div");
    this.seeds = make("div");
    this.note = make("p", { className: "note" });
    this.progress = make("p", { className: "note", "aria-hidden": "true" });
    this.runButton = button("Run", () => put(model, "running", !model.get("running")));
    root.append(this.makeButtons(), this.progress);
    this.frame.end();
    const step = { label: "step shown", min: 0, max: this.regime.steps, step: this.regime.every };
    root.append(
      slider(model, "step", step),
      side(...SIDES.map((side) => this.makeControls(side))),
      this.charts,
      this.makeLegend(),
      this.makePicker(),
      this.looked,
      this.seeds,
      this.note,
    );
  }

  makeButtons() {
    const keep = (side) => button(`Keep ${NAMES[side]}`, () => this.keep(side));
    const next = button("Next seed", () => this.nextSeed());
    const step = button("One step", () => this.oneStep());
    return make("div", {}, this.runButton, step, next, ...SIDES.map(keep));
  }

  makeControls(side) {
    const { model } = this;
    const entries = entriesOf(model, side, this.teachers[0]);
    const parts = {
      kind: choice(entries.kind, side, { label: "what of its answer", options: KINDS_SHOWN }),
      tau: slider(entries.tau, side, { label: "tau", min: 0, max: 10, step: 0.5 }),
      lambda: slider(entries.lambda, side, { label: "lambda", min: 0, max: 1, step: 0.05 }),
    };
    const show = () => hideWhatIsIdle(parts, model.get(side));
    model.on(`change:${side}`, show);
    show();
    const tokens = choice(entries.tokens, side, { label: "tokens", options: TOKENS_SHOWN });
    return make(
      "div",
      { role: "group", "aria-label": `student ${NAMES[side]}` },
      make("h4", {}, `Student ${NAMES[side]} (${side === "a" ? "dashed" : "solid"} lines)`),
      menu(entries.teacher, side, { label: "teacher", options: this.teacherOptions() }),
      parts.kind,
      ...(model.get("student").distilled ? [tokens] : []),
      parts.tau,
      parts.lambda,
    );
  }

  /** @returns {[string, string][]} */
  teacherOptions() {
    const names = this.model.get("teacher_names");
    const [first] = this.teachers;
    return [
      ["", "none"],
      ...this.teachers.map((name) => /** @type {[string, string]} */ ([name, names[name]])),
      ["shuffled", `${names[first]}, its answers shuffled`],
    ];
  }

  makeLegend() {
    return legend([
      ["class", "class head"],
      ["distillation", "distillation head"],
      ["fused", "both heads"],
      ["teacher", "teacher"],
    ]);
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
    if (!this.going) {
      this.race?.end();
      this.race = null;
      this.showRecord();
      return;
    }
    if (!side) return;
    const [now, own] = [this.model.get(side), this.shown[side]];
    if (now.tokens !== own.tokens) {
      complain(
        this.root,
        "One token or two is decided before the first step: it holds from the next race on.",
      );
      return;
    }
    this.attempt(async () => {
      await this.race.change(side, lessonOf(now, this.regime));
      this.shown[side] = now;
      this.shown.marks.push(this.race.step);
    });
  }

  runningChanged() {
    const running = this.model.get("running");
    this.runButton.textContent = running ? "Pause" : "Run";
    this.attempt(running ? () => this.run() : () => this.pause());
  }

  /** A race stops while nobody can see it. */
  tabChanged() {
    if (!this.going || !this.model.get("running")) return;
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
    this.race?.end();
    this.race = null;
    if (this.model.get("running")) put(this.model, "running", false);
    const memory = /memory|allocation/i.test(reason);
    const advice = memory
      ? ": there is too little memory here, so close other pages and try again"
      : "";
    complain(this.root, `The race ended: ${reason}${advice}`);
  }

  // ---- racing ----

  /** Whether there is a race that can go on. */
  get going() {
    return Boolean(this.race) && this.race.step < this.regime.steps;
  }

  /** A new race from the seed, unless one can go on. */
  async ready() {
    if (this.going) return;
    this.race?.end();
    this.counted = false;
    complain(this.root, "");
    const { model, regime } = this;
    const lessons = SIDES.map((side) => lessonOf(model.get(side), regime));
    this.note.textContent = "Loading the items and the teachers ...";
    const given = await this.given();
    const workers = navigator.hardwareConcurrency >= 4 ? 2 : 1;
    this.shown = {
      a: model.get("a"),
      b: model.get("b"),
      seed: model.get("seed"),
      points: [],
      marks: [],
    };
    this.race = new Race(LEARNING, {
      workers,
      total: regime.steps,
      every: regime.every,
      onPoint: (at) => this.pointReached(at),
      onStep: (step) => this.stepMade(step),
      onLoss: (reason) => this.stop(reason),
    });
    const begun = await this.race.begin({
      a: { ...given, config: this.configOf("a"), lesson: lessons[0] },
      b: { ...given, config: this.configOf("b"), lesson: lessons[1] },
    });
    const kernels = begun.variant === "relaxed" ? "relaxed SIMD" : "SIMD";
    this.note.textContent =
      `Trained here by WebAssembly (${kernels}), in ${2 * workers} workers with ` +
      `${(begun.bytes / 1e6).toFixed(0)} MB. Nothing leaves your browser.`;
  }

  configOf(side) {
    const config = this.model.get("student");
    const own = this.model.get("student_weights_given");
    return own ? config : { ...config, distilled: this.model.get(side).tokens === "both" };
  }

  /** What both students are given, but for their lessons. */
  async given() {
    const { model, regime } = this;
    const [items, weights, own] = await Promise.all(
      ["items", "teacher_weights", "student_weights"].map((name) => load(model, name)),
    );
    const labels = unpacked(model.get("item_labels"), "u1");
    const numbers = Array.from(labels, (_, i) => i);
    const learnt = model.get("learnt");
    return {
      teachers: teachersIn(model.get("teachers"), weights),
      weights: weightsIn(model, own),
      batch: regime.batch,
      seed: model.get("seed"),
      source: {
        items: unpacked(items, "u1"),
        labels,
        shape: model.get("image_shape"),
        scenes: model.get("scenes"),
        learnt: numbers.slice(0, learnt),
        aside: numbers.slice(learnt),
        mean: model.get("mean"),
        std: model.get("std"),
        padding: regime.padding,
        flip: regime.flip,
      },
    };
  }

  async run() {
    await this.ready();
    if (document.hidden || !this.model.get("running")) return;
    await this.race.run();
    this.finish();
  }

  async pause() {
    if (!this.going) return;
    await this.race.pause();
    this.stepMade(this.race.step, ", paused");
  }

  async oneStep() {
    put(this.model, "running", false);
    await this.attempt(async () => {
      await this.ready();
      await this.race.pause();
      await this.race.run(this.race.step + 1);
      this.finish();
    });
  }

  nextSeed() {
    this.race?.end();
    this.race = null;
    const { model } = this;
    put(model, "running", false);
    put(model, "seed", model.get("seed") + 1);
    put(model, "running", true);
  }

  /** A race that came to its end is over; what it came to counts, if nothing was changed in it. */
  finish() {
    if (!this.race || this.going || this.counted) return;
    this.counted = true;
    put(this.model, "running", false);
    this.draw();
    if (this.shown.marks.length) return;
    const { a, b, seed, points } = this.shown;
    const { a: one, b: other } = points[points.length - 1];
    const scores = { a: scoreOf(one.measured), b: scoreOf(other.measured) };
    const result = { seed, words: { a: wordOf(a), b: wordOf(b) }, ...scores };
    put(this.model, "results", [...this.model.get("results"), result].slice(-LIMIT));
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
    if (!this.race) {
      complain(this.root, "Only a student of a race of your own can be kept: press Run first.");
      return;
    }
    await this.attempt(async () => {
      const { file } = await this.race.keep(side, this.metadataOf(side));
      const url = URL.createObjectURL(new Blob([file]));
      make("a", { href: url, download: `student_${NAMES[side]}.safetensors` }).click();
      URL.revokeObjectURL(url);
    });
  }

  metadataOf(side) {
    const { model } = this;
    return {
      name: `student ${NAMES[side]}`,
      image_shape: model.get("image_shape"),
      num_classes: model.get("class_names").length,
      classes: model.get("class_names"),
      mean: model.get("mean"),
      std: model.get("std"),
      settings: this.shown[side],
      seed: this.shown.seed,
    };
  }

  // ---- pictures ----

  /** The finished race of the first seed that the library has of these two, if it has. */
  showRecord() {
    const { model } = this;
    const { a, b } = { a: model.get("a"), b: model.get("b") };
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
      this.charts.replaceChildren();
      this.frame.say("These two have not raced yet: press Run.");
      return;
    }
    this.drawCharts(at);
    const { model, regime } = this;
    const quarter = regime.steps / 4;
    if (this.going && this.model.get("running") && at.a.step % quarter) return;
    const scenes = model.get("item_labels").byteLength - model.get("learnt");
    const given = { seed: this.shown.seed, steps: regime.steps, scenes };
    this.frame.say(sentenceOf(at, this.shown, { ...given, teachers: model.get("teacher_names") }));
  }

  drawCharts(at) {
    const { points, marks } = this.shown;
    const { steps } = this.regime;
    const percent = (value) => `${Math.round(100 * value)} %`;
    const chart = (title, curves, up, show) => {
      if (!curves.length) return "";
      const label = `${title}, by step; ${curves.length} curves`;
      const drawn = curveChart({ curves, steps, up, show, at: at.a.step, marks, label });
      return make("div", {}, make("h4", {}, title), drawn);
    };
    const accuracies = [
      ...headCurves(points, ({ accuracy }) => accuracy),
      ...sideCurves(points, "teacher", ({ measured }) => measured.teacher),
    ];
    const agreements = headCurves(points, ({ agreement }) => agreement);
    const losses = sideCurves(points, "truth", ({ loss }) => loss);
    const cosines = sideCurves(points, "plain", ({ measured }) => measured.cosine);
    this.charts.replaceChildren(
      chart("Accuracy on scenes kept aside", accuracies, sharesOf(accuracies), percent),
      chart("Loss of the batches (nats)", losses, rangeOf(losses), (value) => value.toFixed(1)),
      chart(
        "How often a head says what the teacher says",
        agreements,
        sharesOf(agreements),
        percent,
      ),
      chart("Cosine of the two tokens", cosines, [-1, 1], (value) => value.toFixed(0)),
    );
  }

  /** Where the tokens of both look in the chosen scene: now, or at the end of the recorded race. */
  async look() {
    const { model, race } = this;
    const scene = model.get("scene");
    if (!race) {
      const stored = model.get("shown_scenes")[scene];
      const { maps } = this.shown;
      this.drawLooked(stored, maps && SIDES.map((side) => maps[side][scene]));
      return;
    }
    const found = await race.look(scene).catch(() => null); // a race that ended has said why
    if (!found || race !== this.race) return;
    const maps = found.map(({ attention }, i) => {
      const config = this.configOf(SIDES[i]);
      return lastLayerMaps(attention, config, config.distilled ? 2 : 1);
    });
    this.drawLooked(found[0], maps);
    this.shown.maps = null;
  }

  drawLooked(scene, maps) {
    if (!scene || !maps?.[0] || !maps[1]) return;
    const shape = this.model.get("image_shape");
    const of = (side, i) =>
      lookedAt({ pixels: Uint8Array.from(scene.pixels), maps: maps[i] }, shape, NAMES[side]);
    this.looked.replaceChildren(side(...SIDES.map(of)));
  }

  /** All seeds of these two: those of the records, then the reader's own. */
  results() {
    const { model, shown } = this;
    const words = { a: wordOf(shown.a), b: wordOf(shown.b) };
    const recorded = model.get("recorded");
    const [one, other] = SIDES.map((side) => recorded[words[side]]?.scores ?? {});
    const both = Object.keys(one).filter((seed) => seed in other);
    const all = new Map(both.map((seed) => [Number(seed), { a: one[seed], b: other[seed] }]));
    for (const { seed, words: raced, a, b } of model.get("results")) {
      const same = raced.a === words.a && raced.b === words.b;
      if (same && !all.has(seed)) all.set(seed, { a, b });
    }
    const found = [...all].map(([seed, scores]) => ({ seed, ...scores }));
    return found.sort((p, q) => p.seed - q.seed).slice(0, LIMIT);
  }

  async drawSeeds() {
    const results = this.results();
    if (!results.length) {
      this.seeds.replaceChildren();
      return;
    }
    const { model } = this;
    const values = results.map(({ a, b }) => 100 * (b - a));
    const settings = model.get("bootstrap");
    await drawBeforehand(settings, values.length, pause);
    const found = pairedDifference([[1, values]], settings);
    const verdict = AHEAD[verdictOf(found, 1, settings.enough)];
    put(model, "difference", { ...finite(found), verdict });
    const words = seedsInWords(found, values, verdict);
    this.seeds.replaceChildren(
      make("h4", {}, "Seed by seed"),
      pairedDots(results, `Accuracy of A and of B, a line for each of ${results.length} seeds`),
      make("p", { className: "verdict" }, words),
    );
  }

  end() {
    document.removeEventListener("visibilitychange", this.onVisible);
    this.race?.end();
  }
}

/** The parts of a student's settings, a model each. */
function entriesOf(model, side, first) {
  const entry = (read, write) => entryOf(model, side, read, write);
  return {
    teacher: entry(teacherChoice, (own, chosen) => withTeacher(own, chosen, first)),
    kind: entry(
      ({ distillation }) => distillation,
      (own, distillation) => (own.teacher ? { ...own, distillation, weight: null } : own),
    ),
    tokens: entry(
      (own) => own.tokens,
      (own, tokens) => ({ ...own, tokens }),
    ),
    tau: entry(
      (own) => own.temperature,
      (own, temperature) => ({ ...own, temperature }),
    ),
    lambda: entry(lambdaOf, (own, weight) => ({ ...own, weight })),
  };
}

/** A model of one part of a student's settings: for a control. */
function entryOf(model, side, read, write) {
  return {
    get: () => read(model.get(side)),
    set: (_, value) => model.set(side, write(model.get(side), value)),
    save_changes: () => model.save_changes(),
    on: (_, listener) => model.on(`change:${side}`, listener),
  };
}

/** Without a teacher nothing of it is chosen, and only a soft answer has a temperature. */
function hideWhatIsIdle({ kind, tau, lambda }, { distillation, tokens }) {
  kind.hidden = distillation === "none";
  tau.hidden = distillation !== "soft";
  lambda.hidden = distillation === "none" && tokens === "class";
}

/** The teachers' weights, which lie one after the other. */
function teachersIn(manifests, weights) {
  let at = weights.byteOffset ?? 0;
  const opened = {};
  for (const [name, manifest] of Object.entries(manifests)) {
    const bytes = 2 * manifest.tensors.reduce((total, [, shape]) => total + sizeOf(shape), 0);
    opened[name] = { manifest, weights: new DataView(weights.buffer, at, bytes) };
    at += bytes;
  }
  return opened;
}

/** The weights to begin with, by name; none where the seed draws them. */
function weightsIn(model, bytes) {
  const shapes = model.get("student_weights_given");
  if (!shapes) return undefined;
  const numbers = unpacked(bytes, "f4");
  let at = 0;
  return Object.fromEntries(
    shapes.map(([name, count]) => [name, numbers.slice(at, (at += count))]),
  );
}

const mostOf = (curves) =>
  Math.max(0.1, ...curves.flatMap(({ points }) => points.map(([, value]) => value)));

/** From zero to a little more than curves reach; of shares, to a full tenth. */
const rangeOf = (curves) => /** @type {[number, number]} */ ([0, 1.05 * mostOf(curves)]);
const sharesOf = (curves) =>
  /** @type {[number, number]} */ ([0, Math.min(1, Math.ceil(10 * mostOf(curves)) / 10)]);

const signedPoints = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;

function seedsInWords({ mean, low, high, seeds }, values, verdict) {
  const ahead = values.filter((value) => value > 0).length;
  const interval = seeds > 1 ? ` [${signedPoints(low)}, ${signedPoints(high)}]` : "";
  return (
    `B minus A, ${seeds} ${seeds === 1 ? "seed" : "seeds"}: ` +
    `${signedPoints(mean)} points${interval}; ` +
    `B is ahead in ${ahead}. ${verdict}.`
  );
}

/** Numbers that JSON can hold. */
const finite = ({ low, high, ...rest }) => ({
  ...rest,
  low: Number.isFinite(low) ? low : null,
  high: Number.isFinite(high) ? high : null,
});

const pause = () => new Promise((resolve) => setTimeout(resolve));

/**
 * @param {{ model: Model, el: HTMLElement }} given the figure's model, and where it goes
 * @returns {() => void} ends it
 */
function render({ model, el }) {
  const figure = new DistilFigure(model, el);
  return () => figure.end();
}

export default { render };

// What augmentation makes of an image, of its label, and of the teacher's answer.
import { button, choice, menu, picker, put, slider, toggle } from "./controls.js";
import { bars, drawImage, enlarge, imageOf, legend, plane, thumbnails } from "./drawing.js";
import { complain, frame, make, side } from "./elements.js";
import { lessonOf, mixInWords } from "./mixer_answers.js";
import { asPixels, drawBeta, mixedPair } from "./mixing.js";
import { load, unpacked } from "./numbers.js";
import { fusedLogits, megabytes, networksOf, oneAtATime, tookBy } from "./running.js";

const SHOWN = 224; // pixels of an enlarged image, about
const ANSWERS = ["temperature", "label_smoothing", "smoothing_over"]; // change only what is drawn

/**
 * Where lambda is drawn from, and the lambda that is chosen.
 * @param {{ alpha: number, density: number[] }} beta its distribution
 * @param {number} lam the chosen one
 * @returns {SVGElement} the picture
 */
function densityOf({ alpha, density }, lam) {
  const chart = plane({
    height: 74,
    left: 12,
    right: 12,
    top: 20,
    bottom: 18,
    across: [0, 1],
    up: [0, Math.max(...density)],
    label: `Density of Beta(${alpha}, ${alpha}), lambda ${lam.toFixed(2)} marked`,
  });
  const { x, y } = chart;
  chart.line(x(0), y(0), x(1), y(0), "stroke:var(--line);stroke-width:0.5");
  const step = 1 / (density.length + 1);
  const points = density.map((v, i) => /** @type {[number, number]} */ ([(i + 1) * step, v]));
  chart.curve(points, "fill:none;stroke:var(--line);stroke-width:2");
  chart.line(x(lam), 18, x(lam), y(0), "stroke:var(--ink);stroke-width:2");
  chart.text(`density of Beta(${alpha}, ${alpha})`, x(0), 12);
  for (const value of [0, 0.5, 1]) chart.text(String(value), x(value), 70, { anchor: "middle" });
  return chart.svg;
}

class Mixer {
  /**
   * @param {Model} model the figure's
   * @param {HTMLElement} el where it goes
   */
  constructor(model, el) {
    this.model = model;
    this.shape = model.get("image_shape");
    this.names = model.get("class_names");
    this.labels = model.get("labels");
    this.stored = unpacked(model.get("images"), "u1");
    /** @type {Uint8Array | Float32Array} */
    this.draws = null; // of RandAugment: loaded on use
    this.noise = unpacked(model.get("noise"), "f2");
    this.choices = Object.keys(model.get("answered"));
    const title = "an image and its partner, the label, and the teacher\u2019s answer";
    this.frame = frame(model, el, `Recipe mixer: ${title}`);
    /** @type {(() => void)[]} */
    this.ends = [];
    this.networks = networksOf(model, ["teacher"], (stop) => this.ends.push(stop));
    this.change = oneAtATime(() => this.askOnce());
    this.layOut();
    for (const name of this.choices) model.on(`change:${name}`, () => this.change());
    for (const name of ANSWERS) model.on(`change:${name}`, () => this.drawLesson());
    this.begin();
  }

  // ---- controls, in the order of deit_edu.train.augmented_batch ----

  layOut() {
    const { model, frame } = this;
    const names = this.labels.map((/** @type {number} */ k) => this.names[k]);
    const images = () => thumbnails(this.stored, this.shape, names);
    this.answers = make("div");
    this.note = make("p", { className: "note" });
    const lesson = side(this.answers, this.labelControls());
    lesson.style.marginTop = "0.8rem";
    frame.root.append(
      side(
        picker(model, "image", { label: "A", images: images() }),
        picker(model, "partner", { label: "B, its partner", images: images() }),
      ),
      side(this.imageColumn(), this.mixingColumn()),
      lesson,
    );
    frame.end();
    frame.root.append(this.note);
  }

  imageColumn() {
    const { model } = this;
    const draws = Array.from({ length: model.get("num_draws") }, (_, d) => [
      d + 1,
      `draw ${d + 1}`,
    ]);
    const options = /** @type {[any, string][]} */ ([[0, "none"], ...draws]);
    this.elsewhere = button("Erase elsewhere", () => put(model, "hole", uniform(4)));
    this.views = ["A", "B", "result"].map((title) => ({
      title,
      canvas: make("canvas", { role: "img" }),
    }));
    const views = this.views.map(({ title, canvas }) =>
      make("div", {}, make("h4", {}, title), canvas),
    );
    return make(
      "div",
      {},
      menu(model, "rand_augment", { label: "RandAugment", options }),
      make("p", {}, toggle(model, "erasing", { label: "erase a part of A" }), this.elsewhere),
      make("div", { className: "maps" }, ...views),
    );
  }

  mixingColumn() {
    const { model } = this;
    const ofMixing = () => model.get("beta")[model.get("mixing")];
    this.draw = button("Draw lambda", () => put(model, "lam", drawBeta(ofMixing().alpha)));
    this.move = button("Move the rectangle", () => put(model, "centre", uniform(2)));
    this.lambda = slider(model, "lam", {
      label: "lambda",
      min: 0,
      max: 1,
      step: 0.01,
      show: (value) => value.toFixed(2),
    });
    this.density = make("div");
    const mixing = choice(model, "mixing", {
      label: "mixing",
      options: [
        ["none", "none"],
        ["mixup", "Mixup"],
        ["cutmix", "CutMix"],
      ],
    });
    const buttons = make("p", {}, this.draw, this.move);
    return make("div", {}, mixing, this.lambda, this.density, buttons);
  }

  labelControls() {
    const { model } = this;
    return make(
      "div",
      {},
      slider(model, "temperature", {
        label: "temperature",
        min: 1,
        max: 10,
        step: 0.5,
        show: (value) => value.toFixed(1),
      }),
      slider(model, "label_smoothing", {
        label: "smoothing",
        min: 0,
        max: 0.3,
        step: 0.05,
        show: (value) => value.toFixed(2),
      }),
      choice(model, "smoothing_over", {
        label: "smoothing over",
        options: [
          ["others", "the other classes (paper)"],
          ["all", "all classes (authors\u2019 code)"],
        ],
      }),
    );
  }

  // ---- the mixed image ----

  /** @returns {Mix} what the reader's choices make of the two images */
  mixNow() {
    const { model, shape, stored } = this;
    const get = (/** @type {string} */ name) => model.get(name);
    const draw = get("rand_augment");
    const size = stored.length;
    const source = draw ? this.draws.subarray((draw - 1) * size, draw * size) : stored;
    const chosen = [get("image"), get("partner")];
    const pair = chosen.map((i) => imageOf(source, shape, i));
    const asItWas = chosen.map((i, k) => same(pair[k], imageOf(stored, shape, i)));
    const [mixing, lam] = [get("mixing"), get("lam")];
    const mixed = mixedPair({
      pair,
      shape,
      mixing,
      lam,
      noise: this.noise,
      mean: get("mean"),
      std: get("std"),
      erasing: get("erasing"),
      hole: get("hole"),
      centre: get("centre"),
    });
    return { ...mixed, mixing, lam, draw, asItWas, labels: chosen.map((i) => this.labels[i]) };
  }

  drawMix(/** @type {Mix} */ { a, b, result, box, mixing, lam, labels: [of, to] }) {
    const { model, names } = this;
    const [first, second, third] = this.views;
    this.drawView(first, a, `A: ${names[of]}`);
    this.drawView(second, b, `B: ${names[to]}`, box);
    this.drawView(third, result, "the mixed image");
    const beta = model.get("beta");
    this.density.replaceChildren(...(mixing === "none" ? [] : [densityOf(beta[mixing], lam)]));
    this.lambda.querySelector("input").disabled = this.draw.disabled = mixing === "none";
    this.move.disabled = mixing !== "cutmix";
    this.elsewhere.disabled = !model.get("erasing");
  }

  /**
   * Normalised pixels as they can be seen: noise below black is black, above white white.
   * @param {{ canvas: HTMLCanvasElement }} view where
   * @param {Float32Array} values (C, H, W)
   * @param {string} words what it is
   * @param {Box} box dashed: what CutMix takes
   */
  drawView({ canvas }, values, words, box = null) {
    const { model, shape } = this;
    const pixels = asPixels(values, model.get("mean"), model.get("std"));
    const small = make("canvas");
    drawImage(small, Uint8ClampedArray.from(pixels), shape);
    const scale = Math.max(1, Math.round(SHOWN / shape[2]));
    const context = enlarge(canvas, small, scale);
    canvas.setAttribute("aria-label", words);
    if (!box?.height || !box.width) return;
    [context.strokeStyle, context.lineWidth] = ["#ffb000", 3];
    context.setLineDash([9, 5]);
    context.strokeRect(scale * box.left, scale * box.top, scale * box.width, scale * box.height);
  }

  // ---- the label and the teacher's answer ----

  drawLesson() {
    if (!this.shown) return;
    const { model, names } = this;
    const lesson = lessonOf(this.shown, {
      names,
      epsilon: model.get("label_smoothing"),
      over: model.get("smoothing_over"),
      temperature: model.get("temperature"),
    });
    this.answers.replaceChildren(
      make("h4", {}, "what the student learns from the result"),
      lessonBars(lesson, names),
      legend([
        ["truth", "label: for the class head"],
        [
          "teacher",
          "teacher\u2019s hard label: for the distillation head; fainter, its soft answer",
        ],
      ]),
    );
    this.frame.say(mixInWords(this.shown.mix, lesson, names));
  }

  // ---- asking ----

  begin() {
    const { model } = this;
    this.note.textContent =
      `The teacher (${megabytes([model.get("teacher")])}) is loaded when you change something. ` +
      "It runs here: nothing leaves your browser.";
    const answered = model.get("answered");
    const asAnswered = this.choices.every(
      (name) => String(answered[name]) === String(model.get(name)),
    );
    if (!asAnswered || model.get("rand_augment")) return this.change();
    this.shown = { mix: this.mixNow(), logits: model.get("answer") };
    this.drawMix(this.shown.mix);
    this.drawLesson();
  }

  async askOnce() {
    const { model } = this;
    let mix;
    try {
      if (model.get("rand_augment")) this.draws ??= unpacked(await load(model, "draws"), "u1");
      const asked = Object.fromEntries(this.choices.map((name) => [name, model.get(name)]));
      mix = this.mixNow();
      this.drawMix(mix);
      const pixels = asPixels(mix.result, model.get("mean"), model.get("std"));
      const { said, ms, runs } = await this.networks(pixels, this.shape);
      const logits = fusedLogits(said.teacher);
      this.shown = { mix, logits };
      model.set("answered", asked);
      put(model, "answer", logits);
      const took = tookBy(ms, runs);
      this.note.textContent = `The teacher answered ${took}. Nothing leaves your browser.`;
      complain(this.frame.root, "");
    } catch (error) {
      if (mix) this.shown = { mix, logits: null };
      complain(this.frame.root, `The teacher could not be asked: ${error.message}`);
    }
    this.drawLesson();
  }
}

/**
 * @param {MixedLabels} lesson from lessonOf
 * @param {string[]} names of the classes
 * @returns {SVGElement} the label, the soft and the hard answer of the classes to draw
 */
function lessonBars({ label, soft, hard, rows }, names) {
  const kinds = ["label", "soft", "hard"];
  const of = (/** @type {number[]} */ values) => rows.map((k) => values[k]);
  const series = [{ colour: "truth", values: of(label) }];
  if (soft) {
    series.push({ colour: "teacher", values: of(soft), faint: true });
    series.push({ colour: "teacher", values: rows.map((k) => Number(k === hard)) });
  }
  return bars({
    names: rows.map((k) => names[k]),
    right: 76,
    label: "The label, and the teacher's soft and hard answer, class by class",
    show: (value, j) => `${value.toFixed(2)} ${kinds[j]}`,
    series,
  });
}

const uniform = (/** @type {number} */ count) => Array.from({ length: count }, () => Math.random());

/**
 * @param {Uint8Array} one pixels
 * @param {Uint8Array} other as many
 * @returns {boolean} whether they are the same
 */
const same = (one, other) => one.every((value, i) => value === other[i]);

/**
 * @param {{ model: Model, el: HTMLElement }} given by the host
 * @returns {() => void} what to call when the figure goes
 */
function render({ model, el }) {
  const mixer = new Mixer(model, el);
  return () => mixer.ends.forEach((stop) => stop());
}

export default { render };

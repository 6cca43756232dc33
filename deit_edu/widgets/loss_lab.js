// The loss lab: drag the logits of student and teacher, and see what the losses make of them.
import { choice, slider } from "./controls.js";
import { bars, legend } from "./drawing.js";
import { complain, frame, make, rowHeading, side } from "./elements.js";
import { losses } from "./loss_counting.js";
import { argmax, signed } from "./numbers.js";

/** @typedef {import("./loss_counting.js").Losses} Losses */

const TITLE =
  "Loss lab: one image, what the student and its teacher say of it, " +
  "and what the losses make of it";
const TRAITS = [
  "student",
  "teacher",
  "label",
  "temperature",
  "distillation_weight",
  "label_smoothing",
  "reduction",
];

// ---- controls ----

/**
 * @param {Model} model the figure's
 * @param {string} who the trait: "student" or "teacher"
 * @param {string} colour of the sliders
 * @returns {HTMLElement} a slider for each logit
 */
function logitSliders(model, who, colour) {
  const title = `${who}'s logits`;
  const show = (/** @type {number} */ value) => signed(value, 1);
  const sliders = model
    .get("class_names")
    .map((/** @type {string} */ label, /** @type {number} */ index) =>
      slider(model, who, { label, min: -6, max: 6, step: 0.1, index, show }),
    );
  const style = { "--accent": `var(--${colour})` };
  const properties = { role: "group", "aria-label": title, style };
  return make("div", properties, make("h4", {}, title), ...sliders);
}

/**
 * @param {Model} model the figure's
 * @returns {HTMLElement} the sliders of the losses' settings
 */
function settingSliders(model) {
  const show = (/** @type {number} */ value) => value.toFixed(2);
  return make(
    "div",
    {},
    slider(model, "temperature", {
      label: "temperature",
      min: 0.5,
      max: 10,
      step: 0.5,
      show: (value) => value.toFixed(1),
    }),
    slider(model, "distillation_weight", { label: "lambda", min: 0, max: 1, step: 0.05, show }),
    slider(model, "label_smoothing", { label: "smoothing", min: 0, max: 0.3, step: 0.05, show }),
  );
}

/**
 * @param {Model} model the figure's
 * @returns {HTMLElement[]} all controls
 */
function controlsOf(model) {
  /** @type {[number, string][]} */
  const labels = model
    .get("class_names")
    .map((/** @type {string} */ name, /** @type {number} */ k) => [k, name]);
  const reduction = choice(model, "reduction", {
    label: "soft loss divided by",
    options: [
      ["batchmean", "the images (paper, equation 2)"],
      ["official", "images times classes (authors' code)"],
    ],
  });
  return [
    choice(model, "label", { label: "true label", options: labels }),
    side(logitSliders(model, "student", "class"), logitSliders(model, "teacher", "teacher")),
    side(settingSliders(model), reduction),
  ];
}

// ---- what the losses make of it ----

/**
 * @param {HTMLElement} part where to
 * @param {Losses} now
 * @param {string[]} names of the classes
 * @returns {void}
 */
function drawProbabilities(part, now, names) {
  const picture = bars({
    names,
    label: `Probabilities of student and teacher over ${names.length} classes`,
    series: [
      { colour: "class", values: now.p },
      { colour: "class", values: now.soft, faint: true },
      { colour: "teacher", values: now.teacherP },
      { colour: "teacher", values: now.taught, faint: true },
    ],
  });
  const colours = legend([
    ["class", "student"],
    ["teacher", "teacher"],
  ]);
  const fainter = make("p", {}, "Fainter: softened by the temperature.");
  part.replaceChildren(make("h4", {}, "probabilities"), picture, colours, fainter);
}

/**
 * @param {HTMLElement} part where to
 * @param {Losses} now
 * @param {string[]} names of the classes
 * @returns {void}
 */
function drawGradients(part, now, names) {
  const kinds = ["none", "soft", "hard"];
  const all = [now.ceGradient, now.softGradient, now.hardGradient];
  const most = Math.max(0.05, ...all.flat().map(Math.abs));
  const picture = bars({
    names,
    low: -most,
    high: most,
    right: 84,
    label: "Gradient of each loss on each of the student's logits",
    show: (value, which) => `${signed(value)} ${kinds[which]}`,
    series: ["plain", "line", "ink"].map((colour, i) => ({ colour, values: all[i] })),
  });
  const words = make("p", {}, "Left of the line the logit is pushed up, right of it down.");
  part.replaceChildren(make("h4", {}, "gradient on each logit"), picture, words);
}

/**
 * @param {HTMLElement} part where to
 * @param {Losses} now
 * @returns {void}
 */
function drawTable(part, now) {
  const softly = "(1 \u2212 lambda) cross-entropy + lambda \u00b7 distillation term";
  /** @type {[string, string, number][]} */
  const rows = [
    ["no distillation", "cross-entropy with the label", now.ce],
    ["soft", softly, now.softLoss],
    ["", "distillation term", now.term],
    ["hard", "half label, half teacher\u2019s decision", now.hardLoss],
  ];
  const cells = rows.map(([name, what, value]) =>
    make("tr", {}, rowHeading(name), make("td", {}, what), make("td", {}, value.toFixed(3))),
  );
  part.replaceChildren(make("table", {}, make("tbody", {}, ...cells)));
}

/**
 * @param {Losses} now
 * @param {number} label the true class
 * @param {string[]} names of the classes
 * @returns {string} what the figure shows now
 */
function sentence(now, label, names) {
  const strongest = argmax(now.softGradient.map(Math.abs));
  const agree =
    now.decided === label ? "as the label does" : `while the label says ${names[label]}`;
  return (
    `The teacher decides for ${names[now.decided]}, ${agree}. ` +
    `Loss: ${now.ce.toFixed(2)} without distillation, ` +
    `${now.softLoss.toFixed(2)} soft, ${now.hardLoss.toFixed(2)} hard. ` +
    `The soft loss pushes the logit of ${names[strongest]} hardest, ` +
    `${now.softGradient[strongest] < 0 ? "up" : "down"}.`
  );
}

/**
 * @param {Model} model the figure's
 * @returns {Losses} of the logits and settings as they stand
 */
const lossesOf = (model) =>
  losses({
    student: model.get("student"),
    teacher: model.get("teacher"),
    label: model.get("label"),
    temperature: model.get("temperature"),
    weight: model.get("distillation_weight"),
    smoothing: model.get("label_smoothing"),
    reduction: model.get("reduction"),
  });

/**
 * Draw the figure, now and whenever a trait changes.
 * @param {{ model: Model, el: HTMLElement }} given the figure's state, and where it goes
 * @returns {void}
 */
function render({ model, el }) {
  const names = model.get("class_names");
  const K = names.length;
  const { root, say, end } = frame(model, el, TITLE);
  if (model.get("student").length !== K || model.get("teacher").length !== K) {
    return complain(root, `Give student and teacher ${K} logits each, one for every class name.`);
  }
  const [probabilities, gradients] = [make("div"), make("div")];
  const table = make("div", { className: "scrolls" });
  root.append(...controlsOf(model), side(probabilities, gradients), table);
  end();
  const draw = () => {
    const now = lossesOf(model);
    drawProbabilities(probabilities, now, names);
    drawGradients(gradients, now, names);
    drawTable(table, now);
    say(sentence(now, model.get("label"), names));
  };
  for (const name of TRAITS) model.on(`change:${name}`, draw);
  draw();
}

export default { render };

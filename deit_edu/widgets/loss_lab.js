import { choice, slider } from "./controls.js";
import { bars, legend } from "./drawing.js";
import { complain, frame, make } from "./elements.js";
import { argmax, signed, softmax } from "./numbers.js";

// Cross-entropy, soft and hard loss of one image, and their gradients on the student's logits, from formulas.
// Paper: equations 2 and 3. The same numbers as deit_edu.losses and autograd give.
export function losses({ student, teacher, label, temperature, weight, smoothing, reduction }) {
  const K = student.length;
  const p = softmax(student);
  const target = p.map((_, k) => (k === label ? 1 - smoothing : smoothing / (K - 1)));
  const cross = (truth, q) => -truth.reduce((sum, t, k) => sum + (t ? t * Math.log(q[k]) : 0), 0);
  const ce = cross(target, p);
  const ceGradient = p.map((v, k) => v - target[k]);

  const soft = softmax(student, temperature),
    taught = softmax(teacher, temperature);
  const scale = reduction === "official" ? 1 / K : 1; // one image: B = 1
  const kl = taught.reduce((sum, q, k) => sum + (q ? q * Math.log(q / soft[k]) : 0), 0);
  const term = scale * temperature ** 2 * kl;
  const termGradient = soft.map((v, k) => scale * temperature * (v - taught[k]));

  const decided = argmax(teacher);
  const hardTarget = p.map((_, k) => Number(k === decided));
  return {
    p,
    soft,
    taught,
    teacherP: softmax(teacher),
    decided,
    kl,
    term,
    ce,
    ceGradient,
    softLoss: (1 - weight) * ce + weight * term,
    softGradient: ceGradient.map((g, k) => (1 - weight) * g + weight * termGradient[k]),
    hardLoss: 0.5 * ce + 0.5 * cross(hardTarget, p),
    hardGradient: ceGradient.map((g, k) => 0.5 * g + 0.5 * (p[k] - hardTarget[k])),
  };
}

function render({ model, el }) {
  const names = model.get("class_names"),
    K = names.length;
  const { root, say, end } = frame(
    model,
    el,
    "Loss lab: one image, what the student and its teacher say of it, and what the losses make of it",
  );
  if (model.get("student").length !== K || model.get("teacher").length !== K) {
    return complain(root, `Give student and teacher ${K} logits each, one for every class name.`);
  }
  const sliders = (who, colour, title) => {
    const rows = names.map((name, index) =>
      slider(model, who, {
        label: name,
        min: -6,
        max: 6,
        step: 0.1,
        index,
        show: (v) => signed(v, 1),
      }),
    );
    return make(
      "div",
      { role: "group", "aria-label": title, style: { "--accent": `var(--${colour})` } },
      make("h4", {}, title),
      ...rows,
    );
  };
  const settings = make(
    "div",
    {},
    slider(model, "temperature", {
      label: "temperature",
      min: 0.5,
      max: 10,
      step: 0.5,
      show: (v) => v.toFixed(1),
    }),
    slider(model, "distillation_weight", {
      label: "lambda",
      min: 0,
      max: 1,
      step: 0.05,
      show: (v) => v.toFixed(2),
    }),
    slider(model, "label_smoothing", {
      label: "smoothing",
      min: 0,
      max: 0.3,
      step: 0.05,
      show: (v) => v.toFixed(2),
    }),
  );
  const probabilities = make("div"),
    gradients = make("div"),
    table = make("div", { className: "table" });
  root.append(
    choice(model, "label", { label: "true label", options: names.map((name, k) => [k, name]) }),
    make(
      "div",
      { className: "side" },
      sliders("student", "class", "student's logits"),
      sliders("teacher", "teacher", "teacher's logits"),
    ),
    make(
      "div",
      { className: "side" },
      settings,
      choice(model, "reduction", {
        label: "soft loss divided by",
        options: [
          ["batchmean", "the images (paper, equation 2)"],
          ["official", "images times classes (authors' code)"],
        ],
      }),
    ),
    make("div", { className: "side" }, probabilities, gradients),
    table,
  );
  end();

  function draw() {
    const label = model.get("label");
    const now = losses({
      student: model.get("student"),
      teacher: model.get("teacher"),
      label,
      temperature: model.get("temperature"),
      weight: model.get("distillation_weight"),
      smoothing: model.get("label_smoothing"),
      reduction: model.get("reduction"),
    });
    probabilities.replaceChildren(
      make("h4", {}, "probabilities"),
      bars({
        names,
        label: `Probabilities of student and teacher over ${K} classes`,
        series: [
          { colour: "class", values: now.p },
          { colour: "class", values: now.soft, faint: true },
          { colour: "teacher", values: now.teacherP },
          { colour: "teacher", values: now.taught, faint: true },
        ],
      }),
      legend([
        ["class", "student"],
        ["teacher", "teacher"],
      ]),
      make("p", {}, "Fainter: softened by the temperature."),
    );
    const kinds = ["none", "soft", "hard"],
      all = [now.ceGradient, now.softGradient, now.hardGradient];
    const most = Math.max(0.05, ...all.flat().map(Math.abs));
    gradients.replaceChildren(
      make("h4", {}, "gradient on each logit"),
      bars({
        names,
        low: -most,
        high: most,
        right: 84,
        label: "Gradient of each loss on each of the student's logits",
        show: (v, j) => `${signed(v)} ${kinds[j]}`,
        series: [
          { colour: "plain", values: now.ceGradient },
          { colour: "line", values: now.softGradient },
          { colour: "ink", values: now.hardGradient },
        ],
      }),
      make("p", {}, "Left of the line the logit is pushed up, right of it down."),
    );
    const row = (name, what, value) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, name),
        make("td", {}, what),
        make("td", {}, value.toFixed(3)),
      );
    table.replaceChildren(
      make(
        "table",
        {},
        make(
          "tbody",
          {},
          row("no distillation", "cross-entropy with the label", now.ce),
          row(
            "soft",
            "(1 \u2212 lambda) cross-entropy + lambda \u00b7 distillation term",
            now.softLoss,
          ),
          row("", "distillation term", now.term),
          row("hard", "half label, half teacher\u2019s decision", now.hardLoss),
        ),
      ),
    );
    const strongest = argmax(now.softGradient.map(Math.abs));
    const agree =
      now.decided === label ? "as the label does" : `while the label says ${names[label]}`;
    say(
      `The teacher decides for ${names[now.decided]}, ${agree}. Loss: ${now.ce.toFixed(2)} without distillation, ` +
        `${now.softLoss.toFixed(2)} soft, ${now.hardLoss.toFixed(2)} hard. The soft loss pushes the logit of ${names[strongest]} hardest, ` +
        `${now.softGradient[strongest] < 0 ? "up" : "down"}.`,
    );
  }
  for (const name of [
    "student",
    "teacher",
    "label",
    "temperature",
    "distillation_weight",
    "label_smoothing",
    "reduction",
  ]) {
    model.on(`change:${name}`, draw);
  }
  draw();
}

export default { render };

// The teacher comparison: what the students of two teachers learned, with every seed.
import { curvesChart, dotsChart } from "./comparison_charts.js";
import { bestOf } from "./comparison_counting.js";
import { detailsOf, galleryOf } from "./comparison_details.js";
import { choice, menu, slider } from "./controls.js";
import { frame, make, side } from "./elements.js";
import { countOfSeeds, signed, unpacked } from "./numbers.js";

/** @typedef {import("./comparison_counting.js").Said} Said */
/** @typedef {import("./comparison_counting.js").Student} Student */
/** @typedef {{ letter: string, teacher: string, student: Student }} Chosen one of the two */

const TITLE = "Teacher comparison: what the students of two teachers learned";

/** @type {Record<string, string>} */
const WHO = {
  teacher: "teacher",
  class: "class head",
  distillation: "distillation head",
  fused: "both heads",
};

/**
 * @param {Model} model the figure's
 * @returns {Chosen[]} A and B; the student is undefined where there is none
 */
function chosenOf(model) {
  /** @type {Student[]} */
  const students = model.get("students");
  const pair = [
    ["A", model.get("one")],
    ["B", model.get("other")],
  ];
  return pair.map(([letter, teacher]) => {
    const student = students.find(
      (one) => one.teacher === teacher && (!one.kind || one.kind === model.get("kind")),
    );
    return { letter, teacher, student };
  });
}

/**
 * @param {Chosen} chosen
 * @param {string} who a head, or "teacher"
 * @returns {string} whose answer it is
 */
const nameOf = ({ student }, who) => (student.teacher === "none" ? "no teacher" : WHO[who]);

/**
 * @param {Chosen[]} chosen
 * @returns {SVGElement} test accuracy, a row for every head
 */
function accuracyChart(chosen) {
  const rows = chosen.flatMap((one) => {
    const { accuracy, teacher } = one.student;
    const heads = Object.keys(WHO).filter((who) => who in accuracy);
    return heads.map((who) => ({
      name: `${one.letter}: ${nameOf(one, who)}`,
      colour: teacher === "none" ? "plain" : who,
      ...accuracy[who],
    }));
  });
  const teachers = chosen.map(({ teacher }) => teacher).join(" and ");
  return dotsChart(rows, `Test accuracy of the students of ${teachers}, a dot for every seed`);
}

/**
 * @param {Chosen[]} chosen
 * @returns {Node[]} validation accuracy after each epoch; nothing where nobody was trained
 */
function trainingChart(chosen) {
  const groups = chosen.map(({ student, letter }) => ({
    colour: student.teacher === "none" ? "plain" : "fused",
    curves: student.curves.filter((curve) => curve.length),
    dashed: letter === "B",
  }));
  if (!groups.some(({ curves }) => curves.length)) return [];
  const label = "Validation accuracy after each epoch, a line for every seed; dashed for B";
  const title = make("h4", {}, "validation accuracy while training");
  return [make("div", {}, title, curvesChart(groups, label), make("p", {}, "B is dashed."))];
}

/**
 * @param {Chosen[]} chosen
 * @returns {HTMLElement} the charts
 */
const chartsOf = (chosen) =>
  side(
    make("div", {}, make("h4", {}, "test accuracy"), accuracyChart(chosen)),
    ...trainingChart(chosen),
  );

/**
 * @param {Chosen[]} chosen
 * @returns {string} both accuracies and their difference
 */
function accuracyWords(chosen) {
  const told = chosen.map(({ letter, student }) => {
    const mean = bestOf(student).mean.toFixed(1);
    const seeds = countOfSeeds(student.seeds.length);
    return `${letter}, teacher ${student.teacher}: ${mean} % over ${seeds}. `;
  });
  const [a, b] = chosen.map(({ student }) => bestOf(student).mean);
  return `${told.join("")}B minus A: ${signed(b - a, 1)} points.`;
}

/**
 * @param {Model} model the figure's
 * @param {Chosen[]} chosen
 * @returns {Said[]} everybody's decisions at the chosen seed, the truth's first
 */
function saidBy(model, chosen) {
  const [rows, n] = [unpacked(model.get("rows"), "u1"), model.get("count")];
  const decided = (/** @type {number} */ row) => rows.subarray(row * n, (row + 1) * n);
  const answers = chosen.flatMap((one) =>
    Object.entries(one.student.rows[model.get("seed")] ?? {}).map(([who, row]) => ({
      name: `${one.letter} ${nameOf(one, who)}`,
      letter: one.letter,
      who,
      row: decided(row),
    })),
  );
  return [{ name: "truth", letter: "", who: "", row: decided(0) }, ...answers];
}

/**
 * @param {Model} model the figure's
 * @returns {HTMLElement[]} its controls
 */
function controlsOf(model) {
  /** @type {Student[]} */
  const students = model.get("students");
  const teachers = [...new Set(students.map((student) => student.teacher))];
  const seeds = [...new Set(students.flatMap(({ rows }) => Object.keys(rows).map(Number)))];
  /** @type {[string, string][]} */
  const options = teachers.map((teacher) => [teacher, teacher]);
  const controls = [
    side(
      menu(model, "one", { label: "teacher A", options }),
      menu(model, "other", { label: "teacher B", options }),
    ),
    choice(model, "kind", {
      label: "distillation, where there is a teacher",
      options: model.get("kinds").map((/** @type {string} */ kind) => [kind, kind || "none"]),
    }),
  ];
  if (!seeds.length) return controls;
  const ends = { min: Math.min(...seeds), max: Math.max(...seeds) };
  return [...controls, slider(model, "seed", { label: "seed", ...ends })];
}

/**
 * @param {Model} model the figure's
 * @param {import("./comparison_details.js").Gallery} gallery
 * @param {HTMLElement} body what is below the sentence
 * @returns {string} what the figure shows now
 */
function drawn(model, gallery, body) {
  const chosen = chosenOf(model);
  const missing = chosen.find(({ student }) => !student);
  if (missing) {
    body.replaceChildren();
    return (
      `There is no run of a student of the ${missing.teacher} with distillation ` +
      `"${model.get("kind")}" here: choose another teacher or another kind of distillation.`
    );
  }
  body.replaceChildren(chartsOf(chosen));
  const [seed, words] = [model.get("seed"), accuracyWords(chosen)];
  if (!chosen.every(({ student }) => student.rows[seed])) {
    return (
      `${words} The answers of seed ${seed} are not kept for both: ` +
      "choose another seed for the matrix and the gallery."
    );
  }
  const details = detailsOf(seed, saidBy(model, chosen), gallery);
  body.append(...details.parts);
  return words + details.words;
}

/**
 * Draw the figure, now and whenever a trait changes.
 * @param {{ model: Model, el: HTMLElement }} given the figure's state, and where it goes
 * @returns {void}
 */
function render({ model, el }) {
  const { root, say, end } = frame(model, el, TITLE);
  const gallery = galleryOf(model);
  const body = make("div");
  root.append(...controlsOf(model));
  end(); // the sentence above the pictures, which are many
  root.append(body);
  const draw = () => say(drawn(model, gallery, body));
  for (const name of ["one", "other", "kind", "seed"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };

import { pairedDifference, verdictOf } from "./bootstrap.js";
import { choice, menu, pagesOwn, put, slider, toggle } from "./controls.js";
import { plane } from "./drawing.js";
import { frame, make } from "./elements.js";
import { countOfSeeds, signed } from "./numbers.js";

/** @typedef {{ name: string, label: string, values: Record<string, number> }} Measure */
/** @typedef {{ name: string, epochs: number, measures: Measure[] }} Configuration */
/**
 * @typedef {object} Experiment
 * @property {string} name as the ledger has it
 * @property {string} title in words
 * @property {string} split whose images its accuracies are of
 * @property {Configuration[]} configurations what was compared in it
 */
/** @typedef {[number, string, string]} Term weight, configuration, measure */

const OWN = ""; // the claim's name when it is the reader's own

/**
 * What the terms have measured, over the seeds that all of them share.
 * @param {Experiment} experiment where the terms' names are looked up
 * @param {Term[]} terms of the claim
 * @param {number} most how many seeds, the first
 * @returns {[number, number[]][]} weight and values of each term
 */
export function pairedTerms(experiment, terms, most) {
  const columns = terms.map(([, name, measure]) => measureOf(experiment, name, measure).values);
  const seeds = Object.keys(columns[0]).filter((seed) => columns.every((values) => seed in values));
  return terms.map(([weight], i) => [weight, seeds.slice(0, most).map((seed) => columns[i][seed])]);
}

/**
 * @param {Experiment} experiment an experiment
 * @param {string} name of one of its configurations
 * @returns {Configuration} that configuration
 */
const configurationOf = (experiment, name) =>
  experiment.configurations.find((one) => one.name === name);

/**
 * @param {Experiment} experiment an experiment
 * @param {string} name of one of its configurations
 * @param {string} measure of that configuration
 * @returns {Measure} that measure, or the configuration's first where it has no such head
 */
function measureOf(experiment, name, measure) {
  const { measures } = configurationOf(experiment, name);
  return measures.find((one) => one.name === measure) ?? measures[0];
}

/**
 * How the numbers of a claim are counted.
 * @param {Term[]} terms of the claim
 * @returns {{ unit: string, digits: number }} their unit and the digits that are shown
 */
function unitOf(terms) {
  const kinds = terms.map(([, , measure]) => measure.split(":")[0]);
  if (kinds[0] === "similarity") return { unit: "in cosine", digits: 3 };
  return { unit: kinds[0] === "norm" ? "in percent of the norm" : "points", digits: 2 };
}

/**
 * Every seed a dot, the mean a bar, the interval a line, and a line at zero.
 * @param {number[]} values a difference for each seed
 * @param {import("./bootstrap.js").Found} found mean and interval
 * @param {number} digits behind the point
 * @returns {SVGElement} the picture
 */
function picture(values, found, digits) {
  const ends = [found.low, found.high].filter(Number.isFinite);
  const all = [0, ...values, ...ends];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const room = 0.06 * (high - low || 1);
  const listed = values.map((v) => signed(v, digits)).join(", ");
  const label = `${countOfSeeds(values.length)}: ${listed}`;
  const drawn = plane({
    height: 92,
    left: 14,
    right: 14,
    top: 8,
    bottom: 28,
    across: [low - room, high + room],
    up: [-1, 1],
    label,
  });
  const { svg, x, y } = drawn;
  const purple = "stroke:var(--fused);stroke-width:2.5";
  drawn.line(x(0), 6, x(0), y(-1), "stroke:var(--ink);stroke-width:1");
  if (ends.length) drawn.line(x(found.low), y(-0.5), x(found.high), y(-0.5), purple);
  drawn.line(x(found.mean), y(-0.5) - 8, x(found.mean), y(-0.5) + 8, purple);
  values.forEach((value) => drawn.dot(x(value), y(0.5), 4.5, "fill:var(--fused);opacity:0.6"));
  drawn.text("0", x(0), 86, { anchor: "middle" });
  for (const end of ends)
    if (Math.abs(x(end) - x(0)) > 34)
      drawn.text(signed(end, digits), x(end), 86, { anchor: end === found.low ? "end" : "start" });
  return svg;
}

/**
 * The form's two menus of one term.
 * @param {Model} model the figure's
 * @param {Experiment} experiment whose configurations are offered
 * @param {number} i which of the terms
 * @param {(terms: Term[]) => void} chosen is told of other terms
 * @returns {HTMLElement} the menus, under a heading that says which side they are
 */
function termFields(model, experiment, i, chosen) {
  const term = () => /** @type {Term} */ (model.get("terms")[i]);
  const place = make("div");
  const heading = i === 0 ? "this" : term()[0] > 0 ? "plus" : "minus";
  const change = (/** @type {string} */ name, /** @type {string} */ measure) => {
    const terms = model.get("terms").slice();
    terms[i] = [terms[i][0], name, measureOf(experiment, name, measure).name];
    chosen(terms);
  };
  const heads = () => {
    const { measures } = configurationOf(experiment, term()[1]);
    const options = /** @type {[string, string][]} */ (measures.map((m) => [m.name, m.label]));
    const own = pagesOwn(measureOf(experiment, term()[1], term()[2]).name, (measure) =>
      change(term()[1], measure),
    );
    place.replaceChildren(menu(own, "measure", { label: "head", options }));
  };
  const options = /** @type {[string, string][]} */ (
    experiment.configurations.map(({ name, epochs }) => [name, `${name} (${epochs} epochs)`])
  );
  const own = pagesOwn(term()[1], (name) => {
    change(name, term()[2]);
    heads();
  });
  heads();
  const configurations = menu(own, "configuration", { label: "network", options });
  return make("fieldset", {}, make("legend", {}, heading), configurations, place);
}

/**
 * The verdict in a sentence.
 * @param {Experiment} experiment of the claim
 * @param {Term[]} terms of the claim
 * @param {import("./bootstrap.js").Found} found what it came to
 * @param {string} verdict that follows
 * @param {number} enough how many seeds a verdict asks for
 * @returns {string} the sentence
 */
function sentence(experiment, terms, found, verdict, enough) {
  const { unit, digits } = unitOf(terms);
  if (!found.seeds) return "No seed has all of these: choose another configuration or head.";
  const interval = Number.isFinite(found.low)
    ? ` [${signed(found.low, digits)}, ${signed(found.high, digits)}]`
    : "";
  const words = [
    `${signed(found.mean, digits)}${interval} ${unit}, ${countOfSeeds(found.seeds)}: ${verdict}.`,
  ];
  if (found.seeds < enough) words.push(`A verdict asks for ${enough} seeds.`);
  const lengths = new Set(terms.map(([, name]) => configurationOf(experiment, name).epochs));
  if (lengths.size > 1)
    words.push(`These were trained for ${[...lengths].join(" and ")} epochs: mind what differs.`);
  if (experiment.split !== "test") words.push(`Accuracies are of the ${experiment.split} images.`);
  return words.join(" ");
}

/**
 * @param {{ model: Model, el: HTMLElement }} given the figure's model and its place
 * @returns {void}
 */
function render({ model, el }) {
  const text = new TextDecoder().decode(model.get("experiments"));
  const experiments = /** @type {Experiment[]} */ (JSON.parse(text));
  const claims = model.get("claims");
  const settings = model.get("bootstrap");
  const here = () => experiments.find(({ name }) => name === model.get("experiment"));
  const { root, say, end } = frame(model, el, "Claim builder: this minus that, seed by seed");
  const [fields, drawing] = [make("div", { className: "side" }), make("div")];
  let building = false; // while a claim of the list fills the form

  const own = () => building || put(model, "claim", OWN);
  function build() {
    const chosen = (/** @type {Term[]} */ terms) => {
      put(model, "terms", terms);
      own();
    };
    const count = model.get("terms").length;
    const each = Array.from({ length: count }, (_, i) => termFields(model, here(), i, chosen));
    fields.replaceChildren(...each);
    ofFour.querySelector("input").checked = count === 4;
  }

  function fill() {
    const claim = claims.find((/** @type {any} */ one) => one.id === model.get("claim"));
    if (!claim) return;
    building = true;
    for (const name of ["experiment", "terms", "sign"]) put(model, name, claim[name]);
    building = false;
    build();
  }

  function draw() {
    const terms = model.get("terms");
    const paired = pairedTerms(here(), terms, model.get("seeds"));
    const found = pairedDifference(paired, settings);
    const values = paired[0][1].map((_, s) =>
      paired.reduce((total, [weight, column]) => total + weight * column[s], 0),
    );
    const { digits } = unitOf(terms);
    drawing.replaceChildren(...(found.seeds ? [picture(values, found, digits)] : []));
    const verdict = verdictOf(found, model.get("sign"), settings.enough);
    say(sentence(here(), terms, found, verdict, settings.enough));
  }

  const ofFirst = (/** @type {number} */ count) => {
    const { configurations } = here();
    const [one, other] = [configurations[0], configurations[1] ?? configurations[0]];
    const pair = [one, other].map(({ name, measures }, i) => [
      i ? -1 : 1,
      name,
      measures.at(-1).name,
    ]);
    return count === 2 ? pair : [...pair, ...pair.map(([weight, ...rest]) => [-weight, ...rest])];
  };
  const wantsFour = pagesOwn(model.get("terms").length === 4, (wanted) => {
    const terms = model.get("terms").slice(0, 2);
    put(model, "terms", wanted ? [...terms, ...ofFirst(4).slice(2)] : terms);
    own();
    build();
  });

  const ofFour = toggle(wantsFour, "four", { label: "a difference of two differences" });
  const listed = claims.map((/** @type {any} */ one) => [one.id, one.sentence]);
  const questions = experiments.map(({ name, title }) => [name, `${name}: ${title}`]);
  root.append(
    menu(model, "claim", { label: "claim", options: [[OWN, "one of your own"], ...listed] }),
    menu(model, "experiment", {
      label: "experiment",
      options: /** @type {[string, string][]} */ (questions),
    }),
    fields,
    ofFour,
    choice(model, "sign", {
      label: "you claim that the difference is",
      options: [
        [1, "positive"],
        [-1, "negative"],
      ],
    }),
    slider(model, "seeds", {
      label: "seeds",
      min: 1,
      max: Math.max(...Object.keys(settings.tails).map(Number)),
      show: (n) => `first ${n}`,
    }),
    drawing,
  );
  end();
  build();
  draw();

  model.on("change:claim", fill);
  model.on("change:experiment", () => {
    if (building) return;
    put(model, "terms", ofFirst(2));
    own();
    build();
  });
  model.on("change:sign", own);
  for (const name of ["terms", "sign", "seeds"]) model.on(`change:${name}`, draw);
}

export default { render };

// The fusion explorer: who takes which class for which, and what fusing the two heads is worth.
import { choice, menu, slider } from "./controls.js";
import { frame, make, side } from "./elements.js";
import { drawAnswers, drawCards, drawMatrix } from "./fusion_cells.js";
import { confusions, fusions, mostApart, partedBefore } from "./fusion_counting.js";
import { drawFusing, drawHeads } from "./fusion_heads.js";
import { factsOf, knownHere, pairOf, seedOf, WHO } from "./fusion_state.js";
import { wholePercent } from "./numbers.js";

/** @typedef {import("./fusion_state.js").Explorer} Explorer */
/** @typedef {import("./fusion_counting.js").Curves} Curves */

const TITLE = "Fusion and disagreement: who takes which class for which";

// ---- what it says ----

/**
 * @param {Explorer} explorer
 * @returns {string} where the two deciders part most often, who is right there, with the teacher
 */
function partingWords(explorer) {
  const { facts, found } = explorer;
  const { said } = knownHere(explorer);
  const [one, other] = pairOf(explorer);
  const [row, column] = mostApart(found, facts.K);
  const shares = (/** @type {NumberArray} */ judge) => {
    const { apart, agree } = partedBefore(said[one], said[other], judge);
    return agree.map((count) => wholePercent(count, apart));
  };
  let words =
    `, most often ${WHO[one]} ${facts.names[row]}, ` +
    `${WHO[other]} ${facts.names[column]} (${found[facts.K * row + column]})`;
  if (one !== "truth" && other !== "truth") {
    const right = shares(said.truth);
    words += `. On those that differ, the ${WHO[one]} is right on ${right[0]}, `;
    words += `the ${WHO[other]} on ${right[1]}`;
  }
  if (said.teacher && ![one, other].some((who) => who === "truth" || who === "teacher")) {
    const sides = shares(said.teacher);
    words += `; the teacher sides with the first on ${sides[0]}, with the second on ${sides[1]}`;
  }
  return words;
}

/**
 * @param {Explorer} explorer
 * @param {import("./fusion_counting.js").Fused} now the heads fused with the chosen weight
 * @returns {string} what the figure shows now
 */
function sentence(explorer, now) {
  const { model, facts } = explorer;
  const { said } = knownHere(explorer);
  const [one, other] = pairOf(explorer);
  const { apart } = partedBefore(said[one], said[other], said.truth);
  const counts = [apart, facts.n].map((count) => count.toLocaleString("en"));
  const [weight, way] = [model.get("weight"), /** @type {keyof Curves} */ (model.get("way"))];
  return (
    `Seed ${seedOf(explorer)}: ${WHO[one]} and ${WHO[other]} part on ` +
    `${counts[0]} of ${counts[1]} test images${apart ? partingWords(explorer) : ""}. ` +
    `Fused by ${way} with weight ${weight.toFixed(2)} for the class head: ` +
    `${now[way].toFixed(2)} % right.`
  );
}

// ---- the whole ----

/** @param {Explorer} explorer */
function drawWords(explorer) {
  const now = fusions(knownHere(explorer), explorer.model.get("weight"));
  drawFusing(explorer, now);
  drawHeads(explorer, now);
  explorer.say(sentence(explorer, now));
}

/** @param {Explorer} explorer */
function drawCell(explorer) {
  const { model, facts, found } = explorer;
  if (!found.length) return;
  explorer.cell = model.get("cell").length ? model.get("cell") : mostApart(found, facts.K);
  drawMatrix(explorer);
  drawCards(explorer);
}

/**
 * @param {Explorer} explorer
 * @param {string} who is chosen, and not kept for this seed
 * @returns {void}
 */
function drawNothing(explorer, who) {
  const { matrix, cards, answers, fusing, heads, heading } = explorer.parts;
  explorer.found = [];
  explorer.shown = [];
  for (const part of [matrix, cards, answers, fusing, heads, heading]) part.replaceChildren();
  explorer.say(
    `The answers of the ${WHO[who]} are not kept for seed ${seedOf(explorer)}: ` +
      "choose another seed, or somebody else.",
  );
}

/** @param {Explorer} explorer */
function draw(explorer) {
  const { facts, parts } = explorer;
  const { said } = knownHere(explorer);
  const [one, other] = pairOf(explorer);
  const absent = [one, other].find((who) => !said[who]);
  if (absent) return drawNothing(explorer, absent);
  explorer.found = confusions(said[one], said[other], facts.K);
  parts.heading.textContent = `rows: ${WHO[one]}; columns: ${WHO[other]}`;
  drawCell(explorer);
  // A task of its own, so that the page is never blocked for long.
  setTimeout(() => {
    if (explorer.found.length) drawWords(explorer);
  });
}

/**
 * @param {Explorer} explorer
 * @returns {HTMLElement[]} the controls above the sentence
 */
function controlsAbove({ model, facts }) {
  const { seeds, known } = facts;
  const deciders = Object.entries(WHO).filter(([who]) =>
    Object.values(known).some(({ said }) => who in said),
  );
  const menus = side(
    menu(model, "one", { label: "rows", options: deciders }),
    menu(model, "other", { label: "columns", options: deciders }),
  );
  if (seeds.length === 1) return [menus];
  const show = (/** @type {number} */ place) => String(seeds[place]);
  return [menus, slider(model, "place", { label: "seed", min: 0, max: seeds.length - 1, show })];
}

/**
 * @param {Model} model the figure's
 * @returns {HTMLElement[]} the controls that say how the heads are fused
 */
function fusionControls(model) {
  const show = (/** @type {number} */ weight) => weight.toFixed(2);
  return [
    slider(model, "weight", { label: "weight", min: 0, max: 1, step: 0.05, show }),
    choice(model, "way", {
      label: "fused by",
      options: [
        ["probabilities", "probabilities (paper)"],
        ["logits", "logits (authors\u2019 code)"],
      ],
    }),
  ];
}

/**
 * @param {Explorer} explorer
 * @param {(where?: HTMLElement) => void} end puts the sentence into the page
 * @returns {void}
 */
function layOut(explorer, end) {
  const { model, root, parts } = explorer;
  root.append(...controlsAbove(explorer));
  end(); // the sentence above the pictures
  const unit = choice(model, "unit", {
    label: "a cell shows",
    options: [
      ["images", "how many images"],
      ["rates", "% of its row"],
    ],
  });
  const asOne = make("h4", {}, "the two heads as one");
  const fused = make("div", {}, asOne, ...fusionControls(model), parts.fusing);
  const below = side(make("div", {}, parts.answers, parts.heads), fused);
  root.append(unit, parts.heading, parts.matrix, parts.cards, below);
  if (model.get("left_out")) root.append(make("p", {}, model.get("left_out")));
}

/**
 * Draw the figure, now and whenever a trait changes.
 * @param {{ model: Model, el: HTMLElement }} given the figure's state, and where it goes
 * @returns {void}
 */
function render({ model, el }) {
  const { root, say, end } = frame(model, el, TITLE);
  const names = ["cards", "answers", "heads", "fusing"];
  /** @type {Record<string, HTMLElement>} */
  const parts = Object.fromEntries(names.map((name) => [name, make("div")]));
  parts.heading = make("h4");
  parts.matrix = make("div", { className: "scrolls" });
  /** @type {Explorer} */
  const explorer = {
    model,
    facts: factsOf(model),
    root,
    say,
    parts,
    found: [],
    cell: [0, 0],
    shown: [],
    image: 0,
    loading: null,
    gallery: null,
  };
  layOut(explorer, end);
  for (const name of ["one", "other", "place"]) model.on(`change:${name}`, () => draw(explorer));
  for (const name of ["cell", "unit"]) model.on(`change:${name}`, () => drawCell(explorer));
  for (const name of ["weight", "way"])
    model.on(`change:${name}`, () => {
      if (!explorer.found.length) return;
      drawWords(explorer);
      drawAnswers(explorer);
    });
  draw(explorer);
}

export default { render };

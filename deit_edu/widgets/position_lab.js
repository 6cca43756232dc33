// The position lab: learned position embeddings brought to another grid, and what is left of them.
import { choice, slider } from "./controls.js";
import { frame, make, side } from "./elements.js";
import { argmax, clamp, mean, unpacked } from "./numbers.js";
import { chart, DASHES } from "./position_chart.js";
import {
  accuracyLines,
  cosines,
  norms,
  normsKept,
  resized,
  samePlace,
} from "./position_counting.js";
import { ledgerPart } from "./position_ledger.js";
import { choosePatches, drawMaps, makeMaps, scale } from "./position_maps.js";

/** @typedef {import("./position_counting.js").Points} Points */

/**
 * An accuracy without fine-tuning, as Python measured it; low and high: its 95 % interval.
 * @typedef {{ interpolation: string, grid: number, percent: number, low: number, high: number,
 *   total: number }} Tested
 */

/**
 * What never changes. G: patches a side of the trained grid; P: their side in pixels; D: the width;
 * least: the fewest patches a side; old: the norms on the trained grid; low and high: the shortest
 * and the longest vector on any grid.
 * @typedef {{ G: number, P: number, D: number, least: number, trained: any, old: number[],
 *   tested: Tested[], kept: Record<string, Points>, low: number, high: number,
 *   accuracy: Record<string, Points> }} Facts
 */

/**
 * What is chosen, and what follows. lengths: the norms on the new grid; alike: the cosines of the
 * chosen patch on the trained grid; same: where that patch is on the new one.
 * @typedef {{ grid: number, how: string, patch: number, same: number, vectors: any,
 *   lengths: number[], alike: number[], here: Tested | undefined, home: Tested | undefined }} Now
 */

const TITLE = "Position lab: learned position embeddings on another grid";
/** @type {Record<string, string>} */
const NAMES = { bicubic: "bicubic", bilinear: "bilinear", antialias: "bicubic, antialias" };
/** @type {Record<number, string>} */
const PREFIX = {
  1: "the prefix token keeps its vector",
  2: "the two prefix tokens keep their vectors",
};

const size = (/** @type {number} */ grid) => `${grid}\u00d7${grid}`;

// ---- what is counted ----

/**
 * @param {Model} model the figure's
 * @returns {Facts} what never changes
 */
function factsOf(model) {
  const [D, G] = [model.get("width"), model.get("trained_grid")];
  const trained = unpacked(model.get("positions"), "f4");
  const tested = model.get("accuracies");
  const hows = Object.keys(DASHES);
  const least = Math.ceil(G / 2);
  const grids = Array.from({ length: 2 * G - least + 1 }, (_, i) => least + i);
  return {
    G,
    P: model.get("patch_size"),
    D,
    least,
    trained,
    tested,
    old: norms(trained, D),
    ...normsKept(trained, G, D, grids, hows),
    accuracy: accuracyLines(tested, hows),
  };
}

/**
 * @param {Model} model the figure's
 * @param {Facts} facts
 * @returns {Now} what is chosen, and what follows
 */
function nowOf(model, { G, D, least, trained, tested }) {
  const grid = clamp(model.get("grid"), least, 2 * G);
  const how = model.get("interpolation");
  const patch = clamp(model.get("patch"), 0, G * G - 1);
  const vectors = resized(trained, G, grid, D, how);
  const testedAt = (/** @type {number} */ at) =>
    tested.find((one) => one.grid === at && one.interpolation === how);
  return {
    grid,
    how,
    patch,
    vectors,
    same: samePlace(patch, G, grid),
    lengths: norms(vectors, D),
    alike: cosines(trained, D, patch),
    here: testedAt(grid),
    home: testedAt(G),
  };
}

// ---- charts ----

/**
 * @param {Record<string, Points>} lines
 * @param {number} grid
 * @returns {string} what each line says at a grid
 */
const valuesAt = (lines, grid) =>
  Object.entries(lines)
    .flatMap(([how, points]) =>
      points.filter(([at]) => at === grid).map(([, value]) => `${how} ${value.toFixed(1)} %`),
    )
    .join(", ");

/**
 * @param {HTMLElement} part
 * @param {Facts} facts
 * @param {Now} now
 * @returns {void}
 */
function drawKept(part, { G, least, kept }, { grid, how }) {
  const ticks = [least, G, 2 * G];
  const label = `Share of the mean norm that is kept at ${least} to ${2 * G} patches a side`;
  part.replaceChildren(
    make("h4", {}, "mean norm kept, %"),
    chart({ lines: kept, ticks, grid, how, label }),
    make("p", {}, `At ${size(grid)}: ${valuesAt(kept, grid)}.`),
  );
}

/**
 * @param {HTMLElement} part
 * @param {Facts} facts
 * @param {Now} now
 * @returns {void}
 */
function drawAccuracy(part, { G, least, accuracy }, { grid, how, here }) {
  const ticks = [least, G, 2 * G];
  const label = "Accuracy without fine-tuning against patches a side";
  /** @type {[number, number] | undefined} */
  const bounds = here && [here.low, here.high];
  const said = here
    ? `At ${size(grid)}: ${valuesAt(accuracy, grid)}. ` +
      `The bar is the 95 % interval of ${here.total} images.`
    : `Not measured at ${size(grid)}.`;
  part.replaceChildren(
    make("h4", {}, "accuracy without fine-tuning, %"),
    chart({ lines: accuracy, ticks, grid, how, bounds, label }),
    make("p", {}, said),
  );
}

// ---- what it says ----

/**
 * @param {Facts} facts
 * @param {Now} now
 * @returns {string} how much of the norm is kept
 */
function keptWords({ G, P, old, kept }, { grid, how, lengths }) {
  const before = mean(old).toFixed(2);
  if (grid === G) {
    return (
      `${size(G)} patches (${G * P} px) are the grid that was trained: ` +
      `nothing is interpolated, and the mean norm is ${before}.`
    );
  }
  const [, share] = kept[how].find(([at]) => at === grid);
  return (
    `From ${size(G)} to ${size(grid)} patches (${grid * P} px), ${NAMES[how]}: ` +
    `${share.toFixed(1)} % of the mean norm is kept, ` +
    `${before} before and ${mean(lengths).toFixed(2)} after.`
  );
}

/**
 * @param {Facts} facts
 * @param {Now} now
 * @returns {string} how often the model is right
 */
function accuracyWords({ G, P, tested }, { grid, here, home }) {
  if (!tested.length) return "";
  if (!here) return " Its accuracy was not measured at this size.";
  const against =
    home && grid !== G ? `, against ${home.percent.toFixed(1)} % at ${G * P} px.` : ".";
  return (
    ` Without fine-tuning the model is right on ${here.percent.toFixed(1)} % ` +
    `of ${here.total} validation images${against}`
  );
}

/**
 * @param {Facts} facts
 * @param {Now} now
 * @returns {string} which patch is most like the chosen one
 */
function likenessWords({ G }, { patch, alike }) {
  const others = alike.map((value, n) => (n === patch ? -Infinity : value));
  const next = argmax(others);
  const place = (/** @type {number} */ n) => `row ${Math.floor(n / G) + 1}, column ${(n % G) + 1}`;
  return (
    ` The patch on ${place(patch)} of the trained grid is most like that on ${place(next)} ` +
    `(cosine ${others[next].toFixed(2)}).`
  );
}

// ---- the whole ----

/**
 * @param {HTMLElement} root the figure's outermost element
 * @param {Model} model the figure's
 * @param {Facts} facts
 * @returns {{ maps: import("./position_maps.js").Maps, keptPart: HTMLElement,
 *   accuracyPart: HTMLElement, over: Record<"likeness" | "after", HTMLElement> }} what changes
 */
function layOut(root, model, { G, old, low, high }) {
  const maps = makeMaps();
  const over = { likeness: make("p"), after: make("p") };
  const before = make("p", {}, `${size(G)}: mean ${mean(old).toFixed(2)}`);
  const style = { "grid-template-columns": "1fr 1fr" };
  const panels = (/** @type {Node[]} */ ...children) =>
    make("div", { className: "maps", style }, ...children);
  const cosine = panels(
    make("div", {}, make("p", {}, `${size(G)}, trained`), maps.board),
    make("div", {}, over.likeness, maps.likeness),
    scale("\u22121", "1", true, "cosine with the framed patch"),
  );
  const prefix = PREFIX[model.get("num_prefix_tokens")] ?? "";
  const length = panels(
    make("div", {}, before, maps.before),
    make("div", {}, over.after, maps.after),
    scale(low.toFixed(1), high.toFixed(1), false, prefix),
  );
  const [keptPart, accuracyPart] = [make("div"), make("div")];
  root.append(
    side(
      make("div", {}, make("h4", {}, "how alike: click a patch"), cosine),
      make("div", {}, make("h4", {}, "how long: the l2 norm of each vector"), length),
    ),
    side(keptPart, accuracyPart),
  );
  return { maps, over, keptPart, accuracyPart };
}

/**
 * Draw the figure, now and whenever a trait changes.
 * @param {{ model: Model, el: HTMLElement }} given the figure's state, and where it goes
 * @returns {void}
 */
function render({ model, el }) {
  const { root, say, end } = frame(model, el, TITLE);
  const facts = factsOf(model);
  const { G, least, tested } = facts;
  root.append(
    slider(model, "grid", { label: "patches a side", min: least, max: 2 * G, show: size }),
    choice(model, "interpolation", { label: "interpolation", options: Object.entries(NAMES) }),
  );
  end(); // the sentence above the pictures, which are many
  const { maps, over, keptPart, accuracyPart } = layOut(root, model, facts);
  if (model.get("recorded").rows) root.append(ledgerPart(model.get("recorded")));
  choosePatches(model, maps, G);
  const draw = () => {
    const now = nowOf(model, facts);
    drawMaps(maps, facts, now);
    over.likeness.textContent = size(now.grid);
    over.after.textContent = `${size(now.grid)}: mean ${mean(now.lengths).toFixed(2)}`;
    drawKept(keptPart, facts, now);
    if (tested.length) drawAccuracy(accuracyPart, facts, now);
    say(keptWords(facts, now) + accuracyWords(facts, now) + likenessWords(facts, now));
  };
  for (const name of ["grid", "interpolation", "patch"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };

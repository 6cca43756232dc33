// The position lab: learned position embeddings brought to another grid, and what is left of them.
import { choice, put, slider } from "./controls.js";
import { enlarge, heatMap } from "./drawing.js";
import { frame, make, onArrows, OWN_KEYS, placeOf, side } from "./elements.js";
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
const SIDE = 280; // pixels of a map, about

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

// ---- maps ----

/**
 * A map whose patches are squares.
 * @param {HTMLCanvasElement} canvas where to
 * @param {number[]} values (grid * grid,)
 * @param {number} grid patches a side
 * @param {{ range: [number, number], diverging?: boolean }} settings of the colours
 * @returns {void}
 */
function squares(canvas, values, grid, settings) {
  const small = make("canvas");
  heatMap(small, values, grid, settings);
  enlarge(canvas, small, Math.ceil(SIDE / grid));
}

/**
 * A frame round one patch: of its two colours one is seen on any ground.
 * @param {HTMLCanvasElement} canvas a map
 * @param {number} grid patches a side
 * @param {number} patch which
 * @returns {void}
 */
function frameOne(canvas, grid, patch) {
  const context = canvas.getContext("2d");
  const wide = canvas.width / grid;
  const [x, y] = [(patch % grid) * wide, Math.floor(patch / grid) * wide];
  for (const [colour, inset] of /** @type {[string, number][]} */ ([
    ["#000", 1],
    ["#fff", 3],
  ])) {
    [context.strokeStyle, context.lineWidth] = [colour, 2];
    context.strokeRect(x + inset, y + inset, wide - 2 * inset, wide - 2 * inset);
  }
}

/**
 * What the colours of two maps mean.
 * @param {string} low the number at the lower end
 * @param {string} high the number at the upper end
 * @param {boolean} diverging the map whose middle is white
 * @param {string} words what the numbers are
 * @returns {HTMLElement} one line
 */
function scale(low, high, diverging, words) {
  const style = { width: "6rem", height: "0.8rem", display: "inline-block" };
  const canvas = make("canvas", { "aria-hidden": "true", style });
  const steps = Array.from({ length: 64 }, (_, i) => i / 63);
  heatMap(canvas, steps, 64, { range: [0, 1], diverging });
  const ends = make("span", {}, `${low} `, canvas, ` ${high}`);
  return make("p", { className: "legend" }, ends, make("span", {}, words));
}

/** @typedef {Record<"board" | "likeness" | "before" | "after", HTMLCanvasElement>} Maps */

/** @returns {Maps} four canvases; of two of them a patch can be chosen */
function makeMaps() {
  const picture = (/** @type {string} */ label, style = {}) =>
    make("canvas", { role: "img", "aria-label": label, style });
  const board = make("canvas", {
    tabIndex: 0,
    role: "application",
    dataset: OWN_KEYS,
    style: { cursor: "crosshair" },
    "aria-label": "The trained grid. Arrow keys choose the patch that is compared with all others.",
  });
  const others = "cosine of the chosen patch with all others on the new grid";
  return {
    board,
    likeness: picture(others, { cursor: "crosshair" }),
    before: picture("norms on the trained grid"),
    after: picture("norms on the new grid"),
  };
}

/**
 * @param {Maps} maps
 * @param {Facts} facts
 * @param {Now} now
 * @returns {void}
 */
function drawMaps(maps, { G, D, old, low, high }, { grid, patch, same, vectors, lengths, alike }) {
  /** @type {{ range: [number, number], diverging: boolean }} */
  const cosine = { range: [-1, 1], diverging: true };
  squares(maps.board, alike, G, cosine);
  frameOne(maps.board, G, patch);
  squares(maps.likeness, cosines(vectors, D, same), grid, cosine);
  frameOne(maps.likeness, grid, same);
  squares(maps.before, old, G, { range: [low, high] });
  squares(maps.after, lengths, grid, { range: [low, high] });
}

/**
 * The patch that a pointer or the arrow keys choose.
 * @param {Model} model the figure's
 * @param {Maps} maps
 * @param {number} G patches a side of the trained grid
 * @returns {void}
 */
function choosePatches(model, { board, likeness }, G) {
  const choose = (/** @type {number} */ x, /** @type {number} */ y) =>
    put(model, "patch", clamp(y, 0, G - 1) * G + clamp(x, 0, G - 1));
  for (const canvas of [board, likeness])
    canvas.addEventListener("click", (event) => choose(...placeOf(canvas, event, G, G)));
  onArrows(board, (x, y) => {
    const patch = model.get("patch");
    choose((patch % G) + x, Math.floor(patch / G) + y);
  });
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
 * @returns {{ maps: Maps, over: Record<"likeness" | "after", HTMLElement>,
 *   keptPart: HTMLElement, accuracyPart: HTMLElement }} what is drawn again and again
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

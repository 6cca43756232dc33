// The position lab's maps: how alike the patches are, and how long their vectors.
import { put } from "./controls.js";
import { enlarge, heatMap } from "./drawing.js";
import { make, onArrows, OWN_KEYS, placeOf } from "./elements.js";
import { clamp } from "./numbers.js";
import { cosines } from "./position_counting.js";

const SIDE = 280; // pixels of a map, about

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
export function scale(low, high, diverging, words) {
  const style = { width: "6rem", height: "0.8rem", display: "inline-block" };
  const canvas = make("canvas", { "aria-hidden": "true", style });
  const steps = Array.from({ length: 64 }, (_, i) => i / 63);
  heatMap(canvas, steps, 64, { range: [0, 1], diverging });
  const ends = make("span", {}, `${low} `, canvas, ` ${high}`);
  return make("p", { className: "legend" }, ends, make("span", {}, words));
}

/** @typedef {Record<"board" | "likeness" | "before" | "after", HTMLCanvasElement>} Maps */

/**
 * @returns {Maps} four canvases; on two of them a patch can be chosen
 */
export function makeMaps() {
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
 * Draw all four, two of them with a frame round the chosen patch.
 * @param {Maps} maps where to
 * @param {import("./position_lab.js").Facts} facts what never changes
 * @param {import("./position_lab.js").Now} now what is chosen
 * @returns {void}
 */
export function drawMaps(
  maps,
  { G, D, old, low, high },
  { grid, patch, same, vectors, lengths, alike },
) {
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
 * @param {Maps} maps on two of which a patch can be chosen
 * @param {number} G patches a side of the trained grid
 * @returns {void}
 */
export function choosePatches(model, { board, likeness }, G) {
  const choose = (/** @type {number} */ x, /** @type {number} */ y) =>
    put(model, "patch", clamp(y, 0, G - 1) * G + clamp(x, 0, G - 1));
  for (const canvas of [board, likeness])
    canvas.addEventListener("click", (event) => choose(...placeOf(canvas, event, G, G)));
  onArrows(board, (x, y) => {
    const patch = model.get("patch");
    choose((patch % G) + x, Math.floor(patch / G) + y);
  });
}

// The pictures of a race: curves, dots of its seeds, and where the tokens look.
import { drawImage, heatMap, plane } from "./drawing.js";
import { make } from "./elements.js";
import { SIDES } from "./race_settings.js";

const HEADS = ["class", "distillation", "fused"];
const DASHES = { a: "stroke-dasharray:5 4;", b: "" };
const MARGINS = { left: 40, right: 8, top: 8, bottom: 30 };

/**
 * One curve of a chart.
 * @typedef {object} Curve
 * @property {[number, number][]} points step and value
 * @property {string} colour the name of one of the book's
 * @property {"a" | "b"} side A is dashed
 */

/**
 * @param {object} settings
 * @param {Curve[]} settings.curves
 * @param {number} settings.steps of the whole race
 * @param {[number, number]} settings.up the numbers at the lower and the upper edge
 * @param {(value: number) => string} settings.show a number in words
 * @param {number} settings.at the step that is looked at
 * @param {number[]} settings.marks steps at which something was changed
 * @param {string} settings.label what the chart shows
 * @returns {SVGElement}
 */
export function curveChart({ curves, steps, up, show, at, marks, label }) {
  const chart = plane({ height: 132, ...MARGINS, across: [0, steps], up, label });
  const { x, y, line, text, svg } = chart;
  const edge = "stroke:var(--line);stroke-width:1";
  for (const value of [up[0], (up[0] + up[1]) / 2, up[1]]) {
    line(x(0), y(value), x(steps), y(value), `${edge};opacity:0.4`);
    text(show(value), x(0) - 4, y(value) + 4, { anchor: "end" });
  }
  for (const step of [0, steps / 2, steps]) {
    text(String(Math.round(step)), x(step), y(up[0]) + 14, {
      anchor: step ? (step < steps ? "middle" : "end") : "start",
    });
  }
  text("step", x(steps / 2), y(up[0]) + 27, { anchor: "middle" });
  for (const step of marks)
    line(x(step), y(up[0]), x(step), y(up[1]), `${edge};stroke-dasharray:1 3`);
  line(x(at), y(up[0]), x(at), y(up[1]), "stroke:var(--ink);stroke-width:1");
  for (const { points, colour, side } of curves) {
    chart.curve(points, `fill:none;stroke:var(--${colour});stroke-width:2;${DASHES[side]}`);
  }
  return svg;
}

/**
 * The curves of one kind of number, of all heads of both students.
 * @param {{ a: RacePoint, b: RacePoint }[]} points
 * @param {(measured: Measured) => Record<string, number | null> | null} numbers by head
 * @returns {Curve[]}
 */
export const headCurves = (points, numbers) =>
  SIDES.flatMap((side) =>
    HEADS.map((head) => ({
      side,
      colour: head,
      points: places(points, (at) => numbers(at[side].measured)?.[head]),
    })),
  ).filter((curve) => curve.points.length);

/**
 * A curve for each student that has the number.
 * @param {{ a: RacePoint, b: RacePoint }[]} points
 * @param {string} colour
 * @param {(point: RacePoint) => number | null} number
 * @returns {Curve[]}
 */
export const sideCurves = (points, colour, number) =>
  SIDES.map((side) => ({ side, colour, points: places(points, (at) => number(at[side])) })).filter(
    (curve) => curve.points.length,
  );

/** @returns {[number, number][]} step and value, wherever there is one */
function places(points, value) {
  const all = points.map((at) => [at.a.step, value(at)]);
  return all.filter(([, number]) => number !== null && number !== undefined);
}

/**
 * What seeds came to: A's and B's accuracy of each, joined.
 * @param {{ seed: number, a: number, b: number }[]} results shares
 * @param {string} label
 * @returns {SVGElement}
 */
export function pairedDots(results, label) {
  const values = results.flatMap(({ a, b }) => [a, b]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.01, 0.1 * (high - low));
  const chart = plane({
    height: 150,
    ...MARGINS,
    left: 46,
    across: [-0.4, 1.4],
    up: [low - room, high + room],
    label,
  });
  const { x, y, line, dot, text, svg } = chart;
  for (const value of [low, high]) {
    text(`${(100 * value).toFixed(1)} %`, x(-0.4) + 2, y(value) + 4, { anchor: "end" });
  }
  for (const [side, name] of ["A", "B"].entries()) {
    text(name, x(side), y(low - room) + 16, { anchor: "middle" });
  }
  for (const { a, b } of results) {
    line(x(0), y(a), x(1), y(b), "stroke:var(--line);stroke-width:1.2");
    dot(x(0), y(a), 3.5, "fill:var(--paper);stroke:var(--ink);stroke-width:1.5");
    dot(x(1), y(b), 3.5, "fill:var(--ink)");
  }
  return svg;
}

/**
 * A scene, and what each prefix token of a student takes from its patches in the last layer.
 * @param {{ pixels: Uint8Array, maps: number[][] }} looked
 * @param {number[]} shape C, H, W
 * @param {string} name of the student
 * @returns {HTMLElement}
 */
export function lookedAt({ pixels, maps }, shape, name) {
  const cards = [card(name, (canvas) => drawImage(canvas, pixels, shape))];
  maps.forEach((map, token) => {
    const range = /** @type {[number, number]} */ ([0, Math.max(...map)]);
    const draw = (canvas) => heatMap(canvas, map, Math.sqrt(map.length), { range });
    cards.push(card(token ? "distillation" : "class", draw));
  });
  return make("div", { className: "looked" }, ...cards);
}

function card(words, draw) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  draw(canvas);
  return make("figure", {}, canvas, make("figcaption", {}, words));
}

/**
 * @param {Float32Array} attention (L, h, Q, T), of the prefix tokens
 * @param {{ depth: number, num_heads: number }} student its config
 * @param {number} prefix Q
 * @returns {number[][]} of each prefix token, what it takes from every patch in the last layer: the
 *   mean over heads
 */
export function lastLayerMaps(attention, { depth, num_heads: heads }, prefix) {
  const tokens = attention.length / (depth * heads * prefix);
  return Array.from({ length: prefix }, (_, token) =>
    Array.from({ length: tokens - prefix }, (_, patch) => {
      let total = 0;
      for (let head = 0; head < heads; head++) {
        const row = ((depth - 1) * heads + head) * prefix + token;
        total += attention[row * tokens + prefix + patch];
      }
      return total / heads;
    }),
  );
}

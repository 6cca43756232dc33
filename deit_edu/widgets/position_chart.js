// The position lab's charts: per cent against patches a side, a line for each interpolation.
import { plane } from "./drawing.js";
import { movedApart } from "./position_counting.js";

/** @typedef {import("./position_counting.js").Points} Points */

const SIZE = { width: 330, height: 176, left: 34, right: 90, top: 12, bottom: 22 };

/** @type {Record<string, string>} how the line of each interpolation is dashed */
export const DASHES = { bicubic: "none", bilinear: "7 4", antialias: "1.5 3.5" };

/**
 * What a chart shows. ticks: patches a side that are named; grid and how: the point that is marked;
 * bounds: the interval of that point.
 * @typedef {{ lines: Record<string, Points>, ticks: number[], grid: number, how: string,
 *   bounds?: [number, number], label: string }} ChartSettings
 */

/**
 * @param {ChartSettings} settings
 * @returns {Plane} an empty chart with its axes
 */
function axes({ lines, ticks, bounds, label }) {
  const points = Object.values(lines).flat();
  const all = [...points.map(([, value]) => value), ...(bounds ?? [])];
  const low = 10 * Math.floor(Math.min(...all) / 10);
  const high = Math.max(10 * Math.ceil(Math.max(...all) / 10), low + 10);
  const [first, last] = [ticks[0], ticks[ticks.length - 1]];
  const chart = plane({ ...SIZE, across: [first, last], up: [low, high], label });
  const { x, y, line, text } = chart;
  for (const value of [low, (low + high) / 2, high]) {
    line(x(first), y(value), x(last), y(value), "stroke:var(--line);stroke-width:0.5");
    text(String(value), x(first) - 6, y(value) + 4, { anchor: "end" });
  }
  const below = SIZE.height - 6;
  for (const tick of ticks) text(String(tick), x(tick), below, { anchor: "middle" });
  text("patches", x(last) + 33, below);
  return chart;
}

/**
 * @param {Plane} chart
 * @param {ChartSettings} settings
 * @returns {void}
 */
function drawLines({ y, line, curve, text }, { lines, how }) {
  const right = SIZE.width - SIZE.right;
  const names = Object.keys(lines);
  const ends = names.map((name) => y(lines[name][lines[name].length - 1][1]));
  const places = movedApart(ends, 13);
  names.forEach((name, i) => {
    const [wide, bold] = name === how ? [2.6, 700] : [1.3, 400];
    const dashes = `stroke-dasharray:${DASHES[name]}`;
    const style = `fill:none;stroke:var(--ink);stroke-width:${wide};${dashes}`;
    curve(lines[name], style);
    line(right + 5, places[i], right + 29, places[i], style);
    text(name, right + 33, places[i] + 4, { style: `font-weight:${bold}` });
  });
}

/**
 * Per cent against patches a side.
 * @param {ChartSettings} settings what is drawn
 * @returns {SVGElement} the chart
 */
export function chart(settings) {
  const { lines, grid, how, bounds } = settings;
  const drawn = axes(settings);
  const { svg, x, y, line, dot } = drawn;
  const bottom = SIZE.height - SIZE.bottom;
  line(x(grid), SIZE.top, x(grid), bottom, "stroke:var(--line);stroke-width:1.2");
  drawLines(drawn, settings);
  const here = lines[how]?.find(([at]) => at === grid);
  if (!here) return svg;
  const interval = "stroke:var(--ink);stroke-width:2";
  if (bounds) line(x(grid), y(bounds[0]), x(grid), y(bounds[1]), interval);
  dot(x(grid), y(here[1]), 4.5, "fill:var(--ink)");
  return svg;
}

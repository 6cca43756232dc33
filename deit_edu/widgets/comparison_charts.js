// The teacher comparison's charts: accuracy seed by seed, and while training.
import { plane } from "./drawing.js";
import { percentEnds } from "./numbers.js";

/**
 * A row of the dots: {name, colour} and its accuracies.
 * @typedef {import("./comparison_counting.js").Accuracy & { name: string, colour: string }} Dots
 * @typedef {{ colour: string, curves: number[][], dashed: boolean }} Group
 */

const ROW = 20; // units of the picture

/**
 * Every seed a dot, the mean a bar, the interval a line.
 * @param {Dots[]} rows one below the other
 * @param {string} label what the chart shows
 * @returns {SVGElement} the chart
 */
export function dotsChart(rows, label) {
  const height = ROW * rows.length + 24;
  const all = rows.flatMap(({ values, low, high }) => [...values, low, high]);
  const ends = percentEnds(all);
  const sides = { left: 118, right: 44, top: 0, bottom: 24 };
  const chart = plane({ height, ...sides, across: ends, up: [0, 1], label });
  const { svg, x, line, dot, text } = chart;
  rows.forEach(({ name, colour, values, mean, low, high }, i) => {
    const y = ROW * i + 11;
    const style = `stroke:var(--${colour});stroke-width:2`;
    text(name, x(ends[0]) - 8, y + 4, { anchor: "end" });
    line(x(low), y, x(high), y, style);
    line(x(mean), y - 7, x(mean), y + 7, style);
    text(mean.toFixed(1), x(ends[1]) + 6, y + 4);
    for (const value of values) dot(x(value), y, 4, `fill:var(--${colour});opacity:0.55`);
  });
  for (const end of ends) text(`${end} %`, x(end), height - 4, { anchor: "middle" });
  return svg;
}

/**
 * Validation accuracy after each epoch: every seed a thin line, of one epoch a dot.
 * @param {Group[]} groups of seeds, one epoch or more each
 * @param {string} label what the chart shows
 * @returns {SVGElement} the chart
 */
export function curvesChart(groups, label) {
  const lines = groups.flatMap(({ curves }) => curves);
  const longest = Math.max(...lines.map((values) => values.length));
  const ends = percentEnds(lines.flat());
  const height = 170;
  const { svg, x, y, curve, dot, text } = plane({
    height,
    left: 36,
    right: 10,
    top: 8,
    bottom: 24,
    across: [0, longest - 1],
    up: ends,
    label,
  });
  for (const { colour, curves, dashed } of groups) {
    const dashes = `stroke-dasharray:${dashed ? "4 3" : "none"}`;
    const style = `fill:none;stroke:var(--${colour});stroke-width:1.4;opacity:0.8;${dashes}`;
    for (const values of curves) {
      if (values.length === 1) dot(x(0), y(values[0]), 3, `fill:var(--${colour});opacity:0.8`);
      curve(
        values.map((value, i) => [i, value]),
        style,
      );
    }
  }
  for (const value of ends) text(value.toFixed(0), x(0) - 6, y(value) + 4, { anchor: "end" });
  text("epoch 1", x(0), height - 6);
  if (longest > 1) text(String(longest), x(longest - 1), height - 6, { anchor: "end" });
  return svg;
}

// The fusion explorer's two heads as one: its chart, and the table of who is right.
import { plane } from "./drawing.js";
import { make, rowHeading, table } from "./elements.js";
import { curvesOf } from "./fusion_counting.js";
import { knownHere } from "./fusion_state.js";
import { countOfImages, wholePercent } from "./numbers.js";

/** @typedef {import("./fusion_state.js").Explorer} Explorer */
/** @typedef {import("./fusion_counting.js").Curves} Curves */

const CHART = { width: 330, height: 168, left: 40, right: 88, top: 10, bottom: 36 };

/**
 * @param {Curves} curves
 * @returns {Plane} an empty chart of accuracy against the weight, with its axes
 */
function emptyChart({ probabilities, logits }) {
  const all = [...probabilities, ...logits];
  const low = Math.floor(2 * Math.min(...all)) / 2;
  const high = Math.max(Math.ceil(2 * Math.max(...all)) / 2, low + 0.5);
  const ends = [probabilities[0], probabilities.at(-1)].map((value) => value.toFixed(1));
  const label =
    "Test accuracy against the weight of the class head, " +
    `from ${ends[0]} % at 0 to ${ends[1]} % at 1`;
  const chart = plane({ ...CHART, across: [0, 1], up: [low, high], label });
  const { x, y, line, text } = chart;
  for (const value of [low, high]) {
    line(x(0), y(value), x(1), y(value), "stroke:var(--line);stroke-width:0.5");
    text(value.toFixed(1), x(0) - 6, y(value) + 4, { anchor: "end" });
  }
  for (const value of [0, 1]) text(String(value), x(value), y(low) + 15, { anchor: "middle" });
  text("weight of the class head", x(0.5), CHART.height - 4, { anchor: "middle" });
  return chart;
}

/**
 * Accuracy against the weight of the class head: both ways of fusing, the weight marked.
 * @param {number[]} weights of the class head
 * @param {Curves} curves accuracies at these weights
 * @param {{ weight: number, here: number, way: string }} chosen here: the accuracy at the weight
 * @returns {SVGElement} the chart
 */
function curvesChart(weights, curves, { weight, here, way }) {
  const { svg, x, y, line, curve, dot, text } = emptyChart(curves);
  const [right, top] = [x(1), CHART.top];
  const bottom = CHART.height - CHART.bottom;
  line(x(weight), top, x(weight), bottom, "stroke:var(--line);stroke-width:1.2");
  /** @type {[keyof Curves, string, string][]} */
  const lines = [
    ["probabilities", "probab.", "none"],
    ["logits", "logits", "2 4"],
  ];
  lines.forEach(([name, words, dash], i) => {
    const [wide, bold] = name === way ? [2.6, 700] : [1.4, 400];
    const style = `fill:none;stroke:var(--fused);stroke-width:${wide};stroke-dasharray:${dash}`;
    curve(
      weights.map((at, n) => [at, curves[name][n]]),
      style,
    );
    const key = top + 14 + 16 * i;
    line(right + 8, key, right + 28, key, style);
    text(words, right + 32, key + 4, { style: `font-weight:${bold}` });
  });
  dot(x(weight), y(here), 4.5, "fill:var(--fused)");
  dot(x(0), y(curves.probabilities[0]), 3.5, "fill:var(--distillation)");
  dot(x(1), y(curves.probabilities.at(-1)), 3.5, "fill:var(--class)");
  return svg;
}

/**
 * Accuracy against the weight of the class head, and where the two ways of fusing part.
 * @param {Explorer} explorer the figure
 * @param {import("./fusion_counting.js").Fused} now the heads fused with the chosen weight
 * @returns {void}
 */
export function drawFusing(explorer, now) {
  const { model, facts, parts } = explorer;
  /** @type {{ weight: number, way: keyof Curves }} */
  const { weight, way } = { weight: model.get("weight"), way: model.get("way") };
  const curves = curvesOf(knownHere(explorer), facts.weights);
  const alone = [curves.probabilities.at(-1), curves.probabilities[0]].map((v) => v.toFixed(2));
  const words =
    `Class head alone ${alone[0]} %, distillation head alone ${alone[1]} %. ` +
    `At this weight the two ways part on ${countOfImages(now.apart)}: ` +
    `probabilities are right on ${now.right[0]} of them, logits on ${now.right[1]}.`;
  const chart = curvesChart(facts.weights, curves, { weight, here: now[way], way });
  parts.fusing.replaceChildren(chart, make("p", {}, words));
}

/**
 * Where the two heads part: how often each of them, and both together, are right.
 * @param {Explorer} explorer the figure
 * @param {import("./fusion_counting.js").Fused} now the heads fused with the chosen weight
 * @returns {void}
 */
export function drawHeads(explorer, now) {
  const { said, parting } = knownHere(explorer);
  const fused = now.chosen[explorer.model.get("way") === "logits" ? 1 : 0];
  /** @type {[string, NumberArray][]} */
  const who = [
    ["class head", parting.map(({ image }) => said.class[image])],
    ["distillation head", parting.map(({ image }) => said.distillation[image])],
    ["both, at this weight", fused],
  ];
  /** @type {[string, NumberArray][]} */
  const judges = [["is right", said.truth]];
  if (said.teacher) judges.push(["sides with the teacher", said.teacher]);
  const style = { "text-align": "right", "white-space": "nowrap" };
  const rows = who.map(([name, answers]) => {
    const cells = judges.map(([, judge]) => {
      const agree = parting.filter(({ image }, i) => answers[i] === judge[image]).length;
      return make("td", { style }, `${agree} (${wholePercent(agree, parting.length)})`);
    });
    return [rowHeading(name), ...cells];
  });
  explorer.parts.heads.replaceChildren(
    make("h4", {}, `where the two heads part: ${countOfImages(parting.length)}`),
    table(["", ...judges.map(([name]) => name)], rows),
  );
}

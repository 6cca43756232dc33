// The four charts of a race, by step.
import { make } from "./elements.js";
import { curveChart, headCurves, sideCurves } from "./race_pictures.js";

/**
 * @param {{ a: RacePoint, b: RacePoint }[]} points one or more
 * @param {object} shown
 * @param {number} shown.steps of the whole race
 * @param {number} shown.at the step that is looked at
 * @param {number[]} shown.marks steps at which something was changed
 * @returns {HTMLElement[]} accuracy, loss, agreement and cosine: those that have a curve
 */
export function raceCharts(points, shown) {
  const accuracies = [
    ...headCurves(points, ({ accuracy }) => accuracy),
    ...sideCurves(points, "teacher", ({ measured }) => measured.teacher),
  ];
  const agreements = headCurves(points, ({ agreement }) => agreement);
  const losses = sideCurves(points, "truth", ({ loss }) => loss);
  const cosines = sideCurves(points, "plain", ({ measured }) => measured.cosine);
  const percent = (value) => `${Math.round(100 * value)} %`;
  /** @type {[string, Curve[], [number, number], (value: number) => string][]} */
  const charts = [
    ["Accuracy, A dashed, B solid", accuracies, sharesOf(accuracies), percent],
    ["Loss of the batches (nats)", losses, rangeOf(losses), (value) => value.toFixed(1)],
    ["Agreement with the teacher", agreements, sharesOf(agreements), percent],
    ["Cosine of the two tokens", cosines, [-1, 1], (value) => value.toFixed(0)],
  ];
  return charts
    .filter(([, curves]) => curves.length)
    .map(([title, curves, up, show]) => {
      const label = `${title}, by step; ${curves.length} curves`;
      const drawn = curveChart({ ...shown, curves, up, show, label });
      return make("div", {}, make("h4", {}, title), drawn);
    });
}

const mostOf = (curves) =>
  Math.max(0.1, ...curves.flatMap(({ points }) => points.map(([, value]) => value)));

/** From zero to a little more than curves reach; of shares, to a full tenth. */
const rangeOf = (curves) => /** @type {[number, number]} */ ([0, 1.05 * mostOf(curves)]);
const sharesOf = (curves) =>
  /** @type {[number, number]} */ ([0, Math.min(1, Math.ceil(10 * mostOf(curves)) / 10)]);

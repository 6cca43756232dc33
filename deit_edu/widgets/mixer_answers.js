// What the recipe mixer says, apart from what it draws.
import { argmax, softmax } from "./numbers.js";
import { mixup, smoothed } from "./mixing.js";

const MOST_CLASSES = 5; // whose bars are drawn

/**
 * What the student learns from the result: the mixed label, and the teacher's two answers.
 * @param {Shown} shown the mix, and the teacher's logits or null
 * @param {LabelSettings} settings names, epsilon, over, temperature
 * @returns {MixedLabels} label (K,); soft (K,) and hard, or null; rows: the classes to draw
 */
export function lessonOf({ mix, logits }, { names, epsilon, over, temperature }) {
  const [of, to] = mix.labels;
  const K = names.length;
  const label = mixup(smoothed(of, K, epsilon, over), smoothed(to, K, epsilon, over), mix.kept);
  const soft = logits && softmax(logits, temperature);
  const hard = logits && argmax(logits);
  const own = [...new Set(mix.mixing === "none" ? [of] : [of, to])];
  const others = names
    .map((_, k) => k)
    .filter((k) => !own.includes(k))
    .sort((k, l) => (soft ? soft[l] - soft[k] : 0));
  return { label, soft, hard, own, others, rows: [...own, ...others].slice(0, MOST_CLASSES) };
}

const pixelsOf = (/** @type {Box} */ { height, width }) => `${height}\u00d7${width} pixels`;

/**
 * @param {Mix} mix what was done
 * @param {string[]} names of the classes
 * @returns {string} the mixing in words
 */
function mixingInWords({ mixing, lam, kept, box, labels: [of, to] }, names) {
  const [one, other] = [names[of], names[to]];
  if (mixing === "none") return `Not mixed: A is ${one}.`;
  if (!box)
    return `Mixup: ${lam.toFixed(2)} of A (${one}) and ${(1 - lam).toFixed(2)} of B (${other}).`;
  const clipped = box.clipped ? "Clipped at the border, " : "";
  return (
    `CutMix: ${pixelsOf(box)} of B (${other}) on A (${one}). ` +
    `${clipped}A keeps ${kept.toFixed(3)} of the pixels, for a lambda of ${lam.toFixed(2)}.`
  );
}

/**
 * @param {Mix} mix what was done
 * @returns {string[]} RandAugment and erasing in words
 */
function changesInWords({ draw, hidden, mixing, asItWas }) {
  const words = [];
  const changed = ["A", "B"].filter((_, k) => !asItWas[k] && !(mixing === "none" && k));
  if (draw) {
    words.push(`RandAugment, draw ${draw}, changed ${changed.join(" and ") || "nothing"}.`);
  }
  if (hidden) {
    words.push(
      `Normal noise hides ${pixelsOf(hidden)} of A; ` +
        "beyond black it is shown black, beyond white, white.",
    );
  }
  return words;
}

/**
 * @param {number} hard the teacher's class
 * @param {Mix} mix what was done
 * @returns {string} whose class that is
 */
function whoseClass(hard, { mixing, labels: [of, to] }) {
  if (mixing === "none") return hard === of ? "which A is" : "which A is not";
  if (hard === of && hard === to) return "which both are";
  if (hard === of) return "which A is";
  return hard === to ? "which B is" : "neither of the two";
}

/**
 * @param {Mix} mix what was done
 * @param {MixedLabels} lesson from lessonOf
 * @param {string[]} names of the classes
 * @returns {string} all of it, in words
 */
export function mixInWords(mix, { label, soft, hard, own, others }, names) {
  const parts = own.map((k) => `${label[k].toFixed(2)} ${names[k]}`).join(" and ");
  const rest = others.length ? label[others[0]] : 0;
  const each = rest > 0 ? `, ${rest.toFixed(3)} for each other class` : "";
  const teacher = soft
    ? `The teacher\u2019s hard label is ${names[hard]}, ${whoseClass(hard, mix)}; ` +
      `its soft answer gives it ${soft[hard].toFixed(2)}.`
    : "The teacher was not asked.";
  const words = [mixingInWords(mix, names), `The label is ${parts}${each}.`, teacher];
  return [...changesInWords(mix), ...words].join(" ");
}

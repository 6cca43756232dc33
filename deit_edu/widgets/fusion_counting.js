// The fusion explorer's numbers: who takes which class for which, and the heads fused.
import { argmax, fuse } from "./numbers.js";

/**
 * An image on which the two heads part, with the (K,) logits of the class head and of the other.
 * @typedef {{ image: number, one: NumberArray, other: NumberArray }} Parted
 */

/**
 * What is known of a seed. said: {decider: (n,) classes}, "truth" always among them; agreed: the
 * images on which the two heads agree and are right.
 * @typedef {{ said: Record<string, NumberArray>, parting: Parted[], agreed: number }} Known
 */

/**
 * The heads fused with one weight. chosen: a class for every parted image, by probabilities and by
 * logits; both accuracies in per cent of all images; apart: on how many images the two ways part,
 * right: on how many of those each is right.
 * @typedef {{ chosen: NumberArray[], probabilities: number, logits: number, apart: number,
 *   right: number[] }} Fused
 */

/** @typedef {{ probabilities: number[], logits: number[] }} Curves accuracies, for every weight */

/** @type {Record<number, [string, string]>} weights whose decisions are kept */
const KEPT = {
  0: ["distillation", "distillation"],
  0.5: ["fused", "fused_logits"],
  1: ["class", "class"],
};

/**
 * What is known of every seed: a figure's traits taken apart.
 * @param {number[]} seeds in Python's order
 * @param {Record<string, Record<string, number>>} rowsOf {seed: {decider: its row}}
 * @param {Uint8Array} rows (rows, n) classes; row 0 is the truth
 * @param {number} n images
 * @param {Float32Array} logits (parted images of all seeds, 2, K), seed by seed
 * @param {number} K classes
 * @returns {Record<string, Known>} {seed: what is known}
 */
export function knownOf(seeds, rowsOf, rows, n, logits, K) {
  /** @type {Record<string, Known>} */
  const known = {};
  let from = 0;
  const next = () => logits.subarray(from, (from += K));
  for (const seed of seeds) {
    const places = Object.entries({ truth: 0, ...rowsOf[seed] });
    const said = Object.fromEntries(
      places.map(([who, row]) => [who, rows.subarray(row * n, (row + 1) * n)]),
    );
    known[seed] = { said, parting: [], agreed: 0 };
    for (let image = 0; image < n; image++) {
      if (said.class[image] !== said.distillation[image])
        known[seed].parting.push({ image, one: next(), other: next() });
      else if (said.class[image] === said.truth[image]) known[seed].agreed++;
    }
  }
  return known;
}

/**
 * How often one says one class and the other another.
 * @param {NumberArray} one (n,) classes
 * @param {NumberArray} other (n,) classes
 * @param {number} K classes
 * @returns {number[]} (K, K), row by row
 */
export function confusions(one, other, K) {
  const found = Array.from({ length: K * K }, () => 0);
  for (let i = 0; i < one.length; i++) found[K * one[i] + other[i]]++;
  return found;
}

/**
 * @param {number[]} found (K, K) images
 * @param {number} K classes
 * @returns {number[]} the same, and -1 where both say the same class
 */
export const offDiagonal = (found, K) =>
  found.map((count, i) => (Math.floor(i / K) === i % K ? -1 : count));

/**
 * @param {number[]} found (K, K) images
 * @param {number} K classes
 * @returns {[number, number]} row and column of the cell in which the two part most often
 */
export function mostApart(found, K) {
  const cell = argmax(offDiagonal(found, K));
  return [Math.floor(cell / K), cell % K];
}

/**
 * @param {number[]} found (K, K) images
 * @param {number} K classes
 * @param {number} row of a cell
 * @param {number} column of a cell
 * @returns {string} the cell's share of its row, in per cent
 */
export function rateOf(found, K, row, column) {
  const whole = found.slice(K * row, K * row + K).reduce((a, b) => a + b, 0);
  return `${((100 * found[K * row + column]) / Math.max(whole, 1)).toFixed(1)} %`;
}

/**
 * Both ways of fusing at one weight, on all images: deit_edu.widgets.fusion_explorer.fusions. Only
 * where the heads part can a weight change what is decided. The decisions at 0, 0.5 and 1 are those
 * that were kept: the logits here are rounded to half precision, and that turns round a near tie.
 * @param {Known} known of a seed
 * @param {number} weight of the class head
 * @returns {Fused} both fusions
 */
export function fusions({ said, parting, agreed }, weight) {
  const chosen = KEPT[weight]
    ? KEPT[weight].map((who) => parting.map(({ image }) => said[who][image]))
    : ["probabilities", "logits"].map((way) =>
        parting.map(({ one, other }) => argmax(fuse(one, other, weight, way))),
      );
  const truth = parting.map(({ image }) => said.truth[image]);
  const count = (/** @type {(i: number) => boolean} */ test) =>
    truth.filter((_, i) => test(i)).length;
  const differ = (/** @type {number} */ i) => chosen[0][i] !== chosen[1][i];
  const right = (/** @type {number} */ way, /** @type {number} */ i) => chosen[way][i] === truth[i];
  const percent = (/** @type {number} */ way) =>
    (100 * (agreed + count((i) => right(way, i)))) / said.truth.length;
  return {
    chosen,
    probabilities: percent(0),
    logits: percent(1),
    apart: count(differ),
    right: [0, 1].map((way) => count((i) => differ(i) && right(way, i))),
  };
}

/** @type {WeakMap<Known, Curves>} */
const curvesKnown = new WeakMap(); // a seed's are counted once

/**
 * @param {Known} known of a seed
 * @param {number[]} weights of the class head
 * @returns {Curves} the accuracy of both ways of fusing
 */
export function curvesOf(known, weights) {
  if (!curvesKnown.has(known)) {
    const found = weights.map((weight) => fusions(known, weight));
    const probabilities = found.map((one) => one.probabilities);
    curvesKnown.set(known, { probabilities, logits: found.map((one) => one.logits) });
  }
  return curvesKnown.get(known);
}

/**
 * Where two deciders part, and who is right there.
 * @param {NumberArray} one (n,) classes
 * @param {NumberArray} other (n,) classes
 * @param {NumberArray} judge (n,) classes: the truth's, or the teacher's
 * @returns {{ apart: number, agree: [number, number] }} the images on which they part, and on how
 *   many of those each says what the judge says
 */
export function partedBefore(one, other, judge) {
  let apart = 0;
  /** @type {[number, number]} */
  const agree = [0, 0];
  for (let i = 0; i < one.length; i++) {
    if (one[i] === other[i]) continue;
    apart++;
    if (one[i] === judge[i]) agree[0]++;
    if (other[i] === judge[i]) agree[1]++;
  }
  return { apart, agree };
}

/**
 * Where the logits of each who answers begin, in the gallery's array.
 * @param {number[]} seeds in Python's order
 * @param {Record<string, string[]>} answering {seed: who}
 * @param {number} size numbers of each
 * @returns {Record<string, number>} {"seed who": the place of the first}
 */
export function blocksOf(seeds, answering, size) {
  const names = seeds.flatMap((seed) => answering[seed].map((who) => `${seed} ${who}`));
  return Object.fromEntries(names.map((name, block) => [name, block * size]));
}

/**
 * Images of the gallery that lie in one cell.
 * @param {number[]} index the test images of the gallery
 * @param {NumberArray} one (n,) classes of the rows' decider
 * @param {NumberArray} other (n,) classes of the columns' decider
 * @param {[number, number]} cell row and column
 * @param {number} most how many at most
 * @returns {[number, number][]} test image and place in the gallery, each
 */
export function imagesOfCell(index, one, other, [row, column], most) {
  /** @type {[number, number][]} */
  const pairs = index.map((image, place) => [image, place]);
  return pairs.filter(([image]) => one[image] === row && other[image] === column).slice(0, most);
}

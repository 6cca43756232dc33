// What the live figure counts and says, apart from what it draws.
import { argmax, fuse, softmax } from "./numbers.js";
import { fusedLogits, layerRow, ofPatches, rolledRow } from "./running.js";

/** The tokens that may ask, in the order in which they stand before the patches. */
export const TOKENS = ["class", "distillation"];

/**
 * @param {Record<string, Answer>} said what the networks say, by their roles
 * @returns {Record<string, number[]>} logits {class, distillation, teacher}, those that there are
 */
export function logitsOf({ student, teacher }) {
  /** @type {Record<string, number[]>} */
  const logits = { class: [...student.class] };
  if (student.distillation) logits.distillation = [...student.distillation];
  if (teacher) logits.teacher = fusedLogits(teacher);
  return logits;
}

/**
 * @param {Record<string, number[]>} logits from logitsOf
 * @returns {Record<string, number[]>} probabilities of each, and of both heads together where there
 *   are two: fused (the paper's) and fusedLogits (the authors' code)
 */
export function sharesOf({ class: one, distillation: other, teacher }) {
  /** @type {Record<string, number[]>} */
  const shares = { class: softmax(one) };
  if (other) {
    shares.distillation = softmax(other);
    shares.fused = fuse(one, other);
    shares.fusedLogits = fuse(one, other, 0.5, "logits");
  }
  if (teacher) shares.teacher = softmax(teacher);
  return shares;
}

/**
 * What each token takes from the patches, in the last layer and rolled out.
 * @param {Float32Array} attention (L, h, T, T)
 * @param {AttentionSizes} sizes from sizesOf
 * @returns {TokenMaps} {last, rollout}: {token: (N,)}
 */
export function mapsOf(attention, sizes) {
  const last = sizes.depth - 1;
  const ofTokens = (/** @type {typeof layerRow | typeof rolledRow} */ rowOf) =>
    Object.fromEntries(
      TOKENS.slice(0, sizes.prefix).map((name, token) => [
        name,
        ofPatches(rowOf(attention, sizes, last, token), sizes),
      ]),
    );
  return { last: ofTokens(layerRow), rollout: ofTokens(rolledRow) };
}

const WHO = {
  class: "class head",
  distillation: "distillation head",
  fused: "both, probabilities",
  fusedLogits: "both, logits",
  teacher: "teacher",
};

/**
 * @param {string} of what was asked about
 * @param {Record<string, number[]>} shares from sharesOf
 * @param {string[]} names of the K classes
 * @returns {string} who says what, in one sentence
 */
export function sentenceOf(of, shares, names) {
  const said = Object.entries(shares).map(([who, values]) => {
    const best = argmax(values);
    return `${WHO[who]}: ${names[best]} (${Math.round(100 * values[best])} %)`;
  });
  const all = said.join("; ");
  return `Asked about ${of}. ${all[0].toUpperCase()}${all.slice(1)}.`;
}

/**
 * @param {string} token whose attention it is
 * @param {number[]} values (N,)
 * @returns {string} where most of it lies
 */
export function mapInWords(token, values) {
  const best = argmax(values);
  const place = `patch ${best + 1} of ${values.length}`;
  return `${token} token: most on ${place}, ${values[best].toFixed(2)}`;
}

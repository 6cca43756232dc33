// What the figures count with: no picture and no page is needed for any of it.
import { halves } from "./half.js";

/**
 * The bytes of a trait as numbers.
 * @param {DataView | ArrayBuffer} view as deit_edu.widgets.figure.packed made them: little-endian
 * @param {"u1" | "f2" | "f4"} kind uint8, float16 or float32
 * @returns {Uint8Array | Float32Array} the numbers
 */
export function unpacked(view, kind) {
  const bytes = ArrayBuffer.isView(view)
    ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    : new Uint8Array(view);
  if (kind === "u1") return bytes;
  const aligned = bytes.slice().buffer;
  return kind === "f4" ? new Float32Array(aligned) : halves(new Uint16Array(aligned));
}

/**
 * A trait that is loaded on use: in a static page it is a file, in Jupyter it is there.
 * @param {Model} model the figure's
 * @param {string} name the trait
 * @returns {Promise<any>} its value
 */
export const load = (model, name) =>
  model.load ? model.load(name) : Promise.resolve(model.get(name));

/**
 * @param {number} value any number
 * @param {number} low the least that is allowed
 * @param {number} high the most
 * @returns {number} the value, or the bound that it passed
 */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/**
 * @param {NumberArray} values numbers
 * @returns {number} their sum
 */
export function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/**
 * @param {NumberArray} values one number or more
 * @returns {number} their mean
 */
export const mean = (values) => sum(values) / values.length;

/**
 * @param {number[]} shape the sides of an array
 * @returns {number} how many numbers it holds
 */
export const sizeOf = (shape) => shape.reduce((size, side) => size * side, 1);

/**
 * @param {NumberArray} values one number or more
 * @returns {number} the place of the largest, the first where several are
 */
export function argmax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

/**
 * @param {NumberArray} logits (K,)
 * @param {number} temperature what they are divided by
 * @returns {number[]} (K,) probabilities
 */
export function softmax(logits, temperature = 1) {
  const top = Math.max(...logits);
  const exps = Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
  const total = sum(exps);
  return exps.map((e) => e / total);
}

/**
 * Two heads' logits as one answer: deit_edu.model.fuse.
 * @param {NumberArray} one (K,) logits of the first head
 * @param {NumberArray} other (K,) logits of the second
 * @param {number} weight of the first
 * @param {string} way "probabilities" (the paper's) or "logits" (the authors' code)
 * @returns {number[]} (K,) probabilities
 */
export function fuse(one, other, weight = 0.5, way = "probabilities") {
  const mix = (/** @type {NumberArray} */ a, /** @type {NumberArray} */ b) =>
    Array.from(a, (value, k) => weight * value + (1 - weight) * b[k]);
  return way === "logits" ? softmax(mix(one, other)) : mix(softmax(one), softmax(other));
}

/**
 * @param {number} value any number
 * @param {number} digits behind the point
 * @returns {string} with its sign, a true minus where it is negative
 */
export function signed(value, digits = 2) {
  const size = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(size) ? "\u2212" : "+") + size; // what rounds to zero is not below it
}

/**
 * @param {number} count how many seeds
 * @returns {string} "1 seed" or "5 seeds"
 */
export const countOfSeeds = (count) => `${count} ${count === 1 ? "seed" : "seeds"}`;

/**
 * @param {number[]} values of an axis, in per cent
 * @returns {[number, number]} its ends: whole numbers with room around the values, of 0 to 100
 */
export const percentEnds = (values) => [
  Math.max(0, Math.floor(Math.min(...values) - 0.5)),
  Math.min(100, Math.ceil(Math.max(...values) + 0.5)),
];

/**
 * @param {number} part how many
 * @param {number} whole of how many
 * @returns {string} the share in whole per cent
 */
export const wholePercent = (part, whole) => `${Math.round((100 * part) / Math.max(whole, 1))} %`;

/**
 * @param {number} count how many images
 * @returns {string} "1 image" or "1,234 images"
 */
export const countOfImages = (count) =>
  count === 1 ? "1 image" : `${count.toLocaleString("en")} images`;

/**
 * The classes that are likeliest for somebody, the likeliest first.
 * @param {NumberArray[]} answers (K,) probabilities each
 * @param {number} most how many classes
 * @returns {number[]} the classes
 */
export function likeliest(answers, most) {
  const top = Array.from(answers[0], (_, k) => Math.max(...answers.map((values) => values[k])));
  const order = top.map((_, k) => k).sort((k, l) => top[l] - top[k]);
  return order.slice(0, most);
}

// The loss lab's numbers: what the losses make of one image.
import { argmax, softmax } from "./numbers.js";

/**
 * One image and the settings of its losses. label: the true class; smoothing: of the label;
 * weight: the soft loss's lambda; reduction: "batchmean" (paper) or "official" (authors' code).
 * @typedef {{ student: number[], teacher: number[], label: number, temperature: number,
 *   weight: number, smoothing: number, reduction: string }} Given
 */

/**
 * What comes out. p and teacherP: probabilities; soft and taught: softened by the temperature;
 * decided: the teacher's class; kl: between the softened ones; term: the soft loss's second part.
 * @typedef {{ p: number[], soft: number[], taught: number[], teacherP: number[], decided: number,
 *   kl: number, term: number, ce: number, ceGradient: number[], softLoss: number,
 *   softGradient: number[], hardLoss: number, hardGradient: number[] }} Losses
 */

/**
 * @param {number[]} target (K,) probabilities
 * @param {number[]} said (K,) probabilities
 * @returns {number} their cross-entropy, in nats
 */
const crossEntropy = (target, said) =>
  -target.reduce((total, t, k) => total + (t ? t * Math.log(said[k]) : 0), 0);

/**
 * @param {number[]} one (K,) probabilities
 * @param {number[]} other (K,) probabilities
 * @returns {number} the Kullback-Leibler divergence of the first from the second, in nats
 */
const divergence = (one, other) =>
  one.reduce((total, q, k) => total + (q ? q * Math.log(q / other[k]) : 0), 0);

/**
 * @param {number[]} one (K,) numbers
 * @param {number[]} other (K,) numbers
 * @param {number} share of the second
 * @returns {number[]} (K,) their weighted mean
 */
const mixed = (one, other, share) => one.map((v, k) => (1 - share) * v + share * other[k]);

/**
 * Cross-entropy, soft and hard loss of one image, and their gradients on the student's logits, from
 * formulas. Paper: equations 2 and 3. The same numbers as deit_edu.losses and autograd give.
 * @param {Given} given logits and settings
 * @returns {Losses} losses and gradients
 */
export function losses({ student, teacher, label, temperature, weight, smoothing, reduction }) {
  const K = student.length;
  const p = softmax(student);
  const target = p.map((_, k) => (k === label ? 1 - smoothing : smoothing / (K - 1)));
  const ce = crossEntropy(target, p);
  const ceGradient = p.map((v, k) => v - target[k]);

  const [soft, taught] = [softmax(student, temperature), softmax(teacher, temperature)];
  const scale = reduction === "official" ? 1 / K : 1; // one image: B = 1
  const kl = divergence(taught, soft);
  const term = scale * temperature ** 2 * kl;
  const termGradient = soft.map((v, k) => scale * temperature * (v - taught[k]));

  const decided = argmax(teacher);
  const hardTarget = p.map((_, k) => Number(k === decided));
  const hardGradient = p.map((v, k) => v - hardTarget[k]);
  return {
    p,
    soft,
    taught,
    teacherP: softmax(teacher),
    decided,
    kl,
    term,
    ce,
    ceGradient,
    softLoss: (1 - weight) * ce + weight * term,
    softGradient: mixed(ceGradient, termGradient, weight),
    hardLoss: 0.5 * ce + 0.5 * crossEntropy(hardTarget, p),
    hardGradient: mixed(ceGradient, hardGradient, 0.5),
  };
}

// What the student learns from: deit_edu.losses once more, with the gradients of the logits. Logits
// are (B, K), row by row.

/**
 * @typedef {object} Objective deit_edu.losses.DistillationObjective.
 * @property {"none" | "soft" | "hard"} distillation
 * @property {"class" | "both"} tokens
 * @property {number} [temperature] tau of the soft loss.
 * @property {number | null} [weight] lambda, the teacher's share; not given: the paper's.
 * @property {"batchmean" | "official"} [reduction] Of the soft loss.
 */

/**
 * Labels as probabilities, a little of each taken from the truth.
 * @param {ArrayLike<number>} labels (B,)
 * @param {number} K
 * @param {number} epsilon In [0, 1).
 * @param {"others" | "all"} [over] Who gets it: the K - 1 wrong classes, or all K
 * (the authors' code).
 * @returns {Float64Array} (B, K)
 */
export function smoothLabels(labels, K, epsilon, over = "others") {
  const wrong = over === "all" ? epsilon / K : epsilon / Math.max(1, K - 1);
  const right = over === "all" ? 1 - epsilon + epsilon / K : 1 - epsilon;
  const targets = new Float64Array(labels.length * K).fill(wrong);
  for (let i = 0; i < labels.length; i++) targets[i * K + labels[i]] = right;
  return targets;
}

/**
 * lambda as given, or the paper's: 0.1 soft, 1/2 hard, 1/2 for two tokens without a teacher.
 * @param {Objective} objective
 * @returns {number}
 */
export function weightOf({ distillation, tokens, weight }) {
  return weight ?? { none: tokens === "both" ? 0.5 : 0, soft: 0.1, hard: 0.5 }[distillation];
}

/** The log of the softmax of every row of logits / temperature: (B, K). */
function logSoftmaxRows(logits, K, temperature = 1) {
  const logs = Float64Array.from(logits, (z) => z / temperature);
  for (let at = 0; at < logs.length; at += K) {
    const row = logs.subarray(at, at + K);
    const top = row.reduce((most, z) => Math.max(most, z), -Infinity);
    const sum = row.reduce((powers, z) => powers + Math.exp(z - top), 0);
    for (let k = 0; k < K; k++) row[k] -= top + Math.log(sum);
  }
  return logs;
}

/**
 * The mean of CE(psi(Z), y) over the batch, and its gradient, (psi(Z) - y) / B.
 * @param {Float32Array} logits (B, K)
 * @param {Float64Array} targets (B, K) Probabilities.
 * @param {number} K
 * @returns {{ loss: number, gradient: Float64Array }}
 */
export function crossEntropy(logits, targets, K) {
  const logs = logSoftmaxRows(logits, K);
  const B = logs.length / K;
  let loss = 0;
  const gradient = logs.map((log, i) => {
    loss -= (targets[i] * log) / B;
    return (Math.exp(log) - targets[i]) / B;
  });
  return { loss, gradient };
}

/**
 * tau^2 KL(psi(Z_t / tau) || psi(Z_s / tau)), the mean over the batch, and its gradient for the
 * student's logits, tau (psi(Z_s / tau) - psi(Z_t / tau)) / B.
 * @param {Float32Array} student (B, K)
 * @param {Float32Array} teacher (B, K)
 * @param {number} K
 * @param {number} temperature
 * @param {"batchmean" | "official"} [reduction] "official" is K times smaller (the authors' code).
 * @returns {{ loss: number, gradient: Float64Array }}
 */
export function softDistillation(student, teacher, K, temperature, reduction = "batchmean") {
  const own = logSoftmaxRows(student, K, temperature);
  const reference = logSoftmaxRows(teacher, K, temperature);
  const share = 1 / ((own.length / K) * (reduction === "official" ? K : 1));
  let loss = 0;
  const gradient = own.map((log, i) => {
    const [p, q] = [Math.exp(log), Math.exp(reference[i])];
    loss += temperature ** 2 * share * q * (reference[i] - log);
    return temperature * share * (p - q);
  });
  return { loss, gradient };
}

/**
 * The teacher's decisions, argmax of every row of its logits, as labels.
 * @param {Float32Array} logits (B, K)
 * @param {number} K
 * @returns {number[]} (B,)
 */
export function decisions(logits, K) {
  const most = (row) => row.reduce((best, z, k) => (z > row[best] ? k : best), 0);
  return Array.from({ length: logits.length / K }, (_, i) =>
    most(logits.subarray(i * K, i * K + K)),
  );
}

/**
 * One answer from both heads: the log of the mean of their probabilities (deit_edu.model.fuse).
 * @param {{ class: Float32Array, distillation: Float32Array | null }} said (B, K) each.
 * @param {number} K
 * @returns {Float32Array} (B, K); of a model with one head, its logits as they are.
 */
export function fusedRows({ class: one, distillation: other }, K) {
  if (!other) return one;
  const [p, q] = [logSoftmaxRows(one, K), logSoftmaxRows(other, K)];
  return Float32Array.from(p, (log, i) => Math.log((Math.exp(log) + Math.exp(q[i])) / 2));
}

/**
 * (1 - weight) loss on the label + weight loss on the teacher, and the gradient of each head's
 * logits.
 * @param {{ class: Float32Array, distillation: Float32Array | null }} said (B, K) each.
 * @param {Float64Array} targets (B, K) Probabilities.
 * @param {Float32Array | null} teacher (B, K) Its logits; null without a teacher.
 * @param {Objective} objective
 * @param {number} K
 * @returns {{ loss: number, class: Float64Array, distillation: Float64Array | null }}
 */
export function distillationObjective(said, targets, teacher, objective, K) {
  const { distillation, tokens, temperature = 3, reduction } = objective;
  const weight = weightOf(objective);
  const both = tokens === "both";
  const student = both ? said.distillation : said.class; // the head that listens to the teacher
  const first = crossEntropy(said.class, targets, K);
  const none = distillation === "none";
  if (none && !both) return { loss: first.loss, class: first.gradient, distillation: silent(said) };
  const second = () => {
    if (none) return crossEntropy(student, targets, K);
    if (distillation === "hard") {
      return crossEntropy(student, smoothLabels(decisions(teacher, K), K, 0), K);
    }
    return softDistillation(student, teacher, K, temperature, reduction);
  };
  const { loss, gradient } = second();
  const label = first.gradient.map((slope) => (1 - weight) * slope);
  const lesson = gradient.map((slope) => weight * slope);
  return {
    loss: (1 - weight) * first.loss + weight * loss,
    class: both ? label : label.map((slope, i) => slope + lesson[i]),
    distillation: both ? lesson : silent(said),
  };
}

/** No gradient for a second head that nobody asks. */
const silent = ({ distillation }) => distillation && new Float64Array(distillation.length);

/**
 * Linear warm-up, then half a cosine (deit_edu.train.learning_rate_at).
 * @param {number} step From 0.
 * @param {{ total: number, warmup: number, peak: number, start?: number, end?: number }} schedule
 * Steps and rates.
 * @returns {number}
 */
export function learningRateAt(step, { total, warmup, peak, start = 1e-6, end = 1e-5 }) {
  if (step < warmup) return start + ((peak - start) * step) / warmup;
  const progress = (step - warmup) / Math.max(1, total - warmup);
  return end + (peak - end) * 0.5 * (1 + Math.cos(Math.PI * progress));
}

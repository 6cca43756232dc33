// The teacher comparison's numbers: whose answers differ, and on which classes a student gained.

/**
 * Somebody's decisions. letter: "A" or "B", and "" for the truth; who: a head, or "teacher"; row:
 * (n,) classes.
 * @typedef {{ name: string, letter: string, who: string, row: NumberArray }} Said
 */

/**
 * Test accuracy over the seeds, in per cent; low and high: its 95 % interval.
 * @typedef {{ values: number[], mean: number, low: number, high: number }} Accuracy
 */

/**
 * deit_edu.widgets.teacher_comparison.describe: all runs of one teacher and kind of distillation.
 * rows: {seed: {head or "teacher": its row among the decisions}}, where they are kept.
 * @typedef {{ teacher: string, kind: string, seeds: number[], accuracy: Record<string, Accuracy>,
 *   curves: number[][], rows: Record<string, Record<string, number>> }} Student
 */

/**
 * @param {NumberArray} one (n,) classes
 * @param {NumberArray} other (n,) classes
 * @returns {number} on how many of the images they differ, in per cent
 */
export function disagreement(one, other) {
  let count = 0;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) count++;
  return (100 * count) / one.length;
}

/**
 * @param {NumberArray} decided (n,) classes
 * @param {NumberArray} truth (n,) classes
 * @param {number} K classes
 * @returns {number[]} (K,) of each class's images, how many are right, in per cent
 */
export function rightOfEachClass(decided, truth, K) {
  const zeros = () => Array.from({ length: K }, () => 0);
  const [right, all] = [zeros(), zeros()];
  for (let i = 0; i < truth.length; i++) {
    all[truth[i]]++;
    if (decided[i] === truth[i]) right[truth[i]]++;
  }
  return right.map((count, k) => (100 * count) / Math.max(all[k], 1));
}

/**
 * @param {Student} student of somebody
 * @returns {Accuracy} of both its heads, or of the one that it has
 */
export const bestOf = (student) => student.accuracy.fused ?? student.accuracy.class;

/**
 * @param {Said[]} said everybody's decisions
 * @param {string} letter whose student
 * @param {string} who of it
 * @returns {NumberArray} (n,) classes; of the class head where that one is not there
 */
export function decisionsOf(said, letter, who) {
  const own = said.filter((one) => one.letter === letter);
  return (own.find((one) => one.who === who) ?? own.find((one) => one.who === "class")).row;
}

/**
 * @param {Said[]} said everybody's decisions
 * @param {string} letter whose student
 * @returns {NumberArray} (n,) classes: the teacher's, or the student's where there is no teacher
 */
export function judgeOf(said, letter) {
  const taught = said.some((one) => one.letter === letter && one.who === "teacher");
  return decisionsOf(said, letter, taught ? "teacher" : "fused");
}

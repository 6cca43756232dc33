// What the seeds of a race came to: counted, and in words.
import { drawBeforehand, pairedDifference, verdictOf } from "./bootstrap.js";
import { countOfSeeds, signed } from "./numbers.js";
import { SIDES } from "./race_settings.js";

/** So many results are kept: the interval's width is known for so many seeds. */
export const MOST_RESULTS = 200;
const AHEAD = { reproduced: "B is ahead", reversed: "A is ahead", "not resolved": "not resolved" };

/**
 * @typedef {object} SeedResult what one race came to
 * @property {number} seed
 * @property {number} a accuracy of A, a share
 * @property {number} b of B
 */

/**
 * All seeds of two students: those of the records, then the reader's own.
 * @param {{ a: string, b: string }} words of the two
 * @param {Record<string, { scores: Record<string, number> }>} recorded by word
 * @param {(SeedResult & { words: { a: string, b: string } })[]} own of any students
 * @returns {SeedResult[]} in order
 */
export function seedsOf(words, recorded, own) {
  const [one, other] = SIDES.map((side) => recorded[words[side]]?.scores ?? {});
  const both = Object.keys(one).filter((seed) => seed in other);
  const all = new Map(both.map((seed) => [Number(seed), { a: one[seed], b: other[seed] }]));
  for (const { seed, words: raced, a, b } of own) {
    const same = raced.a === words.a && raced.b === words.b;
    if (same && !all.has(seed)) all.set(seed, { a, b });
  }
  const found = [...all].map(([seed, scores]) => ({ seed, ...scores }));
  return found.sort((p, q) => p.seed - q.seed).slice(0, MOST_RESULTS);
}

/**
 * B minus A in points, as the library judges it.
 * @param {SeedResult[]} results one or more
 * @param {object} settings of the bootstrap: the trait of that name
 * @returns {Promise<{ mean: number, low: number | null, high: number | null, seeds: number,
 *   verdict: string, words: string }>} null where there is no interval: JSON has no infinity
 */
export async function judgeSeeds(results, settings) {
  const values = results.map(({ a, b }) => 100 * (b - a));
  await drawBeforehand(settings, values.length, breathe);
  const found = pairedDifference([[1, values]], settings);
  const verdict = AHEAD[verdictOf(found, 1, settings.enough)];
  const finite = (value) => (Number.isFinite(value) ? value : null);
  return {
    ...found,
    low: finite(found.low),
    high: finite(found.high),
    verdict,
    words: seedsInWords(found, values, verdict),
  };
}

const breathe = () => new Promise((resolve) => setTimeout(resolve));

function seedsInWords({ mean, low, high, seeds }, values, verdict) {
  const ahead = values.filter((value) => value > 0).length;
  const interval = seeds > 1 ? ` [${signed(low)}, ${signed(high)}]` : "";
  return (
    `B minus A, ${countOfSeeds(seeds)}: ${signed(mean)} points${interval}. ` +
    `B is ahead in ${ahead} of ${seeds}. Verdict: ${verdict}.`
  );
}

// Differences paired by seed, with the library's interval: deit_edu.evidence.verdicts once more, to
// the same numbers.
import { mean } from "./numbers.js";

const RESAMPLES = 9999;
const ENOUGH_SEEDS = 5;
const WORD = 32n;
const BITS = [(1n << 32n) - 1n, (1n << 64n) - 1n, (1n << 128n) - 1n];
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

/** NumPy's default generator, PCG64, from a state of NumPy's. */
export class Pcg64 {
  /** @param {{ state: string, inc: string }} start whole numbers in decimal digits */
  constructor({ state, inc }) {
    this.state = BigInt(state);
    this.inc = BigInt(inc);
    /** @type {number | null} */
    this.half = null; // the upper half of the last 64 bits, to be given next
  }

  /** @returns {number} 32 bits, as a whole number from 0 */
  bits() {
    if (this.half !== null) {
      const half = this.half;
      this.half = null;
      return half;
    }
    this.state = (this.state * MULTIPLIER + this.inc) & BITS[2];
    const mixed = (this.state >> 64n) ^ (this.state & BITS[1]);
    const turn = this.state >> 122n;
    const turned = ((mixed >> turn) | (mixed << (64n - turn))) & BITS[1];
    this.half = Number(turned >> WORD);
    return Number(turned & BITS[0]);
  }

  /**
   * @param {number} n
   * @returns {number} a whole number from 0 to n - 1, by Lemire's method
   */
  below(n) {
    const least = (2 ** 32 - n) % n;
    for (;;) {
      const product = this.bits() * n; // below 2^53, since n is small
      if (product % 2 ** 32 >= least) return Math.floor(product / 2 ** 32);
    }
  }
}

/**
 * The mean of differences, and its widened bootstrap interval. It counts in slices, so that the
 * page can answer in between.
 * @param {number[]} values one of each seed
 * @param {{ generator: { state: string, inc: string }, levels: Record<string, number> }} given of
 *   Python: where the draws begin, and the level asked of so many seeds
 * @param {() => Promise<void>} breath lets others work
 * @returns {Promise<Difference>} the interval is the whole line for fewer than two seeds
 */
export async function pairedDifference(values, { generator, levels }, breath) {
  const seeds = values.length;
  const middle = mean(values);
  if (seeds < 2) return { mean: middle, low: -Infinity, high: Infinity, seeds };
  const random = new Pcg64(generator);
  const means = new Float64Array(RESAMPLES);
  for (let i = 0; i < RESAMPLES; i++) {
    if (i % 500 === 499) await breath();
    let total = 0;
    for (let k = 0; k < seeds; k++) total += values[random.below(seeds)];
    means[i] = total / seeds;
  }
  means.sort();
  const outside = (1 - levels[seeds]) / 2;
  return { mean: middle, low: quantile(means, outside), high: quantile(means, 1 - outside), seeds };
}

/**
 * @param {Float64Array} sorted
 * @param {number} share from 0 to 1
 * @returns {number} between the two numbers that lie next to that place
 */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const next = sorted[Math.min(low + 1, sorted.length - 1)];
  return sorted[low] + (place - low) * (next - sorted[low]);
}

/**
 * @param {Difference} difference
 * @returns {"B is ahead" | "A is ahead" | "not resolved"} whose side of zero the interval is on
 */
export function verdictOf({ low, high, seeds }) {
  if (seeds < ENOUGH_SEEDS || (low <= 0 && high >= 0)) return "not resolved";
  return low > 0 ? "B is ahead" : "A is ahead";
}

// Interval and verdict of deit_edu.evidence.verdicts, with the very resamples that NumPy draws.

const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n; // PCG64's
const WORD = 2 ** 32;
const SLICE = 5000; // draws between two breaths

/**
 * @typedef {object} Resampling what deit_edu.widgets.bootstrap.resampling gives
 * @property {string} state of NumPy's PCG64, 128 bits
 * @property {string} increment of it
 * @property {number} resamples how many
 * @property {Record<string, number>} tails {seeds: the share that is left out at each end}
 * @property {number} enough how many seeds a verdict asks for
 */

/**
 * @typedef {object} Found what a claim came to, as verdicts.Difference
 * @property {number} mean of the differences
 * @property {number} low end of the interval
 * @property {number} high end
 * @property {number} seeds how many
 */

/**
 * NumPy's default generator: PCG64 (O'Neill 2014), XSL-RR, 32 bits of each 64 at a time.
 * @param {Resampling} given its state
 * @returns {() => number} 32 random bits, as a whole number from 0
 */
function generator({ state: given, increment }) {
  let state = BigInt(given);
  /** @type {number | null} */
  let kept = null;
  return () => {
    if (kept !== null) {
      const drawn = kept;
      kept = null;
      return drawn;
    }
    state = BigInt.asUintN(128, state * MULTIPLIER + BigInt(increment));
    const mixed = BigInt.asUintN(64, (state >> 64n) ^ state);
    const turn = state >> 122n;
    const drawn = BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
    kept = Number(drawn >> 32n);
    return Number(drawn & 0xffffffffn);
  };
}

/**
 * A whole number below n, as NumPy's Generator.integers draws it: Lemire's multiplication.
 * @param {() => number} bits 32 of them at a time
 * @param {number} n the bound, far below 2 ** 21
 * @returns {number} from 0 to n - 1
 */
function below(bits, n) {
  const threshold = (WORD - n) % n;
  let product = bits() * n;
  while (product % WORD < threshold) product = bits() * n;
  return Math.floor(product / WORD);
}

/**
 * Which seeds each resample takes: np.random.default_rng(0).integers(0, n, (resamples, n)).
 * @param {Resampling} settings the generator and how many resamples
 * @param {number} n how many seeds
 * @returns {Uint8Array} (resamples, n), row by row
 */
export function drawn(settings, n) {
  const bits = generator(settings);
  return Uint8Array.from({ length: settings.resamples * n }, () => below(bits, n));
}

/**
 * @param {Float64Array} sorted numbers, the smallest first
 * @param {number} share from 0 to 1
 * @returns {number} the quantile, between two numbers in a straight line
 */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const under = Math.min(Math.floor(place), sorted.length - 2);
  return sorted[under] + (place - under) * (sorted[under + 1] - sorted[under]);
}

/** @type {Map<number, Uint8Array>} */
const draws = new Map(); // of each number of seeds: every difference has the same

/**
 * Draws for so many seeds beforehand, in slices, so that a page can answer in between.
 * @param {Resampling} settings the generator and how many resamples
 * @param {number} n how many seeds
 * @param {() => Promise<void>} breath lets others work
 * @returns {Promise<void>} when `pairedDifference` of so many seeds has nothing left to draw
 */
export async function drawBeforehand(settings, n, breath) {
  if (n < 2 || draws.has(n)) return;
  const bits = generator(settings);
  const chosen = new Uint8Array(settings.resamples * n);
  for (let i = 0; i < chosen.length; i++) {
    if (i % SLICE === SLICE - 1) await breath();
    chosen[i] = below(bits, n);
  }
  draws.set(n, chosen);
}

/**
 * deit_edu.evidence.verdicts.paired_difference: a weighted sum of measures that share their seeds.
 * @param {[number, number[]][]} terms weight and values, a value for each seed
 * @param {Resampling} settings how to draw the seeds again
 * @returns {Found} its mean and its interval
 */
export function pairedDifference(terms, settings) {
  const n = terms[0][1].length;
  if (n === 0) return { mean: NaN, low: -Infinity, high: Infinity, seeds: 0 };
  const every = Uint8Array.from({ length: n }, (_, i) => i);
  const weighted = (/** @type {Uint8Array} */ seeds) =>
    terms.reduce((total, [weight, values]) => {
      let sum = 0;
      for (const seed of seeds) sum += values[seed];
      return total + (weight * sum) / n;
    }, 0);
  const mean = weighted(every);
  if (n === 1) return { mean, low: -Infinity, high: Infinity, seeds: 1 };
  if (!draws.has(n)) draws.set(n, drawn(settings, n));
  const chosen = draws.get(n);
  const means = Float64Array.from({ length: settings.resamples }, (_, i) =>
    weighted(chosen.subarray(i * n, (i + 1) * n)),
  ).sort();
  const tail = settings.tails[n];
  return { mean, low: quantile(means, tail), high: quantile(means, 1 - tail), seeds: n };
}

/**
 * deit_edu.evidence.verdicts.verdict.
 * @param {Found} found what the claim came to
 * @param {number} sign of the difference, as it is claimed
 * @param {number} enough how many seeds a verdict asks for
 * @returns {string} reproduced, reversed or not resolved
 */
export function verdictOf({ low, high, seeds }, sign, enough) {
  if (seeds < enough || (low <= 0 && high >= 0)) return "not resolved";
  return low > 0 === sign > 0 ? "reproduced" : "reversed";
}

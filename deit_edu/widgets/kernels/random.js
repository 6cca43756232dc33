// Draws that follow from whole numbers alone, the same in every browser.
import { countOf, parametersOf } from "./deit_in_page.js";

/** Random numbers from seeds: Doty-Humphrey's sfc32, its 128 bits of state filled by splitmix32. */
export class Random {
  /** @param {...number} seeds Whole numbers, for example a seed and an epoch. */
  constructor(...seeds) {
    let mixed = 0;
    for (const seed of seeds) mixed = splitmix(mixed ^ seed);
    this.state = Uint32Array.from({ length: 4 }, (_, i) => splitmix(mixed + i));
    for (let i = 0; i < 15; i++) this.bits();
  }

  /** @returns {number} 32 random bits, as a whole number from 0. */
  bits() {
    const [a, b, c, counter] = this.state;
    const drawn = (a + b + counter) >>> 0;
    this.state[0] = b ^ (b >>> 9);
    this.state[1] = c + (c << 3);
    this.state[2] = ((c << 21) | (c >>> 11)) + drawn;
    this.state[3] = counter + 1;
    return drawn;
  }

  /** @returns {number} In [0, 1). */
  uniform() {
    return this.bits() / 2 ** 32;
  }

  /** @param {number} n @returns {number} A whole number from 0 to n - 1. */
  below(n) {
    return Math.floor(this.uniform() * n);
  }

  /** @returns {number} From the normal distribution, by Box and Muller. */
  normal() {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** @param {number} n @returns {Uint32Array} 0 to n - 1 in a random order (Fisher and Yates). */
  order(n) {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let last = n - 1; last > 0; last--) {
      const other = this.below(last + 1);
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }
}

function splitmix(seed) {
  let z = (seed + 0x9e3779b9) | 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (z ^ (z >>> 15)) >>> 0;
}

/**
 * Weights to begin with: normal of standard deviation 0.02 for matrices, tokens and positions, 0
 * for biases, 1 for the norms' gains, and PyTorch's default for the patch embedding
 * (deit_edu.model.DeiT.initialise; its truncation, at a hundred standard deviations, cuts nothing).
 * @param {DeiTSizes} config
 * @param {Random} random
 * @returns {Record<string, Float32Array>} By the library's names.
 */
export function initialWeights(config, random) {
  const bound = 1 / Math.sqrt(config.in_channels * config.patch_size ** 2);
  /** @type {[RegExp, () => number][]} */
  const kinds = [
    [/^patch_embedding/, () => bound * (2 * random.uniform() - 1)],
    [/norm\d?\.weight$/, () => 1],
    [/bias$/, () => 0],
    [/./, () => 0.02 * random.normal()],
  ];
  const drawn = ({ name, shape }) => {
    const [, draw] = kinds.find(([pattern]) => pattern.test(name));
    return [name, Float32Array.from({ length: countOf(shape) }, draw)];
  };
  return Object.fromEntries(parametersOf(config).map(drawn));
}

// Half precision, read in one place: by the figures, and by the worker that runs the networks.

const POWERS = Float64Array.from({ length: 32 }, (_, exponent) => 2 ** (exponent - 25));

/**
 * Half-precision numbers as float32, which holds each of them exactly.
 * @param {ArrayLike<number>} words the 16 bits of each number (IEEE 754 binary16), finite
 * @returns {Float32Array} as many numbers
 */
export function halves(words) {
  return Float32Array.from(words, (word) => {
    const exponent = (word >> 10) & 31;
    const fraction = word & 1023;
    const size = exponent ? (1024 + fraction) * POWERS[exponent] : fraction * 2 ** -24;
    return word & 0x8000 ? -size : size;
  });
}

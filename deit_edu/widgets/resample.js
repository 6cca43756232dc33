// A picture at another size: bicubic, and smoothed before it shrinks, as Pillow and torch's
// antialiased interpolation do it. One axis after the other, so a picture may come in strips.
import { clamp, sum } from "./numbers.js";

const A = -0.5; // the slope of the cubic, Pillow's

/**
 * @param {number} distance in output pixels where the picture shrinks, else in its own
 * @returns {number} the cubic's height there
 */
function cubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return ((A + 2) * x - (A + 3)) * x * x + 1;
  return x < 2 ? A * (((x - 5) * x + 8) * x - 4) : 0;
}

/**
 * What each pixel of an axis is made of.
 * @param {number} from how many pixels there are
 * @param {number} to how many are wanted
 * @returns {Taps[]} `to` of them
 */
export function tapsFor(from, to) {
  const scale = from / to;
  const wide = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = clamp(Math.trunc(centre - 2 * wide + 0.5), 0, from);
    const end = clamp(Math.trunc(centre + 2 * wide + 0.5), 0, from);
    const heights = Float64Array.from({ length: end - first }, (_height, k) =>
      cubic((first + k + 0.5 - centre) / wide),
    );
    const total = sum(heights);
    return { first, weights: heights.map((height) => height / total) };
  });
}

/**
 * Resample lines of pixels.
 * @param {Taps[]} taps from tapsFor
 * @param {number} lines how many
 * @param {Axis} from where the pixels lie
 * @param {Axis} to where they go; a clamped array rounds them
 * @returns {void}
 */
export function resampleLines(taps, lines, from, to) {
  for (let line = 0; line < lines; line++) {
    const source = from.start + line * from.line;
    let target = to.start + line * to.line;
    for (const { first, weights } of taps) {
      let value = 0;
      let at = source + first * from.step;
      for (let k = 0; k < weights.length; k++, at += from.step) {
        value += weights[k] * from.pixels[at];
      }
      to.pixels[target] = value;
      target += to.step;
    }
  }
}

/**
 * The last pass: planes whose rows have their width already, brought to their height.
 * @param {NumberArray} pixels (C, h, W)
 * @param {number[]} shape C, h, W
 * @param {number} height H
 * @param {NumberArray} found (C, H, W), filled
 * @returns {void}
 */
export function resampleColumns(pixels, [C, h, W], height, found) {
  const taps = tapsFor(h, height);
  for (let c = 0; c < C; c++) {
    const from = { pixels, start: c * h * W, line: 1, step: W };
    const to = { pixels: found, start: c * height * W, line: 1, step: W };
    resampleLines(taps, W, from, to);
  }
}

/**
 * @param {Float32Array} pixels (C, h, w)
 * @param {number[]} from C, h, w
 * @param {number[]} to H, W
 * @returns {Float32Array} (C, H, W), neither rounded nor kept in bounds
 */
export function resampled(pixels, [C, h, w], [H, W]) {
  if (h === H && w === W) return pixels;
  const rows = new Float32Array(C * h * W);
  const from = { pixels, start: 0, line: w, step: 1 };
  resampleLines(tapsFor(w, W), C * h, from, { pixels: rows, start: 0, line: W, step: 1 });
  const found = new Float32Array(C * H * W);
  resampleColumns(rows, [C, h, W], H, found);
  return found;
}

// What the attention lens counts and says, apart from what it draws.
import { argmax, sum } from "./numbers.js";
import { layerRow, ofPatches, rolledRow } from "./running.js";

/**
 * What a token takes from the patches, as the reader looks at it.
 * @param {NumberArray} attention (L, h, T, T)
 * @param {AttentionSizes} sizes from sizesOf
 * @param {Look} look which layer and head, or rolled out
 * @param {number} token which one asks
 * @returns {{ patches: number[], prefix: number[] }} (N,), and from the tokens before them
 */
export function lookFrom(attention, sizes, { layer, head, rolled }, token) {
  const row = rolled
    ? rolledRow(attention, sizes, layer, token)
    : layerRow(attention, sizes, layer, token, head);
  return { patches: ofPatches(row, sizes), prefix: Array.from(row.subarray(0, sizes.prefix)) };
}

/**
 * @param {number} i a patch
 * @param {number} grid patches a side
 * @returns {string} where it is
 */
export const placeName = (i, grid) => `row ${Math.floor(i / grid) + 1}, column ${(i % grid) + 1}`;

/**
 * The share of attention to patches that falls on the item's box, attention being even within a
 * patch.
 * @param {number[]} values (N,)
 * @param {number[]} box top, left, height, width in pixels
 * @param {number} P pixels a side of a patch
 * @param {number} grid patches a side
 * @returns {number} from 0 to 1
 */
export function shareInBox(values, [top, left, height, width], P, grid) {
  const overlap = (
    /** @type {number} */ n,
    /** @type {number} */ start,
    /** @type {number} */ length,
  ) => Math.max(0, Math.min((n + 1) * P, start + length) - Math.max(n * P, start)) / P;
  const covered = values.map(
    (value, i) =>
      value * overlap(Math.floor(i / grid), top, height) * overlap(i % grid, left, width),
  );
  return sum(covered) / sum(values);
}

/**
 * @param {Look} look which layer and head, or rolled out
 * @param {number} depth layers of the network
 * @returns {string} where the reader looks
 */
export function whereOf({ layer, head, rolled }, depth) {
  if (rolled) return `Rolled out through ${layer + 1} of ${depth} layers`;
  const heads = head < 0 ? "mean over the heads" : `head ${head + 1}`;
  return `Layer ${layer + 1} of ${depth}, ${heads}`;
}

/**
 * @param {number[]} values (N,)
 * @param {number} grid patches a side
 * @param {number | null} inBox the share on the item, where its box is known
 * @returns {string} where most of the attention lies
 */
export function mostOf(values, grid, inBox) {
  const best = argmax(values);
  const share = inBox === null ? "" : `, ${Math.round(100 * inBox)} % of it on the item`;
  return `${placeName(best, grid)} (${values[best].toFixed(2)})${share}`;
}

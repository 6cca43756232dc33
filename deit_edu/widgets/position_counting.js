// The position lab's numbers: interpolation along one axis and then along the other, as torch's
// F.interpolate does it, and the lengths and angles of what comes out.
import { clamp, mean, sum } from "./numbers.js";

/** @typedef {[number, number][]} Points [patches a side, per cent] each */

/**
 * Cubic interpolation: Keys (1981).
 * @param {number} t the distance to a neighbour
 * @param {number} a the kernel's free number: torch takes -0.75, but with antialias -0.5
 * @returns {number} the neighbour's weight
 */
function cubic(t, a) {
  const x = Math.abs(t);
  if (x < 1) return (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1;
  return x < 2 ? a * (x ** 3 - 5 * x ** 2 + 8 * x - 4) : 0;
}

/**
 * With antialias: the filter is as wide as the new places are, cut at the edge, and sums to 1.
 * @param {number} before old places
 * @param {number} centre of the new place, in the old grid
 * @param {number} wide a new place, in old ones; 1 at least
 * @returns {[number, number][]} [old place, weight] each
 */
function antialiased(before, centre, wide) {
  /** @type {[number, number][]} */
  const given = Array.from({ length: before }, (_, j) => [
    j,
    cubic((j + 0.5 - centre) / wide, -0.5),
  ]);
  const total = sum(given.map(([, weight]) => weight));
  return given.filter(([, weight]) => weight).map(([place, weight]) => [place, weight / total]);
}

/**
 * Without: two neighbours or four, and beyond the edge is the edge again.
 * @param {number} before old places
 * @param {number} centre of the new place, in the old grid
 * @param {string} how "bilinear" or "bicubic"
 * @returns {[number, number][]} [old place, weight] each
 */
function interpolated(before, centre, how) {
  const given = new Map();
  const first = Math.floor(centre - 0.5);
  const reach = how === "bilinear" ? 0 : 1;
  for (let j = first - reach; j <= first + 1 + reach; j++) {
    const t = j + 0.5 - centre;
    const weight = how === "bilinear" ? 1 - Math.abs(t) : cubic(t, -0.75);
    const place = clamp(j, 0, before - 1);
    if (weight) given.set(place, (given.get(place) ?? 0) + weight);
  }
  return [...given];
}

/**
 * How much each old place gives to each new one, along one axis.
 * @param {number} before old places
 * @param {number} after new places
 * @param {string} how "bicubic", "bilinear" or "antialias"
 * @returns {[number, number][][]} for each new place: [old place, weight] each
 */
function axisWeights(before, after, how) {
  const scale = before / after;
  return Array.from({ length: after }, (_, i) => {
    const centre = (i + 0.5) * scale; // in the old grid, whose places are centred at 0.5, 1.5, ...
    return how === "antialias"
      ? antialiased(before, centre, Math.max(scale, 1))
      : interpolated(before, centre, how);
  });
}

/**
 * Position embeddings at another grid: deit_edu.patches.resize_position_embedding.
 * @param {any} vectors (before * before, D), row by row
 * @param {number} before patches a side
 * @param {number} after patches a side
 * @param {number} D the width
 * @param {string} how "bicubic", "bilinear" or "antialias"
 * @returns {Float32Array | Float64Array} (after * after, D)
 */
export function resized(vectors, before, after, D, how) {
  if (before === after) return vectors;
  const weights = axisWeights(before, after, how);
  const tall = new Float64Array(after * before * D); // rows first: (after, before, D)
  weights.forEach((row, y) => {
    for (const [j, w] of row)
      for (let i = 0; i < before * D; i++)
        tall[y * before * D + i] += w * vectors[j * before * D + i];
  });
  const found = new Float64Array(after * after * D);
  for (let y = 0; y < after; y++) {
    weights.forEach((column, x) => {
      for (const [j, w] of column)
        for (let d = 0; d < D; d++)
          found[(y * after + x) * D + d] += w * tall[(y * before + j) * D + d];
    });
  }
  return found;
}

/**
 * @param {any} vectors (N, D)
 * @param {number} D the width
 * @returns {number[]} (N,) the l2 norm of each
 */
export function norms(vectors, D) {
  return Array.from({ length: vectors.length / D }, (_, n) => {
    let squares = 0;
    for (let d = 0; d < D; d++) squares += vectors[n * D + d] ** 2;
    return Math.sqrt(squares);
  });
}

/**
 * @param {any} vectors (N, D)
 * @param {number} D the width
 * @param {number} one which of them
 * @returns {number[]} (N,) its cosine with each
 */
export function cosines(vectors, D, one) {
  const lengths = norms(vectors, D);
  return lengths.map((length, n) => {
    let product = 0;
    for (let d = 0; d < D; d++) product += vectors[one * D + d] * vectors[n * D + d];
    return product / (length * lengths[one] || 1);
  });
}

/**
 * How much of the mean norm is kept at every grid, by every interpolation.
 * @param {any} trained (G * G, D)
 * @param {number} G patches a side
 * @param {number} D the width
 * @param {number[]} grids patches a side of the others
 * @param {string[]} hows interpolations
 * @returns {{ kept: Record<string, Points>, low: number, high: number }} per cent, and the shortest
 *   and the longest vector of all, so that their colours stay comparable
 */
export function normsKept(trained, G, D, grids, hows) {
  const old = norms(trained, D);
  let [low, high] = [Math.min(...old), Math.max(...old)];
  /** @type {Record<string, Points>} */
  const kept = {};
  for (const how of hows) {
    kept[how] = grids.map((grid) => {
      const lengths = norms(resized(trained, G, grid, D, how), D);
      [low, high] = [Math.min(low, ...lengths), Math.max(high, ...lengths)];
      return [grid, (100 * mean(lengths)) / mean(old)];
    });
  }
  return { kept, low, high };
}

/**
 * @param {{ interpolation: string, grid: number, percent: number }[]} tested accuracies
 * @param {string[]} hows interpolations
 * @returns {Record<string, Points>} a line for each interpolation that was tested
 */
export function accuracyLines(tested, hows) {
  /** @type {Record<string, Points>} */
  const lines = {};
  for (const how of hows) {
    const rows = tested.filter((row) => row.interpolation === how);
    if (rows.length) lines[how] = rows.map(({ grid, percent }) => [grid, percent]);
  }
  return lines;
}

/**
 * @param {number} patch row by row, in the trained grid
 * @param {number} G patches a side of the trained grid
 * @param {number} grid patches a side of another
 * @returns {number} the patch of the other grid in which its centre lies
 */
export function samePlace(patch, G, grid) {
  const there = (/** @type {number} */ place) => Math.floor(((2 * place + 1) * grid) / (2 * G));
  return there(Math.floor(patch / G)) * grid + there(patch % G);
}

/**
 * Labels at the ends of lines, moved apart where they would cover each other.
 * @param {number[]} places where each would stand
 * @param {number} distance that two need
 * @returns {number[]} where each stands
 */
export function movedApart(places, distance) {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]);
  const moved = [...places];
  order.forEach((i, n) => {
    if (n) moved[i] = Math.max(moved[i], moved[order[n - 1]] + distance);
  });
  const shift = mean(places) - mean(moved);
  return moved.map((y) => y + shift);
}

// The fusion explorer's state: what never changes, and what is chosen.
import { blocksOf, knownOf } from "./fusion_counting.js";
import { unpacked } from "./numbers.js";

/**
 * What never changes: the figure's traits, read once. truth: (n,) classes; index: the test images
 * of the gallery; blocks: where the logits of somebody in the gallery begin.
 * @typedef {{ names: string[], K: number, n: number, seeds: number[], truth: NumberArray,
 *   index: number[], weights: number[], blocks: Record<string, number>,
 *   known: Record<string, import("./fusion_counting.js").Known> }} Facts
 */

/**
 * The figure as it stands. found: (K, K) images, row by row, empty where somebody is not kept;
 * cell: row and column; shown: test image and place in the gallery of each card; image: which card.
 * @typedef {{ model: Model, facts: Facts, root: HTMLElement, say: (text: string) => void,
 *   parts: Record<string, HTMLElement>, found: number[], cell: [number, number],
 *   shown: [number, number][], image: number, loading: Promise<any> | null,
 *   gallery: { pixels: NumberArray, logits: Float32Array } | null }} Explorer
 */

/** @type {Record<string, string>} what each decider is called */
export const WHO = {
  truth: "truth",
  class: "class head",
  distillation: "distillation head",
  fused: "both alike, probabilities",
  fused_logits: "both alike, logits",
  teacher: "teacher",
  plain: "plain student",
};

/**
 * @param {Model} model the figure's
 * @returns {Facts} what never changes
 */
export function factsOf(model) {
  const [names, seeds, n] = [model.get("class_names"), model.get("seeds"), model.get("count")];
  const [K, index] = [names.length, model.get("gallery_index")];
  const rows = /** @type {Uint8Array} */ (unpacked(model.get("decided"), "u1"));
  const logits = /** @type {Float32Array} */ (unpacked(model.get("parting"), "f2"));
  return {
    names,
    K,
    n,
    seeds,
    index,
    truth: rows.subarray(0, n),
    weights: model.get("weights"),
    blocks: blocksOf(seeds, model.get("answering"), index.length * K),
    known: knownOf(seeds, model.get("rows_of"), rows, n, logits, K),
  };
}

/**
 * @param {Explorer} explorer the figure
 * @returns {number} the chosen seed
 */
export const seedOf = ({ model, facts }) => facts.seeds[model.get("place")];

/**
 * @param {Explorer} explorer the figure
 * @returns {import("./fusion_counting.js").Known} what is known of the chosen seed
 */
export const knownHere = (explorer) => explorer.facts.known[seedOf(explorer)];

/**
 * @param {Explorer} explorer the figure
 * @returns {[string, string]} the deciders of the rows and of the columns
 */
export const pairOf = ({ model }) => [model.get("one"), model.get("other")];

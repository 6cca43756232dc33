// Trained networks in a worker of the page, and the attention that they give. Used by the figures that compute.
import { fuse, load, sizeOf } from "./numbers.js";
import WORKER from "./worker.js?text";

/**
 * The networks of a model's traits ROLE (a manifest) and ROLE_weights, loaded when they are first asked.
 * @param {Model} model the figure's
 * @param {string[]} roles which networks
 * @param {(stop: () => void) => void} onEnd is given what to call when the figure goes
 * @returns {(image: Float32Array) => Promise<{ said: Record<string, Answer>, ms: number }>} asks all of them
 *   about an image; it rejects when the weights cannot be loaded
 */
export function networksOf(model, roles, onEnd) {
  /** @type {Worker} */
  let worker;
  /** @type {Promise<void>} */
  let opened;
  let asked = 0;
  const waiting = new Map();
  const open = async () => {
    const weights = await Promise.all(roles.map((role) => load(model, `${role}_weights`)));
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    worker = new Worker(url); // a classic one: a module worker fails on file://
    worker.onmessage = ({ data }) => {
      waiting.get(data.id)(data);
      waiting.delete(data.id);
    };
    roles.forEach((role, i) =>
      worker.postMessage({ role, manifest: model.get(role), weights: weights[i] }),
    );
  };
  onEnd(() => worker?.terminate());
  return async (image) => {
    opened ??= open();
    try {
      await opened;
    } catch (error) {
      opened = null; // try again when asked again
      throw error;
    }
    return new Promise((resolve) => {
      waiting.set(++asked, resolve);
      worker.postMessage({ id: asked, image });
    });
  };
}

/**
 * @param {Manifest[]} manifests of networks
 * @returns {string} what their weights take, in megabytes
 */
export function megabytes(manifests) {
  const tensors = manifests.flatMap((manifest) => manifest.tensors);
  const bytes = tensors.reduce((total, [, shape]) => total + 2 * sizeOf(shape), 0);
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * One network's answer as logits: those of its only head, or of both heads fused, as deit_edu.model.fuse does it.
 * @param {Answer} answer of a network
 * @returns {number[]} (K,)
 */
export const fusedLogits = ({ class: one, distillation: other }) =>
  other ? fuse(one, other).map(Math.log) : [...one];

/**
 * Pixels as a network wants them.
 * @param {NumberArray} pixels (C, H, W), 0 to 255
 * @param {number[]} mean of the training images, C numbers
 * @param {number[]} std of the training images, C numbers
 * @returns {Float32Array} (C, H, W)
 */
export function normalised(pixels, mean, std) {
  const plane = pixels.length / mean.length;
  return Float32Array.from(pixels, (v, i) => {
    const c = Math.floor(i / plane);
    return (v / 255 - mean[c]) / std[c];
  });
}

/**
 * Attention of one layer.
 * @param {Float32Array} attention (L, h, T, T)
 * @param {AttentionSizes} sizes from sizesOf
 * @param {number} layer from 0
 * @param {number} head which one, or -1 for the mean over heads
 * @returns {Float64Array} (T, T)
 */
export function layerMap(attention, { heads, tokens: T }, layer, head) {
  const which = head < 0 ? Array.from({ length: heads }, (_, n) => n) : [head];
  const map = new Float64Array(T * T);
  for (const n of which) {
    const from = (layer * heads + n) * T * T;
    for (let i = 0; i < T * T; i++) map[i] += attention[from + i] / which.length;
  }
  return map;
}

/**
 * @param {Float64Array} one (T, T)
 * @param {Float64Array} other (T, T)
 * @param {number} T tokens
 * @returns {Float64Array} their matrix product
 */
function product(one, other, T) {
  const found = new Float64Array(T * T);
  for (let i = 0; i < T; i++) {
    for (let k = 0; k < T; k++) {
      for (let j = 0; j < T; j++) found[i * T + j] += one[i * T + k] * other[k * T + j];
    }
  }
  return found;
}

/**
 * Attention followed from the input through layers 0 to `layer`: deit_edu.inspect.attention_rollout.
 * @param {Float32Array} attention (L, h, T, T)
 * @param {AttentionSizes} sizes from sizesOf
 * @param {number} layer the last one
 * @returns {Float64Array} (T, T)
 */
export function rollout(attention, sizes, layer) {
  const T = sizes.tokens;
  const withResidual = (/** @type {number} */ l) =>
    layerMap(attention, sizes, l, -1).map((v, i) => 0.5 * v + (i % (T + 1) === 0 ? 0.5 : 0));
  let rolled = withResidual(0);
  for (let l = 1; l <= layer; l++) rolled = product(withResidual(l), rolled, T);
  return rolled;
}

/**
 * @param {Manifest} manifest of a DeiT
 * @returns {AttentionSizes} what its attention's shape follows from
 */
export function sizesOf(manifest) {
  const grid = manifest.image_size / manifest.patch_size;
  const prefix = manifest.distilled ? 2 : 1;
  const tokens = prefix + grid * grid;
  return { depth: manifest.depth, heads: manifest.num_heads, tokens, prefix, grid };
}

/**
 * What a token takes from each patch.
 * @param {Float64Array} map (T, T)
 * @param {number} token which one asks
 * @param {AttentionSizes} sizes from sizesOf
 * @returns {number[]} (N,)
 */
export const patchesOf = (map, token, { tokens: T, prefix }) =>
  Array.from(map.subarray(token * T + prefix, (token + 1) * T));

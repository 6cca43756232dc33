// Trained networks in a worker of the page, and the attention that they give. Used by the figures that compute.
import { fuse, load } from "./common.js";
import NETWORK from "./network.js?text";

const WORKER = `
  const networks = {};
  onmessage = ({ data }) => {
    if (data.weights) { networks[data.role] = openNetwork(data.manifest, data.weights); return; }
    const started = performance.now(), said = {};
    for (const role of Object.keys(networks)) said[role] = forward(networks[role], data.image);
    postMessage({ id: data.id, said, ms: performance.now() - started });
  };`;

// The networks of a model's traits ROLE (a manifest) and ROLE_weights, loaded when they are first asked.
// ask(image) -> { said: {role: what network.js gives}, ms }. Rejects when the weights cannot be loaded.
export function networksOf(model, roles, onEnd) {
  let worker, opened, asked = 0;
  const waiting = new Map();
  const open = async () => {
    const weights = await Promise.all(roles.map((role) => load(model, `${role}_weights`)));
    const url = URL.createObjectURL(new Blob([NETWORK, WORKER], { type: "text/javascript" }));
    worker = new Worker(url); // a classic one: a module worker fails on file://
    worker.onmessage = ({ data }) => {
      waiting.get(data.id)(data);
      waiting.delete(data.id);
    };
    roles.forEach((role, i) => worker.postMessage({ role, manifest: model.get(role), weights: weights[i] }));
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

// One network's answer as logits: those of its only head, or of both heads fused, as deit_edu.model.fuse does it.
export const fusedLogits = ({ class: one, distillation: other }) => (other ? fuse(one, other).map(Math.log) : [...one]);

// uint8 pixels (C, H, W) as the network wants them.
export function normalised(pixels, mean, std) {
  const plane = pixels.length / mean.length;
  return Float32Array.from(pixels, (v, i) => (v / 255 - mean[Math.floor(i / plane)]) / std[Math.floor(i / plane)]);
}

// Attention (L, h, T, T) of one layer: of one head, or the mean over heads when head is -1. Returns (T, T).
export function layerMap(attention, { depth, heads, tokens: T }, layer, head) {
  const which = head < 0 ? Array.from({ length: heads }, (_, n) => n) : [head];
  const map = new Float64Array(T * T);
  for (const n of which) {
    const from = (layer * heads + n) * T * T;
    for (let i = 0; i < T * T; i++) map[i] += attention[from + i] / which.length;
  }
  return map;
}

// Attention followed from the input through layers 0 to `layer`: deit_edu.inspect.attention_rollout.
export function rollout(attention, sizes, layer) {
  const T = sizes.tokens;
  let rolled = null;
  for (let l = 0; l <= layer; l++) {
    const mixed = layerMap(attention, sizes, l, -1).map((v, i) => 0.5 * v + (i % (T + 1) === 0 ? 0.5 : 0));
    if (!rolled) {
      rolled = mixed;
      continue;
    }
    const product = new Float64Array(T * T);
    for (let i = 0; i < T; i++) for (let k = 0; k < T; k++) for (let j = 0; j < T; j++) {
      product[i * T + j] += mixed[i * T + k] * rolled[k * T + j];
    }
    rolled = product;
  }
  return rolled;
}

export const sizesOf = (manifest) => {
  const grid = manifest.image_size / manifest.patch_size, prefix = manifest.distilled ? 2 : 1;
  return { depth: manifest.depth, heads: manifest.num_heads, tokens: prefix + grid * grid, prefix, grid };
};

// What a token takes from each patch.
export const patchesOf = (map, token, { tokens: T, prefix }) => Array.from(map.subarray(token * T + prefix, (token + 1) * T));

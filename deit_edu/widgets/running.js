// Trained networks in a worker of the page, and the attention that they give. Used by the figures
// that compute.
import { fuse, load, sizeOf } from "./numbers.js";
import WORKER from "./worker.js?text";

/**
 * The networks of a model's traits ROLE (a manifest) and ROLE_weights, loaded when they are first
 * asked.
 * @param {Model} model the figure's
 * @param {string[]} roles which networks
 * @param {(stop: () => void) => void} onEnd is given what to call when the figure goes
 * @returns {(pixels: NumberArray, shape: number[]) => Promise<Asked>} asks all of them about a
 *   picture (C, H, W), 0 to 255; it rejects when they cannot be loaded or cannot answer
 */
export function networksOf(model, roles, onEnd) {
  /** @type {Promise<AskedWorker>} */
  let opened;
  const open = async () => {
    const weights = await Promise.all(roles.map((role) => load(model, `${role}_weights`)));
    const started = startWorker();
    roles.forEach((role, i) => {
      started.send({ role, manifest: model.get(role), weights: weights[i] });
    });
    return started;
  };
  onEnd(() => opened?.then(({ end }) => end()).catch(() => {}));
  return async (pixels, shape) => {
    const mine = (opened ??= open());
    try {
      return await (await mine).ask({ pixels: Float32Array.from(pixels), shape });
    } catch (error) {
      if (opened === mine) opened = null; // try again when asked again
      throw error;
    }
  };
}

/**
 * A worker that answers questions, until something goes wrong.
 * @returns {AskedWorker} its questions' answers come as promises
 */
function startWorker() {
  const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  const worker = new Worker(url); // a classic one: a module worker fails on file://
  let asked = 0;
  /** @type {Map<number, { resolve: (said: Asked) => void, reject: (error: Error) => void }>} */
  const waiting = new Map();
  /** @type {Error} */
  let wrong = null; // why it has ended
  const end = () => {
    worker.terminate();
    URL.revokeObjectURL(url);
  };
  const fail = (/** @type {string} */ message) => {
    wrong = new Error(message);
    end();
    for (const { reject } of waiting.values()) reject(wrong);
  };
  worker.onmessage = ({ data }) => {
    if (data.error) return fail(data.error);
    waiting.get(data.id).resolve(data);
    waiting.delete(data.id);
  };
  worker.onerror = ({ message }) => fail(message || "their worker ended");
  worker.addEventListener("message", () => URL.revokeObjectURL(url), { once: true });
  return {
    send: (message) => worker.postMessage(message),
    ask: (question) =>
      new Promise((resolve, reject) => {
        if (wrong) return reject(wrong);
        waiting.set(++asked, { resolve, reject });
        worker.postMessage({ ...question, id: asked });
      }),
    end,
  };
}

/**
 * A job that never runs twice at once.
 * @param {() => Promise<void>} job must not reject
 * @returns {() => Promise<void>} runs it; asked for meanwhile, it runs once more when it has ended
 */
export function oneAtATime(job) {
  let running = false;
  let again = false;
  return async () => {
    again = running;
    if (running) return;
    running = true;
    do {
      again = false;
      await job();
    } while (again);
    running = false;
  };
}

/**
 * @param {number} ms that an answer took
 * @param {string} runs what chooseBackend found
 * @returns {string} how long it took, and what ran: the end of a sentence
 */
export function tookBy(ms, runs) {
  const by = {
    "relaxed SIMD": "WebAssembly with relaxed SIMD",
    SIMD: "WebAssembly with SIMD",
    "plain JavaScript": "plain JavaScript, since this browser has no SIMD",
  };
  const digits = ms < 10 ? 1 : 0;
  return `in ${ms.toFixed(digits)} ms on your machine, by ${by[runs]}`;
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
 * One network's answer as logits: those of its only head, or of both heads fused, as
 * deit_edu.model.fuse does it.
 * @param {Answer} answer of a network
 * @returns {number[]} (K,)
 */
export const fusedLogits = ({ class: one, distillation: other }) =>
  other ? fuse(one, other).map(Math.log) : [...one];

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
 * What a token takes from every token in one layer.
 * @param {NumberArray} attention (L, h, T, T)
 * @param {AttentionSizes} sizes from sizesOf
 * @param {number} layer from 0
 * @param {number} token which one asks
 * @param {number} head which one, or -1 for the mean over heads
 * @returns {Float64Array} (T,)
 */
export function layerRow(attention, { heads, tokens: T }, layer, token, head = -1) {
  const which = head < 0 ? Array.from({ length: heads }, (_, n) => n) : [head];
  const row = new Float64Array(T);
  for (const n of which) {
    const from = ((layer * heads + n) * T + token) * T;
    for (let j = 0; j < T; j++) row[j] += attention[from + j] / which.length;
  }
  return row;
}

/**
 * What reaches a token from the input's tokens, through layers 0 to `layer`: a row of
 * deit_edu.inspect.attention_rollout. Half of what enters a layer goes on as it is.
 * @param {NumberArray} attention (L, h, T, T)
 * @param {AttentionSizes} sizes from sizesOf
 * @param {number} layer the last one
 * @param {number} token which one asks
 * @returns {Float64Array} (T,)
 */
export function rolledRow(attention, sizes, layer, token) {
  const T = sizes.tokens;
  let row = new Float64Array(T);
  row[token] = 1;
  for (let l = layer; l >= 0; l--) {
    const below = row.map((share) => 0.5 * share);
    for (let i = 0; i < T; i++) {
      const asked = layerRow(attention, sizes, l, i);
      for (let j = 0; j < T; j++) below[j] += 0.5 * row[i] * asked[j];
    }
    row = below;
  }
  return row;
}

/**
 * @param {Float64Array} row (T,) what a token takes
 * @param {AttentionSizes} sizes from sizesOf
 * @returns {number[]} (N,) what it takes from each patch
 */
export const ofPatches = (row, { prefix }) => Array.from(row.subarray(prefix));

// What a worker of the page does: it keeps networks under their roles, and asks them all about a
// picture, which it prepares for each as its file says.
import { chooseBackend } from "./kernels/networks_in_page.js";
import { sizeOf } from "./numbers.js";
import { prepared } from "./prepare.js";

const backend = chooseBackend();

/** @type {Record<string, (pixels: Float32Array, shape: number[]) => Answer>} */
const opened = {};

/**
 * @param {{ role: string, manifest: Manifest, weights: DataView }} given a network
 * @returns {void}
 */
function open({ role, manifest, weights }) {
  const ask = backend.open(manifest, weights);
  const own = manifest.preprocessing;
  ask(new Float32Array(sizeOf(own.image_shape))); // get ready before anyone waits
  opened[role] = (pixels, shape) => ask(prepared(pixels, shape, own));
}

/**
 * @param {{ id: number, pixels: Float32Array, shape: number[] }} question (C, H, W), 0 to 255
 * @returns {Asked} what all the networks say
 */
function answer({ id, pixels, shape }) {
  const started = performance.now();
  /** @type {Record<string, Answer>} */
  const said = {};
  for (const [role, ask] of Object.entries(opened)) said[role] = ask(pixels, shape);
  return { id, said, ms: performance.now() - started, runs: backend.runs };
}

/**
 * Answers, or says what went wrong: it is of no use after that.
 * @param {MessageEvent} event { role, manifest, weights } opens a network, { id, ... } asks all
 */
self.onmessage = ({ data }) => {
  try {
    if (data.weights) open(data);
    else self.postMessage(answer(data));
  } catch (error) {
    const what = data.weights ? `the ${data.role} cannot be opened: ` : "";
    self.postMessage({ error: what + error.message });
  }
};

// What a worker of the page does: it keeps networks under their roles, and asks them all about an image.
import { forward, openNetwork } from "./network.js";

/** @type {Record<string, Network>} */
const opened = {};

/** @param {MessageEvent} event { role, manifest, weights } opens a network, { id, image } asks all */
self.onmessage = ({ data }) => {
  if (data.weights) {
    opened[data.role] = openNetwork(data.manifest, data.weights);
    return;
  }
  const started = performance.now();
  /** @type {Record<string, Answer>} */
  const said = {};
  for (const role of Object.keys(opened)) said[role] = forward(opened[role], data.image);
  self.postMessage({ id: data.id, said, ms: performance.now() - started });
};

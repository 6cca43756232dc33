// A trained network over the kernels, with the functions of network.js: one image in, what it says
// and where it looked out.
import { ResidualConvNetInPage, WhiteningConvNetInPage } from "./convnets_in_page.js";
import { DeiTInPage } from "./deit_in_page.js";
import { KERNELS, openKernels } from "./kernels.js";
import { forward, openNetwork } from "../network.js";

/**
 * Lay out a trained network; `kernels.settle()` and its `load()` come next.
 * @param {Kernels} kernels
 * @param {OpenedNetwork} network What network.js's openNetwork gives.
 * @param {object} use
 * @param {number} use.size Height and width of the images.
 * @param {number} [use.batch] The most images of one forward pass.
 * @param {boolean} [use.allAsk] For a DeiT: keep the last block's attention whole.
 * @returns {LaidOutNetwork}
 */
export function layOutNetwork(kernels, network, { size, batch = 1, allAsk = false }) {
  const { manifest, weights } = network;
  if (manifest.kind === "deit") {
    const model = new DeiTInPage(kernels, manifest, { batch, allAsk });
    const load = model.load.bind(model);
    return Object.assign(model, { load: () => load(weights) });
  }
  const kind = manifest.kind === "whitening" ? WhiteningConvNetInPage : ResidualConvNetInPage;
  return new kind(kernels, network, { size, batch });
}

/** A network over the kernels that answers as network.js's `forward` does. */
export class NetworkOnKernels {
  /**
   * @param {Kernels} kernels
   * @param {OpenedNetwork} network
   * @param {number} pixels How many numbers an image has: C S S.
   */
  constructor(kernels, network, pixels) {
    this.kernels = kernels;
    this.manifest = network.manifest;
    const size = Math.sqrt(pixels / network.manifest.in_channels);
    this.model = layOutNetwork(kernels, network, { size, allAsk: true });
    kernels.settle();
    this.model.load();
  }

  /**
   * @param {Float32Array} image (C, S, S), normalised.
   * @returns Logits of each head and, of a DeiT, attention (L, h, T, T) and the cosine of the two
   * tokens at the input and after every layer, the last where the heads read.
   */
  forward(image) {
    const { kernels, model } = this;
    kernels.numbers(model.images, image.length).set(image);
    if (this.manifest.kind !== "deit") {
      return { class: model.forward(1).class.slice(), distillation: null };
    }
    const similarity = [];
    const said = model.forward(1, (layer) => {
      if (model.config.distilled) similarity.push(this.tokensCosine(layer));
    });
    if (model.config.distilled) similarity.push(cosineOf(kernels, model.norm.y, model.width));
    return {
      class: said.class.slice(),
      distillation: said.distillation?.slice() ?? null,
      attention: this.attention(),
      similarity,
    };
  }

  /** At the input it is that of the tokens themselves, without their positions. */
  tokensCosine(layer) {
    const { kernels, model } = this;
    if (layer >= 0) return cosineOf(kernels, model.x, model.width);
    const of = (name) => kernels.numbers(model.at(name), model.width);
    return cosineBetween(of("class_token"), of("distillation_token"));
  }

  attention() {
    const { kernels, model } = this;
    const size = model.config.num_heads * model.tokens ** 2;
    const all = new Float32Array(model.config.depth * size);
    model.blocks.forEach((block, layer) => {
      all.set(kernels.numbers(block.weights, size), layer * size);
    });
    return all;
  }
}

/**
 * What runs networks here: the kernels where there is SIMD, else network.js's plain JavaScript.
 * Both give the same answers.
 * @param {Binaries} [binaries]
 * @returns {{ runs: "relaxed SIMD" | "SIMD" | "plain JavaScript", open: (manifest: object, weights:
 * DataView) => (image: Float32Array) => object }} Which one runs, and how to open a network: as a
 * function from an image (C, S, S) to network.js's answer.
 */
export function chooseBackend(binaries = KERNELS) {
  const kernels = openKernels(binaries);
  if (!kernels) {
    const open = (manifest, weights) => {
      const network = openNetwork(manifest, weights);
      return (image) => forward(network, image);
    };
    return { runs: "plain JavaScript", open };
  }
  const open = (manifest, weights) => {
    const network = openNetwork(manifest, weights);
    let laidOut;
    return (image) => {
      laidOut ??= new NetworkOnKernels(kernels, network, image.length);
      return laidOut.forward(image);
    };
  };
  return { runs: kernels.variant === "relaxed" ? "relaxed SIMD" : "SIMD", open };
}

/** The cosine of two vectors that lie one after the other. */
export const cosineOf = (kernels, place, width) =>
  cosineBetween(kernels.numbers(place, width), kernels.numbers(place + 4 * width, width));

function cosineBetween(x, y) {
  let [xy, xx, yy] = [0, 0, 0];
  for (let k = 0; k < x.length; k++) {
    xy += x[k] * y[k];
    xx += x[k] * x[k];
    yy += y[k] * y[k];
  }
  return xy / Math.sqrt(xx * yy);
}

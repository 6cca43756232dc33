// A DeiT and our convnets, forward, in plain JavaScript: the networks of deit_edu.model and
// deit_edu.teachers once more, for a browser without SIMD. Numbers lie in Float32Arrays row by row;
// the names of the weights are the library's.
import { halves } from "./half.js";
import { sizeOf } from "./numbers.js";

/**
 * A network of half-precision weights, ready to run.
 * @param {Manifest} manifest as deit_edu.widgets.network.export gives it
 * @param {DataView} view the weights, float16, little-endian
 * @returns {Network} the manifest, and the weights by name
 * @throws {Error} when the weights are cut short, or not those of the manifest
 */
export function openNetwork(manifest, view) {
  const expected = 2 * manifest.tensors.reduce((sum, [, shape]) => sum + sizeOf(shape), 0);
  if (view.byteLength !== expected) {
    const came = `${view.byteLength} of ${expected} bytes of its weights are here`;
    throw new Error(`${came}; load the page again, or make the figure anew`);
  }
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength); // aligned
  const all = halves(new Uint16Array(bytes));
  /** @type {Record<string, Float32Array>} */
  const weights = {};
  let at = 0;
  for (const [name, shape] of manifest.tensors) {
    const count = sizeOf(shape);
    weights[name] = all.subarray(at, at + count);
    at += count;
  }
  return { manifest, weights };
}

// ---- layers ----

// x (n, inner) times the transpose of w (outer, inner), plus b (outer): four rows and four columns
// at a time.
function linear(x, n, inner, w, b) {
  const outer = b.length,
    y = new Float32Array(n * outer);
  for (let i = 0; i < n; i += 4) {
    const rows = Math.min(4, n - i);
    const a0 = i * inner,
      a1 = rows > 1 ? a0 + inner : a0,
      a2 = rows > 2 ? a1 + inner : a0,
      a3 = rows > 3 ? a2 + inner : a0;
    for (let o = 0; o < outer; o += 4) {
      const columns = Math.min(4, outer - o);
      const w0 = o * inner,
        w1 = columns > 1 ? w0 + inner : w0,
        w2 = columns > 2 ? w1 + inner : w0,
        w3 = columns > 3 ? w2 + inner : w0;
      let s00 = 0,
        s01 = 0,
        s02 = 0,
        s03 = 0,
        s10 = 0,
        s11 = 0,
        s12 = 0,
        s13 = 0;
      let s20 = 0,
        s21 = 0,
        s22 = 0,
        s23 = 0,
        s30 = 0,
        s31 = 0,
        s32 = 0,
        s33 = 0;
      for (let k = 0; k < inner; k++) {
        const p0 = x[a0 + k],
          p1 = x[a1 + k],
          p2 = x[a2 + k],
          p3 = x[a3 + k];
        const q0 = w[w0 + k],
          q1 = w[w1 + k],
          q2 = w[w2 + k],
          q3 = w[w3 + k];
        s00 += p0 * q0;
        s01 += p0 * q1;
        s02 += p0 * q2;
        s03 += p0 * q3;
        s10 += p1 * q0;
        s11 += p1 * q1;
        s12 += p1 * q2;
        s13 += p1 * q3;
        s20 += p2 * q0;
        s21 += p2 * q1;
        s22 += p2 * q2;
        s23 += p2 * q3;
        s30 += p3 * q0;
        s31 += p3 * q1;
        s32 += p3 * q2;
        s33 += p3 * q3;
      }
      const sums = [s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33];
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) y[(i + r) * outer + o + c] = sums[4 * r + c] + b[o + c];
    }
  }
  return y;
}

// The layer norm of n tokens of width D.
function layerNorm(x, n, D, gain, bias) {
  const y = new Float32Array(n * D);
  for (let i = 0; i < n; i++) {
    const token = x.subarray(i * D, (i + 1) * D);
    let mean = 0;
    let variance = 0;
    for (let k = 0; k < D; k++) mean += token[k] / D;
    for (let k = 0; k < D; k++) variance += (token[k] - mean) ** 2 / D;
    const scale = 1 / Math.sqrt(variance + 1e-6);
    for (let k = 0; k < D; k++) y[i * D + k] = (token[k] - mean) * scale * gain[k] + bias[k];
  }
  return y;
}

// The error function, to 1.2e-7 (Press et al., Numerical Recipes, erfc by a Chebyshev fit).
const ERFC = [
  -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
  -0.82215223, 0.17087277,
];

function gelu(x) {
  return x.map((v) => {
    const z = Math.abs(v) / Math.SQRT2,
      t = 1 / (1 + 0.5 * z);
    const tail = t * Math.exp(-z * z + ERFC.reduceRight((sum, c) => sum * t + c, 0));
    return 0.5 * v * (v < 0 ? tail : 2 - tail);
  });
}

const relu = (x) => x.map((v) => Math.max(0, v));

function add(x, y) {
  for (let i = 0; i < x.length; i++) x[i] += y[i];
}

function cosine(x, y) {
  let [xy, xx, yy] = [0, 0, 0];
  for (let k = 0; k < x.length; k++) {
    xy += x[k] * y[k];
    xx += x[k] ** 2;
    yy += y[k] ** 2;
  }
  return xy / Math.sqrt(xx * yy);
}

// ---- the transformer ----

// What a DeiT's shapes follow from, under the letters of the book's notation.
function sizesOfDeit(manifest) {
  const grid = manifest.image_size / manifest.patch_size;
  const prefix = manifest.distilled ? 2 : 1;
  return {
    D: manifest.embed_dim,
    P: manifest.patch_size,
    C: manifest.in_channels,
    S: manifest.image_size,
    h: manifest.num_heads,
    d: manifest.embed_dim / manifest.num_heads,
    L: manifest.depth,
    T: prefix + grid * grid,
    grid,
    prefix,
  };
}

// The patches of an image (C, S, S) as rows: (N, C * P * P).
function patchify(image, { C, P, S, grid }) {
  const patches = new Float32Array(C * S * S);
  let at = 0;
  for (let n = 0; n < grid * grid; n++) {
    const [top, left] = [Math.floor(n / grid) * P, (n % grid) * P];
    for (let c = 0; c < C; c++) {
      for (let y = 0; y < P; y++) {
        const from = (c * S + top + y) * S + left;
        patches.set(image.subarray(from, from + P), at);
        at += P;
      }
    }
  }
  return patches;
}

// The sequence that enters the first block: (T, D).
function embed(image, sizes, weights) {
  const { D, T, C, P, grid, prefix } = sizes;
  const projection = weights["patch_embedding.projection.weight"];
  const bias = weights["patch_embedding.projection.bias"];
  const x = new Float32Array(T * D);
  x.set(weights.class_token);
  if (prefix === 2) x.set(weights.distillation_token, D);
  const patches = patchify(image, sizes);
  x.set(linear(patches, grid * grid, C * P * P, projection, bias), prefix * D);
  add(x, weights.position_embedding);
  return x;
}

// Softmax of a row, in place.
function softmaxRow(row) {
  let top = -Infinity;
  let total = 0;
  for (const score of row) top = Math.max(top, score);
  for (let j = 0; j < row.length; j++) total += row[j] = Math.exp(row[j] - top);
  for (let j = 0; j < row.length; j++) row[j] /= total;
}

// One head's attention, written into maps (T, T), and what it mixes from the values, into mixed
// (T, D).
function attendHead(qkv, head, { T, D, d }, maps, mixed) {
  const scale = Math.sqrt(d);
  for (let i = 0; i < T; i++) {
    const row = maps.subarray(i * T, (i + 1) * T);
    const query = i * 3 * D + head * d;
    for (let j = 0; j < T; j++) {
      const key = j * 3 * D + D + head * d;
      let score = 0;
      for (let n = 0; n < d; n++) score += qkv[query + n] * qkv[key + n];
      row[j] = score / scale;
    }
    softmaxRow(row);
    const out = i * D + head * d;
    for (let j = 0; j < T; j++) {
      const value = j * 3 * D + 2 * D + head * d;
      for (let n = 0; n < d; n++) mixed[out + n] += row[j] * qkv[value + n];
    }
  }
}

// One block, added to x (T, D); its attention goes into maps (h, T, T).
function runBlock(x, of, sizes, maps) {
  const { T, D, h } = sizes;
  const project = (input, inner, name) =>
    linear(input, T, inner, of(`${name}.weight`), of(`${name}.bias`));
  const normed = (name) => layerNorm(x, T, D, of(`${name}.weight`), of(`${name}.bias`));

  const qkv = project(normed("norm1"), D, "attention.qkv");
  const mixed = new Float32Array(T * D);
  for (let head = 0; head < h; head++) {
    attendHead(qkv, head, sizes, maps.subarray(head * T * T, (head + 1) * T * T), mixed);
  }
  add(x, project(mixed, D, "attention.projection"));

  const hidden = gelu(project(normed("norm2"), D, "mlp.fc1"));
  add(x, project(hidden, hidden.length / T, "mlp.fc2"));
}

// image: (C, S, S) normalised. Logits of each head, attention of every layer (L, h, T, T), and the
// cosine of the two tokens at the input and after every layer, the last where the heads read.
function forwardDeiT({ manifest, weights }, image) {
  const sizes = sizesOfDeit(manifest);
  const { D, L, T, h } = sizes;
  const distilled = sizes.prefix === 2;
  const attention = new Float32Array(L * h * T * T);
  const similarity = [];
  const compare = (one, other) => distilled && similarity.push(cosine(one, other));
  const compareTokens = (z) => compare(z.subarray(0, D), z.subarray(D, 2 * D));

  const x = embed(image, sizes, weights);
  compare(weights.class_token, weights.distillation_token);
  for (let layer = 0; layer < L; layer++) {
    const maps = attention.subarray(layer * h * T * T, (layer + 1) * h * T * T);
    runBlock(x, (name) => weights[`blocks.${layer}.${name}`], sizes, maps);
    if (layer < L - 1) compareTokens(x);
  }
  const z = layerNorm(x, T, D, weights["norm.weight"], weights["norm.bias"]);
  compareTokens(z);

  const head = (name, token) =>
    linear(token, 1, D, weights[`${name}.weight`], weights[`${name}.bias`]);
  return {
    class: head("class_head", z),
    distillation: distilled ? head("distillation_head", z.subarray(D)) : null,
    attention,
    similarity,
  };
}

// ---- the convnets: channels last, (S, S, C) ----

// A convolution of x (S, S, C) with weights (out, k, k, C) and biases (out): (T, T, out).
function convolve(x, S, C, w, bias, { kernel, stride = 1, pad = 0 }) {
  const T = Math.floor((S + 2 * pad - kernel) / stride) + 1;
  const inner = kernel * kernel * C;
  const windows = new Float32Array(T * T * inner); // a row for every place
  for (let place = 0; place < T * T; place++) {
    const [top, left] = [Math.floor(place / T) * stride - pad, (place % T) * stride - pad];
    for (let n = 0; n < kernel * kernel; n++) {
      const [y, column] = [top + Math.floor(n / kernel), left + (n % kernel)];
      if (y < 0 || y >= S || column < 0 || column >= S) continue;
      const from = (y * S + column) * C;
      windows.set(x.subarray(from, from + C), place * inner + n * C);
    }
  }
  return linear(windows, T * T, inner, w, bias);
}

// A batch norm of x (n, C), as the scale and the shift that its statistics come to.
const batchNorm = (x, { scale, shift }) =>
  x.map((v, i) => v * scale[i % scale.length] + shift[i % scale.length]);

// The largest of every 2x2 pixels of x (S, S, C): (T, T, C), with T half of S, rounded down.
function maxPool(x, S, C) {
  const T = S >> 1;
  const y = new Float32Array(T * T * C);
  for (let place = 0; place < T * T; place++) {
    const [row, column] = [Math.floor(place / T), place % T];
    for (let c = 0; c < C; c++) {
      const at = (2 * row * S + 2 * column) * C + c;
      const below = at + S * C;
      y[place * C + c] = Math.max(x[at], x[at + C], x[below], x[below + C]);
    }
  }
  return y;
}

// The pixels (C, S, S) of an image with its channels last.
function channelsLast(image, C) {
  const size = image.length / C;
  const x = new Float32Array(image.length);
  for (let c = 0; c < C; c++) {
    for (let i = 0; i < size; i++) x[i * C + c] = image[c * size + i];
  }
  return x;
}

// The logits of the only head. features: (C).
const onlyHead = (features, weights) => ({
  class: linear(features, 1, features.length, weights["head.weight"], weights["head.bias"]),
  distillation: null,
});

// A convolution without biases of the network, and the width that it gives. side: S of x, wide: C
// of x.
function plainConvolution({ manifest, weights }, name, x, side, wide, settings) {
  const none = new Float32Array(manifest.norms[name].scale.length);
  return convolve(x, side, wide, weights[name], none, settings);
}

const widthOf = ({ manifest }, name) => manifest.norms[name].scale.length;

function forwardConvNet(network, image) {
  const { manifest, weights } = network;
  let C = manifest.in_channels;
  let S = Math.sqrt(image.length / C);
  const layer = (name, input, side, wide, kernel, stride) => {
    const settings = { kernel, stride, pad: (kernel - 1) / 2 };
    const found = plainConvolution(network, name, input, side, wide, settings);
    return batchNorm(found, manifest.norms[name]);
  };
  let x = relu(layer("stem", channelsLast(image, C), S, C, 3, manifest.stem_stride));
  [S, C] = [Math.ceil(S / manifest.stem_stride), widthOf(network, "stem")];
  manifest.strides.forEach((stride, i) => {
    const name = `blocks.${i}`;
    const width = widthOf(network, `${name}.conv1`);
    const T = Math.ceil(S / stride);
    const hidden = relu(layer(`${name}.conv1`, x, S, C, 3, stride));
    const answer = layer(`${name}.conv2`, hidden, T, width, 3, 1);
    const projected = weights[`${name}.shortcut`];
    add(answer, projected ? layer(`${name}.shortcut`, x, S, C, 1, stride) : x);
    [x, S, C] = [relu(answer), T, width];
  });
  const mean = new Float32Array(C);
  for (let i = 0; i < x.length; i++) mean[i % C] += x[i] / (S * S);
  return onlyHead(mean, weights);
}

function forwardWhiteningConvNet(network, image) {
  const { manifest, weights } = network;
  const [kernel, channels] = [manifest.patch_size, manifest.in_channels];
  const side = Math.sqrt(image.length / channels);
  const pixels = channelsLast(image, channels);
  const bias = weights["whitening.bias"];
  let x = gelu(convolve(pixels, side, channels, weights.whitening, bias, { kernel }));
  let [S, C] = [side - kernel + 1, bias.length];
  const layer = (name, input) =>
    plainConvolution(network, name, input, S, C, { kernel: 3, pad: 1 });
  for (let i = 0; manifest.norms[`stages.${i}.conv1`]; i++) {
    const [first, second] = [`stages.${i}.conv1`, `stages.${i}.conv2`];
    const width = widthOf(network, first);
    x = gelu(batchNorm(maxPool(layer(first, x), S, width), manifest.norms[first]));
    [S, C] = [S >> 1, width];
    x = gelu(batchNorm(layer(second, x), manifest.norms[second]));
  }
  const largest = new Float32Array(C).fill(-Infinity);
  x.forEach((v, i) => (largest[i % C] = Math.max(largest[i % C], v)));
  return onlyHead(largest, weights);
}

const KINDS = { deit: forwardDeiT, convnet: forwardConvNet, whitening: forwardWhiteningConvNet };

/**
 * A network's answer to one image.
 * @param {Network} network from openNetwork
 * @param {Float32Array} image (C, S, S), normalised
 * @returns {Answer} logits; of a DeiT also attention (L, h, T, T), and of a distilled one the
 *   tokens' cosines (L + 1,)
 */
export const forward = (network, image) => KINDS[network.manifest.kind](network, image);

// A DeiT and our convnets, forward, in plain JavaScript: the network of deit_edu.model and deit_edu.teachers once more.
// Numbers lie in Float32Arrays row by row; the names of the weights are the library's. No imports: a worker runs it.

// Half-precision weights, read as the manifest of deit_edu.widgets.network.export says.
export function openNetwork(manifest, view) {
  const power = Float64Array.from({ length: 32 }, (_, e) => 2 ** (e - 25));
  const all = new Float32Array(view.byteLength / 2);
  for (let i = 0; i < all.length; i++) {
    const h = view.getUint16(2 * i, true), exponent = (h >> 10) & 31;
    const size = exponent ? (1024 + (h & 1023)) * power[exponent] : (h & 1023) * 2 ** -24;
    all[i] = h & 0x8000 ? -size : size;
  }
  const weights = {};
  let at = 0;
  for (const [name, shape] of manifest.tensors) {
    const count = shape.reduce((a, b) => a * b, 1);
    weights[name] = all.subarray(at, at + count);
    at += count;
  }
  return { manifest, weights };
}

// x (n, inner) times the transpose of w (outer, inner), plus b (outer): four rows and four columns at a time.
function linear(x, n, inner, w, b) {
  const outer = b.length, y = new Float32Array(n * outer);
  for (let i = 0; i < n; i += 4) {
    const rows = Math.min(4, n - i);
    const a0 = i * inner, a1 = rows > 1 ? a0 + inner : a0, a2 = rows > 2 ? a1 + inner : a0, a3 = rows > 3 ? a2 + inner : a0;
    for (let o = 0; o < outer; o += 4) {
      const columns = Math.min(4, outer - o);
      const w0 = o * inner, w1 = columns > 1 ? w0 + inner : w0, w2 = columns > 2 ? w1 + inner : w0, w3 = columns > 3 ? w2 + inner : w0;
      let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
      let s20 = 0, s21 = 0, s22 = 0, s23 = 0, s30 = 0, s31 = 0, s32 = 0, s33 = 0;
      for (let k = 0; k < inner; k++) {
        const p0 = x[a0 + k], p1 = x[a1 + k], p2 = x[a2 + k], p3 = x[a3 + k];
        const q0 = w[w0 + k], q1 = w[w1 + k], q2 = w[w2 + k], q3 = w[w3 + k];
        s00 += p0 * q0; s01 += p0 * q1; s02 += p0 * q2; s03 += p0 * q3;
        s10 += p1 * q0; s11 += p1 * q1; s12 += p1 * q2; s13 += p1 * q3;
        s20 += p2 * q0; s21 += p2 * q1; s22 += p2 * q2; s23 += p2 * q3;
        s30 += p3 * q0; s31 += p3 * q1; s32 += p3 * q2; s33 += p3 * q3;
      }
      const sums = [s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33];
      for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) y[(i + r) * outer + o + c] = sums[4 * r + c] + b[o + c];
    }
  }
  return y;
}

function layerNorm(x, n, D, gain, bias) {
  const y = new Float32Array(n * D);
  for (let i = 0; i < n; i++) {
    let mean = 0, square = 0;
    for (let k = 0; k < D; k++) mean += x[i * D + k] / D;
    for (let k = 0; k < D; k++) square += (x[i * D + k] - mean) ** 2 / D;
    const scale = 1 / Math.sqrt(square + 1e-6);
    for (let k = 0; k < D; k++) y[i * D + k] = (x[i * D + k] - mean) * scale * gain[k] + bias[k];
  }
  return y;
}

// The error function, to 1.2e-7 (Press et al., Numerical Recipes, erfc by a Chebyshev fit).
const ERFC = [-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
  -0.82215223, 0.17087277];

function gelu(x) {
  return x.map((v) => {
    const z = Math.abs(v) / Math.SQRT2, t = 1 / (1 + 0.5 * z);
    const tail = t * Math.exp(-z * z + ERFC.reduceRight((sum, c) => sum * t + c, 0));
    return 0.5 * v * (v < 0 ? tail : 2 - tail);
  });
}

function cosine(x, y) {
  let xy = 0, xx = 0, yy = 0;
  for (let k = 0; k < x.length; k++) [xy, xx, yy] = [xy + x[k] * y[k], xx + x[k] ** 2, yy + y[k] ** 2];
  return xy / Math.sqrt(xx * yy);
}

const add = (x, y) => x.forEach((_, i) => (x[i] += y[i]));

// image: (C, H, W) normalised. Logits of each head, attention of every layer (L, h, T, T), and the cosine of the two
// tokens at the input and after every layer, the last where the heads read.
function forwardDeiT({ manifest: m, weights: w }, image) {
  const D = m.embed_dim, P = m.patch_size, C = m.in_channels, S = m.image_size, G = S / P, d = D / m.num_heads;
  const prefix = m.distilled ? 2 : 1, T = prefix + G * G, inner = C * P * P;
  const patches = new Float32Array(G * G * inner);
  for (let t = 0, at = 0; t < G * G; t++) {
    for (let c = 0; c < C; c++) for (let y = 0; y < P; y++) for (let x = 0; x < P; x++, at++) {
      patches[at] = image[(c * S + Math.floor(t / G) * P + y) * S + (t % G) * P + x];
    }
  }
  const x = new Float32Array(T * D);
  x.set(w.class_token);
  if (m.distilled) x.set(w.distillation_token, D);
  x.set(linear(patches, G * G, inner, w["patch_embedding.projection.weight"], w["patch_embedding.projection.bias"]), prefix * D);
  add(x, w.position_embedding);
  const attention = new Float32Array(m.depth * m.num_heads * T * T), similarity = [];
  const compare = (z, other) => m.distilled && similarity.push(cosine(z.subarray(0, D), other));
  compare(w.class_token, w.distillation_token);
  for (let layer = 0; layer < m.depth; layer++) {
    const of = (name) => w[`blocks.${layer}.${name}`];
    const qkv = linear(layerNorm(x, T, D, of("norm1.weight"), of("norm1.bias")), T, D, of("attention.qkv.weight"), of("attention.qkv.bias"));
    const mixed = new Float32Array(T * D);
    for (let head = 0; head < m.num_heads; head++) for (let i = 0; i < T; i++) {
      const row = attention.subarray(((layer * m.num_heads + head) * T + i) * T).subarray(0, T);
      let top = -Infinity, sum = 0;
      for (let j = 0; j < T; j++) {
        const q = i * 3 * D + head * d, k = j * 3 * D + D + head * d;
        let score = 0;
        for (let n = 0; n < d; n++) score += qkv[q + n] * qkv[k + n];
        row[j] = score / Math.sqrt(d);
        top = Math.max(top, row[j]);
      }
      for (let j = 0; j < T; j++) sum += row[j] = Math.exp(row[j] - top);
      for (let j = 0; j < T; j++) {
        row[j] /= sum;
        const v = j * 3 * D + 2 * D + head * d;
        for (let n = 0; n < d; n++) mixed[i * D + head * d + n] += row[j] * qkv[v + n];
      }
    }
    add(x, linear(mixed, T, D, of("attention.projection.weight"), of("attention.projection.bias")));
    const hidden = gelu(linear(layerNorm(x, T, D, of("norm2.weight"), of("norm2.bias")), T, D, of("mlp.fc1.weight"), of("mlp.fc1.bias")));
    add(x, linear(hidden, T, of("mlp.fc1.bias").length, of("mlp.fc2.weight"), of("mlp.fc2.bias")));
    if (layer < m.depth - 1) compare(x, x.subarray(D, 2 * D));
  }
  const z = layerNorm(x, T, D, w["norm.weight"], w["norm.bias"]);
  compare(z, z.subarray(D, 2 * D));
  return {
    class: linear(z, 1, D, w["class_head.weight"], w["class_head.bias"]),
    distillation: m.distilled ? linear(z.subarray(D), 1, D, w["distillation_head.weight"], w["distillation_head.bias"]) : null,
    attention, similarity,
  };
}

// A convolution of x (S, S, C) with weights (out, k, k, C) and biases (out): (T, T, out).
function convolve(x, S, C, w, bias, k, stride, pad) {
  const T = Math.floor((S + 2 * pad - k) / stride) + 1, inner = k * k * C, columns = new Float32Array(T * T * inner);
  for (let row = 0; row < T; row++) for (let column = 0; column < T; column++) {
    for (let dy = 0; dy < k; dy++) for (let dx = 0; dx < k; dx++) {
      const y = row * stride + dy - pad, xx = column * stride + dx - pad;
      if (y < 0 || y >= S || xx < 0 || xx >= S) continue;
      const from = (y * S + xx) * C;
      columns.set(x.subarray(from, from + C), (row * T + column) * inner + (dy * k + dx) * C);
    }
  }
  return linear(columns, T * T, inner, w, bias);
}

// A batch norm of x (n, C), as the scale and the shift that its statistics come to.
const batchNorm = (x, { scale, shift }) => x.map((v, i) => v * scale[i % scale.length] + shift[i % scale.length]);

// The largest of every 2x2 pixels of x (S, S, C): (T, T, C), with T half of S, rounded down.
function maxPool(x, S, C) {
  const T = S >> 1, y = new Float32Array(T * T * C);
  for (let row = 0; row < T; row++) for (let column = 0; column < T; column++) for (let c = 0; c < C; c++) {
    const at = (2 * row * S + 2 * column) * C + c, below = at + S * C;
    y[(row * T + column) * C + c] = Math.max(x[at], x[at + C], x[below], x[below + C]);
  }
  return y;
}

// The pixels (C, S, S) of an image with its channels last.
function channelsLast(image, C) {
  const size = image.length / C, x = new Float32Array(image.length);
  for (let c = 0; c < C; c++) for (let i = 0; i < size; i++) x[i * C + c] = image[c * size + i];
  return x;
}

const relu = (x) => x.map((v) => Math.max(0, v));

function forwardConvNet({ manifest: m, weights: w }, image) {
  let C = m.in_channels, S = Math.sqrt(image.length / C), x = channelsLast(image, C);
  const layer = (name, input, size, channels, k, stride) => {
    const norm = m.norms[name], none = new Float32Array(norm.scale.length);
    return batchNorm(convolve(input, size, channels, w[name], none, k, stride, (k - 1) / 2), norm);
  };
  x = relu(layer("stem", x, S, C, 3, m.stem_stride));
  [S, C] = [Math.ceil(S / m.stem_stride), m.norms.stem.scale.length];
  m.strides.forEach((stride, i) => {
    const name = `blocks.${i}`, width = m.norms[`${name}.conv1`].scale.length, T = Math.ceil(S / stride);
    const answer = layer(`${name}.conv2`, relu(layer(`${name}.conv1`, x, S, C, 3, stride)), T, width, 3, 1);
    add(answer, w[`${name}.shortcut`] ? layer(`${name}.shortcut`, x, S, C, 1, stride) : x);
    [x, S, C] = [relu(answer), T, width];
  });
  const mean = new Float32Array(C);
  for (let i = 0; i < S * S; i++) for (let c = 0; c < C; c++) mean[c] += x[i * C + c] / (S * S);
  return { class: linear(mean, 1, C, w["head.weight"], w["head.bias"]), distillation: null };
}

function forwardWhiteningConvNet({ manifest: m, weights: w }, image) {
  let C = w["whitening.bias"].length, S = Math.sqrt(image.length / m.in_channels) - m.patch_size + 1;
  const pixels = channelsLast(image, m.in_channels);
  let x = gelu(convolve(pixels, S + m.patch_size - 1, m.in_channels, w.whitening, w["whitening.bias"], m.patch_size, 1, 0));
  const layer = (name, input, size, channels) => convolve(input, size, channels, w[name], new Float32Array(m.norms[name].scale.length), 3, 1, 1);
  for (let i = 0; m.norms[`stages.${i}.conv1`]; i++) {
    const [first, second] = [`stages.${i}.conv1`, `stages.${i}.conv2`], width = m.norms[first].scale.length;
    x = gelu(batchNorm(maxPool(layer(first, x, S, C), S, width), m.norms[first]));
    [S, C] = [S >> 1, width];
    x = gelu(batchNorm(layer(second, x, S, C), m.norms[second]));
  }
  const largest = new Float32Array(C).fill(-Infinity);
  x.forEach((v, i) => (largest[i % C] = Math.max(largest[i % C], v)));
  return { class: linear(largest, 1, C, w["head.weight"], w["head.bias"]), distillation: null };
}

const KINDS = { deit: forwardDeiT, convnet: forwardConvNet, whitening: forwardWhiteningConvNet };

export const forward = (network, image) => KINDS[network.manifest.kind](network, image);

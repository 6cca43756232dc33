// A DeiT over the kernels, forward and backward: deit_edu.model once more, with the gradients
// written out. Sizes in the comments: B images, T tokens of width D, Q prefix tokens (1 or 2), h
// heads, H the MLP's hidden width, L blocks.

/**
 * @typedef {object} DeiTSizes The fields of deit_edu.model.DeiTConfig that decide a DeiT's shape.
 * @property {number} image_size
 * @property {number} patch_size
 * @property {number} in_channels
 * @property {number} num_classes
 * @property {number} embed_dim
 * @property {number} depth
 * @property {number} num_heads
 * @property {number} mlp_ratio
 * @property {boolean} distilled
 */

/**
 * Every parameter of a DeiT by the library's name, matrices first: they decay, vectors, tokens and
 * positions do not (deit_edu.train.parameter_groups).
 * @param {DeiTSizes} config
 * @returns {{ name: string, shape: number[], decays: boolean }[]}
 */
export function parametersOf(config) {
  const D = config.embed_dim;
  const hidden = Math.trunc(D * config.mlp_ratio);
  const prefix = config.distilled ? 2 : 1;
  const grid = config.image_size / config.patch_size;
  /** @type {[string, number[]][]} */
  const found = [];
  const linear = (name, ...shape) => {
    found.push([`${name}.weight`, shape], [`${name}.bias`, [shape[0]]]);
  };
  const norm = (name) => found.push([`${name}.weight`, [D]], [`${name}.bias`, [D]]);
  const patch = [config.in_channels, config.patch_size, config.patch_size];
  found.push(["class_token", [1, 1, D]]);
  if (config.distilled) found.push(["distillation_token", [1, 1, D]]);
  found.push(["position_embedding", [1, prefix + grid * grid, D]]);
  linear("patch_embedding.projection", D, ...patch);
  for (let layer = 0; layer < config.depth; layer++) {
    norm(`blocks.${layer}.norm1`);
    linear(`blocks.${layer}.attention.qkv`, 3 * D, D);
    linear(`blocks.${layer}.attention.projection`, D, D);
    norm(`blocks.${layer}.norm2`);
    linear(`blocks.${layer}.mlp.fc1`, hidden, D);
    linear(`blocks.${layer}.mlp.fc2`, D, hidden);
  }
  norm("norm");
  linear("class_head", config.num_classes, D);
  if (config.distilled) linear("distillation_head", config.num_classes, D);
  const vector = /(token|position_embedding)$/;
  const decays = (/** @type {[string, number[]]} */ [name, shape]) =>
    shape.length > 1 && !vector.test(name);
  return [...found.filter(decays), ...found.filter((parameter) => !decays(parameter))].map(
    ([name, shape]) => ({ name, shape, decays: decays([name, shape]) }),
  );
}

/** @param {number[]} shape @returns {number} How many numbers a tensor has. */
export const countOf = (shape) => shape.reduce((product, side) => product * side, 1);

/**
 * A DeiT whose numbers lie in the kernels' memory. Make it, `kernels.settle()`, then `load` its
 * weights.
 */
export class DeiTInPage {
  /**
   * @param {Kernels} kernels
   * @param {DeiTSizes} config
   * @param {object} [use]
   * @param {number} [use.batch] The most images of one forward pass.
   * @param {boolean} [use.training] With room for gradients and for AdamW's means.
   * @param {boolean} [use.allAsk] In the last block all tokens ask, so that its attention is whole.
   */
  constructor(kernels, config, { batch = 1, training = false, allAsk = false } = {}) {
    this.kernels = kernels;
    this.config = config;
    this.batch = batch;
    this.training = training;
    this.width = config.embed_dim;
    this.hidden = Math.trunc(config.embed_dim * config.mlp_ratio);
    this.prefix = config.distilled ? 2 : 1;
    this.tokens = this.prefix + (config.image_size / config.patch_size) ** 2;
    this.inner = config.in_channels * config.patch_size ** 2;
    this.lastAsk = allAsk ? this.tokens : this.prefix;
    this.steps = 0; // of AdamW, so far
    this.layOutWeights();
    this.layOutActivations();
    if (training) this.layOutGradients();
  }

  // ---- layout ----

  layOutWeights() {
    this.parameters = parametersOf(this.config);
    this.places = {}; // name: how many numbers after the first weight
    this.count = 0;
    this.decaying = 0;
    for (const { name, shape, decays } of this.parameters) {
      this.places[name] = this.count;
      this.count += countOf(shape);
      if (decays) this.decaying = this.count;
    }
    this.weights = this.kernels.room(this.count);
    this.sizes = {}; // name of a linear layer: how many numbers come out of how many
    this.packed = {}; // and the transpose of its weight, packed
    for (const { name, shape, decays } of this.parameters) {
      if (!decays) continue;
      const layer = name.replace(/\.weight$/, "");
      const inner = countOf(shape) / shape[0];
      this.sizes[layer] = { outer: shape[0], inner };
      this.packed[layer] = this.kernels.room(this.kernels.packedSize(inner, shape[0]));
    }
  }

  layOutActivations() {
    const { kernels, batch, tokens, width: D, hidden, config, prefix } = this;
    const room = (count) => kernels.room(batch * count);
    const width = D / config.num_heads;
    this.images = room(config.in_channels * config.image_size ** 2);
    this.patches = room(tokens * this.inner);
    this.base = kernels.room(tokens * D); // what every image's tokens begin with
    this.x = room(tokens * D);
    this.first = room(prefix * D); // the prefix tokens of x, when only they go on
    this.work = kernels.room((tokens + 8) * (width + 8) + tokens * tokens);
    const makeBlock = (weights, asking) => ({
      norm1: this.layOutNorm(tokens),
      qkv: room(tokens * 3 * D),
      weights,
      answers: room(asking * D),
      norm2: this.layOutNorm(asking),
      active: room(asking * hidden),
      slope: this.training ? room(asking * hidden) : 0,
    });
    this.blocks = [];
    for (let layer = 0; layer < config.depth; layer++) {
      const asking = layer === config.depth - 1 ? this.lastAsk : tokens;
      const weights = room(config.num_heads * asking * tokens);
      const shared = !this.training && layer > 0; // nothing but its attention is looked at later
      this.blocks.push(shared ? { ...this.blocks[0], weights } : makeBlock(weights, tokens));
    }
    this.norm = this.layOutNorm(prefix);
    this.logits = { class: room(config.num_classes), distillation: room(config.num_classes) };
  }

  layOutNorm(rows) {
    const room = (count) => this.kernels.room(this.batch * rows * count);
    return { y: room(this.width), z: room(this.width), scale: room(1) };
  }

  layOutGradients() {
    const { kernels, batch, tokens, width: D, hidden, config, prefix } = this;
    const room = (count) => kernels.room(batch * count);
    this.gradients = kernels.room(this.count);
    this.means = kernels.room(this.count);
    this.squares = kernels.room(this.count);
    this.dLogits = { class: room(config.num_classes), distillation: room(config.num_classes) };
    this.dx = room(tokens * D);
    this.dFirst = room(prefix * D);
    this.dNorm = room(tokens * D);
    this.dQkv = room(tokens * 3 * D);
    this.dHidden = room(tokens * hidden);
    const widest = Math.max(3 * D, hidden, this.inner, config.num_classes);
    const rows = Math.max(batch * tokens, widest);
    this.panels = kernels.room(kernels.packedSize(rows, widest));
    this.dPosition = kernels.room(tokens * D);
  }

  // ---- weights ----

  /** @param {string} name @returns {number} The place of a weight. */
  at(name) {
    return this.weights + 4 * this.places[name];
  }

  /**
   * Take over weights, and get ready to use them.
   * @param {Record<string, Float32Array>} weights By the library's names.
   */
  load(weights) {
    for (const { name, shape } of this.parameters) {
      this.kernels.numbers(this.at(name), countOf(shape)).set(weights[name]);
    }
    this.weightsChanged();
  }

  /**
   * @returns {Record<string, { shape: number[], numbers: Float32Array }>} A copy of every weight.
   */
  tensors(from = this.weights) {
    const copy = ({ name, shape }) => {
      const place = from + 4 * this.places[name];
      return [name, { shape, numbers: this.kernels.numbers(place, countOf(shape)).slice() }];
    };
    return Object.fromEntries(this.parameters.map(copy));
  }

  /** Pack the weights for the products: after every change of theirs. */
  weightsChanged() {
    for (const [name, { outer, inner }] of Object.entries(this.sizes)) {
      this.kernels.run.pack(this.at(`${name}.weight`), this.packed[name], inner, outer, 1, inner);
    }
    const { tokens, width: D, prefix } = this;
    const read = (name, count) => this.kernels.numbers(this.at(name), count);
    const base = this.kernels.numbers(this.base, tokens * D);
    const bias = read("patch_embedding.projection.bias", D);
    base.set(read("position_embedding", tokens * D));
    const add = (token, from) => {
      for (let k = 0; k < D; k++) base[token * D + k] += from[k];
    };
    add(0, read("class_token", D));
    if (this.config.distilled) add(1, read("distillation_token", D));
    for (let token = prefix; token < tokens; token++) add(token, bias);
  }

  // ---- forward ----

  /** y (n, outer) = start + x (n, inner) W^T + b, the rows of x and of y `down` numbers apart. */
  linear(name, x, y, n, /** @type {RowSteps} */ { start = 0, xDown, yDown } = {}) {
    const bias = this.at(`${name}.bias`);
    const { outer, inner } = this.sizes[name];
    const from = { place: x, down: xDown ?? inner, across: 1 };
    const to = { place: y, down: yDown ?? outer };
    this.kernels.product(from, this.packed[name], to, [n, inner, outer], start, bias);
  }

  layerNorm(name, x, { y, z, scale }, rows) {
    const [gain, bias] = [this.at(`${name}.weight`), this.at(`${name}.bias`)];
    this.kernels.run.layer_norm(x, gain, bias, y, z, scale, rows, this.width);
  }

  /**
   * What the heads say of the images that lie at `this.images`, (count, C, S, S), normalised.
   * @param {number} count At most the batch.
   * @param {(layer: number) => void} [afterBlock] Called with -1 when the tokens enter, then after
   * each block but the last.
   * @returns {{ class: Float32Array, distillation: Float32Array | null }} (count, K) each; views,
   * read them at once.
   */
  forward(count, afterBlock = () => {}) {
    const { config, width: D, prefix } = this;
    this.embed(count);
    afterBlock(-1);
    for (let layer = 0; layer < config.depth; layer++) {
      this.block(layer, count);
      if (layer < config.depth - 1) afterBlock(layer);
    }
    this.layerNorm("norm", this.first, this.norm, count * prefix);
    const rows = { xDown: prefix * D };
    this.linear("class_head", this.norm.y, this.logits.class, count, rows);
    if (config.distilled) {
      const second = this.norm.y + 4 * D;
      this.linear("distillation_head", second, this.logits.distillation, count, rows);
    }
    const said = (place) => this.kernels.numbers(place, count * config.num_classes);
    return {
      class: said(this.logits.class),
      distillation: config.distilled ? said(this.logits.distillation) : null,
    };
  }

  /** The sequence that enters block 0: patches, prefix tokens, positions. */
  embed(count) {
    const { kernels, config, tokens, width: D, inner } = this;
    const { in_channels: C, image_size: S, patch_size: P } = config;
    kernels.run.patchify(this.images, this.patches, count, C, S, P, this.prefix);
    const packed = this.packed["patch_embedding.projection"];
    for (let image = 0; image < count; image++) {
      const patches = this.patches + 4 * image * tokens * inner;
      const x = this.x + 4 * image * tokens * D;
      // The prefix tokens' patches are zeros, so that their rows are those of the base.
      const from = { place: patches, down: inner, across: 1 };
      kernels.product(from, packed, { place: x, down: D }, [tokens, inner, D], this.base);
    }
  }

  /**
   * One block: x = x + attention(norm1(x)), x = x + mlp(norm2(x)); after the last, the prefix
   * tokens alone.
   */
  block(layer, count) {
    const { kernels, config, tokens, width: D, hidden } = this;
    const kept = this.blocks[layer];
    const name = `blocks.${layer}`;
    const last = layer === config.depth - 1;
    const asking = last ? this.lastAsk : tokens;
    const heads = config.num_heads;
    this.layerNorm(`${name}.norm1`, this.x, kept.norm1, count * tokens);
    this.linear(`${name}.attention.qkv`, kept.norm1.y, kept.qkv, count * tokens);
    const sizes = [count, tokens, asking, heads, D / heads];
    kernels.run.attention(kept.qkv, kept.weights, kept.answers, ...sizes, this.work);
    if (last) this.keepPrefix(kept, asking, count);
    const x = last ? this.first : this.x;
    const rows = count * (last ? this.prefix : tokens);
    this.linear(`${name}.attention.projection`, kept.answers, x, rows, { start: x });
    this.layerNorm(`${name}.norm2`, x, kept.norm2, rows);
    this.linear(`${name}.mlp.fc1`, kept.norm2.y, kept.active, rows);
    kernels.run.gelu(kept.active, kept.active, kept.slope, rows * hidden);
    this.linear(`${name}.mlp.fc2`, kept.active, x, rows, { start: x });
  }

  /** The heads read the prefix tokens only: the others need not go on. */
  keepPrefix(kept, asking, count) {
    const { kernels, tokens, width: D, prefix } = this;
    for (let image = 0; image < count; image++) {
      const size = prefix * D;
      const move = (from, rows, to) => {
        const row = kernels.numbers(from + 4 * image * rows * D, size);
        kernels.numbers(to + 4 * image * size, size).set(row);
      };
      move(this.x, tokens, this.first);
      if (asking > prefix) move(kept.answers, asking, kept.answers);
    }
  }

  // ---- backward: from the gradients of the logits to those of every weight ----

  /** @param {string} name @returns {number} The place of a weight's gradient. */
  gradientAt(name) {
    return this.gradients + 4 * this.places[name];
  }

  /**
   * The gradients of y = x W^T + b: dW = g^T x, db = the sum of g's rows, dx = g W; dx 0 is none.
   */
  linearBackward(name, { g, x, dx }, n, /** @type {RowSteps} */ { gDown, xDown, dxDown } = {}) {
    const { kernels } = this;
    const { outer, inner } = this.sizes[name];
    kernels.run.pack(x, this.panels, n, inner, xDown ?? inner, 1);
    const turned = { place: g, down: 1, across: gDown ?? outer };
    const own = { place: this.gradientAt(`${name}.weight`), down: inner };
    kernels.product(turned, this.panels, own, [outer, n, inner]);
    kernels.run.sum_rows(g, this.gradientAt(`${name}.bias`), n, outer);
    if (!dx) return;
    kernels.run.pack(this.at(`${name}.weight`), this.panels, outer, inner, inner, 1);
    const from = { place: g, down: gDown ?? outer, across: 1 };
    const to = { place: dx, down: dxDown ?? inner };
    kernels.product(from, this.panels, to, [n, outer, inner]);
  }

  /** The gradient of a layer norm's input, added to dx. */
  layerNormBackward(name, g, { z, scale }, dx, rows) {
    const gain = this.at(`${name}.weight`);
    const own = [this.gradientAt(`${name}.weight`), this.gradientAt(`${name}.bias`)];
    this.kernels.run.layer_norm_backward(g, gain, z, scale, dx, ...own, rows, this.width);
  }

  /**
   * Every weight's gradient, after `forward` on as many images and with `this.dLogits` filled.
   * @param {number} count
   */
  backward(count) {
    const { kernels, config, width: D, prefix } = this;
    this.headBackward("class_head", 0, this.dLogits.class, count);
    if (config.distilled) {
      this.headBackward("distillation_head", 1, this.dLogits.distillation, count);
    }
    kernels.numbers(this.dFirst, count * prefix * D).fill(0);
    this.layerNormBackward("norm", this.dNorm, this.norm, this.dFirst, count * prefix);
    for (let layer = config.depth - 1; layer >= 0; layer--) this.blockBackward(layer, count);
    this.embedBackward(count);
  }

  headBackward(name, token, g, count) {
    const down = this.prefix * this.width;
    const own = 4 * token * this.width;
    const places = { g, x: this.norm.y + own, dx: this.dNorm + own };
    this.linearBackward(name, places, count, { xDown: down, dxDown: down });
  }

  blockBackward(layer, count) {
    const { kernels, config, tokens, width: D, hidden, prefix } = this;
    const kept = this.blocks[layer];
    const name = `blocks.${layer}`;
    const last = layer === config.depth - 1;
    const asking = last ? prefix : tokens;
    const rows = count * asking;
    const dx = last ? this.dFirst : this.dx;
    const { dHidden, dNorm, dQkv } = this;
    this.linearBackward(`${name}.mlp.fc2`, { g: dx, x: kept.active, dx: dHidden }, rows);
    kernels.run.multiply(dHidden, kept.slope, rows * hidden);
    this.linearBackward(`${name}.mlp.fc1`, { g: dHidden, x: kept.norm2.y, dx: dNorm }, rows);
    this.layerNormBackward(`${name}.norm2`, dNorm, kept.norm2, dx, rows);
    const answers = { g: dx, x: kept.answers, dx: dNorm };
    this.linearBackward(`${name}.attention.projection`, answers, rows);
    const heads = config.num_heads;
    const sizes = [count, tokens, asking, heads, D / heads];
    kernels.run.attention_backward(kept.qkv, kept.weights, dNorm, dQkv, ...sizes, this.work);
    if (last) this.spreadPrefix(count);
    const qkv = { g: dQkv, x: kept.norm1.y, dx: dNorm };
    this.linearBackward(`${name}.attention.qkv`, qkv, count * tokens);
    this.layerNormBackward(`${name}.norm1`, dNorm, kept.norm1, this.dx, count * tokens);
  }

  /** The gradient of all tokens, from that of the prefix tokens: the others' is zero so far. */
  spreadPrefix(count) {
    const { kernels, tokens, width: D, prefix } = this;
    kernels.numbers(this.dx, count * tokens * D).fill(0);
    for (let image = 0; image < count; image++) {
      const size = prefix * D;
      const row = kernels.numbers(this.dFirst + 4 * image * size, size);
      kernels.numbers(this.dx + 4 * image * tokens * D, size).set(row);
    }
  }

  /**
   * Positions, tokens and the patch embedding: the gradient of all tokens summed over the images
   * gives the first two.
   */
  embedBackward(count) {
    const { kernels, tokens, width: D, prefix } = this;
    const name = "patch_embedding.projection";
    this.linearBackward(name, { g: this.dx, x: this.patches, dx: 0 }, count * tokens);
    kernels.run.sum_rows(this.dx, this.gradientAt("position_embedding"), count, tokens * D);
    const position = kernels.numbers(this.gradientAt("position_embedding"), tokens * D);
    kernels.numbers(this.gradientAt("class_token"), D).set(position.subarray(0, D));
    if (this.config.distilled) {
      const second = position.subarray(D, 2 * D);
      kernels.numbers(this.gradientAt("distillation_token"), D).set(second);
    }
    const patches = this.gradientAt("position_embedding") + 4 * prefix * D;
    kernels.run.sum_rows(patches, this.gradientAt(`${name}.bias`), tokens - prefix, D);
  }

  // ---- AdamW ----

  /**
   * One step of AdamW on the gradients that are there: matrices decay, the rest does not.
   * @param {number} rate The learning rate.
   * @param {number} decay
   */
  update(rate, decay) {
    const corrections = [1 - 0.9 ** ++this.steps, 1 - 0.999 ** this.steps];
    const step = (first, count, own) => {
      const of = (place) => place + 4 * first;
      const places = [of(this.weights), of(this.gradients), of(this.means), of(this.squares)];
      this.kernels.run.adamw(...places, count, rate, own, ...corrections);
    };
    step(0, this.decaying, decay);
    step(this.decaying, this.count - this.decaying, 0);
    this.weightsChanged();
  }
}

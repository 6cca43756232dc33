// Our convnets over the kernels, forward: deit_edu.teachers once more, batch norms folded into the
// convolutions. Pictures are (B, S, S, C) in the kernels' memory, channels last.

/**
 * @typedef {object} OpenedNetwork What network.js's openNetwork gives.
 * @property {object} manifest Of deit_edu.widgets.network.export.
 * @property {Record<string, Float32Array>} weights
 */

const ROWS_AT_ONCE = 128; // output pixels of one product, so that its rows stay in the cache

/** What both kinds share: convolutions laid out one by one, then loaded, then run. */
class ConvNetInPage {
  /**
   * @param {Kernels} kernels
   * @param {OpenedNetwork} network
   * @param {object} use
   * @param {number} use.size Height and width of the images.
   * @param {number} use.batch The most images of one forward pass.
   */
  constructor(kernels, { manifest, weights }, { size, batch }) {
    this.kernels = kernels;
    this.manifest = manifest;
    this.given = weights;
    this.batch = batch;
    this.size = size;
    this.convolutions = {};
    this.channels = 0; // that the head reads, and the side of their picture: `layOut` says
    this.last = 0;
    this.most = { picture: 0, work: 0, weight: 0 }; // numbers
    this.images = kernels.room(batch * size * size * manifest.in_channels); // (B, C, S, S)
    this.classes = weights["head.bias"].length;
    this.layOut();
    const picture = Math.max(this.most.picture, size * size * manifest.in_channels);
    this.pictures = Array.from({ length: 4 }, () => kernels.room(batch * picture));
    this.work = kernels.room(Math.max(this.most.work, this.most.weight));
    this.pooled = kernels.room(batch * this.channels);
    this.headWeight = kernels.room(kernels.packedSize(this.channels, this.classes));
    this.headBias = kernels.room(this.classes);
    this.logits = kernels.room(batch * this.classes);
  }

  /** Lay out the convolutions: each kind has its own. */
  layOut() {}

  /** Lay out one convolution of pictures (S, S, C); returns the side of what comes out. */
  layOutConvolution(name, S, C, { kernel, stride = 1, pad = (kernel - 1) / 2 }) {
    const { kernels, most } = this;
    const inner = kernel * kernel * C;
    const K = this.given[name].length / inner;
    const side = Math.floor((S + 2 * pad - kernel) / stride) + 1;
    const rows = Math.min(this.batch * side, Math.ceil(ROWS_AT_ONCE / side));
    const panels = kernels.room(kernels.packedSize(inner, K));
    const bias = kernels.room(K);
    this.convolutions[name] = { S, C, K, kernel, stride, pad, rows, panels, bias, side };
    most.picture = Math.max(most.picture, side * side * K);
    most.work = Math.max(most.work, rows * side * inner);
    most.weight = Math.max(most.weight, K * inner);
    return side;
  }

  /** Put a weight (K, k, k, C), each row times its scale, into the memory, packed. */
  loadConvolution(name, scale, bias) {
    const { kernels } = this;
    const { K, C, kernel, panels, bias: place } = this.convolutions[name];
    const inner = kernel * kernel * C;
    const weight = kernels.numbers(this.work, K * inner);
    weight.set(this.given[name]);
    if (scale) for (let i = 0; i < K * inner; i++) weight[i] *= scale[Math.floor(i / inner)];
    kernels.run.pack(this.work, panels, inner, K, 1, inner);
    kernels.numbers(place, K).set(bias ?? new Float32Array(K));
  }

  loadHead() {
    const { kernels, channels, classes, given } = this;
    kernels.numbers(this.work, channels * classes).set(given["head.weight"]);
    kernels.run.pack(this.work, this.headWeight, channels, classes, 1, channels);
    kernels.numbers(this.headBias, classes).set(given["head.bias"]);
  }

  convolve(name, x, y, count) {
    const { kernels } = this;
    const { S, C, K, kernel, stride, pad, rows, panels, bias, side } = this.convolutions[name];
    kernels.operations += 2 * count * side * side * kernel * kernel * C * K;
    const shape = [count, S, C, K, kernel, stride, pad];
    kernels.run.convolution(x, panels, bias, y, ...shape, this.work, rows);
    return count * side * side * K;
  }

  /** The images, channels last: the place where they lie. */
  channelsLast(count) {
    const C = this.manifest.in_channels;
    if (C === 1) return this.images;
    const pixels = this.size * this.size;
    const images = this.kernels.numbers(this.images, count * C * pixels);
    const turned = this.kernels.numbers(this.pictures[0], count * C * pixels);
    for (let image = 0; image < count; image++) {
      for (let c = 0; c < C; c++) {
        const from = (image * C + c) * pixels;
        const to = image * C * pixels + c;
        for (let i = 0; i < pixels; i++) turned[to + i * C] = images[from + i];
      }
    }
    return this.pictures[0];
  }

  /** Pool pictures x (S, S, channels) and apply the head. */
  answer(x, S, count, largest) {
    const { kernels, channels: C, classes } = this;
    kernels.run.pool_all(x, this.pooled, count, S * S, C, largest);
    const from = { place: this.pooled, down: C, across: 1 };
    const to = { place: this.logits, down: classes };
    kernels.product(from, this.headWeight, to, [count, C, classes], 0, this.headBias);
    return { class: kernels.numbers(this.logits, count * classes), distillation: null };
  }
}

/** deit_edu.teachers.ConvNet: a stem, residual blocks, the mean over the picture, a head. */
export class ResidualConvNetInPage extends ConvNetInPage {
  layOut() {
    const { manifest, given } = this;
    let C = manifest.in_channels;
    let S = this.layOutConvolution("stem", this.size, C, {
      kernel: 3,
      stride: manifest.stem_stride,
    });
    C = this.convolutions.stem.K;
    manifest.strides.forEach((stride, i) => {
      const name = `blocks.${i}`;
      const side = this.layOutConvolution(`${name}.conv1`, S, C, { kernel: 3, stride });
      const { K } = this.convolutions[`${name}.conv1`];
      this.layOutConvolution(`${name}.conv2`, side, K, { kernel: 3 });
      if (given[`${name}.shortcut`]) {
        this.layOutConvolution(`${name}.shortcut`, S, C, { kernel: 1, stride });
      }
      [S, C] = [side, K];
    });
    [this.channels, this.last] = [C, S];
    this.most.weight = Math.max(this.most.weight, C * this.classes);
  }

  /** Take over the weights: after `kernels.settle()`. */
  load() {
    for (const name of Object.keys(this.convolutions)) {
      const { scale, shift } = this.manifest.norms[name];
      this.loadConvolution(name, scale, shift);
    }
    this.loadHead();
  }

  /** @param {number} count Images at `this.images`. @returns Logits (count, K), as a DeiT's. */
  forward(count) {
    const { run } = this.kernels;
    let [spare, x, first, second] = this.pictures;
    run.relu(x, 0, this.convolve("stem", this.channelsLast(count), x, count));
    this.manifest.strides.forEach((_, i) => {
      const name = `blocks.${i}`;
      run.relu(first, 0, this.convolve(`${name}.conv1`, x, first, count));
      const numbers = this.convolve(`${name}.conv2`, first, second, count);
      const projected = this.convolutions[`${name}.shortcut`];
      if (projected) this.convolve(`${name}.shortcut`, x, spare, count);
      run.relu(second, projected ? spare : x, numbers);
      [x, second] = [second, x];
    });
    return this.answer(x, this.last, count, 0);
  }
}

/**
 * deit_edu.teachers.WhiteningConvNet: whitening, then stages that each halve the picture, the
 * largest, a head.
 */
export class WhiteningConvNetInPage extends ConvNetInPage {
  layOut() {
    const { manifest } = this;
    const first = { kernel: manifest.patch_size, pad: 0 };
    let S = this.layOutConvolution("whitening", this.size, manifest.in_channels, first);
    let C = this.convolutions.whitening.K;
    this.stages = [];
    for (let i = 0; manifest.norms[`stages.${i}.conv1`]; i++) {
      const name = `stages.${i}`;
      this.layOutConvolution(`${name}.conv1`, S, C, { kernel: 3 });
      [S, C] = [S >> 1, this.convolutions[`${name}.conv1`].K];
      this.layOutConvolution(`${name}.conv2`, S, C, { kernel: 3 });
      const [scale, shift] = [this.kernels.room(C), this.kernels.room(C)];
      this.stages.push({ name, side: S, channels: C, scale, shift });
    }
    [this.channels, this.last] = [C, S];
    this.most.weight = Math.max(this.most.weight, C * this.classes);
  }

  /** Take over the weights: after `kernels.settle()`. */
  load() {
    this.loadConvolution("whitening", null, this.given["whitening.bias"]);
    for (const { name, channels, scale, shift } of this.stages) {
      // Between the first convolution and its batch norm stands the pooling: they cannot be one.
      const [before, after] = ["conv1", "conv2"].map(
        (own) => this.manifest.norms[`${name}.${own}`],
      );
      this.loadConvolution(`${name}.conv1`, null, null);
      this.kernels.numbers(scale, channels).set(before.scale);
      this.kernels.numbers(shift, channels).set(before.shift);
      this.loadConvolution(`${name}.conv2`, after.scale, after.shift);
    }
    this.loadHead();
  }

  /** @param {number} count Images at `this.images`. @returns Logits (count, K), as a DeiT's. */
  forward(count) {
    const { run } = this.kernels;
    const [, x, y] = this.pictures;
    run.gelu(x, x, 0, this.convolve("whitening", this.channelsLast(count), x, count));
    for (const { name, side, channels, scale, shift } of this.stages) {
      this.convolve(`${name}.conv1`, x, y, count);
      const pixels = count * side * side;
      run.max_pool(y, x, count, this.convolutions[`${name}.conv1`].side, channels);
      run.scale_and_shift(x, scale, shift, pixels, channels);
      run.gelu(x, x, 0, pixels * channels);
      this.convolve(`${name}.conv2`, x, y, count);
      run.gelu(y, x, 0, pixels * channels);
    }
    return this.answer(x, this.last, count, 1);
  }
}

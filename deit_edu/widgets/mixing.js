// deit_edu.augment once more, for one image and its partner: counting only. Shapes are [C, H, W];
// u, v, ... are uniform draws in [0, 1).

/**
 * Of images and of labels.
 * @param {NumberArray} a the first
 * @param {NumberArray} b its partner
 * @param {number} lam the share that the first keeps
 * @returns {any} of the first one's kind
 */
export const mixup = (a, b, lam) =>
  a.map((/** @type {number} */ v, /** @type {number} */ i) => lam * v + (1 - lam) * b[i]);

/**
 * CutMix's rectangle of area 1 - lam, clipped at the border.
 * @param {number} lam lambda
 * @param {number[]} draws of its centre: u, v
 * @param {number[]} shape C, H, W
 * @returns {CutBox} kept: the share of pixels that A keeps, by which CutMix mixes the labels
 */
export function cutmixBox(lam, [u, v], [, H, W]) {
  const part = (1 - lam) ** 0.5;
  const [height, width] = [Math.trunc(H * part), Math.trunc(W * part)];
  const [first, before] = [
    Math.floor(u * H) - Math.floor(height / 2),
    Math.floor(v * W) - Math.floor(width / 2),
  ];
  const [top, left] = [Math.max(0, first), Math.max(0, before)];
  const box = {
    top,
    left,
    height: Math.min(H, first + height) - top,
    width: Math.min(W, before + width) - left,
  };
  const kept = 1 - (box.height * box.width) / (H * W);
  return { ...box, kept, clipped: box.height < height || box.width < width };
}

/**
 * The rectangle that erasing hides: 0.02 to 1/3 of the image, its height 0.3 to 1/0.3 of its width.
 * @param {number[]} draws of area, aspect, y, x
 * @param {number[]} shape C, H, W; H = W
 * @returns {Box} the rectangle
 */
export function eraseBox([u, v, y, x], [, H, W]) {
  const share = 0.02 + u * (1 / 3 - 0.02);
  const ratio = Math.exp(Math.log(0.3) - 2 * v * Math.log(0.3));
  const side = (/** @type {number} */ length) => Math.min(Math.max(Math.round(length), 1), H);
  const height = side(H * Math.sqrt(share * ratio));
  const width = side(W * Math.sqrt(share / ratio));
  const [top, left] = [Math.floor(y * (H - height + 1)), Math.floor(x * (W - width + 1))];
  return { top, left, height, width };
}

/**
 * An image with a rectangle of another: CutMix pastes the partner, erasing pastes noise.
 * @param {NumberArray} a (C, H, W)
 * @param {NumberArray} other (C, H, W)
 * @param {Box} box the rectangle
 * @param {number[]} shape C, H, W
 * @returns {any} (C, H, W)
 */
export const paste = (a, other, { top, left, height, width }, [, H, W]) =>
  a.map((/** @type {number} */ v, /** @type {number} */ i) => {
    const y = Math.floor((i % (H * W)) / W) - top;
    const x = (i % W) - left;
    return y >= 0 && y < height && x >= 0 && x < width ? other[i] : v;
  });

/**
 * A draw from Beta(alpha, alpha) (Johnk's way, quick for alpha of about 1 and less).
 * @param {number} alpha its parameter
 * @param {() => number} random uniform draws
 * @returns {number} from 0 to 1
 */
export function drawBeta(alpha, random = Math.random) {
  for (;;) {
    const [x, y] = [random() ** (1 / alpha), random() ** (1 / alpha)];
    if (x + y > 0 && x + y <= 1) return x / (x + y);
  }
}

/**
 * deit_edu.losses.smooth_labels for one label.
 * @param {number} label its class
 * @param {number} K classes
 * @param {number} epsilon what is taken from the label
 * @param {string} over "all" classes or the "others"
 * @returns {number[]} (K,)
 */
export function smoothed(label, K, epsilon, over) {
  const share = over === "all" ? epsilon / K : epsilon / Math.max(1, K - 1);
  const own = over === "all" ? 1 - epsilon + share : 1 - epsilon;
  return Array.from({ length: K }, (_, k) => (k === label ? own : share));
}

/**
 * @param {NumberArray} pixels (C, H, W), 0 to 255
 * @param {number[]} mean of the training images, C numbers
 * @param {number[]} std of the training images, C numbers
 * @returns {Float32Array} (C, H, W), as the loop mixes them
 */
function normalised(pixels, mean, std) {
  const plane = pixels.length / mean.length;
  return Float32Array.from(pixels, (value, i) => {
    const c = Math.floor(i / plane);
    return (value / 255 - mean[c]) / std[c];
  });
}

/**
 * @param {Float32Array} values (C, H, W), as `normalised` gives them
 * @param {number[]} mean C numbers
 * @param {number[]} std C numbers
 * @returns {Float32Array} (C, H, W), 0 to 255 but for noise
 */
export function asPixels(values, mean, std) {
  const plane = values.length / mean.length;
  return values.map((value, i) => {
    const c = Math.floor(i / plane);
    return 255 * (value * std[c] + mean[c]);
  });
}

/**
 * What augmentation makes of two images, in the order of deit_edu.train.augmented_batch.
 * @param {MixSettings} chosen the images as they enter, and what the reader chose
 * @returns {Mixed} each of the two as it was mixed, the result, and what was done
 */
export function mixedPair({ pair, mean, std, noise, shape, erasing, hole, mixing, lam, centre }) {
  let [a, b] = pair.map((pixels) => normalised(pixels, mean, std));
  const hidden = erasing ? eraseBox(hole, shape) : null;
  if (hidden) a = paste(a, noise, hidden, shape);
  const box = mixing === "cutmix" ? cutmixBox(lam, centre, shape) : null;
  const kept = box ? box.kept : mixing === "none" ? 1 : lam;
  const result = box ? paste(a, b, box, shape) : mixup(a, b, kept);
  return { a, b, result, hidden, box, kept };
}

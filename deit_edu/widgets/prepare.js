// How a picture is brought to a network: deit_edu.runs.preprocess once more.
import { sizeOf } from "./numbers.js";
import { resampled } from "./resample.js";

/** Of red, green and blue, as Pillow converts (ITU-R 601). */
const GREY = [0.299, 0.587, 0.114];

/**
 * @param {NumberArray} pixels (c, H, W)
 * @param {number} have c, 1 or 3
 * @param {number} channels C, 1 or 3
 * @returns {Float32Array} (C, H, W)
 */
export function inChannels(pixels, have, channels) {
  if (have === channels) return Float32Array.from(pixels);
  const plane = pixels.length / have;
  if (have === 1) return Float32Array.from({ length: 3 * plane }, (_, i) => pixels[i % plane]);
  return Float32Array.from({ length: plane }, (_, i) =>
    GREY.reduce((grey, weight, c) => grey + weight * pixels[c * plane + i], 0),
  );
}

/**
 * @param {NumberArray} pixels (c, h, w), 0 to 255
 * @param {number[]} shape c, h, w
 * @param {Preprocessing} own what the network takes
 * @returns {Float32Array} (C, H, W), of its channels and its size, in its own statistics
 */
export function prepared(pixels, shape, { image_shape: [C, H, W], mean, std }) {
  const [have, ...sides] = shape;
  const coloured = inChannels(pixels, have, C);
  const found = resampled(coloured, [C, ...sides], [H, W]);
  const plane = sizeOf([H, W]);
  return found.map((value, i) => {
    const c = Math.floor(i / plane);
    return (value / 255 - mean[c]) / std[c];
  });
}

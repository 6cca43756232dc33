// The images of a race: which item comes when, in which scene, seen how. All follows from a seed.
import { Random } from "./random.js";
import { Pictures, Scenes, normaliseInto } from "./scenes.js";

// Keep the draws of orders, of scenes and of the scenes kept aside apart, whatever the seed.
const ORDERS = 1;
const SCENES = 2;
const ASIDE = 3;

/**
 * @typedef {object} Source What is learnt from: items at half size, of which scenes are made, or
 * images as they are.
 * @property {Uint8Array} items (n, 14, 14) or (n, C, S, S)
 * @property {number[]} shape C, S, S of what the networks see.
 * @property {boolean} scenes Whether the items become scenes.
 * @property {ArrayLike<number>} labels (n,) From 0.
 * @property {number[]} learnt Numbers of the items that are learnt from.
 * @property {number[]} aside Numbers of the items that are only measured on.
 * @property {number[]} mean Of pixels in [0, 1], a number for each channel.
 * @property {number[]} std
 * @property {number} padding Random crops: shifts of at most so many pixels.
 * @property {boolean} flip Mirror half of the images.
 */

/** A stream of training images, a new scene each time, and the scenes that are kept aside. */
export class Stream {
  /**
   * @param {Source} source
   * @param {number} seed
   */
  constructor(source, seed) {
    this.source = source;
    this.seed = seed;
    this.shape = source.shape;
    this.size = this.shape.reduce((product, side) => product * side, 1);
    this.maker = source.scenes
      ? new Scenes(source.items, source.shape[1])
      : new Pictures(source.items, source.shape);
    this.canvas = new Uint8Array(this.size);
    this.epoch = -1;
  }

  /** The item that comes at a position of the stream; every item comes once an epoch. */
  itemAt(position) {
    const { learnt } = this.source;
    const epoch = Math.floor(position / learnt.length);
    if (epoch !== this.epoch) {
      this.epoch = epoch;
      this.order = new Random(this.seed, ORDERS, epoch).order(learnt.length);
    }
    return learnt[this.order[position % learnt.length]];
  }

  /**
   * Training images, shifted, mirrored, normalised.
   * @param {number} first Position in the stream.
   * @param {number} count
   * @returns {{ images: Float32Array, labels: number[] }} (count, C, S, S) and (count,)
   */
  batch(first, count) {
    const { source, maker, canvas } = this;
    const images = new Float32Array(count * this.size);
    const labels = Array.from({ length: count }, (_, i) => {
      const item = this.itemAt(first + i);
      const random = new Random(this.seed, SCENES, first + i);
      maker.draw(canvas, item, maker.drawsFrom(random));
      const shift = () => random.below(2 * source.padding + 1) - source.padding;
      const change = { down: shift(), right: shift(), flip: source.flip && random.below(2) === 1 };
      this.normalise(canvas, this.imageAt(images, i), change);
      return source.labels[item];
    });
    return { images, labels };
  }

  /**
   * The scenes kept aside: one of each item, the same for every seed.
   * @returns {{ pixels: Uint8Array, images: Float32Array, labels: number[] }}
   */
  keptAside() {
    const { source, maker } = this;
    const pixels = new Uint8Array(source.aside.length * this.size);
    const images = new Float32Array(pixels.length);
    source.aside.forEach((item, i) => {
      const scene = this.imageAt(pixels, i);
      maker.draw(scene, item, maker.drawsFrom(new Random(ASIDE, i)));
      this.normalise(scene, this.imageAt(images, i), {});
    });
    return { pixels, images, labels: source.aside.map((item) => source.labels[item]) };
  }

  /**
   * @param {Uint8Array} pixels one image
   * @param {Float32Array} out
   * @param {{ down?: number, right?: number, flip?: boolean }} change
   * @returns {void}
   */
  normalise(pixels, out, change) {
    const { mean, std } = this.source;
    normaliseInto(pixels, out, change, { shape: this.shape, mean, std });
  }

  /**
   * One of many images, to read and to write.
   * @param {any} images (n, C, S, S)
   * @param {number} i which of them
   * @returns {any} (C, S, S), a view
   */
  imageAt(images, i) {
    return images.subarray(i * this.size, (i + 1) * this.size);
  }
}

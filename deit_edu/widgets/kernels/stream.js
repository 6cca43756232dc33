// The images of a race: which item comes when, in which scene, seen how. All follows from a seed.
import { Random } from "./random.js";
import { CANVAS, Scenes, normaliseInto } from "./scenes.js";

// Keep the draws of orders, of scenes and of the scenes kept aside apart, whatever the seed.
const ORDERS = 1;
const SCENES = 2;
const ASIDE = 3;

/**
 * @typedef {object} Source Items at half size, and what is made of them.
 * @property {Uint8Array} items (n, 14, 14)
 * @property {Uint8Array} labels (n,) From 0.
 * @property {number[]} learnt Numbers of the items that are learnt from.
 * @property {number[]} aside Numbers of the items that are only measured on.
 * @property {number} mean Of pixels in [0, 1].
 * @property {number} std
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
    this.scenes = new Scenes(source.items);
    this.canvas = new Uint8Array(CANVAS ** 2);
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
   * @returns {{ images: Float32Array, labels: number[] }} (count, 1, 28, 28) and (count,)
   */
  batch(first, count) {
    const { source, scenes, canvas } = this;
    const images = new Float32Array(count * CANVAS ** 2);
    const labels = Array.from({ length: count }, (_, i) => {
      const item = this.itemAt(first + i);
      const random = new Random(this.seed, SCENES, first + i);
      scenes.draw(canvas, item, scenes.drawsFrom(random));
      const shift = () => random.below(2 * source.padding + 1) - source.padding;
      const change = { down: shift(), right: shift(), flip: source.flip && random.below(2) === 1 };
      normaliseInto(canvas, imageAt(images, i), change, source);
      return source.labels[item];
    });
    return { images, labels };
  }

  /**
   * The scenes kept aside: one of each item, the same for every seed.
   * @returns {{ pixels: Uint8Array, images: Float32Array, labels: number[] }}
   */
  keptAside() {
    const { source, scenes } = this;
    const pixels = new Uint8Array(source.aside.length * CANVAS ** 2);
    const images = new Float32Array(pixels.length);
    source.aside.forEach((item, i) => {
      const scene = imageAt(pixels, i);
      scenes.draw(scene, item, scenes.drawsFrom(new Random(ASIDE, i)));
      normaliseInto(scene, imageAt(images, i), {}, source);
    });
    return { pixels, images, labels: source.aside.map((item) => source.labels[item]) };
  }
}

/**
 * One of many images, to read and to write.
 * @param {any} images (n, 28, 28)
 * @param {number} i which of them
 * @returns {any} (28, 28), a view
 */
export const imageAt = (images, i) => images.subarray(i * CANVAS ** 2, (i + 1) * CANVAS ** 2);

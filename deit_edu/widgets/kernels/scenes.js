// The scenes of fashion_clutter: deit_edu.data.clutter once more. Given the same draws, the same
// pixels. An item is 14x14 pixels, a scene 28x28, both uint8.

/** Side of a scene, in pixels. */
export const CANVAS = 28;
const ITEM = 14;
const CLUTTER_CROPS = [6, 6, 5, 5]; // side of each crop of another item, in the order of pasting
/**
 * How many whole numbers decide a scene: of each crop its item, its corner, its row and column; the
 * item's row and column.
 */
export const DRAWS = 4 * CLUTTER_CROPS.length + 2;

/** Items at half size, and the scenes that are made of them. */
export class Scenes {
  /** @param {Uint8Array} items (n, 14, 14) */
  constructor(items) {
    this.items = items;
    this.count = items.length / ITEM ** 2;
    this.corners = new Map(); // side of a crop: each item's corners, once needed
    for (const side of CLUTTER_CROPS) this.corners.set(side, []);
  }

  /**
   * Whole numbers for one scene, as the library draws them.
   * @param {Random} random
   * @returns {number[]} `DRAWS` of them.
   */
  drawsFrom(random) {
    const crop = (side) => {
      const places = CANVAS - side + 1;
      return [
        1 + random.below(this.count - 1),
        random.bits() >>> 2,
        random.below(places),
        random.below(places),
      ];
    };
    const places = CANVAS - ITEM + 1;
    return [...CLUTTER_CROPS.flatMap(crop), random.below(places), random.below(places)];
  }

  /**
   * Draw the scene of one item.
   * @param {Uint8Array} canvas (28, 28), overwritten.
   * @param {number} item Its number.
   * @param {number[]} draws `DRAWS` whole numbers.
   */
  draw(canvas, item, draws) {
    canvas.fill(0);
    CLUTTER_CROPS.forEach((side, i) => {
      const [step, choice, top, left] = draws.slice(4 * i, 4 * i + 4);
      const other = (item + step) % this.count; // never the item itself
      const corners = this.cornersOf(other, side);
      this.paste(canvas, { other, side, corner: corners[choice % corners.length], top, left });
    });
    this.place(canvas, item, ...draws.slice(DRAWS - 2));
  }

  /** A crop of another item, whole: its empty pixels cover what was there. */
  paste(canvas, { other, side, corner, top, left }) {
    const first = other * ITEM ** 2 + corner;
    for (let row = 0; row < side; row++) {
      const from = first + row * ITEM;
      canvas.set(this.items.subarray(from, from + side), (top + row) * CANVAS + left);
    }
  }

  /** The item: clutter is seen where it is empty. */
  place(canvas, item, top, left) {
    for (let i = 0; i < ITEM ** 2; i++) {
      const value = this.items[item * ITEM ** 2 + i];
      if (value) canvas[(top + Math.floor(i / ITEM)) * CANVAS + left + (i % ITEM)] = value;
    }
  }

  /**
   * Crops worth pasting: with at least half as many non-zero pixels as the fullest crop of the same
   * item.
   */
  cornersOf(item, side) {
    const known = this.corners.get(side);
    known[item] ??= this.findCorners(item, side);
    return known[item];
  }

  findCorners(item, side) {
    const corners = [];
    const shown = [];
    for (let top = 0; top <= ITEM - side; top++) {
      for (let left = 0; left <= ITEM - side; left++) {
        corners.push(top * ITEM + left);
        shown.push(this.pixelsShown(item, top, left, side));
      }
    }
    const most = Math.max(...shown);
    return corners.filter((_, i) => 2 * shown[i] >= most);
  }

  pixelsShown(item, top, left, side) {
    let shown = 0;
    for (let row = top; row < top + side; row++) {
      const from = item * ITEM ** 2 + row * ITEM + left;
      for (let i = from; i < from + side; i++) shown += Number(this.items[i] > 0);
    }
    return shown;
  }
}

/**
 * One image (28, 28) as the networks want it: shifted, mirrored, normalised
 * (deit_edu.train.augmented_batch).
 * @param {Uint8Array} image
 * @param {Float32Array} out (28, 28)
 * @param {{ down?: number, right?: number, flip?: boolean }} change Where the window lies, in
 * pixels; zeros come in.
 * @param {{ mean: number, std: number }} statistics Of pixels in [0, 1].
 */
export function normaliseInto(image, out, { down = 0, right = 0, flip = false }, { mean, std }) {
  for (let row = 0; row < CANVAS; row++) {
    for (let column = 0; column < CANVAS; column++) {
      const y = row + down;
      const x = (flip ? CANVAS - 1 - column : column) + right;
      const inside = y >= 0 && y < CANVAS && x >= 0 && x < CANVAS;
      out[row * CANVAS + column] = ((inside ? image[y * CANVAS + x] : 0) / 255 - mean) / std;
    }
  }
}

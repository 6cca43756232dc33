// The teacher comparison of one seed: who disagrees with whom, class by class, image by image.
import { decisionsOf, disagreement, judgeOf, rightOfEachClass } from "./comparison_counting.js";
import { bars, drawImage, imageOf } from "./drawing.js";
import { make, rowHeading, scrolling, side, table } from "./elements.js";
import { argmax, signed, unpacked } from "./numbers.js";

/** @typedef {import("./comparison_counting.js").Said} Said */

/**
 * What never changes. index: the test images of the gallery, pixels: (m, C, H, W) of them.
 * @typedef {{ names: string[], shape: number[], pixels: NumberArray, index: number[] }} Gallery
 */

const SHOWN = 8; // images at a time

/**
 * @param {Model} model the figure's
 * @returns {Gallery} what never changes
 */
export const galleryOf = (model) => ({
  names: model.get("class_names"),
  shape: model.get("image_shape"),
  pixels: unpacked(model.get("gallery"), "u1"),
  index: model.get("gallery_index"),
});

/** @param {Said[]} said */
function disagreementTable(said) {
  const short = said.map(({ name }) =>
    name.replace("both heads", "both").replace(" head", "").replace("distillation", "dist."),
  );
  const rows = said.map((one, i) => {
    const cells = said.map((other, j) => {
      const share = i === j ? "\u2013" : disagreement(one.row, other.row).toFixed(1);
      return make("td", {}, share);
    });
    return [rowHeading(short[i]), ...cells];
  });
  return scrolling("table of disagreement", table(["", ...short], rows));
}

/**
 * @param {number[]} change (K,) points
 * @param {string[]} names of the classes
 * @returns {SVGElement} a bar for each class
 */
function changeBars(change, names) {
  const most = Math.max(1, ...change.map(Math.abs));
  return bars({
    names,
    low: -most,
    high: most,
    label: "Accuracy of B minus A for each class, points",
    show: (value) => signed(value, 1),
    series: [{ colour: "fused", values: change }],
  });
}

/**
 * @param {Gallery} gallery
 * @param {Said[]} said everybody's decisions, the truth's first
 * @param {number} image of the test split
 * @param {number} place in the gallery
 * @returns {HTMLElement} the image, and who says what of it
 */
function cardOf({ names, shape, pixels }, said, image, place) {
  const [truth, ...others] = said;
  const right = names[truth.row[image]];
  const label = `test image ${image}, ${right}`;
  const canvas = make("canvas", { role: "img", "aria-label": label });
  drawImage(canvas, imageOf(pixels, shape, place), shape);
  const lines = others.map(({ name, row }) => {
    const check = row[image] === truth.row[image] ? " \u2713" : "";
    return make("li", {}, `${name}: ${names[row[image]]}${check}`);
  });
  const words = make("figcaption", {}, make("strong", {}, right), make("ul", {}, ...lines));
  return make("figure", {}, canvas, words);
}

/**
 * @param {Gallery} gallery
 * @param {Said[]} said everybody's decisions, the truth's first
 * @returns {[number, number][]} test image and place of those on which the two judges disagree
 */
function disputed({ index }, said) {
  const [one, other] = ["A", "B"].map((letter) => judgeOf(said, letter));
  /** @type {[number, number][]} */
  const pairs = index.map((image, place) => [image, place]);
  return pairs.filter(([image]) => one[image] !== other[image]);
}

/**
 * @param {number} seed whose answers are compared
 * @param {Said[]} said everybody's decisions, the truth's first
 * @param {Gallery} gallery what never changes
 * @returns {{ parts: Node[], words: string }} matrix, bars and images, and what they say
 */
export function detailsOf(seed, said, gallery) {
  const { names } = gallery;
  const truth = said[0].row;
  const [one, other] = ["A", "B"].map((letter) => decisionsOf(said, letter, "fused"));
  const [before, after] = [one, other].map((row) => rightOfEachClass(row, truth, names.length));
  const change = after.map((share, k) => share - before[k]);
  const found = disputed(gallery, said);
  const cards = found.slice(0, SHOWN).map(([image, place]) => cardOf(gallery, said, image, place));
  const count = truth.length.toLocaleString("en");
  const gained = argmax(change);
  const heading = (/** @type {string} */ text) => make("h4", {}, text);
  const perClass = make(
    "div",
    {},
    heading("B minus A, class by class, points"),
    changeBars(change, names),
  );
  const parts = [
    heading(`who disagrees with whom, % of ${count} test images, seed ${seed}`),
    disagreementTable(said),
    side(perClass),
    heading(
      "test images on which the two teachers disagree " +
        "(or the students, where there is no teacher)",
    ),
    make("div", { className: "cards" }, ...cards),
  ];
  const words =
    ` Seed ${seed}: the two disagree on ${disagreement(one, other).toFixed(1)} % ` +
    `of the test images; B gains most on ${names[gained]} (${signed(change[gained], 1)}). ` +
    `Below are ${cards.length} of the ${found.length} images in this page ` +
    "on which they disagree.";
  return { parts, words };
}

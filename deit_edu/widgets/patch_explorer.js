// The patch explorer: an image becomes a sequence, and what patch size and resolution cost.
import { button, picker, put, slider } from "./controls.js";
import { drawImage, enlarge, imageOf, thumbnails } from "./drawing.js";
import { frame, make, side } from "./elements.js";
import { unpacked } from "./numbers.js";
import { gridOf, inOrder, patchPixels, shuffled } from "./patch_counting.js";

/**
 * What is chosen: how the image is cut, and its patches in the order in which they are shown.
 * @typedef {{ cut: import("./patch_counting.js").Cut, pixels: NumberArray, name: string,
 *   order: number[], isShuffled: boolean }} Now
 */

const GAP_COLOUR = "#ffb000"; // seen between the patches of any image
const SHOWN = 196; // patches of the sequence

/**
 * @param {Model} model the figure's
 * @returns {import("./patch_counting.js").Cut} how the image is cut
 */
function cutOf(model) {
  const [C, H] = model.get("image_shape");
  return { C, H, times: model.get("times"), P: model.get("sizes")[model.get("choice")] };
}

/**
 * @param {Model} model the figure's
 * @param {NumberArray} stored (n, C, H, W) images
 * @returns {Now} what is chosen
 */
function nowOf(model, stored) {
  const cut = cutOf(model);
  const N = gridOf(cut) ** 2;
  const isShuffled = model.get("order").length === N; // it may be of another patch size
  return {
    cut,
    pixels: imageOf(stored, model.get("image_shape"), model.get("image")),
    name: model.get("names")[model.get("image")],
    order: isShuffled ? model.get("order") : inOrder(N),
    isShuffled,
  };
}

/**
 * @param {Now} now
 * @param {number} which of the patches
 * @returns {HTMLCanvasElement} that patch
 */
function patchCanvas({ cut, pixels }, which) {
  const canvas = make("canvas");
  drawImage(canvas, patchPixels(pixels, cut, which), [cut.C, cut.P, cut.P]);
  return canvas;
}

/**
 * @param {HTMLCanvasElement} whole
 * @param {Now} now
 * @returns {void}
 */
function drawWhole(whole, { cut, pixels, name, order, isShuffled }) {
  const [small, image] = [make("canvas"), make("canvas")];
  drawImage(small, pixels, [cut.C, cut.H, cut.H]);
  enlarge(image, small, cut.times);
  const grid = gridOf(cut);
  const { P } = cut;
  const gap = Math.max(1, Math.round((cut.H * cut.times) / 60));
  const step = P + gap;
  whole.width = whole.height = grid * step - gap;
  const context = whole.getContext("2d");
  context.fillStyle = GAP_COLOUR;
  context.fillRect(0, 0, whole.width, whole.height);
  const place = (/** @type {number} */ i) => [i % grid, Math.floor(i / grid)];
  order.forEach((which, i) => {
    const [[left, top], [column, row]] = [place(which), place(i)];
    context.drawImage(image, left * P, top * P, P, P, column * step, row * step, P, P);
  });
  const words = isShuffled ? ", shuffled" : "";
  const label = `${name}, cut into ${grid} rows of ${grid} patches${words}`;
  whole.setAttribute("aria-label", label);
}

/**
 * @param {HTMLElement} row
 * @param {Now} now
 * @returns {void}
 */
function drawRow(row, now) {
  const { order } = now;
  const more = order.length - SHOWN;
  row.replaceChildren(...order.slice(0, SHOWN).map((which) => patchCanvas(now, which)));
  if (more > 0) row.append(make("span", {}, `and ${more} more`));
  row.setAttribute("aria-label", `${order.length} patches in a row`);
}

/**
 * @param {Now} now
 * @returns {string} what the figure shows now
 */
function sentence({ cut, order, isShuffled }) {
  const { C, H, times, P } = cut;
  const N = order.length;
  const numbers = (P * P * C).toLocaleString("en");
  const pairs = (N * N).toLocaleString("en");
  const [patch, token, pair] =
    N === 1 ? ["patch", "token", "pair"] : ["patches", "tokens, each", "pairs"];
  const more = times > 1 ? `, ${times ** 4} times as many as at ${H} pixels` : "";
  return (
    `${N} ${patch} of ${P}x${P} pixels: ${N} ${token} made of ${numbers} numbers. ` +
    `Attention compares ${pairs} ${pair} in every head${more}.` +
    (isShuffled ? " Shuffled: the same patches, in another order." : "")
  );
}

/**
 * @param {Model} model the figure's
 * @param {NumberArray} stored (n, C, H, W) images
 * @returns {HTMLElement[]} its controls
 */
function controlsOf(model, stored) {
  const [shape, sizes] = [model.get("image_shape"), model.get("sizes")];
  const images = thumbnails(stored, shape, model.get("names"));
  const shuffle = () => put(model, "order", shuffled(gridOf(cutOf(model)) ** 2));
  return [
    picker(model, "image", { label: "images", images }),
    slider(model, "choice", {
      label: "patch size",
      min: 0,
      max: sizes.length - 1,
      show: (i) => `${sizes[i]} px`,
    }),
    slider(model, "times", {
      label: "resolution",
      min: 1,
      max: 4,
      show: (times) => `${times * shape[1]} px`,
    }),
    make(
      "p",
      {},
      button("Shuffle the patches", shuffle),
      button("Put them back", () => put(model, "order", [])),
    ),
  ];
}

/**
 * Draw the figure, now and whenever a trait changes.
 * @param {{ model: Model, el: HTMLElement }} given the figure's state, and where it goes
 * @returns {void}
 */
function render({ model, el }) {
  const { root, say, end } = frame(model, el, "Patch explorer: an image becomes a sequence");
  const stored = unpacked(model.get("images"), "u1");
  const whole = make("canvas", { role: "img" });
  const row = make("div", { className: "tokens", role: "img" });
  const panels = side(
    make("div", {}, make("h4", {}, "the image, cut"), whole),
    make("div", {}, make("h4", {}, "the sequence, in reading order"), row),
  );
  root.append(...controlsOf(model, stored), panels);
  end();
  const draw = () => {
    const now = nowOf(model, stored);
    drawWhole(whole, now);
    drawRow(row, now);
    say(sentence(now));
  };
  for (const name of ["image", "choice", "times", "order"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };

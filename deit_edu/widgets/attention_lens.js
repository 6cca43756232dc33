// What the two tokens of a trained DeiT look at, layer by layer and head by head.
import { button, choice, menu, picker, put, slider } from "./controls.js";
import { drawImage, heatMap, imageOf, legend, markPlace, plane, thumbnails } from "./drawing.js";
import { complain, frame, make, onArrows, OWN_KEYS, placeOf, side } from "./elements.js";
import { lookFrom, mostOf, placeName, shareInBox, whereOf } from "./lens_answers.js";
import { argmax, clamp, unpacked } from "./numbers.js";
import { networksOf, sizesOf, tookBy } from "./running.js";

/**
 * The cosine of the two tokens through the layers, the chosen layer marked.
 * @param {number[]} values (L + 1,)
 * @param {number} chosen which of them
 * @returns {SVGElement} the picture
 */
function cosines(values, chosen) {
  const words = values.map((value) => value.toFixed(2)).join(", ");
  const margins = { left: 34, right: 12, top: 8, bottom: 22 };
  const chart = plane({
    height: 120,
    ...margins,
    across: [0, values.length - 1],
    up: [-1, 1],
    label: `Cosine of the two tokens: ${words}`,
  });
  for (const value of [-1, 0, 1]) {
    const y = chart.y(value);
    chart.line(chart.x(0), y, chart.x(values.length - 1), y, "stroke:var(--line);stroke-width:0.5");
    chart.text(String(value), margins.left - 6, y + 4, { anchor: "end" });
  }
  values.forEach((value, i) => {
    chart.dot(chart.x(i), chart.y(value), i === chosen ? 6 : 3.5, "fill:var(--fused)");
    chart.text(i === 0 ? "input" : String(i), chart.x(i), 116, { anchor: "middle" });
  });
  const points = values.map((value, i) => /** @type {[number, number]} */ ([i, value]));
  chart.curve(points, "fill:none;stroke:var(--fused);stroke-width:2");
  return chart.svg;
}

class Lens {
  /**
   * @param {Model} model the figure's
   * @param {HTMLElement} el where it goes
   */
  constructor(model, el) {
    this.model = model;
    this.shape = model.get("image_shape");
    this.patch = model.get("network").patch_size;
    this.sizes = sizesOf(model.get("network"));
    this.names = model.get("labels").map((/** @type {number} */ k) => model.get("class_names")[k]);
    this.stored = unpacked(model.get("images"), "u1");
    /** @type {(() => void)[]} */
    this.ends = [];
    this.networks = networksOf(model, ["network"], (stop) => this.ends.push(stop));
    this.frame = frame(model, el, "Attention lens: what the two tokens look at");
    // What is shown, and of which image: Python's, of the first.
    this.attention = unpacked(model.get("first"), "f2");
    this.similarity = model.get("similarity");
    this.of = 0;
    this.layOut();
    for (const name of ["layer", "head", "way", "patch"]) {
      model.on(`change:${name}`, () => this.draw());
    }
    model.on("change:image", () => this.change());
    this.draw();
    if (model.get("image") !== this.of) this.change();
  }

  // ---- what there is to see ----

  layOut() {
    const { model, frame, sizes } = this;
    this.maps = make("div", { className: "maps" });
    this.line = make("div");
    this.note = make("p", { className: "note" });
    this.board = this.makeBoard();
    const images = thumbnails(this.stored, this.shape, this.names);
    frame.root.append(
      picker(model, "image", { label: "test images", images }),
      slider(model, "layer", { label: "layer", min: 1, max: sizes.depth }),
      side(this.headMenu(), this.wayChoice()),
    );
    frame.end(); // the sentence above the pictures: on a phone both are seen
    frame.root.append(side(this.boardColumn(), this.mapColumn()), this.note);
  }

  headMenu() {
    const heads = Array.from({ length: this.sizes.heads }, (_, n) => [n + 1, `head ${n + 1}`]);
    const options = /** @type {[any, string][]} */ ([[0, "mean of all"], ...heads]);
    return menu(this.model, "head", { label: "head", options });
  }

  wayChoice() {
    return choice(this.model, "way", {
      label: "attention",
      options: [
        ["layer", "of this layer"],
        ["rollout", "rolled out up to it"],
      ],
    });
  }

  boardColumn() {
    return make(
      "div",
      {},
      make("h4", {}, "the image: click a patch to ask from there"),
      this.board,
      button("Ask from the two tokens", () => put(this.model, "patch", -1)),
    );
  }

  mapColumn() {
    const title = make("h4", {}, "cosine of the two tokens after each layer");
    return make("div", {}, this.maps, title, this.line);
  }

  makeBoard() {
    const board = make("canvas", {
      tabIndex: 0,
      className: "board tapped",
      role: "application",
      dataset: OWN_KEYS,
      "aria-label":
        "The image. Arrow keys choose the patch that asks; " +
        "escape gives the question back to the two tokens.",
    });
    const { grid } = this.sizes;
    board.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      this.choosePatch(...placeOf(board, event, grid, grid));
    });
    const giveBack = () => put(this.model, "patch", -1);
    onArrows(board, (x, y) => this.movePatch(x, y), { Escape: giveBack });
    return board;
  }

  /**
   * @param {number} x column of a patch
   * @param {number} y row
   */
  choosePatch(x, y) {
    const { grid } = this.sizes;
    put(this.model, "patch", clamp(y, 0, grid - 1) * grid + clamp(x, 0, grid - 1));
  }

  /**
   * @param {number} x columns to the right
   * @param {number} y rows down
   */
  movePatch(x, y) {
    const { grid } = this.sizes;
    const patch = this.model.get("patch");
    const middle = Math.floor(grid / 2);
    if (patch < 0) this.choosePatch(middle, middle);
    else this.choosePatch((patch % grid) + x, Math.floor(patch / grid) + y);
  }

  // ---- what is seen ----

  /** @returns {Look} which layer and head the reader looks at */
  look() {
    const { model } = this;
    return {
      layer: clamp(model.get("layer"), 1, this.sizes.depth) - 1,
      head: model.get("head") - 1,
      rolled: model.get("way") === "rollout",
    };
  }

  draw() {
    const patch = this.model.get("patch");
    const look = this.look();
    this.drawBoard(patch);
    this.line.replaceChildren(cosines(this.similarity, look.layer + 1));
    const where = whereOf(look, this.sizes.depth);
    const shown = `${this.names[this.of]} (image ${this.of + 1})`;
    if (patch >= 0) this.drawPatch(patch, look, where, shown);
    else this.drawTokens(look, where, shown);
  }

  drawBoard(/** @type {number} */ patch) {
    drawImage(this.board, imageOf(this.stored, this.shape, this.of), this.shape);
    if (patch < 0) return;
    const { patch: P } = this;
    const [x, y] = [patch % this.sizes.grid, Math.floor(patch / this.sizes.grid)];
    markPlace(this.board, x * P + 0.5, y * P + 0.5, P - 1, P - 1);
  }

  /**
   * @param {number} patch who asks
   * @param {Look} look which layer and head
   * @param {string} where the same in words
   * @param {string} shown which image
   */
  drawPatch(patch, look, where, shown) {
    const { sizes } = this;
    const { patches, prefix } = lookFrom(this.attention, sizes, look, sizes.prefix + patch);
    const place = placeName(patch, sizes.grid);
    this.maps.replaceChildren(this.panel(`asked from ${place}`, "line", patches));
    const [one, other] = prefix.map((share) => share.toFixed(2));
    this.frame.say(
      `${where}. The patch at ${place} of ${shown} attends most to ${this.most(patches)}; ` +
        `it takes ${one} from the class token and ${other} from the distillation token.`,
    );
  }

  /**
   * @param {Look} look which layer and head
   * @param {string} where the same in words
   * @param {string} shown which image
   */
  drawTokens(look, where, shown) {
    const [one, other] = [0, 1].map(
      (token) => lookFrom(this.attention, this.sizes, look, token).patches,
    );
    const difference = one.map((value, i) => value - other[i]);
    this.maps.replaceChildren(
      this.panel("class token", "class", one),
      this.panel("distillation token", "distillation", other),
      this.panel("difference", "line", difference, true),
      legend([
        ["class", "class token"],
        ["distillation", "distillation token"],
        ["fused", "difference: class takes more; orange: less"],
      ]),
    );
    const cosine = this.similarity[look.layer + 1].toFixed(2);
    this.frame.say(
      `${where}, ${shown}. The class token attends most to ${this.most(one)}; ` +
        `the distillation token to ${this.most(other)}. ` +
        `Cosine of the two after this layer: ${cosine}.`,
    );
  }

  /**
   * @param {number[]} values (N,)
   * @returns {string} where most of them is
   */
  most(values) {
    const { grid } = this.sizes;
    const box = this.model.get("boxes")[this.of];
    return mostOf(values, grid, box ? shareInBox(values, box, this.patch, grid) : null);
  }

  /**
   * @param {string} title above it
   * @param {string} colour below it
   * @param {number[]} values (N,)
   * @param {boolean} signed whether they may be below zero
   * @returns {HTMLElement} their map
   */
  panel(title, colour, values, signed = false) {
    const canvas = make("canvas", { role: "img" });
    const sizes = values.map(Math.abs);
    const most = Math.max(...sizes);
    const range = /** @type {[number, number]} */ ([signed ? -most : 0, most]);
    heatMap(canvas, values, this.sizes.grid, { range, diverging: signed });
    const place = placeName(argmax(sizes), this.sizes.grid);
    canvas.setAttribute("aria-label", `${title}: most at ${place}`);
    const style = { "border-bottom": `4px solid var(--${colour})` };
    return make("div", { style }, make("h4", {}, title), canvas);
  }

  // ---- another image ----

  async change() {
    const i = this.model.get("image");
    try {
      const pixels = imageOf(this.stored, this.shape, i);
      const { said, ms, runs } = await this.networks(pixels, this.shape);
      if (i !== this.model.get("image")) return; // another was chosen meanwhile
      ({ attention: this.attention, similarity: this.similarity } = said.network);
      this.of = i;
      this.note.textContent = `The network answered ${tookBy(ms, runs)}.`;
      complain(this.frame.root, "");
      this.draw();
    } catch (error) {
      complain(this.frame.root, `The network could not be loaded: ${error.message}`);
    }
  }
}

/**
 * @param {{ model: Model, el: HTMLElement }} given by the host
 * @returns {() => void} what to call when the figure goes
 */
function render({ model, el }) {
  const lens = new Lens(model, el);
  return () => lens.ends.forEach((stop) => stop());
}

export default { render };

// A picture that the reader draws on, takes patches from, and makes brighter or darker.
import { drawImage, markPlace } from "./drawing.js";
import { make, onArrows, OWN_KEYS, placeOf } from "./elements.js";
import { clamp } from "./numbers.js";

/**
 * @param {Uint8Array} pixels (C, H, W)
 * @param {number[]} shape C, H, W
 * @param {number} P pixels a side of a patch
 * @param {Set<number>} erased patches, which become black
 * @param {number} brightness what the others' pixels are multiplied by
 * @returns {Uint8Array} (C, H, W)
 */
function edited(pixels, [, H, W], P, erased, brightness) {
  return pixels.map((value, i) => {
    const patch = patchAt(i % W, Math.floor((i % (H * W)) / W), W, P);
    return erased.has(patch) ? 0 : Math.min(255, value * brightness);
  });
}

/**
 * @param {number} x column
 * @param {number} y row
 * @param {number} W columns
 * @param {number} P pixels a side of a patch
 * @returns {number} the patch that a pixel is in, row by row
 */
const patchAt = (x, y, W, P) => Math.floor(y / P) * (W / P) + Math.floor(x / P);

/**
 * A brush of two by two pixels, put on a picture.
 * @param {Uint8Array} pixels (C, H, W), changed
 * @param {number[]} shape C, H, W
 * @param {[number, number]} place column and row
 * @param {number[]} colour C numbers
 * @returns {void}
 */
function ink(pixels, [C, H, W], [x, y], colour) {
  for (let c = 0; c < C; c++) {
    for (let row = y; row < Math.min(y + 2, H); row++) {
      for (let column = x; column < Math.min(x + 2, W); column++) {
        pixels[(c * H + row) * W + column] = colour[c];
      }
    }
  }
}

/** The picture, its brush, and where the brush is. */
export class PictureBoard {
  /**
   * @param {number[]} shape C, H, W
   * @param {number} patch pixels a side
   * @param {BoardEvents} on what its pixels are multiplied by; told when the reader has drawn, and
   *   whenever the picture has changed
   */
  constructor(shape, patch, on) {
    const [C, H, W] = shape;
    this.shape = shape;
    this.patch = patch;
    this.on = on;
    this.tool = "draw"; // or "erase", "restore"
    this.colour = "#ffffff";
    /** @type {Uint8Array} */
    this.pixels = new Uint8Array(C * H * W);
    this.erased = new Set();
    this.cursor = { x: Math.floor(W / 2), y: Math.floor(H / 2) };
    this.canvas = make("canvas", {
      tabIndex: 0,
      className: "board",
      role: "application",
      dataset: OWN_KEYS,
      "aria-label": "The picture. Arrow keys move the brush, space or enter uses it.",
    });
    // Of the brush, for screen readers.
    this.place = make("p", { className: "said", role: "status" });
    /** @type {ReturnType<typeof setTimeout>} */
    this.later = undefined;
    this.listen();
  }

  listen() {
    const { canvas } = this;
    const [, H, W] = this.shape;
    const brush = (/** @type {MouseEvent} */ event) => this.paint(...placeOf(canvas, event, W, H));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      brush(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) brush(event);
    });
    const use = () => this.paint(this.cursor.x, this.cursor.y);
    onArrows(canvas, (x, y) => this.move(x, y), { " ": use, Enter: use });
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
  }

  /** @param {Uint8Array} pixels (C, H, W), another picture */
  take(pixels) {
    this.pixels = pixels;
    this.erased.clear();
  }

  /** @returns {Uint8Array} (C, H, W) as it is seen. */
  shown() {
    return edited(this.pixels, this.shape, this.patch, this.erased, this.on.brightness());
  }

  paint(x, y) {
    const patch = patchAt(x, y, this.shape[2], this.patch);
    if (this.tool === "erase") this.erased.add(patch);
    else if (this.tool === "restore") this.erased.delete(patch);
    else {
      ink(this.pixels, this.shape, [x, y], this.inkOf());
      this.on.inked();
    }
    this.on.changed();
  }

  /** @returns {number[]} the brush's colour in the picture's channels */
  inkOf() {
    const rgb = [1, 3, 5].map((at) => parseInt(this.colour.slice(at, at + 2), 16));
    return this.shape[0] === 1 ? [255] : rgb;
  }

  move(x, y) {
    const [, H, W] = this.shape;
    const step = this.tool === "draw" ? 1 : this.patch;
    this.cursor.x = clamp(this.cursor.x + step * x, 0, W - 1);
    this.cursor.y = clamp(this.cursor.y + step * y, 0, H - 1);
    this.draw();
    clearTimeout(this.later); // only where it stops is read out
    this.later = setTimeout(() => (this.place.textContent = this.placeInWords()), 400);
  }

  /** @returns {string} where the brush is */
  placeInWords() {
    const side = this.tool === "draw" ? 1 : this.patch;
    const [row, column] = [this.cursor.y, this.cursor.x].map((at) => Math.floor(at / side) + 1);
    return `The ${side === 1 ? "brush" : "patch"} is at row ${row}, column ${column}.`;
  }

  draw() {
    drawImage(this.canvas, this.shown(), this.shape);
    if (document.activeElement !== this.canvas) return;
    const { x, y } = this.cursor;
    if (this.tool === "draw") return markPlace(this.canvas, x - 0.5, y - 0.5, 3, 3);
    const P = this.patch;
    const corner = (/** @type {number} */ at) => Math.floor(at / P) * P + 0.5;
    markPlace(this.canvas, corner(x), corner(y), P - 1, P - 1);
  }
}

// Pictures: images and maps on a canvas, bars and lines as SVG.
import { make, makeSvg } from "./elements.js";
import { clamp, sizeOf } from "./numbers.js";

// Matplotlib's viridis and PuOr, at even steps.
const VIRIDIS = [
  [68, 1, 84],
  [72, 40, 120],
  [62, 74, 137],
  [49, 104, 142],
  [38, 130, 142],
  [31, 158, 137],
  [53, 183, 121],
  [110, 206, 88],
  [181, 222, 43],
  [253, 231, 37],
];
const PUOR = [
  [179, 88, 6],
  [224, 130, 20],
  [253, 184, 99],
  [254, 224, 182],
  [247, 247, 247],
  [216, 218, 235],
  [178, 171, 210],
  [128, 115, 172],
  [84, 39, 136],
];
const MARK = "#ffb000"; // on an image, in either theme

/**
 * @param {number[][]} map colours at even steps
 * @param {number} share where on it, from 0 to 1
 * @returns {number[]} red, green, blue
 */
function colourAt(map, share) {
  const place = clamp(share, 0, 1) * (map.length - 1);
  const low = Math.min(Math.floor(place), map.length - 2);
  return map[low].map((c, k) => c + (map[low + 1][k] - c) * (place - low));
}

/**
 * Values drawn as pixels into a canvas.
 * @param {HTMLCanvasElement} canvas takes their size
 * @param {NumberArray} values row by row
 * @param {number} columns of a row
 * @param {{ range: [number, number], diverging?: boolean }} settings diverging: the map with a
 *   white middle
 * @returns {void}
 */
export function heatMap(canvas, values, columns, { range: [low, high], diverging = false }) {
  const rows = values.length / columns;
  [canvas.width, canvas.height] = [columns, rows];
  const image = new ImageData(columns, rows);
  const map = diverging ? PUOR : VIRIDIS;
  values.forEach((/** @type {number} */ value, /** @type {number} */ i) => {
    const rgb = colourAt(map, high > low ? (value - low) / (high - low) : 0.5);
    image.data.set([...rgb, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/**
 * An image drawn into a canvas, which takes its size.
 * @param {HTMLCanvasElement} canvas where to
 * @param {NumberArray} pixels (C, H, W), 0 to 255
 * @param {number[]} shape C (1 or 3), H, W
 * @returns {void}
 */
export function drawImage(canvas, pixels, [C, H, W]) {
  [canvas.width, canvas.height] = [W, H];
  const image = new ImageData(W, H);
  for (let i = 0; i < H * W; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels[(C === 3 ? c : 0) * H * W + i];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/**
 * @param {NumberArray} stored (n, C, H, W), 0 to 255
 * @param {number[]} shape C, H, W
 * @param {number} which of the n
 * @returns {any} (C, H, W), a view
 */
export function imageOf(stored, shape, which) {
  const size = sizeOf(shape);
  return /** @type {Uint8Array} */ (stored).subarray(which * size, (which + 1) * size);
}

/**
 * The stored images as a picker wants them.
 * @param {NumberArray} stored (n, C, H, W), 0 to 255
 * @param {number[]} shape C, H, W
 * @param {string[]} names of the n images
 * @returns {NamedPicture[]} a canvas and a name each
 */
export function thumbnails(stored, shape, names) {
  return names.map((name, which) => {
    const canvas = make("canvas");
    drawImage(canvas, imageOf(stored, shape, which), shape);
    return { canvas, name };
  });
}

/**
 * An image drawn larger, with sharp pixels.
 * @param {HTMLCanvasElement} canvas where to
 * @param {HTMLCanvasElement} small what is enlarged
 * @param {number} times how much larger
 * @returns {CanvasRenderingContext2D} for what comes on top
 */
export function enlarge(canvas, small, times) {
  [canvas.width, canvas.height] = [times * small.width, times * small.height];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  return context;
}

/**
 * A frame round a place of an image.
 * @param {HTMLCanvasElement} canvas the image
 * @param {number} x its left edge, pixels
 * @param {number} y its upper edge
 * @param {number} width pixels
 * @param {number} height pixels
 * @returns {void}
 */
export function markPlace(canvas, x, y, width, height) {
  const context = canvas.getContext("2d");
  context.strokeStyle = MARK;
  context.strokeRect(x, y, width, height);
}

/**
 * The plane of a chart: its SVG, where a number lies on it, and pens.
 * @param {PlaneSettings} settings its size in units (on a phone about a pixel each), its margins,
 *   across and up: the numbers at its edges, [low, high]
 * @returns {Plane} svg, x and y; line, curve, dot and text draw at places of the picture
 */
export function plane({ width = 330, height, left, right, top, bottom, across, up, label }) {
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
  const [wide, tall] = [width - left - right, height - top - bottom];
  const x = (/** @type {number} */ v) =>
    left + ((v - across[0]) / (across[1] - across[0] || 1)) * wide;
  const y = (/** @type {number} */ v) => top + ((up[1] - v) / (up[1] - up[0] || 1)) * tall;
  return {
    svg,
    x,
    y,
    line: (x1, y1, x2, y2, style) => svg.append(makeSvg("line", { x1, x2, y1, y2, style })),
    curve: (points, style) => {
      const places = points.map(([a, b]) => `${x(a)},${y(b)}`).join(" ");
      svg.append(makeSvg("polyline", { points: places, style }));
    },
    dot: (cx, cy, r, style) => svg.append(makeSvg("circle", { cx, cy, r, style })),
    text: (words, atX, atY, { anchor = "start", style = "" } = {}) =>
      svg.append(makeSvg("text", { x: atX, y: atY, "text-anchor": anchor, style }, words)),
  };
}

const BAR = { row: 15, gap: 9, left: 78, width: 330 }; // units of the picture
const FONT = "11.5px system-ui, sans-serif"; // of a picture's words, as common.css has it

/**
 * @param {string} words any
 * @param {number} room units of the picture
 * @returns {string} as much of them as fits, with an ellipsis where that is not all
 */
function shortened(words, room) {
  const context = make("canvas").getContext("2d");
  context.font = FONT;
  const fits = (/** @type {string} */ text) => context.measureText(text).width <= room;
  const letters = [...words];
  if (fits(words)) return words;
  while (letters.length && !fits(`${letters.join("")}\u2026`)) letters.pop();
  return `${letters.join("")}\u2026`;
}

/**
 * Bars from zero, a group for every name, a bar for every series.
 * @param {BarsSettings} settings names; series: [{colour, values, faint}]; low and high: the ends;
 *   show: a value in words; right: the room for them
 * @returns {SVGElement} the picture
 */
export function bars({
  names,
  series,
  low = 0,
  high = 1,
  show = (v) => v.toFixed(2),
  label,
  right = 46,
}) {
  const { row, gap, left, width } = BAR;
  const group = row * series.length + gap;
  const height = group * names.length;
  const x = (/** @type {number} */ value) =>
    left + ((clamp(value, low, high) - low) / (high - low)) * (width - left - right);
  const viewBox = `0 0 ${width} ${height}`;
  const svg = makeSvg("svg", { viewBox, role: "img", "aria-label": label, class: "bars" });
  const drawBar = (
    /** @type {Series} */ { colour, values, faint },
    /** @type {number} */ i,
    /** @type {number} */ j,
  ) => {
    const y = i * group + j * row;
    const [from, to] = [x(Math.min(0, values[i])), x(Math.max(0, values[i]))];
    const place = { x: from, y: y + 2, width: Math.max(to - from, 0.5), height: row - 3 };
    const style = `fill:var(--${colour});opacity:${faint ? 0.45 : 1}`;
    svg.append(makeSvg("rect", { ...place, style }));
    svg.append(
      makeSvg("text", { x: width - right + 6, y: y + 12, class: "value" }, show(values[i], j)),
    );
  };
  names.forEach((name, i) => {
    const y = i * group + (group - gap) / 2 + 4;
    const short = shortened(name, left - 10);
    const whole = short === name ? [] : [makeSvg("title", {}, name)];
    svg.append(makeSvg("text", { x: left - 6, y, "text-anchor": "end" }, short, ...whole));
    series.forEach((one, j) => drawBar(one, i, j));
  });
  const zero = { x1: x(0), x2: x(0), y1: 0, y2: height - gap, class: "zero" };
  if (low < 0) svg.append(makeSvg("line", zero));
  return svg;
}

/**
 * What the colours of a figure mean.
 * @param {[string, string][]} entries [colour, words] each
 * @returns {HTMLElement} one line
 */
export function legend(entries) {
  const entry = (/** @type {[string, string]} */ [colour, words]) => {
    const mark = make("span", { className: "mark", style: { background: `var(--${colour})` } });
    return make("span", {}, mark, words);
  };
  return make("p", { className: "legend" }, ...entries.map(entry));
}

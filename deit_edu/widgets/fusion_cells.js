// The fusion explorer's matrix, and below it the images of the chosen cell.
import { button, choice, pagesOwn, put } from "./controls.js";
import { bars, drawImage, imageOf, legend } from "./drawing.js";
import { complain, make, onArrows, OWN_KEYS } from "./elements.js";
import { imagesOfCell, offDiagonal, rateOf } from "./fusion_counting.js";
import { knownHere, pairOf, seedOf, WHO } from "./fusion_state.js";
import { clamp, countOfImages, fuse, likeliest, load, softmax, unpacked } from "./numbers.js";

/** @typedef {import("./fusion_state.js").Explorer} Explorer */

const SHOWN = 6; // images of a cell at a time

/**
 * @param {Explorer} explorer
 * @param {number} row
 * @param {number} column
 * @returns {string} a cell in words
 */
function cellWords(explorer, row, column) {
  const { K, names } = explorer.facts;
  const [one, other] = pairOf(explorer).map((who) => WHO[who]);
  const count = countOfImages(explorer.found[K * row + column]);
  const rate = rateOf(explorer.found, K, row, column);
  return `${one} ${names[row]}, ${other} ${names[column]}: ${count}, ${rate} of the row`;
}

/**
 * @param {Explorer} explorer
 * @param {number} row
 * @param {number} column
 * @returns {void}
 */
function chooseCell(explorer, row, column) {
  explorer.image = 0;
  put(explorer.model, "cell", [row, column]);
  loadGallery(explorer);
}

// ---- the matrix: a grid of cells, one tab stop, the arrow keys walk ----

/**
 * @param {Explorer} explorer
 * @param {number} row
 * @param {number} column
 * @param {number} most images of a cell in which the two part
 * @returns {HTMLElement} the cell
 */
function cellOf(explorer, row, column, most) {
  const { model, found, cell, facts } = explorer;
  const count = found[facts.K * row + column];
  const own = row === cell[0] && column === cell[1];
  const rate = rateOf(found, facts.K, row, column).replace(" %", "");
  const text = model.get("unit") === "rates" ? rate : String(count);
  const properties = {
    role: "gridcell",
    tabIndex: own ? 0 : -1,
    "aria-selected": String(own),
    dataset: { ...OWN_KEYS, row, column },
    "aria-label": cellWords(explorer, row, column),
  };
  const node = make("td", properties, count ? text : "");
  const share = row === column ? 0 : Math.round((30 * count) / most);
  node.style.background = `color-mix(in srgb, var(--ink) ${share}%, var(--paper))`;
  return node;
}

/**
 * @param {Explorer} explorer
 * @returns {HTMLElement} the whole grid
 */
function gridOf(explorer) {
  const { K, names } = explorer.facts;
  const most = Math.max(1, ...offDiagonal(explorer.found, K));
  const [one, other] = pairOf(explorer).map((who) => WHO[who]);
  const heading = (/** @type {string} */ name) =>
    make("th", { scope: "col", role: "columnheader" }, make("span", { title: name }, name));
  const corner = make("td", { role: "presentation" });
  const head = make("tr", { role: "row" }, corner, ...names.map(heading));
  const body = names.map((name, row) => {
    const cells = names.map((_, column) => cellOf(explorer, row, column, most));
    const own = make("th", { scope: "row", role: "rowheader" }, name);
    return make("tr", { role: "row" }, own, ...cells);
  });
  const label = `rows ${one}, columns ${other}; arrow keys choose a cell`;
  return make(
    "table",
    { role: "grid", className: "confusions", "aria-label": label },
    make("thead", { role: "rowgroup" }, head),
    make("tbody", { role: "rowgroup" }, ...body),
  );
}

/**
 * Who takes which class for which: the arrow keys and the pointer choose a cell.
 * @param {Explorer} explorer the figure
 * @returns {void}
 */
export function drawMatrix(explorer) {
  const { parts, facts, cell } = explorer;
  const focus = parts.matrix.contains(document.activeElement);
  const grid = gridOf(explorer);
  grid.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    const chosen = /** @type {HTMLElement} */ (target.closest("[role=gridcell]"));
    if (chosen) chooseCell(explorer, Number(chosen.dataset.row), Number(chosen.dataset.column));
  });
  const walk = (/** @type {number} */ from, /** @type {number} */ step) =>
    clamp(from + step, 0, facts.K - 1);
  onArrows(grid, (x, y) => chooseCell(explorer, walk(cell[0], y), walk(cell[1], x)));
  parts.matrix.replaceChildren(grid);
  if (focus) /** @type {HTMLElement} */ (grid.querySelector("[tabindex='0']")).focus();
}

// ---- images of the chosen cell: the gallery is loaded when it is first asked for ----

/**
 * @param {Explorer} explorer
 * @returns {Promise<void>} when the cards are drawn, or a complaint is
 */
async function loadGallery(explorer) {
  if (explorer.gallery) return;
  const { model, root } = explorer;
  try {
    explorer.loading ??= Promise.all([load(model, "gallery"), load(model, "gallery_logits")]);
    const [bytes, halves] = await explorer.loading;
    const logits = /** @type {Float32Array} */ (unpacked(halves, "f2"));
    explorer.gallery = { pixels: unpacked(bytes, "u1"), logits };
    complain(root, "");
    drawCards(explorer);
  } catch (error) {
    explorer.loading = null; // try again when asked again
    complain(root, `The images could not be loaded: ${error.message}`);
  }
}

/** @param {(Node | string)[]} words */
const onItsLine = (...words) => make("span", { style: { display: "block" } }, ...words);

/**
 * Who says what of an image, an answer a line.
 * @param {[string, number][]} answers who, and which class
 * @param {number} truth the right class
 * @param {string[]} names of the classes
 * @returns {HTMLElement[]} the lines
 */
function grouped(answers, truth, names) {
  const classes = [...new Set(answers.map(([, k]) => k))];
  return classes.map((k) => {
    const who = answers.filter(([, said]) => said === k).map(([one]) => WHO[one]);
    const name = make("b", {}, names[k] + (k === truth ? " \u2713" : ""));
    return onItsLine(name, `: ${who.join("; ")}`);
  });
}

/**
 * @param {Explorer} explorer
 * @param {number} image of the test split
 * @param {number} place in the gallery
 * @returns {HTMLElement} the image and who says what of it
 */
function cardOf(explorer, image, place) {
  const { model, facts, gallery } = explorer;
  const canvas = make("canvas", { "aria-hidden": "true" });
  const shape = model.get("image_shape");
  drawImage(canvas, imageOf(gallery.pixels, shape, place), shape);
  /** @type {[string, number][]} */
  const answers = Object.entries(knownHere(explorer).said).map(([who, row]) => [who, row[image]]);
  const lines = grouped(answers, facts.truth[image], facts.names);
  const style = { "font-size": "0.82rem" };
  return make("span", { style }, canvas, onItsLine(`test image ${image}`), ...lines);
}

/**
 * @param {Explorer} explorer
 * @param {number} count images of the cell
 * @returns {Node | string} what stands where there are no cards
 */
function insteadOfCards(explorer, count) {
  if (!count) return "No image is in this cell: choose one with a number.";
  if (explorer.gallery) return "None of them is in this page: choose a cell with more.";
  return button("Show some of them", () => loadGallery(explorer));
}

/**
 * The images of the chosen cell, each with who says what of it.
 * @param {Explorer} explorer the figure
 * @returns {void}
 */
export function drawCards(explorer) {
  const { parts, facts, cell, gallery, found } = explorer;
  const [one, other] = pairOf(explorer).map((who) => knownHere(explorer).said[who]);
  const count = found[facts.K * cell[0] + cell[1]];
  const title = make("h4", {}, cellWords(explorer, ...cell));
  explorer.shown = gallery ? imagesOfCell(facts.index, one, other, cell, SHOWN) : [];
  const { shown } = explorer;
  if (!shown.length) {
    parts.answers.replaceChildren();
    parts.cards.replaceChildren(title, make("p", {}, insteadOfCards(explorer, count)));
    return;
  }
  explorer.image = Math.min(explorer.image, shown.length - 1);
  const chosen = pagesOwn(explorer.image, (which) => {
    explorer.image = which;
    drawAnswers(explorer);
  });
  const cards = choice(chosen, "gallery", {
    label: shown.length === count ? "all of them are here" : `${shown.length} of them are shown`,
    className: "cards",
    options: shown.map(([image, place], i) => [i, cardOf(explorer, image, place)]),
  });
  parts.cards.replaceChildren(title, cards);
  drawAnswers(explorer);
}

/**
 * @param {Explorer} explorer
 * @param {number} place in the gallery
 * @returns {[string, string, number[]][]} colour, short name and (K,) probabilities of each answer
 */
function answersTo(explorer, place) {
  const { model, facts, gallery } = explorer;
  const seed = seedOf(explorer);
  const logitsOf = (/** @type {string} */ who) => {
    const from = facts.blocks[`${seed} ${who}`] + place * facts.K;
    return gallery.logits.subarray(from, from + facts.K);
  };
  const [one, other] = [logitsOf("class"), logitsOf("distillation")];
  const weight = model.get("weight");
  const taught = model.get("answering")[seed].includes("teacher");
  return [
    ["class", "class", softmax(one)],
    ["distillation", "distill.", softmax(other)],
    ["fused", "probab.", fuse(one, other, weight, "probabilities")],
    ["fused", "logits", fuse(one, other, weight, "logits")],
    .../** @type {[string, string, number[]][]} */ (
      taught ? [["teacher", "teacher", softmax(logitsOf("teacher"))]] : []
    ),
  ];
}

/**
 * @param {number} weight of the class head
 * @param {boolean} taught whether the teacher's answer is there
 * @returns {HTMLElement} what the colours of the bars mean
 */
function answersLegend(weight, taught) {
  const both = `both with weight ${weight.toFixed(2)}, by probabilities and, fainter, by logits`;
  /** @type {[string, string][]} */
  const entries = [
    ["class", "class head"],
    ["distillation", "distillation head"],
    ["fused", both],
  ];
  if (taught) entries.push(["teacher", "teacher"]);
  return legend(entries);
}

/**
 * The answers to the chosen image, as bars.
 * @param {Explorer} explorer the figure
 * @returns {void}
 */
export function drawAnswers(explorer) {
  const { model, facts, parts, shown } = explorer;
  if (!shown.length) return;
  const [image, place] = shown[explorer.image];
  const answers = answersTo(explorer, place);
  const top = likeliest(
    answers.map(([, , values]) => values),
    3,
  );
  const picture = bars({
    names: top.map((k) => facts.names[k]),
    label: `Probabilities of the likeliest classes, test image ${image}`,
    right: 92,
    show: (value, which) => `${value.toFixed(2)} ${answers[which][1]}`,
    series: answers.map(([colour, short, values]) => ({
      colour,
      values: top.map((k) => values[k]),
      faint: short === "logits",
    })),
  });
  parts.answers.replaceChildren(
    make("h4", {}, `test image ${image}: the label says ${facts.names[facts.truth[image]]}`),
    picture,
    answersLegend(model.get("weight"), answers.length > 4),
  );
}

// Elements of a figure: no framework, a figure makes them, binds them to its model, and draws.
import { clamp } from "./numbers.js";

/** Or JupyterLab takes the arrow keys from an element: give it as `dataset`. */
export const OWN_KEYS = { lmSuppressShortcuts: "true" };

/**
 * An HTML element.
 * @param {string} tag its name
 * @param {Properties} properties its properties or attributes; `dataset` and `style` are objects
 * @param {(Node | string)[]} children what it holds
 * @returns {any} the element
 */
export function make(tag, properties = {}, ...children) {
  const { dataset, style, ...rest } = properties;
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name in node && !name.startsWith("aria")) /** @type {any} */ (node)[name] = value;
    else node.setAttribute(name, value);
  }
  Object.assign(node.dataset, dataset);
  for (const [name, value] of Object.entries(style ?? {})) node.style.setProperty(name, value);
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * An SVG element.
 * @param {string} tag its name
 * @param {Record<string, any>} attributes its attributes
 * @param {(Node | string)[]} children what it holds
 * @returns {SVGElement} the element
 */
export function makeSvg(tag, attributes = {}, ...children) {
  const node = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * A figure's outermost element, with its title and a line that screen readers hear as it changes.
 * @param {Model} model the figure's
 * @param {HTMLElement} el where it goes
 * @param {string} title what it is
 * @returns {Frame} root; say(text), the sentence; end(where), which puts that sentence there
 */
export function frame(model, el, title) {
  const dataset = { figure: model.get("_figure") };
  const root = make("section", { className: "deit-edu", "aria-label": title, dataset });
  const spoken = make("p", { className: "said", role: "status" });
  const words = make("p", { className: "words" });
  /** @type {ReturnType<typeof setTimeout>} */
  let later;
  const say = (/** @type {string} */ text) => {
    if (words.textContent === text) return;
    words.textContent = text;
    clearTimeout(later); // while a slider is dragged, only where it stops is read out
    later = setTimeout(() => (spoken.textContent = text), 400);
  };
  el.append(root);
  root.append(make("p", { className: "title" }, title));
  return { root, say, end: (where = root) => where.append(words, spoken) };
}

/**
 * A sentence in place of something that could not be: always one line that says what to do.
 * @param {HTMLElement} root the figure's outermost element
 * @param {string} text the sentence; empty: the last one goes
 * @returns {void}
 */
export function complain(root, text) {
  root.querySelector(".complaint")?.remove();
  if (text) root.append(make("p", { className: "complaint", role: "alert" }, text));
}

/**
 * A table that a phone can scroll: its words are the name under which it is read out.
 * @param {(Node | string)[]} head the columns' names; "" for a corner without one
 * @param {HTMLElement[][]} rows cells, the first of each a heading
 * @returns {HTMLTableElement} the table
 */
export function table(head, rows) {
  const names = head.map((name) => make(name ? "th" : "td", name ? { scope: "col" } : {}, name));
  const body = rows.map((cells) => make("tr", {}, ...cells));
  return make("table", {}, make("thead", {}, make("tr", {}, ...names)), make("tbody", {}, ...body));
}

/**
 * @param {string} name what a row of a table is about
 * @returns {HTMLElement} the first cell of that row
 */
export const rowHeading = (name) => make("th", { scope: "row" }, name);

/**
 * @param {string} label what the table shows
 * @param {HTMLTableElement} inner the table
 * @returns {HTMLElement} a region that scrolls sideways, by keyboard too
 */
export const scrolling = (label, inner) =>
  make(
    "div",
    { className: "scrolls", tabIndex: 0, dataset: OWN_KEYS, role: "region", "aria-label": label },
    inner,
  );

/**
 * @param {(Node | string)[]} children what stands side by side, and on a phone one below the other
 * @returns {HTMLElement} their row
 */
export const side = (...children) => make("div", { className: "side" }, ...children);

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The keys of an element that the arrow keys move in. A key that is used does nothing else.
 * @param {HTMLElement} node what has the focus
 * @param {(x: number, y: number) => void} move takes a step: columns to the right, rows down
 * @param {Record<string, () => void>} others what other keys do, by their name
 * @returns {void}
 */
export function onArrows(node, move, others = {}) {
  node.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key];
    if (!step && !others[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    if (step) move(...step);
    else others[event.key]();
  });
}

/**
 * Where a pointer is on a picture that is a grid.
 * @param {HTMLElement} node the picture
 * @param {MouseEvent} event of the pointer
 * @param {number} columns of the grid
 * @param {number} rows of the grid
 * @returns {[number, number]} column and row, never outside
 */
export function placeOf(node, event, columns, rows) {
  const box = node.getBoundingClientRect();
  const along = (/** @type {number} */ share, /** @type {number} */ count) =>
    clamp(Math.floor(share * count), 0, count - 1);
  return [
    along((event.clientX - box.left) / box.width, columns),
    along((event.clientY - box.top) / box.height, rows),
  ];
}

import { button, menu, put, slider, toggle } from "./controls.js";
import { plane } from "./drawing.js";
import { frame, make, OWN_KEYS, scrolling } from "./elements.js";
import { percentEnds } from "./numbers.js";

/** @typedef {string | number | null} Cell */
/** @typedef {Record<string, Cell>} Row a record: a value for every column */
/** @typedef {{ words: string, experiment: string, epochs: string }} Asked which records */
/** @typedef {Asked & { sorted_by: string, descending: boolean }} Ordered and in which order */

const ALL = ""; // no experiment, no length is chosen
const ROWS = 12; // of a page
// Behind the point, by the column's first word.
const DIGITS = /** @type {Record<string, number>} */ ({ test: 2, validation: 2, seconds: 1 });

/**
 * @param {Row} row a record
 * @returns {number} test accuracy of both heads, or of the only one
 */
const accuracyOf = (row) => Number(row.test_fused ?? row.test_class);

/**
 * The records that a reader chose, in their order.
 * @param {Row[]} rows all records
 * @param {Ordered} asked what is chosen
 * @returns {Row[]} those that fit; records without a value come last
 */
export function chosenRows(rows, { words, experiment, epochs, sorted_by: by, descending }) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (/** @type {Row} */ row) => {
    const text = Object.values(row).join(" ").toLowerCase();
    const here = experiment === ALL || row.experiment === experiment;
    const long = epochs === ALL || String(row.epochs) === epochs;
    return here && long && wanted.every((word) => text.includes(word));
  };
  const found = rows.filter(fits);
  if (!by) return found;
  const turn = descending ? -1 : 1;
  return found.sort((one, other) => {
    const [a, b] = [one[by], other[by]];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return turn * (typeof a === "number" ? a - Number(b) : a < b ? -1 : Number(a > b));
  });
}

/**
 * Records as comma-separated values (RFC 4180).
 * @param {string[]} columns their names
 * @param {Row[]} rows the records
 * @returns {string} a line of names, and a line for each record
 */
export function asCsv(columns, rows) {
  const quoted = (/** @type {Cell} */ cell) => {
    const text = cell === null ? "" : String(cell);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
  return lines.map((cells) => cells.map(quoted).join(",") + "\n").join("");
}

/**
 * Names under which records of several lengths stand.
 * @param {Row[]} rows records
 * @returns {string[]} experiment and configuration, with their lengths
 */
export function mixedLengths(rows) {
  /** @type {Map<string, Set<Cell>>} */
  const lengths = new Map();
  for (const { experiment, configuration, epochs } of rows) {
    const name = `${experiment} ${configuration}`;
    lengths.set(name, (lengths.get(name) ?? new Set()).add(epochs));
  }
  return [...lengths]
    .filter(([, found]) => found.size > 1)
    .map(([name, found]) => `${name} (${[...found].join(" and ")} epochs)`);
}

/**
 * Every record a dot at its accuracy, a line for each length; those of the page are full.
 * @param {Row[]} rows the records that are chosen
 * @param {Row[]} page those that can be read now
 * @returns {SVGElement} the picture
 */
function picture(rows, page) {
  const lengths = [...new Set(rows.map((row) => Number(row.epochs)))].sort((a, b) => a - b);
  const all = rows.map(accuracyOf);
  const [low, high] = percentEnds(all);
  const height = 18 * lengths.length + 30;
  const label = `Test accuracy of ${rows.length} records, from ${low} to ${high} %`;
  const drawn = plane({
    height,
    left: 72,
    right: 16,
    top: 0,
    bottom: 0,
    across: [low, high],
    up: [0, 1],
    label,
  });
  const line = (/** @type {Row} */ row) => 12 + 18 * lengths.indexOf(Number(row.epochs));
  lengths.forEach((epochs, i) => {
    drawn.text(`${epochs} epochs`, 64, 16 + 18 * i, { anchor: "end" });
  });
  const shown = new Set(page);
  for (const row of rows)
    if (!shown.has(row))
      drawn.dot(drawn.x(accuracyOf(row)), line(row), 3, "fill:var(--line);opacity:0.35");
  for (const row of page) drawn.dot(drawn.x(accuracyOf(row)), line(row), 4.5, "fill:var(--fused)");
  for (const end of [low, high])
    drawn.text(`${end} %`, drawn.x(end), height - 6, { anchor: end === low ? "start" : "end" });
  return drawn.svg;
}

/**
 * @param {string} column its name
 * @param {Cell} value in it
 * @returns {string} the value in words
 */
function shown(column, value) {
  const digits = DIGITS[column.split("_")[0]];
  if (value === null) return "\u2013";
  return digits === undefined ? String(value) : Number(value).toFixed(digits);
}

/**
 * What is chosen, in a sentence.
 * @param {Row[]} rows the records that are chosen
 * @param {number} count of all
 * @param {number} page which of the pages
 * @param {number} pages how many
 * @returns {string} the sentence
 */
function sentence(rows, count, page, pages) {
  if (!rows.length)
    return `None of ${count} records fits: take a word away, or choose all experiments.`;
  const mixed = mixedLengths(rows);
  const words = [`${rows.length} of ${count} records, page ${page} of ${pages}.`];
  if (mixed.length === 1) words.push(`Two lengths under one name: ${mixed[0]}.`);
  if (mixed.length > 1)
    words.push(`${mixed.length} names hold two lengths: choose a length before you average.`);
  return words.join(" ");
}

/**
 * A line to write in, bound to a trait.
 * @param {Model} model the figure's
 * @param {string} name the trait
 * @param {string} label what it is for
 * @returns {HTMLElement} label and line
 */
function field(model, name, label) {
  const input = make("input", { type: "search", value: model.get(name), dataset: OWN_KEYS });
  input.addEventListener("input", () => put(model, name, input.value));
  model.on(`change:${name}`, () => {
    if (input.value !== model.get(name)) input.value = model.get(name);
  });
  return make("label", { className: "menu" }, label, input);
}

/**
 * @param {Cell[]} values of a column
 * @returns {[string, string][]} a menu's options: all, and each of them
 */
const optionsOf = (values) => [
  [ALL, "all"],
  .../** @type {[string, string][]} */ (
    [...new Set(values)].map((value) => [String(value), String(value)])
  ),
];

/**
 * @param {{ model: Model, el: HTMLElement }} given the figure's model and its place
 * @returns {void}
 */
function render({ model, el }) {
  const columns = model.get("columns");
  const text = new TextDecoder().decode(model.get("rows"));
  const rows = JSON.parse(text).map((/** @type {Cell[]} */ values) =>
    Object.fromEntries(columns.map((/** @type {string} */ name, i) => [name, values[i]])),
  );
  const names = ["words", "experiment", "epochs", "sorted_by", "descending"];
  const asked = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const { root, say, end } = frame(model, el, "The ledger: every network that was trained");
  const drawing = make("div");
  const [head, body] = [make("tr"), make("tbody")];
  let pages = 1; // of what is chosen
  const ofPages = (/** @type {number} */ page) => `${page} of ${pages}`;
  const pager = slider(model, "page", { label: "page", min: 1, max: pages, show: ofPages });

  const sortBy = (/** @type {string} */ name) => {
    const again = model.get("sorted_by") === name;
    put(model, "descending", again && !model.get("descending"));
    put(model, "sorted_by", name);
  };
  function drawHead(/** @type {string[]} */ visible) {
    const cells = visible.map((name) => {
      const press = button(name.replaceAll("_", " "), () => sortBy(name));
      return make("th", { scope: "col", dataset: { name } }, press);
    });
    head.replaceChildren(...cells);
  }
  function markSorted() {
    const order = model.get("descending") ? "descending" : "ascending";
    for (const cell of head.children) {
      const by = cell.dataset.name === model.get("sorted_by");
      cell.setAttribute("aria-sort", by ? order : "none");
    }
  }
  function showPages(/** @type {number} */ page) {
    const [input, output] = [pager.querySelector("input"), pager.querySelector("output")];
    Object.assign(input, { max: pages, value: page });
    input.setAttribute("aria-valuetext", ofPages(page));
    output.textContent = ofPages(page);
  }
  const visibleColumns = () => (model.get("every_column") ? columns : model.get("short"));

  function draw() {
    const found = chosenRows(rows, /** @type {any} */ (asked()));
    const count = Math.max(1, Math.ceil(found.length / ROWS));
    const page = Math.min(model.get("page"), count);
    pages = count;
    if (page !== model.get("page")) put(model, "page", page);
    showPages(page);
    const read = found.slice(ROWS * (page - 1), ROWS * page);
    const visible = visibleColumns();
    const cell = (/** @type {Row} */ row, /** @type {string} */ name, /** @type {number} */ i) =>
      make(i ? "td" : "th", i ? {} : { scope: "row" }, shown(name, row[name]));
    const lines = read.map((row) =>
      make("tr", {}, ...visible.map((name, i) => cell(row, name, i))),
    );
    body.replaceChildren(...lines);
    markSorted();
    drawing.replaceChildren(...(found.length ? [picture(found, read)] : []));
    say(sentence(found, rows.length, page, count));
  }

  function download() {
    const csv = asCsv(columns, chosenRows(rows, /** @type {any} */ (asked())));
    const href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
    make("a", { href, download: "ledger.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  }

  const column = (/** @type {string} */ name) => rows.map((/** @type {Row} */ row) => row[name]);
  const lengths = column("epochs").sort((a, b) => a - b);
  root.append(
    field(model, "words", "find"),
    menu(model, "experiment", { label: "experiment", options: optionsOf(column("experiment")) }),
    menu(model, "epochs", { label: "epochs", options: optionsOf(lengths) }),
    drawing,
    pager,
    scrolling("Records of the ledger", make("table", {}, make("thead", {}, head), body)),
    toggle(model, "every_column", { label: "every column" }),
    button("Download these as CSV", download),
  );
  end();
  drawHead(visibleColumns());
  draw();

  model.on("change:every_column", () => drawHead(visibleColumns()));
  for (const name of ["words", "experiment", "epochs"])
    model.on(`change:${name}`, () => put(model, "page", 1));
  for (const name of [...names, "every_column", "page"]) model.on(`change:${name}`, draw);
}

export default { render };

// The position lab's table: norm and accuracy at other image sizes, as far as they are recorded.
import { make, rowHeading, scrolling, table } from "./elements.js";

/**
 * deit_edu.widgets.position_lab.recorded_runs: an accuracy, or null where there is none yet.
 * @typedef {{ mean: number, interval: number[], seeds: number } | null} Accuracy
 * @typedef {{ side: number, interpolation: string, norm: number | null, tested: Accuracy,
 *   tuned: Accuracy }} Row
 * @typedef {{ model: string, seeds: number, rows: Row[] }} Recorded
 */

/** @param {(Node | string)[]} shown */
const number = (...shown) => make("td", { style: { "text-align": "right" } }, ...shown);

/**
 * @param {Accuracy} found
 * @param {number} seeds of the experiment
 * @returns {HTMLElement} a cell; one that waits for its runs has a dash
 */
function accuracyCell(found, seeds) {
  if (!found) {
    const dash = make("span", { "aria-hidden": "true" }, "\u2013");
    return number(dash, make("span", { className: "hidden" }, "not in the ledger yet"));
  }
  const spread = found.interval.map((value) => value.toFixed(1)).join(" to ");
  const fewer = ` (${found.seeds} seed${found.seeds === 1 ? "" : "s"})`;
  const small = found.seeds === seeds ? spread : spread + fewer;
  const style = { "white-space": "nowrap" };
  return number(found.mean.toFixed(1), make("br"), make("small", { style }, small));
}

/**
 * @param {Row} row
 * @param {number} seeds of the experiment
 * @returns {HTMLElement[]} its cells
 */
function cellsOf(row, seeds) {
  const name = row.interpolation ? `${row.side} px, ${row.interpolation}` : `${row.side} px`;
  const norm = number(row.norm === null ? "\u2013" : row.norm.toFixed(1));
  return [rowHeading(name), norm, accuracyCell(row.tested, seeds), accuracyCell(row.tuned, seeds)];
}

/**
 * @param {number} missing numbers
 * @param {number} all numbers
 * @param {number} seeds of the experiment
 * @returns {HTMLElement} what the reader can do about it
 */
function missingWords(missing, all, seeds) {
  const command = make(
    "span",
    { style: { "white-space": "nowrap" } },
    "deit-edu ablate resolution",
  );
  const words =
    `${missing} of these ${all} numbers are not in the ledger yet, ` +
    `or not with all ${seeds} seeds: `;
  return make("p", {}, words, command, " makes them.");
}

/**
 * The ledger's runs as a table.
 * @param {Recorded} recorded what the ledger has
 * @returns {HTMLElement} heading, table, and what is missing
 */
export function ledgerPart({ model, seeds, rows }) {
  const { side } = rows.find((row) => !row.interpolation);
  const title =
    `the book\u2019s runs: ${model}, trained at ${side} px, test accuracy in %, ` +
    `mean over ${seeds} seeds with its 95 % interval`;
  const part = make("div", {}, make("h4", {}, title));
  const all = rows.flatMap(({ tested, tuned }) => [tested, tuned]);
  if (all.some(Boolean)) {
    const columns = ["", "norm kept, %", "tested as it is", "fine-tuned"];
    const cells = rows.map((row) => cellsOf(row, seeds));
    const label = "norm and accuracy at other image sizes, from the ledger";
    part.append(scrolling(label, table(columns, cells)));
  }
  const whole = all.filter((found) => found && found.seeds >= seeds).length;
  if (whole < all.length) part.append(missingWords(all.length - whole, all.length, seeds));
  return part;
}

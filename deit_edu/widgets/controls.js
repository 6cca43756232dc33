// Controls: each is bound to one trait of the model, both ways.
import { make, OWN_KEYS } from "./elements.js";

// One count for a page: every kind of figure brings this file along.
globalThis.deitEduControls ??= 0;
const newId = (/** @type {string} */ name) => `deit-edu-${name}-${++globalThis.deitEduControls}`;

/**
 * Set a trait, in the page and in Python.
 * @param {Model} model the figure's
 * @param {string} name the trait
 * @param {any} value what it is set to
 * @returns {void}
 */
export function put(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

/**
 * Keep a control at what its trait says.
 * @param {Model} model the figure's
 * @param {string} name the trait
 * @param {() => void} read shows the trait's value
 * @returns {void}
 */
function follow(model, name, read) {
  model.on(`change:${name}`, read);
  read();
}

/**
 * A model of one value that only the page knows: for a control without a trait.
 * @param {any} first what the value is before anyone chooses
 * @param {(value: any) => void} chosen is told of every choice
 * @returns {Model} to be given to a control
 */
export function pagesOwn(first, chosen) {
  let value = first;
  return {
    get: () => value,
    set(_, given) {
      value = given;
      chosen(given);
    },
    save_changes() {},
    on() {},
  };
}

/**
 * A number between two others.
 * @param {Model} model the figure's
 * @param {string} name the trait, a number or a list of numbers
 * @param {SliderSettings} settings its label and bounds; show: a value in words; index: which entry
 *   of a list
 * @returns {HTMLElement} label, slider and value
 */
export function slider(model, name, { label, min, max, step = 1, show = String, index }) {
  const value = () => (index === undefined ? model.get(name) : model.get(name)[index]);
  const id = newId(name);
  const input = make("input", { type: "range", id, min, max, step, dataset: OWN_KEYS });
  const output = make("output", { htmlFor: id });
  const withEntry = (/** @type {number} */ given) =>
    model
      .get(name)
      .map((/** @type {number} */ old, /** @type {number} */ i) => (i === index ? given : old));
  input.addEventListener("input", () => {
    const given = Number(input.value);
    put(model, name, index === undefined ? given : withEntry(given));
  });
  follow(model, name, () => {
    input.value = value();
    output.textContent = show(value());
    input.setAttribute("aria-valuetext", show(value()));
  });
  return make("div", { className: "slider" }, make("label", { htmlFor: id }, label), input, output);
}

/**
 * One of a few: radio buttons, which the arrow keys walk through.
 * @param {Model} model the figure's
 * @param {string} name the trait
 * @param {ChoiceSettings} settings its label, and options: [value, text or element] each
 * @returns {HTMLElement} the group
 */
export function choice(model, name, { label, options, className = "choice" }) {
  const group = newId(name);
  const entries = options.map(([value, text]) => {
    const input = make("input", { type: "radio", name: group, value, dataset: OWN_KEYS });
    input.addEventListener("change", () => put(model, name, value));
    return { value, input, node: make("label", {}, input, make("span", {}, text)) };
  });
  follow(model, name, () => {
    for (const { value, input } of entries) input.checked = value === model.get(name);
  });
  return make(
    "fieldset",
    { className },
    make("legend", {}, label),
    ...entries.map(({ node }) => node),
  );
}

/**
 * One of many.
 * @param {Model} model the figure's
 * @param {string} name the trait
 * @param {ChoiceSettings} settings its label, and options: [value, text] each
 * @returns {HTMLElement} label and menu
 */
export function menu(model, name, { label, options }) {
  const id = newId(name);
  const entries = options.map(([value, text]) => make("option", { value: String(value) }, text));
  const input = make("select", { id, dataset: OWN_KEYS }, ...entries);
  input.addEventListener("change", () => put(model, name, options[input.selectedIndex][0]));
  follow(model, name, () => {
    input.selectedIndex = options.findIndex(([value]) => value === model.get(name));
  });
  return make("div", { className: "menu" }, make("label", { htmlFor: id }, label), input);
}

/**
 * Yes or no.
 * @param {Model} model the figure's
 * @param {string} name the trait
 * @param {{ label: string }} settings its label
 * @returns {HTMLElement} the box with its label
 */
export function toggle(model, name, { label }) {
  const input = make("input", { type: "checkbox", dataset: OWN_KEYS });
  input.addEventListener("change", () => put(model, name, input.checked));
  follow(model, name, () => {
    input.checked = model.get(name);
  });
  return make("label", { className: "toggle" }, input, make("span", {}, label));
}

/**
 * @param {string} label what it does
 * @param {() => void} press does it
 * @returns {HTMLButtonElement} the button
 */
export function button(label, press) {
  const node = make("button", { type: "button", dataset: OWN_KEYS }, label);
  node.addEventListener("click", press);
  return node;
}

/**
 * One of the stored images: radio buttons with a picture each.
 * @param {Model} model the figure's
 * @param {string} name the trait: the image's number
 * @param {{ label: string, images: NamedPicture[] }} settings its label and the pictures
 * @returns {HTMLElement} the group
 */
export function picker(model, name, { label, images }) {
  /** @type {[number, HTMLElement][]} */
  const options = images.map(({ canvas, name: text }, index) => {
    canvas.setAttribute("aria-hidden", "true");
    const words = make("span", { className: "hidden" }, `${index + 1}: ${text}`);
    return [index, make("span", {}, canvas, words)];
  });
  return choice(model, name, { label, options, className: "picker" });
}

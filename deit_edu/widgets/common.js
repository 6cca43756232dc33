// What the interactive figures share. No framework: a figure makes elements, binds them to its model, and draws.

// ---- elements ----

export function make(tag, properties = {}, ...children) {
  const { dataset, style, ...rest } = properties;
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name in node && !name.startsWith("aria")) node[name] = value;
    else node.setAttribute(name, value);
  }
  Object.assign(node.dataset, dataset);
  for (const [name, value] of Object.entries(style ?? {})) node.style.setProperty(name, value);
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

let made = 0;
const newId = (name) => `deit-edu-${name}-${++made}`;

// A figure's outermost element, with its title and a line that screen readers hear when it changes.
export function frame(model, el, title) {
  const root = make("section", { className: "deit-edu", "aria-label": title, dataset: { figure: model.get("_figure") } });
  const spoken = make("p", { className: "said", role: "status" });
  const words = make("p", { className: "words" });
  let later;
  const say = (text) => {
    if (words.textContent === text) return;
    words.textContent = text;
    clearTimeout(later); // while a slider is dragged, only where it stops is read out
    later = setTimeout(() => (spoken.textContent = text), 400);
  };
  el.append(root);
  root.append(make("p", { className: "title" }, title));
  return { root, say, end: (where = root) => where.append(words, spoken) };
}

// A sentence in place of something that could not be: always one line that says what to do.
export function complain(root, text) {
  root.querySelector(".complaint")?.remove();
  if (text) root.append(make("p", { className: "complaint", role: "alert" }, text));
}

// ---- controls: each is bound to one trait, both ways ----

const QUIET = { lmSuppressShortcuts: "true" }; // or JupyterLab takes the arrow keys

export function put(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

// index: which entry of a trait that is a list.
export function slider(model, name, { label, min, max, step = 1, show = String, index }) {
  const value = () => (index === undefined ? model.get(name) : model.get(name)[index]);
  const id = newId(name);
  const input = make("input", { type: "range", id, min, max, step, dataset: QUIET });
  const output = make("output", { htmlFor: id });
  const read = () => {
    input.value = value();
    output.textContent = show(value());
    input.setAttribute("aria-valuetext", show(value()));
  };
  input.addEventListener("input", () => {
    const given = Number(input.value);
    put(model, name, index === undefined ? given : model.get(name).map((old, i) => (i === index ? given : old)));
  });
  model.on(`change:${name}`, read);
  read();
  return make("div", { className: "slider" }, make("label", { htmlFor: id }, label), input, output);
}

// One of a few: radio buttons, which the arrow keys walk through. options: [[value, text or node], ...]
export function choice(model, name, { label, options, className = "choice" }) {
  const group = newId(name);
  const inputs = options.map(([value, text]) => {
    const input = make("input", { type: "radio", name: group, value, dataset: QUIET });
    input.addEventListener("change", () => put(model, name, value));
    return [value, input, make("label", {}, input, make("span", {}, text))];
  });
  const read = () => inputs.forEach(([value, input]) => (input.checked = value === model.get(name)));
  model.on(`change:${name}`, read);
  read();
  return make("fieldset", { className }, make("legend", {}, label), ...inputs.map(([, , node]) => node));
}

// One of many.
export function menu(model, name, { label, options }) {
  const id = newId(name);
  const input = make("select", { id, dataset: QUIET });
  options.forEach(([value, text]) => input.append(make("option", { value: String(value) }, text)));
  const read = () => (input.selectedIndex = options.findIndex(([value]) => value === model.get(name)));
  input.addEventListener("change", () => put(model, name, options[input.selectedIndex][0]));
  model.on(`change:${name}`, read);
  read();
  return make("div", { className: "menu" }, make("label", { htmlFor: id }, label), input);
}

export function toggle(model, name, { label }) {
  const input = make("input", { type: "checkbox", dataset: QUIET });
  const read = () => (input.checked = model.get(name));
  input.addEventListener("change", () => put(model, name, input.checked));
  model.on(`change:${name}`, read);
  read();
  return make("label", { className: "toggle" }, input, make("span", {}, label));
}

export function button(label, press) {
  const node = make("button", { type: "button", dataset: QUIET }, label);
  node.addEventListener("click", press);
  return node;
}

// One of the stored images: radio buttons with a picture each. images: [{canvas, name}, ...]
export function picker(model, name, { label, images }) {
  const options = images.map(({ canvas, name: text }, index) => {
    canvas.setAttribute("aria-hidden", "true");
    return [index, make("span", {}, canvas, make("span", { className: "hidden" }, `${index + 1}: ${text}`))];
  });
  return choice(model, name, { label, options, className: "picker" });
}

// ---- numbers from Python ----

// The bytes of a trait as numbers; kind as in deit_edu.widgets.figure.packed: u1, f2 or f4, little-endian.
export function unpacked(view, kind) {
  const bytes = new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);
  if (kind === "u1") return bytes;
  const own = bytes.slice().buffer; // aligned
  return kind === "f4" ? new Float32Array(own) : halves(new Uint16Array(own));
}

export function halves(words) {
  const power = Float64Array.from({ length: 32 }, (_, e) => 2 ** (e - 25));
  return Float32Array.from(words, (h) => {
    const exponent = (h >> 10) & 31;
    const size = exponent ? (1024 + (h & 1023)) * power[exponent] : (h & 1023) * 2 ** -24;
    return h & 0x8000 ? -size : size;
  });
}

// A trait that is loaded on use: in a static page a file, in Jupyter it is there.
export const load = (model, name) => (model.load ? model.load(name) : Promise.resolve(model.get(name)));

export function softmax(logits, temperature = 1) {
  const top = Math.max(...logits);
  const exps = Array.from(logits, (z) => Math.exp((z - top) / temperature));
  const sum = exps.reduce((a, b) => a + b, 0);
  return exps.map((e) => e / sum);
}

// Two heads' logits as one answer: (K,) probabilities. By probabilities (the paper), or by logits (the authors' code).
export function fuse(one, other, weight = 0.5, way = "probabilities") { // weight: of the first
  const mix = (a, b) => Array.from(a, (v, k) => weight * v + (1 - weight) * b[k]);
  return way === "logits" ? softmax(mix(one, other)) : mix(softmax(one), softmax(other));
}

export const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

export const signed = (value, digits = 2) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(digits);

// ---- pictures ----

const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [110, 206, 88], [181, 222, 43], [253, 231, 37]];
const PUOR = [[179, 88, 6], [224, 130, 20], [253, 184, 99], [254, 224, 182], [247, 247, 247], [216, 218, 235], [178, 171, 210],
  [128, 115, 172], [84, 39, 136]];

function colourAt(map, share) {
  const place = Math.min(Math.max(share, 0), 1) * (map.length - 1);
  const low = Math.min(Math.floor(place), map.length - 2);
  return map[low].map((c, k) => c + (map[low + 1][k] - c) * (place - low));
}

// Values drawn as squares into a canvas. range: [low, high]; signed values take the map whose middle is 0.
export function heatMap(canvas, values, columns, { range, diverging = false }) {
  const rows = values.length / columns;
  [canvas.width, canvas.height] = [columns, rows];
  const image = new ImageData(columns, rows);
  const [low, high] = range;
  values.forEach((value, i) => {
    const rgb = colourAt(diverging ? PUOR : VIRIDIS, high > low ? (value - low) / (high - low) : 0.5);
    image.data.set([...rgb, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// An image of uint8 pixels, channels first (C, H, W), C = 1 or 3, into a canvas.
export function drawImage(canvas, pixels, [C, H, W]) {
  [canvas.width, canvas.height] = [W, H];
  const image = new ImageData(W, H);
  for (let i = 0; i < H * W; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = pixels[(C === 3 ? c : 0) * H * W + i];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Bars from zero, a group for every name, a bar for every series. series: [{colour, values, faint}, ...]
export function bars({ names, series, low = 0, high = 1, show = (v) => v.toFixed(2), label, right = 46 }) {
  const row = 15, gap = 9, left = 78, width = 330; // units of the picture: on a phone about a pixel each
  const group = row * series.length + gap;
  const x = (v) => left + ((Math.min(Math.max(v, low), high) - low) / (high - low)) * (width - left - right);
  const height = group * names.length;
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "bars" });
  names.forEach((name, i) => {
    const top = i * group;
    svg.append(makeSvg("text", { x: left - 6, y: top + (group - gap) / 2 + 4, "text-anchor": "end" }, name));
    series.forEach(({ colour, values, faint }, j) => {
      const y = top + j * row, [from, to] = [x(Math.min(0, values[i])), x(Math.max(0, values[i]))];
      svg.append(makeSvg("rect", { x: from, y: y + 2, width: Math.max(to - from, 0.5), height: row - 3,
        style: `fill:var(--${colour});opacity:${faint ? 0.45 : 1}` }));
      svg.append(makeSvg("text", { x: width - right + 6, y: y + 12, class: "value" }, show(values[i], j)));
    });
  });
  if (low < 0) svg.append(makeSvg("line", { x1: x(0), x2: x(0), y1: 0, y2: height - gap, class: "zero" }));
  return svg;
}

// What the colours of a figure mean. entries: [[colour, words], ...]
export function legend(entries) {
  const mark = (colour) => make("span", { className: "mark", style: { background: `var(--${colour})` } });
  return make("p", { className: "legend" }, ...entries.map(([colour, words]) => make("span", {}, mark(colour), words)));
}

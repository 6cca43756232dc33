import { argmax, bars, choice, complain, drawImage, frame, legend, load, make, makeSvg, menu, put, slider, softmax, unpacked } from "./common.js";

const WHO = { truth: "truth", class: "class head", distillation: "distillation head", fused: "both alike, probabilities", fused_logits: "both alike, logits",
  teacher: "teacher", plain: "plain student" };
const COLOUR = { class: "class", distillation: "distillation", teacher: "teacher", plain: "plain" };
const SHOWN = 8; // images of a cell at a time

// Two heads as one: weight for the class head. By probabilities (the paper), or by logits (the authors' code): (K,) probabilities.
export function fuse(one, other, weight, way) {
  const mix = (a, b) => Array.from(a, (v, k) => weight * v + (1 - weight) * b[k]);
  return way === "logits" ? softmax(mix(one, other)) : mix(softmax(one), softmax(other));
}

// How often one says one class and the other another: (K, K), row by row.
export function confusions(one, other, K) {
  const found = new Array(K * K).fill(0);
  for (let i = 0; i < one.length; i++) found[K * one[i] + other[i]]++;
  return found;
}

// Accuracy against the weight of the class head: both ways of fusing, the weight marked.
function curve(weights, { probabilities, logits }, weight, way) {
  const width = 330, height = 168, left = 40, right = 88, top = 10, bottom = 36;
  const all = [...probabilities, ...logits], low = Math.floor(2 * Math.min(...all)) / 2, high = Math.max(Math.ceil(2 * Math.max(...all)) / 2, low + 0.5);
  const x = (w) => left + w * (width - left - right), y = (v) => top + ((high - v) / (high - low)) * (height - top - bottom);
  const svg = makeSvg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label":
    `Test accuracy against the weight of the class head, from ${probabilities[0].toFixed(1)} % at 0 to ${probabilities.at(-1).toFixed(1)} % at 1` });
  for (const v of [low, high]) {
    svg.append(makeSvg("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), style: "stroke:var(--line);stroke-width:0.5" }),
      makeSvg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(1)));
  }
  svg.append(makeSvg("line", { x1: x(weight), x2: x(weight), y1: top, y2: height - bottom, style: "stroke:var(--line);stroke-width:1.2" }));
  const lines = { probabilities: [probabilities, "none"], logits: [logits, "2 4"] };
  Object.entries(lines).forEach(([name, [values, dash]], i) => {
    const style = `fill:none;stroke:var(--fused);stroke-width:${name === way ? 2.6 : 1.4};stroke-dasharray:${dash}`;
    svg.append(makeSvg("polyline", { points: values.map((v, n) => `${x(weights[n])},${y(v)}`).join(" "), style }),
      makeSvg("line", { x1: width - right + 8, x2: width - right + 28, y1: top + 14 + 16 * i, y2: top + 14 + 16 * i, style }),
      makeSvg("text", { x: width - right + 32, y: top + 18 + 16 * i, style: `font-weight:${name === way ? 700 : 400}` }, name === "logits" ? "logits" : "probab."));
  });
  const here = lines[way][0][nearest(weights, weight)];
  svg.append(makeSvg("circle", { cx: x(weight), cy: y(here), r: 4.5, style: "fill:var(--fused)" }),
    makeSvg("circle", { cx: x(0), cy: y(probabilities[0]), r: 3.5, style: "fill:var(--distillation)" }),
    makeSvg("circle", { cx: x(1), cy: y(probabilities.at(-1)), r: 3.5, style: "fill:var(--class)" }),
    makeSvg("text", { x: x(0), y: height - bottom + 15, "text-anchor": "middle" }, "0"),
    makeSvg("text", { x: x(1), y: height - bottom + 15, "text-anchor": "middle" }, "1"),
    makeSvg("text", { x: (x(0) + x(1)) / 2, y: height - 4, "text-anchor": "middle" }, "weight of the class head"));
  return svg;
}

const nearest = (weights, weight) => argmax(weights.map((w) => -Math.abs(w - weight)));

function render({ model, el }) {
  const names = model.get("class_names"), K = names.length, n = model.get("count"), seeds = model.get("seeds"), shape = model.get("image_shape");
  const rows = unpacked(model.get("decided"), "u1"), size = shape.reduce((a, b) => a * b, 1), index = model.get("gallery_index"), m = index.length;
  const answering = model.get("answering"), weights = model.get("weights");
  const { root, say, end } = frame(model, el, "Fusion and disagreement: who takes which class for which");
  const seed = () => String(seeds[model.get("place")]);
  const places = () => ({ truth: 0, ...model.get("rows_of")[seed()] });
  const decided = (who) => rows.subarray(places()[who] * n, (places()[who] + 1) * n);
  const deciders = Object.keys(WHO).filter((who) => who in places()).map((who) => [who, WHO[who]]);

  const matrix = make("div", { className: "table" }), cards = make("div"), fusing = make("div"), answers = make("div");
  const heading = make("h4");
  root.append(make("div", { className: "side" }, menu(model, "one", { label: "rows", options: deciders }), menu(model, "other", { label: "columns", options: deciders })),
    ...(seeds.length > 1 ? [slider(model, "place", { label: "seed", min: 0, max: seeds.length - 1, show: (place) => String(seeds[place]) })] : []));
  end(); // the sentence above the pictures
  root.append(heading, matrix, cards, make("div", { className: "side" }, answers,
    make("div", {}, make("h4", {}, "the two heads as one"), slider(model, "weight", { label: "weight", min: 0, max: 1, step: 0.05, show: (w) => w.toFixed(2) }),
      choice(model, "way", { label: "fused by", options: [["probabilities", "probabilities (paper)"], ["logits", "logits (authors\u2019 code)"]] }), fusing)));

  // ---- the matrix: a grid of cells, one tab stop, the arrow keys walk ----

  let found = [], cell = [0, 0], image = 0, pixels, logits;
  const apartFirst = () => { // where the two part most often
    const off = found.map((count, i) => (Math.floor(i / K) === i % K ? -1 : count));
    return [Math.floor(argmax(off) / K), argmax(off) % K];
  };

  function drawMatrix() {
    const focus = matrix.contains(document.activeElement);
    const most = Math.max(1, ...found.filter((_, i) => Math.floor(i / K) !== i % K));
    const one = WHO[model.get("one")], other = WHO[model.get("other")];
    const td = (row, column) => {
      const count = found[K * row + column], own = row === cell[0] && column === cell[1];
      const node = make("td", { role: "gridcell", tabIndex: own ? 0 : -1, "aria-selected": String(own), dataset: { lmSuppressShortcuts: "true", row, column },
        "aria-label": `${one} ${names[row]}, ${other} ${names[column]}: ${count} images` }, count ? String(count) : "");
      const share = row === column ? 0 : Math.round((33 * count) / most);
      node.style.background = `color-mix(in srgb, var(--ink) ${share}%, var(--paper))`;
      return node;
    };
    const head = make("tr", { role: "row" }, make("td", { role: "presentation" }), ...names.map((name) =>
      make("th", { scope: "col", role: "columnheader" }, make("span", {}, name))));
    const body = names.map((name, row) => make("tr", { role: "row" }, make("th", { scope: "row", role: "rowheader" }, name), ...names.map((_, column) => td(row, column))));
    const grid = make("table", { role: "grid", className: "confusions", "aria-label": `rows ${one}, columns ${other}; arrow keys choose a cell` },
      make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, ...body));
    grid.addEventListener("click", (event) => { const td = event.target.closest("[role=gridcell]"); if (td) choose(Number(td.dataset.row), Number(td.dataset.column)); });
    grid.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      choose(Math.min(Math.max(cell[0] + move[0], 0), K - 1), Math.min(Math.max(cell[1] + move[1], 0), K - 1));
    });
    matrix.replaceChildren(grid);
    if (focus) grid.querySelector("[tabindex='0']").focus();
  }
  const choose = (row, column) => { image = 0; put(model, "cell", [row, column]); };

  // ---- images of the chosen cell ----

  const loading = Promise.all(["gallery", "gallery_logits"].map((name) => load(model, name)));
  function drawCards() {
    const [row, column] = cell, one = decided(model.get("one")), other = decided(model.get("other"));
    const here = index.map((which, place) => [which, place]).filter(([which]) => one[which] === row && other[which] === column).slice(0, SHOWN);
    const count = found[K * row + column], title = `${WHO[model.get("one")]} ${names[row]}, ${WHO[model.get("other")]} ${names[column]}: `;
    const words = make("h4", {}, title + (count ? `${here.length} of ${count} images` : "no image"));
    if (!here.length) {
      cards.replaceChildren(words, ...(count ? [make("p", {}, "None of them is in this page: the gallery keeps those on which deciders part.")] : []));
      answers.replaceChildren();
      return;
    }
    image = Math.min(image, here.length - 1);
    const pictures = here.map(([which, place]) => {
      const canvas = make("canvas");
      drawImage(canvas, pixels.subarray(place * size, (place + 1) * size), shape);
      return [canvas, `image ${which}, ${names[rows[which]]}`];
    });
    const local = { get: () => image, set: (_, value) => { image = value; drawAnswers(here[image]); }, save_changes() {}, on() {} };
    cards.replaceChildren(words, choice(local, "gallery", { label: "ask about one", className: "picker", options: pictures.map(([canvas, name], place) =>
      [place, make("span", {}, canvas, make("span", { className: "hidden" }, name))]) }));
    drawAnswers(here[image]);
  }

  function drawAnswers([which, place]) {
    const of = (who) => logits.subarray(((model.get("place") * answering.length + answering.indexOf(who)) * m + place) * K).subarray(0, K);
    const weight = model.get("weight"), both = fuse(of("class"), of("distillation"), weight, model.get("way"));
    const shares = Object.fromEntries(answering.map((who) => [who, softmax(of(who))]));
    const series = [["class", shares.class], ["distillation", shares.distillation], ["fused", both], ...["teacher", "plain"].filter((who) => who in shares).map((who) => [COLOUR[who], shares[who]])];
    const top = names.map((_, k) => k).sort((a, b) => Math.max(...series.map(([, v]) => v[b])) - Math.max(...series.map(([, v]) => v[a]))).slice(0, 3);
    answers.replaceChildren(make("h4", {}, `test image ${which}: the label says ${names[rows[which]]}`),
      bars({ names: top.map((k) => names[k]), label: "Probabilities of the likeliest classes", right: 92,
        show: (v, j) => `${v.toFixed(2)} ${{ class: "class", distillation: "distill.", fused: "both", teacher: "teacher", plain: "plain" }[series[j][0]]}`, series: series.map(([colour, values]) => ({ colour, values: top.map((k) => values[k]) })) }),
      legend(series.map(([colour]) => [colour, { class: "class head", distillation: "distillation head", fused: "both, at this weight", teacher: "teacher", plain: "plain student" }[colour]])));
  }

  // ---- what it says ----

  function words() {
    const one = decided(model.get("one")), other = decided(model.get("other")), truth = decided("truth");
    const teacher = "teacher" in places() ? decided("teacher") : null;
    let apart = 0, right = [0, 0], with_teacher = [0, 0];
    for (let i = 0; i < n; i++) {
      if (one[i] === other[i]) continue;
      apart++;
      right = [right[0] + (one[i] === truth[i]), right[1] + (other[i] === truth[i])];
      if (teacher) with_teacher = [with_teacher[0] + (one[i] === teacher[i]), with_teacher[1] + (other[i] === teacher[i])];
    }
    const [a, b] = [model.get("one"), model.get("other")], percent = (v) => `${Math.round((100 * v) / Math.max(apart, 1))} %`;
    heading.textContent = `rows: ${WHO[a]}; columns: ${WHO[b]}`;
    let text = `Seed ${seed()}: ${WHO[a]} and ${WHO[b]} part on ${apart.toLocaleString("en")} of ${n.toLocaleString("en")} test images`;
    if (apart) {
      const [row, column] = apartFirst();
      text += `, most often ${WHO[a]} ${names[row]}, ${WHO[b]} ${names[column]} (${found[K * row + column]})`;
      if (a !== "truth" && b !== "truth") text += `. On those that differ, the ${WHO[a]} is right on ${percent(right[0])}, the ${WHO[b]} on ${percent(right[1])}`;
      if (teacher && ![a, b].some((who) => who === "truth" || who === "teacher")) text += `; the teacher sides with the first on ${percent(with_teacher[0])}, with the second on ${percent(with_teacher[1])}`;
    }
    const curves = model.get("curves")[seed()], at = nearest(weights, model.get("weight")), [byShares, byLogits] = curves.right[at];
    text += `. Fused by ${model.get("way")} with weight ${model.get("weight").toFixed(2)} for the class head: ${curves[model.get("way")][at].toFixed(2)} % right.`;
    fusing.replaceChildren(curve(weights, curves, model.get("weight"), model.get("way")),
      make("p", {}, `Class head alone ${curves.probabilities.at(-1).toFixed(2)} %, distillation head alone ${curves.probabilities[0].toFixed(2)} %. At this weight the two ways part on ` +
        `${curves.apart[at]} images: probabilities are right on ${byShares} of them, logits on ${byLogits}.`));
    say(text);
  }

  function draw() {
    found = confusions(decided(model.get("one")), decided(model.get("other")), K);
    cell = model.get("cell").length ? model.get("cell") : apartFirst();
    drawMatrix();
    words();
    drawGallery();
  }
  function drawGallery() {
    loading.then(([images, numbers]) => {
      pixels ??= unpacked(images, "u1");
      logits ??= unpacked(numbers, "f2");
      drawCards();
    }).catch((error) => complain(root, `The images could not be loaded: ${error.message}`));
  }
  for (const name of ["one", "other", "place"]) model.on(`change:${name}`, draw);
  model.on("change:cell", () => { cell = model.get("cell").length ? model.get("cell") : apartFirst(); drawMatrix(); drawGallery(); });
  for (const name of ["weight", "way"]) model.on(`change:${name}`, () => { words(); drawGallery(); });
  draw();
}

export default { render };

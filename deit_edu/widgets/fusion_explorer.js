import { button, choice, menu, put, slider } from "./controls.js";
import { bars, drawImage, legend } from "./drawing.js";
import { complain, frame, make, makeSvg } from "./elements.js";
import { argmax, fuse, load, softmax, unpacked } from "./numbers.js";

const WHO = {
  truth: "truth",
  class: "class head",
  distillation: "distillation head",
  fused: "both alike, probabilities",
  fused_logits: "both alike, logits",
  teacher: "teacher",
  plain: "plain student",
};
const KNOWN = {
  0: ["distillation", "distillation"],
  0.5: ["fused", "fused_logits"],
  1: ["class", "class"],
}; // weights whose decisions are kept
const SHOWN = 6; // images of a cell at a time

// How often one says one class and the other another: (K, K), row by row.
export function confusions(one, other, K) {
  const found = Array.from({ length: K * K }, () => 0);
  for (let i = 0; i < one.length; i++) found[K * one[i] + other[i]]++;
  return found;
}

// Both ways of fusing at one weight, on all images: deit_edu.widgets.fusion_explorer.fusions. parting: the images on which the heads part,
// each with its logits; only there can a weight change what is decided. The decisions at 0, 0.5 and 1 are those that were kept: the logits
// here are rounded to half precision, and that turns round a near tie.
export function fusions({ said, parting, agreed }, weight) {
  const chosen = KNOWN[weight]
    ? KNOWN[weight].map((who) => parting.map(({ image }) => said[who][image]))
    : ["probabilities", "logits"].map((way) =>
        parting.map(({ one, other }) => argmax(fuse(one, other, weight, way))),
      );
  const truth = parting.map(({ image }) => said.truth[image]),
    count = (test) => truth.filter((_, i) => test(i)).length;
  const differ = (i) => chosen[0][i] !== chosen[1][i],
    right = (way) => (i) => chosen[way][i] === truth[i];
  const percent = (way) => (100 * (agreed + count(right(way)))) / said.truth.length;
  return {
    chosen,
    probabilities: percent(0),
    logits: percent(1),
    apart: count(differ),
    right: [0, 1].map((way) => count((i) => differ(i) && right(way)(i))),
  };
}

// Accuracy against the weight of the class head: both ways of fusing, the weight marked.
function curve(weights, { probabilities, logits }, weight, here, way) {
  const width = 330,
    height = 168,
    left = 40,
    right = 88,
    top = 10,
    bottom = 36;
  const all = [...probabilities, ...logits],
    low = Math.floor(2 * Math.min(...all)) / 2,
    high = Math.max(Math.ceil(2 * Math.max(...all)) / 2, low + 0.5);
  const x = (w) => left + w * (width - left - right),
    y = (v) => top + ((high - v) / (high - low)) * (height - top - bottom);
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `Test accuracy against the weight of the class head, from ${probabilities[0].toFixed(1)} % at 0 to ${probabilities.at(-1).toFixed(1)} % at 1`,
  });
  for (const v of [low, high]) {
    svg.append(
      makeSvg("line", {
        x1: left,
        x2: width - right,
        y1: y(v),
        y2: y(v),
        style: "stroke:var(--line);stroke-width:0.5",
      }),
      makeSvg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(1)),
    );
  }
  svg.append(
    makeSvg("line", {
      x1: x(weight),
      x2: x(weight),
      y1: top,
      y2: height - bottom,
      style: "stroke:var(--line);stroke-width:1.2",
    }),
  );
  const lines = { probabilities: [probabilities, "none"], logits: [logits, "2 4"] };
  Object.entries(lines).forEach(([name, [values, dash]], i) => {
    const style = `fill:none;stroke:var(--fused);stroke-width:${name === way ? 2.6 : 1.4};stroke-dasharray:${dash}`;
    svg.append(
      makeSvg("polyline", {
        points: values.map((v, n) => `${x(weights[n])},${y(v)}`).join(" "),
        style,
      }),
      makeSvg("line", {
        x1: width - right + 8,
        x2: width - right + 28,
        y1: top + 14 + 16 * i,
        y2: top + 14 + 16 * i,
        style,
      }),
      makeSvg(
        "text",
        {
          x: width - right + 32,
          y: top + 18 + 16 * i,
          style: `font-weight:${name === way ? 700 : 400}`,
        },
        name === "logits" ? "logits" : "probab.",
      ),
    );
  });
  svg.append(
    makeSvg("circle", { cx: x(weight), cy: y(here), r: 4.5, style: "fill:var(--fused)" }),
    makeSvg("circle", {
      cx: x(0),
      cy: y(probabilities[0]),
      r: 3.5,
      style: "fill:var(--distillation)",
    }),
    makeSvg("circle", {
      cx: x(1),
      cy: y(probabilities.at(-1)),
      r: 3.5,
      style: "fill:var(--class)",
    }),
    makeSvg("text", { x: x(0), y: height - bottom + 15, "text-anchor": "middle" }, "0"),
    makeSvg("text", { x: x(1), y: height - bottom + 15, "text-anchor": "middle" }, "1"),
    makeSvg(
      "text",
      { x: (x(0) + x(1)) / 2, y: height - 4, "text-anchor": "middle" },
      "weight of the class head",
    ),
  );
  return svg;
}

const line = (...words) => make("span", { style: { display: "block" } }, ...words);

// Who says what of an image, an answer a line. answers: [[who, class], ...]
function grouped(answers, truth, names) {
  return [...new Set(answers.map(([, k]) => k))].map((k) =>
    line(
      make("b", {}, names[k] + (k === truth ? " \u2713" : "")),
      `: ${answers
        .filter(([, said]) => said === k)
        .map(([who]) => WHO[who])
        .join("; ")}`,
    ),
  );
}

function render({ model, el }) {
  const names = model.get("class_names"),
    K = names.length,
    n = model.get("count"),
    seeds = model.get("seeds"),
    shape = model.get("image_shape");
  const rows = unpacked(model.get("decided"), "u1"),
    size = shape.reduce((a, b) => a * b, 1),
    index = model.get("gallery_index"),
    m = index.length;
  const weights = model.get("weights");
  const { root, say, end } = frame(
    model,
    el,
    "Fusion and disagreement: who takes which class for which",
  );
  const seed = () => String(seeds[model.get("place")]);

  // Of every seed: the decisions, the images on which the heads part, how many of the others are right, both fusions at every weight.
  const numbers = unpacked(model.get("parting"), "f2"),
    known = {};
  let from = 0;
  for (const name of seeds) {
    // in Python's order; an object's keys would come sorted
    const said = Object.fromEntries(
      Object.entries({ truth: 0, ...model.get("rows_of")[name] }).map(([who, row]) => [
        who,
        rows.subarray(row * n, (row + 1) * n),
      ]),
    );
    const parting = [];
    let agreed = 0;
    for (let image = 0; image < n; image++) {
      if (said.class[image] === said.distillation[image])
        agreed += said.class[image] === said.truth[image];
      else
        parting.push({
          image,
          one: numbers.subarray(from, (from += K)),
          other: numbers.subarray(from, (from += K)),
        });
    }
    known[name] = { said, parting, agreed };
  }
  const curves = () => {
    const here = known[seed()];
    here.at ??= weights.map((weight) => fusions(here, weight));
    return {
      probabilities: here.at.map((found) => found.probabilities),
      logits: here.at.map((found) => found.logits),
    };
  };
  const decided = (who) => known[seed()].said[who];
  const deciders = Object.entries(WHO).filter(([who]) =>
    Object.values(known).some(({ said }) => who in said),
  );

  const matrix = make("div", { className: "table" }),
    cards = make("div"),
    fusing = make("div"),
    answers = make("div"),
    heads = make("div");
  const heading = make("h4");
  root.append(
    make(
      "div",
      { className: "side" },
      menu(model, "one", { label: "rows", options: deciders }),
      menu(model, "other", { label: "columns", options: deciders }),
    ),
    ...(seeds.length > 1
      ? [
          slider(model, "place", {
            label: "seed",
            min: 0,
            max: seeds.length - 1,
            show: (place) => String(seeds[place]),
          }),
        ]
      : []),
  );
  end(); // the sentence above the pictures
  root.append(
    choice(model, "unit", {
      label: "a cell shows",
      options: [
        ["images", "how many images"],
        ["rates", "% of its row"],
      ],
    }),
    heading,
    matrix,
    cards,
    make(
      "div",
      { className: "side" },
      make("div", {}, answers, heads),
      make(
        "div",
        {},
        make("h4", {}, "the two heads as one"),
        slider(model, "weight", {
          label: "weight",
          min: 0,
          max: 1,
          step: 0.05,
          show: (w) => w.toFixed(2),
        }),
        choice(model, "way", {
          label: "fused by",
          options: [
            ["probabilities", "probabilities (paper)"],
            ["logits", "logits (authors\u2019 code)"],
          ],
        }),
        fusing,
      ),
    ),
  );
  if (model.get("left_out")) root.append(make("p", {}, model.get("left_out")));

  // ---- the matrix: a grid of cells, one tab stop, the arrow keys walk ----

  let found = [],
    cell = [0, 0],
    image = 0,
    gallery; // the gallery: its pixels and logits, loaded when it is first asked for
  const apartFirst = () => {
    // where the two part most often
    const off = found.map((count, i) => (Math.floor(i / K) === i % K ? -1 : count));
    return [Math.floor(argmax(off) / K), argmax(off) % K];
  };

  const rate = (row, column) =>
    `${(
      (100 * found[K * row + column]) /
      Math.max(
        found.slice(K * row, K * row + K).reduce((a, b) => a + b, 0),
        1,
      )
    ).toFixed(1)} %`;
  const images = (count) => (count === 1 ? "1 image" : `${count.toLocaleString("en")} images`);

  function drawMatrix() {
    const focus = matrix.contains(document.activeElement);
    const most = Math.max(1, ...found.filter((_, i) => Math.floor(i / K) !== i % K));
    const one = WHO[model.get("one")],
      other = WHO[model.get("other")];
    const td = (row, column) => {
      const count = found[K * row + column],
        own = row === cell[0] && column === cell[1];
      const node = make(
        "td",
        {
          role: "gridcell",
          tabIndex: own ? 0 : -1,
          "aria-selected": String(own),
          dataset: { lmSuppressShortcuts: "true", row, column },
          "aria-label": `${one} ${names[row]}, ${other} ${names[column]}: ${images(count)}, ${rate(row, column)} of the row`,
        },
        count
          ? model.get("unit") === "rates"
            ? rate(row, column).replace(" %", "")
            : String(count)
          : "",
      );
      const share = row === column ? 0 : Math.round((30 * count) / most);
      node.style.background = `color-mix(in srgb, var(--ink) ${share}%, var(--paper))`;
      return node;
    };
    const head = make(
      "tr",
      { role: "row" },
      make("td", { role: "presentation" }),
      ...names.map((name) =>
        make("th", { scope: "col", role: "columnheader" }, make("span", {}, name)),
      ),
    );
    const body = names.map((name, row) =>
      make(
        "tr",
        { role: "row" },
        make("th", { scope: "row", role: "rowheader" }, name),
        ...names.map((_, column) => td(row, column)),
      ),
    );
    const grid = make(
      "table",
      {
        role: "grid",
        className: "confusions",
        "aria-label": `rows ${one}, columns ${other}; arrow keys choose a cell`,
      },
      make("thead", { role: "rowgroup" }, head),
      make("tbody", { role: "rowgroup" }, ...body),
    );
    grid.addEventListener("click", (event) => {
      const td = event.target.closest("[role=gridcell]");
      if (td) choose(Number(td.dataset.row), Number(td.dataset.column));
    });
    grid.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[
        event.key
      ];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      choose(
        Math.min(Math.max(cell[0] + move[0], 0), K - 1),
        Math.min(Math.max(cell[1] + move[1], 0), K - 1),
      );
    });
    matrix.replaceChildren(grid);
    if (focus) grid.querySelector("[tabindex='0']").focus();
  }
  const choose = (row, column) => {
    image = 0;
    put(model, "cell", [row, column]);
    show();
  };

  // ---- images of the chosen cell ----

  // Where the logits of someone in the gallery begin.
  const blocks = {};
  let block = 0;
  for (const name of seeds)
    for (const who of model.get("answering")[name]) blocks[`${name} ${who}`] = m * K * block++;

  let loading;
  async function show() {
    if (gallery) return;
    try {
      loading ??= Promise.all(["gallery", "gallery_logits"].map((name) => load(model, name)));
      const [bytes, halves] = await loading;
      gallery = { pixels: unpacked(bytes, "u1"), logits: unpacked(halves, "f2") };
      complain(root, "");
      drawCards();
    } catch (error) {
      loading = null; // try again when asked again
      complain(root, `The images could not be loaded: ${error.message}`);
    }
  }

  let here = []; // [test image, its place in the gallery] of those shown
  function drawCards() {
    const [row, column] = cell,
      one = decided(model.get("one")),
      other = decided(model.get("other")),
      count = found[K * row + column];
    const title = make(
      "h4",
      {},
      `${WHO[model.get("one")]} ${names[row]}, ${WHO[model.get("other")]} ${names[column]}: ${images(count)}, ${rate(row, column)} of the row`,
    );
    here = index
      .map((which, place) => [which, place])
      .filter(([which]) => one[which] === row && other[which] === column)
      .slice(0, SHOWN);
    if (!here.length || !gallery) {
      here = [];
      answers.replaceChildren();
      const instead = !count
        ? "No image is in this cell: choose one with a number."
        : gallery
          ? "None of them is in this page: choose a cell with more."
          : button("Show some of them", show);
      return cards.replaceChildren(title, make("p", {}, instead));
    }
    image = Math.min(image, here.length - 1);
    const pictures = here.map(([which, place], i) => {
      const canvas = make("canvas", { "aria-hidden": "true" }),
        said = Object.entries(known[seed()].said).map(([who, row]) => [who, row[which]]);
      drawImage(canvas, gallery.pixels.subarray(place * size, (place + 1) * size), shape);
      return [
        i,
        make(
          "span",
          { style: { "font-size": "0.82rem" } },
          canvas,
          line(`test image ${which}`),
          ...grouped(said, rows[which], names),
        ),
      ];
    });
    const local = {
      get: () => image,
      set: (_, value) => {
        image = value;
        drawAnswers();
      },
      save_changes() {},
      on() {},
    };
    cards.replaceChildren(
      title,
      choice(local, "gallery", {
        label: here.length === count ? "all of them are here" : `${here.length} of them are shown`,
        className: "cards",
        options: pictures,
      }),
    );
    drawAnswers();
  }

  function drawAnswers() {
    if (!here.length) return;
    const [which, place] = here[image],
      weight = model.get("weight");
    const of = (who) =>
      gallery.logits.subarray(blocks[`${seed()} ${who}`] + place * K).subarray(0, K);
    const series = [
      ["class", "class", softmax(of("class"))],
      ["distillation", "distill.", softmax(of("distillation"))],
      ["fused", "probab.", fuse(of("class"), of("distillation"), weight, "probabilities")],
      ["fused", "logits", fuse(of("class"), of("distillation"), weight, "logits")],
      ...(model.get("answering")[seed()].includes("teacher")
        ? [["teacher", "teacher", softmax(of("teacher"))]]
        : []),
    ];
    const most = names.map((_, k) => Math.max(...series.map(([, , v]) => v[k]))),
      top = names
        .map((_, k) => k)
        .sort((a, b) => most[b] - most[a])
        .slice(0, 3);
    answers.replaceChildren(
      make("h4", {}, `test image ${which}: the label says ${names[rows[which]]}`),
      bars({
        names: top.map((k) => names[k]),
        label: `Probabilities of the likeliest classes, test image ${which}`,
        right: 92,
        show: (v, j) => `${v.toFixed(2)} ${series[j][1]}`,
        series: series.map(([colour, short, values]) => ({
          colour,
          values: top.map((k) => values[k]),
          faint: short === "logits",
        })),
      }),
      legend([
        ["class", "class head"],
        ["distillation", "distillation head"],
        [
          "fused",
          `both with weight ${weight.toFixed(2)}, by probabilities and, fainter, by logits`,
        ],
        ...(series.length > 4 ? [["teacher", "teacher"]] : []),
      ]),
    );
  }

  // ---- what it says ----

  function words() {
    const one = decided(model.get("one")),
      other = decided(model.get("other")),
      truth = decided("truth");
    const teacher = decided("teacher");
    let apart = 0,
      right = [0, 0],
      with_teacher = [0, 0];
    for (let i = 0; i < n; i++) {
      if (one[i] === other[i]) continue;
      apart++;
      right = [right[0] + (one[i] === truth[i]), right[1] + (other[i] === truth[i])];
      if (teacher)
        with_teacher = [
          with_teacher[0] + (one[i] === teacher[i]),
          with_teacher[1] + (other[i] === teacher[i]),
        ];
    }
    const [a, b] = [model.get("one"), model.get("other")],
      percent = (v) => `${Math.round((100 * v) / Math.max(apart, 1))} %`;
    heading.textContent = `rows: ${WHO[a]}; columns: ${WHO[b]}`;
    let text = `Seed ${seed()}: ${WHO[a]} and ${WHO[b]} part on ${apart.toLocaleString("en")} of ${n.toLocaleString("en")} test images`;
    if (apart) {
      const [row, column] = apartFirst();
      text += `, most often ${WHO[a]} ${names[row]}, ${WHO[b]} ${names[column]} (${found[K * row + column]})`;
      if (a !== "truth" && b !== "truth")
        text += `. On those that differ, the ${WHO[a]} is right on ${percent(right[0])}, the ${WHO[b]} on ${percent(right[1])}`;
      if (teacher && ![a, b].some((who) => who === "truth" || who === "teacher"))
        text += `; the teacher sides with the first on ${percent(with_teacher[0])}, with the second on ${percent(with_teacher[1])}`;
    }
    const weight = model.get("weight"),
      way = model.get("way"),
      now = fusions(known[seed()], weight),
      lines = curves(),
      { said, parting } = known[seed()];
    text += `. Fused by ${way} with weight ${weight.toFixed(2)} for the class head: ${now[way].toFixed(2)} % right.`;
    fusing.replaceChildren(
      curve(weights, lines, weight, now[way], way),
      make(
        "p",
        {},
        `Class head alone ${lines.probabilities.at(-1).toFixed(2)} %, distillation head alone ${lines.probabilities[0].toFixed(2)} %. At this weight the two ways part on ` +
          `${images(now.apart)}: probabilities are right on ${now.right[0]} of them, logits on ${now.right[1]}.`,
      ),
    );

    const chosen = now.chosen[way === "logits" ? 1 : 0],
      who = {
        "class head": ({ image }) => said.class[image],
        "distillation head": ({ image }) => said.distillation[image],
        "both, at this weight": (_, i) => chosen[i],
      };
    const judges = [["is right", truth], ...(teacher ? [["sides with the teacher", teacher]] : [])];
    heads.replaceChildren(
      make("h4", {}, `where the two heads part: ${images(parting.length)}`),
      make(
        "table",
        {},
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            make("td", {}),
            ...judges.map(([name]) => make("th", { scope: "col" }, name)),
          ),
        ),
        make(
          "tbody",
          {},
          ...Object.entries(who).map(([name, says]) =>
            make(
              "tr",
              {},
              make("th", { scope: "row" }, name),
              ...judges.map(([, judge]) => {
                const agree = parting.filter((one, i) => says(one, i) === judge[one.image]).length;
                return make(
                  "td",
                  { style: { "text-align": "right", "white-space": "nowrap" } },
                  `${agree} (${Math.round((100 * agree) / Math.max(parting.length, 1))} %)`,
                );
              }),
            ),
          ),
        ),
      ),
    );
    say(text);
  }

  function draw() {
    const absent = [model.get("one"), model.get("other")].find((who) => !decided(who));
    if (absent) {
      found = here = [];
      for (const part of [matrix, cards, answers, fusing, heads]) part.replaceChildren();
      heading.textContent = "";
      return say(
        `The answers of the ${WHO[absent]} are not kept for seed ${seed()}: choose another seed, or somebody else.`,
      );
    }
    found = confusions(decided(model.get("one")), decided(model.get("other")), K);
    drawCell();
    setTimeout(() => {
      if (found.length) words();
    }); // a task of its own, so that the page is never blocked for long
  }
  function drawCell() {
    if (!found.length) return;
    cell = model.get("cell").length ? model.get("cell") : apartFirst();
    drawMatrix();
    drawCards();
  }
  for (const name of ["one", "other", "place"]) model.on(`change:${name}`, draw);
  for (const name of ["cell", "unit"]) model.on(`change:${name}`, drawCell);
  for (const name of ["weight", "way"])
    model.on(`change:${name}`, () => {
      if (found.length) {
        words();
        drawAnswers();
      }
    });
  draw();
}

export default { render };

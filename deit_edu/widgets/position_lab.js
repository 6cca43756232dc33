import { choice, put, slider } from "./controls.js";
import { heatMap } from "./drawing.js";
import { frame, make, makeSvg } from "./elements.js";
import { argmax, mean, unpacked } from "./numbers.js";

const DASHES = { bicubic: "none", bilinear: "7 4", antialias: "1.5 3.5" };
const NAMES = { bicubic: "bicubic", bilinear: "bilinear", antialias: "bicubic, antialias" };
const PREFIX = {
  1: "the prefix token keeps its vector",
  2: "the two prefix tokens keep their vectors",
};

const within = (value, low, high) => Math.min(Math.max(value, low), high);

// ---- interpolation, along one axis and then along the other: the same numbers as torch's F.interpolate gives ----

// Weights of a point at distances t from its neighbours. a: torch takes -0.75, but with antialias -0.5.
function cubic(t, a) {
  const x = Math.abs(t);
  if (x < 1) return (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1;
  return x < 2 ? a * (x ** 3 - 5 * x ** 2 + 8 * x - 4) : 0;
}

// How much each of `before` places gives to each of `after` places: a list of [[place, weight], ...].
export function axisWeights(before, after, how) {
  const scale = before / after;
  return Array.from({ length: after }, (_, i) => {
    const centre = (i + 0.5) * scale; // in the old grid, whose places are centred at 0.5, 1.5, ...
    const given = new Map();
    if (how === "antialias") {
      // the filter is as wide as the new places are, cut at the edge, and sums to 1
      const wide = Math.max(scale, 1);
      for (let j = 0; j < before; j++) {
        const weight = cubic((j + 0.5 - centre) / wide, -0.5);
        if (weight) given.set(j, weight);
      }
      const sum = [...given.values()].reduce((a, b) => a + b, 0);
      return [...given].map(([j, weight]) => [j, weight / sum]);
    }
    const first = Math.floor(centre - 0.5),
      reach = how === "bilinear" ? 0 : 1;
    for (let j = first - reach; j <= first + 1 + reach; j++) {
      const t = j + 0.5 - centre,
        weight = how === "bilinear" ? 1 - Math.abs(t) : cubic(t, -0.75);
      const place = within(j, 0, before - 1); // beyond the edge is the edge again
      if (weight) given.set(place, (given.get(place) ?? 0) + weight);
    }
    return [...given];
  });
}

// (before * before, D) position embeddings, row by row, at another grid: (after * after, D).
export function resized(vectors, before, after, D, how) {
  if (before === after) return vectors;
  const weights = axisWeights(before, after, how);
  const tall = new Float64Array(after * before * D); // rows first: (after, before, D)
  weights.forEach((row, y) =>
    row.forEach(([j, w]) => {
      for (let i = 0; i < before * D; i++)
        tall[y * before * D + i] += w * vectors[j * before * D + i];
    }),
  );
  const found = new Float64Array(after * after * D);
  for (let y = 0; y < after; y++) {
    weights.forEach((column, x) =>
      column.forEach(([j, w]) => {
        for (let d = 0; d < D; d++)
          found[(y * after + x) * D + d] += w * tall[(y * before + j) * D + d];
      }),
    );
  }
  return found;
}

// The l2 norm of each vector: (N, D) -> N numbers.
export function norms(vectors, D) {
  return Array.from({ length: vectors.length / D }, (_, n) =>
    Math.sqrt(vectors.subarray(n * D, (n + 1) * D).reduce((sum, v) => sum + v * v, 0)),
  );
}

// The cosine of one vector with each: (N, D) -> N numbers.
export function cosines(vectors, D, one) {
  const lengths = norms(vectors, D),
    own = vectors.subarray(one * D, (one + 1) * D);
  return lengths.map(
    (length, n) =>
      own.reduce((sum, v, d) => sum + v * vectors[n * D + d], 0) / (length * lengths[one] || 1),
  );
}

// ---- pictures ----

// A map whose patches are squares, one of them with a frame.
function squares(canvas, values, grid, range, diverging, marked) {
  const small = make("canvas"),
    side = Math.ceil(280 / grid),
    context = canvas.getContext("2d");
  heatMap(small, values, grid, { range, diverging });
  canvas.width = canvas.height = side * grid;
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  if (marked === undefined) return;
  const [x, y] = [(marked % grid) * side, Math.floor(marked / grid) * side];
  for (const [colour, inset] of [
    ["#000", 1],
    ["#fff", 3],
  ]) {
    // one of them is seen on any colour
    [context.strokeStyle, context.lineWidth] = [colour, 2];
    context.strokeRect(x + inset, y + inset, side - 2 * inset, side - 2 * inset);
  }
}

function scale(low, high, diverging, words) {
  const canvas = make("canvas", {
    "aria-hidden": "true",
    style: { width: "6rem", height: "0.8rem", display: "inline-block" },
  });
  heatMap(
    canvas,
    Array.from({ length: 64 }, (_, i) => i / 63),
    64,
    { range: [0, 1], diverging },
  );
  return make(
    "p",
    { className: "legend" },
    make("span", {}, `${low} `, canvas, ` ${high}`),
    make("span", {}, words),
  );
}

// Labels at the ends of lines, moved apart where they would cover each other.
function apart(places, distance) {
  const order = places.map((_, i) => i).sort((a, b) => places[a] - places[b]),
    moved = [...places];
  order.forEach((i, n) => {
    if (n) moved[i] = Math.max(moved[i], moved[order[n - 1]] + distance);
  });
  const shift = mean(places) - mean(moved);
  return moved.map((y) => y + shift);
}

// Per cent against patches a side. lines: {how: [[grid, per cent], ...]}; bounds: the interval of the point that is marked.
function chart({ lines, ticks, grid, how, bounds, label }) {
  const width = 330,
    height = 176,
    left = 34,
    right = 90,
    top = 12,
    bottom = 22;
  const all = [
    ...Object.values(lines)
      .flat()
      .map(([, v]) => v),
    ...(bounds ?? []),
  ];
  const low = 10 * Math.floor(Math.min(...all) / 10),
    high = Math.max(10 * Math.ceil(Math.max(...all) / 10), low + 10);
  const [first, last] = [ticks[0], ticks.at(-1)];
  const x = (g) => left + ((g - first) / (last - first)) * (width - left - right),
    y = (v) => top + ((high - v) / (high - low)) * (height - bottom - top);
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
  const line = (x1, y1, x2, y2, style) => svg.append(makeSvg("line", { x1, x2, y1, y2, style }));
  for (const v of [low, (low + high) / 2, high]) {
    line(left, y(v), width - right, y(v), "stroke:var(--line);stroke-width:0.5");
    svg.append(makeSvg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, String(v)));
  }
  for (const g of ticks)
    svg.append(makeSvg("text", { x: x(g), y: height - 6, "text-anchor": "middle" }, String(g)));
  svg.append(makeSvg("text", { x: width - right + 33, y: height - 6 }, "patches"));
  line(x(grid), top, x(grid), height - bottom, "stroke:var(--line);stroke-width:1.2");
  const ends = Object.entries(lines),
    places = apart(
      ends.map(([, points]) => y(points.at(-1)[1])),
      13,
    );
  ends.forEach(([name, points], i) => {
    const style = `fill:none;stroke:var(--ink);stroke-width:${name === how ? 2.6 : 1.3};stroke-dasharray:${DASHES[name]}`;
    svg.append(
      makeSvg("polyline", { points: points.map(([g, v]) => `${x(g)},${y(v)}`).join(" "), style }),
    );
    line(width - right + 5, places[i], width - right + 29, places[i], style);
    svg.append(
      makeSvg(
        "text",
        {
          x: width - right + 33,
          y: places[i] + 4,
          style: `font-weight:${name === how ? 700 : 400}`,
        },
        name,
      ),
    );
  });
  const here = lines[how]?.find(([g]) => g === grid);
  if (here && bounds)
    line(x(grid), y(bounds[0]), x(grid), y(bounds[1]), "stroke:var(--ink);stroke-width:2");
  if (here)
    svg.append(
      makeSvg("circle", { cx: x(grid), cy: y(here[1]), r: 4.5, style: "fill:var(--ink)" }),
    );
  return svg;
}

const values = (lines, grid) =>
  Object.entries(lines)
    .flatMap(([how, points]) =>
      points.filter(([g]) => g === grid).map(([, v]) => `${how} ${v.toFixed(1)} %`),
    )
    .join(", ");

// The ledger's runs as a table; a cell that waits for its runs has a dash.
function ledgerPart({ model, seeds, rows }) {
  const number = (...shown) => make("td", { style: { "text-align": "right" } }, ...shown);
  const cell = (found) => {
    if (!found)
      return number(
        make("span", { "aria-hidden": "true" }, "\u2013"),
        make("span", { className: "hidden" }, "not in the ledger yet"),
      );
    const spread = found.interval.map((v) => v.toFixed(1)).join(" to ");
    return number(
      found.mean.toFixed(1),
      make("br"),
      make(
        "small",
        { style: { "white-space": "nowrap" } },
        found.seeds === seeds
          ? spread
          : `${spread} (${found.seeds} seed${found.seeds === 1 ? "" : "s"})`,
      ),
    );
  };
  const columns = ["", "norm kept, %", "tested as it is", "fine-tuned"],
    all = rows.flatMap(({ tested, tuned }) => [tested, tuned]);
  const whole = all.filter((found) => found && found.seeds >= seeds).length;
  const part = make(
    "div",
    {},
    make(
      "h4",
      {},
      `the book\u2019s runs: ${model}, trained at ${rows.find((row) => !row.interpolation).side} px, test accuracy in %, mean over ${seeds} seeds with its 95 % interval`,
    ),
  );
  if (all.some(Boolean)) {
    part.append(
      make(
        "div",
        {
          className: "table",
          tabIndex: 0,
          dataset: { lmSuppressShortcuts: "true" },
          role: "region",
          "aria-label": "norm and accuracy at other image sizes, from the ledger",
        },
        make(
          "table",
          {},
          make(
            "thead",
            {},
            make(
              "tr",
              {},
              ...columns.map((name) =>
                make(name ? "th" : "td", name ? { scope: "col" } : {}, name),
              ),
            ),
          ),
          make(
            "tbody",
            {},
            ...rows.map((row) =>
              make(
                "tr",
                {},
                make(
                  "th",
                  { scope: "row" },
                  row.interpolation ? `${row.side} px, ${row.interpolation}` : `${row.side} px`,
                ),
                number(row.norm === null ? "\u2013" : row.norm.toFixed(1)),
                cell(row.tested),
                cell(row.tuned),
              ),
            ),
          ),
        ),
      ),
    );
  }
  if (whole < all.length) {
    part.append(
      make(
        "p",
        {},
        `${all.length - whole} of these ${all.length} numbers are not in the ledger yet, or not with all ${seeds} seeds: `,
        make("span", { style: { "white-space": "nowrap" } }, "deit-edu ablate resolution"),
        " makes them.",
      ),
    );
  }
  return part;
}

function render({ model, el }) {
  const D = model.get("width"),
    G = model.get("trained_grid"),
    P = model.get("patch_size"),
    prefix = model.get("num_prefix_tokens");
  const trained = unpacked(model.get("positions"), "f4"),
    tested = model.get("accuracies"),
    recorded = model.get("recorded");
  const { root, say, end } = frame(
    model,
    el,
    "Position lab: learned position embeddings on another grid",
  );
  const hows = Object.keys(DASHES),
    least = Math.ceil(G / 2),
    grids = Array.from({ length: 2 * G - least + 1 }, (_, i) => least + i);
  const old = norms(trained, D);
  let [low, high] = [Math.min(...old), Math.max(...old)]; // of all grids and interpolations: the colours stay comparable
  const kept = Object.fromEntries(
    hows.map((how) => [
      how,
      grids.map((g) => {
        const lengths = norms(resized(trained, G, g, D, how), D);
        [low, high] = [Math.min(low, ...lengths), Math.max(high, ...lengths)];
        return [g, (100 * mean(lengths)) / mean(old)];
      }),
    ]),
  );
  const accuracy = Object.fromEntries(
    hows
      .map((how) => [
        how,
        tested.filter((row) => row.interpolation === how).map((row) => [row.grid, row.percent]),
      ])
      .filter(([, points]) => points.length),
  );

  const board = make("canvas", {
    tabIndex: 0,
    role: "application",
    dataset: { lmSuppressShortcuts: "true" },
    style: { cursor: "crosshair" },
    "aria-label": "The trained grid. Arrow keys choose the patch that is compared with all others.",
  });
  const picture = (label) => make("canvas", { role: "img", "aria-label": label });
  const likeness = picture("cosine of the chosen patch with all others on the new grid"),
    before = picture("norms on the trained grid"),
    after = picture("norms on the new grid");
  likeness.style.cursor = "crosshair";
  const size = (g) => `${g}\u00d7${g}`;
  const over = {
    likeness: make("p"),
    before: make("p", {}, `${size(G)}: mean ${mean(old).toFixed(2)}`),
    after: make("p"),
  };
  const maps = (...panels) =>
    make("div", { className: "maps", style: { "grid-template-columns": "1fr 1fr" } }, ...panels);
  const keptPart = make("div"),
    accuracyPart = make("div");
  root.append(
    slider(model, "grid", { label: "patches a side", min: least, max: 2 * G, show: size }),
    choice(model, "interpolation", { label: "interpolation", options: Object.entries(NAMES) }),
  );
  end(); // the sentence above the pictures, which are many
  root.append(
    make(
      "div",
      { className: "side" },
      make(
        "div",
        {},
        make("h4", {}, "how alike: click a patch"),
        maps(
          make("div", {}, make("p", {}, `${size(G)}, trained`), board),
          make("div", {}, over.likeness, likeness),
          scale("\u22121", "1", true, "cosine with the framed patch"),
        ),
      ),
      make(
        "div",
        {},
        make("h4", {}, "how long: the l2 norm of each vector"),
        maps(
          make("div", {}, over.before, before),
          make("div", {}, over.after, after),
          scale(low.toFixed(1), high.toFixed(1), false, PREFIX[prefix] ?? ""),
        ),
      ),
    ),
    make("div", { className: "side" }, keptPart, accuracyPart),
  );
  if (recorded.rows) root.append(ledgerPart(recorded));

  const choosePatch = (x, y) => put(model, "patch", within(y, 0, G - 1) * G + within(x, 0, G - 1));
  for (const canvas of [board, likeness]) {
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      choosePatch(
        Math.floor(((event.clientX - box.left) / box.width) * G),
        Math.floor(((event.clientY - box.top) / box.height) * G),
      );
    });
  }
  board.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    choosePatch((model.get("patch") % G) + move[0], Math.floor(model.get("patch") / G) + move[1]);
  });

  function draw() {
    const grid = within(model.get("grid"), least, 2 * G),
      how = model.get("interpolation"),
      patch = within(model.get("patch"), 0, G * G - 1);
    const vectors = resized(trained, G, grid, D, how),
      lengths = norms(vectors, D);
    const there = (place) => Math.floor(((2 * place + 1) * grid) / (2 * G)); // where the old patch's centre is
    const same = there(Math.floor(patch / G)) * grid + there(patch % G),
      alike = cosines(trained, D, patch);
    squares(board, alike, G, [-1, 1], true, patch);
    squares(likeness, cosines(vectors, D, same), grid, [-1, 1], true, same);
    squares(before, old, G, [low, high], false);
    squares(after, lengths, grid, [low, high], false);
    const share = kept[how].find(([g]) => g === grid)[1];
    over.likeness.textContent = size(grid);
    over.after.textContent = `${size(grid)}: mean ${mean(lengths).toFixed(2)}`;

    const ticks = [least, G, 2 * G];
    keptPart.replaceChildren(
      make("h4", {}, "mean norm kept, %"),
      chart({
        lines: kept,
        ticks,
        grid,
        how,
        label: `Share of the mean norm that is kept at ${least} to ${2 * G} patches a side`,
      }),
      make("p", {}, `At ${size(grid)}: ${values(kept, grid)}.`),
    );
    const row = (g) => tested.find((one) => one.grid === g && one.interpolation === how),
      here = row(grid),
      home = row(G);
    if (tested.length) {
      const read = here
        ? `At ${size(grid)}: ${values(accuracy, grid)}. The bar is the 95 % interval of ${here.total} images.`
        : `Not measured at ${size(grid)}.`;
      accuracyPart.replaceChildren(
        make("h4", {}, "accuracy without fine-tuning, %"),
        chart({
          lines: accuracy,
          ticks,
          grid,
          how,
          bounds: here && [here.low, here.high],
          label: "Accuracy without fine-tuning against patches a side",
        }),
        make("p", {}, read),
      );
    }

    let words =
      grid === G
        ? `${size(G)} patches (${G * P} px) are the grid that was trained: nothing is interpolated, and the mean norm is ${mean(old).toFixed(2)}.`
        : `From ${size(G)} to ${size(grid)} patches (${grid * P} px), ${NAMES[how]}: ${share.toFixed(1)} % of the mean norm is kept, ` +
          `${mean(old).toFixed(2)} before and ${mean(lengths).toFixed(2)} after.`;
    if (here) {
      words +=
        ` Without fine-tuning the model is right on ${here.percent.toFixed(1)} % of ${here.total} validation images` +
        (home && grid !== G ? `, against ${home.percent.toFixed(1)} % at ${G * P} px.` : ".");
    } else if (tested.length) words += " Its accuracy was not measured at this size.";
    const others = alike.map((v, n) => (n === patch ? -Infinity : v)),
      next = argmax(others);
    const place = (n) => `row ${Math.floor(n / G) + 1}, column ${(n % G) + 1}`;
    say(
      `${words} The patch on ${place(patch)} of the trained grid is most like that on ${place(next)} (cosine ${others[next].toFixed(2)}).`,
    );
  }
  for (const name of ["grid", "interpolation", "patch"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };

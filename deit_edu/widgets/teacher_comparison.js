import { choice, menu, slider } from "./controls.js";
import { bars, drawImage } from "./drawing.js";
import { frame, make, makeSvg } from "./elements.js";
import { argmax, signed, unpacked } from "./numbers.js";

const WHO = {
  teacher: "teacher",
  class: "class head",
  distillation: "distillation head",
  fused: "both heads",
};

// Every seed a dot, the mean a bar, the interval a line. rows: [{name, colour, values, mean, low, high}, ...]
function dots(rows, label) {
  const width = 330,
    left = 118,
    right = 44,
    row = 20,
    height = row * rows.length + 24;
  const all = rows.flatMap(({ values, low, high }) => [...values, low, high]);
  const low = Math.floor(Math.min(...all) - 0.5),
    high = Math.ceil(Math.max(...all) + 0.5);
  const x = (v) => left + ((v - low) / (high - low)) * (width - left - right);
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
  rows.forEach(({ name, colour, values, mean, low: from, high: to }, i) => {
    const y = row * i + 11,
      stroke = `stroke:var(--${colour});stroke-width:2`;
    svg.append(
      makeSvg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, name),
      makeSvg("line", { x1: x(from), x2: x(to), y1: y, y2: y, style: stroke }),
      makeSvg("line", { x1: x(mean), x2: x(mean), y1: y - 7, y2: y + 7, style: stroke }),
      makeSvg("text", { x: width - right + 6, y: y + 4 }, mean.toFixed(1)),
    );
    values.forEach((v) =>
      svg.append(
        makeSvg("circle", { cx: x(v), cy: y, r: 4, style: `fill:var(--${colour});opacity:0.55` }),
      ),
    );
  });
  for (const v of [low, high])
    svg.append(makeSvg("text", { x: x(v), y: height - 4, "text-anchor": "middle" }, `${v} %`));
  return svg;
}

// Validation accuracy after each epoch: every seed a thin line. groups: [{colour, curves, dashed}, ...]
function curves(groups, label) {
  const width = 330,
    height = 170,
    left = 36,
    bottom = 24;
  const all = groups.flatMap(({ curves: lines }) => lines.flat()),
    longest = Math.max(...groups.flatMap(({ curves: lines }) => lines.map((c) => c.length)));
  const low = Math.min(...all),
    high = Math.max(...all);
  const x = (i) => left + (i / Math.max(1, longest - 1)) * (width - left - 10),
    y = (v) => 8 + ((high - v) / (high - low || 1)) * (height - bottom - 8);
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": label,
  });
  for (const { colour, curves: lines, dashed } of groups) {
    for (const line of lines) {
      svg.append(
        makeSvg("polyline", {
          points: line.map((v, i) => `${x(i)},${y(v)}`).join(" "),
          style: `fill:none;stroke:var(--${colour});stroke-width:1.4;opacity:0.8;stroke-dasharray:${dashed ? "4 3" : "none"}`,
        }),
      );
    }
  }
  for (const v of [low, high])
    svg.append(makeSvg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(0)));
  svg.append(
    makeSvg("text", { x: x(0), y: height - 6 }, "epoch 1"),
    makeSvg("text", { x: x(longest - 1), y: height - 6, "text-anchor": "end" }, String(longest)),
  );
  return svg;
}

function render({ model, el }) {
  const students = model.get("students"),
    names = model.get("class_names"),
    n = model.get("count");
  const rows = unpacked(model.get("rows"), "u1"),
    pixels = unpacked(model.get("gallery"), "u1"),
    shape = model.get("image_shape");
  const size = shape.reduce((a, b) => a * b, 1),
    index = model.get("gallery_index");
  const decided = (row) => rows.subarray(row * n, (row + 1) * n),
    truth = decided(0);
  const { root, say, end } = frame(
    model,
    el,
    "Teacher comparison: what the students of two teachers learned",
  );
  const teachers = [...new Set(students.map((s) => s.teacher))].map((t) => [t, t]);
  const seeds = [...new Set(students.flatMap((s) => Object.keys(s.rows).map(Number)))];
  const body = make("div");
  root.append(
    make(
      "div",
      { className: "side" },
      menu(model, "one", { label: "teacher A", options: teachers }),
      menu(model, "other", { label: "teacher B", options: teachers }),
    ),
    choice(model, "kind", {
      label: "distillation, where there is a teacher",
      options: model.get("kinds").map((k) => [k, k || "none"]),
    }),
    ...(seeds.length
      ? [slider(model, "seed", { label: "seed", min: Math.min(...seeds), max: Math.max(...seeds) })]
      : []),
  );
  end(); // the sentence above the pictures, which are many
  root.append(body);

  const find = (teacher) =>
    students.find(
      (s) => s.teacher === teacher && (s.teacher === "none" || s.kind === model.get("kind")),
    );
  const best = (student) => student.accuracy.fused ?? student.accuracy.class;

  function draw() {
    const chosen = [
      ["A", model.get("one")],
      ["B", model.get("other")],
    ].map(([letter, teacher]) => ({ letter, teacher, student: find(teacher) }));
    const missing = chosen.find(({ student }) => !student);
    if (missing) {
      body.replaceChildren();
      return say(
        `There is no run of a student of the ${missing.teacher} with distillation "${model.get("kind")}" here: choose another teacher or another kind of distillation.`,
      );
    }
    const heading = (text) => make("h4", {}, text);
    const accuracy = dots(
      chosen.flatMap(({ letter, student }) =>
        Object.keys(WHO)
          .filter((who) => who in student.accuracy)
          .map((who) => {
            const plain = student.teacher === "none";
            return {
              name: `${letter}: ${plain ? "no teacher" : WHO[who]}`,
              colour: plain ? "plain" : who,
              ...student.accuracy[who],
            };
          }),
      ),
      `Test accuracy of the students of ${chosen.map((c) => c.teacher).join(" and ")}, a dot for every seed`,
    );
    const lines = curves(
      chosen.map(({ student, letter }) => ({
        colour: student.teacher === "none" ? "plain" : "fused",
        curves: student.curves,
        dashed: letter === "B",
      })),
      "Validation accuracy after each epoch, a line for every seed; dashed for B",
    );
    body.replaceChildren(
      make(
        "div",
        { className: "side" },
        make("div", {}, heading("test accuracy"), accuracy),
        make(
          "div",
          {},
          heading("validation accuracy while training"),
          lines,
          make("p", {}, "B is dashed."),
        ),
      ),
    );
    const [a, b] = chosen.map(({ student }) => student);
    const gap = best(b).mean - best(a).mean;
    let words =
      `A, teacher ${a.teacher}: ${best(a).mean.toFixed(1)} % over ${a.seeds.length} seeds. B, teacher ${b.teacher}: ${best(b).mean.toFixed(1)} % over ${b.seeds.length} seeds. ` +
      `B minus A: ${signed(gap, 1)} points.`;
    const seed = String(model.get("seed"));
    const said = [
      ["truth", truth],
      ...chosen.flatMap(({ letter, student }) =>
        Object.entries(student.rows[seed] ?? {}).map(([who, row]) => [
          `${letter} ${student.teacher === "none" ? "no teacher" : WHO[who]}`,
          decided(row),
          letter,
          who,
        ]),
      ),
    ];
    if (a.rows[seed] && b.rows[seed]) words += details(said, chosen, seed);
    else
      words += ` The answers of seed ${seed} are not kept for both: choose another seed for the matrix and the gallery.`;
    say(words);
  }

  function details(said, chosen, seed) {
    const disagree = (x, y) => {
      let count = 0;
      for (let i = 0; i < n; i++) count += x[i] !== y[i];
      return (100 * count) / n;
    };
    const short = said.map(([name]) =>
      name.replace("both heads", "both").replace(" head", "").replace("distillation", "dist."),
    );
    const head = make(
      "tr",
      {},
      make("td", {}),
      ...short.map((name) => make("th", { scope: "col" }, name)),
    );
    const matrix = make(
      "table",
      {},
      make("thead", {}, head),
      make(
        "tbody",
        {},
        ...said.map(([, x], i) =>
          make(
            "tr",
            {},
            make("th", { scope: "row" }, short[i]),
            ...said.map(([, y], j) =>
              make("td", {}, i === j ? "\u2013" : disagree(x, y).toFixed(1)),
            ),
          ),
        ),
      ),
    );
    const of = (letter) => said.filter((row) => row[2] === letter),
      chief = (letter, who) =>
        (of(letter).find((row) => row[3] === who) ??
          of(letter).find((row) => row[3] === "class"))[1];
    const shares = ["A", "B"].map((letter) =>
      names.map((_, k) => {
        let right = 0,
          all = 0;
        for (let i = 0; i < n; i++)
          if (truth[i] === k) {
            all++;
            right += chief(letter, "fused")[i] === k;
          }
        return (100 * right) / Math.max(all, 1);
      }),
    );
    const change = shares[1].map((v, k) => v - shares[0][k]),
      most = Math.max(1, ...change.map(Math.abs));
    const perClass = bars({
      names,
      low: -most,
      high: most,
      label: "Accuracy of B minus A for each class, points",
      show: (v) => signed(v, 1),
      series: [{ colour: "fused", values: change }],
    });
    const judge = (letter) =>
      (of(letter).find((row) => row[3] === "teacher") ?? [undefined, chief(letter, "fused")])[1];
    const apart = index
      .map((image, place) => [image, place])
      .filter(([image]) => judge("A")[image] !== judge("B")[image])
      .slice(0, 8);
    const cards = apart.map(([image, place]) => {
      const canvas = make("canvas", {
        role: "img",
        "aria-label": `test image ${image}, ${names[truth[image]]}`,
      });
      drawImage(canvas, pixels.subarray(place * size, (place + 1) * size), shape);
      const lines = said
        .slice(1)
        .map(([name, row]) =>
          make(
            "li",
            {},
            `${name}: ${names[row[image]]}${row[image] === truth[image] ? " \u2713" : ""}`,
          ),
        );
      return make(
        "figure",
        {},
        canvas,
        make("figcaption", {}, make("strong", {}, names[truth[image]]), make("ul", {}, ...lines)),
      );
    });
    const total = index.filter((image) => judge("A")[image] !== judge("B")[image]).length;
    body.append(
      make(
        "h4",
        {},
        `who disagrees with whom, % of ${n.toLocaleString("en")} test images, seed ${seed}`,
      ),
      make(
        "div",
        {
          className: "table",
          tabIndex: 0,
          dataset: { lmSuppressShortcuts: "true" },
          role: "region",
          "aria-label": "table of disagreement",
        },
        matrix,
      ),
      make(
        "div",
        { className: "side" },
        make("div", {}, make("h4", {}, "B minus A, class by class, points"), perClass),
      ),
      make(
        "h4",
        {},
        "test images on which the two teachers disagree (or the students, where there is no teacher)",
      ),
      make("div", { className: "cards" }, ...cards),
    );
    const gained = argmax(change);
    return (
      ` Seed ${seed}: the two disagree on ${disagree(chief("A", "fused"), chief("B", "fused")).toFixed(1)} % of the test images; B gains most on ${names[gained]} (${signed(change[gained], 1)}). ` +
      `Below are ${cards.length} of the ${total} images in this page on which they disagree.`
    );
  }

  for (const name of ["one", "other", "kind", "seed"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };

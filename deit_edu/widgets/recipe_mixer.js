import { button, choice, menu, picker, put, slider, toggle } from "./controls.js";
import { bars, drawImage, legend } from "./drawing.js";
import { complain, frame, make, makeSvg } from "./elements.js";
import { argmax, load, softmax, unpacked } from "./numbers.js";
import { fusedLogits, networksOf, normalised } from "./running.js";

// ---- deit_edu.augment once more, for one image and its partner. Shapes are [C, H, W]; u, v, ... are uniform draws in [0, 1) ----

// Of images and of labels: lam is the share that A keeps.
export const mixup = (a, b, lam) => a.map((v, i) => lam * v + (1 - lam) * b[i]);

// The rectangle of area 1 - lam, clipped at the border. kept: the share of pixels that A keeps, by which CutMix mixes the labels.
export function cutmixBox(lam, [u, v], [, H, W]) {
  const part = (1 - lam) ** 0.5,
    height = Math.trunc(H * part),
    width = Math.trunc(W * part);
  const up = Math.floor(height / 2),
    before = Math.floor(width / 2),
    y = Math.floor(u * H),
    x = Math.floor(v * W);
  const top = Math.max(0, y - up),
    left = Math.max(0, x - before);
  const box = {
    top,
    left,
    height: Math.min(H, y + height - up) - top,
    width: Math.min(W, x + width - before) - left,
  };
  return {
    ...box,
    kept: 1 - (box.height * box.width) / (H * W),
    clipped: box.height < height || box.width < width,
  };
}

// The rectangle that erasing hides: 0.02 to 1/3 of the image, its height 0.3 to 1/0.3 of its width.
export function eraseBox([u, v, y, x], [, H, W]) {
  const share = 0.02 + u * (1 / 3 - 0.02),
    ratio = Math.exp(Math.log(0.3) - 2 * v * Math.log(0.3));
  const side = (length) => Math.min(Math.max(Math.round(length), 1), H); // H = W
  const height = side(H * Math.sqrt(share * ratio)),
    width = side(W * Math.sqrt(share / ratio));
  return {
    top: Math.floor(y * (H - height + 1)),
    left: Math.floor(x * (W - width + 1)),
    height,
    width,
  };
}

// A with the rectangle of another image: CutMix pastes the partner, erasing pastes noise.
export const paste = (a, other, { top, left, height, width }, [, H, W]) =>
  a.map((v, i) => {
    const y = Math.floor((i % (H * W)) / W) - top,
      x = (i % W) - left;
    return y >= 0 && y < height && x >= 0 && x < width ? other[i] : v;
  });

// A draw from Beta(alpha, alpha) (Johnk's way, quick for alpha of about 1 and less).
export function drawBeta(alpha, random = Math.random) {
  for (;;) {
    const x = random() ** (1 / alpha),
      y = random() ** (1 / alpha);
    if (x + y > 0 && x + y <= 1) return x / (x + y);
  }
}

// deit_edu.losses.smooth_labels for one label.
export const smoothed = (label, K, epsilon, over) =>
  Array.from({ length: K }, (_, k) =>
    over === "all"
      ? (k === label ? 1 - epsilon : 0) + epsilon / K
      : k === label
        ? 1 - epsilon
        : epsilon / Math.max(1, K - 1),
  );

// Where lambda is drawn from, and the lambda that is chosen.
function curve({ alpha, density }, lam) {
  const width = 330,
    height = 74,
    bottom = 18,
    most = Math.max(...density),
    x = (v) => 12 + v * (width - 24);
  const y = (v) => height - bottom - (v / most) * (height - bottom - 20);
  return makeSvg(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `Density of Beta(${alpha}, ${alpha}), lambda ${lam.toFixed(2)} marked`,
    },
    makeSvg("line", {
      x1: x(0),
      x2: x(1),
      y1: y(0),
      y2: y(0),
      style: "stroke:var(--line);stroke-width:0.5",
    }),
    makeSvg("polyline", {
      points: density.map((v, i) => `${x((i + 1) / 50)},${y(v)}`).join(" "),
      style: "fill:none;stroke:var(--line);stroke-width:2",
    }),
    makeSvg("line", {
      x1: x(lam),
      x2: x(lam),
      y1: 18,
      y2: y(0),
      style: "stroke:var(--ink);stroke-width:2",
    }),
    makeSvg("text", { x: x(0), y: 12 }, `density of Beta(${alpha}, ${alpha})`),
    ...[0, 0.5, 1].map((v) =>
      makeSvg("text", { x: x(v), y: height - 4, "text-anchor": "middle" }, String(v)),
    ),
  );
}

function render({ model, el }) {
  const shape = model.get("image_shape"),
    [C, H, W] = shape,
    size = C * H * W,
    mean = model.get("mean"),
    std = model.get("std");
  const stored = unpacked(model.get("images"), "u1"),
    noise = unpacked(model.get("noise"), "f2");
  const names = model.get("class_names"),
    K = names.length,
    labels = model.get("labels"),
    beta = model.get("beta");
  const { root, say, end } = frame(
    model,
    el,
    "Recipe mixer: an image and its partner, the label, and the teacher\u2019s answer",
  );
  const ends = [],
    ask = networksOf(model, ["teacher"], (stop) => ends.push(stop));
  let draws, shown; // shown: { mix, logits } of what is drawn; logits are null when the teacher could not be asked

  // ---- controls, in the order of deit_edu.train.augmented_batch ----

  const images = () =>
    labels.map((label, i) => {
      const canvas = make("canvas");
      drawImage(canvas, stored.subarray(i * size, (i + 1) * size), shape);
      return { canvas, name: names[label] };
    });
  const uniform = (count) => Array.from({ length: count }, () => Math.random());
  const lambda = slider(model, "lam", {
    label: "lambda",
    min: 0,
    max: 1,
    step: 0.01,
    show: (v) => v.toFixed(2),
  });
  const drawLambda = button("Draw lambda", () =>
    put(model, "lam", drawBeta(beta[model.get("mixing")].alpha)),
  );
  const move = button("Move the rectangle", () => put(model, "centre", uniform(2)));
  const eraseElsewhere = button("Erase elsewhere", () => put(model, "hole", uniform(4)));
  const density = make("div"),
    answers = make("div"),
    note = make("p", { className: "note" });
  const canvases = ["A", "B", "result"].map((title) => ({
    title,
    canvas: make("canvas", { role: "img" }),
    head: make("h4", {}, title),
  }));
  root.append(
    make(
      "div",
      { className: "side" },
      picker(model, "image", { label: "A", images: images() }),
      picker(model, "partner", { label: "B, its partner", images: images() }),
    ),
    make(
      "div",
      { className: "side" },
      make(
        "div",
        {},
        menu(model, "rand_augment", {
          label: "RandAugment",
          options: [
            [0, "none"],
            ...Array.from({ length: model.get("num_draws") }, (_, d) => [d + 1, `draw ${d + 1}`]),
          ],
        }),
        make("p", {}, toggle(model, "erasing", { label: "erase a part of A" }), eraseElsewhere),
        make(
          "div",
          { className: "maps" },
          ...canvases.map(({ head, canvas }) => make("div", {}, head, canvas)),
        ),
      ),
      make(
        "div",
        {},
        choice(model, "mixing", {
          label: "mixing",
          options: [
            ["none", "none"],
            ["mixup", "Mixup"],
            ["cutmix", "CutMix"],
          ],
        }),
        lambda,
        density,
        make("p", {}, drawLambda, move),
      ),
    ),
    make(
      "div",
      { className: "side", style: { "margin-top": "0.8rem" } },
      answers,
      make(
        "div",
        {},
        slider(model, "temperature", {
          label: "temperature",
          min: 1,
          max: 10,
          step: 0.5,
          show: (v) => v.toFixed(1),
        }),
        slider(model, "label_smoothing", {
          label: "smoothing",
          min: 0,
          max: 0.3,
          step: 0.05,
          show: (v) => v.toFixed(2),
        }),
        choice(model, "smoothing_over", {
          label: "smoothing over",
          options: [
            ["others", "the other classes (paper)"],
            ["all", "all classes (authors\u2019 code)"],
          ],
        }),
      ),
    ),
  );
  end();
  root.append(note);

  // ---- the mixed image ----

  function mixed() {
    const draw = model.get("rand_augment"),
      mixing = model.get("mixing"),
      lam = model.get("lam");
    const entering = (i) => {
      const from = draw ? draws.subarray((draw - 1) * stored.length, draw * stored.length) : stored;
      return from.subarray(i * size, (i + 1) * size);
    };
    const [i, j] = [model.get("image"), model.get("partner")],
      [one, other] = [entering(i), entering(j)];
    const asItWas = [
      [one, i],
      [other, j],
    ].map(([pixels, k]) => pixels.every((v, at) => v === stored[k * size + at]));
    let a = normalised(one, mean, std),
      kept = mixing === "none" ? 1 : lam;
    const b = normalised(other, mean, std),
      hole = model.get("erasing") ? eraseBox(model.get("hole"), shape) : null;
    if (hole) a = paste(a, noise, hole, shape);
    const box = mixing === "cutmix" ? cutmixBox(lam, model.get("centre"), shape) : null;
    if (box) kept = box.kept;
    const result = box ? paste(a, b, box, shape) : mixup(a, b, kept);
    return {
      a,
      b,
      result,
      hole,
      box,
      kept,
      mixing,
      lam,
      asItWas,
      draw,
      labels: [labels[i], labels[j]],
    };
  }

  // Normalised pixels as they can be seen: noise below black is black, above white white. Dashed: what CutMix takes.
  function look(canvas, values, box) {
    const plane = H * W,
      scale = Math.max(1, Math.round(224 / W)),
      small = make("canvas");
    drawImage(
      small,
      Uint8ClampedArray.from(
        values,
        (v, i) => 255 * (v * std[Math.floor(i / plane)] + mean[Math.floor(i / plane)]),
      ),
      shape,
    );
    [canvas.width, canvas.height] = [scale * W, scale * H];
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (!box?.height || !box.width) return;
    [context.strokeStyle, context.lineWidth] = ["#ffb000", 3];
    context.setLineDash([9, 5]);
    context.strokeRect(scale * box.left, scale * box.top, scale * box.width, scale * box.height);
  }

  function drawMix({ a, b, result, box, mixing, lam, labels: [of, to] }) {
    [
      [a, null, names[of]],
      [b, box, names[to]],
      [result, box, "the mixed image"],
    ].forEach(([values, frameOf, what], i) => {
      look(canvases[i].canvas, values, frameOf);
      canvases[i].canvas.setAttribute("aria-label", i < 2 ? `${canvases[i].title}: ${what}` : what);
    });
    density.replaceChildren(...(mixing === "none" ? [] : [curve(beta[mixing], lam)]));
    lambda.querySelector("input").disabled = drawLambda.disabled = mixing === "none";
    move.disabled = mixing !== "cutmix";
    eraseElsewhere.disabled = !model.get("erasing");
  }

  // ---- the label and the teacher's answer ----

  function draw() {
    if (!shown) return;
    const { mix, logits } = shown,
      [of, to] = mix.labels,
      alone = mix.mixing === "none",
      tau = model.get("temperature");
    const target = (label) =>
      smoothed(label, K, model.get("label_smoothing"), model.get("smoothing_over"));
    const label = mixup(target(of), target(to), mix.kept);
    const soft = logits && softmax(logits, tau),
      decided = logits && argmax(logits);
    const own = [...new Set(alone ? [of] : [of, to])];
    const others = names
      .map((_, k) => k)
      .filter((k) => !own.includes(k))
      .sort((k, l) => (soft ? soft[l] - soft[k] : 0));
    const rows = [...own, ...others].slice(0, 5),
      pick = (values) => rows.map((k) => values[k]),
      kinds = ["label", "soft", "hard"];
    answers.replaceChildren(
      make("h4", {}, "what the student learns from the result"),
      bars({
        names: rows.map((k) => names[k]),
        right: 76,
        label: "The label, and the teacher's soft and hard answer, class by class",
        show: (v, j) => `${v.toFixed(2)} ${kinds[j]}`,
        series: [
          { colour: "truth", values: pick(label) },
          ...(soft
            ? [
                { colour: "teacher", values: pick(soft), faint: true },
                { colour: "teacher", values: rows.map((k) => Number(k === decided)) },
              ]
            : []),
        ],
      }),
      legend([
        ["truth", "label: for the class head"],
        [
          "teacher",
          "teacher\u2019s hard label: for the distillation head; fainter, its soft answer",
        ],
      ]),
    );

    const pixels = ({ height, width }) => `${height}\u00d7${width} pixels`,
      words = [];
    const changed = ["A", "B"].filter((_, k) => !mix.asItWas[k] && !(alone && k));
    if (mix.draw)
      words.push(`RandAugment, draw ${mix.draw}, changed ${changed.join(" and ") || "nothing"}.`);
    if (mix.hole)
      words.push(
        `Normal noise hides ${pixels(mix.hole)} of A; beyond black it is shown black, beyond white, white.`,
      );
    if (alone) words.push(`Not mixed: A is ${names[of]}.`);
    else if (!mix.box)
      words.push(
        `Mixup: ${mix.lam.toFixed(2)} of A (${names[of]}) and ${(1 - mix.lam).toFixed(2)} of B (${names[to]}).`,
      );
    else
      words.push(
        `CutMix: ${pixels(mix.box)} of B (${names[to]}) on A (${names[of]}). ${mix.box.clipped ? "Clipped at the border, " : ""}` +
          `A keeps ${mix.kept.toFixed(3)} of the pixels, for a lambda of ${mix.lam.toFixed(2)}.`,
      );
    words.push(
      `The label is ${own.map((k) => `${label[k].toFixed(2)} ${names[k]}`).join(" and ")}` +
        `${own.length < K && label[others[0]] > 0 ? `, ${label[others[0]].toFixed(3)} for each other class` : ""}.`,
    );
    const which =
      decided === of
        ? decided === to && !alone
          ? "which both are"
          : "which A is"
        : decided === to && !alone
          ? "which B is"
          : alone
            ? "which A is not"
            : "neither of the two";
    words.push(
      logits
        ? `The teacher\u2019s hard label is ${names[decided]}, ${which}; its soft answer gives it ${soft[decided].toFixed(2)}.`
        : "The teacher was not asked.",
    );
    say(words.join(" "));
  }

  let running = false,
    again = false;
  async function change() {
    again = running;
    if (running) return;
    running = true;
    let mix;
    do {
      again = false;
      try {
        if (model.get("rand_augment")) draws ??= unpacked(await load(model, "draws"), "u1");
        const asked = Object.fromEntries(
          Object.keys(model.get("answered")).map((name) => [name, model.get(name)]),
        );
        drawMix((mix = mixed()));
        const {
          said: { teacher },
          ms,
        } = await ask(mix.result);
        const logits = fusedLogits(teacher);
        shown = { mix, logits };
        model.set("answered", asked);
        put(model, "answer", logits);
        note.textContent = `The teacher answered in ${ms.toFixed(0)} ms on your machine. Nothing leaves your browser.`;
        complain(root, "");
      } catch (error) {
        if (mix) shown = { mix, logits: null };
        complain(root, `The teacher could not be asked: ${error.message}`);
      }
      draw();
    } while (again);
    running = false;
  }

  for (const name of Object.keys(model.get("answered"))) model.on(`change:${name}`, change);
  for (const name of ["temperature", "label_smoothing", "smoothing_over"])
    model.on(`change:${name}`, draw);
  const bytes = model
    .get("teacher")
    .tensors.reduce((sum, [, sides]) => sum + 2 * sides.reduce((a, b) => a * b, 1), 0);
  note.textContent = `The teacher (${(bytes / 1e6).toFixed(1)} MB) is loaded when you change something. It runs here: nothing leaves your browser.`;
  const same = Object.entries(model.get("answered")).every(
    ([name, value]) => String(value) === String(model.get(name)),
  );
  if (same && !model.get("rand_augment")) {
    shown = { mix: mixed(), logits: model.get("answer") };
    drawMix(shown.mix);
    draw();
  } else change();
  return () => ends.forEach((stop) => stop());
}

export default { render };

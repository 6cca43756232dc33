import { button, choice, menu, picker, put, slider } from "./controls.js";
import { drawImage, heatMap, legend } from "./drawing.js";
import { complain, frame, make, makeSvg } from "./elements.js";
import { argmax, unpacked } from "./numbers.js";
import { layerMap, networksOf, normalised, patchesOf, rollout, sizesOf } from "./running.js";

// The cosine of the two tokens through the layers, the chosen layer marked.
function curve(values, layer) {
  const width = 330,
    height = 120,
    left = 34,
    bottom = 22;
  const x = (i) => left + (i / (values.length - 1)) * (width - left - 12),
    y = (v) => 8 + ((1 - v) / 2) * (height - bottom - 8);
  const svg = makeSvg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `Cosine of the two tokens: ${values.map((v) => v.toFixed(2)).join(", ")}`,
  });
  for (const v of [-1, 0, 1]) {
    svg.append(
      makeSvg("line", {
        x1: left,
        x2: width - 12,
        y1: y(v),
        y2: y(v),
        style: "stroke:var(--line);stroke-width:0.5",
      }),
      makeSvg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, String(v)),
    );
  }
  values.forEach((v, i) =>
    svg.append(
      makeSvg("circle", {
        cx: x(i),
        cy: y(v),
        r: i === layer ? 6 : 3.5,
        style: "fill:var(--fused)",
      }),
      makeSvg(
        "text",
        { x: x(i), y: height - 4, "text-anchor": "middle" },
        i === 0 ? "input" : String(i),
      ),
    ),
  );
  svg.append(
    makeSvg("polyline", {
      points: values.map((v, i) => `${x(i)},${y(v)}`).join(" "),
      style: "fill:none;stroke:var(--fused);stroke-width:2",
    }),
  );
  return svg;
}

function render({ model, el }) {
  const [C, H, W] = model.get("image_shape"),
    size = C * H * W,
    P = model.get("network").patch_size;
  const sizes = sizesOf(model.get("network")),
    G = sizes.grid,
    names = model.get("class_names");
  const stored = unpacked(model.get("images"), "u1");
  const { root, say, end } = frame(model, el, "Attention lens: what the two tokens look at");
  const ends = [],
    ask = networksOf(model, ["network"], (stop) => ends.push(stop));
  let attention = unpacked(model.get("first"), "f2"),
    similarity = model.get("similarity"),
    of = 0;

  const board = make("canvas", {
    tabIndex: 0,
    className: "board tapped",
    role: "application",
    dataset: { lmSuppressShortcuts: "true" },
    "aria-label":
      "The image. Arrow keys choose the patch that asks; escape gives the question back to the two tokens.",
  });
  const maps = make("div", { className: "maps" }),
    line = make("div");
  const heads = [
    [0, "mean of all"],
    ...Array.from({ length: sizes.heads }, (_, n) => [n + 1, `head ${n + 1}`]),
  ];
  root.append(
    picker(model, "image", {
      label: "test images",
      images: model.get("labels").map((label, i) => {
        const small = make("canvas");
        drawImage(small, stored.subarray(i * size, (i + 1) * size), [C, H, W]);
        return { canvas: small, name: names[label] };
      }),
    }),
    slider(model, "layer", { label: "layer", min: 1, max: sizes.depth }),
    make(
      "div",
      { className: "side" },
      menu(model, "head", { label: "head", options: heads }),
      choice(model, "way", {
        label: "attention",
        options: [
          ["layer", "of this layer"],
          ["rollout", "rolled out up to it"],
        ],
      }),
    ),
  );
  end(); // the sentence above the pictures: on a phone both are seen
  root.append(
    make(
      "div",
      { className: "side" },
      make(
        "div",
        {},
        make("h4", {}, "the image: click a patch to ask from there"),
        board,
        button("Ask from the two tokens", () => put(model, "patch", -1)),
      ),
      make("div", {}, maps, make("h4", {}, "cosine of the two tokens after each layer"), line),
    ),
  );

  const choosePatch = (x, y) =>
    put(model, "patch", Math.min(Math.max(y, 0), G - 1) * G + Math.min(Math.max(x, 0), G - 1));
  board.addEventListener("click", (event) => {
    const box = board.getBoundingClientRect();
    choosePatch(
      Math.floor(((event.clientX - box.left) / box.width) * G),
      Math.floor(((event.clientY - box.top) / box.height) * G),
    );
  });
  board.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
      event.key
    ];
    if (!move && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    const patch = model.get("patch");
    if (!move) put(model, "patch", -1);
    else if (patch < 0) choosePatch(Math.floor(G / 2), Math.floor(G / 2));
    else choosePatch((patch % G) + move[0], Math.floor(patch / G) + move[1]);
  });

  // The share of attention to patches that falls on the item's box, attention being even within a patch.
  function inBox(values) {
    const box = model.get("boxes")[of];
    if (!box) return "";
    const overlap = (start, length, n) =>
      Math.max(0, Math.min((n + 1) * P, start + length) - Math.max(n * P, start)) / P;
    const cover = (i) =>
      overlap(box[0], box[2], Math.floor(i / G)) * overlap(box[1], box[3], i % G);
    const sum = values.reduce((a, b) => a + b, 0);
    return `, ${Math.round((100 * values.reduce((a, v, i) => a + v * cover(i), 0)) / sum)} % of it on the item`;
  }
  const place = (i) => `row ${Math.floor(i / G) + 1}, column ${(i % G) + 1}`;

  function panel(title, colour, values, signed) {
    const canvas = make("canvas", { role: "img" }),
      most = Math.max(...values.map(Math.abs));
    heatMap(
      canvas,
      values,
      G,
      signed ? { range: [-most, most], diverging: true } : { range: [0, most] },
    );
    canvas.setAttribute("aria-label", `${title}: most at ${place(argmax(values.map(Math.abs)))}`);
    return make(
      "div",
      { style: { "border-bottom": `4px solid var(--${colour})` } },
      make("h4", {}, title),
      canvas,
    );
  }

  function draw() {
    const layer = Math.min(Math.max(model.get("layer"), 1), sizes.depth) - 1,
      patch = model.get("patch");
    drawImage(board, stored.subarray(of * size, (of + 1) * size), [C, H, W]);
    if (patch >= 0) {
      const context = board.getContext("2d");
      context.strokeStyle = "#ffb000";
      context.strokeRect((patch % G) * P + 0.5, Math.floor(patch / G) * P + 0.5, P - 1, P - 1);
    }
    const rolled = model.get("way") === "rollout";
    const map = rolled
      ? rollout(attention, sizes, layer)
      : layerMap(attention, sizes, layer, model.get("head") - 1);
    const where = rolled
      ? `Rolled out through ${layer + 1} of ${sizes.depth} layers`
      : `Layer ${layer + 1} of ${sizes.depth}, ${model.get("head") ? `head ${model.get("head")}` : "mean over the heads"}`;
    line.replaceChildren(curve(similarity, layer + 1));
    const shown = `${names[model.get("labels")[of]]} (image ${of + 1})`;
    if (patch >= 0) {
      const values = patchesOf(map, sizes.prefix + patch, sizes),
        row = map.subarray((sizes.prefix + patch) * sizes.tokens);
      maps.replaceChildren(panel(`asked from ${place(patch)}`, "line", values));
      return say(
        `${where}. The patch at ${place(patch)} of ${shown} attends most to ${place(argmax(values))} (${Math.max(...values).toFixed(2)})${inBox(values)}; ` +
          `it takes ${row[0].toFixed(2)} from the class token and ${row[1].toFixed(2)} from the distillation token.`,
      );
    }
    const one = patchesOf(map, 0, sizes),
      other = patchesOf(map, 1, sizes);
    maps.replaceChildren(
      panel("class token", "class", one),
      panel("distillation token", "distillation", other),
      panel(
        "difference",
        "line",
        one.map((v, i) => v - other[i]),
        true,
      ),
      legend([
        ["class", "class token"],
        ["distillation", "distillation token"],
        ["fused", "difference: class takes more; orange: less"],
      ]),
    );
    say(
      `${where}, ${shown}. The class token attends most to ${place(argmax(one))} (${Math.max(...one).toFixed(2)})${inBox(one)}; the distillation token to ` +
        `${place(argmax(other))} (${Math.max(...other).toFixed(2)})${inBox(other)}. Cosine of the two after this layer: ${similarity[layer + 1].toFixed(2)}.`,
    );
  }

  async function change() {
    const i = model.get("image");
    try {
      const { said } = await ask(
        normalised(stored.subarray(i * size, (i + 1) * size), model.get("mean"), model.get("std")),
      );
      if (i !== model.get("image")) return; // another was chosen meanwhile
      [attention, similarity, of] = [said.network.attention, said.network.similarity, i];
      complain(root, "");
      draw();
    } catch (error) {
      complain(root, `The network could not be loaded: ${error.message}`);
    }
  }
  model.on("change:image", change);
  for (const name of ["layer", "head", "way", "patch"]) model.on(`change:${name}`, draw);
  draw();
  if (model.get("image") !== of) change();
  return () => ends.forEach((stop) => stop());
}

export default { render };

import { button, picker, put, slider } from "./controls.js";
import { drawImage } from "./drawing.js";
import { frame, make } from "./elements.js";
import { unpacked } from "./numbers.js";

function render({ model, el }) {
  const [C, H, W] = model.get("image_shape"),
    size = C * H * W,
    sizes = model.get("sizes");
  const stored = unpacked(model.get("images"), "u1");
  const { root, say, end } = frame(model, el, "Patch explorer: an image becomes a sequence");
  const whole = make("canvas", { role: "img" }),
    row = make("div", { className: "tokens", role: "img" });
  root.append(
    picker(model, "image", {
      label: "images",
      images: model.get("names").map((name, i) => {
        const canvas = make("canvas");
        drawImage(canvas, stored.subarray(i * size, (i + 1) * size), [C, H, W]);
        return { canvas, name };
      }),
    }),
    slider(model, "choice", {
      label: "patch size",
      min: 0,
      max: sizes.length - 1,
      show: (i) => `${sizes[i]} px`,
    }),
    slider(model, "times", { label: "resolution", min: 1, max: 4, show: (t) => `${t * H} px` }),
    make(
      "p",
      {},
      button("Shuffle the patches", () => {
        const order = Array.from(
          { length: ((H * model.get("times")) / sizes[model.get("choice")]) ** 2 },
          (_, i) => i,
        );
        for (let i = order.length - 1; i > 0; i--) {
          const j = Math.floor(Math.random() * (i + 1));
          [order[i], order[j]] = [order[j], order[i]];
        }
        put(model, "order", order);
      }),
      button("Put them back", () => put(model, "order", [])),
    ),
    make(
      "div",
      { className: "side" },
      make("div", {}, make("h4", {}, "the image, cut"), whole),
      make("div", {}, make("h4", {}, "the sequence, in reading order"), row),
    ),
  );
  end();

  // One patch, its pixels repeated `times` times each way, into a canvas.
  function patch(canvas, which, P, times, grid) {
    const found = new Uint8Array(C * P * P),
      top = Math.floor(which / grid) * P,
      left = (which % grid) * P;
    for (let c = 0; c < C; c++)
      for (let y = 0; y < P; y++)
        for (let x = 0; x < P; x++) {
          found[(c * P + y) * P + x] =
            stored[
              model.get("image") * size +
                (c * H + Math.floor((top + y) / times)) * W +
                Math.floor((left + x) / times)
            ];
        }
    drawImage(canvas, found, [C, P, P]);
  }

  function draw() {
    const P = sizes[model.get("choice")],
      times = model.get("times"),
      grid = (H * times) / P,
      N = grid * grid;
    const shuffled = model.get("order").length === N,
      order = shuffled ? model.get("order") : Array.from({ length: N }, (_, i) => i);
    const gap = Math.max(1, Math.round((H * times) / 60)),
      side = grid * (P + gap) - gap,
      one = make("canvas");
    [whole.width, whole.height] = [side, side];
    const context = whole.getContext("2d");
    context.fillStyle = "#ffb000";
    context.fillRect(0, 0, side, side);
    const most = 196,
      canvases = [];
    order.forEach((which, place) => {
      patch(one, which, P, times, grid);
      context.drawImage(one, (place % grid) * (P + gap), Math.floor(place / grid) * (P + gap));
      if (place < most) {
        const small = make("canvas");
        patch(small, which, P, times, grid);
        canvases.push(small);
      }
    });
    row.replaceChildren(
      ...canvases,
      ...(N > most ? [make("span", {}, `and ${N - most} more`)] : []),
    );
    whole.setAttribute(
      "aria-label",
      `${model.get("names")[model.get("image")]}, cut into ${grid} rows of ${grid} patches${shuffled ? ", shuffled" : ""}`,
    );
    row.setAttribute("aria-label", `${N} patches in a row`);
    say(
      `${N} patches of ${P}x${P} pixels: ${N} tokens, each made of ${(P * P * C).toLocaleString("en")} numbers. Attention compares ${(N * N).toLocaleString("en")} pairs in every head` +
        `${times > 1 ? `, ${times ** 4} times as many as at ${H} pixels` : ""}.` +
        (shuffled ? " Shuffled: the same patches, in another order." : ""),
    );
  }
  for (const name of ["image", "choice", "times", "order"]) model.on(`change:${name}`, draw);
  draw();
}

export default { render };

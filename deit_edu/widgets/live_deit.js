import { button, choice, picker, put, slider } from "./controls.js";
import { bars, drawImage, heatMap, legend } from "./drawing.js";
import { complain, frame, make } from "./elements.js";
import { argmax, fuse, softmax, unpacked } from "./numbers.js";
import {
  fusedLogits,
  layerMap,
  networksOf,
  normalised,
  patchesOf,
  rollout,
  sizesOf,
} from "./running.js";

const MEGAPIXELS = 16; // more would take a phone's memory

function render({ model, el }) {
  const [C, H, W] = model.get("image_shape"),
    names = model.get("class_names"),
    P = model.get("student").patch_size,
    G = H / P;
  const stored = unpacked(model.get("images"), "u1"),
    size = C * H * W;
  const { root, say, end } = frame(model, el, "Live DeiT: student and teacher run in this page");
  const ends = [];
  const ask = networksOf(model, ["student", "teacher"], (stop) => ends.push(stop));
  const sizes = sizesOf(model.get("student"));

  // ---- the picture that is asked about: pixels 0 to 255, and which patches are erased ----

  const kind = model.get("kind"),
    storedName = (i) => `${kind} ${i + 1}, ${names[model.get("labels")[i]]}`;
  let pixels = stored.slice(0, size),
    source = storedName(0);
  const erased = new Set();
  const shown = () =>
    pixels.map((v, i) => {
      const y = Math.floor((i % (H * W)) / W),
        x = i % W;
      return erased.has(Math.floor(y / P) * G + Math.floor(x / P))
        ? 0
        : Math.min(255, v * model.get("brightness"));
    });

  const canvas = make("canvas", {
    tabIndex: 0,
    className: "board",
    role: "application",
    dataset: { lmSuppressShortcuts: "true" },
    "aria-label": "The picture. Arrow keys move the brush, space or enter uses it.",
  });
  const maps = { class: make("canvas"), distillation: make("canvas") };
  const cursor = { x: Math.floor(W / 2), y: Math.floor(H / 2) };
  const state = { tool: "draw" };
  const colour = make("input", {
    type: "color",
    value: "#ffffff",
    "aria-label": "colour of the brush",
  });
  const inked = () =>
    C === 1 ? [255] : [1, 3, 5].map((at) => parseInt(colour.value.slice(at, at + 2), 16));

  function paint(x, y) {
    if (state.tool === "erase") erased.add(Math.floor(y / P) * G + Math.floor(x / P));
    else if (state.tool === "restore") erased.delete(Math.floor(y / P) * G + Math.floor(x / P));
    else {
      const ink = inked();
      for (let c = 0; c < C; c++)
        for (const [dx, dy] of [
          [0, 0],
          [1, 0],
          [0, 1],
          [1, 1],
        ]) {
          if (x + dx < W && y + dy < H) pixels[c * H * W + (y + dy) * W + x + dx] = ink[c];
        }
      source = "your picture";
      put(model, "image", -1); // none of the stored ones any more
    }
    changed();
  }
  function at(event) {
    const box = canvas.getBoundingClientRect();
    const place = (share, most) => Math.min(Math.max(Math.floor(share * most), 0), most - 1);
    return [
      place((event.clientX - box.left) / box.width, W),
      place((event.clientY - box.top) / box.height, H),
    ];
  }
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    paint(...at(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) paint(...at(event));
  });
  canvas.addEventListener("keydown", (event) => {
    const step = state.tool === "draw" ? 1 : P;
    const move = {
      ArrowLeft: [-step, 0],
      ArrowRight: [step, 0],
      ArrowUp: [0, -step],
      ArrowDown: [0, step],
    }[event.key];
    if (!move && event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (move) {
      cursor.x = Math.min(Math.max(cursor.x + move[0], 0), W - 1);
      cursor.y = Math.min(Math.max(cursor.y + move[1], 0), H - 1);
      draw();
    } else paint(cursor.x, cursor.y);
  });

  function take(newPixels, from, image = -1) {
    put(model, "image", image);
    pixels = newPixels;
    source = from;
    erased.clear();
    complain(root, "");
    changed();
  }
  const clear = () => take(new Uint8Array(size), "an empty picture");

  // ---- pictures from outside: nothing of them leaves the page ----

  function fromBitmap(bitmap, from) {
    const side = Math.min(bitmap.width, bitmap.height),
      small = make("canvas", { width: W, height: H });
    const context = small.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(
      bitmap,
      (bitmap.width - side) / 2,
      (bitmap.height - side) / 2,
      side,
      side,
      0,
      0,
      W,
      H,
    );
    const rgba = context.getImageData(0, 0, W, H).data,
      found = new Uint8Array(size);
    for (let i = 0; i < H * W; i++) {
      const [r, g, b] = rgba.subarray(4 * i, 4 * i + 3);
      const values = C === 3 ? [r, g, b] : [0.299 * r + 0.587 * g + 0.114 * b];
      values.forEach((v, c) => (found[c * H * W + i] = v));
    }
    const edge = Array.from(found.subarray(0, W)).reduce((a, b) => a + b, 0) / W;
    // The training images are light on dark: a grey photo on a light ground is turned round.
    take(C === 1 && edge > 127 ? found.map((v) => 255 - v) : found, from);
  }
  async function upload(file) {
    if (!file) return;
    if (!/^image\/(png|jpeg|webp|gif|bmp|avif)$/.test(file.type)) {
      return complain(
        root,
        `${file.name} is no photo that can be read here: choose a PNG, JPEG or WebP file.`,
      );
    }
    let bitmap;
    try {
      bitmap = await createImageBitmap(file); // upright, as its EXIF says
    } catch {
      return complain(
        root,
        `${file.name} is damaged, or is not what its name says: choose another file.`,
      );
    }
    const millions = (bitmap.width * bitmap.height) / 1e6;
    if (millions > MEGAPIXELS)
      complain(
        root,
        `${file.name} has ${millions.toFixed(0)} megapixels: choose a photo of at most ${MEGAPIXELS}.`,
      );
    else fromBitmap(bitmap, "your photo");
    bitmap.close();
  }
  const input = make("input", { type: "file", accept: "image/*", hidden: true });
  input.addEventListener("change", () => {
    upload(input.files[0]);
    input.value = "";
  });

  const video = make("video", {
    muted: true,
    playsInline: true,
    hidden: true,
    "aria-label": "your camera",
  });
  let stream;
  const stopCamera = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.hidden = true;
  };
  ends.push(stopCamera);
  const camera = button("Use the camera", async () => {
    if (stream) {
      const bitmap = await createImageBitmap(video);
      fromBitmap(bitmap, "your picture");
      bitmap.close();
      stopCamera();
    } else {
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: true });
        video.srcObject = stream;
        video.hidden = false;
        await video.play();
      } catch {
        stopCamera();
        complain(
          root,
          "No camera could be used: allow it in the browser, or choose a photo from a file.",
        );
      }
    }
    camera.textContent = stream ? "Take the picture" : "Use the camera";
  });

  // ---- what is seen ----

  const tools = {
    get: () => state.tool,
    set: (_, value) => {
      state.tool = value;
    },
    save_changes() {},
    on() {},
  };
  const note = make("p", { className: "note" }),
    answers = make("div"),
    under = make("div");
  root.append(
    picker(model, "image", {
      label: `${kind}s`,
      images: model.get("labels").map((label, i) => {
        const small = make("canvas");
        drawImage(small, stored.subarray(i * size, (i + 1) * size), [C, H, W]);
        return { canvas: small, name: names[label] };
      }),
    }),
    make(
      "div",
      { className: "side" },
      make(
        "div",
        {},
        make("h4", {}, "the picture"),
        canvas,
        under,
        choice(tools, "tool", {
          label: "brush",
          options: [
            ["draw", "draw"],
            ["erase", "erase patches"],
            ["restore", "bring back"],
          ],
        }),
        C === 3 ? make("label", {}, "colour ", colour) : "",
        slider(model, "brightness", {
          label: "brightness",
          min: 0,
          max: 2,
          step: 0.1,
          show: (v) => v.toFixed(1),
        }),
        make(
          "p",
          {},
          button("Clear", clear),
          button("Choose a photo", () => input.click()),
          camera,
          input,
        ),
        video,
      ),
      make(
        "div",
        {},
        make("h4", {}, "what the tokens attend to"),
        make(
          "div",
          { className: "pair" },
          make("div", {}, maps.class),
          make("div", {}, maps.distillation),
        ),
        legend([
          ["class", "left: class token"],
          ["distillation", "right: distillation token"],
        ]),
        choice(model, "attention", {
          label: "attention",
          options: [
            ["last", "last layer"],
            ["rollout", "rollout"],
          ],
        }),
        answers,
      ),
    ),
    note,
  );
  end(under); // the sentence under the picture: on a phone both are seen

  // The last answer. Python's is of the first image as it is.
  const untouched = model.get("image") === 0 && model.get("brightness") === 1;
  let said = untouched ? { of: source, maps: model.get("maps"), ...model.get("answers") } : null;

  function draw() {
    const now = shown();
    drawImage(canvas, now, [C, H, W]);
    if (document.activeElement === canvas) {
      const context = canvas.getContext("2d");
      context.strokeStyle = "#ffb000";
      if (state.tool === "draw") context.strokeRect(cursor.x - 0.5, cursor.y - 0.5, 3, 3);
      else
        context.strokeRect(
          Math.floor(cursor.x / P) * P + 0.5,
          Math.floor(cursor.y / P) * P + 0.5,
          P - 1,
          P - 1,
        );
    }
    if (!said) return;
    for (const [token, map] of Object.entries(maps)) {
      const values = said.maps[model.get("attention")][token];
      heatMap(map, values, G, { range: [0, Math.max(...values)] });
      map.setAttribute("role", "img");
      map.setAttribute(
        "aria-label",
        `${token} token: most on patch ${argmax(values) + 1} of ${values.length}, ${Math.max(...values).toFixed(2)}`,
      );
    }
    const heads = {
      class: softmax(said.class),
      distillation: softmax(said.distillation),
      teacher: softmax(said.teacher),
    };
    const fused = fuse(said.class, said.distillation),
      logits = fuse(said.class, said.distillation, 0.5, "logits");
    const top = names
      .map((_, k) => k)
      .sort((a, b) => Math.max(fused[b], heads.teacher[b]) - Math.max(fused[a], heads.teacher[a]))
      .slice(0, 4);
    const pick = (values) => top.map((k) => values[k]);
    answers.replaceChildren(
      bars({
        names: top.map((k) => names[k]),
        label: "Probabilities of the likeliest classes",
        series: [
          { colour: "class", values: pick(heads.class) },
          { colour: "distillation", values: pick(heads.distillation) },
          { colour: "fused", values: pick(fused) },
          { colour: "teacher", values: pick(heads.teacher) },
        ],
      }),
      legend([
        ["class", "class head"],
        ["distillation", "distillation head"],
        ["fused", "both"],
        ["teacher", "teacher"],
      ]),
    );
    const word = (values) =>
      `${names[argmax(values)]} (${Math.round(100 * Math.max(...values))} %)`;
    say(
      `Asked about ${said.of}. Class head: ${word(heads.class)}; distillation head: ${word(heads.distillation)}; both, probabilities: ${word(fused)}; ` +
        `both, logits: ${word(logits)}; teacher: ${word(heads.teacher)}.`,
    );
  }

  let running = false,
    again = false;
  async function changed() {
    draw();
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        if (!said?.ms) note.textContent = "Loading the networks ...";
        const of = source;
        const {
          said: { student, teacher },
          ms,
        } = await ask(normalised(shown(), model.get("mean"), model.get("std")));
        const logits = {
          class: [...student.class],
          distillation: [...student.distillation],
          teacher: fusedLogits(teacher),
        };
        const both = (map) => ({
          class: patchesOf(map, 0, sizes),
          distillation: patchesOf(map, 1, sizes),
        });
        const last = sizes.depth - 1,
          attention = student.attention;
        said = {
          of,
          ms,
          ...logits,
          maps: {
            last: both(layerMap(attention, sizes, last, -1)),
            rollout: both(rollout(attention, sizes, last)),
          },
        };
        note.textContent = `Student and teacher answered in ${ms.toFixed(0)} ms on your machine. Nothing leaves your browser.`;
        root.dataset.asked = Number(root.dataset.asked ?? 0) + 1;
        put(model, "answers", logits);
        draw();
      } while (again);
    } catch (error) {
      complain(root, `The networks could not be loaded: ${error.message}`);
    }
    running = false;
  }

  const choose = () => {
    const i = model.get("image");
    if (i >= 0) take(stored.slice(i * size, (i + 1) * size), storedName(i), i);
  };
  model.on("change:image", choose);
  model.on("change:brightness", changed);
  model.on("change:attention", draw);
  canvas.addEventListener("focus", draw);
  canvas.addEventListener("blur", draw);
  const total = model
    .get("student")
    .tensors.concat(model.get("teacher").tensors)
    .reduce((sum, [, shape]) => sum + 2 * shape.reduce((a, b) => a * b, 1), 0);
  note.textContent = `The networks (${(total / 1e6).toFixed(1)} MB) are loaded when you change something. They run here: nothing leaves your browser.`;
  if (said) draw();
  else if (model.get("image") < 0) clear(); // the model keeps no picture of the reader's own
  else choose();
  return () => ends.forEach((stop) => stop());
}

export default { render };

// The trained student and its teacher inside the page, asked about any picture.
import { button, choice, pagesOwn, picker, put, slider } from "./controls.js";
import { bars, heatMap, imageOf, legend, thumbnails } from "./drawing.js";
import { complain, frame, make, side } from "./elements.js";
import { likeliest, sizeOf, unpacked } from "./numbers.js";
import { logitsOf, mapInWords, mapsOf, sentenceOf, sharesOf, TOKENS } from "./live_answers.js";
import { ownPictures } from "./photographs.js";
import { PictureBoard } from "./picture_board.js";
import { megabytes, networksOf, oneAtATime, sizesOf, tookBy } from "./running.js";

const MOST_CLASSES = 4; // whose bars are drawn

class LiveFigure {
  /**
   * @param {Model} model the figure's
   * @param {HTMLElement} el where it goes
   */
  constructor(model, el) {
    this.model = model;
    this.shape = model.get("image_shape");
    this.names = model.get("class_names");
    this.stored = unpacked(model.get("images"), "u1");
    this.sizes = sizesOf(model.get("student"));
    this.roles = ["student", "teacher"].filter((role) => model.get(role).kind);
    this.who = this.roles.length === 2 ? "student and teacher" : "the student";
    /** @type {(() => void)[]} */
    this.ends = [];
    const runs = this.roles.length === 2 ? "run" : "runs";
    this.frame = frame(model, el, `Live DeiT: ${this.who} ${runs} in this page`);
    this.networks = networksOf(model, this.roles, (stop) => this.ends.push(stop));
    this.board = new PictureBoard(this.shape, model.get("student").patch_size, {
      brightness: () => model.get("brightness"),
      inked: () => this.becomesOwn("your picture"),
      changed: () => this.changed(),
    });
    this.ask = oneAtATime(() => this.askOnce());
    this.layOut();
    this.listen();
    this.begin();
  }

  // ---- what there is to see ----

  layOut() {
    const { model, frame } = this;
    const label = `${model.get("kind")}s`;
    const names = model.get("labels").map((/** @type {number} */ k) => this.names[k]);
    const under = make("div"); // the sentence: on a phone it is seen with the picture
    this.note = make("p", { className: "note" });
    this.answers = make("div");
    frame.root.append(
      picker(model, "image", { label, images: thumbnails(this.stored, this.shape, names) }),
      side(this.pictureColumn(under), this.attentionColumn()),
      this.note,
    );
    const remark = model.get("remark");
    if (remark) frame.root.append(make("p", { className: "note" }, remark));
    frame.end(under);
  }

  /**
   * @param {HTMLElement} under where the sentence goes
   * @returns {HTMLElement} the picture and what changes it
   */
  pictureColumn(under) {
    const { model, board } = this;
    const refuse = (/** @type {string} */ sentence) => complain(this.frame.root, sentence);
    const wanted = { shape: this.shape, dark: model.get("dark") };
    const own = ownPictures(this.frame.root, wanted, (...found) => this.take(...found), refuse);
    this.forget = own.forget;
    this.ends.push(own.stop);
    return make(
      "div",
      {},
      make("h4", {}, "the picture"),
      board.canvas,
      board.place,
      under,
      this.brushes(),
      this.shape[0] === 3 ? this.colourOfBrush() : "",
      slider(model, "brightness", {
        label: "brightness",
        min: 0,
        max: 2,
        step: 0.1,
        show: (value) => value.toFixed(1),
      }),
      make(
        "p",
        {},
        button("Clear", () => this.clear()),
        ...own.controls,
      ),
      own.video,
    );
  }

  brushes() {
    const tools = pagesOwn("draw", (tool) => (this.board.tool = tool));
    return choice(tools, "tool", {
      label: "brush",
      options: [
        ["draw", "draw"],
        ["erase", "erase patches"],
        ["restore", "bring back"],
      ],
    });
  }

  colourOfBrush() {
    const { board } = this;
    const label = "colour of the brush";
    const input = make("input", { type: "color", value: board.colour, "aria-label": label });
    input.addEventListener("input", () => (board.colour = input.value));
    return make("label", {}, "colour ", input);
  }

  attentionColumn() {
    const { prefix } = this.sizes;
    const tokens = TOKENS.slice(0, prefix);
    /** @type {Record<string, HTMLCanvasElement>} */
    this.maps = {};
    for (const token of tokens) this.maps[token] = make("canvas", { role: "img" });
    const places = prefix === 2 ? ["left: ", "right: "] : [""];
    return make(
      "div",
      {},
      make("h4", {}, `what the ${prefix === 2 ? "tokens attend" : "class token attends"} to`),
      make("div", { className: "pair" }, ...tokens.map((name) => make("div", {}, this.maps[name]))),
      legend(tokens.map((token, i) => [token, `${places[i]}${token} token`])),
      choice(this.model, "attention", {
        label: "attention",
        options: [
          ["last", "last layer"],
          ["rollout", "rollout"],
        ],
      }),
      this.answers,
    );
  }

  // ---- the picture that is asked about ----

  storedName(/** @type {number} */ i) {
    return `${this.model.get("kind")} ${i + 1}, ${this.names[this.model.get("labels")[i]]}`;
  }

  /**
   * Another picture.
   * @param {Uint8Array} pixels (C, H, W)
   * @param {string} from what it is
   * @param {number} image which of the stored ones, or -1
   */
  take(pixels, from, image = -1) {
    this.forget();
    this.source = from;
    put(this.model, "image", image);
    this.board.take(pixels);
    complain(this.frame.root, "");
    this.changed();
  }

  choose() {
    const i = this.model.get("image");
    if (i >= 0) this.take(imageOf(this.stored, this.shape, i).slice(), this.storedName(i), i);
  }

  clear() {
    this.take(new Uint8Array(sizeOf(this.shape)), "an empty picture");
  }

  becomesOwn(/** @type {string} */ source) {
    this.forget();
    this.source = source;
    put(this.model, "image", -1); // none of the stored ones any more
  }

  // ---- the answers ----

  listen() {
    const { model } = this;
    model.on("change:image", () => this.choose());
    model.on("change:brightness", () => this.changed());
    model.on("change:attention", () => this.drawAnswers());
  }

  /** Python's answers are of the first image as it is. */
  begin() {
    const { model } = this;
    const size = megabytes(this.roles.map((role) => model.get(role)));
    this.note.textContent =
      `The networks (${size}) are loaded when you change something. ` +
      "They run here: nothing leaves your browser.";
    if (model.get("image") < 0) return this.clear(); // the model keeps no picture of the reader's
    if (model.get("image") > 0 || model.get("brightness") !== 1) return this.choose();
    this.source = this.storedName(0);
    this.board.take(imageOf(this.stored, this.shape, 0).slice());
    this.said = { of: this.source, maps: model.get("maps"), logits: model.get("answers") };
    this.board.draw();
    this.drawAnswers();
  }

  changed() {
    this.board.draw();
    this.ask();
  }

  async askOnce() {
    const { model, sizes } = this;
    const of = this.source;
    if (!this.frame.root.dataset.asked) this.note.textContent = "Loading the networks ...";
    try {
      const { said, ms, runs } = await this.networks(this.board.shown(), this.shape);
      const logits = logitsOf(said);
      this.said = { of, maps: mapsOf(said.student.attention, sizes), logits };
      put(model, "answers", logits);
      const who = `${this.who[0].toUpperCase()}${this.who.slice(1)}`;
      this.note.textContent = `${who} answered ${tookBy(ms, runs)}. Nothing leaves your browser.`;
      this.frame.root.dataset.asked = String(Number(this.frame.root.dataset.asked ?? 0) + 1);
      complain(this.frame.root, "");
      this.drawAnswers();
    } catch (error) {
      this.note.textContent = "The networks are asked again when you change something.";
      complain(this.frame.root, `The networks could not be loaded: ${error.message}`);
    }
  }

  drawAnswers() {
    if (!this.said) return;
    const { of, maps, logits } = this.said;
    const shares = sharesOf(logits);
    this.drawMaps(maps[this.model.get("attention")]);
    this.answers.replaceChildren(...this.barsOf(shares));
    this.frame.say(sentenceOf(of, shares, this.names));
  }

  drawMaps(/** @type {Record<string, number[]>} */ maps) {
    for (const [token, values] of Object.entries(maps)) {
      heatMap(this.maps[token], values, this.sizes.grid, { range: [0, Math.max(...values)] });
      this.maps[token].setAttribute("aria-label", mapInWords(token, values));
    }
  }

  /**
   * @param {Record<string, number[]>} shares from sharesOf
   * @returns {Element[]} bars of the likeliest classes, and what their colours mean
   */
  barsOf(shares) {
    /** @type {[string, string][]} */
    const meanings = [
      ["class", "class head"],
      ["distillation", "distillation head"],
      ["fused", "both"],
      ["teacher", "teacher"],
    ];
    const drawn = meanings.filter(([who]) => shares[who]);
    const deciders = [shares.fused ?? shares.class, ...(shares.teacher ? [shares.teacher] : [])];
    const top = likeliest(deciders, MOST_CLASSES);
    return [
      bars({
        names: top.map((k) => this.names[k]),
        label: "Probabilities of the likeliest classes",
        series: drawn.map(([who]) => ({ colour: who, values: top.map((k) => shares[who][k]) })),
      }),
      legend(drawn),
    ];
  }
}

/**
 * @param {{ model: Model, el: HTMLElement }} given by the host
 * @returns {() => void} what to call when the figure goes
 */
function render({ model, el }) {
  const figure = new LiveFigure(model, el);
  return () => figure.ends.forEach((stop) => stop());
}

export default { render };

// The controls of one student of a race: its teacher, and what it hears of it.
import { choice, menu, slider } from "./controls.js";
import { make } from "./elements.js";
import { NAMES, lambdaOf, teacherChoice, withTeacher } from "./race_settings.js";

/** @type {[string, string][]} */
const KINDS_SHOWN = [
  ["hard", "hard"],
  ["soft", "soft"],
];
/** @type {[string, string][]} */
const TOKENS_SHOWN = [
  ["class", "one token"],
  ["both", "two tokens"],
];

/**
 * @param {Model} model the figure's
 * @param {"a" | "b"} side which student
 * @returns {HTMLElement} a group of controls
 */
export function studentControls(model, side) {
  const teachers = model.get("teacher_names");
  const [first] = Object.keys(teachers);
  const entries = entriesOf(model, side, first);
  const parts = {
    kind: choice(entries.kind, side, { label: "what of its answer", options: KINDS_SHOWN }),
    tau: slider(entries.tau, side, { label: "tau", min: 0, max: 10, step: 0.5 }),
    lambda: slider(entries.lambda, side, { label: "lambda", min: 0, max: 1, step: 0.05 }),
  };
  const show = () => hideWhatIsIdle(parts, model.get(side));
  model.on(`change:${side}`, show);
  show();
  const tokens = choice(entries.tokens, side, { label: "tokens", options: TOKENS_SHOWN });
  return make(
    "div",
    { role: "group", "aria-label": `student ${NAMES[side]}` },
    make("h4", {}, `Student ${NAMES[side]}`),
    menu(entries.teacher, side, { label: "teacher", options: teacherOptions(teachers, first) }),
    parts.kind,
    ...(model.get("student").distilled ? [tokens] : []),
    parts.tau,
    parts.lambda,
  );
}

/** @returns {[string, string][]} */
function teacherOptions(teachers, first) {
  return [
    ["", "none"],
    ...Object.entries(teachers),
    ["shuffled", `${teachers[first]}, its answers shuffled`],
  ];
}

/** The parts of a student's settings, a model each. */
function entriesOf(model, side, first) {
  const entry = (read, write) => entryOf(model, side, read, write);
  return {
    teacher: entry(teacherChoice, (own, chosen) => withTeacher(own, chosen, first)),
    kind: entry(
      ({ distillation }) => distillation,
      (own, distillation) => (own.teacher ? { ...own, distillation, weight: null } : own),
    ),
    tokens: entry(
      (own) => own.tokens,
      (own, tokens) => ({ ...own, tokens }),
    ),
    tau: entry(
      (own) => own.temperature,
      (own, temperature) => ({ ...own, temperature }),
    ),
    lambda: entry(lambdaOf, (own, weight) => ({ ...own, weight })),
  };
}

/** A model of one part of a student's settings: for a control. */
function entryOf(model, side, read, write) {
  return {
    get: () => read(model.get(side)),
    set: (_, value) => model.set(side, write(model.get(side), value)),
    save_changes: () => model.save_changes(),
    on: (_, listener) => model.on(`change:${side}`, listener),
  };
}

/** Without a teacher nothing of it is chosen, and only a soft answer has a temperature. */
function hideWhatIsIdle({ kind, tau, lambda }, { distillation, tokens }) {
  kind.hidden = distillation === "none";
  tau.hidden = distillation !== "soft";
  lambda.hidden = distillation === "none" && tokens === "class";
}

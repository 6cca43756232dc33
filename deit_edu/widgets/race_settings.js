// What a student of a race learns from: as the library's words, as a lesson of a learner, as a part
// of the page's address.

/**
 * @typedef {object} StudentSettings deit_edu.evidence.races.settings
 * @property {string | null} teacher
 * @property {boolean} shuffled
 * @property {"none" | "soft" | "hard"} distillation
 * @property {"class" | "both"} tokens
 * @property {number} temperature tau
 * @property {number | null} weight lambda; null: the paper's
 */

/** @type {("a" | "b")[]} */
export const SIDES = ["a", "b"];
export const NAMES = { a: "A", b: "B" };
const KINDS = ["soft", "hard"];
const TOKENS = ["class", "both"];

/**
 * @param {StudentSettings} settings
 * @returns {number} lambda as given, or the paper's
 */
export const lambdaOf = ({ weight, distillation }) =>
  weight ?? { none: 0.5, soft: 0.1, hard: 0.5 }[distillation];

/**
 * Another teacher: without one nothing is distilled, and with one something is.
 * @param {StudentSettings} settings
 * @param {string} choice a value of the menu: "", a teacher's name, or "shuffled"
 * @param {string} first the name of the teacher whose answers are shuffled
 * @returns {StudentSettings}
 */
export function withTeacher(settings, choice, first) {
  if (!choice) return { ...settings, teacher: null, shuffled: false, distillation: "none" };
  const shuffled = choice === "shuffled";
  const distillation = settings.distillation === "none" ? "hard" : settings.distillation;
  return { ...settings, teacher: shuffled ? first : choice, shuffled, distillation };
}

/**
 * @param {StudentSettings} settings
 * @returns {string} the menu's value that `withTeacher` takes
 */
export const teacherChoice = ({ teacher, shuffled }) => (shuffled ? "shuffled" : (teacher ?? ""));

/**
 * @param {StudentSettings} settings
 * @param {Record<string, any>} regime of deit_edu.evidence.races
 * @returns {Lesson} for a learner
 * @throws {Error} for a temperature that cannot be, in a sentence
 */
export function lessonOf(settings, regime) {
  const { teacher, shuffled, distillation, tokens, temperature, weight } = settings;
  if (!(temperature > 0)) throw new Error("tau is 0: nothing can be divided by it, so raise it");
  return {
    teacher,
    shuffled,
    objective: { distillation, tokens, temperature, weight },
    schedule: { total: regime.steps, warmup: regime.warmup, peak: regime.peak },
    weightDecay: regime.weight_decay,
    labelSmoothing: regime.label_smoothing,
  };
}

/**
 * @param {StudentSettings} settings
 * @returns {string} one word; equal for equal students, whatever a student without a teacher is
 *   told of tau
 */
export function wordOf(settings) {
  const { distillation, tokens, temperature } = settings;
  if (distillation === "none") return `none_${tokens}`;
  const tau = distillation === "soft" ? temperature : 0;
  return [teacherChoice(settings), settings.teacher, distillation, tokens, tau, lambdaOf(settings)]
    .filter((part, i) => i !== 1 || settings.shuffled)
    .join("_");
}

/**
 * @param {string} word of `wordOf`
 * @param {string[]} teachers their names
 * @returns {StudentSettings | null} null for a word that says nothing known
 */
export function settingsOf(word, teachers) {
  const parts = word.split("_");
  if (parts[0] === "none") return TOKENS.includes(parts[1]) ? untaught(parts[1]) : null;
  const shuffled = parts[0] === "shuffled";
  const [teacher, distillation, tokens, tau, lambda] = shuffled ? parts.slice(1) : parts;
  const [temperature, weight] = [Number(tau) || 3, Number(lambda)];
  const known =
    teachers.includes(teacher) && KINDS.includes(distillation) && TOKENS.includes(tokens);
  if (!known || !(temperature > 0) || !(weight >= 0 && weight <= 1)) return null;
  const found = { teacher, shuffled, distillation, tokens, temperature, weight };
  return /** @type {StudentSettings} */ (found);
}

const untaught = (/** @type {any} */ tokens) => ({
  teacher: null,
  shuffled: false,
  distillation: /** @type {"none"} */ ("none"),
  tokens,
  temperature: 3,
  weight: null,
});

/**
 * @param {{ a: StudentSettings, b: StudentSettings, seed: number }} race
 * @returns {string} the part of an address after #
 */
export const addressOf = ({ a, b, seed }) => `race=${wordOf(a)},${wordOf(b)},${seed}`;

/**
 * @param {string} hash of the page's address
 * @param {string[]} teachers their names
 * @returns {{ a: StudentSettings, b: StudentSettings, seed: number } | null} the race in it
 */
export function raceIn(hash, teachers) {
  const [, text] = hash.match(/^#race=([\w.,]+)$/) ?? [];
  if (!text) return null;
  const [one, other, seed] = text.split(",");
  const [a, b] = [settingsOf(one, teachers), settingsOf(other ?? "", teachers)];
  return a && b && /^\d{1,6}$/.test(seed ?? "") ? { a, b, seed: Number(seed) } : null;
}

/**
 * @param {Measured} measured of a learner
 * @returns {number} a student's accuracy: of both heads where it has two, else of the one
 */
export const scoreOf = ({ accuracy }) => accuracy.fused ?? accuracy.class;

/**
 * What a finished race came to.
 * @param {{ a: StudentSettings, b: StudentSettings, seed: number, points: any[] }} race
 * @returns {{ seed: number, words: { a: string, b: string }, a: number, b: number }} accuracies
 */
export function resultOf({ a, b, seed, points }) {
  const { a: one, b: other } = points[points.length - 1];
  const words = { a: wordOf(a), b: wordOf(b) };
  return { seed, words, a: scoreOf(one.measured), b: scoreOf(other.measured) };
}

/**
 * @param {StudentSettings} settings
 * @param {Record<string, string>} teachers their names in words
 * @returns {string} as in "taught by a convnet (hard)"
 */
export function inWords(settings, teachers) {
  const { teacher, shuffled, distillation, tokens } = settings;
  if (distillation === "none") {
    return tokens === "both" ? "two class tokens, no teacher" : "without a teacher";
  }
  const answers = shuffled ? " whose answers are shuffled" : "";
  return `taught by ${teachers[teacher]}${answers} (${distillation})`;
}

/**
 * Who is ahead, in one sentence.
 * @param {{ a: RacePoint, b: RacePoint }} at what was measured of both after the same step
 * @param {{ a: StudentSettings, b: StudentSettings }} race
 * @param {{ seed: number, steps: number, scenes: number, teachers: Record<string, string> }} given
 * @returns {string}
 */
export function sentenceOf(at, race, { seed, steps, scenes, teachers }) {
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(1)} %`;
  const [one, other] = SIDES.map((side) => scoreOf(at[side].measured));
  const apart = 100 * Math.abs(other - one);
  const ahead = apart < 0.05 ? "Nobody is ahead" : `${other > one ? "B" : "A"} is ahead by`;
  const by = apart < 0.05 ? "" : ` ${apart.toFixed(1)} points`;
  const named = [inWords(race.a, teachers), inWords(race.b, teachers)];
  return (
    `Seed ${seed}, after ${at.a.step} of ${steps} steps: A, ${named[0]}, is right on ` +
    `${percent(one)} of ${scenes} scenes kept aside, B, ${named[1]}, on ${percent(other)}. ` +
    `${ahead}${by}.`
  );
}

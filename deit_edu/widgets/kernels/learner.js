// A student that learns from a teacher, step by step: deit_edu.train.train_epoch's inner loop over
// the kernels.
import { DeiTInPage } from "./deit_in_page.js";
import { cosineOf, layOutNetwork } from "./networks_in_page.js";
import {
  decisions,
  distillationObjective,
  fusedRows,
  learningRateAt,
  smoothLabels,
} from "./objective.js";

/**
 * @typedef {object} Lesson What a student learns, and how. It may change between two steps.
 * @property {string | null} teacher One of the teachers' names.
 * @property {boolean} [shuffled] Each image gets the teacher's answer to the next one.
 * @property {Objective} objective
 * @property {{ total: number, warmup: number, peak: number }} schedule Steps, and the optimiser's
 * highest learning rate.
 * @property {number} weightDecay
 * @property {number} labelSmoothing
 * @property {"others" | "all"} [smoothingOver]
 */

/** A student, its teachers and its lesson. One memory holds them all; it grows once, here. */
export class Learner {
  /**
   * @param {Kernels} kernels
   * @param {DeiTSizes} config The student's.
   * @param {Record<string, Float32Array>} weights The student's first.
   * @param {object} use
   * @param {number} use.batch The most images at a time.
   * @param {Lesson} use.lesson
   * @param {Record<string, OpenedNetwork>} [use.teachers] By name.
   * @param {Statistics} [use.statistics] Of the images that it is given; for teachers that were
   * trained by their own.
   * @throws {Error} For a teacher of other images or other classes than the student's.
   */
  constructor(kernels, config, weights, { batch, lesson, teachers = {}, statistics }) {
    this.kernels = kernels;
    this.classes = config.num_classes;
    this.batch = batch;
    this.lesson = lesson;
    this.step = 0; // the next one's number
    this.student = new DeiTInPage(kernels, config, { batch, training: true });
    this.teachers = {};
    this.asTheyTake = {}; // what each teacher's images are changed by, channel by channel
    for (const [name, teacher] of Object.entries(teachers)) {
      checkTeacher(name, teacher, config);
      this.asTheyTake[name] = changesBetween(statistics, teacher.manifest.preprocessing);
      this.teachers[name] = layOutNetwork(kernels, teacher, { size: config.image_size, batch });
    }
    kernels.settle();
    this.student.load(weights);
    for (const teacher of Object.values(this.teachers)) teacher.load();
  }

  /**
   * The loss on a batch, and every weight's gradient, left in the student.
   * @param {Float32Array} images (B, C, S, S), normalised; the teacher sees the same.
   * @param {ArrayLike<number>} labels (B,)
   * @returns {number}
   */
  gradients(images, labels) {
    const { kernels, student, classes: K, lesson } = this;
    const count = labels.length;
    const answers = this.lessonsAnswers(images, count);
    const said = this.studentSays(images, count);
    const targets = smoothLabels(labels, K, lesson.labelSmoothing, lesson.smoothingOver);
    const found = distillationObjective(said, targets, answers, lesson.objective, K);
    kernels.numbers(student.dLogits.class, count * K).set(found.class);
    if (found.distillation) {
      kernels.numbers(student.dLogits.distillation, count * K).set(found.distillation);
    }
    student.backward(count);
    return found.loss;
  }

  /** What each head of the student says: (count, K); views, read them at once. */
  studentSays(images, count) {
    this.kernels.numbers(this.student.images, images.length).set(images);
    return this.student.forward(count);
  }

  /**
   * A teacher's logits, its heads fused; it sees the images in its own statistics.
   * @param {string} name
   * @param {Float32Array} images (count, C, S, S), normalised.
   * @param {number} count
   * @returns {Float32Array} (count, K)
   */
  teacherSays(name, images, count) {
    const teacher = this.teachers[name];
    const seen = this.kernels.numbers(teacher.images, images.length);
    seen.set(images);
    changeChannels(seen, this.asTheyTake[name], this.student.config.image_size ** 2);
    return fusedRows(teacher.forward(count), this.classes).slice();
  }

  /** The answers that the student is to learn; null when the lesson has none. */
  lessonsAnswers(images, count) {
    const { teacher, shuffled, objective } = this.lesson;
    if (objective.distillation === "none") return null;
    const answers = this.teacherSays(teacher, images, count);
    return shuffled ? nextRows(answers, this.classes) : answers;
  }

  /** @returns {Float32Array} All gradients in a row; a view, to read and to write. */
  allGradients() {
    return this.kernels.numbers(this.student.gradients, this.student.count);
  }

  /** One step of AdamW with the gradients that are there, at this step's learning rate. */
  update() {
    const { schedule, weightDecay, objective } = this.lesson;
    const silent = this.student.config.distilled && objective.tokens === "class";
    this.student.update(learningRateAt(this.step++, schedule), weightDecay, silent);
  }

  /**
   * One step on a batch.
   * @param {Float32Array} images (B, C, S, S), normalised.
   * @param {ArrayLike<number>} labels (B,)
   * @returns {number} The loss before the step.
   */
  learn(images, labels) {
    const loss = this.gradients(images, labels);
    this.update();
    return loss;
  }

  /**
   * How well the student does on images, and how often it says what a teacher says.
   * @param {Float32Array} images (n, C, S, S), normalised.
   * @param {ArrayLike<number>} labels (n,)
   * @param {Float32Array | null} [answers] A teacher's logits (n, K).
   * @returns {Measured}
   */
  measure(images, labels, answers = null) {
    const size = images.length / labels.length;
    const heads = { class: [], distillation: [], fused: [] };
    const cosines = [];
    for (let at = 0; at < labels.length; at += this.batch) {
      const count = Math.min(this.batch, labels.length - at);
      const said = this.studentSays(images.subarray(at * size, (at + count) * size), count);
      heads.class.push(...decisions(said.class, this.classes));
      if (!said.distillation) continue;
      heads.distillation.push(...decisions(said.distillation, this.classes));
      heads.fused.push(...decisions(fusedRows(said, this.classes), this.classes));
      cosines.push(...this.cosines(count));
    }
    const theirs = answers && decisions(answers, this.classes);
    const shares = (truth) =>
      mapValues(heads, (own) => (own.length ? agreement(own, truth) : null));
    return {
      accuracy: shares(labels),
      agreement: theirs && shares(theirs),
      teacher: theirs && agreement(theirs, labels),
      cosine: cosines.length ? cosines.reduce((sum, one) => sum + one, 0) / cosines.length : null,
    };
  }

  /** The cosine of an image's two tokens where the heads read, of the images last seen. */
  cosines(count) {
    const { kernels, student } = this;
    const of = (_, i) => cosineOf(kernels, student.norm.y + 8 * i * student.width, student.width);
    return Array.from({ length: count }, of);
  }

  /**
   * Where the prefix tokens look in one image: attention (L, h, prefix, T).
   * @param {Float32Array} image (C, S, S), normalised.
   * @returns {Float32Array}
   */
  look(image) {
    const { kernels, student } = this;
    this.studentSays(image, 1);
    const { depth, num_heads: heads } = student.config;
    const row = student.prefix * student.tokens;
    const found = new Float32Array(depth * heads * row);
    student.blocks.forEach(({ weights }, layer) => {
      const asking = layer === depth - 1 ? student.prefix : student.tokens;
      for (let head = 0; head < heads; head++) {
        const place = weights + 4 * head * asking * student.tokens;
        found.set(kernels.numbers(place, row), (layer * heads + head) * row);
      }
    });
    return found;
  }
}

/**
 * @typedef {object} Measured Shares in [0, 1]; null for what the student has not.
 * @property {Record<"class" | "distillation" | "fused", number | null>} accuracy
 * @property {Record<"class" | "distillation" | "fused", number | null> | null} agreement With the
 * teacher.
 * @property {number | null} teacher The teacher's own accuracy.
 * @property {number | null} cosine The mean cosine of the two tokens where the heads read.
 */

function checkTeacher(name, { manifest, weights }, config) {
  const classes = (weights["head.bias"] ?? weights["class_head.bias"]).length;
  if (classes !== config.num_classes) {
    throw new Error(
      `the teacher ${name} knows ${classes} classes, the student ${config.num_classes}: ` +
        "choose another teacher",
    );
  }
  const size = manifest.kind === "deit" ? manifest.image_size : config.image_size;
  if (manifest.in_channels !== config.in_channels || size !== config.image_size) {
    throw new Error(
      `the teacher ${name} sees other images than the student: choose another teacher`,
    );
  }
}

/**
 * @typedef {object} Statistics Of pixels from 0 to 1, a number for each channel.
 * @property {number[]} mean
 * @property {number[]} std
 */

/**
 * What brings normalised images to other statistics.
 * @param {Statistics} [given] Theirs.
 * @param {Statistics} [own] The others; none: they stay as they are.
 * @returns {{ scale: number, shift: number }[]} For each channel.
 */
function changesBetween(given, own) {
  if (!given || !own) return [];
  return own.mean.map((mean, c) => ({
    scale: given.std[c] / own.std[c],
    shift: (given.mean[c] - mean) / own.std[c],
  }));
}

/** Change images (n, C, S, S) in place; where nothing differs, to the same bits. */
function changeChannels(images, changes, plane) {
  if (!changes.some(({ scale, shift }) => scale !== 1 || shift !== 0)) return;
  for (let at = 0; at < images.length; at += plane) {
    const { scale, shift } = changes[(at / plane) % changes.length];
    for (let i = at; i < at + plane; i++) images[i] = images[i] * scale + shift;
  }
}

/**
 * Rows, each in its predecessor's place, the first in the last's.
 * @param {Float32Array} rows (B, K)
 * @param {number} K
 * @returns {Float32Array} (B, K)
 */
export function nextRows(rows, K) {
  const moved = new Float32Array(rows.length);
  moved.set(rows.subarray(K));
  moved.set(rows.subarray(0, K), rows.length - K);
  return moved;
}

/**
 * An object with every value changed.
 * @param {Record<string, any>} all
 * @param {(value: any) => any} change
 * @returns {any} By the same names.
 */
export const mapValues = (all, change) =>
  Object.fromEntries(Object.entries(all).map(([name, value]) => [name, change(value)]));

const agreement = (own, truth) =>
  own.reduce((same, value, i) => same + (value === truth[i]), 0) / own.length;

// A student that learns from a teacher, step by step: deit_edu.train.train_epoch's inner loop over
// the kernels.

/**
 * @typedef {object} Lesson What a student learns, and how.
 * @property {Objective} objective
 * @property {{ total: number, warmup: number, peak: number }} schedule Of the learning rate; steps
 * and the optimiser's rate.
 * @property {number} weightDecay
 * @property {number} labelSmoothing
 * @property {"others" | "all"} [smoothingOver]
 */

/** A student, its teacher and their lesson. One memory holds both; it grows once, here. */
export class Learner {
  /**
   * @param {Kernels} kernels
   * @param {DeiTSizes} config The student's.
   * @param {Record<string, Float32Array>} weights The student's first.
   * @param {object} use
   * @param {number} use.batch Images in a step.
   * @param {Lesson} use.lesson
   * @param {OpenedNetwork | null} [use.teacher]
   */
  constructor(kernels, config, weights, { batch, lesson, teacher = null }) {
    this.kernels = kernels;
    this.classes = config.num_classes;
    this.lesson = lesson;
    this.step = 0; // the next one's number
    this.student = new DeiTInPage(kernels, config, { batch, training: true });
    const use = { size: config.image_size, batch };
    this.teacher = teacher && layOutNetwork(kernels, teacher, use);
    kernels.settle();
    this.student.load(weights);
    this.teacher?.load();
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
    const answers = this.teacherSays(images, count);
    kernels.numbers(student.images, images.length).set(images);
    const said = student.forward(count);
    const targets = smoothLabels(labels, K, lesson.labelSmoothing, lesson.smoothingOver);
    const found = distillationObjective(said, targets, answers, lesson.objective, K);
    kernels.numbers(student.dLogits.class, count * K).set(found.class);
    if (found.distillation) {
      kernels.numbers(student.dLogits.distillation, count * K).set(found.distillation);
    }
    student.backward(count);
    return found.loss;
  }

  /** The teacher's logits (count, K), its heads fused; null when nobody asks it. */
  teacherSays(images, count) {
    const { kernels, teacher, classes: K, lesson } = this;
    if (!teacher || lesson.objective.distillation === "none") return null;
    kernels.numbers(teacher.images, images.length).set(images);
    return fusedRows(teacher.forward(count), K);
  }

  /** One step of AdamW with the gradients that are there, at this step's learning rate. */
  update() {
    this.student.update(learningRateAt(this.step++, this.lesson.schedule), this.lesson.weightDecay);
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
}

// A worker that trains: it draws its images, learns, and says how it goes. Several share a batch:
// each takes every n-th image, and the mean of their gradients makes the step of all.
import { openNetwork } from "../network.js";
import { KERNELS, openKernels } from "./kernels.js";
import { Learner, mapValues, nextRows } from "./learner.js";
import { Random, initialWeights } from "./random.js";
import { writeSafetensors } from "./safetensors.js";
import { Stream } from "./stream.js";

/** What the members of a team send each other: their gradients, step by step. */
export class Team {
  /**
   * @param {number} rank This member's number, from 0.
   * @param {MessagePort[]} ports One for every other member, in the order of their ranks.
   */
  constructor(rank, ports) {
    this.rank = rank;
    this.ports = ports;
    this.size = ports.length + 1;
    this.waiting = ports.map(() => []); // gradients that came, and were not asked for yet
    ports.forEach((port, i) => {
      port.onmessage = ({ data }) => {
        this.waiting[i].push(data);
        this.arrived?.();
      };
    });
  }

  /**
   * Replace numbers by their mean over the team: the same on every member, to the bit.
   * @param {Float32Array} numbers
   * @param {object} orders
   * @returns {Promise<object>} The first member's orders.
   */
  async average(numbers, orders) {
    for (const port of this.ports) {
      const copy = numbers.slice();
      port.postMessage({ numbers: copy, orders }, [copy.buffer]);
    }
    while (this.waiting.some((queue) => !queue.length)) {
      await new Promise((resolve) => (this.arrived = resolve));
    }
    const others = this.waiting.map((queue) => queue.shift());
    const own = { numbers: numbers.slice(), orders };
    const all = [...others.slice(0, this.rank), own, ...others.slice(this.rank)];
    numbers.fill(0);
    for (const member of all) {
      for (let i = 0; i < numbers.length; i++) numbers[i] += member.numbers[i] / this.size;
    }
    return all[0].orders;
  }
}

/** One member at work. Its page calls it by messages: {ask, id, ...}; it answers {id, ...}. */
export class LearningWorker {
  /** @param {(message: object, transfer?: Transferable[]) => void} say Posts to the page. */
  constructor(say) {
    this.say = say;
    this.wanted = { until: 0, lesson: null }; // the step at which it stops, and what it learns
  }

  /**
   * Get ready: everything that decides the race.
   * @param {{ config: DeiTSizes, lesson: Lesson, teachers: Record<string, { manifest: object,
   * weights: DataView }>, source: Source, batch: number, seed: number, weights?: Record<string,
   * Float32Array>, rank?: number, ports?: MessagePort[] }} given
   */
  begin({ config, lesson, teachers = {}, source, batch, seed, weights, rank = 0, ports = [] }) {
    const kernels = openKernels(KERNELS);
    if (!kernels) throw new Error("this browser has no SIMD: a student cannot be trained in it");
    this.wanted.lesson = lesson;
    this.team = new Team(rank, ports);
    this.stream = new Stream(source, seed);
    this.aside = this.stream.keptAside();
    this.share = batch / this.team.size;
    if (!Number.isInteger(this.share)) {
      throw new Error(`${this.team.size} workers cannot share a batch of ${batch} evenly`);
    }
    const opened = mapValues(teachers, ({ manifest, weights }) => openNetwork(manifest, weights));
    const first = weights ?? initialWeights(config, new Random(seed));
    this.learner = new Learner(kernels, config, first, {
      batch: this.share,
      lesson,
      teachers: opened,
      statistics: source,
    });
    this.answers = {}; // of each teacher on the scenes kept aside, once it was asked
    return { variant: kernels.variant, bytes: kernels.memory.buffer.byteLength };
  }

  /**
   * Learn up to a step, saying {step, loss} after each. What is asked in the meantime holds for a
   * team as its first member heard it, and for all of them from the same step on.
   * @param {{ until: number }} given
   */
  async learn({ until }) {
    const { learner, team, share, wanted } = this;
    wanted.until = until;
    let orders = { ...wanted };
    while (learner.step < orders.until) {
      learner.lesson = orders.lesson;
      const first = learner.step * share * team.size + team.rank * share;
      const { images, labels } = this.stream.batch(first, share);
      const loss = learner.gradients(images, labels);
      if (!Number.isFinite(loss)) {
        throw new Error(
          `the loss is no finite number by step ${learner.step + 1}: try a smaller learning rate`,
        );
      }
      orders = await team.average(learner.allGradients(), { ...wanted });
      learner.update();
      this.say({ step: learner.step, loss });
      await breath();
    }
    learner.lesson = orders.lesson;
    return { step: learner.step };
  }

  /** Stop soon. */
  pause() {
    this.wanted.until = 0;
    return {};
  }

  /** Another lesson, soon. @param {{ lesson: Lesson }} given */
  change({ lesson }) {
    this.wanted.lesson = lesson;
    return {};
  }

  /** How well it does on the scenes kept aside. @returns {Measured} */
  measure() {
    const { learner, aside } = this;
    const { teacher, shuffled } = learner.lesson;
    if (!teacher) return learner.measure(aside.images, aside.labels);
    this.answers[teacher] ??= this.teachersAnswers(teacher);
    const answers = this.answers[teacher];
    const heard = shuffled ? nextRows(answers, learner.classes) : answers;
    return learner.measure(aside.images, aside.labels, heard);
  }

  teachersAnswers(name) {
    const { learner, aside } = this;
    const { size } = this.stream;
    const all = new Float32Array(aside.labels.length * learner.classes);
    for (let at = 0; at < aside.labels.length; at += this.share) {
      const count = Math.min(this.share, aside.labels.length - at);
      const images = aside.images.subarray(at * size, (at + count) * size);
      all.set(learner.teacherSays(name, images, count), at * learner.classes);
    }
    return all;
  }

  /** Where the tokens look in a scene kept aside. @param {{ scene: number }} given */
  look({ scene }) {
    const { aside, learner, stream } = this;
    return {
      attention: learner.look(stream.imageAt(aside.images, scene)),
      pixels: stream.imageAt(aside.pixels, scene).slice(),
      label: aside.labels[scene],
    };
  }

  /** The student as a file. @param {{ metadata: object }} given */
  keep({ metadata }) {
    const { student } = this.learner;
    const said = { kind: "deit", config: student.config, ...metadata };
    return { file: writeSafetensors(student.tensors(), said) };
  }
}

/** Let messages in: a timer would wait for milliseconds. */
const breath = () =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });

const worker = new LearningWorker((message) => self.postMessage(message));

self.onmessage = async ({ data: { ask, id, ...given } }) => {
  try {
    self.postMessage({ id, answer: await worker[ask](given) });
  } catch (error) {
    self.postMessage({ id, failed: error.message });
  }
};

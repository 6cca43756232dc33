// What the workers of a race are given, from the figure's traits.
import { load, sizeOf, unpacked } from "./numbers.js";

/**
 * @param {Model} model the figure's
 * @param {StudentSettings} settings of one student
 * @returns {DeiTSizes} its config: one of the reader's own keeps its tokens
 */
export function configOf(model, settings) {
  const config = model.get("student");
  if (model.get("student_weights_given")) return config;
  return { ...config, distilled: settings.tokens === "both" };
}

/**
 * What both students of a race are given, but for config and lesson: see LearningWorker.begin.
 * @param {Model} model the figure's
 * @returns {Promise<object>} once the large traits are there
 */
export async function givenToBoth(model) {
  const [items, weights, own] = await Promise.all(
    ["items", "teacher_weights", "student_weights"].map((name) => load(model, name)),
  );
  const regime = model.get("regime");
  return {
    teachers: teachersIn(model.get("teachers"), weights),
    weights: weightsIn(model.get("student_weights_given"), own),
    batch: regime.batch,
    seed: model.get("seed"),
    source: sourceOf(model, unpacked(items, "u1")),
  };
}

/**
 * @param {Model} model
 * @param {any} items (n, 14, 14) or (n, C, S, S) uint8
 * @returns {Source}
 */
function sourceOf(model, items) {
  const { padding, flip } = model.get("regime");
  const labels = unpacked(model.get("item_labels"), "u1");
  const numbers = Array.from(labels, (_, i) => i);
  const learnt = model.get("learnt");
  return {
    items,
    labels,
    shape: model.get("image_shape"),
    scenes: model.get("scenes"),
    learnt: numbers.slice(0, learnt),
    aside: numbers.slice(learnt),
    mean: model.get("mean"),
    std: model.get("std"),
    padding,
    flip,
  };
}

/** The teachers' weights, which lie one after the other. */
function teachersIn(manifests, weights) {
  let at = weights.byteOffset ?? 0;
  const opened = {};
  for (const [name, manifest] of Object.entries(manifests)) {
    const bytes = 2 * manifest.tensors.reduce((total, [, shape]) => total + sizeOf(shape), 0);
    opened[name] = { manifest, weights: new DataView(weights.buffer, at, bytes) };
    at += bytes;
  }
  return opened;
}

/** The weights to begin with, by name; none where the seed draws them. */
function weightsIn(shapes, bytes) {
  if (!shapes) return undefined;
  const numbers = unpacked(bytes, "f4");
  let at = 0;
  return Object.fromEntries(
    shapes.map(([name, count]) => [name, numbers.slice(at, (at += count))]),
  );
}

/**
 * What a kept student's file says of it.
 * @param {Model} model the figure's
 * @param {string} name of the student
 * @param {StudentSettings} settings what it learned from
 * @param {number} seed of its race
 * @returns {object} metadata, as deit_edu.runs.checkpoints reads it
 */
export function metadataOf(model, name, settings, seed) {
  return {
    name: `student ${name}`,
    image_shape: model.get("image_shape"),
    num_classes: model.get("class_names").length,
    classes: model.get("class_names"),
    mean: model.get("mean"),
    std: model.get("std"),
    settings,
    seed,
  };
}

// Types that the figures' comments name. For tsc alone (CONTRIBUTING.md): no page loads this file.

declare module "*?text" {
  const text: string;
  export default text;
}

declare module "*?base64" {
  const text: string;
  export default text;
}

type NumberArray = number[] | Uint8Array | Uint8ClampedArray | Float32Array | Float64Array;

/** What a figure's JavaScript knows of its Python object: anywidget's, or static_host.js's. */
interface Model {
  get(name: string): any;
  set(name: string, value: any): void;
  on(event: string, listener: () => void): void;
  save_changes(): void;
  load?(name: string): Promise<any>;
}

declare var deitEduControls: number; // how many controls of a page have a name

interface Properties {
  dataset?: Record<string, any>;
  style?: Record<string, string>;
  [name: string]: any;
}

interface Frame {
  root: HTMLElement;
  say(text: string): void;
  end(where?: HTMLElement): void;
}

interface SliderSettings {
  label: string;
  min: number;
  max: number;
  step?: number;
  show?: (value: number) => string;
  index?: number;
}

interface ChoiceSettings {
  label: string;
  options: [any, string | Node][];
  className?: string;
}

interface NamedPicture {
  canvas: HTMLCanvasElement;
  name: string;
}

interface PlaneSettings {
  width?: number;
  height: number;
  left: number;
  right: number;
  top: number;
  bottom: number;
  across: [number, number];
  up: [number, number];
  label: string;
}

interface Plane {
  svg: SVGElement;
  x(value: number): number;
  y(value: number): number;
  line(x1: number, y1: number, x2: number, y2: number, style: string): void;
  curve(points: [number, number][], style: string): void;
  dot(x: number, y: number, radius: number, style: string): void;
  text(words: string, x: number, y: number, settings?: { anchor?: string; style?: string }): void;
}

interface Series {
  colour: string;
  values: NumberArray;
  faint?: boolean;
}

interface BarsSettings {
  names: string[];
  series: Series[];
  label: string;
  low?: number;
  high?: number;
  show?: (value: number, series: number) => string;
  right?: number;
}

/** What deit_edu.widgets.network.export says of a network. */
interface Manifest {
  kind: "deit" | "convnet" | "whitening";
  tensors: [string, number[]][];
  [name: string]: any;
}

interface Network {
  manifest: Manifest;
  weights: Record<string, Float32Array>;
}

/** What a network says of one image; a convnet has neither attention nor a second head. */
interface Answer {
  class: Float32Array;
  distillation: Float32Array | null;
  attention?: Float32Array;
  similarity?: number[];
}

/** Layers, heads, tokens, tokens before the patches, and patches a side. */
interface AttentionSizes {
  depth: number;
  heads: number;
  tokens: number;
  prefix: number;
  grid: number;
}

/** Pixels of an image: its upper left corner and its sides. */
interface Box {
  top: number;
  left: number;
  height: number;
  width: number;
}

// ---- networks in the page ----

/** What deit_edu.runs.preprocess.Preprocessing says of a network: C, H, W, and C numbers each. */
interface Preprocessing {
  image_shape: number[];
  mean: number[];
  std: number[];
}

/** What the networks of a worker say of one picture, by their roles. */
interface Asked {
  id: number;
  said: Record<string, Answer>;
  ms: number;
  runs: Runs;
}

type Runs = "relaxed SIMD" | "SIMD" | "plain JavaScript";

interface AskedWorker {
  send(message: object): void;
  ask(question: object): Promise<Asked>;
  end(): void;
}

// ---- pictures at another size ----

/** What one pixel is made of: neighbours from the first one on. */
interface Taps {
  first: number;
  weights: Float64Array;
}

/** Lines of pixels in an array: where the first begins, how far on the next line and pixel are. */
interface Axis {
  pixels: NumberArray;
  start: number;
  line: number;
  step: number;
}

interface OwnPictures {
  controls: HTMLElement[];
  video: HTMLVideoElement;
  forget(): void;
  stop(): void;
}

interface Camera {
  control: HTMLElement;
  video: HTMLVideoElement;
  stop(): void;
}

/** What a PictureBoard asks for, and whom it tells. */
interface BoardEvents {
  brightness(): number;
  inked(): void;
  changed(): void;
}

// ---- attention ----

/** Which layer from 0 and which head from 0 (-1: their mean) the reader looks at, or rolled out. */
interface Look {
  layer: number;
  head: number;
  rolled: boolean;
}

/** What each token takes from every patch, in the last layer and rolled out. */
interface TokenMaps {
  last: Record<string, number[]>;
  rollout: Record<string, number[]>;
}

// ---- the recipe mixer ----

/** CutMix's rectangle: the share of pixels that A keeps, and whether the border clips it. */
interface CutBox extends Box {
  kept: number;
  clipped: boolean;
}

interface MixSettings {
  pair: NumberArray[];
  mean: number[];
  std: number[];
  noise: NumberArray;
  shape: number[];
  erasing: boolean;
  hole: number[];
  mixing: string;
  lam: number;
  centre: number[];
}

interface Mixed {
  a: Float32Array;
  b: Float32Array;
  result: Float32Array;
  hidden: Box | null;
  box: CutBox | null;
  kept: number;
}

/** What was mixed, and what the reader had chosen. */
interface Mix extends Mixed {
  mixing: string;
  lam: number;
  draw: number;
  asItWas: boolean[];
  labels: number[];
}

interface Shown {
  mix: Mix;
  logits: number[] | null;
}

interface LabelSettings {
  names: string[];
  epsilon: number;
  over: string;
  temperature: number;
}

/** The label, the teacher's answers or null, and classes: A's and B's, the others, those drawn. */
interface MixedLabels {
  label: number[];
  soft: number[] | null;
  hard: number | null;
  own: number[];
  others: number[];
  rows: number[];
}

// ---- kernels/ ----

// ---- races ----

type StudentSettings = import("./race_settings.js").StudentSettings;
type RacePoint = import("./race.js").RacePoint;
type Curve = import("./race_pictures.js").Curve;

/** Of values paired by seed: the mean and its interval. */
interface Difference {
  mean: number;
  low: number;
  high: number;
  seeds: number;
}

/** A network in the kernels' memory. */
interface LaidOutNetwork {
  images: number;
  forward(
    count: number,
    afterBlock?: (layer: number) => void,
  ): { class: Float32Array; distillation: Float32Array | null };
  load(): void;
  [name: string]: any;
}

/** How far the next row lies, in numbers, where rows are not one after the other. */
interface RowSteps {
  start?: number;
  xDown?: number;
  yDown?: number;
  gDown?: number;
  dxDown?: number;
}

interface SVGScriptElement {
  src: string; // no script of ours lies in an SVG: the current one has an address
}

type DeiTSizes = import("./kernels/deit_in_page.js").DeiTSizes;
type Lesson = import("./kernels/learner.js").Lesson;
type Measured = import("./kernels/learner.js").Measured;
type Objective = import("./kernels/objective.js").Objective;
type Source = import("./kernels/stream.js").Source;
type Kernels = import("./kernels/kernels.js").Kernels;
type Binaries = import("./kernels/kernels.js").Binaries;
type OpenedNetwork = import("./kernels/convnets_in_page.js").OpenedNetwork;
type Random = import("./kernels/random.js").Random;

interface Window {
  deitEduFile(name: string, content: string): void; // of static_host.js
}

// Types that the figures' comments name. For tsc alone (CONTRIBUTING.md): no page loads this file.

declare module "*?text" {
  const text: string;
  export default text;
}

type NumberArray = number[] | Uint8Array | Uint8ClampedArray | Float32Array | Float64Array;

/** What a figure's JavaScript knows of its Python object: anywidget's model, or static_host.js's. */
interface Model {
  get(name: string): any;
  set(name: string, value: any): void;
  on(event: string, listener: () => void): void;
  save_changes(): void;
  load?(name: string): Promise<any>;
}

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

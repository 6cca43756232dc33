// The kernels of kernels.c and their memory. A worker runs this; so does a page.
// Places are byte offsets in the memory, sizes are counts of float32 numbers.
import PLAIN from "./kernels.wasm?base64";
import RELAXED from "./kernels_relaxed.wasm?base64";

/** @type {Binaries} */
export const KERNELS = { relaxed: decoded(RELAXED), plain: decoded(PLAIN) };

/** The bytes that base64 stands for. */
function decoded(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * @typedef {object} Binaries The two compilations of kernels.c.
 * @property {Uint8Array} relaxed With relaxed SIMD's fused multiply-add.
 * @property {Uint8Array} plain With the SIMD that every browser of today has.
 */

/**
 * Compile the fastest kernels that this browser can run.
 * @param {Binaries} binaries
 * @returns {Kernels | null} null where there is no SIMD: then plain JavaScript has to do.
 */
export function openKernels(binaries) {
  if (typeof WebAssembly === "undefined") return null;
  for (const variant of /** @type {("relaxed" | "plain")[]} */ (["relaxed", "plain"])) {
    const binary = /** @type {BufferSource} */ (binaries[variant]);
    if (WebAssembly.validate(binary)) return new Kernels(variant, binaries[variant]);
  }
  return null;
}

const PAGE_BYTES = 65536;
const PANEL_COLUMNS = 8;

/**
 * The kernels, and the memory in which their numbers lie: laid out first, grown once, then filled.
 */
export class Kernels {
  /**
   * @param {"relaxed" | "plain"} variant Which compilation runs.
   * @param {Uint8Array} binary
   */
  constructor(variant, binary) {
    this.variant = variant;
    this.memory = new WebAssembly.Memory({ initial: 1 });
    const imports = { env: { memory: this.memory } };
    const code = new WebAssembly.Module(/** @type {BufferSource} */ (binary));
    /** @type {Record<string, any>} */
    this.run = new WebAssembly.Instance(code, imports).exports;
    this.free = this.run.__heap_base.value;
    this.operations = 0; // of the matrix products so far; a multiplication and an addition are two
  }

  /**
   * Lay out room for numbers; nothing may be put there before `settle`.
   * @param {number} count
   * @returns {number} Its place.
   */
  room(count) {
    const place = this.free;
    this.free += Math.ceil(count / 4) * 16;
    return place;
  }

  /** Grow the memory to all that was laid out. */
  settle() {
    const missing = Math.ceil(this.free / PAGE_BYTES) - this.memory.buffer.byteLength / PAGE_BYTES;
    if (missing > 0) this.memory.grow(missing);
  }

  /**
   * The numbers at a place, to read and to write; not to be kept over a `settle`.
   * @param {number} place
   * @param {number} count
   * @returns {Float32Array}
   */
  numbers(place, count) {
    return new Float32Array(this.memory.buffer, place, count);
  }

  /**
   * How many numbers a matrix of k rows and m columns has once it is packed.
   * @param {number} k
   * @param {number} m
   * @returns {number}
   */
  packedSize(k, m) {
    return k * Math.ceil(m / PANEL_COLUMNS) * PANEL_COLUMNS;
  }

  /**
   * c (n, m) = start + bias + a (n, k) times what is packed (k, m); `start` and `bias` may be 0.
   * @param {{ place: number, down: number, across: number }} a Number (i, j) lies
   * i * down + j * across on.
   * @param {number} panels
   * @param {{ place: number, down: number }} c
   * @param {[number, number, number]} sizes n, k, m
   * @param {number} [start] Laid out like c; c itself adds to what is there.
   * @param {number} [bias]
   */
  product(a, panels, c, [n, k, m], start = 0, bias = 0) {
    this.operations += 2 * n * k * m;
    this.run.product(a.place, a.down, a.across, panels, c.place, c.down, n, k, m, start, bias);
  }
}

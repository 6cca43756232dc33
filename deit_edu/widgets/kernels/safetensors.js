// Weights as a safetensors file, as deit_edu.runs.checkpoints reads and writes them.
import { countOf } from "./deit_in_page.js";

/**
 * @typedef {Record<string, { shape: number[], numbers: Float32Array }>} Tensors
 */

/**
 * @param {Tensors} tensors
 * @param {object} metadata What the library keeps beside them: {kind: "deit", config, ...}.
 * @returns {Uint8Array} The file.
 */
export function writeSafetensors(tensors, metadata) {
  const header = { __metadata__: { deit_edu: JSON.stringify({ metadata }) } };
  let end = 0;
  for (const [name, { shape, numbers }] of Object.entries(tensors)) {
    const begin = end;
    end += 4 * numbers.length;
    header[name] = { dtype: "F32", shape, data_offsets: [begin, end] };
  }
  const text = JSON.stringify(header);
  const encoded = new TextEncoder().encode(text);
  const length = 8 * Math.ceil(encoded.length / 8);
  const file = new Uint8Array(8 + length + end).fill(32, 8, 8 + length); // ends in spaces
  new DataView(file.buffer).setBigUint64(0, BigInt(length), true);
  file.set(encoded, 8);
  for (const [name, { numbers }] of Object.entries(tensors)) {
    const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    file.set(bytes, 8 + length + header[name].data_offsets[0]);
  }
  return file;
}

/**
 * @param {Uint8Array} file
 * @returns {{ tensors: Tensors, metadata: object }} Its float32 tensors.
 * @throws {Error} When it is damaged, no safetensors file, or of another type of numbers.
 */
export function readSafetensors(file) {
  const header = headerOf(file);
  const { __metadata__: said, ...entries } = header.entries;
  /** @type {Tensors} */
  const tensors = {};
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [begin, end],
    },
  ] of Object.entries(entries)) {
    if (dtype !== "F32")
      throw new Error(`${name} is of type ${dtype}: only float32 weights can be opened here`);
    const bytes = file.slice(header.end + begin, header.end + end);
    if (bytes.length !== 4 * countOf(shape)) throw new Error("this safetensors file is cut short");
    tensors[name] = { shape, numbers: new Float32Array(bytes.buffer) };
  }
  return { tensors, metadata: JSON.parse(said?.deit_edu ?? "{}").metadata ?? {} };
}

function headerOf(file) {
  try {
    const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
    const end = 8 + Number(view.getBigUint64(0, true));
    return { end, entries: JSON.parse(new TextDecoder().decode(file.subarray(8, end))) };
  } catch {
    throw new Error("this is no safetensors file");
  }
}

// Pictures of the reader's own: from a file, the clipboard or the camera. None leaves the page.
import { button } from "./controls.js";
import { make } from "./elements.js";
import { mean, sizeOf } from "./numbers.js";
import { inChannels } from "./prepare.js";
import { resampleColumns, resampleLines, tapsFor } from "./resample.js";

const MEGAPIXELS = 16; // more would take a phone's memory
const STRIP = 250_000; // pixels that are read at once, so that the page stays alive
const READABLE = /^image\/(png|jpeg|webp|gif|bmp|avif)$/;

/**
 * The central square of a picture, on a white ground, at another size: as Pillow's bicubic.
 * @param {ImageBitmap} bitmap the picture
 * @param {number[]} shape C, H, W
 * @returns {Promise<Uint8Array>} (C, H, W)
 */
export async function shrunk(bitmap, [C, H, W]) {
  const side = Math.min(bitmap.width, bitmap.height);
  const rows = new Uint8ClampedArray(3 * side * W); // of their width, not yet of their height
  const taps = tapsFor(side, W);
  for await (const { data, top, height } of stripsOf(bitmap, side)) {
    for (let c = 0; c < 3; c++) {
      const from = { pixels: data, start: c, line: 4 * side, step: 4 };
      const to = { pixels: rows, start: (c * side + top) * W, line: W, step: 1 };
      resampleLines(taps, height, from, to);
    }
  }
  const found = new Uint8ClampedArray(3 * H * W);
  resampleColumns(rows, [3, side, W], H, found);
  return Uint8Array.from(inChannels(found, 3, C), Math.round);
}

/**
 * @param {ImageBitmap} bitmap a picture
 * @param {number} side of its central square
 * @yields {{ data: Uint8ClampedArray, top: number, height: number }} rows of it, RGBA
 */
async function* stripsOf(bitmap, side) {
  const most = Math.min(side, Math.ceil(STRIP / side));
  const canvas = make("canvas", { width: side, height: most });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const left = Math.floor((bitmap.width - side) / 2);
  const first = Math.floor((bitmap.height - side) / 2);
  context.fillStyle = "#ffffff";
  context.imageSmoothingEnabled = false;
  for (let top = 0; top < side; top += most) {
    const height = Math.min(most, side - top);
    context.fillRect(0, 0, side, height);
    context.drawImage(bitmap, left, first + top, side, height, 0, 0, side, height);
    yield { data: context.getImageData(0, 0, side, height).data, top, height };
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/**
 * A grey photograph on a light ground, turned round for networks that have seen light on dark only.
 * @param {Uint8Array} pixels (1, H, W)
 * @param {number} W pixels of a row
 * @returns {Uint8Array} (1, H, W)
 */
const lightOnDark = (pixels, W) =>
  mean(pixels.subarray(0, W)) > 127 ? pixels.map((value) => 255 - value) : pixels;

/**
 * @param {File} file that the reader chose
 * @returns {Promise<ImageBitmap>} the picture, upright as its EXIF says
 * @throws {Error} a sentence, when it is none that can be read here
 */
async function openPhoto(file) {
  if (!READABLE.test(file.type)) {
    const hint = "choose a PNG, JPEG or WebP file.";
    throw new Error(`${file.name} is no photo that can be read here: ${hint}`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    const hint = "choose another file.";
    throw new Error(`${file.name} is damaged, or is not what its name says: ${hint}`);
  }
  const millions = sizeOf([bitmap.width, bitmap.height]) / 1e6;
  if (millions <= MEGAPIXELS) return bitmap;
  bitmap.close();
  const most = `choose a photo of at most ${MEGAPIXELS}.`;
  throw new Error(`${file.name} has ${millions.toFixed(0)} megapixels: ${most}`);
}

/**
 * Buttons that bring pictures of the reader's own, the clipboard, and files that are dropped.
 * @param {HTMLElement} root where a picture may be pasted or dropped
 * @param {{ shape: number[], dark: boolean }} wanted C, H, W; whether the ground is dark
 * @param {(pixels: Uint8Array, from: string) => void} take is given each picture
 * @param {(sentence: string) => void} refuse is told why there is none
 * @returns {OwnPictures} the controls and the camera's view; forget: what is on its way comes too
 *   late; stop: the figure goes
 */
export function ownPictures(root, { shape, dark }, take, refuse) {
  let latest = 0; // which choice counts: a large picture is ready later than a small one
  const forget = () => ++latest;
  const use = async (/** @type {Promise<ImageBitmap>} */ opening, /** @type {string} */ from) => {
    const mine = forget();
    try {
      const bitmap = await opening;
      const found = await shrunk(bitmap, shape);
      bitmap.close();
      if (mine === latest) take(dark ? lightOnDark(found, shape[2]) : found, from);
    } catch (error) {
      if (mine === latest) refuse(error.message);
    }
  };
  const upload = (/** @type {File} */ file) => use(openPhoto(file), "your photo");
  const input = make("input", { type: "file", accept: "image/*", hidden: true });
  input.addEventListener("change", () => {
    if (input.files[0]) upload(input.files[0]);
    input.value = "";
  });
  // Or nothing could be dropped.
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) upload(file);
  });
  root.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) upload(file);
  });
  const camera = cameraControl((opening) => use(opening, "your picture"), refuse);
  const choose = button("Choose a photo", () => input.click());
  const stop = () => {
    forget();
    camera.stop();
  };
  return { controls: [choose, camera.control, input], video: camera.video, forget, stop };
}

/**
 * @param {HTMLVideoElement} video of the camera
 * @returns {Promise<ImageBitmap>} what it shows now
 * @throws {Error} a sentence, when it shows nothing
 */
async function pictureOf(video) {
  try {
    return await createImageBitmap(video);
  } catch {
    throw new Error("The camera gave no picture: try again, or choose a photo from a file.");
  }
}

/**
 * @param {(opening: Promise<ImageBitmap>) => Promise<void>} take is given each picture
 * @param {(sentence: string) => void} refuse is told why there is none
 * @returns {Camera} a button that opens the camera, then takes the picture
 */
function cameraControl(take, refuse) {
  const look = { muted: true, playsInline: true, hidden: true, "aria-label": "your camera" };
  const video = make("video", look);
  /** @type {MediaStream} */
  let stream = null;
  let wanted = false; // the browser may give a camera when the figure has gone
  const stop = () => {
    wanted = false;
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.hidden = true;
  };
  const start = async () => {
    wanted = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
      if (!wanted) return stop();
      video.srcObject = stream;
      video.hidden = false;
      await video.play();
    } catch {
      stop();
      const hint = "allow it in the browser, or choose a photo from a file.";
      refuse(`No camera could be used: ${hint}`);
    }
  };
  let busy = false; // not "disabled": that takes the focus away
  const control = button("Use the camera", async () => {
    if (busy) return;
    busy = true;
    if (stream) {
      await take(pictureOf(video));
      stop();
    } else await start();
    control.textContent = stream ? "Take the picture" : "Use the camera";
    busy = false;
  });
  return { control, video, stop };
}

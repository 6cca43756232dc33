// The patch explorer's numbers: an image cut into patches, and their order.

/**
 * Patches of an image whose resolution is a multiple of its own. H: its side in pixels as it is
 * stored; times: how often each pixel is repeated each way; P: a patch's side.
 * @typedef {{ C: number, H: number, times: number, P: number }} Cut
 */

/**
 * @param {Cut} cut
 * @returns {number} patches a side
 */
export const gridOf = ({ H, times, P }) => (H * times) / P;

/**
 * @param {NumberArray} pixels (C, H, H) of one image
 * @param {Cut} cut of it
 * @param {number} which of the patches, in reading order
 * @returns {Uint8Array} (C, P, P)
 */
export function patchPixels(pixels, cut, which) {
  const { C, H, times, P } = cut;
  const grid = gridOf(cut);
  const [top, left] = [Math.floor(which / grid) * P, (which % grid) * P];
  const found = new Uint8Array(C * P * P);
  for (let c = 0; c < C; c++)
    for (let y = 0; y < P; y++)
      for (let x = 0; x < P; x++) {
        const row = c * H + Math.floor((top + y) / times);
        found[(c * P + y) * P + x] = pixels[row * H + Math.floor((left + x) / times)];
      }
  return found;
}

/**
 * @param {number} N how many
 * @returns {number[]} 0 to N - 1
 */
export const inOrder = (N) => Array.from({ length: N }, (_, i) => i);

/**
 * @param {number} N how many
 * @returns {number[]} 0 to N - 1, every order as likely
 */
export function shuffled(N) {
  const order = inOrder(N);
  for (let i = N - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// The arithmetic of a small transformer and of its convnet teachers, for WebAssembly's vectors of four numbers.
//
// Matrices lie row by row in float32. A pointer is a place in the one memory that JavaScript gives and lays out:
// nothing here allocates, and what needs room to work in is given it. Sizes in the comments: B images, T tokens of
// width D, h heads of width d = D/h. Shapes need not divide by 4. build.py compiles this file twice; RELAXED has a
// fused multiply-add.
#include <wasm_simd128.h>

#define EXPORT(name) __attribute__((export_name(#name))) name
#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline)) // rarely run or large: one copy is enough

typedef float f4 __attribute__((vector_size(16), aligned(4)));

// ---- four numbers at a time ----

INLINE f4 all(float x) { return (f4){x, x, x, x}; }
INLINE f4 larger(f4 x, f4 y) { return (f4)wasm_f32x4_pmax((v128_t)x, (v128_t)y); }
INLINE f4 smaller(f4 x, f4 y) { return (f4)wasm_f32x4_pmin((v128_t)x, (v128_t)y); }
INLINE f4 root(f4 x) { return (f4)wasm_f32x4_sqrt((v128_t)x); }
INLINE f4 size(f4 x) { return (f4)wasm_f32x4_abs((v128_t)x); }
INLINE float total(f4 x) { return (x[0] + x[1]) + (x[2] + x[3]); }

// a b + c
INLINE f4 multiply_add(f4 a, f4 b, f4 c) {
#ifdef RELAXED
  return (f4)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c);
#else
  return a * b + c;
#endif
}

// The next four numbers of which `left` are still there, the others read as `other`; and how to write them.
APART f4 take_few(const float *from, int left, float other) {
  return (f4){from[0], left > 1 ? from[1] : other, left > 2 ? from[2] : other, other};
}
APART void put_few(float *to, f4 x, int left) {
  for (int i = 0; i < left; i++) to[i] = x[i];
}
INLINE f4 take_or(const float *from, int left, float other) {
  return left >= 4 ? *(const f4 *)from : take_few(from, left, other);
}
INLINE f4 take(const float *from, int left) { return take_or(from, left, 0); }
INLINE void put(float *to, f4 x, int left) {
  if (left >= 4) *(f4 *)to = x;
  else put_few(to, x, left);
}

// e^x = 2^n e^r with n whole and |r| <= ln(2)/2, e^r by its polynomial (Cephes' expf): to 1e-7 of its value, 0 below
// e^-87.
INLINE f4 exponential(f4 x) {
  v128_t nothing = (v128_t)(x < all(-87));
  x = smaller(larger(x, all(-87)), all(88));
  f4 n = (f4)wasm_f32x4_nearest((v128_t)(x * all(1.44269504f)));
  f4 r = multiply_add(n, all(2.12194440e-4f), multiply_add(n, all(-0.693359375f), x));
  f4 p = all(1.9875691500e-4f);
  p = multiply_add(p, r, all(1.3981999507e-3f));
  p = multiply_add(p, r, all(8.3334519073e-3f));
  p = multiply_add(p, r, all(4.1665795894e-2f));
  p = multiply_add(p, r, all(1.6666665459e-1f));
  p = multiply_add(p, r, all(5.0000001201e-1f));
  p = multiply_add(p, r * r, r + all(1));
  v128_t power = wasm_i32x4_shl(wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4((v128_t)n), wasm_i32x4_splat(127)), 23);
  return (f4)wasm_v128_andnot((v128_t)(p * (f4)power), nothing);
}

// ---- matrix products: C = A B, A^T B and A B^T are one loop, told by two steps how to walk through A and through B
// ----

enum { PANEL = 8, TILE = 4, BLOCK = 256 }; // columns of a panel, rows of a tile, terms of a sum at a time

// B (k, m), whose number (i, j) stands at b[i * down + j * across], as panels of 8 columns, the last filled up with
// zeros: (ceil(m / 8), k, 8). With down and across exchanged it is B^T that is packed.
void EXPORT(pack)(const float *b, float *panels, int k, int m, int down, int across) {
  for (int first = 0; first < m; first += PANEL) {
    int columns = m - first < PANEL ? m - first : PANEL;
    for (int i = 0; i < k; i++, panels += PANEL) {
      const float *row = b + i * down + first * across;
      if (columns == PANEL && across == 1) {
        *(f4 *)panels = *(const f4 *)row;
        *(f4 *)(panels + 4) = *(const f4 *)(row + 4);
      } else {
        for (int j = 0; j < PANEL; j++) panels[j] = j < columns ? row[j * across] : 0;
      }
    }
  }
}

// One tile: `rows` rows of A times a panel, over k terms, on top of what C, `start` or `bias` already say.
INLINE void tile(int rows, const float *a, int down, int across, const float *panel, int k, float *c, int c_down,
                 const float *start, const float *bias, int columns) {
  f4 left[TILE], right[TILE];
  const float *row[TILE];
  for (int r = 0; r < rows; r++) left[r] = right[r] = all(0), row[r] = a + r * down;
  for (int i = 0; i < k; i++, panel += PANEL) {
    f4 b0 = *(const f4 *)panel, b1 = *(const f4 *)(panel + 4);
    for (int r = 0; r < rows; r++) {
      f4 x = all(row[r][i * across]);
      left[r] = multiply_add(x, b0, left[r]);
      right[r] = multiply_add(x, b1, right[r]);
    }
  }
  for (int r = 0; r < rows; r++, c += c_down) {
    if (start) {
      left[r] += take(start + r * c_down, columns);
      if (columns > 4) right[r] += take(start + r * c_down + 4, columns - 4);
    }
    if (bias) {
      left[r] += take(bias, columns);
      if (columns > 4) right[r] += take(bias + 4, columns - 4);
    }
    put(c, left[r], columns);
    put(c + 4, right[r], columns - 4);
  }
}

// C (n, m) = start + bias + A B. A (n, k) stands at a[i * down + j * across], B in the panels of `pack`, C at
// c[i * c_down + j]. start (n, m), laid out like C and possibly C itself, and bias (m) may be 0, which is none.
void EXPORT(product)(const float *a, int down, int across, const float *panels, float *c, int c_down, int n, int k,
                     int m, const float *start, const float *bias) {
  for (int term = 0; term < k; term += BLOCK) {
    int terms = k - term < BLOCK ? k - term : BLOCK;
    for (int first = 0; first < m; first += PANEL) {
      const float *panel = panels + first * k + term * PANEL, *b = bias ? bias + first : 0;
#define ROWS(count, r, down, across)                                                                       \
  tile(count, a + (r) * down + term * across, down, across, panel, terms, c + (r) * c_down + first, c_down, \
       start ? start + (r) * c_down + first : 0, b, m - first)
      for (int i = 0; i < n; i += TILE) {
        if (n - i >= TILE && across == 1) ROWS(TILE, i, down, 1);
        else if (n - i >= TILE && down == 1) ROWS(TILE, i, 1, across);
        else for (int r = i; r < n && r < i + TILE; r++) ROWS(1, r, down, across);
      }
#undef ROWS
    }
    start = c, bias = 0; // the next terms come on top
  }
}

// The sums of every column of x (n, m), a bias's gradient: sums (m).
void EXPORT(sum_rows)(const float *x, float *sums, int n, int m) {
  for (int j = 0; j < m; j += 4) {
    f4 sum = all(0);
    for (int i = 0; i < n; i++) sum += take(x + i * m + j, m - j);
    put(sums + j, sum, m - j);
  }
}

// ---- softmax: p_j = e^(x_j) / sum_k e^(x_k), of every row of x (n, m), in place ----

void EXPORT(softmax)(float *x, int n, int m) {
  for (int i = 0; i < n; i++, x += m) {
    f4 top = all(x[0]), sum = all(0);
    for (int j = 0; j < m; j += 4) top = larger(top, take_or(x + j, m - j, x[0]));
    float largest = top[0]; // taken away first, so that no power is too large
    for (int j = 1; j < 4; j++) largest = top[j] > largest ? top[j] : largest;
    for (int j = 0; j < m; j += 4) {
      f4 power = exponential(take(x + j, m - j) - all(largest));
      put(x + j, power, m - j);
      sum += take(x + j, m - j);
    }
    for (int j = 0; j < m; j += 4) put(x + j, take(x + j, m - j) * all(1 / total(sum)), m - j);
  }
}

// dL/dx_j = p_j (g_j - sum_k g_k p_k), of the gradients g (n, m) for p (n, m), in place of g.
void EXPORT(softmax_backward)(const float *p, float *g, int n, int m) {
  for (int i = 0; i < n; i++, p += m, g += m) {
    f4 sum = all(0);
    for (int j = 0; j < m; j += 4) sum = multiply_add(take(g + j, m - j), take(p + j, m - j), sum);
    for (int j = 0; j < m; j += 4) put(g + j, take(p + j, m - j) * (take(g + j, m - j) - all(total(sum))), m - j);
  }
}

// ---- attention (paper, equation 1): softmax(Q K^T / sqrt(d)) V, for every image and head ----

// qkv (B, T, 3, h, d); the first `queries` tokens ask. weights (B, h, queries, T) come out, and the answers (B,
// queries, h, d). work: room for (T + 8) (d + 8) numbers.
void EXPORT(attention)(const float *qkv, float *weights, float *answers, int images, int tokens, int queries, int heads,
                       int d, float *work) {
  int D = heads * d;
  float scale = 1 / root(all(d))[0];
  for (int image = 0; image < images; image++, qkv += tokens * 3 * D, answers += queries * D) {
    for (int head = 0; head < heads; head++, weights += queries * tokens) {
      const float *q = qkv + head * d, *k = q + D, *v = k + D;
      pack(k, work, d, tokens, 1, 3 * D); // K^T
      product(q, 3 * D, 1, work, weights, tokens, queries, d, tokens, 0, 0);
      for (int i = 0; i < queries * tokens; i += 4) {
        put(weights + i, take(weights + i, queries * tokens - i) * all(scale), queries * tokens - i);
      }
      softmax(weights, queries, tokens);
      pack(v, work, tokens, d, 3 * D, 1);
      product(weights, tokens, 1, work, answers + head * d, D, queries, tokens, d, 0, 0);
    }
  }
}

// The same backward: from g (B, queries, h, d), the gradient of the answers, to that of qkv, which is written whole.
// With P the weights and O = P V: dV = P^T dO, dP = dO V^T, dS = softmax_backward(P, dP) / sqrt(d), dQ = dS K, dK =
// dS^T Q. work: room for (T + 8) (d + 8) + queries T numbers.
void EXPORT(attention_backward)(const float *qkv, const float *weights, const float *g, float *d_qkv, int images,
                                int tokens, int queries, int heads, int d, float *work) {
  int D = heads * d;
  float scale = 1 / root(all(d))[0], *panels = work + queries * tokens;
  for (int i = 0; i < images * tokens * 3 * D; i++) d_qkv[i] = 0; // the tokens that did not ask
  for (int image = 0; image < images; image++, qkv += tokens * 3 * D, d_qkv += tokens * 3 * D, g += queries * D) {
    for (int head = 0; head < heads; head++, weights += queries * tokens) {
      const float *q = qkv + head * d, *k = q + D, *v = k + D, *own = g + head * d;
      float *dq = d_qkv + head * d, *dk = dq + D, *dv = dk + D;
      pack(own, panels, queries, d, D, 1);
      product(weights, 1, tokens, panels, dv, 3 * D, tokens, queries, d, 0, 0);
      pack(v, panels, d, tokens, 1, 3 * D); // V^T
      product(own, D, 1, panels, work, tokens, queries, d, tokens, 0, 0);
      softmax_backward(weights, work, queries, tokens);
      for (int i = 0; i < queries * tokens; i++) work[i] *= scale;
      pack(k, panels, tokens, d, 3 * D, 1);
      product(work, tokens, 1, panels, dq, 3 * D, queries, tokens, d, 0, 0);
      pack(q, panels, queries, d, 3 * D, 1);
      product(work, 1, tokens, panels, dk, 3 * D, tokens, queries, d, 0, 0);
    }
  }
}

// ---- layer norm: y = z gain + bias with z = (x - mean) / sqrt(variance + 1e-6), of every row of x (n, D) ----

// Keeps z (n, D) and the scale 1 / sqrt(variance + 1e-6) of every row (n) for the way back.
void EXPORT(layer_norm)(const float *x, const float *gain, const float *bias, float *y, float *z, float *scale, int n,
                        int D) {
  for (int i = 0; i < n; i++, x += D, y += D, z += D) {
    f4 sum = all(0), squares = all(0);
    for (int j = 0; j < D; j += 4) sum += take(x + j, D - j);
    float mean = total(sum) / D;
    for (int j = 0; j < D; j += 4) {
      f4 apart = take_or(x + j, D - j, mean) - all(mean);
      squares = multiply_add(apart, apart, squares);
    }
    scale[i] = 1 / root(all(total(squares) / D + 1e-6f))[0];
    for (int j = 0; j < D; j += 4) {
      f4 normal = (take(x + j, D - j) - all(mean)) * all(scale[i]);
      put(z + j, normal, D - j);
      put(y + j, multiply_add(normal, take(gain + j, D - j), take(bias + j, D - j)), D - j);
    }
  }
}

// With g (n, D) the gradient of y and u = g gain: dL/dx = scale (u - mean(u) - z mean(u z)), added to dx; and the
// gradients of the gain, sum(g z), and of the bias, sum(g), over the rows.
void EXPORT(layer_norm_backward)(const float *g, const float *gain, const float *z, const float *scale, float *dx,
                                 float *d_gain, float *d_bias, int n, int D) {
  for (int j = 0; j < D; j++) d_gain[j] = d_bias[j] = 0;
  for (int i = 0; i < n; i++, g += D, z += D, dx += D) {
    f4 sum = all(0), along = all(0);
    for (int j = 0; j < D; j += 4) {
      f4 own = take(g + j, D - j), normal = take(z + j, D - j), u = own * take(gain + j, D - j);
      sum += u, along = multiply_add(u, normal, along);
      put(d_gain + j, multiply_add(own, normal, take(d_gain + j, D - j)), D - j);
      put(d_bias + j, own + take(d_bias + j, D - j), D - j);
    }
    f4 mean = all(total(sum) / D), share = all(total(along) / D);
    for (int j = 0; j < D; j += 4) {
      f4 u = take(g + j, D - j) * take(gain + j, D - j), apart = u - mean - take(z + j, D - j) * share;
      put(dx + j, multiply_add(apart, all(scale[i]), take(dx + j, D - j)), D - j);
    }
  }
}

// ---- what stands between two products ----

// y = x Phi(x), with Phi(x) = (1 + erf(x / sqrt 2)) / 2 to 1e-7 (Abramowitz and Stegun, 7.1.26), of n numbers. slope,
// unless 0, takes dy/dx = Phi(x) + x phi(x), phi(x) = e^(-x^2 / 2) / sqrt(2 pi); it or y may be x.
void EXPORT(gelu)(const float *x, float *y, float *slope, int n) {
  for (int i = 0; i < n; i += 4) {
    f4 v = take(x + i, n - i), bell = exponential(v * v * all(-0.5f));
    f4 t = all(1) / multiply_add(size(v), all(0.3275911f * 0.70710678f), all(1)), sum = all(1.061405429f);
    sum = multiply_add(sum, t, all(-1.453152027f));
    sum = multiply_add(sum, t, all(1.421413741f));
    sum = multiply_add(sum, t, all(-0.284496736f));
    sum = multiply_add(sum, t, all(0.254829592f));
    f4 tail = all(0.5f) * t * sum * bell; // Phi(-|x|)
    f4 phi = (f4)wasm_v128_bitselect((v128_t)tail, (v128_t)(all(1) - tail), (v128_t)(v < all(0)));
    put(y + i, v * phi, n - i);
    if (slope) put(slope + i, multiply_add(v * all(0.39894228f), bell, phi), n - i);
  }
}

// x = x y, n numbers: a gradient on its way back through a slope.
void EXPORT(multiply)(float *x, const float *y, int n) {
  for (int i = 0; i < n; i += 4) put(x + i, take(x + i, n - i) * take(y + i, n - i), n - i);
}

// x = max(0, x + y), n numbers; y may be 0, which is none.
void EXPORT(relu)(float *x, const float *y, int n) {
  for (int i = 0; i < n; i += 4) {
    f4 sum = take(x + i, n - i) + (y ? take(y + i, n - i) : all(0));
    put(x + i, larger(all(0), sum), n - i);
  }
}

// x = x scale + shift for x (n, C) and scale, shift (C): a batch norm whose statistics are fixed.
void EXPORT(scale_and_shift)(float *x, const float *scale, const float *shift, int n, int C) {
  for (int i = 0; i < n; i++, x += C) {
    for (int j = 0; j < C; j += 4) {
      put(x + j, multiply_add(take(x + j, C - j), take(scale + j, C - j), take(shift + j, C - j)), C - j);
    }
  }
}

// ---- pictures ----

// Images (B, C, S, S) cut into patches of P by P: (B, prefix + (S/P)^2, C P P), with rows of zeros for the prefix
// tokens.
void EXPORT(patchify)(const float *images, float *patches, int count, int C, int S, int P, int prefix) {
  int grid = S / P, inner = C * P * P;
  for (int image = 0; image < count; image++, images += C * S * S) {
    for (int i = 0; i < prefix * inner; i++) *patches++ = 0;
    for (int patch = 0; patch < grid * grid; patch++) {
      for (int c = 0; c < C; c++) {
        for (int y = 0; y < P; y++) {
          const float *from = images + (c * S + patch / grid * P + y) * S + patch % grid * P;
          for (int x = 0; x < P; x++) *patches++ = from[x];
        }
      }
    }
  }
}

// A convolution of x (B, S, S, C): every output pixel is the k by k pixels under the kernel, one row of `work`, times
// the weights (k k C, K), packed, plus bias (K) unless it is 0. y (B, R, R, K) with R = (S + 2 pad - k) / stride + 1.
// work: room for `rows` R rows, each k k C long: so many rows of the output go through one product.
void EXPORT(convolution)(const float *x, const float *panels, const float *bias, float *y, int count, int S, int C,
                         int K, int k, int stride, int pad, float *work, int rows) {
  int R = (S + 2 * pad - k) / stride + 1, inner = k * k * C, waiting = 0;
  float *to = work;
  for (int row = 0; row < count * R; row++) {
    const float *image = x + row / R * S * S * C;
    for (int column = 0; column < R; column++) {
      for (int dy = 0; dy < k; dy++) {
        int at_y = row % R * stride + dy - pad;
        for (int dx = 0; dx < k; dx++, to += C) {
          int at_x = column * stride + dx - pad;
          const float *from = image + (at_y * S + at_x) * C;
          if (at_y < 0 || at_y >= S || at_x < 0 || at_x >= S) for (int c = 0; c < C; c++) to[c] = 0;
          else for (int c = 0; c < C; c++) to[c] = from[c];
        }
      }
    }
    if (++waiting == rows || row == count * R - 1) {
      product(work, inner, 1, panels, y, K, waiting * R, inner, K, 0, bias);
      y += waiting * R * K, to = work, waiting = 0;
    }
  }
}

// The largest of every 2 by 2 pixels of x (B, S, S, C): y (B, S/2, S/2, C), S/2 rounded down.
void EXPORT(max_pool)(const float *x, float *y, int count, int S, int C) {
  int R = S / 2;
  for (int pixel = 0; pixel < count * R * R; pixel++, y += C) {
    const float *a = x + ((pixel / (R * R) * S + pixel / R % R * 2) * S + pixel % R * 2) * C, *b = a + S * C;
    for (int c = 0; c < C; c += 4) {
      int left = C - c;
      f4 above = larger(take(a + c, left), take(a + C + c, left));
      f4 below = larger(take(b + c, left), take(b + C + c, left));
      put(y + c, larger(above, below), left);
    }
  }
}

// One number for each channel of x (B, pixels, C): y (B, C), the mean over the pixels or, with `largest`, the largest.
void EXPORT(pool_all)(const float *x, float *y, int count, int pixels, int C, int largest) {
  for (int image = 0; image < count; image++, x += pixels * C, y += C) {
    for (int c = 0; c < C; c += 4) {
      f4 sum = take(x + c, C - c), most = sum;
      for (int i = 1; i < pixels; i++) {
        f4 v = take(x + i * C + c, C - c);
        sum += v, most = larger(most, v);
      }
      put(y + c, largest ? most : sum / all(pixels), C - c);
    }
  }
}

// ---- AdamW ----

// One step on n weights x with gradients g, their running means (of g) and squares (of g g):
// x = x (1 - rate decay) - rate / c1 * mean / (sqrt(square / c2) + 1e-8), c1 = 1 - 0.9^t and c2 = 1 - 0.999^t at step
// t.
void EXPORT(adamw)(float *x, const float *g, float *mean, float *square, int n, float rate, float decay, float c1,
                   float c2) {
  for (int i = 0; i < n; i += 4) {
    int left = n - i;
    f4 slope = take(g + i, left), m = take(mean + i, left), s = take(square + i, left);
    m += all(0.1f) * (slope - m);
    s = all(0.999f) * s + all(0.001f) * slope * slope;
    f4 step = all(rate / c1) * m / (root(s / all(c2)) + all(1e-8f));
    put(x + i, take(x + i, left) * all(1 - rate * decay) - step, left);
    put(mean + i, m, left);
    put(square + i, s, left);
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// Filters for samples: the median of five takes wild values out, which would
// ring in the low pass that comes after it.

#include "node.h"

void median_start(struct median *median, int32_t value) {
  for (size_t i = 0; i < COUNT(median->last); i++)
    median->last[i] = value;
  median->next = 0;
}

static void order(int32_t *a, int32_t *b) {
  if (*a > *b) {
    int32_t t = *a;
    *a = *b;
    *b = t;
  }
}

int32_t median_step(struct median *median, int32_t value) {
  median->last[median->next] = value;
  median->next = (median->next + 1) % COUNT(median->last);
  int32_t v[5];
  memcpy(v, median->last, sizeof v);
  // The least and the greatest of four are not the median; then that of three.
  order(&v[0], &v[1]);
  order(&v[2], &v[3]);
  order(&v[0], &v[2]);
  order(&v[1], &v[3]);
  order(&v[1], &v[2]);
  order(&v[2], &v[4]);
  order(&v[1], &v[2]);
  return v[2];
}

void biquad_start(struct biquad *biquad, int32_t value) {
  biquad->x1 = biquad->x2 = biquad->y1 = biquad->y2 = value;
}

int32_t biquad_step(struct biquad *biquad, int32_t value) {
  int64_t sum = (int64_t)biquad->b0 * value + (int64_t)biquad->b1 * biquad->x1 +
                (int64_t)biquad->b2 * biquad->x2 -
                (int64_t)biquad->a1 * biquad->y1 -
                (int64_t)biquad->a2 * biquad->y2;
  biquad->x2 = biquad->x1;
  biquad->x1 = value;
  biquad->y2 = biquad->y1;
  biquad->y1 = (int32_t)((sum + (1 << 13)) >> 14);
  return biquad->y1;
}

// SPDX-License-Identifier: Apache-2.0
//
// What a C library would bring: the functions that code generation itself
// calls, to copy a struct or to clear an array, and two for strings.
//
// This file is compiled with -fno-builtin: else the optimiser may know a loop
// for a memcpy and make it one, and code generation writes memset as a call of
// __aeabi_memset, which is that function's own body. All are `used` because
// link-time optimisation comes before code generation, which adds the calls;
// what nothing has called in the end goes with --gc-sections.

#include "node.h"

#define RUNTIME __attribute__((used))

RUNTIME void *memcpy(void *restrict to, const void *restrict from,
                     size_t count) {
  uint8_t *out = to;
  for (const uint8_t *in = from; count > 0; count--)
    *out++ = *in++;
  return to;
}

RUNTIME void *memmove(void *to, const void *from, size_t count) {
  uint8_t *out = to;
  const uint8_t *in = from;
  if ((uintptr_t)to <= (uintptr_t)from)
    for (size_t i = 0; i < count; i++)
      out[i] = in[i];
  else
    while (count-- > 0)
      out[count] = in[count];
  return to;
}

RUNTIME void *memset(void *to, int value, size_t count) {
  for (uint8_t *out = to; count > 0; count--)
    *out++ = (uint8_t)value;
  return to;
}

RUNTIME int memcmp(const void *a, const void *b, size_t count) {
  const uint8_t *x = a, *y = b;
  for (; count > 0; count--, x++, y++)
    if (*x != *y)
      return *x - *y;
  return 0;
}

RUNTIME size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length])
    length++;
  return length;
}

RUNTIME int strcmp(const char *a, const char *b) {
  while (*a && *a == *b)
    a++, b++;
  return (uint8_t)*a - (uint8_t)*b;
}

#ifdef __ARM_EABI__
// ARM's run-time ABI has names of its own, one for each alignment that the
// caller may know of, and another order of memset's arguments.
#define ALIAS(name, target)                                                    \
  RUNTIME extern __typeof__(target) name __attribute__((alias(#target)));

RUNTIME void __aeabi_memset(void *to, size_t count, int value) {
  memset(to, value, count);
}

RUNTIME void __aeabi_memclr(void *to, size_t count) { memset(to, 0, count); }

ALIAS(__aeabi_memcpy, memcpy)
ALIAS(__aeabi_memcpy4, memcpy)
ALIAS(__aeabi_memcpy8, memcpy)
ALIAS(__aeabi_memmove, memmove)
ALIAS(__aeabi_memmove4, memmove)
ALIAS(__aeabi_memmove8, memmove)
ALIAS(__aeabi_memset4, __aeabi_memset)
ALIAS(__aeabi_memset8, __aeabi_memset)
ALIAS(__aeabi_memclr4, __aeabi_memclr)
ALIAS(__aeabi_memclr8, __aeabi_memclr)
#endif

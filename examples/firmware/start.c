// SPDX-License-Identifier: Apache-2.0
//
// From reset to the program: variables get their first values.

#include "board.h"
#include "node.h"

// The linker scripts say where these are.
extern uint8_t data_start[], data_end[], data_image[], bss_start[], bss_end[];

// Whole sections, so the distance is taken of addresses: the symbols are
// different objects to C.
static size_t distance(const uint8_t *first, const uint8_t *last) {
  return (uintptr_t)last - (uintptr_t)first;
}

_Noreturn void start(void) {
  memcpy(data_start, data_image, distance(data_start, data_end));
  memset(bss_start, 0, distance(bss_start, bss_end));
  board_stop(node_run());
}

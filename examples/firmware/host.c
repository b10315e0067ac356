// SPDX-License-Identifier: Apache-2.0
//
// An ordinary program: the UART is standard output. It gives expected.txt, and
// runs under sanitizers.

#include <stdio.h>
#include <stdlib.h>

#include "board.h"
#include "node.h"

void board_open(void) {}

bool board_can_send(void) { return true; }

void board_send(uint8_t byte) { putchar(byte); }

_Noreturn void board_stop(int status) { exit(status); }

int main(void) { board_stop(node_run()); }

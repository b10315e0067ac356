// SPDX-License-Identifier: Apache-2.0
//
// What a board has to offer: a UART that sends, and a way to stop. Everything
// else is the same on all of them. lm3s.c, virt.c and host.c implement it.

#ifndef BOARD_H
#define BOARD_H

#include <stdbool.h>
#include <stdint.h>

void board_open(void);
bool board_can_send(void);
void board_send(uint8_t byte);
_Noreturn void board_stop(int status);

// Where reset code goes once there is a stack (start.c).
_Noreturn void start(void);

#endif

// SPDX-License-Identifier: Apache-2.0
//
// QEMU's RISC-V machine `virt`: a 16550 UART and a test device that stops it.

#include "board.h"
#include "node.h"

#define UART_BYTE(offset) (*(volatile uint8_t *)(0x10000000 + (offset)))
#define TEST_DEVICE (*(volatile uint32_t *)0x100000)

enum {
  DATA = 0, // and the low byte of the divisor
  INTERRUPTS = 1,
  FIFO = 2,
  LINE = 3,
  STATUS = 5,
  LINE_8N1 = 0x03,
  LINE_DIVISOR = 0x80,
  STATUS_CAN_SEND = 0x20,
  TEST_PASS = 0x5555,
  TEST_FAIL = 0x3333
};

void board_open(void) {
  UART_BYTE(INTERRUPTS) = 0;
  UART_BYTE(LINE) = LINE_DIVISOR;
  UART_BYTE(DATA) = 2; // 3.6864 MHz / (16 * 115200)
  UART_BYTE(INTERRUPTS) = 0;
  UART_BYTE(LINE) = LINE_8N1;
  UART_BYTE(FIFO) = 1;
}

bool board_can_send(void) { return UART_BYTE(STATUS) & STATUS_CAN_SEND; }

void board_send(uint8_t byte) { UART_BYTE(DATA) = byte; }

_Noreturn void board_stop(int status) {
  TEST_DEVICE = status ? (uint32_t)status << 16 | TEST_FAIL : TEST_PASS;
  for (;;)
    __asm__ volatile("wfi");
}

// A fault, or an interrupt that nothing enables.
__attribute__((aligned(4), used)) static void trap(void) { board_stop(2); }

// The first instructions, where the machine begins. `used`: as in lm3s.c.
__attribute__((section(".reset"), naked, used)) void reset(void) {
  __asm__("la sp, stack_top\n\t"
          "la t0, %0\n\t"
          "csrw mtvec, t0\n\t"
          "j %1"
          :
          : "i"(trap), "i"(start));
}

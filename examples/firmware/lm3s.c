// SPDX-License-Identifier: Apache-2.0
//
// Stellaris LM3S6965: a Cortex-M3 with a PL011 UART. The machine is QEMU's, so
// it stops by semihosting.

#include "board.h"
#include "node.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCGC1 REGISTER(0x400FE104) // clock gates: UARTs
#define RCGC2 REGISTER(0x400FE108) // clock gates: ports
#define GPIOA_AFSEL REGISTER(0x40004420)
#define UART0_DATA REGISTER(0x4000C000)
#define UART0_FLAGS REGISTER(0x4000C018)
#define UART0_DIVISOR REGISTER(0x4000C024)
#define UART0_FRACTION REGISTER(0x4000C028)
#define UART0_LINE REGISTER(0x4000C02C)
#define UART0_CONTROL REGISTER(0x4000C030)

enum {
  UART_FULL = 1 << 5,
  LINE_8N1_FIFO = 0x70,
  CONTROL_SEND_RECEIVE = 0x301,
  SYS_EXIT_EXTENDED = 0x20,
  STOPPED_APPLICATION_EXIT = 0x20026
};

void board_open(void) {
  RCGC1 |= 1;
  RCGC2 |= 1;
  GPIOA_AFSEL |= 3;
  UART0_CONTROL = 0;
  UART0_DIVISOR = 6; // 12 MHz / (16 * 115200)
  UART0_FRACTION = 33;
  UART0_LINE = LINE_8N1_FIFO;
  UART0_CONTROL = CONTROL_SEND_RECEIVE;
}

bool board_can_send(void) { return !(UART0_FLAGS & UART_FULL); }

void board_send(uint8_t byte) { UART0_DATA = byte; }

_Noreturn void board_stop(int status) {
  const uint32_t reason[2] = {STOPPED_APPLICATION_EXIT, (uint32_t)status};
  register uint32_t call __asm__("r0") = SYS_EXIT_EXTENDED;
  register const uint32_t *argument __asm__("r1") = reason;
  __asm__ volatile("bkpt 0xab" : "+r"(call) : "r"(argument) : "memory");
  for (;;)
    __asm__ volatile("wfi");
}

// A fault, or an interrupt that nothing enables.
static void unexpected(void) { board_stop(2); }

extern uint32_t stack_top[]; // lm3s.ld

// The hardware loads the stack pointer and jumps to `start`, which can be C.
// Nothing refers to the table: the linker script keeps it, and `used` does so
// in link-time optimisation, which does not read that.
__attribute__((section(".vectors"), used)) static const struct {
  uint32_t *stack;
  void (*exceptions[15])(void);
} vectors = {
    stack_top,
    {start, unexpected, unexpected, unexpected, unexpected, unexpected, 0, 0, 0,
     0, unexpected, unexpected, 0, unexpected, unexpected},
};

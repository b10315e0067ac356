// SPDX-License-Identifier: Apache-2.0
//
// The UART's driver. Each ring has one writer and one reader, so that neither
// has to keep the other out: an interrupt may be one of them.

#include "board.h"
#include "node.h"

enum { RING = 128 }; // a power of two

struct ring {
  uint8_t bytes[RING];
  volatile uint16_t written, read; // they wrap around by themselves
};

static struct ring sent, received;
static unsigned lost;

static bool ring_put(struct ring *ring, uint8_t byte) {
  uint16_t written = ring->written;
  if ((uint16_t)(written - ring->read) == RING)
    return false;
  ring->bytes[written % RING] = byte;
  ring->written = (uint16_t)(written + 1);
  return true;
}

static int ring_take(struct ring *ring) {
  uint16_t read = ring->read;
  if (read == ring->written)
    return -1;
  uint8_t byte = ring->bytes[read % RING];
  ring->read = (uint16_t)(read + 1);
  return byte;
}

void uart_poll(void) {
  while (board_can_send()) {
    int byte = ring_take(&sent);
    if (byte < 0)
      return;
    board_send((uint8_t)byte);
  }
}

void uart_flush(void) {
  while (sent.read != sent.written)
    uart_poll();
}

void uart_write(uint8_t byte) {
  while (!ring_put(&sent, byte))
    uart_poll();
}

void uart_receive(uint8_t byte) {
  if (!ring_put(&received, byte))
    lost++;
}

int uart_read(void) { return ring_take(&received); }

unsigned uart_lost(void) { return lost; }

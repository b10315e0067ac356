// SPDX-License-Identifier: Apache-2.0
//
// The event log. An event takes two to some ten bytes of a ring: the ticks
// since the one before it, what it is, and its argument, both numbers in as few
// bytes as they need. The oldest make room for the newest.

#include "node.h"

enum { LOG_SIZE = 64, MOST_RECORD = 5 + 1 + 5 };

static const char *const names[EVENT_COUNT] = {
    "boot", "set", "save", "target", "spike", "link", "door"};

static struct {
  uint8_t bytes[LOG_SIZE];
  unsigned first, used;
  uint32_t before; // when the event before the oldest was
  uint32_t newest;
  unsigned count, dropped;
} log = {.first = LOG_SIZE - 3}; // it soon wraps around

struct entry {
  uint32_t delta;
  enum event event;
  int32_t argument;
};

static void put(uint8_t byte) {
  log.bytes[(log.first + log.used++) % LOG_SIZE] = byte;
}

static void put_varint(uint32_t value) {
  for (; value >= 0x80; value >>= 7)
    put((uint8_t)(value | 0x80));
  put((uint8_t)value);
}

static uint32_t get_varint(unsigned *at) {
  uint32_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    uint8_t byte = log.bytes[(log.first + (*at)++) % LOG_SIZE];
    value |= (uint32_t)(byte & 0x7f) << shift;
    if (byte < 0x80)
      return value;
  }
}

// Small numbers of either sign are small: 0, -1, 1, -2.
static uint32_t zigzag(int32_t value) {
  return (uint32_t)value << 1 ^ -(uint32_t)(value < 0);
}

static int32_t unzigzag(uint32_t value) {
  return (int32_t)(value >> 1 ^ -(value & 1));
}

// `at` counts from the oldest byte, and goes on to the next event.
static struct entry get_entry(unsigned *at) {
  struct entry entry;
  entry.delta = get_varint(at);
  entry.event = (enum event)get_varint(at);
  entry.argument = unzigzag(get_varint(at));
  return entry;
}

static void drop_oldest(void) {
  unsigned length = 0;
  log.before += get_entry(&length).delta;
  log.first = (log.first + length) % LOG_SIZE;
  log.used -= length;
  log.count--;
  log.dropped++;
}

void log_event(enum event event, int32_t argument) {
  while (LOG_SIZE - log.used < MOST_RECORD)
    drop_oldest();
  uint32_t now = schedule_now();
  put_varint(now - log.newest);
  put_varint(event);
  put_varint(zigzag(argument));
  log.newest = now;
  log.count++;
}

void log_clear(void) {
  log.first = log.used = log.count = 0;
  log.before = log.newest;
}

void log_print(unsigned most) {
  uint32_t time = log.before;
  unsigned index = 0;
  for (unsigned at = 0; at < log.used; index++) {
    struct entry entry = get_entry(&at);
    time += entry.delta;
    if (index + most >= log.count)
      print("%5u.%02u %-7s %d\n", time / TICKS_A_SECOND, time % TICKS_A_SECOND,
            names[entry.event], entry.argument);
  }
}

unsigned log_count(void) { return log.count; }
unsigned log_dropped(void) { return log.dropped; }
unsigned log_bytes(void) { return log.used; }

// SPDX-License-Identifier: Apache-2.0
//
// A sensor node that holds a temperature: what its parts offer each other.
//
// Temperatures are in hundredths of a degree, time is in ticks of 10 ms. There
// is no floating point and no division of 64 bits, which would need a runtime
// library.

#ifndef NODE_H
#define NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { TICKS_A_SECOND = 100 };

//===- runtime.c ----------------------------------------------------------===//

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *a, const void *b, size_t count);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);

//===- uart.c: bytes in and out, through rings ----------------------------===//

void uart_write(uint8_t byte); // waits where the ring is full
void uart_poll(void);          // sends what the hardware takes
void uart_flush(void);
void uart_receive(uint8_t byte); // what an interrupt would do
int uart_read(void);             // -1 where nothing has come
unsigned uart_lost(void);        // bytes that found the ring full

//===- print.c ------------------------------------------------------------===//

// %d %u %x %c %s %% with a width, `0` and `-`, and %q: an int in hundredths.
void print(const char *format, ...);
void print_hex(const uint8_t *bytes, size_t count);

//===- frame.c: CRC-16 and COBS -------------------------------------------===//

enum { FRAME_PAYLOAD = 40, FRAME_SIZE = FRAME_PAYLOAD + 5 };

uint16_t crc16(const uint8_t *bytes, size_t count);
size_t cobs_encode(const uint8_t *bytes, size_t count, uint8_t *out);
// The number of bytes, or -1 where it cannot be what cobs_encode wrote.
int cobs_decode(const uint8_t *bytes, size_t count, uint8_t *out);
// With its CRC, encoded, and a zero after it.
size_t frame_encode(const uint8_t *payload, size_t count, uint8_t *out);

struct receiver {
  uint8_t bytes[FRAME_SIZE];
  uint8_t payload[FRAME_SIZE];
  size_t count;
  unsigned good, damaged;
};

// The length of the payload where this byte ends a good frame, or -1.
int frame_receive(struct receiver *receiver, uint8_t byte);

//===- filter.c -----------------------------------------------------------===//

struct median {
  int32_t last[5];
  unsigned next;
};

struct biquad {
  int32_t b0, b1, b2, a1, a2; // 1.0 is 1 << 14
  int32_t x1, x2, y1, y2;
};

void median_start(struct median *median, int32_t value);
int32_t median_step(struct median *median, int32_t value);
void biquad_start(struct biquad *biquad, int32_t value);
int32_t biquad_step(struct biquad *biquad, int32_t value);

//===- control.c: the heater, its sensor and the PID controller -----------===//

struct pid {
  int32_t kp, ki, kd; // 1.0 is 256
  int32_t integral;
  int32_t last;
};

int32_t pid_step(struct pid *pid, int32_t target, int32_t measured);
void plant_step(int32_t power); // 0 to 1000
int32_t plant_sense(void);      // with noise, and a wild value now and then
void plant_open_door(bool open);

//===- schedule.c: tasks and timers ---------------------------------------===//

enum task { TASK_CONTROL, TASK_SHELL, TASK_REPORT, TASK_COUNT };

struct timer {
  uint32_t due;
  uint32_t period; // 0 is once
  void (*expire)(uint32_t argument);
  uint32_t argument;
  struct timer *next;
};

void timer_start(struct timer *timer, uint32_t delay, uint32_t period,
                 void (*expire)(uint32_t), uint32_t argument);
bool timer_stop(struct timer *timer);
void task_define(enum task task, const char *name, void (*run)(void));
void task_post(uint32_t task);
void schedule_start(void);
void schedule_tick(void); // one tick passes; runs what has become ready
uint32_t schedule_now(void);
void schedule_print(void);

//===- log.c: events in a ring of bytes -----------------------------------===//

enum event {
  EVENT_BOOT,
  EVENT_SET,
  EVENT_SAVE,
  EVENT_TARGET,
  EVENT_SPIKE,
  EVENT_LINK,
  EVENT_DOOR,
  EVENT_COUNT
};

void log_event(enum event event, int32_t argument);
void log_clear(void);
void log_print(unsigned most); // the newest
unsigned log_count(void);
unsigned log_dropped(void);
unsigned log_bytes(void);

//===- store.c: parameters, and a copy of them in flash -------------------===//

enum parameter { P_TARGET, P_KP, P_KI, P_KD, P_REPORT, P_NODE, P_COUNT };
enum set_result { SET_OK, SET_UNKNOWN, SET_RANGE };

int32_t parameter(enum parameter parameter);
int parameter_find(const char *name); // -1 where there is none
enum set_result parameter_set(int parameter, int32_t value);
void parameter_print(int parameter);
void store_defaults(void);
bool store_load(void);
unsigned store_save(void); // its serial number
void store_damage(void);   // a bit of the newest copy falls
void store_print(void);

//===- shell.c ------------------------------------------------------------===//

void shell_run(void); // a task: reads what has come

//===- main.c -------------------------------------------------------------===//

void node_stat(void);
void node_restart(void); // what depends on parameters
bool node_check(void);
int node_run(void); // 0, or 1 where a check has failed

#endif

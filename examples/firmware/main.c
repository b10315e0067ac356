// SPDX-License-Identifier: Apache-2.0
//
// The node: what its tasks do, and a script of commands in place of somebody at
// a terminal. Time is simulated, too: where a device would wait for its clock,
// the next tick follows at once, so that a transcript is the same everywhere.

#include "board.h"
#include "node.h"

enum { LAST_TICK = 6000, CONTROL_PERIOD = 10, MOST_MISSED = 150 };

static const struct {
  uint16_t tick;
  const char *text;
} script[] = {
    {5, "help\n"},
    {10, "get\nload\n"},
    {20, "set target 4500\nset kq 1\nset kp 99999\nset ki two\nset\n"},
    {30, "crc 123456789\ncrc x\bWq\b\b123456789\nreboot\n\n"},
    {40, "set node 0x2a\nget node\nget nodes\nset report -1\n"},
    {50, "a line that is longer than what there is room for\nstat\n"},
    {100, "save\nstat store\n"},
    {700, "stat\n"},
    {1500, "stat\nstat tasks\nlog\n"},
    {2000, "door open\nset kp 200\nset ki 8\nsave\n"},
    {2300, "stat\ndoor close\ndoor ajar\nlog -1\n"},
    {2800, "stat\ndamage\nload\nget kp\nstat store\n"},
    {3000, "save\nsave\nsave\nsave\nsave\nsave\nsave\nstat store\n"},
    {3200, "log clear\nload defaults\nget target\nload\nlog 3\n"},
    {3500, "set target 6000\nset report 250\n"},
    {3600, "help help help help help help help help help help help help help "
           "help help help help help help help help help help help help help "
           "help help help help\n"},
    {3601, "\nstat\n"},
    {4500, "stat\nset target 3000\nset report 1000\n"},
    {5900, "stat tasks\nstat store\nlog 5\nstat\ncheck\n"},
};

static struct median median;
// A Butterworth low pass at a twentieth of the rate of samples.
static struct biquad low_pass = {
    .b0 = 329, .b1 = 658, .b2 = 329, .a1 = -25576, .a2 = 10508};
static struct pid pid;
static struct receiver receiver;
static struct timer control_timer, report_timer;

static int32_t measured, power;
static unsigned spikes, frames, missed;

static void control_run(void) {
  int32_t sensed = plant_sense();
  int32_t middle = median_step(&median, sensed);
  if (sensed - middle > 1000) {
    spikes++;
    log_event(EVENT_SPIKE, sensed - middle);
  }
  measured = biquad_step(&low_pass, middle);
  power = pid_step(&pid, parameter(P_TARGET), measured);
  plant_step(power);
  int32_t error = parameter(P_TARGET) - measured;
  missed += error > MOST_MISSED || error < -MOST_MISSED;
}

static uint8_t *put_word(uint8_t *out, uint32_t word) {
  for (int i = 0; i < 4; i++, word >>= 8)
    *out++ = (uint8_t)word;
  return out;
}

// Sends a frame through a line that damages every fifth, and listens at its
// other end.
static void report_run(void) {
  uint8_t payload[FRAME_PAYLOAD], sent[FRAME_SIZE];
  uint8_t *end = payload;
  *end++ = (uint8_t)parameter(P_NODE);
  end = put_word(end, schedule_now());
  end = put_word(end, (uint32_t)measured);
  end = put_word(end, (uint32_t)parameter(P_TARGET));
  end = put_word(end, (uint32_t)power);
  size_t count = frame_encode(payload, (size_t)(end - payload), sent);
  if (++frames % 5 == 0)
    sent[frames % count] ^= 0x10;

  print("frame ");
  print_hex(sent, count);
  int length = -1;
  for (size_t i = 0; i < count; i++) {
    length = frame_receive(&receiver, sent[i]);
    if (length >= 0)
      break;
  }
  if (length == end - payload &&
      memcmp(receiver.payload, payload, (size_t)length) == 0) {
    print(" arrived\n");
  } else {
    print(" was damaged\n");
    log_event(EVENT_LINK, (int32_t)receiver.damaged);
  }
}

void node_stat(void) {
  uint32_t now = schedule_now();
  print("up %u.%02u s, %q of %q degrees, power %d.%d%%\n", now / TICKS_A_SECOND,
        now % TICKS_A_SECOND, measured, parameter(P_TARGET), power / 10,
        power % 10);
  print("%u spikes, %u frames, %u good, %u damaged, %u bytes lost\n", spikes,
        frames, receiver.good, receiver.damaged, uart_lost());
}

void node_restart(void) {
  pid.kp = parameter(P_KP);
  pid.ki = parameter(P_KI);
  pid.kd = parameter(P_KD);
  uint32_t period = (uint32_t)parameter(P_REPORT);
  if (report_timer.period != period)
    timer_start(&report_timer, period, period, task_post, TASK_REPORT);
}

// What does not depend on the run, and then what the run has come to.
bool node_check(void) {
  static uint8_t bytes[300], coded[304], decoded[304];
  bool good = crc16((const uint8_t *)"123456789", 9) == 0x29b1;
  for (size_t count = 0; count <= sizeof bytes; count += 1 + count / 8) {
    for (size_t i = 0; i < count; i++)
      bytes[i] = (uint8_t)(i % 7 == 3 && i < 40 ? 0 : i | 1);
    size_t length = cobs_encode(bytes, count, coded);
    for (size_t i = 0; i < length; i++)
      good &= coded[i] != 0;
    good &= cobs_decode(coded, length, decoded) == (int)count;
    good &= memcmp(decoded, bytes, count) == 0;
  }
  memmove(bytes + 1, bytes, 100);
  good &= bytes[0] == bytes[1] && memcmp(bytes + 1, decoded, 100) == 0;
  memmove(bytes, bytes + 1, 100);
  good &= memcmp(bytes, decoded, 100) == 0;

  int32_t error = measured - parameter(P_TARGET);
  good &= error > -MOST_MISSED && error < MOST_MISSED;
  good &= receiver.good + receiver.damaged == frames;
  return good;
}

static void type_script(void) {
  static size_t next;
  for (; next < COUNT(script) && script[next].tick == schedule_now(); next++) {
    for (const char *c = script[next].text; *c; c++)
      uart_receive((uint8_t)*c);
    task_post(TASK_SHELL);
  }
}

int node_run(void) {
  board_open();
  schedule_start();
  store_defaults();
  print("node %d, %d parameters, %s\n", parameter(P_NODE), P_COUNT,
        store_load() ? "loaded" : "none saved");
  log_event(EVENT_BOOT, -1);

  measured = plant_sense();
  median_start(&median, measured);
  biquad_start(&low_pass, measured);
  pid.last = measured;
  task_define(TASK_CONTROL, "control", control_run);
  task_define(TASK_SHELL, "shell", shell_run);
  task_define(TASK_REPORT, "report", report_run);
  timer_start(&control_timer, CONTROL_PERIOD, CONTROL_PERIOD, task_post,
              TASK_CONTROL);
  node_restart();

  while (schedule_now() < LAST_TICK) {
    schedule_tick();
    type_script();
    uart_poll();
  }
  bool good = node_check();
  print("%u steps were off the target\n%s\n", missed, good ? "ok" : "FAILED");
  uart_flush();
  return !good;
}

// SPDX-License-Identifier: Apache-2.0
//
// The controller, and in place of hardware a heater in a box with a door: what
// it is given comes late, and what it loses grows with its temperature.

#include "node.h"

enum {
  POWER_MOST = 1000,
  OUTSIDE = 2000,
  DELAY = 6, // steps until the sensor feels the heater
  WILD_VALUE = 15000
};

static int32_t clamp(int32_t value, int32_t least, int32_t most) {
  return value < least ? least : value > most ? most : value;
}

// The integral takes no more than the output can follow, so that it does not
// wind up; the derivative is that of the measurement, which a new target does
// not jerk.
int32_t pid_step(struct pid *pid, int32_t target, int32_t measured) {
  int32_t error = target - measured;
  int32_t change = measured - pid->last;
  int32_t proportional = pid->kp * error;
  int32_t output = clamp(proportional + pid->integral + pid->ki * error, 0,
                         POWER_MOST * 256);
  pid->integral = output - proportional;
  pid->last = measured;
  return clamp((output - pid->kd * change) >> 8, 0, POWER_MOST);
}

static int32_t temperature = OUTSIDE * 256; // 1.0 is 256
static int32_t delayed[DELAY];
static unsigned step;
static bool door_open;
static uint32_t noise = 0xace1;

void plant_step(int32_t power) {
  int32_t *slot = &delayed[step++ % DELAY];
  int32_t felt = *slot;
  *slot = power;
  int32_t above = temperature - OUTSIDE * 256;
  temperature += felt * 24 - (above >> 6) * (door_open ? 2 : 1);
}

void plant_open_door(bool open) { door_open = open; }

static uint32_t random_bits(void) { // xorshift32
  noise ^= noise << 13;
  noise ^= noise >> 17;
  noise ^= noise << 5;
  return noise;
}

int32_t plant_sense(void) {
  uint32_t bits = random_bits();
  if (bits % 61 == 0)
    return WILD_VALUE;
  return (temperature >> 8) + (int32_t)(bits >> 8 & 15) - 8;
}

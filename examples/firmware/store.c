// SPDX-License-Identifier: Apache-2.0
//
// Parameters, and copies of them in flash, which erases a sector to ones and
// then takes ones away. Copies are written one after the other and known by
// serial numbers, so that sectors wear alike and there is always an older copy
// where the newest one was cut off.

#include "node.h"

enum {
  SECTOR = 128,
  SECTORS = 2,
  SLOT = 32,
  SLOTS = SECTORS * SECTOR / SLOT,
  MAGIC = 0x50,
  HEADER = 4,
  CRC_AT = HEADER + 4 * P_COUNT
};

static const struct {
  const char *name;
  int32_t initial, least, most;
} definitions[P_COUNT] = {
    [P_TARGET] = {"target", 2500, 1000, 9000},
    [P_KP] = {"kp", 160, 0, 4096},
    [P_KI] = {"ki", 5, 0, 1024},
    [P_KD] = {"kd", 100, 0, 4096},
    [P_REPORT] = {"report", 400, 50, 10000},
    [P_NODE] = {"node", 17, 1, 250},
};

static int32_t values[P_COUNT];
static uint8_t flash[SECTORS * SECTOR];
static unsigned erased[SECTORS]; // how many times
static int newest = -1;          // a slot
static uint16_t serial;

int32_t parameter(enum parameter parameter) { return values[parameter]; }

int parameter_find(const char *name) {
  for (int i = 0; i < P_COUNT; i++)
    if (strcmp(definitions[i].name, name) == 0)
      return i;
  return -1;
}

enum set_result parameter_set(int parameter, int32_t value) {
  if (parameter < 0 || parameter >= P_COUNT)
    return SET_UNKNOWN;
  if (value < definitions[parameter].least ||
      value > definitions[parameter].most)
    return SET_RANGE;
  values[parameter] = value;
  return SET_OK;
}

void parameter_print(int parameter) {
  print("%-7s %6d (%d to %d)\n", definitions[parameter].name, values[parameter],
        definitions[parameter].least, definitions[parameter].most);
}

void store_defaults(void) {
  for (int i = 0; i < P_COUNT; i++)
    values[i] = definitions[i].initial;
}

static void flash_erase(unsigned sector) {
  memset(flash + sector * SECTOR, 0xff, SECTOR);
  erased[sector]++;
}

static void flash_program(unsigned slot, const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; i++)
    flash[slot * SLOT + i] &= bytes[i];
}

static bool is_good(unsigned slot) {
  const uint8_t *copy = flash + slot * SLOT;
  return copy[0] == MAGIC && copy[1] == P_COUNT && crc16(copy, CRC_AT + 2) == 0;
}

bool store_load(void) {
  newest = -1;
  for (unsigned slot = 0; slot < SLOTS; slot++) {
    const uint8_t *copy = flash + slot * SLOT;
    uint16_t number = (uint16_t)(copy[2] | copy[3] << 8);
    if (!is_good(slot) || (newest >= 0 && (int16_t)(number - serial) < 0))
      continue;
    newest = (int)slot;
    serial = number;
  }
  if (newest < 0)
    return false;
  const uint8_t *at = flash + newest * SLOT + HEADER;
  for (int i = 0; i < P_COUNT; i++, at += 4) {
    uint32_t value = at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                     (uint32_t)at[3] << 24;
    if (parameter_set(i, (int32_t)value) != SET_OK)
      values[i] = definitions[i].initial;
  }
  return true;
}

unsigned store_save(void) {
  uint8_t copy[CRC_AT + 2] = {MAGIC, P_COUNT};
  serial++;
  copy[2] = (uint8_t)serial;
  copy[3] = (uint8_t)(serial >> 8);
  for (int i = 0; i < 4 * P_COUNT; i++)
    copy[HEADER + i] = (uint8_t)((uint32_t)values[i / 4] >> i % 4 * 8);
  uint16_t crc = crc16(copy, CRC_AT);
  copy[CRC_AT] = (uint8_t)(crc >> 8);
  copy[CRC_AT + 1] = (uint8_t)crc;

  // A slot that was cut off or damaged cannot take a copy: try the next.
  unsigned slot = newest < 0 ? SLOTS - 1 : (unsigned)newest;
  do {
    slot = (slot + 1) % SLOTS;
    if (slot % (SECTOR / SLOT) == 0)
      flash_erase(slot * SLOT / SECTOR);
    flash_program(slot, copy, sizeof copy);
  } while (memcmp(flash + slot * SLOT, copy, sizeof copy) != 0);
  newest = (int)slot;
  return serial;
}

void store_damage(void) {
  if (newest < 0)
    return;
  uint8_t *byte = flash + newest * SLOT + CRC_AT;
  *byte &= (uint8_t)(*byte - 1);
}

void store_print(void) {
  print("slot %d, serial %u, erased", newest, serial);
  for (int i = 0; i < SECTORS; i++)
    print(" %u", erased[i]);
  print("\n");
}

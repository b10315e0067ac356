// SPDX-License-Identifier: Apache-2.0
//
// The command shell: lines from the UART, split into words.

#include "node.h"

enum { LINE = 40, MOST_WORDS = 4 };

static char line[LINE];
static size_t length;
static bool is_long;

// Decimal or, after 0x, hexadecimal; false where it is not a number of 32 bits.
static bool read_number(const char *text, int32_t *number) {
  bool negative = *text == '-';
  text += negative;
  uint32_t base = 10, value = 0;
  if (text[0] == '0' && text[1] == 'x') {
    base = 16;
    text += 2;
  }
  if (!*text)
    return false;
  for (; *text; text++) {
    uint32_t digit = (uint8_t)*text - (uint32_t)'0';
    if (*text >= 'a' && *text <= 'f')
      digit = (uint8_t)*text - (uint32_t)'a' + 10;
    if (digit >= base || value > (INT32_MAX - digit) / base)
      return false;
    value = value * base + digit;
  }
  *number = negative ? -(int32_t)value : (int32_t)value;
  return true;
}

static bool get(int count, char **words) {
  if (count == 1) {
    for (int i = 0; i < P_COUNT; i++)
      parameter_print(i);
    return true;
  }
  if (count != 2)
    return false;
  int found = parameter_find(words[1]);
  if (found < 0)
    print("no parameter %s\n", words[1]);
  else
    parameter_print(found);
  return true;
}

static bool set(int count, char **words) {
  int32_t value;
  if (count != 3 || !read_number(words[2], &value))
    return false;
  int found = parameter_find(words[1]);
  switch (parameter_set(found, value)) {
  case SET_UNKNOWN:
    print("no parameter %s\n", words[1]);
    break;
  case SET_RANGE:
    print("out of range: ");
    parameter_print(found);
    break;
  case SET_OK:
    log_event(found == P_TARGET ? EVENT_TARGET : EVENT_SET, value);
    node_restart();
  }
  return true;
}

static bool save(int count, char **words) {
  (void)words;
  if (count != 1)
    return false;
  unsigned serial = store_save();
  log_event(EVENT_SAVE, (int32_t)serial);
  print("saved as %u\n", serial);
  return true;
}

static bool load(int count, char **words) {
  if (count == 2 && strcmp(words[1], "defaults") == 0)
    store_defaults();
  else if (count != 1)
    return false;
  else if (!store_load())
    print("nothing is saved\n");
  node_restart();
  return true;
}

static bool log_command(int count, char **words) {
  int32_t most = (int32_t)log_count();
  if (count == 2 && strcmp(words[1], "clear") == 0) {
    log_clear();
    return true;
  }
  if (count == 2 && (!read_number(words[1], &most) || most < 0))
    return false;
  log_print((unsigned)most);
  print("%u events in %u bytes, %u dropped\n", log_count(), log_bytes(),
        log_dropped());
  return true;
}

static bool stat(int count, char **words) {
  if (count == 1)
    node_stat();
  else if (strcmp(words[1], "tasks") == 0)
    schedule_print();
  else if (strcmp(words[1], "store") == 0)
    store_print();
  else
    return false;
  return true;
}

static bool door(int count, char **words) {
  if (count != 2)
    return false;
  bool open = strcmp(words[1], "open") == 0;
  if (!open && strcmp(words[1], "close") != 0)
    return false;
  plant_open_door(open);
  log_event(EVENT_DOOR, open);
  return true;
}

static bool crc(int count, char **words) {
  if (count != 2)
    return false;
  print("%04x\n", crc16((const uint8_t *)words[1], strlen(words[1])));
  return true;
}

static bool damage(int count, char **words) {
  (void)words;
  store_damage();
  return count == 1;
}

static bool check(int count, char **words) {
  (void)words;
  print(node_check() ? "all is well\n" : "FAILED\n");
  return count == 1;
}

static bool help(int count, char **words);

static const struct {
  const char *name;
  bool (*run)(int count, char **words); // false where it was not as `usage`
  const char *usage;
} commands[] = {
    {"help", help, ""},
    {"get", get, "[parameter]"},
    {"set", set, "parameter number"},
    {"save", save, ""},
    {"load", load, "[defaults]"},
    {"log", log_command, "[most | clear]"},
    {"stat", stat, "[tasks | store]"},
    {"door", door, "open | close"},
    {"crc", crc, "text"},
    {"damage", damage, ""},
    {"check", check, ""},
};

static bool help(int count, char **words) {
  (void)count, (void)words;
  for (size_t i = 0; i < COUNT(commands); i++)
    print("%-7s%s\n", commands[i].name, commands[i].usage);
  return true;
}

// Splits in place. MOST_WORDS is one more than any command takes.
static int split(char *text, char **words) {
  int count = 0;
  while (*text && count < MOST_WORDS) {
    while (*text == ' ')
      *text++ = '\0';
    if (*text)
      words[count++] = text;
    while (*text && *text != ' ')
      text++;
  }
  return count;
}

static void run_line(void) {
  uint32_t now = schedule_now();
  print("[%3u.%02u] %s\n", now / TICKS_A_SECOND, now % TICKS_A_SECOND, line);
  char *words[MOST_WORDS];
  int count = split(line, words);
  if (count == 0)
    return;
  for (size_t i = 0; i < COUNT(commands); i++)
    if (strcmp(commands[i].name, words[0]) == 0) {
      if (!commands[i].run(count, words))
        print("usage: %s %s\n", commands[i].name, commands[i].usage);
      return;
    }
  print("no command %s\n", words[0]);
}

void shell_run(void) {
  for (int byte; (byte = uart_read()) >= 0;) {
    if (byte == '\n') {
      line[length] = '\0';
      length = 0;
      if (is_long)
        print("that line is too long\n");
      else
        run_line();
      is_long = false;
    } else if (byte == '\b') {
      length -= length > 0;
    } else if (length < LINE - 1) {
      line[length++] = (char)byte;
    } else {
      is_long = true;
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
//
// A small printf, to the UART.

#include <stdarg.h>

#include "node.h"

enum { MOST_DIGITS = 12 };

struct field {
  unsigned width;
  bool zeros, left;
};

static void put(char c) { uart_write((uint8_t)c); }

static void pad(const struct field *field, size_t length, char with) {
  for (size_t i = length; i < field->width; i++)
    put(with);
}

static void put_text(const struct field *field, const char *text) {
  size_t length = strlen(text);
  if (!field->left)
    pad(field, length, ' ');
  for (size_t i = 0; i < length; i++)
    put(text[i]);
  if (field->left)
    pad(field, length, ' ');
}

// Digits are made from the last to the first; `point` of them come after one.
static void put_number(struct field *field, uint32_t value, bool negative,
                       unsigned base, unsigned point) {
  char text[MOST_DIGITS + 2];
  char *first = text + sizeof text - 1;
  *first = '\0';
  unsigned made = 0;
  do {
    *--first = "0123456789abcdef"[value % base];
    value /= base;
    if (++made == point)
      *--first = '.';
  } while (value > 0 || made < point + 1);
  if (negative && field->zeros && field->width > 0) {
    put('-');
    field->width--;
  } else if (negative) {
    *--first = '-';
  }
  if (field->zeros) {
    pad(field, strlen(first), '0');
    field->width = 0;
  }
  put_text(field, first);
}

static void put_signed(struct field *field, int value, unsigned point) {
  uint32_t size = value < 0 ? -(uint32_t)value : (uint32_t)value;
  put_number(field, size, value < 0, 10, point);
}

// Reads the flags and the width; the character after them.
static const char *read_field(const char *format, struct field *field) {
  *field = (struct field){0};
  for (;; format++)
    if (*format == '-')
      field->left = true;
    else if (*format == '0')
      field->zeros = true;
    else
      break;
  while (*format >= '0' && *format <= '9')
    field->width = field->width * 10 + (unsigned)(*format++ - '0');
  return format;
}

void print(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  for (; *format; format++) {
    if (*format != '%') {
      put(*format);
      continue;
    }
    struct field field;
    format = read_field(format + 1, &field);
    switch (*format) {
    case 'd':
      put_signed(&field, va_arg(arguments, int), 0);
      break;
    case 'q':
      put_signed(&field, va_arg(arguments, int), 2);
      break;
    case 'u':
      put_number(&field, va_arg(arguments, unsigned), false, 10, 0);
      break;
    case 'x':
      put_number(&field, va_arg(arguments, unsigned), false, 16, 0);
      break;
    case 'c':
      put((char)va_arg(arguments, int));
      break;
    case 's':
      put_text(&field, va_arg(arguments, const char *));
      break;
    default:
      put(*format);
    }
  }
  va_end(arguments);
}

void print_hex(const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; i++)
    print("%02x", bytes[i]);
}

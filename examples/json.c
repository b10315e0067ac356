// SPDX-License-Identifier: Apache-2.0
//
// A strict RFC 8259 JSON reader and writer. Values live in an arena that the
// document owns; errors carry the line and column where parsing stopped.

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

static void *checked_realloc(void *ptr, size_t size) {
  void *result = realloc(ptr, size);
  if (!result) {
    fputs("out of memory\n", stderr);
    exit(1);
  }
  return result;
}

//===- Arena --------------------------------------------------------------===//

struct arena_block {
  struct arena_block *next;
  size_t used;
  size_t capacity;
  max_align_t data[];
};

struct arena {
  struct arena_block *blocks;
};

static void *arena_alloc(struct arena *arena, size_t size) {
  const size_t alignment = _Alignof(max_align_t);
  size = (size + alignment - 1) / alignment * alignment;

  struct arena_block *block = arena->blocks;
  if (!block || block->capacity - block->used < size) {
    size_t capacity = size > 4000 ? size : 4000;
    block = checked_realloc(NULL, sizeof *block + capacity);
    block->next = arena->blocks;
    block->used = 0;
    block->capacity = capacity;
    arena->blocks = block;
  }
  void *result = (char *)block->data + block->used;
  block->used += size;
  return result;
}

static void arena_free(struct arena *arena) {
  while (arena->blocks) {
    struct arena_block *next = arena->blocks->next;
    free(arena->blocks);
    arena->blocks = next;
  }
}

//===- Values -------------------------------------------------------------===//

enum json_type {
  JSON_NULL,
  JSON_FALSE,
  JSON_TRUE,
  JSON_NUMBER,
  JSON_STRING,
  JSON_ARRAY,
  JSON_OBJECT,
};

static const char *const keywords[] = {"null", "false", "true"};

struct json_string {
  const char *bytes; // may hold NUL bytes, so the length counts
  size_t length;
};

// Members of an array or object form a singly linked list in source order.
struct json_value {
  enum json_type type;
  struct json_string key; // only inside an object
  struct json_value *next;
  union {
    double number;
    struct json_string string;
    struct {
      struct json_value *first;
      size_t count;
    } members;
  } u;
};

//===- Parser -------------------------------------------------------------===//

struct parser {
  struct arena *arena;
  const char *start;
  const char *cursor;
  const char *end;
  const char *error; // the first error, or NULL
  const char *error_at;
  int depth;
};

static bool fail(struct parser *p, const char *message) {
  if (!p->error) {
    p->error = message;
    p->error_at = p->cursor;
  }
  return false;
}

// Returns -1 at the end, which no byte of the text can be confused with.
static int peek(const struct parser *p) {
  return p->cursor < p->end ? (unsigned char)*p->cursor : -1;
}

static void skip_space(struct parser *p) {
  while (peek(p) == ' ' || peek(p) == '\n' || peek(p) == '\t' ||
         peek(p) == '\r')
    p->cursor++;
}

static bool is_digit(int c) { return c >= '0' && c <= '9'; }

static bool parse_keyword(struct parser *p, struct json_value *value,
                          enum json_type type) {
  size_t length = strlen(keywords[type]);
  if ((size_t)(p->end - p->cursor) < length ||
      memcmp(p->cursor, keywords[type], length) != 0)
    return fail(p, "unknown keyword");
  p->cursor += length;
  value->type = type;
  return true;
}

static bool skip_digits(struct parser *p) {
  const char *start = p->cursor;
  while (is_digit(peek(p)))
    p->cursor++;
  return p->cursor > start || fail(p, "expected a digit");
}

// strtod() accepts far more than JSON does, so the grammar is checked first
// and strtod() only converts what passed.
static bool parse_number(struct parser *p, double *number) {
  char text[64];
  const char *start = p->cursor;
  if (peek(p) == '-')
    p->cursor++;
  if (peek(p) == '0')
    p->cursor++;
  else if (!skip_digits(p))
    return false;
  if (is_digit(peek(p)))
    return fail(p, "leading zero in a number");
  if (peek(p) == '.') {
    p->cursor++;
    if (!skip_digits(p))
      return false;
  }
  if (peek(p) == 'e' || peek(p) == 'E') {
    p->cursor++;
    if (peek(p) == '+' || peek(p) == '-')
      p->cursor++;
    if (!skip_digits(p))
      return false;
  }

  size_t length = (size_t)(p->cursor - start);
  if (length >= sizeof text)
    return fail(p, "number too long");
  memcpy(text, start, length);
  text[length] = '\0';
  *number = strtod(text, NULL);
  return isfinite(*number) || fail(p, "number out of range");
}

static bool parse_hex4(struct parser *p, uint32_t *unit) {
  *unit = 0;
  for (int i = 0; i < 4; i++) {
    int c = peek(p);
    if (is_digit(c))
      c -= '0';
    else if (c >= 'a' && c <= 'f')
      c -= 'a' - 10;
    else if (c >= 'A' && c <= 'F')
      c -= 'A' - 10;
    else
      return fail(p, "expected four hex digits");
    *unit = *unit * 16 + (uint32_t)c;
    p->cursor++;
  }
  return true;
}

static char *encode_utf8(char *out, uint32_t code) {
  if (code < 0x80) {
    *out++ = (char)code;
    return out;
  }
  if (code < 0x800) {
    *out++ = (char)(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      *out++ = (char)(0xE0 | code >> 12);
    } else {
      *out++ = (char)(0xF0 | code >> 18);
      *out++ = (char)(0x80 | (code >> 12 & 0x3F));
    }
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
  }
  *out++ = (char)(0x80 | (code & 0x3F));
  return out;
}

static bool parse_unicode_escape(struct parser *p, char **out) {
  uint32_t code, low;
  if (!parse_hex4(p, &code))
    return false;
  if (code >= 0xDC00 && code < 0xE000)
    return fail(p, "lone low surrogate");
  if (code >= 0xD800 && code < 0xDC00) {
    if (p->end - p->cursor < 2 || p->cursor[0] != '\\' || p->cursor[1] != 'u')
      return fail(p, "lone high surrogate");
    p->cursor += 2;
    if (!parse_hex4(p, &low))
      return false;
    if (low < 0xDC00 || low >= 0xE000)
      return fail(p, "bad surrogate pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  *out = encode_utf8(*out, code);
  return true;
}

static bool parse_string(struct parser *p, struct json_string *string) {
  if (peek(p) != '"')
    return fail(p, "expected a string");
  p->cursor++;

  // No escape grows when decoded, so the source length bounds the result.
  const char *close = p->cursor;
  while (close < p->end && *close != '"')
    close += *close == '\\' && close + 1 < p->end ? 2 : 1;
  char *bytes = arena_alloc(p->arena, (size_t)(close - p->cursor) + 1);
  char *out = bytes;

  while (peek(p) != '"') {
    int c = peek(p);
    if (c < 0)
      return fail(p, "unterminated string");
    if (c < 0x20)
      return fail(p, "control character in a string");
    p->cursor++;
    if (c != '\\') {
      *out++ = (char)c;
      continue;
    }
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    c = peek(p);
    const char *escape = c > 0 ? strchr(escapes, c) : NULL;
    if (escape) {
      p->cursor++;
      *out++ = meanings[escape - escapes];
    } else if (c == 'u') {
      p->cursor++;
      if (!parse_unicode_escape(p, &out))
        return false;
    } else {
      return fail(p, "unknown escape");
    }
  }
  p->cursor++;
  *string = (struct json_string){bytes, (size_t)(out - bytes)};
  return true;
}

static struct json_value *parse_value(struct parser *p);

static bool parse_members(struct parser *p, struct json_value *parent) {
  bool is_object = parent->type == JSON_OBJECT;
  int close = is_object ? '}' : ']';
  struct json_value **tail = &parent->u.members.first;
  parent->u.members.first = NULL;
  parent->u.members.count = 0;

  if (p->depth == MAX_DEPTH)
    return fail(p, "nested too deeply");
  p->depth++;
  p->cursor++;
  skip_space(p);
  if (peek(p) != close) {
    for (;;) {
      struct json_string key = {NULL, 0};
      skip_space(p);
      if (is_object) {
        if (!parse_string(p, &key))
          return false;
        skip_space(p);
        if (peek(p) != ':')
          return fail(p, "expected ':'");
        p->cursor++;
      }
      struct json_value *member = parse_value(p);
      if (!member)
        return false;
      member->key = key;
      *tail = member;
      tail = &member->next;
      parent->u.members.count++;
      if (peek(p) != ',')
        break;
      p->cursor++;
    }
    if (peek(p) != close)
      return fail(p, is_object ? "expected ',' or '}'" : "expected ',' or ']'");
  }
  p->cursor++;
  p->depth--;
  return true;
}

static bool parse_payload(struct parser *p, struct json_value *value) {
  switch (peek(p)) {
  case 'n':
    return parse_keyword(p, value, JSON_NULL);
  case 'f':
    return parse_keyword(p, value, JSON_FALSE);
  case 't':
    return parse_keyword(p, value, JSON_TRUE);
  case '"':
    value->type = JSON_STRING;
    return parse_string(p, &value->u.string);
  case '[':
  case '{':
    value->type = peek(p) == '[' ? JSON_ARRAY : JSON_OBJECT;
    return parse_members(p, value);
  default:
    if (peek(p) != '-' && !is_digit(peek(p)))
      return fail(p, "expected a value");
    value->type = JSON_NUMBER;
    return parse_number(p, &value->u.number);
  }
}

// Also skips the space on both sides of the value.
static struct json_value *parse_value(struct parser *p) {
  struct json_value *value = arena_alloc(p->arena, sizeof *value);
  *value = (struct json_value){.type = JSON_NULL};
  skip_space(p);
  if (!parse_payload(p, value))
    return NULL;
  skip_space(p);
  return value;
}

struct json_error {
  const char *message;
  int line;
  int column;
};

static struct json_value *json_parse(struct arena *arena, const char *text,
                                     size_t length, struct json_error *error) {
  struct parser p = {
      .arena = arena, .start = text, .cursor = text, .end = text + length};
  struct json_value *root = parse_value(&p);
  if (root && p.cursor < p.end) {
    fail(&p, "text after the value");
    root = NULL;
  }
  if (!root) {
    error->message = p.error;
    error->line = 1;
    error->column = 1;
    for (const char *c = p.start; c < p.error_at; c++) {
      error->column++;
      if (*c == '\n') {
        error->line++;
        error->column = 1;
      }
    }
  }
  return root;
}

//===- Printer ------------------------------------------------------------===//

struct writer {
  char *text;
  size_t length;
  size_t capacity;
  int indent; // spaces per level, or 0 for a compact line
};

static void write_bytes(struct writer *w, const char *bytes, size_t size) {
  if (w->capacity - w->length <= size) {
    w->capacity = (w->capacity + size) * 2;
    w->text = checked_realloc(w->text, w->capacity);
  }
  memcpy(w->text + w->length, bytes, size);
  w->length += size;
  w->text[w->length] = '\0';
}

static void write_text(struct writer *w, const char *text) {
  write_bytes(w, text, strlen(text));
}

static void write_newline(struct writer *w, int depth) {
  if (w->indent == 0)
    return;
  write_text(w, "\n");
  for (int i = 0; i < w->indent * depth; i++)
    write_text(w, " ");
}

static void write_string(struct writer *w, struct json_string string) {
  write_text(w, "\"");
  for (size_t i = 0; i < string.length; i++) {
    unsigned char c = (unsigned char)string.bytes[i];
    char escape[8] = {'\\', (char)c};
    if (c == '\n')
      escape[1] = 'n';
    else if (c < 0x20)
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned)c);
    if (c < 0x20 || c == '"' || c == '\\')
      write_text(w, escape);
    else
      write_bytes(w, &string.bytes[i], 1);
  }
  write_text(w, "\"");
}

// Prints the fewest digits that read back as the same number.
static void write_number(struct writer *w, double number) {
  char text[32];
  for (int precision = 15; precision <= 17; precision++) {
    snprintf(text, sizeof text, "%.*g", precision, number);
    if (strtod(text, NULL) == number)
      break;
  }
  write_text(w, text);
}

static void write_value(struct writer *w, const struct json_value *value,
                        int depth) {
  if (value->type == JSON_NUMBER) {
    write_number(w, value->u.number);
  } else if (value->type == JSON_STRING) {
    write_string(w, value->u.string);
  } else if (value->type == JSON_ARRAY || value->type == JSON_OBJECT) {
    bool is_object = value->type == JSON_OBJECT;
    const struct json_value *first = value->u.members.first;
    write_text(w, is_object ? "{" : "[");
    for (const struct json_value *m = first; m; m = m->next) {
      if (m != first)
        write_text(w, ",");
      write_newline(w, depth + 1);
      if (is_object) {
        write_string(w, m->key);
        write_text(w, w->indent > 0 ? ": " : ":");
      }
      write_value(w, m, depth + 1);
    }
    if (first)
      write_newline(w, depth);
    write_text(w, is_object ? "}" : "]");
  } else {
    write_text(w, keywords[value->type]);
  }
}

static char *json_print(const struct json_value *value, int indent) {
  struct writer w = {.indent = indent};
  write_value(&w, value, 0);
  return w.text;
}

//===- Queries ------------------------------------------------------------===//

// Follows a path such as "servers.1.name": object keys and array indices.
static const struct json_value *json_find(const struct json_value *value,
                                          const char *path) {
  while (value && *path) {
    size_t length = strcspn(path, ".");
    const struct json_value *member = NULL;
    if (value->type == JSON_OBJECT) {
      member = value->u.members.first;
      while (member && (member->key.length != length ||
                        memcmp(member->key.bytes, path, length) != 0))
        member = member->next;
    } else if (value->type == JSON_ARRAY) {
      unsigned long index = strtoul(path, NULL, 10);
      member = value->u.members.first;
      while (member && index-- > 0)
        member = member->next;
    }
    value = member;
    path += length;
    if (*path == '.')
      path++;
  }
  return value;
}

//===- Demonstration ------------------------------------------------------===//

static const char document[] =
    "{ \"name\": \"edge \\\"A\\\"\", \"enabled\": true, \"parent\": null,\n"
    "  \"limits\": [0, -0.5, 1e3, 12345678901234, 0.1, 2.5E-7, 1.0e+22],\n"
    "  \"servers\": [\n"
    "    {\"name\": \"alpha\", \"ports\": [80, 443], \"tags\": {}},\n"
    "    {\"name\": \"b\\u00eata \\ud83d\\ude80\", \"ports\": [], "
    "\"tags\": {\"rack\": \"7\\tB\"}}\n"
    "  ],\n"
    "  \"notes\": \"line one\\nline two \\u0000 end\"\n"
    "}\n";

// clang-format off
static const char *const invalid[] = {
    "", "[1, 2", "[1 2]", "{\"a\" 1}", "{a: 1}", "[1,]", "tru", "[01]", "[1.]",
    "[2e]", "[-]", "[1e999]", "\"tab\there\"", "\"open", "\"\\x\"",
    "\"\\u12g4\"", "\"\\udc00\"", "\"\\ud800 \"", "\"\\ud800\\u0041\"",
    "{\n  \"a\": [true,\n    nil]\n}", "null null",
};
// clang-format on

static bool print_document(const struct json_value *root) {
  static const char *const paths[] = {"servers.1.name", "servers.0.ports.1",
                                      "servers.1.tags", "limits.6",
                                      "servers.2.name", "name.first"};
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    const struct json_value *found = json_find(root, paths[i]);
    char *text = found ? json_print(found, 0) : NULL;
    printf("%-18s %s\n", paths[i], text ? text : "(absent)");
    free(text);
  }

  char *pretty = json_print(root, 2);
  char *compact = json_print(root, 0);
  printf("%s\n%s\n", pretty, compact);

  struct arena arena = {NULL};
  struct json_error error;
  root = json_parse(&arena, pretty, strlen(pretty), &error);
  char *reprinted = root ? json_print(root, 0) : NULL;
  bool same = reprinted && strcmp(reprinted, compact) == 0;
  printf("round trip: %s\n", same ? "same" : "DIFFERENT");
  free(reprinted);
  free(compact);
  free(pretty);
  arena_free(&arena);
  return same;
}

int main(void) {
  struct arena arena = {NULL};
  struct json_error error;
  const struct json_value *root =
      json_parse(&arena, document, sizeof document - 1, &error);
  bool passed = root && print_document(root);

  for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++) {
    if (json_parse(&arena, invalid[i], strlen(invalid[i]), &error)) {
      printf("accepted by mistake: %s\n", invalid[i]);
      passed = false;
    } else {
      printf("invalid %zu: %d:%d: %s\n", i, error.line, error.column,
             error.message);
    }
  }

  char nested[2 * MAX_DEPTH + 3];
  for (int depth = MAX_DEPTH; depth <= MAX_DEPTH + 1; depth++) {
    memset(nested, '[', (size_t)depth);
    memset(nested + depth, ']', (size_t)depth);
    bool accepted = json_parse(&arena, nested, 2 * (size_t)depth, &error);
    printf("depth %d: %s\n", depth, accepted ? "accepted" : error.message);
    passed &= accepted == (depth <= MAX_DEPTH);
  }
  arena_free(&arena);
  return passed ? 0 : 1;
}

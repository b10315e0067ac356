// SPDX-License-Identifier: Apache-2.0
//
// A regular expression matcher. Patterns compile to a small instruction set
// that two engines run: a Pike VM, which advances all threads in lock step,
// and a backtracker that never visits the same (instruction, position) twice.
// Both are linear in the text and must agree on every capture.

#include <assert.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  MAX_NODES = 512,
  MAX_INSTRUCTIONS = 2048,
  MAX_GROUPS = 10,
  MAX_REPEAT = 100,
  MAX_TEXT = 255,
};

//===- Syntax tree --------------------------------------------------------===//

enum node_kind {
  NODE_EMPTY,
  NODE_SET,
  NODE_ASSERT,
  NODE_CONCAT,
  NODE_ALTERNATE,
  NODE_REPEAT,
  NODE_GROUP
};

struct byte_set {
  uint32_t bits[8];
};

struct node {
  enum node_kind kind;
  const struct node *left, *right;
  struct byte_set set;
  char assertion; // '^', '$', or 'b' for a word edge
  int min, max;   // max is -1 when unbounded
  bool lazy;
  int group;
};

static void set_add(struct byte_set *set, unsigned first, unsigned last) {
  for (unsigned c = first; c <= last; c++)
    set->bits[c / 32] |= UINT32_C(1) << c % 32;
}

static void set_invert(struct byte_set *set) {
  for (int i = 0; i < 8; i++)
    set->bits[i] = ~set->bits[i];
}

static bool set_has(const struct byte_set *set, unsigned char c) {
  return set->bits[c / 32] >> c % 32 & 1;
}

// Adds \d, \w, \s or the complement of one of them.
static bool set_add_class(struct byte_set *set, char letter) {
  struct byte_set class = {{0}};
  switch (letter | 0x20) {
  case 'd':
    set_add(&class, '0', '9');
    break;
  case 'w':
    set_add(&class, '0', '9');
    set_add(&class, 'A', 'Z');
    set_add(&class, 'a', 'z');
    set_add(&class, '_', '_');
    break;
  case 's':
    set_add(&class, '\t', '\r');
    set_add(&class, ' ', ' ');
    break;
  default:
    return false;
  }
  if (letter < 'a')
    set_invert(&class);
  for (int i = 0; i < 8; i++)
    set->bits[i] |= class.bits[i];
  return true;
}

//===- Parser and code generator ------------------------------------------===//

enum opcode { OP_SET, OP_ASSERT, OP_SAVE, OP_JUMP, OP_SPLIT, OP_MATCH };

struct instruction {
  enum opcode op;
  int target;      // jump, or the preferred branch of a split
  int alternative; // the other branch of a split
  int slot;        // of a save
  char assertion;
  struct byte_set set;
};

struct regex {
  struct instruction code[MAX_INSTRUCTIONS];
  int length;
  int groups;
};

struct compiler {
  const char *cursor;
  struct node nodes[MAX_NODES];
  int node_count;
  struct regex *regex;
  const char *error;
  jmp_buf on_error;
};

_Noreturn static void reject(struct compiler *c, const char *message) {
  c->error = message;
  longjmp(c->on_error, 1);
}

static struct node *new_node(struct compiler *c, enum node_kind kind,
                             const struct node *left,
                             const struct node *right) {
  if (c->node_count == MAX_NODES)
    reject(c, "pattern too long");
  struct node *node = &c->nodes[c->node_count++];
  *node = (struct node){.kind = kind, .left = left, .right = right};
  return node;
}

static unsigned parse_escape(struct compiler *c) {
  char letter = *c->cursor++;
  if (letter == '\0')
    reject(c, "trailing backslash");
  return letter == 'n' ? '\n' : letter == 't' ? '\t' : (unsigned char)letter;
}

static void parse_bracket(struct compiler *c, struct byte_set *set) {
  bool inverted = *c->cursor == '^';
  c->cursor += inverted;
  for (bool first_item = true; *c->cursor != ']' || first_item;
       first_item = false) {
    unsigned first = (unsigned char)*c->cursor++;
    if (first == '\0')
      reject(c, "missing ]");
    if (first == '\\') {
      if (set_add_class(set, *c->cursor)) {
        c->cursor++;
        continue;
      }
      first = parse_escape(c);
    }
    unsigned last = first;
    if (c->cursor[0] == '-' && c->cursor[1] != ']' && c->cursor[1] != '\0') {
      c->cursor++;
      last = (unsigned char)*c->cursor++;
      if (last == '\\')
        last = parse_escape(c);
      if (last < first)
        reject(c, "range out of order");
    }
    set_add(set, first, last);
  }
  c->cursor++;
  if (inverted)
    set_invert(set);
}

static const struct node *parse_alternatives(struct compiler *c);

static const struct node *new_group(struct compiler *c, const struct node *body,
                                    int group) {
  struct node *node = new_node(c, NODE_GROUP, body, NULL);
  node->group = group;
  return node;
}

static const struct node *parse_atom(struct compiler *c) {
  char first = *c->cursor++;
  struct node *node;
  if (first == '(') {
    bool capturing = strncmp(c->cursor, "?:", 2) != 0;
    int group = capturing ? c->regex->groups++ : 0;
    if (group >= MAX_GROUPS)
      reject(c, "too many groups");
    c->cursor += capturing ? 0 : 2;
    const struct node *body = parse_alternatives(c);
    if (*c->cursor++ != ')')
      reject(c, "missing )");
    return capturing ? new_group(c, body, group) : body;
  }
  if (first == '*' || first == '+' || first == '?' || first == '{')
    reject(c, "nothing to repeat");
  if (first == '^' || first == '$' || (first == '\\' && *c->cursor == 'b')) {
    node = new_node(c, NODE_ASSERT, NULL, NULL);
    node->assertion = first == '\\' ? 'b' : first;
    c->cursor += first == '\\';
    return node;
  }

  node = new_node(c, NODE_SET, NULL, NULL);
  if (first == '.') {
    set_add(&node->set, '\n', '\n');
    set_invert(&node->set);
  } else if (first == '[') {
    parse_bracket(c, &node->set);
  } else if (first == '\\' && set_add_class(&node->set, *c->cursor)) {
    c->cursor++;
  } else {
    unsigned byte = first == '\\' ? parse_escape(c) : (unsigned char)first;
    set_add(&node->set, byte, byte);
  }
  return node;
}

static int parse_count(struct compiler *c) {
  if (*c->cursor < '0' || *c->cursor > '9')
    reject(c, "bad repeat count");
  int count = 0;
  while (*c->cursor >= '0' && *c->cursor <= '9') {
    count = count * 10 + (*c->cursor++ - '0');
    if (count > MAX_REPEAT)
      reject(c, "repeat count too large");
  }
  return count;
}

static const struct node *parse_repeat(struct compiler *c) {
  const struct node *atom = parse_atom(c);
  while (*c->cursor != '\0' && strchr("*+?{", *c->cursor)) {
    struct node *repeat = new_node(c, NODE_REPEAT, atom, NULL);
    char symbol = *c->cursor++;
    repeat->min = symbol == '+';
    repeat->max = symbol == '?' ? 1 : -1;
    if (symbol == '{') {
      repeat->min = repeat->max = parse_count(c);
      if (*c->cursor == ',') {
        c->cursor++;
        repeat->max = *c->cursor == '}' ? -1 : parse_count(c);
      }
      if (*c->cursor++ != '}')
        reject(c, "missing }");
      if (repeat->max >= 0 && repeat->max < repeat->min)
        reject(c, "repeat counts out of order");
    }
    repeat->lazy = *c->cursor == '?';
    c->cursor += repeat->lazy;
    atom = repeat;
  }
  return atom;
}

static const struct node *parse_alternatives(struct compiler *c) {
  const struct node *sequence = new_node(c, NODE_EMPTY, NULL, NULL);
  while (*c->cursor != '\0' && *c->cursor != '|' && *c->cursor != ')') {
    const struct node *item = parse_repeat(c);
    sequence = new_node(c, NODE_CONCAT, sequence, item);
  }
  if (*c->cursor != '|')
    return sequence;
  c->cursor++;
  const struct node *rest = parse_alternatives(c);
  return new_node(c, NODE_ALTERNATE, sequence, rest);
}

static int emit(struct compiler *c, enum opcode op) {
  if (c->regex->length == MAX_INSTRUCTIONS)
    reject(c, "program too long");
  c->regex->code[c->regex->length] = (struct instruction){.op = op};
  return c->regex->length++;
}

// One branch of the split continues right behind it; set_exit() supplies the
// other. A greedy split prefers to continue, a lazy one prefers the exit.
static void set_exit(struct regex *regex, int split, bool lazy) {
  struct instruction *code = &regex->code[split];
  code->target = lazy ? regex->length : split + 1;
  code->alternative = lazy ? split + 1 : regex->length;
}

static void generate(struct compiler *c, const struct node *node) {
  struct regex *regex = c->regex;
  int split, jump;
  switch (node->kind) {
  case NODE_EMPTY:
    break;
  case NODE_SET:
    regex->code[emit(c, OP_SET)].set = node->set;
    break;
  case NODE_ASSERT:
    regex->code[emit(c, OP_ASSERT)].assertion = node->assertion;
    break;
  case NODE_CONCAT:
    generate(c, node->left);
    generate(c, node->right);
    break;
  case NODE_ALTERNATE:
    split = emit(c, OP_SPLIT);
    generate(c, node->left);
    jump = emit(c, OP_JUMP);
    set_exit(regex, split, false);
    generate(c, node->right);
    regex->code[jump].target = regex->length;
    break;
  case NODE_REPEAT:
    for (int i = 0; i < node->min; i++)
      generate(c, node->left);
    if (node->max < 0) {
      split = emit(c, OP_SPLIT);
      generate(c, node->left);
      regex->code[emit(c, OP_JUMP)].target = split;
      set_exit(regex, split, node->lazy);
    }
    for (int i = node->min; i < node->max; i++) {
      split = emit(c, OP_SPLIT);
      generate(c, node->left);
      set_exit(regex, split, node->lazy);
    }
    break;
  case NODE_GROUP:
    regex->code[emit(c, OP_SAVE)].slot = 2 * node->group;
    generate(c, node->left);
    regex->code[emit(c, OP_SAVE)].slot = 2 * node->group + 1;
    break;
  }
}

// Returns NULL, or the reason why the pattern is invalid.
static const char *regex_compile(struct regex *regex, const char *pattern) {
  struct compiler *c = calloc(1, sizeof *c);
  if (!c)
    return "out of memory";
  c->cursor = pattern;
  c->regex = regex;
  regex->length = 0;
  regex->groups = 1; // group 0 is the whole match

  if (setjmp(c->on_error) == 0) {
    const struct node *body = parse_alternatives(c);
    if (*c->cursor != '\0')
      reject(c, "unmatched )");
    generate(c, new_group(c, body, 0));
    emit(c, OP_MATCH);
  }
  const char *error = c->error;
  free(c);
  return error;
}

//===- Engines ------------------------------------------------------------===//

struct captures {
  int slots[2 * MAX_GROUPS]; // -1 where unset
};

struct subject {
  const struct regex *regex;
  const char *text;
  int length;
};

static bool is_word_at(const struct subject *s, int position) {
  struct byte_set word = {{0}};
  set_add_class(&word, 'w');
  return position >= 0 && position < s->length &&
         set_has(&word, (unsigned char)s->text[position]);
}

static bool holds(const struct subject *s, char assertion, int position) {
  if (assertion == '^')
    return position == 0;
  if (assertion == '$')
    return position == s->length;
  return is_word_at(s, position - 1) != is_word_at(s, position);
}

struct thread {
  int pc;
  struct captures captures;
};

struct thread_list {
  struct thread threads[MAX_INSTRUCTIONS];
  int count;
  int generation;
  int added_in[MAX_INSTRUCTIONS];
};

// Follows jumps until an instruction consumes a byte. Threads are added in
// order of preference, so the first thread to reach an instruction wins.
static void add_thread(const struct subject *s, struct thread_list *list,
                       int pc, int position, struct captures captures) {
  for (;;) {
    if (list->added_in[pc] == list->generation)
      return;
    list->added_in[pc] = list->generation;
    const struct instruction *code = &s->regex->code[pc];
    switch (code->op) {
    case OP_JUMP:
      pc = code->target;
      break;
    case OP_SPLIT:
      add_thread(s, list, code->target, position, captures);
      pc = code->alternative;
      break;
    case OP_SAVE:
      captures.slots[code->slot] = position;
      pc++;
      break;
    case OP_ASSERT:
      if (!holds(s, code->assertion, position))
        return;
      pc++;
      break;
    case OP_SET:
    case OP_MATCH:
      list->threads[list->count++] = (struct thread){pc, captures};
      return;
    }
  }
}

static bool pike_search(const struct subject *s, struct captures *result) {
  struct thread_list *lists = calloc(2, sizeof *lists);
  if (!lists)
    return false;
  struct captures unset;
  bool matched = false;
  memset(&unset, 0xFF, sizeof unset);

  lists[0].generation = 1;
  for (int position = 0; position <= s->length; position++) {
    struct thread_list *current = &lists[position % 2];
    struct thread_list *next = &lists[(position + 1) % 2];
    if (!matched)
      add_thread(s, current, 0, position, unset);
    if (matched && current->count == 0)
      break;
    next->count = 0;
    next->generation = position + 2;
    for (int i = 0; i < current->count; i++) {
      const struct thread *thread = &current->threads[i];
      const struct instruction *code = &s->regex->code[thread->pc];
      if (code->op == OP_MATCH) {
        *result = thread->captures;
        matched = true;
        break; // the threads behind this one are less preferred
      }
      if (position < s->length &&
          set_has(&code->set, (unsigned char)s->text[position]))
        add_thread(s, next, thread->pc + 1, position + 1, thread->captures);
    }
  }
  free(lists);
  return matched;
}

struct backtracker {
  const struct subject *subject;
  struct captures captures;
  uint8_t visited[MAX_INSTRUCTIONS][(MAX_TEXT + 8) / 8];
};

static bool backtrack(struct backtracker *b, int pc, int position) {
  const struct subject *s = b->subject;
  for (;;) {
    uint8_t *visited = &b->visited[pc][position / 8];
    if (*visited >> position % 8 & 1)
      return false;
    *visited |= (uint8_t)(1 << position % 8);

    const struct instruction *code = &s->regex->code[pc];
    switch (code->op) {
    case OP_MATCH:
      return true;
    case OP_JUMP:
      pc = code->target;
      break;
    case OP_SPLIT:
      if (backtrack(b, code->target, position))
        return true;
      pc = code->alternative;
      break;
    case OP_SAVE: {
      int saved = b->captures.slots[code->slot];
      b->captures.slots[code->slot] = position;
      if (backtrack(b, pc + 1, position))
        return true;
      b->captures.slots[code->slot] = saved;
      return false;
    }
    case OP_ASSERT:
      if (!holds(s, code->assertion, position))
        return false;
      pc++;
      break;
    case OP_SET:
      if (position == s->length ||
          !set_has(&code->set, (unsigned char)s->text[position]))
        return false;
      pc++;
      position++;
      break;
    }
  }
}

static bool backtrack_search(const struct subject *s, struct captures *result) {
  struct backtracker *b = calloc(1, sizeof *b);
  bool matched = false;
  if (!b)
    return false;
  assert(s->length <= MAX_TEXT);
  b->subject = s;
  memset(&b->captures, 0xFF, sizeof b->captures);
  // A state that failed from one start fails from all, so `visited` is kept.
  for (int start = 0; start <= s->length && !matched; start++)
    matched = backtrack(b, 0, start);
  *result = b->captures;
  free(b);
  return matched;
}

//===- Demonstration ------------------------------------------------------===//

static const struct {
  const char *pattern;
  const char *text;
} cases[] = {
    {"a|ab|abc", "abc"},
    {"^(a+)(b*)$", "aaabb"},
    {"(\\w+)@(\\w+)\\.com", "mail bob@example.com now"},
    {"(\\d{4})-(\\d\\d)-(\\d{1,2})", "on 2024-02-29, a leap day"},
    {"<(.+?)>(.+)<", "<b>bold</b> <>"},
    {"\\bcat\\b", "concat cat"},
    {"[^aeiou\\s]+$", "a quick rhythm"},
    {"[]x-]+", "ab]-x]c"},
    {"(?:ab|cd){2,3}(e?)", "abcdabcde"},
    {"(a*)*b", "aaaaaaaaaaaaaaaaaac"},
    {"(x?)(y*?)(x)", "xx"},
    {"((a)|(b))+", "abab"},
    {"[\\D]+", "123four56"},
};

static const char *const invalid[] = {
    "(", "a)", "[a", "*a", "a{2", "a{3,1}", "a{x}", "[z-a]", "\\", "a{999}",
};

static bool run_case(struct regex *regex, const char *pattern,
                     const char *text) {
  const char *error = regex_compile(regex, pattern);
  if (error) {
    printf("%s: unexpected error: %s\n", pattern, error);
    return false;
  }
  struct subject subject = {regex, text, (int)strlen(text)};
  struct captures pike, backtracked;
  bool matched = pike_search(&subject, &pike);
  bool agreed = matched == backtrack_search(&subject, &backtracked);
  printf("/%.24s/ %d instructions:", pattern, regex->length);
  for (int group = 0; matched && group < regex->groups; group++) {
    int start = pike.slots[2 * group], end = pike.slots[2 * group + 1];
    agreed &= start == backtracked.slots[2 * group] &&
              end == backtracked.slots[2 * group + 1];
    if (start < 0 || end < 0)
      printf(" %d=unset", group);
    else
      printf(" %d=[%.*s]", group, end - start, text + start);
  }
  printf("%s%s\n", matched ? "" : " no match", agreed ? "" : " DISAGREE");
  return agreed;
}

int main(void) {
  struct regex *regex = malloc(sizeof *regex);
  bool passed = regex != NULL;
  for (size_t i = 0; passed && i < sizeof cases / sizeof cases[0]; i++)
    passed = run_case(regex, cases[i].pattern, cases[i].text);

  // Exponential for a matcher that forgets what it has tried.
  enum { COPIES = 40 };
  char pattern[3 * COPIES + 1], text[COPIES + 1];
  for (int i = 0; i < COPIES; i++) {
    memcpy(pattern + 2 * i, "a?", 2);
    pattern[2 * COPIES + i] = text[i] = 'a';
  }
  pattern[3 * COPIES] = text[COPIES] = '\0';
  passed = passed && run_case(regex, pattern, text);

  for (size_t i = 0; passed && i < sizeof invalid / sizeof invalid[0]; i++) {
    const char *error = regex_compile(regex, invalid[i]);
    printf("/%s/ is invalid: %s\n", invalid[i], error ? error : "ACCEPTED");
    passed = error != NULL;
  }
  free(regex);
  return passed ? 0 : 1;
}

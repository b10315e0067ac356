// SPDX-License-Identifier: Apache-2.0
//
// A one-pass compiler from a tiny imperative language to bytecode, and the
// stack machine that runs it. All values are 64-bit integers that wrap around;
// variables are local to their function and `[e]` is cell e of one memory that
// all functions share. A run starts at the function main.

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
  NAME_SIZE = 16,
  MAX_CODE = 1024,
  MAX_FUNCTIONS = 16,
  MAX_LOCALS = 32,
  STACK_SIZE = 1024,
  MAX_FRAMES = 100,
  MEMORY_SIZE = 512,
  MAX_STEPS = 2000000
};

// clang-format off
#define FOR_EACH_OPCODE(X)                                                     \
  X(CONST) X(LOAD) X(STORE) X(LOAD_CELL) X(STORE_CELL) X(ADD) X(SUB) X(MUL)    \
  X(DIV) X(MOD) X(LESS) X(LESS_EQUAL) X(EQUAL) X(POP) X(PRINT) X(JUMP)         \
  X(JUMP_IF_ZERO) X(AND_JUMP) X(OR_JUMP) X(CALL) X(RETURN)
// clang-format on

#define X(name) OP_##name,
enum opcode { FOR_EACH_OPCODE(X) };
#undef X

#define X(name) #name,
static const char *const opcode_names[] = {FOR_EACH_OPCODE(X)};

struct instruction {
  enum opcode op;
  int32_t operand;
};

struct function {
  char name[NAME_SIZE];
  int entry; // -1 until it is defined
  int arity; // -1 until it is called or defined
  int locals;
};

struct program {
  struct instruction code[MAX_CODE];
  int code_size;
  struct function functions[MAX_FUNCTIONS];
  int function_count;
};

//===- Scanner ------------------------------------------------------------===//

struct compiler {
  struct program *program;
  const char *cursor;
  int line;
  const char *token;
  size_t length; // of the token; 0 at the end of the source
  char locals[MAX_LOCALS][NAME_SIZE];
  int local_count;
  const char *error; // the first error, or NULL
};

// After an error every further token is the end, so that all loops in the
// parser run out by themselves.
static void fail(struct compiler *c, const char *message) {
  if (!c->error)
    c->error = message;
  c->length = 0;
}

static void advance(struct compiler *c) {
  if (c->error)
    return;
  const char *p = c->cursor;
  while (*p == ' ' || *p == '\n')
    c->line += *p++ == '\n';

  c->token = p;
  if (isalnum((unsigned char)*p)) {
    while (isalnum((unsigned char)*p))
      p++;
  } else if (*p != '\0') {
    static const char *const pairs[] = {"==", "!=", "<=", ">=", "&&", "||"};
    p++;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
      if (strncmp(c->token, pairs[i], 2) == 0)
        p = c->token + 2;
  }
  c->length = (size_t)(p - c->token);
  c->cursor = p;
}

static bool at(const struct compiler *c, const char *text) {
  return strlen(text) == c->length && memcmp(text, c->token, c->length) == 0;
}

static bool at_name(const struct compiler *c) {
  return c->length > 0 && isalpha((unsigned char)*c->token);
}

static bool accept(struct compiler *c, const char *text) {
  if (!at(c, text))
    return false;
  advance(c);
  return true;
}

static void expect(struct compiler *c, const char *text, const char *message) {
  if (!accept(c, text))
    fail(c, message);
}

static void take_name(struct compiler *c, char name[NAME_SIZE]) {
  memset(name, 0, NAME_SIZE);
  if (!at_name(c) || c->length >= NAME_SIZE) {
    fail(c, "expected a short name");
    return;
  }
  memcpy(name, c->token, c->length);
  advance(c);
}

//===- Compiler -----------------------------------------------------------===//

// Returns the index of the new instruction.
static int emit(struct compiler *c, enum opcode op, int32_t operand) {
  struct program *program = c->program;
  if (program->code_size == MAX_CODE) {
    fail(c, "program too long");
    return 0;
  }
  program->code[program->code_size] = (struct instruction){op, operand};
  return program->code_size++;
}

static void emit_not(struct compiler *c) {
  emit(c, OP_CONST, 0);
  emit(c, OP_EQUAL, 0);
}

static void land_jump(struct compiler *c, int jump) {
  c->program->code[jump].operand = c->program->code_size;
}

static void emit_local(struct compiler *c, enum opcode op, const char *name) {
  int i = 0;
  while (i < c->local_count && strcmp(c->locals[i], name) != 0)
    i++;
  if (i == c->local_count)
    fail(c, "unknown variable");
  emit(c, op, i);
}

static void declare_local(struct compiler *c, const char *name) {
  if (c->local_count == MAX_LOCALS)
    fail(c, "too many variables");
  else
    memcpy(c->locals[c->local_count++], name, NAME_SIZE);
}

// Calls may precede the definition, so an unknown name makes a new entry. The
// first use of a function fixes its number of arguments.
static struct function *use_function(struct compiler *c, const char *name) {
  struct program *program = c->program;
  for (int i = 0; i < program->function_count; i++)
    if (strcmp(program->functions[i].name, name) == 0)
      return &program->functions[i];
  if (program->function_count == MAX_FUNCTIONS) {
    fail(c, "too many functions");
    return program->functions;
  }
  struct function *added = &program->functions[program->function_count++];
  *added = (struct function){.entry = -1, .arity = -1};
  memcpy(added->name, name, strlen(name));
  return added;
}

static void check_arity(struct compiler *c, struct function *function,
                        int arity) {
  if (function->arity < 0)
    function->arity = arity;
  if (function->arity != arity)
    fail(c, "wrong number of arguments");
}

static void compile_expression(struct compiler *c, int min_level);

static void compile_call(struct compiler *c, const char *name) {
  int arguments = 0;
  struct function *function = use_function(c, name);
  if (!at(c, ")")) {
    do {
      compile_expression(c, 0);
      arguments++;
    } while (accept(c, ","));
  }
  expect(c, ")", "expected ')'");
  check_arity(c, function, arguments);
  emit(c, OP_CALL, (int32_t)(function - c->program->functions));
}

static void compile_primary(struct compiler *c) {
  char name[NAME_SIZE];
  if (c->length > 0 && isdigit((unsigned char)*c->token)) {
    int32_t value = 0;
    if (c->length > 9)
      fail(c, "number too large");
    for (size_t i = 0; i < c->length; i++) {
      if (!isdigit((unsigned char)c->token[i]))
        fail(c, "letter in a number");
      value = value * 10 + (c->token[i] - '0');
    }
    emit(c, OP_CONST, value);
    advance(c);
  } else if (accept(c, "(")) {
    compile_expression(c, 0);
    expect(c, ")", "expected ')'");
  } else if (accept(c, "[")) {
    compile_expression(c, 0);
    expect(c, "]", "expected ']'");
    emit(c, OP_LOAD_CELL, 0);
  } else if (accept(c, "-")) {
    emit(c, OP_CONST, 0);
    compile_primary(c);
    emit(c, OP_SUB, 0);
  } else if (accept(c, "!")) {
    compile_primary(c);
    emit_not(c);
  } else if (at_name(c)) {
    take_name(c, name);
    if (accept(c, "("))
      compile_call(c, name);
    else
      emit_local(c, OP_LOAD, name);
  } else {
    fail(c, "expected an expression");
  }
}

struct binary_operator {
  const char *symbol;
  int level;
  enum opcode op;
  bool negated;
};

static const struct binary_operator *find_operator(const struct compiler *c) {
  static const struct binary_operator operators[] = {
      {"||", 0, OP_OR_JUMP, false},    {"&&", 1, OP_AND_JUMP, false},
      {"==", 2, OP_EQUAL, false},      {"!=", 2, OP_EQUAL, true},
      {"<", 3, OP_LESS, false},        {">=", 3, OP_LESS, true},
      {"<=", 3, OP_LESS_EQUAL, false}, {">", 3, OP_LESS_EQUAL, true},
      {"+", 4, OP_ADD, false},         {"-", 4, OP_SUB, false},
      {"*", 5, OP_MUL, false},         {"/", 5, OP_DIV, false},
      {"%", 5, OP_MOD, false},
  };
  for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
    if (at(c, operators[i].symbol))
      return &operators[i];
  return NULL;
}

static void compile_expression(struct compiler *c, int min_level) {
  compile_primary(c);
  for (;;) {
    const struct binary_operator *binary = find_operator(c);
    if (!binary || binary->level < min_level)
      return;
    advance(c);
    if (binary->op == OP_AND_JUMP || binary->op == OP_OR_JUMP) {
      int jump = emit(c, binary->op, 0);
      compile_expression(c, binary->level + 1);
      land_jump(c, jump);
      continue;
    }
    compile_expression(c, binary->level + 1);
    emit(c, binary->op, 0);
    if (binary->negated)
      emit_not(c);
  }
}

static void compile_statement(struct compiler *c);

static void compile_block(struct compiler *c) {
  expect(c, "{", "expected '{'");
  while (!at(c, "}") && c->length > 0)
    compile_statement(c);
  expect(c, "}", "expected '}'");
}

static void compile_if(struct compiler *c) {
  compile_expression(c, 0);
  int skip = emit(c, OP_JUMP_IF_ZERO, 0);
  compile_block(c);
  if (accept(c, "else")) {
    int skip_else = emit(c, OP_JUMP, 0);
    land_jump(c, skip);
    compile_block(c);
    skip = skip_else;
  }
  land_jump(c, skip);
}

static void compile_while(struct compiler *c) {
  int start = c->program->code_size;
  compile_expression(c, 0);
  int leave = emit(c, OP_JUMP_IF_ZERO, 0);
  compile_block(c);
  emit(c, OP_JUMP, start);
  land_jump(c, leave);
}

// An assignment, a declaration or a call whose result is dropped.
static void compile_simple(struct compiler *c) {
  char name[NAME_SIZE];
  if (accept(c, "[")) {
    compile_expression(c, 0);
    expect(c, "]", "expected ']'");
    expect(c, "=", "expected '='");
    compile_expression(c, 0);
    emit(c, OP_STORE_CELL, 0);
    return;
  }
  bool is_new = accept(c, "var");
  take_name(c, name);
  if (accept(c, "=")) {
    compile_expression(c, 0);
    if (is_new)
      declare_local(c, name);
    emit_local(c, OP_STORE, name);
  } else {
    expect(c, "(", "expected '=' or '('");
    compile_call(c, name);
    emit(c, OP_POP, 0);
  }
}

static void compile_statement(struct compiler *c) {
  if (accept(c, "if")) {
    compile_if(c);
  } else if (accept(c, "while")) {
    compile_while(c);
  } else {
    bool is_print = accept(c, "print");
    if (is_print || accept(c, "return")) {
      compile_expression(c, 0);
      emit(c, is_print ? OP_PRINT : OP_RETURN, 0);
    } else {
      compile_simple(c);
    }
    expect(c, ";", "expected ';'");
  }
}

static void compile_function(struct compiler *c) {
  char name[NAME_SIZE];
  expect(c, "func", "expected a function");
  take_name(c, name);
  struct function *function = use_function(c, name);
  if (function->entry >= 0)
    fail(c, "function defined twice");
  function->entry = c->program->code_size;

  c->local_count = 0;
  expect(c, "(", "expected '('");
  if (!at(c, ")")) {
    do {
      take_name(c, name);
      declare_local(c, name);
    } while (accept(c, ","));
  }
  expect(c, ")", "expected ')'");
  check_arity(c, function, c->local_count);
  compile_block(c);
  emit(c, OP_CONST, 0);
  emit(c, OP_RETURN, 0);
  function->locals = c->local_count;
}

static bool compile(struct program *program, const char *source) {
  struct compiler compiler = {.program = program, .cursor = source, .line = 1};
  struct compiler *c = &compiler;
  memset(program, 0, sizeof *program);
  check_arity(c, use_function(c, "main"), 0);
  advance(c);
  while (c->length > 0)
    compile_function(c);
  for (int i = 0; i < program->function_count; i++)
    if (program->functions[i].entry < 0)
      fail(c, "a function is never defined");
  if (c->error)
    printf("line %d: %s\n", c->line, c->error);
  return !c->error;
}

static void disassemble(const struct program *program) {
  for (int i = 0; i < program->code_size; i++)
    printf("%s%s %d", i > 0 ? ", " : "", opcode_names[program->code[i].op],
           (int)program->code[i].operand);
  putchar('\n');
}

//===- Machine ------------------------------------------------------------===//

// Frame 0 belongs to main; its return ends the run.
struct machine {
  int64_t stack[STACK_SIZE];
  struct {
    int return_pc;
    int base; // stack index of the first local
  } frames[MAX_FRAMES];
  int64_t memory[MEMORY_SIZE];
};

// Returns NULL, or the reason why the program was stopped.
static const char *run(struct machine *m, const struct program *program) {
  const struct function *callee = &program->functions[0];
  int64_t *stack = m->stack;
  int pc = callee->entry, base = 0, depth = 0;
  int top = callee->locals; // index of the first free stack slot
  memset(m, 0, sizeof *m);

  for (int steps = 0; steps < MAX_STEPS; steps++) {
    struct instruction code = program->code[pc++];
    int64_t left = top >= 2 ? stack[top - 2] : 0;
    int64_t right = top >= 1 ? stack[top - 1] : 0;
    uint64_t a = (uint64_t)left, b = (uint64_t)right;
    if (top > STACK_SIZE - MAX_LOCALS) // a call takes that much at most
      return "stack overflow";

    switch (code.op) {
    case OP_CONST:
      stack[top++] = code.operand;
      break;
    case OP_LOAD:
      stack[top++] = stack[base + code.operand];
      break;
    case OP_STORE:
      stack[base + code.operand] = right;
      top--;
      break;
    case OP_LOAD_CELL:
      if (b >= MEMORY_SIZE)
        return "bad address";
      stack[top - 1] = m->memory[b];
      break;
    case OP_STORE_CELL:
      if (a >= MEMORY_SIZE)
        return "bad address";
      m->memory[a] = right;
      top -= 2;
      break;
    case OP_ADD:
      stack[--top - 1] = (int64_t)(a + b);
      break;
    case OP_SUB:
      stack[--top - 1] = (int64_t)(a - b);
      break;
    case OP_MUL:
      stack[--top - 1] = (int64_t)(a * b);
      break;
    case OP_DIV:
    case OP_MOD:
      if (right == 0)
        return "division by zero";
      if (right == -1) // INT64_MIN / -1 would overflow
        stack[--top - 1] = code.op == OP_DIV ? (int64_t)(0 - a) : 0;
      else
        stack[--top - 1] = code.op == OP_DIV ? left / right : left % right;
      break;
    case OP_LESS:
      stack[--top - 1] = left < right;
      break;
    case OP_LESS_EQUAL:
      stack[--top - 1] = left <= right;
      break;
    case OP_EQUAL:
      stack[--top - 1] = left == right;
      break;
    case OP_PRINT:
      printf("%" PRId64 " ", right);
      top--;
      break;
    case OP_POP:
      top--;
      break;
    case OP_JUMP:
      pc = code.operand;
      break;
    case OP_JUMP_IF_ZERO:
      pc = right == 0 ? code.operand : pc;
      top--;
      break;
    case OP_AND_JUMP:
    case OP_OR_JUMP:
      // Keeps the deciding operand as the result, drops any other.
      if ((right != 0) == (code.op == OP_OR_JUMP))
        pc = code.operand;
      else
        top--;
      break;
    case OP_CALL:
      callee = &program->functions[code.operand];
      if (++depth == MAX_FRAMES)
        return "calls nested too deeply";
      m->frames[depth].return_pc = pc;
      m->frames[depth].base = base;
      base = top - callee->arity;
      for (int i = callee->arity; i < callee->locals; i++)
        stack[top++] = 0;
      pc = callee->entry;
      break;
    case OP_RETURN:
      if (depth == 0)
        return NULL;
      stack[base] = right;
      top = base + 1;
      pc = m->frames[depth].return_pc;
      base = m->frames[depth--].base;
      break;
    }
  }
  return "too many steps";
}

//===- Demonstration ------------------------------------------------------===//

static const struct {
  const char *name;
  const char *source;
} programs[] = {
    {"absolute", "func abs(x) { if x < 0 { return -x; } return x; }\n"
                 "func main() { print abs(3) + abs(0 - 4); }"},
    {"operators",
     "func main() { var a = 7; print -a * (3 + 4) - 100 / 7 % 5;\n"
     "  print 3 < 4 && 4 <= 4 && !(5 > 6); print 0 || 9 >= 10 || 42;\n"
     "  while a != 0 && a > -1 { a = a * 3 + 1; } print a / -1; }"},
    {"recursion",
     "func fib(n) { if n < 2 { return n; } return fib(n - 1) + fib(n - 2); }\n"
     "func main() { print fib(17); }"},
    {"sieve", "func main() { var i = 2; var j = 0; while i < 500 {\n"
              "  if ![i] { [0] = [0] + i; j = i * i; } i = i + 1;\n"
              "  while j < 500 { [j] = 1; j = j + i - 1; } } print [0]; }"},
    {"sort", "func sort(low, high) {\n"
             "  var pivot = [(low + high) / 2]; var i = low; var j = high;\n"
             "  while i <= j {\n"
             "    while [i] < pivot { i = i + 1; }\n"
             "    while [j] > pivot { j = j - 1; }\n"
             "    if i <= j { var t = [i]; [i] = [j]; [j] = t;\n"
             "      i = i + 1; j = j - 1; } }\n"
             "  if low < j { sort(low, j); } if i < high { sort(i, high); } }\n"
             "func main() { var i = 0; var x = 1; while i < 300 {\n"
             "    x = x * 16807 % 1000003; [i] = x; i = i + 1; }\n"
             "  sort(0, 299); i = 1; while i < 300 && [i - 1] <= [i]\n"
             "    { x = x * 31 + [i]; i = i + 1; }\n"
             "  print i; print x; }"},
    {"queens", "func place(n, row) { if row == n { return 1; }\n"
               "  var count = 0; var column = 0; while column < n {\n"
               "    var i = 0; while i < row && [i] != column &&\n"
               "      [i] - i != column - row && [i] + i != column + row\n"
               "      { i = i + 1; } if i == row { [row] = column;\n"
               "      count = count + place(n, row + 1); }\n"
               "    column = column + 1; } return count; }\n"
               "func main() { print place(6, 0); print place(7, 0); }"},
    {"divide", "func main() { print 1; print 1 / (2 - 2); }"},
    {"address", "func main() { [1] = 5; print [1]; print [0 - 1]; }"},
    {"endless", "func main() { while 1 { } }"},
    {"too deep", "func f(n) { return f(n + 1); } func main() { print f(0); }"},
    {"no variable", "func main() {\n  print x; }"},
    {"arity", "func f(a) { return a; }\nfunc main() { print f(1, 2); }"},
    {"undefined", "func main() { g(); }"},
    {"syntax", "func main() { print (1 + ; }"},
    {"no block", "func main() {\n\n  if 1 print 2;\n}"},
    {"number", "func main() { print 12a4; }"},
};

int main(void) {
  static struct program program;
  static struct machine machine;
  for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
    printf("%s: ", programs[i].name);
    if (!compile(&program, programs[i].source))
      continue;
    const char *error = run(&machine, &program);
    puts(error ? error : "done");
    if (i == 0)
      disassemble(&program);
  }
  return 0;
}

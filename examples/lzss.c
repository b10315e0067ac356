// SPDX-License-Identifier: Apache-2.0
//
// A small general-purpose compressor: LZSS with hash-chain match finding,
// followed by canonical Huffman coding of literals, lengths and distances.
// main() round-trips several inputs and checks that damaged streams are
// rejected.

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  WINDOW_SIZE = 1 << 15,
  HASH_BITS = 13,
  MIN_MATCH = 3,
  MAX_MATCH = MIN_MATCH + 255,
  MAX_CHAIN = 48,
  GOOD_MATCH = 64,

  END_OF_STREAM = 256,
  FIRST_LENGTH_SYMBOL = 257,
  LENGTH_SLOTS = 9,
  MAIN_SYMBOLS = FIRST_LENGTH_SYMBOL + LENGTH_SLOTS,
  DISTANCE_SYMBOLS = 16,

  MAX_CODE_LENGTH = 15,
  CODE_LENGTH_BITS = 4,
  ZERO_RUN_BITS = 6,
};

struct buffer {
  uint8_t *data;
  size_t size;
  size_t capacity;
};

static void *checked_realloc(void *ptr, size_t size) {
  void *result = realloc(ptr, size);
  if (!result) {
    fputs("out of memory\n", stderr);
    exit(1);
  }
  return result;
}

static void buffer_push(struct buffer *buf, uint8_t byte) {
  if (buf->size == buf->capacity) {
    buf->capacity = buf->capacity ? buf->capacity * 2 : 256;
    buf->data = checked_realloc(buf->data, buf->capacity);
  }
  buf->data[buf->size++] = byte;
}

static void buffer_free(struct buffer *buf) {
  free(buf->data);
  *buf = (struct buffer){0};
}

static uint32_t crc32(const uint8_t *data, size_t size) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
  }
  return ~crc;
}

//===- Bit streams --------------------------------------------------------===//

struct bit_writer {
  struct buffer *out;
  uint32_t pending;
  unsigned pending_bits;
};

static void write_bits(struct bit_writer *writer, uint32_t value,
                       unsigned count) {
  for (unsigned i = count; i-- > 0;) {
    writer->pending = (writer->pending << 1) | ((value >> i) & 1u);
    if (++writer->pending_bits == 8) {
      buffer_push(writer->out, (uint8_t)writer->pending);
      writer->pending = 0;
      writer->pending_bits = 0;
    }
  }
}

struct bit_reader {
  const uint8_t *data;
  size_t size;
  size_t position; // in bits
  bool overrun;
};

static uint32_t read_bit(struct bit_reader *reader) {
  if (reader->position >= reader->size * 8) {
    reader->overrun = true;
    return 0;
  }
  uint32_t byte = reader->data[reader->position / 8];
  uint32_t bit = (byte >> (7 - reader->position % 8)) & 1u;
  reader->position++;
  return bit;
}

static uint32_t read_bits(struct bit_reader *reader, unsigned count) {
  uint32_t value = 0;
  while (count-- > 0)
    value = (value << 1) | read_bit(reader);
  return value;
}

//===- Canonical Huffman codes --------------------------------------------===//

struct tree_node {
  uint64_t weight;
  int parent;
};

// Computes Huffman code lengths with the two-queue method: leaves sorted by
// weight form one queue, and internal nodes come out already sorted.
// Returns the longest length.
static unsigned huffman_depths(const uint32_t *frequency, int symbol_count,
                               uint8_t *lengths) {
  int order[MAIN_SYMBOLS];
  struct tree_node nodes[2 * MAIN_SYMBOLS];
  int leaves = 0;

  assert(symbol_count <= MAIN_SYMBOLS);
  memset(lengths, 0, (size_t)symbol_count);
  for (int symbol = 0; symbol < symbol_count; symbol++) {
    if (frequency[symbol] == 0)
      continue;
    int slot = leaves++;
    while (slot > 0 && frequency[order[slot - 1]] > frequency[symbol]) {
      order[slot] = order[slot - 1];
      slot--;
    }
    order[slot] = symbol;
  }
  if (leaves == 0)
    return 0;
  if (leaves == 1) {
    lengths[order[0]] = 1;
    return 1;
  }

  for (int i = 0; i < leaves; i++)
    nodes[i] = (struct tree_node){frequency[order[i]], -1};
  int next_leaf = 0, next_internal = leaves;
  int node_count = leaves;
  while (node_count < 2 * leaves - 1) {
    uint64_t weight = 0;
    for (int child = 0; child < 2; child++) {
      bool take_leaf = next_leaf < leaves &&
                       (next_internal == node_count ||
                        nodes[next_leaf].weight <= nodes[next_internal].weight);
      int taken = take_leaf ? next_leaf++ : next_internal++;
      nodes[taken].parent = node_count;
      weight += nodes[taken].weight;
    }
    nodes[node_count++] = (struct tree_node){weight, -1};
  }

  unsigned longest = 0;
  for (int i = 0; i < leaves; i++) {
    unsigned depth = 0;
    for (int node = i; nodes[node].parent >= 0; node = nodes[node].parent)
      depth++;
    lengths[order[i]] = (uint8_t)depth;
    if (depth > longest)
      longest = depth;
  }
  return longest;
}

// Flattens the distribution until the code fits the length limit. The lengths
// may miss the optimum a little, but this needs no package-merge.
static void limited_code_lengths(uint32_t *frequency, int symbol_count,
                                 uint8_t *lengths) {
  while (huffman_depths(frequency, symbol_count, lengths) > MAX_CODE_LENGTH)
    for (int i = 0; i < symbol_count; i++)
      if (frequency[i])
        frequency[i] = frequency[i] / 2 + 1;
}

static void assign_codes(const uint8_t *lengths, int symbol_count,
                         uint16_t *codes) {
  unsigned count[MAX_CODE_LENGTH + 1] = {0};
  unsigned next[MAX_CODE_LENGTH + 1];
  for (int i = 0; i < symbol_count; i++)
    count[lengths[i]]++;
  count[0] = 0;
  unsigned code = 0;
  next[0] = 0;
  for (int length = 1; length <= MAX_CODE_LENGTH; length++) {
    code = (code + count[length - 1]) << 1;
    next[length] = code;
  }
  for (int i = 0; i < symbol_count; i++)
    codes[i] = lengths[i] ? (uint16_t)next[lengths[i]]++ : 0;
}

struct decoder_table {
  uint16_t count[MAX_CODE_LENGTH + 1];
  uint16_t symbols[MAIN_SYMBOLS];
};

// Fails on over-subscribed lengths: such a code is not prefix-free.
static bool build_decoder(struct decoder_table *table, const uint8_t *lengths,
                          int symbol_count) {
  uint16_t offset[MAX_CODE_LENGTH + 1];
  memset(table, 0, sizeof *table);
  for (int i = 0; i < symbol_count; i++)
    table->count[lengths[i]]++;
  table->count[0] = 0;

  int unused = 1;
  offset[0] = 0;
  for (int length = 1; length <= MAX_CODE_LENGTH; length++) {
    unused = unused * 2 - table->count[length];
    if (unused < 0)
      return false;
    offset[length] = (uint16_t)(offset[length - 1] + table->count[length - 1]);
  }
  for (int i = 0; i < symbol_count; i++)
    if (lengths[i])
      table->symbols[offset[lengths[i]]++] = (uint16_t)i;
  return true;
}

static int decode_symbol(const struct decoder_table *table,
                         struct bit_reader *reader) {
  int code = 0, first = 0, index = 0;
  for (int length = 1; length <= MAX_CODE_LENGTH; length++) {
    code |= (int)read_bit(reader);
    int count = table->count[length];
    if (code - first < count)
      return table->symbols[index + code - first];
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  return -1;
}

//===- LZSS ---------------------------------------------------------------===//

// A literal has distance 0 and its byte in `value`; for a match `value` is
// the length.
struct token {
  uint16_t value;
  uint16_t distance;
};

struct match_finder {
  const uint8_t *data;
  size_t size;
  int32_t head[1 << HASH_BITS];
  int32_t previous[WINDOW_SIZE];
};

static uint32_t hash3(const uint8_t *p) {
  uint32_t key = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
  return (key * 2654435761u) >> (32 - HASH_BITS);
}

static void insert_position(struct match_finder *finder, size_t position) {
  if (position + MIN_MATCH > finder->size)
    return;
  uint32_t hash = hash3(finder->data + position);
  finder->previous[position % WINDOW_SIZE] = finder->head[hash];
  finder->head[hash] = (int32_t)position;
}

static struct token longest_match(const struct match_finder *finder,
                                  size_t position) {
  struct token best = {0, 0};
  size_t limit = finder->size - position;
  if (limit > MAX_MATCH)
    limit = MAX_MATCH;
  if (limit < MIN_MATCH)
    return best;

  const uint8_t *here = finder->data + position;
  int32_t candidate = finder->head[hash3(here)];
  for (int chain = 0; chain < MAX_CHAIN && candidate >= 0; chain++) {
    size_t distance = position - (size_t)candidate;
    if (distance >= WINDOW_SIZE)
      break;
    const uint8_t *there = finder->data + candidate;
    size_t length = 0;
    while (length < limit && here[length] == there[length])
      length++;
    if (length >= MIN_MATCH && length > best.value) {
      best = (struct token){(uint16_t)length, (uint16_t)distance};
      if (length >= GOOD_MATCH)
        break;
    }
    candidate = finder->previous[(size_t)candidate % WINDOW_SIZE];
  }
  return best;
}

// Writes at most one token per input byte; returns how many.
static size_t find_tokens(const uint8_t *data, size_t size,
                          struct token *tokens) {
  struct match_finder *finder = checked_realloc(NULL, sizeof *finder);
  finder->data = data;
  finder->size = size;
  memset(finder->head, 0xFF, sizeof finder->head);
  memset(finder->previous, 0xFF, sizeof finder->previous);

  size_t count = 0;
  size_t position = 0;
  while (position < size) {
    struct token match = longest_match(finder, position);
    insert_position(finder, position);
    if (match.value != 0 && match.value < GOOD_MATCH) {
      // Lazy matching: a longer match one byte later is worth a literal.
      struct token later = longest_match(finder, position + 1);
      if (later.value > match.value)
        match.value = 0;
    }
    if (match.value == 0) {
      tokens[count++] = (struct token){data[position++], 0};
      continue;
    }
    tokens[count++] = match;
    for (size_t end = position++ + match.value; position < end; position++)
      insert_position(finder, position);
  }
  free(finder);
  return count;
}

//===- Container format ---------------------------------------------------===//

// Values are coded as the position of their top bit plus the bits below it.
static unsigned slot_of(unsigned value) {
  unsigned slot = 0;
  while (value >>= 1)
    slot++;
  return slot;
}

static void write_code_lengths(struct bit_writer *writer,
                               const uint8_t *lengths, int symbol_count) {
  for (int i = 0; i < symbol_count;) {
    write_bits(writer, lengths[i], CODE_LENGTH_BITS);
    if (lengths[i]) {
      i++;
      continue;
    }
    int run = 1;
    while (i + run < symbol_count && lengths[i + run] == 0 &&
           run < 1 << ZERO_RUN_BITS)
      run++;
    write_bits(writer, (uint32_t)run - 1, ZERO_RUN_BITS);
    i += run;
  }
}

static bool read_code_lengths(struct bit_reader *reader, uint8_t *lengths,
                              int symbol_count) {
  for (int i = 0; i < symbol_count;) {
    lengths[i] = (uint8_t)read_bits(reader, CODE_LENGTH_BITS);
    if (lengths[i++])
      continue;
    int run = (int)read_bits(reader, ZERO_RUN_BITS);
    if (run > symbol_count - i)
      return false;
    while (run-- > 0)
      lengths[i++] = 0;
  }
  return !reader->overrun;
}

static void compress(const uint8_t *data, size_t size, struct buffer *out) {
  struct token *tokens = checked_realloc(NULL, (size + 1) * sizeof *tokens);
  size_t token_count = find_tokens(data, size, tokens);

  uint32_t main_frequency[MAIN_SYMBOLS] = {0};
  uint32_t distance_frequency[DISTANCE_SYMBOLS] = {0};
  for (size_t i = 0; i < token_count; i++) {
    const struct token *token = &tokens[i];
    if (token->distance == 0) {
      main_frequency[token->value]++;
    } else {
      main_frequency[FIRST_LENGTH_SYMBOL +
                     slot_of(token->value - MIN_MATCH + 1u)]++;
      distance_frequency[slot_of(token->distance)]++;
    }
  }
  main_frequency[END_OF_STREAM]++;

  uint8_t main_lengths[MAIN_SYMBOLS], distance_lengths[DISTANCE_SYMBOLS];
  uint16_t main_codes[MAIN_SYMBOLS], distance_codes[DISTANCE_SYMBOLS];
  limited_code_lengths(main_frequency, MAIN_SYMBOLS, main_lengths);
  limited_code_lengths(distance_frequency, DISTANCE_SYMBOLS, distance_lengths);
  assign_codes(main_lengths, MAIN_SYMBOLS, main_codes);
  assign_codes(distance_lengths, DISTANCE_SYMBOLS, distance_codes);

  struct bit_writer writer = {.out = out};
  write_bits(&writer, crc32(data, size), 32);
  write_code_lengths(&writer, main_lengths, MAIN_SYMBOLS);
  write_code_lengths(&writer, distance_lengths, DISTANCE_SYMBOLS);
  for (size_t i = 0; i < token_count; i++) {
    const struct token *token = &tokens[i];
    if (token->distance == 0) {
      write_bits(&writer, main_codes[token->value], main_lengths[token->value]);
      continue;
    }
    unsigned slot = slot_of(token->value - MIN_MATCH + 1u);
    unsigned symbol = FIRST_LENGTH_SYMBOL + slot;
    write_bits(&writer, main_codes[symbol], main_lengths[symbol]);
    write_bits(&writer, token->value - MIN_MATCH + 1u, slot);
    slot = slot_of(token->distance);
    write_bits(&writer, distance_codes[slot], distance_lengths[slot]);
    write_bits(&writer, token->distance, slot);
  }
  write_bits(&writer, main_codes[END_OF_STREAM], main_lengths[END_OF_STREAM]);
  write_bits(&writer, 0, 7); // Pushes out the last partial byte.
  free(tokens);
}

enum status { OK, TRUNCATED, BAD_HEADER, BAD_CODE, BAD_DISTANCE, BAD_CHECKSUM };

static const char *const status_names[] = {"ok",           "truncated",
                                           "bad header",   "bad code",
                                           "bad distance", "bad checksum"};

static enum status decompress(const uint8_t *data, size_t size,
                              struct buffer *out) {
  struct bit_reader reader = {.data = data, .size = size};
  uint8_t main_lengths[MAIN_SYMBOLS], distance_lengths[DISTANCE_SYMBOLS];
  struct decoder_table main_table, distance_table;

  uint32_t expected_crc = read_bits(&reader, 32);
  if (!read_code_lengths(&reader, main_lengths, MAIN_SYMBOLS) ||
      !read_code_lengths(&reader, distance_lengths, DISTANCE_SYMBOLS))
    return reader.overrun ? TRUNCATED : BAD_HEADER;
  if (!build_decoder(&main_table, main_lengths, MAIN_SYMBOLS) ||
      !build_decoder(&distance_table, distance_lengths, DISTANCE_SYMBOLS))
    return BAD_HEADER;

  for (;;) {
    int symbol = decode_symbol(&main_table, &reader);
    if (reader.overrun)
      return TRUNCATED;
    if (symbol < 0)
      return BAD_CODE;
    if (symbol == END_OF_STREAM)
      break;
    if (symbol < END_OF_STREAM) {
      buffer_push(out, (uint8_t)symbol);
      continue;
    }
    unsigned slot = (unsigned)symbol - FIRST_LENGTH_SYMBOL;
    size_t length = ((1u << slot) | read_bits(&reader, slot)) - 1u + MIN_MATCH;
    int distance_symbol = decode_symbol(&distance_table, &reader);
    if (distance_symbol < 0)
      return reader.overrun ? TRUNCATED : BAD_CODE;
    slot = (unsigned)distance_symbol;
    size_t distance = (1u << slot) | read_bits(&reader, slot);
    if (reader.overrun)
      return TRUNCATED;
    if (distance > out->size)
      return BAD_DISTANCE;
    while (length-- > 0)
      buffer_push(out, out->data[out->size - distance]);
  }
  return crc32(out->data, out->size) == expected_crc ? OK : BAD_CHECKSUM;
}

//===- Demonstration ------------------------------------------------------===//

static uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

static void fill_text(struct buffer *buf, size_t size) {
  static const char *const words[] = {
      "the ",   "compiler ", "removes ", "code ", "that ",  "no ",
      "path ",  "reaches, ", "and ",     "then ", "loops ", "shrink ",
      "while ", "values ",   "fold.\n",  "a "};
  uint32_t state = 2463534242u;
  while (buf->size < size) {
    uint32_t pick = next_random(&state) & next_random(&state);
    for (const char *p = words[pick % 16]; *p; p++)
      buffer_push(buf, (uint8_t)*p);
  }
}

static void fill_noise(struct buffer *buf, size_t size) {
  uint32_t state = 88172645u;
  while (buf->size < size)
    buffer_push(buf, (uint8_t)(next_random(&state) >> 11));
}

static void fill_run(struct buffer *buf, size_t size) {
  while (buf->size < size)
    buffer_push(buf, 'z');
}

// Fibonacci frequencies give the deepest Huffman tree for a given input size,
// and the shuffle keeps the match finder from hiding them.
static void fill_skewed(struct buffer *buf, size_t size) {
  uint32_t current = 1, following = 1, state = 521288629u;
  for (uint8_t symbol = 0; buf->size < size; symbol++) {
    for (uint32_t i = 0; i < current && buf->size < size; i++)
      buffer_push(buf, symbol);
    uint32_t sum = current + following;
    current = following;
    following = sum;
  }
  for (size_t i = buf->size; i > 1; i--) {
    size_t other = next_random(&state) % i;
    uint8_t moved = buf->data[i - 1];
    buf->data[i - 1] = buf->data[other];
    buf->data[other] = moved;
  }
}

static bool round_trip(const char *name, const struct buffer *input,
                       struct buffer *packed) {
  struct buffer unpacked = {0};
  compress(input->data, input->size, packed);
  enum status status = decompress(packed->data, packed->size, &unpacked);
  bool same = status == OK && unpacked.size == input->size &&
              (input->size == 0 ||
               memcmp(unpacked.data, input->data, input->size) == 0);
  printf("%-7s %6zu -> %6zu bytes  crc %08x -> %08x  %s\n", name, input->size,
         packed->size, (unsigned)crc32(input->data, input->size),
         (unsigned)crc32(packed->data, packed->size),
         same ? "same" : "DIFFERENT");
  buffer_free(&unpacked);
  return same;
}

static bool reject_damage(const struct buffer *packed) {
  unsigned tally[sizeof status_names / sizeof status_names[0]] = {0};
  struct buffer damaged = {0};
  for (size_t i = 0; i < packed->size; i++)
    buffer_push(&damaged, packed->data[i]);

  for (size_t position = 0; position < packed->size; position += 23) {
    struct buffer unpacked = {0};
    damaged.data[position] ^= (uint8_t)(1u << position % 8);
    tally[decompress(damaged.data, damaged.size, &unpacked)]++;
    damaged.data[position] = packed->data[position];
    buffer_free(&unpacked);

    tally[decompress(packed->data, position, &unpacked)]++;
    buffer_free(&unpacked);
  }
  buffer_free(&damaged);

  for (size_t i = 0; i < sizeof tally / sizeof tally[0]; i++)
    printf("damaged streams reported as %s: %u\n", status_names[i], tally[i]);
  return tally[OK] == 0;
}

int main(void) {
  static const struct {
    const char *name;
    void (*fill)(struct buffer *, size_t);
    size_t size;
  } inputs[] = {
      {"empty", fill_run, 0},      {"byte", fill_run, 1},
      {"run", fill_run, 5000},     {"text", fill_text, 50000},
      {"noise", fill_noise, 4000}, {"skewed", fill_skewed, 30000},
  };
  bool passed = true;
  for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
    struct buffer input = {0}, packed = {0};
    inputs[i].fill(&input, inputs[i].size);
    passed &= round_trip(inputs[i].name, &input, &packed);
    if (inputs[i].fill == fill_noise)
      passed &= reject_damage(&packed);
    buffer_free(&input);
    buffer_free(&packed);
  }
  puts(passed ? "all round trips passed" : "FAILED");
  return passed ? 0 : 1;
}

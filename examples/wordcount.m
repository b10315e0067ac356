// SPDX-License-Identifier: Apache-2.0
//
// Counts the words of a text with Objective-C collections written for the bare
// GCC runtime: a hash map with fast enumeration, an array that sorts by a
// selector, and an autorelease pool.

#include <ctype.h>
#include <objc/message.h>
#include <objc/runtime.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int liveObjects;

static void *checkedRealloc(void *memory, size_t size) {
  void *result = realloc(memory, size);
  if (!result) {
    fputs("out of memory\n", stderr);
    exit(1);
  }
  return result;
}

//===- Root class and autorelease pool ------------------------------------===//

__attribute__((objc_root_class))
@interface Root {
  Class isa;
  unsigned extraReferences;
}
+ (void)initialize;
+ (id)alloc;
- (id)init;
- (id)retain;
- (void)release;
- (id)autorelease;
- (void)dealloc;
@end

@interface Pool : Root {
  Pool *outer;
  id *objects;
  size_t count, capacity;
}
+ (void)add:(id)object;
@end

@implementation Root

+ (void)initialize {
}

+ (id)alloc {
  liveObjects++;
  return class_createInstance(self, 0);
}

- (id)init {
  return self;
}

- (id)retain {
  extraReferences++;
  return self;
}

- (void)release {
  if (extraReferences-- == 0)
    [self dealloc];
}

- (id)autorelease {
  [Pool add:self];
  return self;
}

- (void)dealloc {
  liveObjects--;
  object_dispose(self);
}

@end

static Pool *currentPool;

@implementation Pool

+ (void)add:(id)object {
  Pool *pool = currentPool;
  if (pool->count == pool->capacity) {
    pool->capacity = pool->capacity ? 2 * pool->capacity : 16;
    pool->objects = checkedRealloc(pool->objects, pool->capacity * sizeof(id));
  }
  pool->objects[pool->count++] = object;
}

- (id)init {
  if ((self = [super init])) {
    outer = currentPool;
    currentPool = self;
  }
  return self;
}

- (void)dealloc {
  for (size_t i = 0; i < count; i++)
    [objects[i] release];
  free(objects);
  currentPool = outer;
  [super dealloc];
}

@end

//===- Keys ---------------------------------------------------------------===//

@protocol Key
- (uint32_t)hash;
- (BOOL)isEqual:(id)other;
@end

@interface Word : Root <Key> {
  char *letters;
  size_t length;
  uint32_t hash;
}
+ (Word *)wordWithLetters:(const char *)start length:(size_t)size;
@property(nonatomic, readonly) const char *letters;
@property(nonatomic, readonly) size_t length;
@end

@implementation Word
@synthesize letters, length;

// Folds case, so that words at the start of a sentence count too.
+ (Word *)wordWithLetters:(const char *)start length:(size_t)size {
  Word *word = [[self alloc] init];
  word->letters = checkedRealloc(NULL, size + 1);
  word->length = size;
  word->hash = 2166136261u;
  for (size_t i = 0; i < size; i++) {
    word->letters[i] = (char)tolower((unsigned char)start[i]);
    word->hash = (word->hash ^ (unsigned char)word->letters[i]) * 16777619u;
  }
  word->letters[size] = '\0';
  return [word autorelease];
}

- (void)dealloc {
  free(letters);
  [super dealloc];
}

- (uint32_t)hash {
  return hash;
}

- (BOOL)isEqual:(id)other {
  if (object_getClass(other) != object_getClass(self))
    return NO;
  Word *word = other;
  return word->length == length && memcmp(word->letters, letters, length) == 0;
}

@end

//===- Map ----------------------------------------------------------------===//

// The layout that the compiler expects for "for (x in y)".
struct EnumerationState {
  unsigned long position;
  id *items;
  unsigned long *mutations;
  unsigned long extra[5];
};

struct Entry {
  struct Entry *next;
  id key, value;
};

@interface Map : Root {
  struct Entry **buckets;
  size_t bucketCount, count;
  unsigned long mutations;
}
- (id)objectFor:(Root<Key> *)key;
- (void)setObject:(Root *)value for:(Root<Key> *)key;
- (BOOL)remove:(Root<Key> *)key;
- (unsigned long)countByEnumeratingWithState:(struct EnumerationState *)state
                                     objects:(id *)buffer
                                       count:(unsigned long)space;
@property(nonatomic, readonly) size_t bucketCount, count;
@end

@implementation Map
@synthesize bucketCount, count;

- (id)init {
  if ((self = [super init])) {
    bucketCount = 8;
    buckets = checkedRealloc(NULL, bucketCount * sizeof *buckets);
    memset(buckets, 0, bucketCount * sizeof *buckets);
  }
  return self;
}

- (void)dealloc {
  for (size_t i = 0; i < bucketCount; i++)
    while (buckets[i])
      [self unlink:&buckets[i]];
  free(buckets);
  [super dealloc];
}

- (void)unlink:(struct Entry **)link {
  struct Entry *entry = *link;
  *link = entry->next;
  [entry->key release];
  [entry->value release];
  free(entry);
  count--;
  mutations++;
}

// Returns the link to the entry of a key, or the one to add it at.
- (struct Entry **)linkFor:(Root<Key> *)key {
  struct Entry **link = &buckets[[key hash] & (bucketCount - 1)];
  while (*link && ![(*link)->key isEqual:key])
    link = &(*link)->next;
  return link;
}

- (void)grow {
  struct Entry **old = buckets;
  size_t oldCount = bucketCount;
  bucketCount *= 2;
  buckets = checkedRealloc(NULL, bucketCount * sizeof *buckets);
  memset(buckets, 0, bucketCount * sizeof *buckets);
  for (size_t i = 0; i < oldCount; i++) {
    while (old[i]) {
      struct Entry *entry = old[i];
      old[i] = entry->next;
      entry->next = NULL;
      *[self linkFor:entry->key] = entry;
    }
  }
  free(old);
}

- (id)objectFor:(Root<Key> *)key {
  struct Entry *entry = *[self linkFor:key];
  return entry ? entry->value : nil;
}

- (void)setObject:(Root *)value for:(Root<Key> *)key {
  struct Entry **link = [self linkFor:key];
  [value retain];
  mutations++;
  if (*link) {
    [(*link)->value release];
    (*link)->value = value;
    return;
  }
  *link = checkedRealloc(NULL, sizeof **link);
  **link = (struct Entry){NULL, [key retain], value};
  if (++count > bucketCount)
    [self grow];
}

- (BOOL)remove:(Root<Key> *)key {
  struct Entry **link = [self linkFor:key];
  if (!*link)
    return NO;
  [self unlink:link];
  return YES;
}

// A call may run out of space within a bucket: extra[0] counts the keys of the
// current one that are handed out already.
- (unsigned long)countByEnumeratingWithState:(struct EnumerationState *)state
                                     objects:(id *)buffer
                                       count:(unsigned long)space {
  unsigned long found = 0;
  state->items = buffer;
  state->mutations = &mutations;
  for (; state->position < bucketCount; state->position++) {
    unsigned long index = 0;
    for (struct Entry *e = buckets[state->position]; e; e = e->next) {
      if (index++ < state->extra[0])
        continue;
      if (found == space)
        return found;
      buffer[found++] = e->key;
      state->extra[0]++;
    }
    state->extra[0] = 0;
  }
  return found;
}

@end

//===- Counted set --------------------------------------------------------===//

@interface Tally : Root {
  Word *word;
  int count;
}
- (id)initWithWord:(Word *)counted;
- (void)increment;
- (int)compareByCount:(Tally *)other;
- (int)compareByLength:(Tally *)other;
@property(nonatomic, readonly) Word *word;
@property(nonatomic, readonly) int count;
@end

@implementation Tally
@synthesize word, count;

- (id)initWithWord:(Word *)counted {
  if ((self = [super init]))
    word = [counted retain];
  return self;
}

- (void)dealloc {
  [word release];
  [super dealloc];
}

- (void)increment {
  count++;
}

- (int)compareByName:(Tally *)other {
  return strcmp(word.letters, other.word.letters);
}

- (int)compareByCount:(Tally *)other {
  return other.count != count ? other.count - count
                              : [self compareByName:other];
}

- (int)compareByLength:(Tally *)other {
  if (word.length != other.word.length)
    return word.length > other.word.length ? -1 : 1;
  return [self compareByCount:other];
}

@end

@interface CountedSet : Map {
  int total;
}
- (void)add:(Word *)word;
@property(nonatomic, readonly) int total;
@end

@implementation CountedSet
@synthesize total;

- (void)add:(Word *)word {
  Tally *tally = [self objectFor:word];
  if (!tally) {
    tally = [[[Tally alloc] initWithWord:word] autorelease];
    [self setObject:tally for:word];
  }
  [tally increment];
  total++;
}

- (BOOL)remove:(Root<Key> *)key {
  Tally *tally = [self objectFor:key];
  total -= tally.count;
  return [super remove:key];
}

@end

//===- Array --------------------------------------------------------------===//

@interface Array : Root {
  id *objects;
  size_t count, capacity;
}
- (void)add:(Root *)object;
- (id)at:(size_t)index;
- (void)sortBy:(SEL)comparison;
@property(nonatomic, readonly) size_t count;
@end

@implementation Array
@synthesize count;

- (void)add:(Root *)object {
  if (count == capacity) {
    capacity = capacity ? 2 * capacity : 16;
    objects = checkedRealloc(objects, capacity * sizeof *objects);
  }
  objects[count++] = [object retain];
}

- (void)dealloc {
  for (size_t i = 0; i < count; i++)
    [objects[i] release];
  free(objects);
  [super dealloc];
}

- (id)at:(size_t)index {
  return index < count ? objects[index] : nil;
}

// A bottom-up merge sort. All objects are of one class, so the method is
// looked up only once.
- (void)sortBy:(SEL)comparison {
  typedef int (*Comparison)(id, SEL, id);
  if (count < 2)
    return;
  Comparison compare =
      (Comparison)(void (*)(void))objc_msg_lookup(objects[0], comparison);
  id *from = objects, *to = checkedRealloc(NULL, capacity * sizeof *to);
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t low = 0; low < count; low += 2 * width) {
      size_t middle = low + width < count ? low + width : count;
      size_t high = middle + width < count ? middle + width : count;
      size_t left = low, right = middle;
      for (size_t out = low; out < high; out++) {
        BOOL takeLeft = left < middle &&
                        (right == high ||
                         compare(from[left], comparison, from[right]) <= 0);
        to[out] = takeLeft ? from[left++] : from[right++];
      }
    }
    id *swapped = from;
    from = to;
    to = swapped;
  }
  objects = from;
  free(to);
}

@end

//===- Demonstration ------------------------------------------------------===//

static const char text[] =
    "The first version of a program is rarely the smallest one. It grows "
    "while its author learns what the program is for, and the compiler sees "
    "only what is left. A pass that removes a branch may let the next pass "
    "remove a loop; a pass that unrolls the loop may hide the branch again. "
    "So the order of the passes matters, and no order is the best one for "
    "every program. The usual answer is a list that somebody wrote down once, "
    "a list that is good for most programs and the best for none. Another "
    "answer is to look at the program, to guess which pass would help, and to "
    "learn from what the guess was worth. A guess costs little. What it "
    "teaches about one program may be true of the next.";

static void countWords(CountedSet *set, const char *cursor) {
  while (*cursor) {
    size_t length = 0;
    while (isalpha((unsigned char)cursor[length]))
      length++;
    if (length > 0) {
      // Words that the set already has die with this pool.
      Pool *pool = [[Pool alloc] init];
      [set add:[Word wordWithLetters:cursor length:length]];
      [pool release];
    }
    cursor += length > 0 ? length : 1;
  }
}

static Array *talliesOf(CountedSet *set) {
  Array *tallies = [[[Array alloc] init] autorelease];
  for (Word *word in set)
    [tallies add:[set objectFor:word]];
  return tallies;
}

static void printTop(const char *title, Array *tallies, SEL order) {
  [tallies sortBy:order];
  printf("%s:", title);
  for (size_t i = 0; i < 8 && i < tallies.count; i++) {
    Tally *tally = [tallies at:i];
    printf(" %s=%d", tally.word.letters, tally.count);
  }
  puts("");
}

static void printSize(CountedSet *set) {
  printf("%d words, %zu distinct, %zu buckets\n", set.total, set.count,
         set.bucketCount);
}

int main(void) {
  Pool *pool = [[Pool alloc] init];
  CountedSet *set = [[[CountedSet alloc] init] autorelease];
  countWords(set, text);
  printSize(set);
  printTop("most frequent", talliesOf(set), @selector(compareByCount:));
  printTop("longest", talliesOf(set), @selector(compareByLength:));

  Array *tallies = talliesOf(set);
  [tallies sortBy:@selector(compareByName:)];
  uint32_t checksum = 0;
  for (size_t i = 0; i < tallies.count; i++) {
    Tally *tally = [tallies at:i];
    checksum = checksum * 31 + ([tally.word hash] ^ (uint32_t)tally.count);
  }
  printf("checksum %08x\n", (unsigned)checksum);

  int removed = 0;
  for (size_t i = 0; i < tallies.count; i++) {
    Tally *tally = [tallies at:i];
    if (tally.count == 1)
      removed += [set remove:tally.word];
  }
  BOOL again = [set remove:[Word wordWithLetters:"zebra" length:5]];
  printf("removed %d, unknown word %s\n", removed, again ? "found" : "absent");
  printSize(set);
  printTop("most frequent", talliesOf(set), @selector(compareByCount:));

  [pool release];
  printf("%d live objects\n", liveObjects);
  return liveObjects == 0 ? 0 : 1;
}

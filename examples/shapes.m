// SPDX-License-Identifier: Apache-2.0
//
// Shapes as Objective-C objects on the bare GCC runtime: a root class with
// its own reference counts, protocols, categories, a visitor, and methods
// that are looked up, added and exchanged at run time.

#include <math.h>
#include <objc/message.h>
#include <objc/runtime.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static int liveObjects;
static int initializedClasses;

// Function pointers of different types convert through this one.
typedef void (*AnyFunction)(void);

static void *checkedRealloc(void *memory, size_t size) {
  void *result = realloc(memory, size);
  if (!result) {
    fputs("out of memory\n", stderr);
    exit(1);
  }
  return result;
}

//===- Root class ---------------------------------------------------------===//

__attribute__((objc_root_class))
@interface Root {
  Class isa;
  unsigned extraReferences;
}
+ (void)initialize;
+ (id)alloc;
+ (Class)class;
+ (const char *)className;
- (id)init;
- (id)retain;
- (void)release;
- (void)dealloc;
- (Class)class;
- (BOOL)respondsTo:(SEL)selector;
- (BOOL)isKindOf:(Class)other;
- (double)measure:(SEL)selector;
@end

@implementation Root

// The runtime calls this for every class that does not override it, right
// before the class receives its first message.
+ (void)initialize {
  initializedClasses++;
}

+ (id)alloc {
  liveObjects++;
  return class_createInstance(self, 0);
}

+ (Class)class {
  return self;
}

+ (const char *)className {
  return class_getName(self);
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

- (void)dealloc {
  liveObjects--;
  object_dispose(self);
}

- (Class)class {
  return object_getClass(self);
}

- (BOOL)respondsTo:(SEL)selector {
  return class_respondsToSelector([self class], selector);
}

- (BOOL)isKindOf:(Class)other {
  for (Class c = [self class]; c != Nil; c = class_getSuperclass(c))
    if (c == other)
      return YES;
  return NO;
}

// Sends a message that takes no argument and returns a number.
- (double)measure:(SEL)selector {
  typedef double (*Measurement)(id, SEL);
  Measurement method =
      (Measurement)(AnyFunction)objc_msg_lookup(self, selector);
  return method(self, selector);
}

@end

//===- Protocols ----------------------------------------------------------===//

@class Circle, Polygon, Group;

@protocol Visitor
- (void)visitCircle:(Circle *)circle;
- (void)visitPolygon:(Polygon *)polygon;
- (void)visitGroup:(Group *)group;
@end

@protocol Shape
- (double)area;
- (double)perimeter;
- (void)accept:(Root<Visitor> *)visitor;
@end

@protocol Scalable
- (void)scaleBy:(double)factor;
@end

//===- Shapes -------------------------------------------------------------===//

@interface Circle : Root <Shape, Scalable> {
  double radius;
}
- (id)initWithRadius:(double)r;
@property(nonatomic, readonly) double radius;
@end

@implementation Circle
@synthesize radius;

- (id)initWithRadius:(double)r {
  if ((self = [super init]))
    radius = r;
  return self;
}

- (double)area {
  return M_PI * radius * radius;
}

- (double)perimeter {
  return 2 * M_PI * radius;
}

- (void)scaleBy:(double)factor {
  radius *= factor;
}

- (void)accept:(Root<Visitor> *)visitor {
  [visitor visitCircle:self];
}

@end

typedef struct {
  double x, y;
} Point;

@interface Polygon : Root <Shape, Scalable> {
  Point *corners;
  int cornerCount;
}
- (id)initWithCorners:(const Point *)points count:(int)count;
- (int)cornerCount;
- (Point)corner:(int)index;
@end

@implementation Polygon

- (id)initWithCorners:(const Point *)points count:(int)count {
  if ((self = [super init])) {
    corners = checkedRealloc(NULL, (size_t)count * sizeof *corners);
    for (int i = 0; i < count; i++)
      corners[i] = points[i];
    cornerCount = count;
  }
  return self;
}

- (void)dealloc {
  free(corners);
  [super dealloc];
}

- (int)cornerCount {
  return cornerCount;
}

// The corners form a ring, so any index is valid.
- (Point)corner:(int)index {
  int wrapped = index % cornerCount;
  return corners[wrapped < 0 ? wrapped + cornerCount : wrapped];
}

- (double)area {
  double twice = 0;
  for (int i = 0; i < cornerCount; i++) {
    Point a = [self corner:i], b = [self corner:i + 1];
    twice += a.x * b.y - b.x * a.y;
  }
  return fabs(twice) / 2;
}

- (double)perimeter {
  double sum = 0;
  for (int i = 0; i < cornerCount; i++) {
    Point a = [self corner:i], b = [self corner:i + 1];
    sum += sqrt((b.x - a.x) * (b.x - a.x) + (b.y - a.y) * (b.y - a.y));
  }
  return sum;
}

- (void)scaleBy:(double)factor {
  for (int i = 0; i < cornerCount; i++) {
    corners[i].x *= factor;
    corners[i].y *= factor;
  }
}

- (void)accept:(Root<Visitor> *)visitor {
  [visitor visitPolygon:self];
}

@end

@interface Rectangle : Polygon
- (id)initWithWidth:(double)width height:(double)height;
@end

@implementation Rectangle

- (id)initWithWidth:(double)width height:(double)height {
  Point points[] = {{0, 0}, {width, 0}, {width, height}, {0, height}};
  return [super initWithCorners:points count:4];
}

// Cheaper than the general formulas.
- (double)area {
  Point opposite = [self corner:2];
  return opposite.x * opposite.y;
}

- (double)perimeter {
  Point opposite = [self corner:2];
  return 2 * (opposite.x + opposite.y);
}

@end

@interface Square : Rectangle
- (id)initWithSide:(double)side;
@end

@implementation Square
- (id)initWithSide:(double)side {
  return [super initWithWidth:side height:side];
}
@end

@interface Group : Root <Shape> {
  id<Shape> *members;
  int memberCount, capacity;
}
- (Group *)add:(Root<Shape> *)shape;
- (int)memberCount;
- (Root<Shape> *)member:(int)index;
@end

@implementation Group

// The group takes over the reference of its caller.
- (Group *)add:(Root<Shape> *)shape {
  if (memberCount == capacity) {
    capacity = capacity ? 2 * capacity : 2;
    members = checkedRealloc(members, (size_t)capacity * sizeof *members);
  }
  members[memberCount++] = shape;
  return self;
}

- (void)dealloc {
  for (int i = 0; i < memberCount; i++)
    [[self member:i] release];
  free(members);
  [super dealloc];
}

- (int)memberCount {
  return memberCount;
}

- (Root<Shape> *)member:(int)index {
  return (Root<Shape> *)members[index];
}

- (double)area {
  double sum = 0;
  for (int i = 0; i < memberCount; i++)
    sum += [members[i] area];
  return sum;
}

- (double)perimeter {
  double sum = 0;
  for (int i = 0; i < memberCount; i++)
    sum += [members[i] perimeter];
  return sum;
}

- (void)accept:(Root<Visitor> *)visitor {
  [visitor visitGroup:self];
}

@end

//===- Categories ---------------------------------------------------------===//

@interface Root (Describing)
- (void)describe;
@end

@implementation Root (Describing)
- (void)describe {
  printf("%s", [[self class] className]);
  if ([self respondsTo:@selector(area)])
    printf(" area %8.3f perimeter %8.3f", [self measure:@selector(area)],
           [self measure:@selector(perimeter)]);
  printf("%s%s\n", [self isKindOf:[Polygon class]] ? " polygon" : "",
         [self respondsTo:@selector(scaleBy:)] ? " scalable" : "");
}
@end

@interface Polygon (Convexity)
- (BOOL)isConvex;
@end

@implementation Polygon (Convexity)
- (BOOL)isConvex {
  BOOL turnsLeft = NO, turnsRight = NO;
  for (int i = 0; i < cornerCount; i++) {
    Point a = [self corner:i - 1], b = [self corner:i], c = [self corner:i + 1];
    double turn = (b.x - a.x) * (c.y - b.y) - (b.y - a.y) * (c.x - b.x);
    turnsLeft |= turn > 0;
    turnsRight |= turn < 0;
  }
  return !(turnsLeft && turnsRight);
}
@end

//===- Visitors -----------------------------------------------------------===//

@interface Outline : Root <Visitor> {
  int depth;
}
@end

@implementation Outline

- (void)indent {
  printf("%*s", 2 * depth, "");
}

- (void)visitCircle:(Circle *)circle {
  [self indent];
  printf("circle of radius %.2f\n", circle.radius);
}

- (void)visitPolygon:(Polygon *)polygon {
  [self indent];
  printf("%s with %d corners, %s\n", [[polygon class] className],
         [polygon cornerCount], [polygon isConvex] ? "convex" : "not convex");
}

- (void)visitGroup:(Group *)group {
  [self indent];
  printf("group of %d\n", [group memberCount]);
  depth++;
  for (int i = 0; i < [group memberCount]; i++)
    [[group member:i] accept:self];
  depth--;
}

@end

// Scales what can be scaled and counts what cannot.
@interface Scaler : Root <Visitor> {
  double factor;
  int skipped;
}
@property(nonatomic, assign) double factor;
@property(nonatomic, readonly) int skipped;
@end

@implementation Scaler
@synthesize factor, skipped;

- (void)scale:(Root *)shape {
  if (class_conformsToProtocol([shape class], @protocol(Scalable)))
    [(id<Scalable>)shape scaleBy:factor];
  else
    skipped++;
}

- (void)visitCircle:(Circle *)circle {
  [self scale:circle];
}

- (void)visitPolygon:(Polygon *)polygon {
  [self scale:polygon];
}

- (void)visitGroup:(Group *)group {
  [self scale:group];
  for (int i = 0; i < [group memberCount]; i++)
    [[group member:i] accept:self];
}

@end

//===- Demonstration ------------------------------------------------------===//

static Polygon *makeStar(int points, double inner, double outer) {
  Point corners[32];
  for (int i = 0; i < 2 * points; i++) {
    double angle = M_PI * i / points, radius = i % 2 ? inner : outer;
    corners[i] = (Point){radius * cos(angle), radius * sin(angle)};
  }
  return [[Polygon alloc] initWithCorners:corners count:2 * points];
}

static double roundness(id self, SEL selector) {
  (void)selector;
  double around = [self perimeter];
  return 4 * M_PI * [self area] / (around * around);
}

// Every shape class gets a method that no interface declares.
static void measureRoundness(Group *group) {
  SEL selector = sel_registerTypedName("roundness", "d16@0:8");
  static const char *const names[] = {"Circle", "Polygon", "Group"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    class_addMethod(objc_getClass(names[i]), selector,
                    (IMP)(AnyFunction)roundness, "d16@0:8");
  for (int i = 0; i < [group memberCount]; i++)
    printf("%s%.3f", i > 0 ? " " : "roundness ",
           [[group member:i] measure:selector]);
  puts("");
}

// Tricks Rectangle into answering each question with the other answer.
static void exchangeMethods(Rectangle *rectangle) {
  Method area = class_getInstanceMethod([Rectangle class], @selector(area));
  Method perimeter =
      class_getInstanceMethod([Rectangle class], @selector(perimeter));
  method_exchangeImplementations(area, perimeter);
  printf("exchanged: area %.2f perimeter %.2f\n", [rectangle area],
         [rectangle perimeter]);
  method_exchangeImplementations(area, perimeter);
  printf("restored:  area %.2f perimeter %.2f\n", [rectangle area],
         [rectangle perimeter]);
}

int main(void) {
  Rectangle *door = [[Rectangle alloc] initWithWidth:2 height:5.25];
  Group *inner = [[[[Group alloc] init] add:makeStar(5, 1, 2.5)]
      add:[[Circle alloc] initWithRadius:1.5]];
  Group *scene = [[[[[Group alloc] init] add:[door retain]]
      add:[[Square alloc] initWithSide:3]] add:inner];
  Outline *outline = [[Outline alloc] init];
  Scaler *scaler = [[Scaler alloc] init];

  [scene accept:outline];
  for (int i = 0; i < [scene memberCount]; i++)
    [[scene member:i] describe];
  [scene describe];
  [outline describe];

  scaler.factor = 2;
  [scene accept:scaler];
  printf("doubled, %d skipped\n", scaler.skipped);
  [scene describe];
  measureRoundness(scene);
  exchangeMethods(door);

  Polygon *nothing = nil;
  printf("nil has %d corners and area %.1f\n", [nothing cornerCount],
         [nothing area]);
  printf("%d live objects of %d classes\n", liveObjects, initializedClasses);
  [scaler release];
  [outline release];
  [scene release];
  printf("%d live object, area %.2f\n", liveObjects, [door area]);
  [door release];
  printf("%d live objects\n", liveObjects);
  return liveObjects == 0 ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
//
// A cooperative scheduler. Timers post tasks; a tick runs every task that is
// ready, the first of them first, until none is left. Ticks begin shortly
// before they wrap around, so that what fails then fails at once.

#include "node.h"

static const uint32_t first_tick = 0xfffffc00;

static struct {
  const char *name;
  void (*run)(void);
  unsigned runs;
} tasks[TASK_COUNT];

static uint32_t now;
static uint32_t ready;       // a bit for each task
static struct timer *timers; // the next one first

// Whether a comes before b: they are never 2^31 ticks apart.
static bool is_before(uint32_t a, uint32_t b) { return a - b > INT32_MAX; }

static void insert(struct timer *timer) {
  struct timer **link = &timers;
  while (*link && !is_before(timer->due, (*link)->due))
    link = &(*link)->next;
  timer->next = *link;
  *link = timer;
}

bool timer_stop(struct timer *timer) {
  for (struct timer **link = &timers; *link; link = &(*link)->next)
    if (*link == timer) {
      *link = timer->next;
      return true;
    }
  return false;
}

void timer_start(struct timer *timer, uint32_t delay, uint32_t period,
                 void (*expire)(uint32_t), uint32_t argument) {
  timer_stop(timer);
  timer->due = now + delay;
  timer->period = period;
  timer->expire = expire;
  timer->argument = argument;
  insert(timer);
}

void task_define(enum task task, const char *name, void (*run)(void)) {
  tasks[task].name = name;
  tasks[task].run = run;
}

void task_post(uint32_t task) { ready |= UINT32_C(1) << task; }

static void run_ready(void) {
  while (ready) {
    uint32_t task = 0;
    while (!(ready >> task & 1))
      task++;
    ready &= ~(UINT32_C(1) << task);
    tasks[task].runs++;
    tasks[task].run();
  }
}

void schedule_start(void) { now = first_tick; }

void schedule_tick(void) {
  now++;
  while (timers && !is_before(now, timers->due)) {
    struct timer *timer = timers;
    timers = timer->next;
    if (timer->period) {
      timer->due += timer->period;
      insert(timer);
    }
    timer->expire(timer->argument);
  }
  run_ready();
}

uint32_t schedule_now(void) { return now - first_tick; }

void schedule_print(void) {
  for (size_t i = 0; i < TASK_COUNT; i++)
    print("%-8s ran %u times\n", tasks[i].name, tasks[i].runs);
  for (const struct timer *timer = timers; timer; timer = timer->next)
    print("timer in %u, every %u\n", timer->due - now, timer->period);
}

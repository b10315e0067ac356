"""Independent tasks on all cores: a thread each, driving worker processes of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from typing import Protocol, TypeVar


class Interruptible(Protocol):
    """What a thread works with, and the main thread can take from it."""

    def interrupt(self) -> None:
        """Make the call under way end soon, with whatever error. Called from the main thread."""

    def close(self) -> None:
        """Free what is held. Called when no call is under way."""


Resource = TypeVar("Resource", bound=Interruptible)
Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_THREADS = 8
"""Of one task: they share the memory that a worker may have."""
TASKS_AHEAD = 2
"""Tasks taken for each thread, so that none waits for the next."""


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def tasks_at_a_time(tasks: int, jobs: int) -> int:
    """Of so many; ``jobs`` is the most, 0 is one a core."""
    return min(jobs or available_cores(), max(tasks, 1))


def threads_of_each(tasks: int, jobs: int) -> int:
    """Threads that each of the tasks at a time may use, of the cores that there are."""
    return min(max(available_cores() // tasks_at_a_time(tasks, jobs), 1), MOST_THREADS)


def run_each(
    function: Callable[[Resource, Task], Result],
    tasks: Iterable[Task],
    make_resource: Callable[[], Resource],
    *,
    jobs: int = 0,
) -> Generator[tuple[Task, Result], None, None]:
    """Apply a function to every task; each task with its result, as they end.

    Args:
        function: called with a resource, which no other call has meanwhile, and a task.
        tasks: taken in this thread, a few ahead of the results.
        make_resource: makes what is expensive to set up and kept from task to task.
        jobs: tasks at a time; 0 is one a core.

    Whatever ends this early, Ctrl-C and a task's exception included, interrupts the resources, so
    that calls under way end, too.
    """
    local = threading.local()
    resources: list[Resource] = []
    stopping = threading.Event()
    jobs = jobs or available_cores()

    def run_one(task: Task) -> Result:
        if stopping.is_set():
            raise RuntimeError("another task failed")
        if not hasattr(local, "resource"):
            local.resource = make_resource()
            resources.append(local.resource)
            if stopping.is_set():
                local.resource.interrupt()
        return function(local.resource, task)

    pool = ThreadPoolExecutor(jobs)
    remaining = iter(tasks)
    task_of: dict[Future[Result], Task] = {}
    try:
        while True:
            for task in islice(remaining, TASKS_AHEAD * jobs - len(task_of)):
                task_of[pool.submit(run_one, task)] = task
            if not task_of:
                break
            done, _ = wait(task_of, return_when=FIRST_COMPLETED)
            for future in done:
                yield task_of.pop(future), future.result()
    finally:
        stopping.set()
        for resource in list(resources):
            resource.interrupt()
        pool.shutdown(cancel_futures=True)
        for resource in resources:
            resource.close()


def run_all(
    function: Callable[[Resource, Task], Result],
    tasks: Sequence[Task],
    make_resource: Callable[[], Resource],
    *,
    jobs: int = 0,
    on_done: Callable[[Task, Result], None] = lambda task, result: None,
) -> list[Result]:
    """As `run_each`, with the results in the order of the tasks.

    Args:
        on_done: called in this thread as each task ends.
    """
    results: dict[int, Result] = {}
    numbered = run_each(
        lambda resource, indexed: function(resource, indexed[1]),
        enumerate(tasks),
        make_resource,
        jobs=tasks_at_a_time(len(tasks), jobs),
    )
    with closing(numbered):
        for (index, task), result in numbered:
            results[index] = result
            on_done(task, result)
    return [results[index] for index in range(len(tasks))]

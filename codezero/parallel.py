"""Independent tasks on all cores: a thread each, driving worker processes of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
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


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def run_all(
    function: Callable[[Resource, Task], Result],
    tasks: Sequence[Task],
    make_resource: Callable[[], Resource],
    *,
    jobs: int = 0,
    on_done: Callable[[Task, Result], None] = lambda task, result: None,
) -> list[Result]:
    """Apply a function to every task; results in the order of the tasks.

    Args:
        function: called with a resource, which no other call has meanwhile, and a task.
        make_resource: makes what is expensive to set up and kept from task to task.
        jobs: tasks at a time; 0 is one a core.
        on_done: called in this thread as each task ends.

    Whatever ends this call early, Ctrl-C and a task's exception included, interrupts the
    resources, so that calls under way end, too.
    """
    local = threading.local()
    resources: list[Resource] = []
    stopping = threading.Event()

    def run_one(task: Task) -> Result:
        if stopping.is_set():
            raise RuntimeError("another task failed")
        if not hasattr(local, "resource"):
            local.resource = make_resource()
            resources.append(local.resource)
            if stopping.is_set():
                local.resource.interrupt()
        return function(local.resource, task)

    pool = ThreadPoolExecutor(min(jobs or available_cores(), max(len(tasks), 1)))
    try:
        futures = [pool.submit(run_one, task) for task in tasks]
        task_of = dict(zip(futures, tasks, strict=True))
        pending: set[Future[Result]] = set(futures)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                on_done(task_of[future], future.result())
    finally:
        stopping.set()
        for resource in list(resources):
            resource.interrupt()
        pool.shutdown(cancel_futures=True)
        for resource in resources:
            resource.close()
    return [future.result() for future in futures]

"""Independent tasks on all cores: a thread each, driving worker processes of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar


class Closable(Protocol):
    def close(self) -> None: ...


Resource = TypeVar("Resource", bound=Closable)
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

    Whatever ends this call early, Ctrl-C and a task's exception included, closes the resources,
    so that calls under way in their processes end, too.
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
                local.resource.close()
        return function(local.resource, task)

    with ThreadPoolExecutor(min(jobs or available_cores(), max(len(tasks), 1))) as pool:
        futures: list[Future[Result]] = []
        pending: set[Future[Result]] = set()
        try:
            futures += (pool.submit(run_one, task) for task in tasks)
            task_of = dict(zip(futures, tasks, strict=True))
            pending = set(futures)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    on_done(task_of[future], future.result())
        finally:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for resource in list(resources):
                resource.close()
    return [future.result() for future in futures]

"""Worker processes that are started before it is known what they are to construct."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from codezero.isolation.process import WorkerProcess, fork_or_spawn

_waiting: dict[str, WorkerProcess] = {}
"""Those that no worker has taken, by the modules that they have imported."""


@contextmanager
def started_ahead(target: str) -> Iterator[None]:
    """Have a process for the first worker of a target, which has imported what that needs.

    It takes as long as all else that comes before: this is for the first thing that a command does.

    Args:
        target: as for `Worker`.
    """
    module = module_of(target)
    if module not in _waiting:
        _waiting[module] = fork_or_spawn(module)
    try:
        yield
    finally:
        unused = take(module)
        if unused is not None:
            unused.end()


def take(module: str) -> WorkerProcess | None:
    """The process that has been started for a module, if there is one that still runs."""
    started = _waiting.pop(module, None)
    if started is not None and started.process.poll() is not None:
        started.end()  # someone has stopped it
        return None
    return started


def module_of(target: str) -> str:
    return target.partition(":")[0]

"""Isolation: LLVM may abort, hang or exhaust memory; here that costs a child process."""

from codezero.isolation.ahead import started_ahead
from codezero.isolation.commands import CommandRunner, CommandStopped
from codezero.isolation.worker import (
    Worker,
    WorkerCrashed,
    WorkerFailure,
    WorkerTimedOut,
)

__all__ = [
    "CommandRunner",
    "CommandStopped",
    "Worker",
    "WorkerCrashed",
    "WorkerFailure",
    "WorkerTimedOut",
    "started_ahead",
]

"""Isolation: LLVM may abort, hang or exhaust memory; here that costs a child process."""

from codezero.isolation.worker import (
    Worker,
    WorkerCrashed,
    WorkerFailure,
    WorkerTimedOut,
)

__all__ = ["Worker", "WorkerCrashed", "WorkerFailure", "WorkerTimedOut"]

"""A worker: an object that lives in a process of its own, called as if it were here.

The child is a fresh interpreter rather than a fork, so that it inherits no threads, no locks and
no GPU, and rather than one of `multiprocessing`, so that callers need no ``__main__`` guard. Only a
command that has done nothing yet forks (`codezero.isolation.ahead`). The child ignores Ctrl-C,
which is its parent's to handle, and dies with its parent however that dies.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from codezero.isolation.ahead import module_of, take
from codezero.isolation.process import WorkerProcess, spawn

DEFAULT_MEMORY_LIMIT = 6 << 30
"""Address space of a child in bytes. A pass that grows a program without bound ends here."""

STARTUP_SECONDS = 60.0
"""Time for a child to import and construct its object, on a machine however busy."""


class WorkerFailure(Exception):
    """A call that ended its process. The worker has to be started again."""


class WorkerCrashed(WorkerFailure):
    """The process ended by itself: LLVM aborted, or ran out of memory or stack."""


class WorkerTimedOut(WorkerFailure):
    """The call overran its time and the process was killed."""


class Worker:
    """An instance of a class in a child process.

    Args:
        target: ``"package.module:Class"``, importable in the child.
        kwargs: arguments of the class, pickled.
        memory_limit: address space of the child in bytes.
        pass_fds: file descriptors that the child inherits under the same numbers.
        environment: variables to set in the child, besides this process's.

    One call is under way at a time. `call` waits for its result; `send` and `receive` are its two
    halves, for a caller that has several workers to wait for (see `fileno`).
    """

    def __init__(
        self,
        target: str,
        kwargs: dict[str, Any] | None = None,
        *,
        memory_limit: int = DEFAULT_MEMORY_LIMIT,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._setup = pickle.dumps((target, kwargs or {}, memory_limit))
        self._module = module_of(target)
        self._pass_fds = tuple(pass_fds)
        self._environment = dict(environment or {})
        self._child: WorkerProcess | None = None
        self._ready = False
        self._interrupted = False
        self._lock = threading.Lock()
        """Held while the process is started or let go of: `interrupt` comes from other threads."""

    def start(self) -> None:
        """Start the child if none runs; return without waiting for it. Calls start it as needed."""
        with self._lock:
            if self._interrupted:
                raise WorkerFailure("the worker is closed")
            if self._child is not None:
                return
            child = None if self._pass_fds or self._environment else take(self._module)
            if child is None:
                child = spawn({**os.environ, **self._environment}, self._pass_fds)
            self._child = child
        self._ready = False
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            child.connection.send_bytes(self._setup)

    def fileno(self) -> int:
        """Readable when the call under way has ended, by whatever end."""
        assert self._child is not None, "no call is under way"
        return self._child.connection.fileno()

    def send(self, method: str, *args: Any) -> None:
        """Begin a call. That the process has died meanwhile shows in `receive`.

        Raises:
            WorkerFailure: the process does not come up.
            Exception: what the object's constructor raised.
        """
        self.start()
        if not self._ready:
            try:
                self._receive(time.monotonic() + STARTUP_SECONDS)
            except Exception:
                self.kill()  # there is no object to call
                raise
            self._ready = True
        assert self._child is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._child.connection.send_bytes(pickle.dumps((method, args), pickle.HIGHEST_PROTOCOL))

    def receive(self, timeout: float | None = None) -> Any:
        """The result of the call under way.

        Args:
            timeout: seconds to wait; afterwards the process is killed. None waits for ever.

        Raises:
            WorkerCrashed, WorkerTimedOut: the process is gone; the next call starts a new one.
            Exception: what the method raised.
        """
        return self._receive(None if timeout is None else time.monotonic() + timeout)

    def call(self, method: str, *args: Any, timeout: float | None = None) -> Any:
        """Call a method of the object, or of a part of it (``part.method``); see `receive`."""
        try:
            self.send(method, *args)
            return self.receive(timeout)
        except KeyboardInterrupt:
            # Whatever the child still answers would be taken for the next call's result.
            self.kill()
            raise

    def _receive(self, deadline: float | None) -> Any:
        assert self._child is not None, "no call is under way"
        remaining = None if deadline is None else 1_000 * max(0.0, deadline - time.monotonic())
        try:
            if not self._child.poll.poll(remaining):
                self.kill()
                raise WorkerTimedOut("no answer in time")
            succeeded, result = pickle.loads(self._child.connection.recv_bytes())
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise self._crashed() from None
        if succeeded:
            return result
        raise result

    def _crashed(self) -> WorkerCrashed:
        assert self._child is not None
        # The connection closes a moment before the process is gone.
        code = self._child.process.wait()
        words = self._child.words()
        self.kill()
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        # LLVM names the error in its first line; a stack dump may follow.
        return WorkerCrashed(f"{cause}: {words[0]}" if words else cause)

    def kill(self) -> None:
        """End the process at once. The next call starts a new one."""
        if self._child is None:
            return
        with self._lock:
            self._child.end()
            self._child = None

    def interrupt(self) -> None:
        """End the process for good. May be called from any thread.

        A call under way and later ones raise `WorkerFailure` in the threads that make them.
        """
        with self._lock:
            self._interrupted = True
            if self._child is not None:
                self._child.process.kill()

    def close(self) -> None:
        """End the process for good, and free what it held: later calls raise `WorkerFailure`."""
        self.interrupt()
        self.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        # At interpreter exit the child notices by itself that its parent is gone.
        if self._child is not None and os is not None:
            self.kill()

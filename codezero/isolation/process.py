"""The process of a worker, as its parent has it: spawned, or forked where that is safe."""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

from codezero.isolation import child

_BOOTSTRAP = "import sys; sys.path[:] = {path!r}; from codezero.isolation.child import main; main()"


class _Process(Protocol):
    """What is needed of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def kill(self) -> None: ...


class WorkerProcess:
    """A process that waits for what it is to construct; see `spawn` and `fork_or_spawn`."""

    def __init__(
        self, process: _Process, life: IO[bytes], connection: socket.socket, output: IO[bytes]
    ) -> None:
        self.process = process
        self._life = life
        """Closes when this process dies, and so ends the child."""
        self._output = output
        self.connection: Connection[Any, Any] = Connection(connection.detach())
        # Connection.poll makes a selector on every call; this is made once.
        self.poll = select.poll()
        self.poll.register(self.connection.fileno(), select.POLLIN)

    def words(self) -> list[str]:
        """Lines that it has printed."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace").strip().splitlines()

    def end(self) -> None:
        """End it at once, and free what it held."""
        self.process.kill()
        self.process.wait()
        self._life.close()
        self.connection.close()
        self._output.close()


def spawn(
    environment: Mapping[str, str], pass_fds: Sequence[int] = (), module: str = ""
) -> WorkerProcess:
    """Start a fresh interpreter.

    Args:
        environment: all of its variables.
        pass_fds: file descriptors that it inherits under the same numbers.
        module: what it imports while it waits.
    """
    ours, theirs = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
    bootstrap = _BOOTSTRAP.format(path=[entry for entry in sys.path if entry])
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", bootstrap, str(theirs.fileno()), module],
            pass_fds=(theirs.fileno(), *pass_fds),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
        )
    assert process.stdin is not None
    return WorkerProcess(process, process.stdin, ours, output)


def fork_or_spawn(module: str) -> WorkerProcess:
    """Start a copy of this process if it has no threads, which has all that is imported already.

    A fresh interpreter takes far longer for that.

    Args:
        module: that the process needs, and this one as well.
    """
    if _has_threads():
        return spawn(os.environ, module=module)
    with contextlib.suppress(Exception):  # which shows when it is needed
        importlib.import_module(module)
    return spawn(os.environ, module=module) if _has_threads() else _fork()


def _has_threads() -> bool:
    """Whether one may have a lock that no one would give back in a copy of this process."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) > 1
    except OSError:
        return True


def _fork() -> WorkerProcess:
    ours, theirs = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
    begins, ends = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # once, and not in both
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        pid = os.fork()
        if not pid:
            os.close(ends)
            ours.close()
            _serve(begins, output.fileno(), theirs.detach())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(begins)
    theirs.close()
    return WorkerProcess(_Forked(pid), os.fdopen(ends, "wb"), ours, output)


def _serve(stdin: int, output: int, connection: int) -> NoReturn:
    """What a forked process does."""
    try:
        for source, standard in ((stdin, 0), (output, 1), (output, 2)):
            os.dup2(source, standard)
        child.serve(connection)
    finally:
        os._exit(1)


class _Forked:
    """A child of this process that `subprocess` does not know."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        if self._code is None:  # without the lock: others may ask meanwhile, or end it
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        code = self._wait(0)
        assert code is not None
        return code

    def _wait(self, options: int) -> int | None:
        with self._lock:
            if self._code is None:
                try:
                    pid, status = os.waitpid(self.pid, options)
                    self._code = os.waitstatus_to_exitcode(status) if pid else None
                except ChildProcessError:  # SIGCHLD is ignored: no one can tell
                    self._code = 0
            return self._code

    def kill(self) -> None:
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._code is None:
                os.kill(self.pid, signal.SIGKILL)

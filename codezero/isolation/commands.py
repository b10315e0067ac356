"""Other programs, compilers above all, run as children that another thread can stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


class CommandStopped(Exception):
    """`CommandRunner.interrupt` ended the command, or came before it."""


class CommandRunner:
    """Runs one command at a time.

    Args:
        timeout: seconds after which a command is killed.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._interrupted = False

    def run(
        self,
        command: Sequence[str],
        stdin: bytes = b"",
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        discard_output: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, whatever its exit code.

        Args:
            stdin: what it reads.
            cwd: where it runs; None is here.
            environment: variables to set, besides this process's.
            timeout: instead of the runner's own.
            discard_output: keep nothing of what it prints, however much that is.

        Raises:
            CommandStopped: see `interrupt`.
            subprocess.TimeoutExpired: it was killed.
            OSError: it cannot be started.
        """
        with self._lock:
            if self._interrupted:
                raise CommandStopped(command[0])
            pipe = subprocess.PIPE
            sink = subprocess.DEVNULL if discard_output else pipe
            # In a session of its own, so that it can be killed with all that it has started.
            process = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
            )
            self._process = process
        try:
            output, errors = process.communicate(stdin, timeout or self.timeout)
        finally:
            # What it has left behind, too: a configure step may start a daemon.
            _kill_session(process)
            process.wait()
            with self._lock:
                self._process = None
        if self._interrupted:
            raise CommandStopped(command[0])
        return subprocess.CompletedProcess(
            command, process.returncode, output or b"", errors or b""
        )

    def interrupt(self) -> None:
        """Kill the command under way and refuse later ones. May be called from any thread."""
        with self._lock:
            self._interrupted = True
            if self._process is not None:
                _kill_session(self._process)


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

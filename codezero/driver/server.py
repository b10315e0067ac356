"""The server that works for the drivers: LLVM and the agent, loaded once for a whole build.

A process that has those loaded takes longer to start than most sources take to compile. The first
driver of a build starts it (`native/driver/server.cpp`), and it ends when there has been nothing to
do for a while. It writes nothing of the user's: drivers do.
"""

from __future__ import annotations

import contextlib
import os
import socketserver
import sys
import threading
import time
from typing import NoReturn

from codezero.driver.compilations import Compilations
from codezero.driver.conversation import hold
from codezero.driver.messages import Gone

IDLE_SECONDS = 60.0
"""Without a compilation, after which the server ends."""
LOCK = 3
"""The file that is locked for as long as it is open in this process."""
WAITING = 256
"""Drivers that may wait to be heard."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on a socket; a thread a driver."""

    daemon_threads = True
    request_queue_size = WAITING
    timeout = 1.0  # of handle_request

    def __init__(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of one that was killed: this one has the lock
        self._path = path
        super().__init__(path, _Conversation)
        self._socket = os.stat(path)
        self.compilations = Compilations()
        self._lock = threading.Lock()
        self._active = 0
        self._has_lock = True
        self._last = time.monotonic()

    def serve_until_idle(self) -> None:
        """Serve until there has been nothing to do for `IDLE_SECONDS`."""
        while self._active or (
            time.monotonic() - self._last < IDLE_SECONDS and self._can_be_found()
        ):
            self.handle_request()
            if self._has_lock and not self._can_be_found():
                os.close(LOCK)  # drivers may start another server, while this one ends its work
                self._has_lock = False

    def server_close(self) -> None:
        if self._can_be_found():
            os.unlink(self._path)
        super().server_close()

    def _can_be_found(self) -> bool:
        """Whether the socket is still there: someone may clean up."""
        try:
            return os.path.samestat(os.stat(self._path), self._socket)
        except FileNotFoundError:
            return False

    def count(self, change: int) -> None:
        with self._lock:
            self._active += change
            self._last = time.monotonic()


class _Conversation(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        with contextlib.suppress(Gone):  # the driver was stopped
            hold(self.request, self.server.compilations)

    def setup(self) -> None:
        self.server.count(+1)

    def finish(self) -> None:
        self.server.count(-1)


def main() -> NoReturn:
    """The command ``codezero-server``, which drivers start.

    Serves on the socket that is named. `LOCK` is held.
    """
    (path,) = sys.argv[1:]
    os.chdir("/")  # not to keep a folder from being removed
    with Server(path) as server:
        threading.Thread(target=server.compilations.warm_up, daemon=True).start()
        server.serve_until_idle()
        server.compilations.close()
    os._exit(0)  # tearing down LLVM takes time

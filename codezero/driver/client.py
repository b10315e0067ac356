"""The driver's side: finding the server, or starting it.

A process that has LLVM and an agent loaded takes longer to start than most sources take to
compile, so that one works for all compilations of a build, and ends when there have been none for
a while. Where it listens, `native/driver/server.cpp` says. It holds a lock as long as it lives,
which is passed on to it by whoever starts it: of many drivers that find none, one starts it, and
the others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import sys
import time

from codezero.driver.messages import receive, send
from codezero.errors import CodeZeroError

TYPE_CHECKING = False  # as in codezero/__init__.py
if TYPE_CHECKING:
    import subprocess

START_SECONDS = 60.0
"""For the server to come up, on a machine however busy."""
ANSWER_SECONDS = 900.0
"""For an answer, with many others before it."""


class ServerError(CodeZeroError):
    """There is no server, and none can be started."""


class Server:
    """The server, as one call of a driver sees it.

    Args:
        path: where it listens.
        conversation: what has come of the question whether all is known: the number of an open
            file, a connection that goes on; ``none``: there is no server, and one is started here,
            but not waited for; ``stuck``: it does not answer.
    """

    def __init__(self, path: str, conversation: str) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self.is_stuck = conversation == "stuck"
        if conversation.isdecimal():
            self._connection = socket.socket(fileno=int(conversation))
            self._connection.settimeout(ANSWER_SECONDS)
            self._connection.set_inheritable(False)
        elif not self.is_stuck:
            with contextlib.suppress(ServerError):  # which `connect` says, if it comes to that
                _start(path)

    def jobs(self) -> bytes:
        """What clang's driver made of the same words the last time, if that is known."""
        if self._connection is None:
            return b""
        try:
            send(self._connection, {"jobs": True})
            return receive(self._connection)[1]
        except OSError:
            self.forget()
            return b""

    def forget(self) -> None:
        """End the conversation."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def connect(self) -> socket.socket:
        """The conversation that has begun, or a new one; the caller closes it.

        Raises:
            ServerError: there is no server, and it cannot be started.
        """
        connection, self._connection = self._connection, None
        return connection or _connect_or_start(self._path)


def _connect_or_start(path: str) -> socket.socket:
    _check_folder(path)
    deadline = time.monotonic() + START_SECONDS
    started: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        connection = _connect(path)
        if connection is not None:
            return connection
        if started is None:
            started = _start(path)
        elif started.poll() is not None:
            raise ServerError(f"the server does not start: {_last_words(path)}")
        time.sleep(0.01)
    raise ServerError(f"the server does not start within {START_SECONDS:g} s")


def _connect(path: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_SECONDS)
    try:
        connection.connect(path)
        return connection
    except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise ServerError(f"{path}: {error.strerror or error}") from None


def _check_folder(path: str) -> None:
    """Make the folder of a socket if need be; nobody else can write to it."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise ServerError(f"{folder}: {error.strerror}") from None
    # Whoever else may write there could be the server.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ServerError(f"{folder} is not this user's alone")


def _start(path: str) -> subprocess.Popen[bytes] | None:
    """Start the server, unless another driver just does; it is not waited for.

    Raises:
        ServerError: it cannot be started.
    """
    import subprocess  # not needed where there is one

    _check_folder(path)
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServerError(f"{path}.lock: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        search = [os.path.abspath(entry) for entry in sys.path if entry]
        code = (
            f"import sys; sys.path[:] = {search!r}; from codezero.driver.server import main; main()"
        )
        with open(f"{path}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code, path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=[lock],  # held as long as the server lives
                start_new_session=True,  # Ctrl-C is for the build
            )
    except BlockingIOError:
        return None
    except OSError as error:
        raise ServerError(f"the server does not start: {error.strerror}") from None
    finally:
        os.close(lock)


def _last_words(path: str) -> str:
    try:
        with open(f"{path}.log", errors="replace") as log:
            lines = log.read().strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it says nothing"

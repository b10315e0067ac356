"""The driver's side: finding the server, or starting it.

A process that has LLVM and an agent loaded takes longer to start than most sources take to
compile, so that one works for all compilations of a build, and ends when there have been none for
a while. It holds a lock as long as it lives, which is passed on to it by whoever starts it: of many
drivers that find none, one starts it, and the others wait.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import sys
import time
import zlib

import codezero
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


def connect() -> socket.socket:
    """A connection to the server of this version, this user and this machine.

    Raises:
        ServerError: there is none, and it cannot be started.
    """
    path = socket_path()
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


def connect_or_start() -> socket.socket | None:
    """The same if there is one. If not, one is started, but not waited for."""
    path = socket_path()
    connection = _connect(path)
    if connection is None:
        _start(path)
    return connection


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


def socket_path() -> str:
    """Where the server listens.

    Raises:
        ServerError: there is no folder that is this user's alone.
    """
    package = os.path.dirname(codezero.__file__)
    this = f"{codezero.__version__} {sys.executable} {package} {_file_systems()}".encode()
    name = f"cc-{zlib.crc32(this):08x}"
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isdir(base) and len(base) < LONGEST_BASE:
        return os.path.join(_of_this_user(os.path.join(base, "codezero")), name)
    return os.path.join(_of_this_user(f"/tmp/codezero-{os.getuid()}"), name)


LONGEST_BASE = 80
"""Of a socket's path, which has to be short (sun_path in sys/un.h)."""


def _file_systems() -> str:
    """Tells one view of the files from another, as in a container that shares a folder: the server
    looks at files by their names."""
    root = os.stat("/")
    try:
        space = os.readlink("/proc/self/ns/mnt")
    except OSError:
        space = ""
    return f"{root.st_dev} {root.st_ino} {space}"


def _of_this_user(folder: str) -> str:
    """A folder that nobody else can write to, made if need be."""
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise ServerError(f"{folder}: {error.strerror}") from None
    # Whoever else may write there could be the server.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ServerError(f"{folder} is not this user's alone")
    return folder


def _start(path: str) -> subprocess.Popen[bytes] | None:
    """Start the server, unless another driver just does."""
    import subprocess  # not needed where there is one

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

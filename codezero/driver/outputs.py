"""What a driver leaves behind: files that are whole, messages, and a record.

Drivers start with this file, so that it imports little. What they leave where the server knows the
answer, `native/driver/outputs.cpp` writes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from codezero.driver import records
from codezero.driver.messages import Message
from codezero.driver.settings import OFF, DriverSettings

unfinished: list[str] = []
"""Files that are not whole yet, and folders of temporary files: gone when the driver is stopped."""


def clean_up_if_stopped() -> None:
    """Have signals end this process as they would, but that nothing unfinished is left."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: object) -> None:
    clean_up()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def clean_up() -> None:
    """Remove what is unfinished."""
    for path in unfinished:
        if os.path.isdir(path):
            import shutil  # seldom needed, and slow to import

            shutil.rmtree(path, ignore_errors=True)
        else:
            _unlink(path)


def write(output: str, data: bytes) -> None:
    """As `codezero.files.replacing`, which takes longer to import. Raises `OSError`."""
    temporary = f"{output}.{os.getpid()}.tmp"
    unfinished.append(temporary)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(data)
        os.replace(temporary, output)
    except BaseException:
        _unlink(temporary)
        raise
    finally:
        unfinished.remove(temporary)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def is_special(path: str) -> bool:
    """Whether it is standard output, a device or the like, which is not to be replaced."""
    return path == "-" or (os.path.exists(path) and not os.path.isfile(path))


def print_messages(messages: bytes) -> None:
    """To standard error, as they are."""
    if sys.stderr is not None:
        sys.stderr.flush()
        sys.stderr.buffer.write(messages)
        sys.stderr.flush()


def record(settings: DriverSettings, output: str, source: str, said: Message) -> None:
    """Leave a record of an object; see `codezero.driver.records`."""
    if settings.records == OFF:
        return
    line = records.to_line(os.path.abspath(output), os.path.abspath(source), said)
    records.append(settings.records, line)

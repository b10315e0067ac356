"""The child's side of a worker: construct an object, then answer calls until the parent is gone."""

from __future__ import annotations

import contextlib
import importlib
import operator
import os
import pickle
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any, NoReturn


def main() -> None:
    """What a fresh interpreter does; see `codezero.isolation.process.spawn`."""
    number, module = sys.argv[1:]
    _ignore_signals()
    with contextlib.suppress(Exception):  # which shows when it is constructed
        if module:
            importlib.import_module(module)
    serve(int(number))


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all; the parent decides
        signal.signal(number, signal.SIG_IGN)


def serve(number: int) -> NoReturn:
    """Construct what is asked for, answer calls, and end the process with the parent.

    Args:
        number: of the file descriptor of the connection to the parent.
    """
    _ignore_signals()
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    connection: Connection[Any, Any] = Connection(number)
    try:
        target, kwargs, memory_limit = pickle.loads(connection.recv_bytes())
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            memory_limit = min(memory_limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        instance = _construct(connection, target, kwargs)
        while instance is not None:
            method, args = pickle.loads(connection.recv_bytes())
            _answer(connection, operator.attrgetter(method)(instance), args)
    except (EOFError, ConnectionResetError, BrokenPipeError):
        pass
    # Nothing is left to save, and tearing down LLVM takes time.
    os._exit(0)


def _exit_with_parent() -> None:
    """End this process when its parent is gone, even in the middle of a pass that never ends.

    Standard input is a pipe that the parent never writes to and that closes when it dies. Passes
    run without the GIL, so this thread is never held up.
    """
    os.read(0, 1)
    os._exit(0)


def _construct(connection: Connection[Any, Any], target: str, kwargs: dict[str, Any]) -> Any:
    module, _, name = target.partition(":")
    instance: list[Any] = []
    _answer(
        connection,
        lambda: instance.append(getattr(importlib.import_module(module), name)(**kwargs)),
        (),
    )
    return instance[0] if instance else None


def _answer(connection: Connection[Any, Any], function: Any, args: tuple[Any, ...]) -> None:
    try:
        message = pickle.dumps((True, function(*args)), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        # It may have come through LLVM, which is not made to be left by an exception.
        os.write(sys.stderr.fileno(), b"out of memory\n")
        os.abort()
    except Exception as error:
        message = pickle.dumps((False, _picklable(error)), pickle.HIGHEST_PROTOCOL)
    connection.send_bytes(message)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")

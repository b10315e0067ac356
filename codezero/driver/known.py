"""The first that a driver does: ask the server whether all of it has been done before.

If so, it is done, and neither clang nor what else a driver needs has been started. See
`codezero.driver.seen` for what the server knows.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from codezero.driver import client, outputs
from codezero.driver.messages import Message, receive, send
from codezero.driver.settings import DriverSettings

QUESTION_SECONDS = 15.0
"""For an answer that takes neither clang nor LLVM."""


class Asked:
    """What has come of a question, where it was not the answer."""

    server: socket.socket | None = None
    """A conversation that has begun."""
    is_server_stuck = False
    failure = ""
    """What of ours has failed that should not."""

    def forget(self) -> None:
        """End the conversation."""
        if self.server is not None:
            self.server.close()
        self.server = None


def ask(compiler: str, arguments: Sequence[str], settings: DriverSettings) -> Asked:
    """Ask; where it is known what comes of these words, write that, and end the process."""
    outputs.clean_up_if_stopped()
    asked = Asked()
    try:
        _ask(asked, compiler, arguments, settings)
    except Exception as error:
        asked.failure = f"{type(error).__name__}: {error}"
    return asked


def _ask(asked: Asked, compiler: str, arguments: Sequence[str], settings: DriverSettings) -> None:
    if any(word.startswith("@") or word.endswith("=native") for word in arguments):
        return
    question = {
        "arguments": [*as_at_a_terminal(), *arguments],
        "directory": os.getcwd(),
        "environment": [os.environ.get(name) for name in _ENVIRONMENT],
        "compiler": identity(compiler),
        # Where records go makes no difference.
        "settings": settings._replace(records="")._asdict(),
    }
    try:
        asked.server = client.connect_or_start()
        if asked.server is None:
            return
        asked.server.settimeout(QUESTION_SECONDS)
        send(asked.server, {"question": question})
        answer, data = receive(asked.server)
        asked.server.settimeout(client.ANSWER_SECONDS)
    except TimeoutError:
        asked.is_server_stuck = True
        asked.forget()
        return
    except (OSError, client.ServerError):
        asked.forget()
        return
    if answer["answer"] == "object":
        _finish(settings, answer, data)
        asked.forget()


def _finish(settings: DriverSettings, answer: Message, data: bytes) -> None:
    """Write what the server has known, and end the process; unless that cannot be written."""
    dependencies = answer["dependency_file"]
    if outputs.is_special(answer["output"]) or (
        dependencies and outputs.is_special(dependencies[0])
    ):
        return
    try:
        if dependencies is not None:
            outputs.write(dependencies[0], dependencies[1].encode("latin-1"))
        outputs.write(answer["output"], data)
    except OSError:
        return
    outputs.record(settings, answer["output"], answer["source"], answer["record"])
    outputs.print_messages(answer["messages"].encode("latin-1"))
    os._exit(0)  # to tear an interpreter down takes a tenth of all this


_ENVIRONMENT = (
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH"),
    *("OBJCPLUS_INCLUDE_PATH", "SOURCE_DATE_EPOCH", "CCC_OVERRIDE_OPTIONS", "COMPILER_PATH"),
    *("GCC_EXEC_PREFIX", "HOME", "LANG", "LC_ALL", "PWD", "SDKROOT", "CLANG_NO_DEFAULT_CONFIG"),
    *("MACOSX_DEPLOYMENT_TARGET", "IPHONEOS_DEPLOYMENT_TARGET", "TVOS_DEPLOYMENT_TARGET"),
    *("WATCHOS_DEPLOYMENT_TARGET", "XROS_DEPLOYMENT_TARGET", "DRIVERKIT_DEPLOYMENT_TARGET"),
)
"""Variables that clang reads."""


def as_at_a_terminal() -> list[str]:
    """Flags by which clang's messages look as they do at a terminal, if there is one."""
    try:
        columns = os.get_terminal_size(2).columns
    except OSError:
        return []
    is_plain = os.environ.get("TERM", "dumb") == "dumb" or "NO_COLOR" in os.environ
    color = [] if is_plain else ["-fcolor-diagnostics"]
    return [*color, *([f"-fmessage-length={columns}"] if columns else [])]


def identity(compiler: str) -> str:
    """Tells one clang from another."""
    status = os.stat(compiler)
    return f"{compiler} {status.st_size} {status.st_mtime_ns}"

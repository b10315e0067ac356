"""``codezero-cc``, ``codezero-c++``, ``codezero-flang``: clang and flang, with smaller objects.

What is compiled at -Oz or -Os has its passes chosen by the agent; all else is clang's, and clang
takes the place of this process for it.

This is what starts before each command of a build, links and configure's tests among them, so that
it imports nothing that takes time.
"""

from __future__ import annotations

import os
import signal
import sys

from codezero.compiler.toolchain import CLANG, CLANGXX, FLANG, SIZE_LEVELS, Tool, as_taken
from codezero.errors import CodeZeroError

TYPE_CHECKING = False  # as in codezero/__init__.py
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def cc() -> NoReturn:
    """The command ``codezero-cc``."""
    _main(CLANG)


def cxx() -> NoReturn:
    """The command ``codezero-c++``."""
    _main(CLANGXX)


def flang() -> NoReturn:
    """The command ``codezero-flang``."""
    _main(FLANG)


def _main(tool: Tool) -> NoReturn:
    # As for any program that Python has not started.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
    try:
        compiler = tool.require()
        if not may_compile(arguments, os.environ.get("CODEZERO_ALWAYS", "") not in ("", "0")):
            os.execv(compiler, [compiler, *as_taken(arguments, tool)])
        from codezero.driver.known import ask
        from codezero.driver.settings import DriverSettings

        settings = DriverSettings.read()
        asked = ask(compiler, arguments, settings)
        from codezero.driver.driver import drive

        drive(name, tool, arguments, settings, asked)
    except CodeZeroError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        sys.exit(1)


def may_compile(arguments: Sequence[str], always: bool) -> bool:
    """Whether there can be something for us to do: to ask clang takes as long as many a job.

    Args:
        always: whatever the level.
    """
    if any(word in _NO_OBJECT or word.startswith(_NO_OBJECT_BEGIN) for word in arguments):
        return False
    if always or any(word.startswith("@") for word in arguments):
        return True
    return level_of(arguments) in SIZE_LEVELS


def level_of(arguments: Sequence[str]) -> str:
    """The level of optimisation: the last counts."""
    return next(filter(LEVELS.__contains__, reversed(arguments)), "-O0")


LEVELS = frozenset(("-O", "-O0", "-O1", "-O2", "-O3", "-Og", "-Os", "-Oz", "-Ofast"))
_NO_OBJECT = frozenset(
    (
        *("-E", "-S", "-M", "-MM", "-fsyntax-only", "-v", "-###", "-emit-llvm", "-emit-ast"),
        *("--analyze", "-help", "--help", "--version", "-dumpmachine", "-dumpversion"),
        "-fdriver-only",
    )
)
_NO_OBJECT_BEGIN = (
    *("-print-", "--print-"),
    # What clang's driver writes itself, and does not where it is only asked.
    *("-MJ", "-gen-cdb-fragment-path", "--gen-cdb-fragment-path", "-fproc-stat-report"),
    *("-save-stats", "--save-stats"),
)

"""The ``codezero`` command: one file a subcommand, imported when it is called."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

import codezero
from codezero.errors import CodeZeroError

COMMANDS = {
    "optimize": "Make programs smaller than clang -Oz makes them",
    "evaluate": "Compare ways to choose passes over suites of programs",
    "corpus": "Build collections of programs to train on, and look into them",
    "suite": "Make held-out suites of Debian source packages",
    "portfolio": "Measure lists of passes, and train what chooses among them",
    "search": "Find one list of passes that suits many programs",
    "train": "Train an agent on a corpus",
    "curve": "Draw what training runs reached on validation",
    "world": "Show what a trained world model foresees of what passes do",
    "export": "Write a trained policy as an agent that needs no PyTorch",
    "link": "Optimise a whole program as one while it is linked",
    "report": "Show what the drivers of a build have saved",
    "fuzz": "Run random pass sequences and reduce what goes wrong",
    "doctor": "Say what is installed, what is missing and how to install it",
}

OF_EPISODES = {"optimize"}
"""Commands whose first need is a process for an episode, and that end soon after."""
HELP = {"-h", "--help"}

USAGE = """\
usage: codezero COMMAND [OPTIONS] [-- COMPILER FLAGS]

{commands}

codezero COMMAND --help shows a command's options; codezero --version, the version.
"""

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 some of the work failed, 2 bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # As Ctrl-C: what a command has started and unpacked is to end and go with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _interrupt_again
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may be any bytes
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except CodeZeroError as error:
        print(f"codezero: {error}", file=sys.stderr)
        code = EXIT_BAD_INPUT
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of our output has gone (`codezero ... | head`); nothing more can be said.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        else:
            print(f"codezero: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("codezero: interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    if argv is None and arguments and arguments[0] in OF_EPISODES:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End this process, whose command is over, without taking down NumPy, ONNX Runtime and LLVM.

    That takes as long as to try a list of passes.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # it may be closed
            stream.flush()
    os._exit(code)


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Have Ctrl-C come again that came where Python ignores exceptions.

    It does in callbacks of the import system among others, and imports are half of a start.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(unraisable)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(commands=_summaries()), end="")
        return 0 if arguments else EXIT_BAD_INPUT
    if arguments[0] == "--version":
        print(f"codezero {codezero.__version__}")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        raise CodeZeroError(f"no command '{command}'; choose from: {', '.join(COMMANDS)}")
    flags: list[str] = []
    if "--" in rest:
        end = rest.index("--")
        rest, flags = rest[:end], rest[end + 1 :]
    module = importlib.import_module(f"codezero.cli.{command}")
    code: int
    if command in OF_EPISODES and not HELP.intersection(rest):
        code = _run_with_episode(module, rest, flags)
    else:
        code = module.run(rest, flags)
    return code


def _run_with_episode(module: ModuleType, arguments: list[str], flags: list[str]) -> int:
    """Run a command while an episode's process starts beside all else that is to be imported."""
    from codezero.env import EPISODE
    from codezero.isolation import started_ahead

    # NumPy is there for a few small products, and threads that wait for larger ones take the cores
    # that passes run on.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with started_ahead(EPISODE):
        code: int = module.run(arguments, flags)
        return code


def _summaries() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())

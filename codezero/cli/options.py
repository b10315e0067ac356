"""Command-line options by tyro, with its complaints in one line.

To import and use it takes as long as clang takes for a small file, so that ``optimize`` alone,
whose time is compared with that, has its options by argparse.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeVar

from codezero.errors import CodeZeroError

T = TypeVar("T")
ObjectiveName = Literal["text", "loaded", "instructions"]
ProtocolName = Literal["clang", "paper"]


def parse(options: type[T], command: str, arguments: Sequence[str], default: T | None = None) -> T:
    """An object of a dataclass from a command's arguments.

    Raises:
        CodeZeroError: an option that there is not, or a value that it cannot have.
        SystemExit: help was asked for, and printed.
    """
    import tyro

    prog, words = f"codezero {command}", list(arguments)
    with _in_one_line(command):
        if default is None:
            return tyro.cli(options, prog=prog, args=words)
        return tyro.cli(options, prog=prog, args=words, default=default)


def parse_subcommand(
    subcommands: Mapping[str, Callable[..., Any]], command: str, arguments: Sequence[str]
) -> Any:
    """The same for a command of several, each a dataclass; raises as `parse`."""
    import tyro

    with _in_one_line(command):
        return tyro.extras.subcommand_cli_from_dict(
            dict(subcommands), prog=f"codezero {command}", args=list(arguments)
        )


class LineParser(argparse.ArgumentParser):
    """A parser by argparse whose complaints are errors of ours."""

    def error(self, message: str) -> NoReturn:
        raise CodeZeroError(f"{self.prog.partition(' ')[2]}: {message}; see {self.prog} --help")


@contextlib.contextmanager
def _in_one_line(command: str) -> Iterator[None]:
    """What tyro would print as a box on standard error becomes an error of ours."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            yield
    except SystemExit as end:
        if not end.code:
            raise
        raise CodeZeroError(f"{command}: {_summary(complaint.getvalue())}") from None


def _summary(box: str) -> str:
    """What is wrong, the options that may have been meant, and where they are explained."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()[1:-1]]
    end = lines.index("") if "" in lines else len(lines)  # at the first rule
    message = " ".join(lines[:end]).rstrip(".")
    meant = [line.split()[0] for line in lines[end:] if re.match(r"--\w", line)]
    help_ = re.findall(r"codezero [\w ]*--help", box)[:1]
    return f"{message}; see {', '.join(dict.fromkeys([*meant, *help_]))}"

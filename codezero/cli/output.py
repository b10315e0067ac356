"""What commands print: tables for people, plain columns for pipes, and files written whole."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from codezero.errors import CodeZeroError

if TYPE_CHECKING:
    from rich.progress import Progress

_UMASK = os.umask(0)
os.umask(_UMASK)

PIPED_WIDTH = 1_000
"""Columns when the output is not a terminal: wide enough that nothing is cut off."""


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], numeric_from: int) -> None:
    """Print a table, its columns from ``numeric_from`` on aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(
            header, justify="right" if index >= numeric_from else "left", no_wrap=not terminal
        )
    for row in rows:
        table.add_row(*row)
    Console(width=None if terminal else PIPED_WIDTH, highlight=False).print(table)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error with the time left; silent when that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        yield progress


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, moved over it at the end, unless an error comes first.

    Raises:
        CodeZeroError: the folder cannot be written to, or the disk is full; ``path`` is as it was.
    """
    path = path.resolve()  # a link stays a link
    try:
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
    except OSError as error:
        raise CodeZeroError(f"cannot write {path}: {error.strerror}") from None
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
    except OSError as error:
        raise CodeZeroError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)

"""What commands print: tables for people, plain columns for pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

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
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        yield progress

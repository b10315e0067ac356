"""What commands print: tables for people, plain columns for pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What commands ask of a progress bar."""

    def add_task(self, description: str, *, total: float | None) -> int: ...

    def advance(self, task: int, advance: float = 1) -> None: ...

    def update(self, task: int, *, advance: float, description: str) -> None: ...

    def print(
        self, text: str, *, markup: bool, highlight: bool = True, soft_wrap: bool = False
    ) -> None: ...


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], numeric_from: int) -> None:
    """Print a table, its columns from ``numeric_from`` on aligned to the right."""
    if not sys.stdout.isatty():
        _print_columns([headers, *rows], numeric_from)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index >= numeric_from else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def _print_columns(rows: Sequence[Sequence[str]], numeric_from: int) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if index >= numeric_from else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress bar on standard error with the time left; silent when that is no terminal."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress  # type: ignore[misc]


class _Silent:
    def add_task(self, description: str, *, total: float | None) -> int:
        return 0

    def advance(self, task: int, advance: float = 1) -> None:
        pass

    def update(self, task: int, *, advance: float, description: str) -> None:
        pass

    def print(
        self, text: str, *, markup: bool, highlight: bool = True, soft_wrap: bool = False
    ) -> None:
        print(text, file=sys.stderr)

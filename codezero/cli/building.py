"""Building a corpus or a suite at a terminal: progress, what goes wrong, and the report."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from codezero.cli.output import print_table, progress_bar
from codezero.corpus.build import Report, build
from codezero.corpus.examine import Limits
from codezero.corpus.sources.debian import SourceArchive
from codezero.corpus.unit import Unit, UnitSource
from codezero.errors import CodeZeroError


def check_output(path: Path) -> None:
    """Raises `CodeZeroError` for a path that no corpus can be written to, before hours of work."""
    if path.is_dir():
        raise CodeZeroError(f"{path} is a folder; name the file to write")
    if not path.absolute().parent.is_dir():
        raise CodeZeroError(f"{path}: there is no such folder to write it to")


@contextmanager
def debian_archive() -> Iterator[SourceArchive]:
    """Debian's source packages; says that they are asked for."""
    with closing(SourceArchive()) as archive:
        print(
            "codezero: fetching Debian's index of source packages into a temporary folder; "
            "the system's own apt settings stay as they are",
            file=sys.stderr,
        )
        archive.fetch_index()
        if archive.missing_index:
            print(
                f"codezero: {archive.missing_index}: going on with the rest of the index",
                file=sys.stderr,
            )
        yield archive


def build_visibly(
    sources: Sequence[UnitSource],
    output: Path,
    *,
    limits: Limits,
    held_out: frozenset[int] = frozenset(),
    jobs: int = 0,
) -> Report:
    """`codezero.corpus.build.build` with a progress bar; sources that fail are said as they do."""
    with progress_bar() as progress:
        bar = progress.add_task("sources", total=len({source.key for source in sources}))
        units = 0
        # A source counts as it is worked on: one folder may have all the units.
        shares: dict[str, float] = defaultdict(float)

        def unit_done(source: UnitSource, unit: Unit) -> None:
            nonlocal units
            units += 1
            share = 1 / source.size if source.size else 0.0
            shares[source.key] += share
            progress.update(bar, advance=share, description=f"{units:,} units, {unit.package}")

        def source_done(source: UnitSource, error: str | None) -> None:
            progress.advance(bar, 1 - shares[source.key])
            if error is not None:
                progress.print(f"codezero: {error}", markup=False, highlight=False, soft_wrap=True)

        return build(
            sources,
            output,
            limits=limits,
            held_out=held_out,
            jobs=jobs,
            on_unit=unit_done,
            on_source=source_done,
        )


def print_report(report: Report, output: Path) -> None:
    print(f"{output}: {report.programs:,} programs of {report.units:,} units\n")
    rows = [[reason, f"{count:,}"] for reason, count in report.rejected.items()]
    if rows:
        print_table(["left out", "units"], rows, numeric_from=1)

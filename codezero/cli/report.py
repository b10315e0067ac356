"""``codezero report``: what the drivers of a build have saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codezero.cli.options import parse
from codezero.cli.output import print_table
from codezero.driver.records import Record
from codezero.driver.report import Report, ratio
from codezero.driver.settings import OFF, DriverSettings
from codezero.errors import CodeZeroError
from codezero.files import replacing

SHOWN = 30


@dataclass
class Options:
    """Show what codezero-cc and codezero-c++ have saved, by object and in all.

    They leave a record of every object, in the file that CODEZERO_RECORDS names.
    """

    folder: tyro.conf.Positional[Path] = Path()
    """Where the build was."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write it as a page for a browser."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a list of records."""
    all: tyro.conf.FlagCreatePairsOff[bool] = False
    """Every object, rather than those that saved most."""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    options = parse(Options, "report", arguments)
    if not options.folder.is_dir():
        raise CodeZeroError(f"{options.folder}: no such folder")
    path = DriverSettings.read().records
    if path == OFF:
        raise CodeZeroError("report: CODEZERO_RECORDS is off")
    report = Report.read(path, options.folder)
    if not report.records:
        raise CodeZeroError(
            f"report: {path} has nothing of {options.folder.resolve()}; build with "
            "CC=codezero-cc CXX=codezero-c++"
        )
    if options.html is not None:
        from codezero.driver.report_page import render

        with replacing(options.html) as temporary:
            temporary.write_text(render(report), encoding="utf-8")
        print(f"{options.html}: {len(report.records):,} objects")
    elif options.json:
        print(json.dumps([record._asdict() for record in report.records], indent=1))
    else:
        _print(report, options.all)
    return 0


def _print(report: Report, everything: bool) -> None:
    if report.measured:
        _print_objects(report, everything)
    if report.linked:
        headers = ["linked", "lld's passes", *HEADERS[2:]]
        rows = [_row(report, record) for record in report.linked]
        print_table(headers, rows, numeric_from=1)
    for reason, count in report.left_alone.most_common():
        print(f"{count:,} left to clang: {reason}")


HEADERS = ["object", "-Oz", "ours", "ratio", "chosen in", ""]


def _print_objects(report: Report, everything: bool) -> None:
    shown = report.measured if everything else report.measured[:SHOWN]
    rows = [_row(report, record) for record in shown]
    rest = len(report.measured) - len(shown)
    if rest:
        rows.append([f"{rest:,} others", "", "", "", "", ""])
    total = f"{report.baseline / max(report.size, 1):.3f}"
    took = f"{report.seconds:.1f} s"
    rows.append(["all", f"{report.baseline:,}", f"{report.size:,}", total, took, ""])
    print_table(HEADERS, rows, numeric_from=1)
    print(
        f"\n{report.baseline - report.size:,} bytes saved; geometric mean "
        f"{report.geometric_mean:.3f}"
    )


def _row(report: Report, record: Record) -> list[str]:
    return [
        report.name(record),
        f"{record.baseline:,}",
        f"{record.size:,}",
        f"{ratio(record):.3f}",
        "cache" if record.cached else f"{record.seconds:.1f} s",
        record.reason,
    ]

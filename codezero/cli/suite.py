"""``codezero suite``: make held-out suites of Debian source packages."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from codezero.cli.building import build_visibly, debian_archive, print_report
from codezero.cli.options import parse_subcommand
from codezero.cli.output import print_table
from codezero.corpus.corpus import Corpus
from codezero.corpus.examine import Limits
from codezero.corpus.sources.debian import Request, debian_sources
from codezero.corpus.suites import builtin_suite, builtin_suites, write_suite
from codezero.errors import CodeZeroError


@dataclass
class Build:
    """Compile Debian source packages and write each file that passes the filters as bitcode.

    NAME is one of those that "codezero suite list" shows; or give packages with --debian. A build
    that is interrupted goes on where it was when it is given the same command again.
    """

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    """The suite; made if it is not there."""
    name: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="NAME")]] = None
    """A built-in suite."""
    debian: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[=VERSION]...")] = ()
    """Debian source packages; after NAME, the versions of its packages to take."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATTERN...")] = ()
    """With --debian: only files whose paths match one of these; * also matches slashes."""
    sample: int | None = None
    """Take only so many files of each package, chosen by a hash of their paths."""
    limits: tyro.conf.OmitArgPrefixes[Limits] = dataclasses.field(default_factory=Limits)
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the report as an object."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Units at a time; 0 is one a core."""

    def run(self) -> int:
        """Exits 1 if a package could not be had."""
        if self.name is None and not self.debian:
            raise CodeZeroError("suite build: give the NAME of a suite, or packages with --debian")
        if self.name is not None and self.only:
            raise CodeZeroError("suite build: --only goes with --debian")
        if self.jobs < 0 or (self.sample is not None and self.sample < 1):
            raise CodeZeroError("suite build: --jobs is not negative, --sample at least 1")
        requests, sample = self._requests()
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CodeZeroError(f"{self.out}: {error.strerror}") from None
        # The same programs with all that is known of them.
        output = self.out / f"{self.out.resolve().name}.parquet"
        with debian_archive() as archive:
            sources = debian_sources(archive, requests, sample)
            report = build_visibly(sources, output, limits=self.limits, jobs=self.jobs)
        write_suite(Corpus(output), self.out)
        versions = {source.name: source.version for source in sources}
        if self.json:
            json.dump({"versions": versions, **dataclasses.asdict(report)}, sys.stdout, indent=2)
            print()
        else:
            print(", ".join(f"{name} {version}" for name, version in versions.items()))
            print_report(report, self.out)
        return 1 if report.failed_sources else 0

    def _requests(self) -> tuple[tuple[Request, ...], int | None]:
        if self.name is None:
            return tuple(Request.parse(text, self.only) for text in self.debian), self.sample
        suite = builtin_suite(self.name)
        versions = {r.name: r.version for r in map(Request.parse, self.debian)}
        if others := versions.keys() - {request.name for request in suite.requests}:
            raise CodeZeroError(f"suite build: {self.name} has no package {min(others)}")
        requests = (replace(r, version=versions.get(r.name, "")) for r in suite.requests)
        return tuple(requests), self.sample or suite.sample


@dataclass
class List:
    """Show the built-in suites."""

    def run(self) -> int:
        rows = [
            [name, " ".join(request.name for request in suite.requests), suite.title]
            for name, suite in builtin_suites().items()
        ]
        print_table(["suite", "packages", ""], rows, numeric_from=3)
        return 0


COMMANDS: dict[str, Callable[..., Any]] = {"build": Build, "list": List}


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    if flags:
        raise CodeZeroError("suite: compiler flags cannot be given; a package's build has its own")
    command = parse_subcommand(COMMANDS, "suite", arguments)
    code: int = command.run()
    return code

"""``codezero corpus``: build collections of programs to train on, and look into them."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from codezero.cli.building import build_visibly, check_output, debian_archive, print_report
from codezero.cli.options import parse_subcommand
from codezero.cli.output import print_table, progress_bar
from codezero.compiler.program import Program
from codezero.corpus.corpus import Corpus, write_corpus
from codezero.corpus.entry import SPLITS, Entry
from codezero.corpus.examine import Limits
from codezero.corpus.package_list import read_package_list
from codezero.corpus.select import held_out_functions, select_entries
from codezero.corpus.sources.code_contests import CodeContestsSource
from codezero.corpus.sources.debian import Request, debian_sources
from codezero.corpus.sources.files import FilesSource
from codezero.corpus.sources.parquet import ParquetSource
from codezero.corpus.unit import UnitSource
from codezero.errors import CodeZeroError
from codezero.files import replacing
from codezero.programs.load import ProgramLoader


@dataclass
class Build:
    """Compile, filter and store programs as one Parquet file.

    A SOURCE is a folder, zip or tar of source files or LLVM IR, each file a program, or a Parquet
    file (or folder of them) with a column of bitcode. Compiler flags go after "--". A build that
    is interrupted goes on where it was when it is given the same command again.
    """

    sources: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="SOURCE...")]]
    """Where the programs are."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE.parquet")]
    """The corpus."""
    debian: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[=VERSION]...")] = ()
    """Debian source packages; @FILE is a list of them, one on each line."""
    code_contests: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """The folder of CodeContests' Parquet files, or "hub" to fetch them."""
    exclude: tuple[Path, ...] = ()
    """Held-out suites: no program that has a function of theirs is taken. Their source files are
    compiled with the same flags."""
    sample: int | None = None
    """Take only so many files of each Debian package, chosen by a hash of their paths."""
    largest: int | None = None
    """Take only so many files of each folder or archive, the largest."""
    by_folder: tyro.conf.FlagCreatePairsOff[bool] = False
    """Each subfolder of a SOURCE is a package; otherwise the SOURCE is one."""
    limits: tyro.conf.OmitArgPrefixes[Limits] = dataclasses.field(default_factory=Limits)
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the report as an object."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Units at a time; 0 is one a core."""

    def run(self, flags: Sequence[str]) -> int:
        """Exits 1 if a source could not be read."""
        if self.jobs < 0:
            raise CodeZeroError("corpus build: --jobs is not negative")
        if any(limit is not None and limit < 1 for limit in (self.sample, self.largest)):
            raise CodeZeroError("corpus build: --sample and --largest are at least 1")
        check_output(self.out)
        sources = [source for path in self.sources for source in self._sources(path, flags)]
        if self.code_contests is not None:
            sources.append(self._code_contests())
        packages = list(_packages(self.debian))
        if not sources and not packages:
            raise CodeZeroError("corpus build: give at least one source")
        held_out = held_out_functions(self.exclude, flags)
        with ExitStack() as stack:
            if packages:
                archive = stack.enter_context(debian_archive())
                sources += debian_sources(archive, packages, self.sample)
            report = build_visibly(
                sources, self.out, limits=self.limits, held_out=held_out, jobs=self.jobs
            )
        if self.json:
            json.dump(dataclasses.asdict(report), sys.stdout, indent=2)
            print()
        else:
            print_report(report, self.out)
        return 1 if report.failed_sources else 0

    def _code_contests(self) -> UnitSource:
        if self.code_contests == "hub":
            return CodeContestsSource(None)
        folder = Path(self.code_contests or "")
        if not folder.is_dir():
            raise CodeZeroError(f"{folder}: no such folder")
        return CodeContestsSource(folder)

    def _sources(self, path: Path, flags: Sequence[str]) -> Iterator[UnitSource]:
        if not path.exists():
            raise CodeZeroError(f"{path}: no such file or folder")
        if path.suffix == ".parquet":
            yield ParquetSource(path)
            return
        files = FilesSource(
            path, largest=self.largest, flags=tuple(flags), by_folder=self.by_folder
        )
        # Not what this command makes, nor what one that was killed left of it.
        parquet = [
            file
            for file in sorted(path.glob("*.parquet"))
            if file.resolve() != self.out.resolve() and not file.name.startswith(".")
        ]
        if parquet and any(files.files()):
            raise CodeZeroError(
                f"{path} has Parquet files and source files or IR: name those that are meant"
            )
        yield from map(ParquetSource, parquet)
        if not parquet:
            yield files


@dataclass
class Info:
    """Say what is in a corpus."""

    corpus: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print an object."""

    def run(self, flags: Sequence[str]) -> int:
        table = Corpus(self.corpus).table
        packages, languages, splits = (
            Counter(table.column(name).to_pylist()) for name in ("package", "language", "split")
        )
        instructions = table.column("instructions").to_numpy()
        headroom = instructions / np.maximum(table.column("instructions_oz").to_numpy(), 1)
        quantiles = {
            f"{percent}%": int(value)
            for percent, value in zip(
                (0, 10, 50, 90, 100),
                np.percentile(instructions, (0, 10, 50, 90, 100)) if len(table) else [0] * 5,
                strict=True,
            )
        }
        gain = float(np.exp(np.mean(np.log(headroom)))) if len(table) else 1.0
        if self.json:
            report = {
                "programs": len(table),
                "packages": len(packages),
                "languages": dict(languages.most_common()),
                "splits": {split: splits[split] for split in SPLITS},
                "instructions": quantiles,
                "o0_over_oz": gain,
            }
            json.dump(report, sys.stdout, indent=2)
            print()
            return 0
        print(f"{len(table):,} programs of {len(packages):,} packages\n")
        rows = [["programs in", name, f"{count:,}"] for name, count in languages.most_common()]
        rows += [["programs for", name, f"{splits[name]:,}"] for name in SPLITS]
        rows += [["instructions", name, f"{value:,}"] for name, value in quantiles.items()]
        rows += [["-O0 over -Oz", "geomean", f"{gain:.3f}"]]
        print_table(["", "", "value"], rows, numeric_from=2)
        return 0


@dataclass
class Show:
    """Print one program: what is known of it, and its IR."""

    corpus: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    program: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="PROGRAM")]]
    """Its number, or PACKAGE/PATH."""

    def run(self, flags: Sequence[str]) -> int:
        corpus = Corpus(self.corpus)
        entry = corpus.entry(_find(corpus, self.program))
        for name in ("package", "version", "path", "language", "licence", "split"):
            print(f"; {name}: {getattr(entry, name)}")
        print(f"; instructions: {entry.instructions}, after -Oz {entry.instructions_oz}")
        with ProgramLoader() as loader:
            print(loader.emit(Program(entry.name, entry.bitcode), ".ll").decode(), end="")
        return 0


@dataclass
class Split:
    """Write each split of a corpus as a corpus of its own, OUT/train.parquet and so on."""

    corpus: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    """An existing folder."""

    def run(self, flags: Sequence[str]) -> int:
        for split in SPLITS:
            path = self.out / f"{split}.parquet"
            count = write_corpus(path, Corpus(self.corpus, split).entries())
            print(f"{path}: {count:,} programs")
        return 0


@dataclass
class Merge:
    """Join corpora into one, without the duplicates between them."""

    corpora: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")]]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE.parquet")]
    """The corpus to write; may be one of those read."""
    exclude: tuple[Path, ...] = ()
    """Held-out suites: no program that has a function of theirs is taken."""

    def run(self, flags: Sequence[str]) -> int:
        if not self.corpora:
            raise CodeZeroError("corpus merge: give at least one corpus")
        entries: list[Entry] = [e for path in self.corpora for e in Corpus(path).entries()]
        kept, rejected = select_entries(entries, held_out_functions(self.exclude))
        count = write_corpus(self.out, kept)
        print(f"{self.out}: {count:,} programs")
        for reason, number in rejected.most_common():
            print(f"left out, {reason}: {number:,}")
        return 0


@dataclass
class Extract:
    """Write programs as files of bitcode, OUT/PACKAGE/PATH.bc."""

    corpus: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    split: Literal["train", "validation", "test"] | None = None
    """Only the programs of one split."""
    program: tuple[str, ...] = ()
    """Only these, by number or PACKAGE/PATH."""

    def run(self, flags: Sequence[str]) -> int:
        corpus = Corpus(self.corpus, self.split)
        indices = [_find(corpus, name) for name in self.program] or range(len(corpus))
        written: set[Path] = set()
        for index in indices:
            program = corpus[index]
            path = (self.out / f"{program.name}.bc").resolve()
            if path in written:  # another version of the same file
                path = path.with_name(f"{path.stem}#{index}.bc")
            written.add(path)
            if not path.is_relative_to(self.out.resolve()):
                raise CodeZeroError(f"{program.name}: would be written outside {self.out}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CodeZeroError(f"cannot write {path}: {error.strerror}") from None
            with replacing(path) as temporary:
                temporary.write_bytes(program.bitcode)
        print(f"{self.out}: {len(indices):,} programs")
        return 0


@dataclass
class Survey:
    """Measure programs: how much random search takes from them, and how they react to passes.

    Of each CORPUS so many programs are taken, chosen by a hash of their names.
    """

    corpora: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CORPUS...")]]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE.parquet")]
    """The measurements; "codezero corpus plot" draws them."""
    programs: int = 500
    """Of each corpus, at most."""
    trials: int = 200
    """Random sequences that the best is taken of."""
    max_instructions: int = 2_000
    """Of programs to choose from: the trials of one of 20,000 take an hour of a core."""
    seed: int = 0
    """Of the random sequences."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Programs at a time; 0 is one a core."""

    def run(self, flags: Sequence[str]) -> int:
        """Exits 1 if LLVM failed on a program."""
        from codezero.corpus.survey import sample, survey, write_survey

        if not self.corpora:
            raise CodeZeroError("corpus survey: give at least one corpus")
        if (
            min(self.programs, self.trials, self.max_instructions) < 1
            or self.seed < 0
            or self.jobs < 0
        ):
            raise CodeZeroError(
                "corpus survey: --programs, --trials and --max-instructions are at least 1, "
                "--seed and --jobs 0"
            )
        tasks = [
            task
            for path in self.corpora
            for task in sample(path, self.programs, self.max_instructions)
        ]
        with progress_bar() as progress:
            bar = progress.add_task("measuring", total=len(tasks))
            rows = survey(
                tasks,
                trials=self.trials,
                seed=self.seed,
                jobs=self.jobs,
                on_done=lambda task, result: progress.advance(bar),
            )
        write_survey(self.out, rows)
        print(f"{self.out}: {len(rows):,} of {len(tasks):,} programs")
        return 0 if len(rows) == len(tasks) else 1


@dataclass
class Plot:
    """Draw figures of corpora and of a survey of them, as PNG files.

    Needs matplotlib and scikit-learn: pip install 'codezero[plots]'.
    """

    corpora: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CORPUS...")]]
    """What is trained on: its lengths are drawn, and its programs as triangles."""
    survey: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")]
    """What "codezero corpus survey" wrote; a program that is in several counts once."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    """An existing folder, for lengths.png, headroom.png and map.png."""
    domains: Annotated[Path | None, tyro.conf.arg(metavar="LIST")] = None
    """A list of Debian packages that names their domains."""
    contrast: tuple[str, ...] = ()
    """Surveyed corpora to draw as crosses: what programs should not be like."""

    def run(self, flags: Sequence[str]) -> int:
        from codezero.corpus import figures
        from codezero.corpus.survey import read_surveys

        table = read_surveys(self.survey)
        packages = read_package_list(self.domains) if self.domains else []
        domains = {package.name: package.domain for package in packages}
        figures.draw_lengths([Corpus(path) for path in self.corpora], self.out / "lengths.png")
        figures.draw_headroom(table, domains, self.out / "headroom.png")
        trained_on = [path.stem for path in self.corpora]
        figures.draw_map(table, trained_on, self.contrast, self.out / "map.png")
        return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    "build": Build,
    "info": Info,
    "show": Show,
    "split": Split,
    "merge": Merge,
    "extract": Extract,
    "survey": Survey,
    "plot": Plot,
}


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    command = parse_subcommand(COMMANDS, "corpus", arguments)
    code: int = command.run(flags)
    return code


def _find(corpus: Corpus, name: str) -> int:
    """The index of a program by number or name. Raises `CodeZeroError`."""
    if name.isdecimal():
        index = int(name)
        if index < len(corpus):
            return index
        raise CodeZeroError(f"{corpus.path} has {len(corpus):,} programs, numbered from 0")
    package, _, path = name.partition("/")
    columns = (corpus.table.column(column).to_pylist() for column in ("package", "path"))
    for index, found in enumerate(zip(*columns, strict=True)):
        if found == (package, path):
            return index
    raise CodeZeroError(f"{corpus.path} has no program '{name}'")


def _packages(requests: Sequence[str]) -> Iterator[Request]:
    """Debian packages from the command line and from the lists that it names."""
    for request in requests:
        if request.startswith("@"):
            for package in read_package_list(Path(request[1:])):
                yield Request(package.name, package.version, without=package.without)
        else:
            yield Request.parse(request)

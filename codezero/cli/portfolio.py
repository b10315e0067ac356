"""``codezero portfolio``: the lists that an agent's trial is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from codezero.agents.trained import read_trained
from codezero.cli.building import check_output
from codezero.cli.options import ObjectiveName, ProtocolName, parse_subcommand
from codezero.cli.output import print_table, progress_bar
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.spaces import DEFAULT_SPACE, PassSpace
from codezero.corpus.corpus import Corpus
from codezero.env.session import make_settings
from codezero.errors import CodeZeroError
from codezero.portfolio.portfolio import Portfolio
from codezero.portfolio.table import ListTable, measure
from codezero.portfolio.tails import choose_tails, measure_tails, tails_of_lists, write_tails


@dataclass
class Measure:
    """Try every list of passes on every program of a corpus; "codezero portfolio train" takes it.

    With the lists of FILE those of the space are tried, and default<Oz>.
    """

    corpus: tyro.conf.Positional[Path]
    lists: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """A list a line: names of passes, with spaces between them."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
    """The table, a .npz."""
    split: Literal["train", "validation", "test"] = "train"
    programs: int | None = None
    """Programs, chosen by a hash of their names; all without it."""
    max_instructions: int | None = 5_000
    """Of those programs, before optimisation."""
    objective: ObjectiveName = "text"
    """What is to become small: bytes of machine code, of all that is loaded, or IR instructions."""
    protocol: ProtocolName = "clang"
    """What to compare with: clang -Oz, or opt -Oz on IR without size attributes."""
    space: str = DEFAULT_SPACE
    """Passes of the lists: sound, autophase, or a TOML file."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Programs at a time; 0 is one a core."""

    def run(self) -> int:
        check_output(self.out)
        settings = make_settings(self.space, self.objective, self.protocol)
        lists = read_lists(self.lists, settings.space)
        programs = _programs(self.corpus, self.split, self.programs, self.max_instructions)
        _check_jobs(self.jobs)
        with progress_bar() as progress:
            bar = progress.add_task("trying lists", total=len(programs))
            table = measure(
                programs, lists, settings, jobs=self.jobs, on_done=lambda: progress.advance(bar)
            )
        table.write(self.out)
        left_out = len(programs) - len(table.programs)
        print(
            f"{self.out}: {len(table.lists)} lists on {len(table.programs):,} programs"
            + (f"; LLVM fails on {left_out} others" if left_out else "")
        )
        return 0


@dataclass
class Train:
    """Choose lists for a portfolio, and train what chooses among them for a program."""

    table: tyro.conf.Positional[Path]
    """Of training programs."""
    agent: tyro.conf.Positional[Path]
    """The agent's folder, to which the portfolio is written."""
    validation: Annotated[Path | None, tyro.conf.arg(metavar="TABLE")] = None
    """Programs to say on what it comes to."""
    set: tuple[str, ...] = ()
    """Settings, as NAME=NUMBER: see codezero.portfolio.train.PortfolioConfig."""

    def run(self) -> int:
        from codezero.portfolio import train

        config = train.PortfolioConfig(**dict(map(_setting, self.set)))
        if not self.agent.is_dir():
            raise CodeZeroError(f"{self.agent}: no such folder")
        table = ListTable.read(self.table)
        other = None if self.validation is None else ListTable.read(self.validation)
        self._check(table, other)
        lists, chooser = train.train(table, config)
        train.write(self.agent, lists, chooser, config)
        rows = train.figures(Portfolio(self.agent), table if other is None else other)
        cells = [
            [
                row["lists"],
                f"{row['mean_lists']:.1f}",
                f"{row['ratio']:.4f}",
                f"{row['median_work']:.1f}",
            ]
            for row in rows
        ]
        print_table(["lists", "mean", "ratio", "time over -Oz"], cells, numeric_from=0)
        return 0

    def _check(self, table: ListTable, other: ListTable | None) -> None:
        """Raises `CodeZeroError` for tables that are not of the agent's task."""
        tasks = {str(self.table): (table.objective, table.protocol)}
        if other is not None:
            tasks[str(self.validation)] = (other.objective, other.protocol)
        if (self.agent / "agent.json").exists():
            trained = read_trained(self.agent).settings
            tasks[str(self.agent)] = (trained.objective.value, trained.protocol.value)
        if len(set(tasks.values())) > 1:
            words = (f"{name} is of {' and '.join(task)}" for name, task in tasks.items())
            raise CodeZeroError("portfolio: " + ", ".join(words))


def read_lists(path: Path, space: PassSpace) -> list[tuple[int, ...]]:
    """Lists from a file, a list a line, and those of the space.

    Raises:
        CodeZeroError: it cannot be read, or names a pass that there is not.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CodeZeroError(f"{path}: {getattr(error, 'strerror', error)}") from None
    own = [space.expand([action]) for action, p in enumerate(space.passes) if p.parts]
    read = [tuple(map(space.action, line.split())) for line in lines if line.strip()]
    return list(dict.fromkeys([*own, *map(space.expand, read)]))


def _setting(text: str) -> tuple[str, Any]:
    from codezero.portfolio.train import PortfolioConfig

    types = {f.name: f.type for f in fields(PortfolioConfig)}
    name, _, value = text.partition("=")
    if name not in types:
        raise CodeZeroError(f"portfolio: no setting '{name}'; choose from {', '.join(types)}")
    try:
        return name, int(value) if types[name] == "int" else float(value)
    except ValueError:
        raise CodeZeroError(f"portfolio: {name} is no number: '{value}'") from None


@dataclass
class Tails:
    """Choose lists by function for an agent's portfolio: each function gets one after the trial.

    Candidates are the passes by function of the lists in FILE. They are tried after what the
    portfolio's trial makes of programs.
    """

    corpus: tyro.conf.Positional[Path]
    agent: tyro.conf.Positional[Path]
    """The agent's folder, whose portfolio is given the tails."""
    lists: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """A list a line: names of passes, with spaces between them."""
    objective: ObjectiveName | None = None
    """Whose portfolio it is; without it, that of the agent's own."""
    size: int = 8
    """Tails at most."""
    split: Literal["train", "validation", "test"] = "train"
    programs: int | None = 400
    """Programs, chosen by a hash of their names."""
    max_instructions: int | None = 5_000
    """Of those programs, before optimisation."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Programs at a time; 0 is one a core."""

    def run(self) -> int:
        _check_jobs(self.jobs)
        if self.size < 1:
            raise CodeZeroError("portfolio: --size is at least 1")
        settings = read_trained(self.agent).settings
        if self.objective is not None:
            settings = replace(settings, objective=Objective(self.objective))
        folder = Portfolio.folder_of(self.agent, settings.objective)
        portfolio = Portfolio(folder)
        if portfolio.task != (settings.objective.value, settings.protocol.value):
            raise CodeZeroError(f"portfolio: {folder} is of {' and '.join(portfolio.task)}")
        candidates = tails_of_lists(read_lists(self.lists, settings.space), settings.space)
        if not candidates:
            raise CodeZeroError(f"{self.lists}: no list has a pass that works by function")
        programs = _programs(self.corpus, self.split, self.programs, self.max_instructions)
        with progress_bar() as progress:
            bar = progress.add_task("trying tails", total=len(programs))
            table = measure_tails(
                programs,
                portfolio,
                candidates,
                settings,
                jobs=self.jobs,
                on_done=lambda: progress.advance(bar),
            )
        chosen = choose_tails(table, self.size)
        write_tails(folder, table, chosen)
        cells = [
            [str(k + 1), f"{math.exp(table.gain(chosen[: k + 1])):.4f}", f"{table.work[tail]:.2f}"]
            for k, tail in enumerate(chosen)
        ]
        print_table(["tails", "smaller by", "time over -Oz"], cells, numeric_from=0)
        return 0


def _programs(
    path: Path, split: str, number: int | None, max_instructions: int | None
) -> list[Program]:
    """Of a corpus. Raises `CodeZeroError` if it cannot be read, or for less than one."""
    if number is not None and number < 1:
        raise CodeZeroError("portfolio: --programs is at least 1")
    corpus = Corpus(path, split)
    return [corpus[k] for k in corpus.sample(number or len(corpus), max_instructions)]


def _check_jobs(jobs: int) -> None:
    if jobs < 0:
        raise CodeZeroError("portfolio: --jobs is not negative")


COMMANDS = {"measure": Measure, "train": Train, "tails": Tails}


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    if flags:
        raise CodeZeroError("portfolio: it takes no compiler flags")
    code: int = parse_subcommand(COMMANDS, "portfolio", arguments).run()
    return code

"""``codezero search``: what is found once for many programs, rather than for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codezero.cli.options import ObjectiveName, ProtocolName, parse_subcommand
from codezero.cli.output import progress_bar
from codezero.compiler.program import Program
from codezero.compiler.spaces import DEFAULT_SPACE
from codezero.corpus.corpus import Corpus
from codezero.env.session import make_settings
from codezero.errors import CodeZeroError
from codezero.files import replacing
from codezero.programs.load import LoadFailure, load_all
from codezero.programs.suites import find_suites
from codezero.search.budget import Budget
from codezero.search.fixed import ListSearch
from codezero.search.sequences import FixedSequence


@dataclass
class Fixed:
    """Find one list of passes that suits some programs best, by hill climbing.

    A PATH is a corpus, whose training split is taken, a file, or a folder of files. The list is
    for "codezero evaluate --policy fixed:FILE"; Ctrl-C keeps the best one so far.
    """

    paths: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH...")]]
    """Corpora, files and folders."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
    """The list, a pass a line."""
    start: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A list to begin with; without one, none."""
    budget: str = "10m"
    """Wall time, or lists to try: 500ms, 1s, 2m, 200."""
    programs: int = 200
    """Programs of each corpus, chosen by a hash of their names."""
    max_instructions: int = 2_500
    """Of those programs, before optimisation."""
    objective: ObjectiveName = "text"
    """What is to become small: bytes of machine code, of all that is loaded, or IR instructions."""
    protocol: ProtocolName = "clang"
    """What to compare with: clang -Oz, or opt -Oz on IR without size attributes."""
    space: str = DEFAULT_SPACE
    """Passes to choose from: sound, autophase, or a TOML file."""
    max_steps: int = 45
    """Passes that the list may have."""
    restart: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let the list have several parts, each tried from the start: a line "restart" between them."""
    seed: int = 0
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Lists to try at a time; 0 is one a core."""

    def run(self, flags: Sequence[str]) -> int:
        if self.max_steps < 1 or self.programs < 1 or self.jobs < 0 or self.seed < 0:
            raise CodeZeroError(
                "search: --max-steps and --programs are at least 1, --jobs and --seed not negative"
            )
        if not self.paths:
            raise CodeZeroError("search: give at least one corpus, file or folder")
        if not self.out.parent.is_dir():
            raise CodeZeroError(f"search: {self.out.parent}: no such folder")
        budget = Budget.parse(self.budget)
        settings = make_settings(
            self.space, self.objective, self.protocol, self.max_steps, restart=self.restart
        )
        start = (
            []
            if self.start is None
            else FixedSequence.read(self.start, passes_only=True).actions(settings)
        )
        programs = self._load(flags)
        search = ListSearch(programs, settings, start=start, seed=self.seed, jobs=self.jobs)
        best = search.best
        print(f"{len(search.programs):,} programs, {best.ratio:.4f} to begin with", flush=True)
        try:
            self._climb(search, budget)
        finally:
            best = search.best
            names = settings.action_names(best.actions)
            with replacing(self.out) as temporary:
                temporary.write_text("".join(f"{name}\n" for name in names))
            print(f"{self.out}: {len(names)} passes, {best.ratio:.4f} after {search.tried:,} lists")
        return 0

    def _load(self, flags: Sequence[str]) -> list[Program]:
        """Raises `CodeZeroError` if one cannot be read."""
        programs: list[Program] = []
        others = []
        for path in self.paths:
            if path.suffix == ".parquet":
                corpus = Corpus(path, "train")
                programs += (corpus[k] for k in corpus.sample(self.programs, self.max_instructions))
            else:
                others.append(path)
        files = [program.files for suite in find_suites(others) for program in suite.programs]
        for loaded in load_all(files, flags, self.jobs):
            if isinstance(loaded, LoadFailure):
                raise CodeZeroError(loaded.reason)
            programs.append(loaded[0])
        if not programs:
            raise CodeZeroError(
                f"search: no program of up to {self.max_instructions:,} instructions to train on"
            )
        return programs

    def _climb(self, search: ListSearch, budget: Budget) -> None:
        best = search.best
        with progress_bar() as progress:
            bar = progress.add_task("climbing", total=budget.trials)

            def show() -> None:
                nonlocal best
                progress.advance(bar)
                if search.best is not best:
                    best = search.best
                    line = f"{search.tried:>7,} lists: {best.ratio:.4f}, {len(best.actions)} passes"
                    print(line, flush=True)

            search.run(budget, show)


COMMANDS = {"fixed": Fixed}


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    command = parse_subcommand(COMMANDS, "search", arguments)
    code: int = command.run(flags)
    return code

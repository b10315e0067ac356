"""Which lists a portfolio has as tails: those of which functions gain most, each with its own.

They are taken greedily, as the lists of a portfolio are, by what each adds for the time it takes.
What counts is what the portfolio's trial comes to with them, so they are tried after what its lists
have made of training programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codezero._native import LLVMError
from codezero.compiler.program import Program
from codezero.compiler.spaces import PassSpace
from codezero.env.episode import EpisodeSettings
from codezero.env.session import STEP_SECONDS, Session
from codezero.env.trials import TailCosts
from codezero.errors import CodeZeroError, ProgramError
from codezero.files import replacing
from codezero.isolation import WorkerFailure
from codezero.parallel import run_all
from codezero.portfolio.portfolio import DESCRIPTION, Portfolio
from codezero.search.portfolio import PortfolioSearch

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TailTable:
    """The F functions of P programs under T tails."""

    lists: tuple[tuple[str, ...], ...]
    """The tails, names of passes."""
    costs: Float
    """Of each program, as the portfolio's lists make it, shape (P,)."""
    program: npt.NDArray[np.int64]
    """Of each function, shape (F,)."""
    saved: Float
    """Of each function by each tail, in units of cost, 0 where it is not smaller, (F, T)."""
    work: Float
    """Time of each tail over the baseline's, the mean of the programs, (T,)."""
    rebuild_work: float
    """The same of making a program of what has been chosen."""

    def gain(self, chosen: Sequence[int]) -> float:
        """ln(cost before / after) in the mean of the programs, each function with its best."""
        best = self.saved[:, list(chosen)].max(1, initial=0.0)
        saved = np.bincount(self.program, best, len(self.costs))
        return float(-np.log1p(-np.minimum(saved / self.costs, 0.99)).mean())


def measure_tails(
    programs: Sequence[Program],
    portfolio: Portfolio,
    tails: Sequence[Sequence[int]],
    settings: EpisodeSettings,
    *,
    jobs: int = 0,
    step_seconds: float = STEP_SECONDS,
    on_done: Callable[[], None] = lambda: None,
) -> TailTable:
    """Try every tail after what a portfolio's trial makes of every program.

    Programs on which LLVM fails are left out.

    Args:
        tails: actions, all by function.
        jobs: programs at a time; 0 is one a core.
        step_seconds: see `Session`.

    Raises:
        CodeZeroError: that is all of them.
    """
    rows = run_all(
        lambda env, program: _row(env, program, portfolio, tails),
        programs,
        partial(Session, settings, step_seconds=step_seconds),
        jobs=jobs,
        on_done=lambda program, row: on_done(),
    )
    done = [row for row in rows if row is not None]
    if not done:
        raise CodeZeroError("LLVM fails on every program")
    saved = [
        [max(before - after.get(name, before), 0) for after in tried.after]
        for _, tried in done
        for name, before in tried.before.items()
    ]
    return TailTable(
        tuple(tuple(settings.space.names(each)) for each in tails),
        np.array([cost for cost, _ in done], float),
        np.repeat(np.arange(len(done)), [len(tried.before) for _, tried in done]),
        np.array(saved, float).reshape(-1, len(tails)),
        np.mean([tried.work for _, tried in done], 0),
        float(np.mean([tried.rebuild_work for _, tried in done])),
    )


def _row(
    env: Session, program: Program, portfolio: Portfolio, tails: Sequence[Sequence[int]]
) -> tuple[int, TailCosts] | None:
    """The cost that the lists come to, and what tails do then; None where LLVM fails."""
    try:
        search = PortfolioSearch(env, program, portfolio, lists_alone=True)
        found = search.begin()
        return (found.cost, env.measure_tails(tails)) if search.hold_best() else None
    except (ProgramError, LLVMError, WorkerFailure):
        return None


def choose_tails(table: TailTable, size: int) -> list[int]:
    """Indices of tails, taken by what each adds for the time it takes until none adds anything."""
    taken: list[int] = []
    gain = 0.0
    while len(taken) < size:
        added = np.array([table.gain([*taken, k]) - gain for k in range(len(table.lists))])
        k = int((added / table.work).argmax())
        if added[k] <= 0:
            break
        taken.append(k)
        gain += added[k]
    return taken


def write_tails(folder: Path, table: TailTable, chosen: Sequence[int]) -> None:
    """Write tails to the portfolio in an agent's folder.

    Raises:
        CodeZeroError: it has none of this version.
    """
    description = Portfolio.read(folder)
    description["tails"] = [list(table.lists[k]) for k in chosen]
    description["tail_work"] = [round(float(table.work[k]), 3) for k in chosen]
    description["rebuild_work"] = round(table.rebuild_work, 3)
    with replacing(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n")


def tails_of_lists(lists: Sequence[Sequence[int]], space: PassSpace) -> list[tuple[int, ...]]:
    """The passes by function of each list, each such tail once."""
    by_function = set(space.by_function)
    kept = (tuple(action for action in each if action in by_function) for each in lists)
    return [each for each in dict.fromkeys(kept) if each]

"""One list of passes for many programs, found by hill climbing: the honest opponent of an agent.

A list is changed at random in one place, and kept where the programs become smaller by it in the
geometric mean. Most changes are for the worse, which shows on a few programs: a change is given up
as soon as it is behind on those that it has run on (a race, Maron and Moore, NIPS 1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from codezero.compiler.program import Program
from codezero.env.episode import EpisodeSettings
from codezero.env.reward import Costs
from codezero.env.session import Session
from codezero.errors import CodeZeroError, ProgramError
from codezero.parallel import run_all, run_each
from codezero.search.budget import Budget, Meter
from codezero.search.sequences import best_prefix

FIRST_LOOK = 10
"""Programs that a change is always tried on; it is looked at anew when they have doubled."""
BEHIND = 1.0
"""Standard errors behind the best list at which a change is given up."""


@dataclass(frozen=True)
class FixedList:
    """A list of passes and what it comes to."""

    actions: tuple[int, ...]
    gains: npt.NDArray[np.float64]
    """ln(baseline / best prefix) of each program, and no less than 0: the fallback."""

    @property
    def ratio(self) -> float:
        """Baseline over ours, the geometric mean."""
        return math.exp(float(self.gains.mean()))

    def is_better_than(self, other: FixedList) -> bool:
        """Smaller programs, or the same with fewer passes."""
        ours, theirs = float(self.gains.mean()), float(other.gains.mean())
        return ours > theirs or (ours == theirs and len(self.actions) < len(other.actions))


class ListSearch:
    """Hill climbing for the list that suits some programs best.

    Args:
        programs: those that LLVM fails on at the start are left out.
        settings: passes, objective, protocol, and how long a list may be.
        start: the list to begin with.
        jobs: lists that are tried at a time; 0 is one a core. With one, a seed gives the same list
            each time.

    Raises:
        CodeZeroError: LLVM fails on all programs.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        settings: EpisodeSettings,
        *,
        start: Sequence[int] = (),
        seed: int = 0,
        jobs: int = 0,
    ) -> None:
        self._settings = settings
        self._rng = np.random.default_rng(seed)
        self._jobs = jobs
        self.tried = 0
        """Lists so far."""
        costs = self._costs(programs)
        started = [k for k, c in enumerate(costs) if c is not None]
        if not started:
            raise CodeZeroError("LLVM fails on every program before the first pass")
        self._known_costs = {programs[k].key: c for k, c in enumerate(costs) if c is not None}
        # In any order: the first ones decide whether the rest are looked at.
        self.programs = [programs[k] for k in self._rng.permutation(started)]
        self.best = FixedList((), np.zeros(len(self.programs)))
        if start:
            self.best = self._measure(tuple(start))

    def run(self, budget: Budget, on_tried: Callable[[], None] = lambda: None) -> FixedList:
        """Climb until the budget, of which a list is a trial, is spent.

        Args:
            on_tried: called after each list; `best` may be another.
        """
        meter = Meter(budget)

        def changes() -> Iterator[tuple[int, ...]]:
            while not meter.spent():
                meter.trials += 1
                yield self._change(self.best.actions)

        race = run_each(
            lambda env, actions: self._race(env, actions, meter),
            changes(),
            self._make_env,
            jobs=self._jobs,
        )
        with closing(race):
            for _, found in race:
                self.tried += 1
                if found is not None and found.is_better_than(self.best):
                    self.best = found
                on_tried()
        return self.best

    def _change(self, actions: tuple[int, ...]) -> tuple[int, ...]:
        """A list with one pass more, less, or another, or with a pass in another place."""
        rng, space = self._rng, self._settings.num_actions
        changed = list(actions)
        kind = rng.choice(["insert", "replace", "remove", "move"], p=[0.45, 0.2, 0.15, 0.2])
        if not changed or (kind == "insert" and len(changed) < self._settings.max_steps):
            changed.insert(rng.integers(len(changed) + 1), int(rng.integers(space)))
        elif kind == "remove":
            del changed[rng.integers(len(changed))]
        elif kind == "move":
            moved = changed.pop(rng.integers(len(changed)))
            changed.insert(rng.integers(len(changed) + 1), moved)
        else:
            changed[rng.integers(len(changed))] = int(rng.integers(space))
        return tuple(changed)

    def _race(self, env: Session, actions: tuple[int, ...], meter: Meter) -> FixedList | None:
        """A list on one program after the other; None as soon as it is behind, or time is up."""
        gains = np.zeros(len(self.programs))
        look = FIRST_LOOK
        for k, program in enumerate(self.programs):
            if k == look:
                ahead = gains[:k] - self.best.gains[:k]
                if ahead.mean() + BEHIND * ahead.std() / math.sqrt(k) < 0:
                    return None
                look *= 2
            gains[k] = _gain(env, program, actions)
            if meter.out_of_time():
                return None
        return FixedList(actions, gains)

    def _measure(self, actions: tuple[int, ...]) -> FixedList:
        gains = run_all(
            lambda env, program: _gain(env, program, actions),
            self.programs,
            self._make_env,
            jobs=self._jobs,
        )
        return FixedList(actions, np.array(gains))

    def _costs(self, programs: Sequence[Program]) -> list[Costs | None]:
        """None where LLVM fails."""

        def measure(env: Session, program: Program) -> Costs | None:
            try:
                env.begin(program)
            except ProgramError:
                return None
            return env.costs

        make = partial(Session, self._settings)
        return run_all(measure, programs, make, jobs=self._jobs)

    def _make_env(self) -> Session:
        return Session(self._settings, self._known_costs)


def _gain(env: Session, program: Program, actions: Sequence[int]) -> float:
    """ln(baseline / best prefix); 0 where the baseline is smaller, or LLVM fails."""
    try:
        found = best_prefix(env, program, actions, Meter(Budget()))
    except ProgramError:
        return 0.0
    return max(math.log(max(env.costs.baseline, 1) / max(found.cost, 1)), 0.0)

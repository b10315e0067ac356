"""Greedy search: try every pass on the program as it is, keep the best, and go on from there."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

from codezero.compiler.program import Program
from codezero.env.episode import EpisodeSettings
from codezero.env.session import Session
from codezero.isolation import WorkerFailure
from codezero.search.budget import Budget, Meter
from codezero.search.policy import Found
from codezero.search.sequences import FAILURES

ROUND_SHARE = 1 / 3


@dataclass(frozen=True)
class GreedySearch:
    """Takes the pass that saves most, until none saves anything or the budget is spent.

    Under a limit on time, a round that has taken `ROUND_SHARE` of the time left ends with the best
    pass so far. Whole pipelines and lists are tried first: on unoptimised code nothing else comes
    near them, and every trial there is slow. A pass on which LLVM fails is not tried again.
    """

    budget: Budget

    @property
    def name(self) -> str:
        return f"greedy:{self.budget}".removesuffix(":")

    def adapt(self, settings: EpisodeSettings) -> EpisodeSettings:
        return settings

    def warm_up(self) -> None:
        """Nothing to do."""

    def check(self, settings: EpisodeSettings) -> None:
        """It can act under any."""

    def run(self, env: Session, program: Program, seed: int) -> Found:
        with self.budget.spend(env) as meter:
            env.begin(program)
            climb = _Climb(env, program)
            # A snapshot may fail, or the time be up: what has been found by then stands.
            with contextlib.suppress(WorkerFailure):
                climb.run(meter)
        return Found(tuple(climb.actions), climb.cost, meter.trials)


class _Climb:
    """The state of one greedy search: where it stands, and a snapshot of the program there."""

    def __init__(self, env: Session, program: Program) -> None:
        self._env = env
        self._program = program
        self._failing: set[int] = set()
        passes = env.settings.space.passes
        self._order = sorted(range(len(passes)), key=lambda a: not passes[a].is_whole)
        self.actions: list[int] = []
        self.cost = env.cost
        self._snapshot = -1

    def run(self, meter: Meter) -> None:
        """Take the best single pass, again and again, until none saves anything."""
        env = self._env
        self._snapshot = env.save()
        while len(self.actions) < env.settings.max_steps and not meter.spent():
            best = self._best(meter)
            if best is None:
                break
            action, self.cost = best
            self.actions.append(action)
            if meter.spent():
                break
            env.restore(self._snapshot)
            if env.step(action)[4].get("end") in FAILURES:
                raise WorkerFailure("a pass failed that did not before")
            env.drop(self._snapshot)
            self._snapshot = env.save()

    def _best(self, meter: Meter) -> tuple[int, int] | None:
        """The pass that saves most from here, and the cost after it; None if none saves any."""
        best, cost_there = None, self.cost
        left = meter.seconds_left()
        round_ends = 0.0 if math.isinf(left) else (1 - ROUND_SHARE) * left
        for action in self._order:
            if meter.spent() or (best is not None and meter.seconds_left() < round_ends):
                break
            if action in self._failing:
                continue
            meter.trials += 1
            try:
                cost = self._try(action, meter)
            except WorkerFailure:
                if meter.out_of_time():
                    break
                raise
            if cost is not None and cost < cost_there:
                best, cost_there = action, cost
        return None if best is None else (best, cost_there)

    def _try(self, action: int, meter: Meter) -> int | None:
        """The cost after one pass, or None if the pass ends the episode."""
        env = self._env
        env.restore(self._snapshot)
        _, _, terminated, _, info = env.step(action)
        if info.get("end") in FAILURES:
            self._failing.add(action)
            if not meter.out_of_time():
                self._return_here()
            return None
        return None if terminated else env.cost

    def _return_here(self) -> None:
        """The worker and its snapshot are gone: replay the actions on a new one."""
        env = self._env
        env.begin(self._program)
        for action in self.actions:
            _, _, _, _, info = env.step(action)
            if info.get("end") in FAILURES:
                raise WorkerFailure("a pass failed that did not before")
        self._snapshot = env.save()

"""Greedy search: try every pass on the program as it is, keep the best, and go on from there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from codezero.compiler.program import Program
from codezero.env.environment import PhaseOrderingEnv
from codezero.isolation import WorkerFailure
from codezero.search.budget import Budget, Meter
from codezero.search.policy import Found
from codezero.search.sequences import FAILURES

ROUND_SHARE = 1 / 3


@dataclass(frozen=True)
class GreedySearch:
    """Takes the pass that saves most, until none saves anything or the budget is spent.

    Under a limit on time, a round that has taken `ROUND_SHARE` of the time left ends with the best
    pass so far. Whole pipelines are tried first: on unoptimised code nothing else comes near them,
    and every trial there is slow. A pass on which LLVM fails is not tried again.
    """

    budget: Budget

    @property
    def name(self) -> str:
        if self.budget.seconds:
            return f"greedy:{self.budget.seconds:g}s"
        return f"greedy:{self.budget.trials}" if self.budget.trials else "greedy"

    def run(self, env: PhaseOrderingEnv, program: Program, rng: np.random.Generator) -> Found:
        meter = self.budget.start()
        env.reset(options={"program": program})
        climb = _Climb(env, program)
        try:
            while len(climb.actions) < env.settings.max_steps and not meter.spent():
                if not climb.advance(meter):
                    break
        except WorkerFailure:
            pass  # a snapshot failed: what has been found by then stands
        return Found(tuple(climb.actions), climb.cost, meter.trials)


class _Climb:
    """The state of one greedy search: where it stands, and a snapshot of the program there."""

    def __init__(self, env: PhaseOrderingEnv, program: Program) -> None:
        self._env = env
        self._program = program
        self._failing: set[int] = set()
        passes = env.settings.space.passes
        self._order = sorted(range(len(passes)), key=lambda a: not passes[a].is_whole_pipeline)
        self.actions: list[int] = []
        self.cost = env.cost
        self._snapshot = env.save()

    def advance(self, meter: Meter) -> bool:
        """Take the best single pass from here. Returns False if none saves anything."""
        env, best, cost_there = self._env, None, self.cost
        left = meter.seconds_left()
        round_ends = 0.0 if math.isinf(left) else (1 - ROUND_SHARE) * left
        for action in self._order:
            if meter.spent() or (best is not None and meter.seconds_left() < round_ends):
                break
            if action in self._failing:
                continue
            meter.trials += 1
            cost = self._try(action)
            if cost is not None and cost < cost_there:
                best, cost_there = action, cost
        if best is None:
            return False
        env.restore(self._snapshot, self.actions)
        if env.step(best)[4].get("end") in FAILURES:
            raise WorkerFailure("a pass failed that did not before")
        self.actions.append(best)
        self.cost = cost_there
        env.drop(self._snapshot)
        self._snapshot = env.save()
        return True

    def _try(self, action: int) -> int | None:
        """The cost after one pass, or None if the pass ends the episode."""
        env = self._env
        env.restore(self._snapshot, self.actions)
        _, _, terminated, _, info = env.step(action)
        if info.get("end") in FAILURES:
            self._failing.add(action)
            self._return_here()
            return None
        return None if terminated else env.cost

    def _return_here(self) -> None:
        """The worker and its snapshot are gone: replay the actions on a new one."""
        env = self._env
        env.reset(options={"program": self._program})
        for action in self.actions:
            _, _, _, _, info = env.step(action)
            if info.get("end") in FAILURES:
                raise WorkerFailure("a pass failed that did not before")
        self._snapshot = env.save()

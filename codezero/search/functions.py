"""Every function by itself: the same agent's choice for each, after the passes for all of them.

Most passes work on one function at a time, and what makes one function smaller makes another
larger. The passes that were chosen for the whole program are kept as far as the last that works on
more than one function. In the place of those that come then, each of the larger functions gets
what the agent chooses for it as a program of its own, where that is smaller.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from codezero._native import LLVMError
from codezero.agents.agent import Agent
from codezero.agents.view import View
from codezero.compiler.program import Program
from codezero.env.environment import PhaseOrderingEnv
from codezero.env.episode import Function
from codezero.errors import ProgramError
from codezero.isolation import WorkerFailure
from codezero.search.budget import Budget, Meter
from codezero.search.guided import GuidedSearch
from codezero.search.policy import Found

LEAST_INSTRUCTIONS = 12
"""Of a function that is looked at."""
MOST_FUNCTIONS = 16
"""That are looked at, the largest."""


class FunctionSearch:
    """The search among one program's functions.

    Args:
        env: shows what the agent has to see.
    """

    def __init__(
        self, env: PhaseOrderingEnv, program: Program, agent: Agent, rng: np.random.Generator
    ) -> None:
        self._env = env
        self._program = program
        self._agent = agent
        self._rng = rng

    def run(self, whole: Found, budget: Budget) -> Found:
        """What was found for the whole program, made smaller function by function.

        Each function has one greedy trial, and more as far as its share of the budget goes, which
        is by size. What fails on the way leaves things as they were found.
        """
        if not self._env.settings.space.by_function:
            return whole
        with budget.spend(self._env) as meter:
            try:
                return self._run(whole, meter)
            except (ProgramError, LLVMError, WorkerFailure):
                return whole

    def _run(self, whole: Found, meter: Meter) -> Found:
        env, began = self._env, time.monotonic()
        shared, tail = env.settings.space.split(whole.actions)
        env.reset(options={"program": self._program})
        env.replay(shared)
        sizes = env.functions()
        large = sorted(sizes, key=lambda name: -sizes[name])[:MOST_FUNCTIONS]
        functions = env.extract([f for f in large if sizes[f] >= LEAST_INSTRUCTIONS], tail)
        env.replay(tail)
        _, cost, _ = env.finish()
        # What is chosen has to be run in time, too: it takes as long as to come here.
        chosen = self._choose(functions, meter, reserve=time.monotonic() - began)
        if not chosen:
            return whole
        env.reset(options={"program": self._program})
        changed = env.replay(shared, {name: chosen.get(name, tail) for name in sizes})
        _, smaller, _ = env.finish()
        trials = whole.trials + meter.trials
        return Found(shared, smaller, trials, changed) if smaller < cost else whole

    def _choose(
        self, functions: Sequence[Function], meter: Meter, reserve: float
    ) -> dict[str, tuple[int, ...]]:
        """Actions for those functions that they make smaller, by name."""
        begun = []
        for function in functions:
            left = meter.left(reserve)
            if left.seconds == 0:
                break
            search = self._search(function)
            with contextlib.suppress(ProgramError):
                search.begin(Meter(left))
                begun.append((function, search))
            meter.trials += 1
        size = sum(function.cost for function, _ in begun)
        for function, search in begun:
            if not meter.spent():
                trials = search.found.trials
                search.go_on(meter.left(reserve).part(function.cost / max(size, 1)))
                meter.trials += search.found.trials - trials
            size -= function.cost
        return {
            function.name: search.found.actions
            for function, search in begun
            if search.found.cost < function.cost
        }

    def _search(self, function: Function) -> GuidedSearch:
        env, agent = self._env, self._agent
        view = View(agent.settings, env.settings, only=env.settings.space.by_function)
        program = replace(self._program, name=function.name, bitcode=function.bitcode)
        return GuidedSearch(env, program, agent, view, self._rng)

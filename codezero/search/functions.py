"""Every function by itself: the same agent's choice for each, after the passes for all of them.

Most passes work on one function at a time, and what makes one function smaller makes another
larger. The passes that were chosen for the whole program are kept as far as the last that works on
more than one function. In the place of those that come then, each of the larger functions gets
what the agent chooses for it as a program of its own, where that is smaller.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from codezero._native import LLVMError
from codezero.agents.agent import Agent
from codezero.agents.view import View
from codezero.compiler.program import Program
from codezero.env.episode import Function
from codezero.env.session import Session
from codezero.errors import ProgramError
from codezero.isolation import WorkerFailure
from codezero.search.budget import UNLIMITED, Budget, Meter
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
        whole: what was found for the whole program.
    """

    def __init__(
        self,
        env: Session,
        program: Program,
        whole: Found,
        agent: Agent,
        rng: np.random.Generator,
    ) -> None:
        self._env = env
        self._program = program
        self._whole = whole
        self._agent = agent
        self._rng = rng
        self._shared: tuple[int, ...] = ()
        self._tail: tuple[int, ...] = ()
        """Actions for the whole program, and those after them that are by function."""
        self._sizes: dict[str, int] = {}
        self._begun: list[tuple[Function, GuidedSearch]] = []
        self._cost = 0
        """Of the program with the same passes for all, ready for code generation."""
        self._reserve = 0.0
        """Seconds that it takes to run what was chosen: what is chosen has to be run in time."""

    def begin(self, budget: Budget = UNLIMITED) -> Found:
        """One greedy trial for each function, as many as there is time for.

        Here and below, what fails on the way leaves things as they were found.
        """
        if not self._env.settings.space.by_function:
            return self._whole
        return self._within(budget, self._begin)

    def go_on(self, budget: Budget) -> Found:
        """More trials for each function, as far as its share of the budget goes: by size."""
        return self._within(budget, self._go_on)

    def _within(self, budget: Budget, do: Callable[[Meter], None]) -> Found:
        with budget.spend(self._env) as meter:
            try:
                do(meter)
                return self._found()
            except (ProgramError, LLVMError, WorkerFailure):
                return self._whole

    def _begin(self, meter: Meter) -> None:
        env, space, began = self._env, self._env.settings.space, time.monotonic()
        env.begin(self._program, self._whole.inlining)
        actions = space.expand(self._whole.actions)
        if actions != self._whole.actions:
            # Of lists much changes nothing, and would keep what comes before it for all functions.
            actions = env.replay(actions).actions
            env.begin(self._program, self._whole.inlining)
        self._shared, self._tail = space.split(actions)
        env.replay(self._shared)
        self._sizes = sizes = env.functions()
        large = sorted(sizes, key=lambda name: -sizes[name])[:MOST_FUNCTIONS]
        functions = env.extract([f for f in large if sizes[f] >= LEAST_INSTRUCTIONS], self._tail)
        env.replay(self._tail)
        self._cost = env.finish().cost
        self._reserve = time.monotonic() - began
        for function in functions:
            left = meter.left(self._reserve)
            if left.seconds == 0:
                break
            search = self._search(function)
            with contextlib.suppress(ProgramError):
                search.begin(Meter(left))
                self._begun.append((function, search))

    def _go_on(self, meter: Meter) -> None:
        size = sum(function.cost for function, _ in self._begun)
        for function, search in self._begun:
            if not meter.spent():
                before = search.found.trials
                search.go_on(meter.left(self._reserve).part(function.cost / max(size, 1)))
                meter.trials += search.found.trials - before
            size -= function.cost

    def _found(self) -> Found:
        """What was found for the whole program, with what makes functions of it smaller."""
        env, expand = self._env, self._env.settings.space.expand
        chosen = {
            function.name: expand(search.found.actions)
            for function, search in self._begun
            if search.found.cost < function.cost
        }
        trials = self._whole.trials + sum(search.found.trials for _, search in self._begun)
        whole = replace(self._whole, trials=trials)
        if not chosen:
            return whole
        env.begin(self._program, self._whole.inlining)
        changed = env.replay(
            self._shared, {name: chosen.get(name, self._tail) for name in self._sizes}
        )
        smaller = env.finish().cost
        if smaller >= self._cost:
            return whole
        return replace(
            whole, actions=changed.actions, cost=smaller, functions=changed.functions, made=None
        )

    def _search(self, function: Function) -> GuidedSearch:
        env, agent = self._env, self._agent
        view = View(agent.settings, env.settings, only=env.settings.space.by_function)
        program = replace(self._program, name=function.name, bitcode=function.bitcode)
        return GuidedSearch(env, program, agent, view, self._rng)

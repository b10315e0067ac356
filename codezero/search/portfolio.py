"""The search among a portfolio's lists: a few of them are the agent's trial."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace

from codezero._native import LLVMError
from codezero.compiler.program import Program
from codezero.env.episode import Tried
from codezero.env.session import Session
from codezero.errors import ProgramError
from codezero.isolation import WorkerFailure
from codezero.portfolio.portfolio import Portfolio
from codezero.search.budget import UNLIMITED, Budget, Meter
from codezero.search.policy import Found, Made


class PortfolioSearch:
    """The search on one program.

    Args:
        env: lists of which it has not all passes are left out.
    """

    def __init__(self, env: Session, program: Program, portfolio: Portfolio) -> None:
        self._env = env
        self._program = program
        self._portfolio = portfolio
        names = {p.name for p in env.settings.space.passes}
        self._actions = {
            k: [env.settings.space.action(name) for name in each]
            for k, each in enumerate(portfolio.lists)
            if names.issuperset(each)
        }
        self._left: list[int] = []
        self._found = Found((), 0, 0)

    def begin(self) -> Found:
        """Those lists that are the trial, however long they take."""
        env = self._env
        env.begin(self._program)
        self._found = Found((), env.cost, 0)
        if not self._actions:
            return self._found
        order = self._portfolio.order(env.features(), self._actions)
        self._left = order.others
        self._try(order.trial, Meter(UNLIMITED))
        return self._found

    def go_on(self, budget: Budget) -> Found:
        """The others, as many as there is time for."""
        with budget.spend(self._env) as meter:
            while self._left and not meter.spent():
                trials = meter.left().trials
                many = self._env.threads if trials is None else min(self._env.threads, trials)
                now, self._left = self._left[:many], self._left[many:]
                try:
                    self._env.begin(self._program)
                except ProgramError:  # it began before: what is found stays
                    break
                self._try(now, meter)
                meter.trials += len(now)
        return self._found

    def _try(self, lists: Sequence[int], meter: Meter) -> None:
        """Try lists on the program, with which the environment has begun."""
        env = self._env
        actions = [self._actions[k] for k in lists]
        tried: list[Tried | None]
        try:
            tried, failed = [*env.try_lists(actions)], False
        except WorkerFailure:
            # One is to blame, or the time is up.
            tried, failed = [self._try_alone(each, meter) for each in actions], True
        costs = [math.inf if t is None or t.cost is None else t.cost for t in tried]
        best = min(range(len(tried)), key=costs.__getitem__)
        found = replace(self._found, trials=self._found.trials + len(lists))
        result = tried[best]
        if result is not None and result.cost is not None and result.cost < found.cost:
            found = replace(found, actions=result.passes, cost=result.cost, made=None)
            if not failed:
                with contextlib.suppress(LLVMError, WorkerFailure):
                    found = replace(found, made=Made(*env.finish_list(best)))
        self._found = found

    def _try_alone(self, actions: Sequence[int], meter: Meter) -> Tried | None:
        if meter.out_of_time():
            return None
        try:
            self._env.begin(self._program)
            return self._env.try_lists([actions])[0]
        except (ProgramError, WorkerFailure):
            return None

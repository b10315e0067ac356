"""The search among a portfolio's lists: a few of them are the agent's trial."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace

from codezero._native import LLVMError
from codezero.compiler.program import Program
from codezero.compiler.spaces import PassSpace
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

    @staticmethod
    def fits(portfolio: Portfolio, space: PassSpace) -> bool:
        """Whether a space has the passes of one of the lists at least."""
        names = {p.name for p in space.passes}
        return any(map(names.issuperset, portfolio.lists))

    def begin(self) -> Found:
        """Those lists that are the trial, however long they take.

        Raises:
            ProgramError: LLVM fails before the first pass.
        """
        env = self._env
        env.begin(self._program)
        self._found = Found((), env.cost, 0)
        try:
            features = env.features()
        except (LLVMError, WorkerFailure) as failure:
            raise ProgramError(f"{self._program.name}: LLVM fails on it ({failure})") from None
        order = self._portfolio.order(features, self._actions)
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
        """Try lists on the program, with which the environment has begun, and keep the best.

        The best is one that can be finished: some leave IR that does not verify.
        """
        actions = [self._actions[k] for k in lists]
        self._found = replace(self._found, trials=self._found.trials + len(lists))
        try:
            tried = self._env.try_lists(actions)
            costs = [math.inf if each.cost is None else each.cost for each in tried]
            for index in sorted(range(len(tried)), key=costs.__getitem__):
                if self._keep(tried[index], index):
                    break
        except WorkerFailure:
            # One is to blame, or the time is up.
            for each in actions:
                self._try_alone(each, meter)

    def _try_alone(self, actions: Sequence[int], meter: Meter) -> None:
        if not meter.out_of_time():
            with contextlib.suppress(ProgramError, WorkerFailure):
                self._env.begin(self._program)
                (tried,) = self._env.try_lists([actions])
                self._keep(tried, 0)

    def _keep(self, tried: Tried, index: int) -> bool:
        """Finish what has been tried if it is the best so far; whether there is no better one."""
        if tried.cost is None or tried.cost >= self._found.cost:
            return True
        try:
            made = Made(*self._env.finish_list(index))
        except LLVMError:
            return False
        if made.cost < self._found.cost:
            self._found = replace(self._found, actions=tried.passes, cost=made.cost, made=made)
        return True

"""The search among a portfolio's lists: a few of them are the agent's trial."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from codezero._native import LLVMError
from codezero.compiler.program import Program
from codezero.compiler.spaces import PassSpace
from codezero.env.episode import Tried
from codezero.env.session import Session
from codezero.errors import ProgramError
from codezero.isolation import WorkerFailure
from codezero.portfolio.portfolio import Portfolio
from codezero.search.budget import Budget, Meter
from codezero.search.policy import Found


class TrialLimit(NamedTuple):
    """What a trial may take at most, where that is less than the portfolio says."""

    work: float = math.inf
    """Of its lists together, over the time of the baseline."""
    seconds: float = math.inf
    """Wall time, after which it is what it has come to: for the largest programs."""


NO_LIMIT = TrialLimit()
STRAGGLER = 1.0
"""Times the work of a trial with a limit, after which a list by itself is given up. How long lists
take is known as a mean over programs; on few, they take many times as long."""


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

    def begin(self, limit: TrialLimit = NO_LIMIT) -> Found:
        """Those lists that are the trial.

        Raises:
            ProgramError: LLVM fails before the first pass.
        """
        env, budget = self._env, Budget(None if math.isinf(limit.seconds) else limit.seconds)
        with budget.spend(env) as meter:
            return self._begin(meter, limit)

    def _begin(self, meter: Meter, limit: TrialLimit) -> Found:
        env = self._env
        env.begin(self._program)
        self._found = Found((), env.cost, 0)
        try:
            features = env.features()
        except (LLVMError, WorkerFailure) as failure:
            raise ProgramError(f"{self._program.name}: LLVM fails on it ({failure})") from None
        order = self._portfolio.order(features, self._actions, limit.work)
        self._left = order.others
        # All at once is quickest; in rounds, what is done when the time is up is kept.
        many = len(order.trial) if math.isinf(limit.seconds) else env.threads
        for first in range(0, len(order.trial), many):
            if first and meter.out_of_time():
                break
            if first:
                env.begin(self._program)
            self._try(order.trial[first : first + many], meter, STRAGGLER * limit.work)
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

    def _try(self, lists: Sequence[int], meter: Meter, most_work: float = math.inf) -> None:
        """Try lists on the program, with which the environment has begun, and keep the best.

        The best is one that can be finished: some leave IR that does not verify.
        """
        actions = [self._actions[k] for k in lists]
        self._found = replace(self._found, trials=self._found.trials + len(lists))
        try:
            tried = self._env.try_lists(actions, most_work)
            costs = [math.inf if each.cost is None else each.cost for each in tried]
            for index in sorted(range(len(tried)), key=costs.__getitem__):
                if self._keep(tried[index], index):
                    break
        except WorkerFailure:
            # One is to blame, or the time is up.
            for each in actions:
                self._try_alone(each, meter, most_work)

    def _try_alone(self, actions: Sequence[int], meter: Meter, most_work: float) -> None:
        if not meter.out_of_time():
            with contextlib.suppress(ProgramError, WorkerFailure):
                self._env.begin(self._program)
                (tried,) = self._env.try_lists([actions], most_work)
                self._keep(tried, 0)

    def _keep(self, tried: Tried, index: int) -> bool:
        """Finish what has been tried if it is the best so far; whether there is no better one."""
        if tried.cost is None or tried.cost >= self._found.cost:
            return True
        try:
            made = self._env.finish_list(index)
        except LLVMError:
            return False
        if made.cost < self._found.cost:
            self._found = replace(self._found, actions=tried.passes, cost=made.cost, made=made)
        return True

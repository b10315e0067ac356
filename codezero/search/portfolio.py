"""The search among a portfolio's lists: a few of them are the agent's trial."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from codezero._native import LLVMError
from codezero.compiler.program import Program
from codezero.compiler.spaces import PassSpace
from codezero.env.session import Session
from codezero.env.trials import ATTEMPTS, Tried
from codezero.errors import ProgramError
from codezero.isolation import WorkerFailure
from codezero.portfolio.portfolio import Portfolio
from codezero.search.budget import NO_LIMIT, Budget, Meter, TrialLimit
from codezero.search.policy import Found

NO_LIST = Found((), sys.maxsize, 0)
INLINING_SHARE = 0.45
"""Of a trial's work, for choices about inlining; docs/training-log.md, entry 13."""
LEAST_TRIALS = 2
"""Of such choices: with all of them in one, less is found than with more lists;
docs/training-log.md, entry 16."""
FOR_CODE = 2
"""Lists that could be tried while ways to generate code and frame pointers are."""
AT_ONCE = 4
"""Lists or tails, where a budget is of trials."""
MOST_AT_ONCE = 1_000
STRAGGLER = 1.0
"""Times the work of a trial that has to end in time, after which a list by itself is given up. How
long lists take is known as a mean over programs; on few, they take many times as long."""


class PortfolioSearch:
    """The search on one program.

    Args:
        env: lists and tails of which it has not all passes are left out.
        by_function: whether functions may have tails of their own, and which of them are inlined
            may be chosen, before lists and under the best. If not, there is one tail for all.
        lists_alone: whether there are neither tails nor such choices.
        most_work: times as long as the baseline that the trial's lists and tails may take, where
            that is not what the portfolio says.
    """

    def __init__(
        self,
        env: Session,
        program: Program,
        portfolio: Portfolio,
        *,
        by_function: bool = True,
        lists_alone: bool = False,
        most_work: float | None = None,
    ) -> None:
        self._most_work = portfolio.most_work if most_work is None else most_work
        self._env = env
        self._program = program
        self._portfolio = portfolio
        self._by_function = by_function
        self._lists_alone = lists_alone
        self._lists = _known(portfolio.lists, env.settings.space)
        self._tails = _known(portfolio.tails, env.settings.space)
        self._others: Iterator[int] = iter(())
        """Lists that are left, of which none has been looked for."""
        self._looked_for: list[int] = []
        """Those that have been."""
        self._tails_left: list[int] = []
        """For the best list."""
        self._likely: int | None = None
        """How many choices about inlining there can be that are likely to help; None where there
        are none at all."""
        self._likely_left = self._unlikely_left = False
        """Whether there are choices that have not been tried with the best list."""
        self._late = False
        """Whether a list has been given up for its time."""
        self._start = self._found = Found((), 0, 0)
        self._best = NO_LIST
        """What inlining and tails go on from, whether it is smaller than the baseline or not."""

    @property
    def best(self) -> Found:
        """The best that lists come to with choices about inlining, but no tails."""
        best = min(self._start, self._best, key=lambda each: each.cost)
        return replace(best, trials=self._found.trials)

    @staticmethod
    def fits(portfolio: Portfolio, space: PassSpace) -> bool:
        """Whether a space has the passes of one of the lists at least."""
        return bool(_known(portfolio.lists, space))

    def begin(self, limit: TrialLimit = NO_LIMIT) -> Found:
        """Those lists that are the trial, and tails after the best of them.

        Raises:
            ProgramError: LLVM fails before the first pass.
        """
        env, budget = self._env, Budget(None if math.isinf(limit.seconds) else limit.seconds)
        with budget.spend(env) as meter:
            self._begin(meter, limit)
        return self._found

    def _begin(self, meter: Meter, limit: TrialLimit) -> None:
        env, portfolio = self._env, self._portfolio
        env.hold(self._program, ())
        # At the start a program may lack what it has to have before code is generated, such as
        # calls that have to be inlined: it is no result by itself.
        self._start = self._found = Found((), max(env.costs.initial, env.costs.baseline), 0)
        if meter.out_of_time():
            return  # the baseline took all of it
        try:
            features = env.features()
            tells = env.tells_functions()
            if self._lists_alone or (self._by_function and not tells):
                self._tails = {}
            if self._by_function and tells and not self._lists_alone:
                self._look_at_inlining()
        except (LLVMError, WorkerFailure) as failure:
            raise ProgramError(f"{self._program.name}: LLVM fails on it ({failure})") from None
        work = self._most_work if limit.work is None else min(self._most_work, limit.work)
        trials, for_inlining = self._inlining_of_trial(work)
        order = portfolio.order(features, self._lists, work - for_inlining, [*self._tails])
        tails = portfolio.tails_of(work - for_inlining, [*self._tails])
        work -= tails.work + sum(portfolio.work[k] for k in order.trial)
        self._others = order.others
        whole = portfolio.most_work if limit.work is None else limit.work
        most_work = math.inf if math.isinf(limit.seconds) else STRAGGLER * whole
        # All at once is quickest; in rounds, what is done when the time is up is kept.
        many = MOST_AT_ONCE if math.isinf(limit.seconds) else env.threads
        before, tried = meter.seconds_left(), order.trial
        self._try_in_rounds(tried, many, meter, most_work)
        # Lists that take too long are no worse without them.
        if self._best.inlining and self._best.cost >= env.costs.baseline and not self._late:
            self._try_without_choices(tried, many, meter, most_work)
            work -= sum(portfolio.work[k] for k in tried)
            tried = [*tried, *tried]
        if trials and self._has_time_for_inlining(trials, tried, before, meter):
            work -= self._try_inlining(trials, most_work) * self._work_of_list
            self._try_in_rounds(self._next_lists(work), many, meter, most_work)
        if not meter.out_of_time():
            self._try_tails(len(tails.chosen), meter, most_work)

    def _look_at_inlining(self) -> None:
        """See what may be chosen, and begin with what is chosen beforehand."""
        prospects = self._env.inlining_prospects()
        if prospects is not None:
            self._likely = prospects.likely
            self._best = replace(NO_LIST, inlining=prospects.beforehand)

    def _has_time_for_inlining(
        self, trials: int, tried: Sequence[int], before: float, meter: Meter
    ) -> bool:
        """Whether choices, and what comes after them, end before the trial has to.

        What comes last, which is code, is worth more for its time.

        Args:
            tried: the lists of the trial, by which it is told how long one takes.
            before: seconds that were left before them.
        """
        left = meter.seconds_left()
        if math.isinf(left):
            return True
        of_list = (before - left) / max(math.ceil(len(tried) / self._env.threads), 1)
        return left >= of_list * (math.ceil(trials / self._env.threads) + ATTEMPTS + FOR_CODE)

    def _try_in_rounds(
        self, lists: Sequence[int], many: int, meter: Meter, most_work: float
    ) -> None:
        for first in range(0, len(lists), many):
            if self._found.trials and meter.out_of_time():
                return
            self._try(lists[first : first + many], meter, most_work)

    def _try_without_choices(
        self, lists: Sequence[int], many: int, meter: Meter, most_work: float
    ) -> None:
        """Try lists with nothing chosen about inlining, and keep that if it is better so.

        What is chosen beforehand helps nearly always. Where it does not, or LLVM fails over it, it
        is to blame for all of them.
        """
        chosen = self._best
        self._best = replace(NO_LIST, cost=chosen.cost)
        self._try_in_rounds(lists, many, meter, most_work)
        if self._best.made is None and chosen.made is not None:
            self._best = chosen

    @property
    def _work_of_list(self) -> float:
        return sum(self._portfolio.work) / len(self._portfolio.work)

    def _inlining_of_trial(self, work: float) -> tuple[int, float]:
        """How many trials of choices about inlining, and the time that lists leave for them."""
        if self._likely is None:
            return 0, 0.0
        # One list more, with what was chosen in all of them.
        trials = int(INLINING_SHARE * work / self._work_of_list) - 1
        trials = min(trials, self._likely) if trials >= LEAST_TRIALS else 0
        return trials, (trials + 1) * self._work_of_list if trials else 0.0

    def _next_lists(self, work: float) -> list[int]:
        """As many of those that are left as there is time for."""
        sums = list(itertools.accumulate(self._portfolio.work[k] for k in self._lists_left()))
        return self._take_lists(bisect.bisect_right(sums, work))

    def _lists_left(self) -> list[int]:
        self._looked_for += self._others
        return self._looked_for

    def _take_lists(self, number: int) -> list[int]:
        left = self._lists_left()
        now, self._looked_for = left[:number], left[number:]
        return now

    def _tails_of_trial(self) -> int:
        return len(self._portfolio.tails_of(self._most_work, [*self._tails]).chosen)

    def go_on(self, budget: Budget) -> Found:
        """What there is time for: choices about inlining, other lists, and other tails.

        Choices that are likely to help come first, as they find most; then lists, tails and other
        choices in turn. Whenever something else than tails has made the program smaller, those that
        are part of a trial come after it.

        Without functions of their own, tails make lists longer, and all are tried after each that
        is the best.
        """
        with budget.spend(self._env) as meter:
            turns = itertools.cycle(("lists", "tails", "choices"))
            while not meter.spent():
                many, before = self._at_once(meter), self._best
                left = {
                    "lists": bool(self._lists_left()),
                    "tails": bool(self._tails_left),
                    "choices": self._unlikely_left,
                }
                with self._counted(meter):
                    if self._likely_left:
                        self._try_inlining(many)
                    elif not any(left.values()):
                        break
                    else:
                        turn = next(turn for turn in turns if left[turn])
                        if turn == "lists":
                            if not self._try(self._take_lists(many), meter):
                                break
                        elif turn == "tails":
                            self._try_tails(many, meter)
                        else:
                            self._try_inlining(many, likely=False)
                if self._best is not before and not meter.spent():
                    with self._counted(meter):
                        self._try_tails(_as_many(self._tails_of_trial(), meter), meter)
        return self._found

    def _hold_program(self) -> bool:
        """Have the program at hand with what has been chosen about inlining; whether LLVM does."""
        try:
            self._env.hold(self._program, self._best.inlining)
        except ProgramError:  # it began before: what is found stays
            return False
        return True

    def _at_once(self, meter: Meter) -> int:
        """How many before the next look at a budget; of one of trials, the same on any machine."""
        return self._env.threads if meter.left().trials is None else _as_many(AT_ONCE, meter)

    @contextlib.contextmanager
    def _counted(self, meter: Meter) -> Iterator[None]:
        """Put what is tried meanwhile on the budget."""
        before = self._found.trials
        yield
        meter.trials += self._found.trials - before

    def _try(self, lists: Sequence[int], meter: Meter, most_work: float = math.inf) -> bool:
        """Try lists on the program and keep the best, with what has been chosen about inlining.

        The best is one that can be finished: some leave IR that does not verify. Returns whether
        LLVM begins with the program.
        """
        if not self._hold_program():
            return False
        work = [self._portfolio.work[k] for k in lists]
        self._try_actions([self._lists[k] for k in lists], meter, most_work, work)
        return True

    def _try_actions(
        self,
        lists: Sequence[Sequence[int]],
        meter: Meter,
        most_work: float = math.inf,
        work: Sequence[float] = (),
    ) -> None:
        """Try lists, and keep the best; of those that are equally good, the first.

        Args:
            work: what each takes, if that is known: the last thread is done soonest if what takes
                longest begins first.
        """
        self._count(len(lists))
        begun = sorted(range(len(lists)), key=lambda k: -work[k] if work else 0)
        try:
            tried = self._try_lists([lists[k] for k in begun], most_work)
            costs = [math.inf if each.cost is None else each.cost for each in tried]
            for index in sorted(range(len(tried)), key=lambda i: (costs[i], begun[i])):
                if self._keep(tried[index], index):
                    break
        except WorkerFailure:
            # One is to blame, or the time is up.
            for each in lists:
                self._try_alone(each, meter, most_work)

    def _try_alone(self, actions: Sequence[int], meter: Meter, most_work: float) -> None:
        if not meter.out_of_time() and self._hold_program():
            with contextlib.suppress(WorkerFailure):
                (tried,) = self._try_lists([actions], most_work)
                self._keep(tried, 0)

    def _try_lists(self, lists: Sequence[Sequence[int]], most_work: float) -> list[Tried]:
        tried = self._env.try_lists(lists, most_work)
        self._late |= any(each.is_late for each in tried)
        return tried

    def _keep(self, tried: Tried, index: int) -> bool:
        """Finish what has been tried if it is the best so far; whether there is no better one."""
        if tried.cost is None or tried.cost >= self._best.cost:
            return True
        try:
            made = self._env.finish_list(index)
        except LLVMError:
            return False
        if made.cost < self._best.cost:
            self._env.keep_list(index)
            self._be_best(
                Found(tried.passes, made.cost, 0, inlining=self._best.inlining, made=made)
            )
        return made.cost <= tried.cost

    def _be_best(self, best: Found) -> None:
        """Have inlining and tails go on from there."""
        self._best = best
        self._tails_left = list(self._tails)
        self._likely_left = bool(self._likely)
        self._unlikely_left = self._likely is not None
        self._take(best)

    def _try_inlining(
        self, trials: int, most_work: float = math.inf, *, likely: bool = True
    ) -> int:
        """Try choices about inlining with the best list, and keep what makes it better.

        Returns how many trials that took.
        """
        none_left = False, self._unlikely_left and likely
        if not self.hold_best():
            self._likely_left, self._unlikely_left = False, False
            return 0
        try:
            inlined = self._env.try_inlining(trials, most_work, likely=likely)
        except (LLVMError, WorkerFailure):
            self._likely_left, self._unlikely_left = none_left
            return trials
        self._count(inlined.trials)
        if inlined.made is not None and inlined.made.cost >= self._best.cost:
            # What has to be inlined before code is generated made it larger after all.
            self._tails_left, self._likely_left, self._unlikely_left = [], False, False
        elif inlined.made is not None:
            best = replace(
                self._best,
                cost=inlined.made.cost,
                inlining=inlined.choices,
                made=inlined.made,
            )
            self._be_best(best)
        if not inlined.trials:
            self._likely_left, self._unlikely_left = none_left
        return inlined.trials

    def _try_tails(self, number: int, meter: Meter, most_work: float = math.inf) -> None:
        """Try the next tails after the best list, and keep what comes of them if it is better.

        They go on from what those before them have come to.
        """
        now = [self._tails[k] for k in self._tails_left[:number]]
        self._tails_left = self._tails_left[number:]
        if not now:
            return
        if not self._by_function:
            if self._hold_program():
                longer = [[*self._best.actions, *tail] for tail in now]
                self._try_actions(longer, meter, most_work)
            return
        if not self.hold_best():
            self._tails_left = []
            return
        self._count(len(now))
        try:
            tailed = self._env.try_tails(now, most_work)
        except (LLVMError, WorkerFailure):
            self._tails_left = []  # the program that they come after is gone
            return
        if tailed.made is not None:
            self._take(
                replace(
                    self._best,
                    cost=tailed.made.cost,
                    functions=tailed.functions,
                    made=tailed.made,
                )
            )

    def hold_best(self) -> bool:
        """Have what the best list makes at hand in the environment; whether that is so.

        It is made once more where it went with its process, for which another list is to blame.
        """
        env = self._env
        if self._best.made is None:
            return False
        if not env.keeps_list and self._hold_program():
            with contextlib.suppress(WorkerFailure):
                (tried,) = env.try_lists([self._best.actions])
                if tried.cost is not None:
                    env.keep_list(0)
                    self._best = replace(self._best, actions=tried.passes)
        return env.keeps_list

    def _count(self, trials: int) -> None:
        self._found = replace(self._found, trials=self._found.trials + trials)

    def _take(self, found: Found) -> None:
        """Keep it if it is the best of all."""
        if found.cost < self._found.cost:
            self._found = replace(found, trials=self._found.trials)


def _as_many(number: int, meter: Meter) -> int:
    trials = meter.left().trials
    return number if trials is None else min(number, trials)


def _known(lists: Sequence[Sequence[str]], space: PassSpace) -> dict[int, list[int]]:
    """As actions, by their indices, those lists of which a space has all passes."""
    names = {p.name for p in space.passes}
    return {
        k: [space.action(name) for name in each]
        for k, each in enumerate(lists)
        if names.issuperset(each)
    }

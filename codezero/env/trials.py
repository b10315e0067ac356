"""Trials of lists of passes on a program: each from the start, then what goes on from the best.

That is which functions are inlined under a list, and functions' own passes after it. As many are
tried side by side as there are threads, which what comes of them does not depend on.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import compress, takewhile
from typing import Generic, NamedTuple, TypeVar

from codezero._native import LLVMError, Module
from codezero.compiler.spaces import PassSpace
from codezero.env.inlining import Calls, Inlining, InliningChoice, Prospects, batches, saved
from codezero.env.subject import Built, Made, Subject

OVER_LIMIT = 1.5
"""Times its limit that a list has in the middle of a pass, which ends with its process alone."""
LEAST_PATIENCE = 0.2
"""Seconds of a processor that it has in any case."""
POLL_SECONDS = 0.02

ATTEMPTS = 3
"""At a program of what makes its functions smaller: of all that seem smaller, then of half."""
TAIL_GROUPS = 4
"""Of functions, that threads try tails on side by side, however many threads there are."""

T = TypeVar("T")
Task = TypeVar("Task")


class Tried(NamedTuple):
    """What a list of passes made of the program as it is at the start."""

    cost: int | None
    """None where LLVM reported an error, or the program grew past the limit."""
    passes: tuple[int, ...]
    """Those that changed something."""
    seconds: float
    """Wall time of the passes, and of measuring what they made."""
    is_running: bool = False
    """Whether it was given up in the middle of a pass, which cannot be stopped."""
    is_late: bool = False
    """Whether it was given up for its time, in the middle of a pass or not."""


class Tailed(NamedTuple):
    """What lists of passes by function made of functions, each with the one that suits it best."""

    functions: dict[str, tuple[int, ...]]
    """By name, what each got after the list of the whole program: all that `Trials.try_tails` has
    found since `Trials.keep_list`. Empty where nothing became smaller."""
    made: Made | None
    """The program with them; None where nothing became smaller."""
    is_running: bool
    """Whether a list was given up in the middle of a pass, which cannot be stopped."""


class Inlined(NamedTuple):
    """What came of choosing which functions are inlined."""

    choices: Inlining
    """All that are in force now; those of before where nothing became smaller."""
    made: Made | None
    """The program with them; None where nothing became smaller."""
    trials: int
    """Times that the list was run. None: there are no choices left."""
    is_running: bool
    """As for `Tailed`."""


class TailCosts(NamedTuple):
    """What lists of passes by function do to functions, each list by itself."""

    before: dict[str, int]
    """The cost of each function, by name."""
    after: list[dict[str, int]]
    """With each list, those of functions that it changes; none where LLVM fails."""
    work: list[float]
    """Time of each list, code generation included, over the baseline's. Of a processor."""
    rebuild_work: float
    """What it takes to make a program of functions that have been chosen."""


@dataclass(frozen=True)
class _Kept:
    """A list that was kept, and what has been found to make what it makes smaller."""

    actions: tuple[int, ...]
    whole: Built
    """What they make of the program, with the choices about inlining."""
    inlining: Inlining
    built: Built
    """The same with functions' own passes, which tails go on from."""
    functions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What functions got by themselves."""
    tried: frozenset[InliningChoice] = frozenset()
    """Choices that need not be tried again."""


@dataclass(frozen=True)
class _Chosen(Generic[Task]):
    """A program with some of what may be chosen: about inlining, or names of functions that have
    passes of their own."""

    built: Built
    choices: tuple[Task, ...]

    @property
    def cost(self) -> int:
        return self.built.measured.cost


class _Limit:
    """On the processor's time that a thread takes for one list. Any thread may ask.

    Args:
        seconds: may be infinite.
    """

    def __init__(self, seconds: float) -> None:
        self._most = seconds
        self._clock: int | None = None
        self._began = 0.0

    def start(self) -> None:
        """Begin, in the thread whose time it is."""
        clock = time.pthread_getcpuclockid(threading.get_ident())
        self._began = time.clock_gettime(clock)
        self._clock = clock

    def is_passed(self) -> bool:
        return self._seconds() > self._most

    def is_hopeless(self) -> bool:
        """Whether it is so far behind that it is not worth to wait for the end of a pass."""
        return self._seconds() > max(OVER_LIMIT * self._most, LEAST_PATIENCE)

    def _seconds(self) -> float:
        return 0.0 if self._clock is None else time.clock_gettime(self._clock) - self._began


class Trials:
    """Tries lists of passes on a program.

    Args:
        pool: of threads.
        threads: how many it has.
    """

    def __init__(
        self, subject: Subject, space: PassSpace, pool: ThreadPoolExecutor, threads: int
    ) -> None:
        self._subject = subject
        self._space = space
        self._pool = pool
        self._threads = threads
        self._tried: list[tuple[Built | None, Tried]] = []
        self._kept: _Kept | None = None
        self._calls: Calls | None = None
        """Of the program at the start, if they have been looked at."""

    def begin(self, *, is_new: bool) -> None:
        """Begin with a program.

        Args:
            is_new: whether it is another one than before.
        """
        self._tried = []
        if is_new:
            self._kept = self._calls = None

    def try_lists(self, lists: Sequence[Sequence[int]], most_work: float = math.inf) -> list[Tried]:
        """What some lists of passes make of the program, each from the start; see `finish_list`.

        Args:
            most_work: see `Session.try_lists`.
        """
        self._tried = []  # they take memory
        self._subject.prepare()
        results = self._side_by_side(self._try_list, lists, most_work)
        given_up = (None, Tried(None, (), math.inf, is_running=True, is_late=True))
        self._tried = [result or given_up for result in results]
        return [tried for _, tried in self._tried]

    def _side_by_side(
        self,
        work: Callable[[Task, _Limit], T],
        tasks: Sequence[Task],
        most_work: float,
    ) -> list[T | None]:
        """Do something with lists of passes or choices, as many at a time as there are threads.

        Args:
            most_work: times as long as the baseline that one may take.

        Returns what came of each, None where it was given up in the middle of a pass.
        """
        limits = [_Limit(most_work * self._subject.baseline_seconds) for _ in tasks]
        futures = [
            self._pool.submit(work, each, limit) for each, limit in zip(tasks, limits, strict=True)
        ]
        if len(tasks) % self._threads:
            self._subject.measure_start_meanwhile()
        if math.isinf(most_work * self._subject.baseline_seconds):
            wait(futures)
        while wait(futures, POLL_SECONDS).not_done:
            running = [each for f, each in zip(futures, limits, strict=True) if f.running()]
            if running and all(each.is_hopeless() for each in running):
                break  # those that wait for a thread would wait for ever
        return [future.result() if future.done() else None for future in futures]

    def _try_list(self, actions: Sequence[int], limit: _Limit) -> tuple[Built | None, Tried]:
        began = time.perf_counter()
        limit.start()
        built, changed = self._run_list(self._subject.fresh(self._subject.inlining), actions, limit)
        cost = None if built is None else built.measured.cost
        is_late = built is None and limit.is_passed()
        return built, Tried(cost, changed, time.perf_counter() - began, is_late=is_late)

    def _run_list(
        self, module: Module, actions: Sequence[int], limit: _Limit
    ) -> tuple[Built | None, tuple[int, ...]]:
        """What a list makes of a program as it is at the start, and those that changed something.

        It makes nothing where LLVM reports an error, the program grows too large, or it takes too
        long.
        """
        changed: list[int] = []
        with contextlib.suppress(LLVMError):
            for action in actions:
                if self._space.passes[action].run(module):
                    changed.append(action)
                    if module.instruction_count() > self._subject.max_instructions:
                        break
                if limit.is_passed():
                    break
            else:
                module.forget_inlining()
                return self._subject.build(module), tuple(changed)
        return None, tuple(changed)

    def finish_list(self, index: int) -> Made:
        """As `Subject.finish`, of what one of the last lists tried has made."""
        return self._subject.hand_over(self._built(index))

    def keep_list(self, index: int) -> None:
        """Have `try_inlining` and `try_tails` go on from what one of the last lists has made."""
        built = self._built(index)
        self._kept = _Kept(self._tried[index][1].passes, built, self._subject.inlining, built)

    def _built(self, index: int) -> Built:
        built = self._tried[index][0]
        assert built is not None, "it has made nothing"
        return built

    def tells_functions(self) -> bool:
        """Whether the cost of a function can be told, without which nothing is chosen for one."""
        return not self._subject.objective.of_code or self._subject.at_start().tells_function_sizes

    def inlining_prospects(self) -> Prospects | None:
        """What may be chosen about inlining.

        None where functions call no others, without which nothing can be inlined.
        """
        calls = self._calls_at_start()
        if not calls:
            return None
        optimized = self._subject.optimized()
        made = calls.small_and_shared(optimized.call_edges(), optimized.instruction_counts())
        # As it is at the start, and with what the baseline inlines into them.
        for module in (optimized.clone, self._subject.fresh) if made else ():
            made = tuple(compress(made, module().choose_inlining(made)))
        return Prospects(made, calls.number_of_likely(made))

    def _calls_at_start(self) -> Calls:
        if self._calls is None:
            start = self._subject.at_start()
            self._calls = Calls(
                start.call_edges(),
                start.instruction_counts(),
                start.inlinable_functions(),
                never_is_likely=not (self._subject.objective.of_code or self._space.keeps_speed),
            )
        return self._calls

    def try_inlining(
        self, trials: int, most_work: float = math.inf, likely: bool = False
    ) -> Inlined:
        """Choose which functions are inlined before the list that was kept, or while it runs.

        In each trial it is run with choices for functions that have no caller in common, so that it
        tells of each whether it made the program smaller; then with all of those that did. What
        comes of it is what the next call goes on from, and what tails come after.

        Args:
            trials: how many, before the last.
            most_work: see `Session.try_lists`.
            likely: leave out choices that hardly ever help.
        """
        assert self._kept is not None, "no list was kept"
        kept, whole = self._kept, self._kept.whole
        self._tried = []
        calls = self._calls_at_start()
        costs = self._subject.costs_by_function(whole.module, whole.measured.code)
        is_chosen = {choice.function for choice in kept.inlining}
        choices = [
            choice
            for choice in calls.choices(whole.module.call_edges(), costs)
            if choice.function not in is_chosen
            and choice not in kept.tried
            and (choice.always or not self._space.keeps_speed)
            and (calls.is_likely(choice) or not likely)
        ]
        parts = batches(choices, calls, costs, trials)
        if not parts:
            return Inlined(kept.inlining, None, trials=0, is_running=False)

        results = self._side_by_side(partial(self._try_choices, kept), parts, most_work)
        number, is_running = len(parts), None in results
        made = [each for result in results for each in result or ()]
        gains: dict[InliningChoice, int] = {}
        for each in made:
            after = self._subject.costs_by_function(each.built.module, each.built.measured.code)
            gains |= {choice: saved(choice, calls, costs, after) for choice in each.choices}
        smallest = min([_Chosen[InliningChoice](whole, ()), *made], key=lambda each: each.cost)
        wanted = [choice for choice in gains if gains[choice] > 0]
        wanted.sort(key=lambda choice: -gains[choice])
        together = None
        if not is_running:
            together, attempts, is_running = self._try_together(
                partial(self._try_choices, kept),
                takewhile(lambda some: {*some} != {*smallest.choices}, halves(wanted)),
                smallest.cost,
                most_work,
            )
            number += attempts
        smallest = together or smallest
        tried = kept.tried.union(*parts)
        if not smallest.choices:
            self._kept = replace(kept, tried=tried)
            return Inlined(kept.inlining, None, number, is_running)
        built = smallest.built
        handed_over = self._subject.hand_over(built)
        inlining = (*kept.inlining, *smallest.choices)
        self._kept = _Kept(kept.actions, built, inlining, built, tried=tried)
        return Inlined(inlining, handed_over, number, is_running)

    def _try_choices(
        self, kept: _Kept, choices: Sequence[InliningChoice], limit: _Limit
    ) -> list[_Chosen[InliningChoice]]:
        """What the list makes with choices besides those that there are.

        Nothing where none of them may be made, `_run_list` makes nothing, or it does not verify.
        """
        limit.start()
        module = self._subject.fresh(kept.inlining)
        chosen = tuple(compress(choices, module.choose_inlining(choices)))
        built = self._run_list(module, kept.actions, limit)[0] if chosen else None
        with contextlib.suppress(LLVMError):
            if built is not None:
                built.ended.verify()
                return [_Chosen(built, chosen)]
        return []

    def try_tails(self, lists: Sequence[Sequence[int]], most_work: float = math.inf) -> Tailed:
        """Let functions of what was kept have passes of their own.

        Lists of passes by function are run on all functions; each function keeps what makes it
        smallest, or stays as it was. What comes of it is what the next call goes on from.

        Args:
            most_work: see `Session.try_lists`.
        """
        assert self._kept is not None, "no list was kept"
        built, own = self._kept.built, self._kept.functions
        self._tried = []  # they take memory, and no one asks for them any more
        costs = self._subject.costs_by_function(built.module, built.measured.code)
        counts = built.module.instruction_counts()
        groups = in_groups(
            {name: counts[name] for name in costs}, max(TAIL_GROUPS // max(len(lists), 1), 1)
        )
        results = self._side_by_side(
            lambda task, limit: self._try_tail(built.module, *task, limit),
            [(names, actions) for actions in lists for names in groups],
            most_work,
        )
        is_running = None in results
        chosen: dict[str, tuple[int, tuple[int, ...]]] = {}
        for result in results:
            for name, (passes, cost) in (result or {}).items():
                saved = costs[name] - cost
                if saved > chosen.get(name, (0, ()))[0]:
                    chosen[name] = saved, passes

        def rebuild(names: Sequence[str], limit: _Limit) -> list[_Chosen[str]]:
            module = built.module.clone()
            with contextlib.suppress(LLVMError):
                for name in names:
                    for action in chosen[name][1]:
                        self._space.passes[action].run_on(module, name)
                if module.instruction_count() <= self._subject.max_instructions:
                    return [_Chosen(self._subject.build(module), tuple(names))]
            return []

        wanted = sorted(chosen, key=lambda name: -chosen[name][0])
        smaller, _, _ = self._try_together(
            rebuild, halves(wanted), built.measured.cost, is_running=is_running
        )
        if smaller is None:
            return Tailed({}, None, is_running)
        made = self._subject.hand_over(smaller.built)
        own = own | {name: own.get(name, ()) + chosen[name][1] for name in smaller.choices}
        self._kept = replace(self._kept, built=smaller.built, functions=own)
        return Tailed(own, made, is_running)

    def _try_together(
        self,
        make: Callable[[Sequence[Task], _Limit], list[_Chosen[Task]]],
        attempts: Iterable[Sequence[Task]],
        than: int,
        most_work: float = math.inf,
        *,
        is_running: bool = False,
    ) -> tuple[_Chosen[Task] | None, int, bool]:
        """Make one attempt after the other at what helps by itself, until one is smaller.

        As many are made side by side as there are threads, which what comes of them does not depend
        on: what comes after the first that is smaller might as well not have been made. Where there
        is a limit, something else is at work on the machine, or might be given up with the process
        of the one that is smaller: then they are made one by one.

        Args:
            make: what comes of an attempt, or nothing. It raises nothing of LLVM's.
            than: the cost that it has to be less than.
            most_work: see `Session.try_lists`.
            is_running: whether threads still do what was given up.

        Returns that one, how many it took, and whether one was given up in the middle of a pass.
        """
        attempts = list(attempts)
        many = self._threads if math.isinf(most_work) and not is_running else 1
        for first in range(0, len(attempts), many):
            now = attempts[first : first + many]
            results: list[list[_Chosen[Task]] | None]
            if is_running:  # they may never be free again
                results = [make(each, _Limit(math.inf)) for each in now]
            else:
                results = self._side_by_side(make, now, most_work)
            is_running |= None in results
            for number, result in enumerate(results, first + 1):
                if result is None:
                    return None, number, True
                if result and result[0].cost < than:
                    return result[0], number, is_running
        return None, len(attempts), is_running

    def measure_tails(self, lists: Sequence[Sequence[int]]) -> TailCosts:
        """What `try_tails` would choose from; nothing changes."""
        assert self._kept is not None, "no list was kept"
        built = self._kept.built
        before = self._subject.costs_by_function(built.module, built.measured.code)
        after, work = [], []
        for actions in lists:
            began = time.thread_time()
            changed = self._try_tail(built.module, list(before), actions, _Limit(math.inf))
            work.append((time.thread_time() - began) / self._subject.baseline_seconds)
            after.append({name: cost for name, (_, cost) in changed.items()})
        began = time.thread_time()
        self._subject.hand_over(self._subject.build(built.module.clone()))
        rebuild = (time.thread_time() - began) / self._subject.baseline_seconds
        return TailCosts(before, after, work, rebuild)

    def _try_tail(
        self, base: Module, names: Sequence[str], actions: Sequence[int], limit: _Limit
    ) -> dict[str, tuple[tuple[int, ...], int]]:
        """The passes of a list that changed something, and the cost then, of functions by name."""
        module, passes = base.clone(), self._space.passes
        limit.start()
        changed: dict[str, tuple[int, ...]] = {}
        with contextlib.suppress(LLVMError):
            for name in names:
                own = tuple(action for action in actions if passes[action].run_on(module, name))
                if own:
                    changed[name] = own
                if limit.is_passed():
                    break
            if not changed or module.instruction_count() > self._subject.max_instructions:
                return {}
            code = None
            if self._subject.objective.of_code:
                extracted = module.extract(list(changed))
                self._subject.end(extracted)
                code = extracted.object(self._subject.program.options)
            costs = self._subject.costs_by_function(module, code)
            return {name: (own, costs[name]) for name, own in changed.items() if name in costs}
        return {}


def halves(wanted: Sequence[Task]) -> list[Sequence[Task]]:
    """All that is wanted, then its first half, and so on: no more than `ATTEMPTS`, none empty."""
    return [wanted[:number] for k in range(ATTEMPTS) if (number := len(wanted) >> k)]


def in_groups(sizes: Mapping[str, int], number: int) -> list[list[str]]:
    """Names in so many groups of about the same size in all, none of them empty.

    The largest first, each to the group that is smallest then.
    """
    groups: list[list[str]] = [[] for _ in range(number)]
    totals = [0] * number
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        smallest = totals.index(min(totals))
        groups[smallest].append(name)
        totals[smallest] += sizes[name]
    return [group for group in groups if group]

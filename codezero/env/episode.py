"""The decision process itself: one program, actions, observations, rewards, and how it ends.

This is the environment without Gymnasium: what runs, and may die, in a worker process. The
constants of this file are part of the environment's definition; docs/environment.md explains them.
"""

from __future__ import annotations

import contextlib
import enum
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, compress, takewhile
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from codezero._native import (
    SHAPE_FEATURES,
    CodegenError,
    LLVMError,
    Module,
    function_sizes,
)
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import Codegen, PassSpace, options_on
from codezero.env.inlining import Calls, Inlining, InliningChoice, Likely, batches, saved
from codezero.env.reward import Costs, Reward
from codezero.errors import CodeZeroError
from codezero.programs.load import FINISH, parse_module

NUM_AUTOPHASE = 56
EXTRA_PARTS = {"sizes": 4, "margins": 2, "shape": len(SHAPE_FEATURES)}
"""What may be observed beside the paper's features and histogram, and how many numbers each is."""

NUM_FEATURES = NUM_AUTOPHASE + len(SHAPE_FEATURES) + 1
"""Of a program in one state; see `Features`."""

RESTART = "restart"
"""The action that goes back to the start, by name."""

GROWTH_FACTOR, GROWTH_ALLOWANCE = 4, 3_000
"""An episode ends when instructions exceed factor x start + allowance: nested unrolling and
inlining can otherwise grow a program without bound."""

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
Observation = npt.NDArray[np.float32]


def growth_limit(instructions: int) -> int:
    """The most instructions that a program of ``instructions`` at the start may come to have."""
    return GROWTH_FACTOR * instructions + GROWTH_ALLOWANCE


class End(str, enum.Enum):
    """Why an episode ended; ``info["end"]`` of its last step."""

    STEPS = "steps"
    """Truncated: the limit on steps."""
    GROWTH = "growth"
    """Terminated: the program grew past the limit."""
    CRASH = "crash"
    """Truncated: LLVM ended its process."""
    TIMEOUT = "timeout"
    """Truncated: a step overran its wall time."""
    ERROR = "error"
    """Truncated: LLVM reported an error."""


@dataclass(frozen=True)
class EpisodeSettings:
    """What defines the decision process, apart from the program.

    Attributes:
        space: the actions.
        objective: the cost C(s) that rewards measure.
        protocol: where optimisation starts and which baseline it is compared with.
        max_steps: steps after which an episode is truncated.
        observe: parts that are appended to the observation, of `EXTRA_PARTS`. ``"sizes"``: the cost
            over the start's, over the baseline's, the least so far over the baseline's, and the
            logarithm of the start's. ``"margins"``: the logarithms of the cost and of the least so
            far, over the baseline's: what is near the baseline is told apart there. ``"shape"``:
            what the program is made of; see native/shape.h.
        reward: what a step is worth. `Reward.BEST` takes ``"sizes"`` or ``"margins"``: what it
            pays for depends on the best so far, which has to be seen.
        restart: whether there is one action more, the last: back to the program as it was at the
            start. Steps, and the best so far, count on.
    """

    space: PassSpace
    objective: Objective = Objective.INSTRUCTIONS
    protocol: Protocol = Protocol.CLANG
    max_steps: int = 45
    observe: tuple[str, ...] = ()
    reward: Reward = Reward.SAVED
    restart: bool = False

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"max_steps is {self.max_steps}; an episode has at least one step")
        for part in self.observe:
            if part not in EXTRA_PARTS or self.observe.count(part) > 1:
                raise CodeZeroError(
                    f"cannot observe {', '.join(self.observe)}: there is {', '.join(EXTRA_PARTS)}"
                )
        if self.reward is Reward.BEST and not {"sizes", "margins"} & set(self.observe):
            raise CodeZeroError(
                "the reward 'best' depends on sizes: observe sizes or margins as well"
            )

    @property
    def num_actions(self) -> int:
        return len(self.space) + self.restart

    @property
    def restart_action(self) -> int | None:
        return len(self.space) if self.restart else None

    def passes_of(self, action: int) -> int:
        """How many passes an action stands for: a list for several, a restart for one."""
        if action == self.restart_action:
            return 1
        return max(len(self.space.passes[action].parts), 1)

    def action(self, name: str) -> int:
        """The action of a pass, by its name in the space or LLVM's text, or of ``restart``.

        Raises:
            CodeZeroError: there is no such action.
        """
        if self.restart and name == RESTART:
            return len(self.space)
        return self.space.action(name)

    def action_names(self, actions: Iterable[int]) -> list[str]:
        """Names that `action` knows."""
        names = [*(each.name for each in self.space.passes), RESTART]
        return [names[action] for action in actions]

    @property
    def layout(self) -> dict[str, slice]:
        """Where each part of the flat observation lies."""
        numbers = {"autophase": NUM_AUTOPHASE, "histogram": self.num_actions}
        numbers |= {part: EXTRA_PARTS[part] for part in self.observe}
        ends = accumulate(numbers.values())
        return {
            name: slice(end - number, end)
            for (name, number), end in zip(numbers.items(), ends, strict=True)
        }

    @property
    def observation_size(self) -> int:
        return NUM_AUTOPHASE + self.num_actions + sum(EXTRA_PARTS[part] for part in self.observe)


class Step(NamedTuple):
    """What one action did."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    cost: int
    changed: bool
    """Whether the pass reported a change; if not, the program is as it was."""
    end: End | None


class Replayed(NamedTuple):
    """What changed something of passes that were run once more."""

    actions: tuple[int, ...]
    """On the whole program."""
    functions: dict[str, tuple[int, ...]]
    """On single functions, by name; those are left out for which nothing did."""


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


class Features(NamedTuple):
    """What a program is made of, at the start and as the baseline makes it.

    Each float32, shape (`NUM_FEATURES`,): Autophase over the instruction count, native/shape.h, and
    ln of the instruction count.
    """

    initial: Observation
    baseline: Observation


class Tailed(NamedTuple):
    """What lists of passes by function made of functions, each with the one that suits it best."""

    functions: dict[str, tuple[int, ...]]
    """By name, what each got after the list of the whole program: all that `Episode.try_tails` has
    found since `Episode.keep_list`. Empty where nothing became smaller."""
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


class Made(NamedTuple):
    """A program that passes have made, ready for code generation."""

    finish_changed: bool
    """Whether `FINISH` or the ending of the objective changed it."""
    cost: int
    bitcode: bytes
    object: bytes | None = None
    """The code that is generated for it, of an episode that keeps that."""
    codegen: tuple[str, ...] = ()
    """The options for the code generator that ``cost`` takes; see `CompileOptions.codegen`."""
    frame_pointers: tuple[str, ...] = ()
    """Names of the functions that have been given one to be smaller."""
    plain_cost: int | None = None
    """The cost without both; None where none of that was tried."""


class _Measured(NamedTuple):
    cost: int
    code: bytes | None
    """An object, if the objective is one of code."""
    is_clangs: bool
    """Whether clang has to generate what is handed over, for all that."""


class _Built(NamedTuple):
    """What passes have made of a program, before and after the ending of the objective."""

    module: Module
    ended: Module
    end_changed: bool
    measured: _Measured


class _Framed(NamedTuple):
    """Code that is being generated to see which functions are smaller with a frame pointer."""

    names: list[str]
    """Functions that can have one and have not."""
    with_all: Future[_Measured | None]
    """Where all of these have one."""
    without: Future[_Measured | None] | bytes
    """Where none of them has; the object itself, if it is at hand."""


@dataclass(frozen=True)
class _Kept:
    """A list that was kept, and what has been found to make what it makes smaller."""

    actions: tuple[int, ...]
    whole: _Built
    """What they make of the program, with the choices about inlining."""
    inlining: Inlining
    built: _Built
    """The same with functions' own passes, which tails go on from."""
    functions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What functions got by themselves."""
    tried: frozenset[InliningChoice] = frozenset()
    """Choices that need not be tried again."""


@dataclass(frozen=True)
class _Chosen(Generic[Task]):
    """A program with some of what may be chosen: about inlining, or names of functions that have
    passes of their own."""

    built: _Built
    choices: tuple[Task, ...]

    @property
    def cost(self) -> int:
        return self.built.measured.cost


class Function(NamedTuple):
    """A function as a program of its own: other functions are only declared."""

    name: str
    cost: int
    """After the passes that it is compared with."""
    bitcode: bytes


@dataclass
class _State:
    """What changes during an episode, and what a snapshot has to keep."""

    module: Module
    observation: Observation
    instructions: int
    cost: int
    best: int
    """The least cost so far."""
    steps: int = 0
    is_start: bool = True
    """Whether no pass has changed the program since the start."""

    def copy(self) -> _State:
        return replace(self, module=self.module.clone(), observation=self.observation.copy())


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


class Episode:
    """A program under optimisation. Methods may end the process: run it in a worker.

    Args:
        threads: that it may use, where it has several states of the program to look at.
        for_objects: whether objects are what is wanted: those that are generated to measure the
            cost are kept, then. The objective is of code.
        estimate_start: whether an objective of code is estimated at the start, since code
            generation for what no pass has seen takes longer than for anything after it.
    """

    def __init__(
        self,
        settings: EpisodeSettings,
        threads: int = 1,
        for_objects: bool = False,
        estimate_start: bool = False,
    ) -> None:
        if for_objects and not settings.objective.of_code:
            raise ValueError("no objects are generated for an objective that is not of code")
        self.settings = settings
        self._for_objects = for_objects
        self._estimate_start = estimate_start and settings.objective.of_code
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._layout = settings.layout
        self._program: Program | None = None
        self._inlining: Inlining = ()
        self._calls: Calls | None = None
        """Of the program at the start, if they have been looked at."""
        self._may_be_missing: frozenset[str] | None = None
        """Functions that the result must not refer to, if they have been looked for."""
        self._tried: list[tuple[_Built | None, Tried]] = []
        self._kept: _Kept | None = None
        self._finish_matters: bool | None = None
        """Whether `FINISH` changes the program as it is at the start, if that is known."""
        self._baseline_object: bytes | None = None
        self._optimized: Module | None = None
        self._snapshots: dict[int, _State] = {}
        self._next_snapshot = 0
        self._baseline_seconds = math.inf
        """Of a processor, for the baseline's passes and code generation; infinite if unknown."""

    def start(
        self, program: Program, costs: Costs | None = None, inlining: Inlining = ()
    ) -> tuple[Observation, Costs]:
        """Begin an episode. Snapshots of the last one are dropped.

        Args:
            costs: the program's, where they are known: measuring them takes an -Oz run, and with
                an objective of code two code generations.
            inlining: which functions inliners are to inline, or not to. It is no part of what is
                handed over: what has not been inlined by then is as it was.

        Raises:
            ProgramError: bitcode that cannot be parsed or does not verify.
            CodegenError: an objective of code, if there is none for what the baseline makes of it,
                as for a target without a code generator.
        """
        before, self._program = self._program, program
        if before is None or self._optimized is None or before.key != program.key:
            self._optimized, self._baseline_object, self._kept = None, None, None
            self._calls = self._may_be_missing = None
            self._baseline_seconds = math.inf
            self._finish_matters = None
        self._inlining = inlining
        module = self._fresh(inlining)
        self._tried = []
        self._costs = costs or self._measure_costs(module)
        module.warm_up()
        observation = np.zeros(self.settings.observation_size, np.float32)
        instructions = self._look(module, observation)
        self._max_instructions = growth_limit(instructions)
        initial = self._costs.initial
        self._begin(_State(module, observation, instructions, initial, initial))
        self._start = self._state.copy() if self.settings.restart else None
        self._pass_seconds = 0.0
        self._snapshots.clear()
        return self._observe(), self._costs

    def step(self, action: int) -> Step:
        """Run one pass, or restart. See `PhaseOrderingEnv.step`."""
        before, best = self._state.cost, self._state.best
        is_restart = action == self.settings.restart_action
        if is_restart:
            changed = self._restart()
        else:
            changed = self.settings.space.passes[action].run(self._state.module)
            self._state.is_start &= not changed
        state = self._state
        self._histogram[action] += 1 / self.settings.max_steps
        state.steps += 1
        terminated = False
        if changed and not is_restart:
            state.instructions = self._look(state.module, state.observation)
            terminated = state.instructions > self._max_instructions
            if self.settings.objective is Objective.INSTRUCTIONS:
                state.cost = state.instructions  # counted already
            elif terminated:
                # Generating code for a program that exploded would take for ever.
                state.cost = max(before, GROWTH_FACTOR * self._costs.initial)
            else:
                state.cost = self._measure_or_initial(state.module).cost
        state.best = min(best, state.cost)
        truncated = not terminated and state.steps >= self.settings.max_steps
        end = End.GROWTH if terminated else End.STEPS if truncated else None
        return Step(
            self._observe(),
            self.settings.reward.between(self._costs, before, state.cost, best),
            terminated,
            truncated,
            state.cost,
            changed,
            end,
        )

    def _restart(self) -> bool:
        """Go back to the start; returns whether the program had changed since."""
        state = self._state
        if state.is_start:
            return False
        assert self._start is not None
        fresh = self._start.copy()
        histogram = self._layout["histogram"]
        fresh.observation[histogram] = state.observation[histogram]
        fresh.steps, fresh.best = state.steps, state.best
        self._pass_seconds += state.module.pass_seconds - fresh.module.pass_seconds
        self._begin(fresh)
        return True

    def replay(self, actions: Sequence[int], functions: Mapping[str, Sequence[int]]) -> Replayed:
        """Run passes on the program, and then some on single functions, without measuring it."""
        module, passes = self._state.module, self.settings.space.passes
        changed = tuple(action for action in actions if passes[action].run(module))
        self._state.is_start = False
        module.forget_inlining()
        if functions:  # as `try_tails`, which passes that remember something else would see
            module = self._state.module = module.clone()
        own = {
            name: tuple(action for action in its if passes[action].run_on(module, name))
            for name, its in functions.items()
        }
        return Replayed(changed, {name: its for name, its in own.items() if its})

    def functions(self) -> dict[str, int]:
        """How many instructions each function has that has a body and a name."""
        return self._state.module.instruction_counts()

    def extract(self, names: Sequence[str], actions: Sequence[int]) -> list[Function]:
        """Functions as programs of their own, those left out on which LLVM fails.

        Args:
            actions: passes, all by function, that each is compared with.
        """
        extracted = []
        for name in names:
            try:
                alone = self._state.module.extract([name])
                bitcode = alone.bitcode()
                for action in actions:
                    self.settings.space.passes[action].run(alone)
                extracted.append(Function(name, self._measure(alone).cost, bitcode))
            except LLVMError:
                continue
        return extracted

    def save(self) -> int:
        """Keep a snapshot of the state; returns its handle."""
        handle = self._next_snapshot
        self._next_snapshot += 1
        self._snapshots[handle] = self._state.copy()
        return handle

    def restore(self, handle: int) -> tuple[Observation, int, int]:
        """Return to a snapshot, which stays. The observation, the cost, and the best on the way."""
        self._begin(self._snapshots[handle].copy())
        return self._observe(), self._state.cost, self._state.best

    def drop(self, handle: int) -> None:
        """Forget a snapshot."""
        del self._snapshots[handle]

    def features(self) -> Features:
        """Of the program that the episode began with."""
        return Features(_features(self._at_start()), _features(self._baseline()))

    def try_lists(self, lists: Sequence[Sequence[int]], most_work: float = math.inf) -> list[Tried]:
        """What some lists of passes make of the program, each from the start; see `finish_list`.

        Args:
            most_work: see `Session.try_lists`.
        """
        self._tried = []  # they take memory
        self._missing_with_oz()  # before threads ask for it
        if self._finish_matters is None:
            self._finish_matters = self._fresh().run(FINISH)
        results = self._side_by_side(self._try_list, lists, most_work)
        given_up = (None, Tried(None, (), math.inf, is_running=True))
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
        limits = [_Limit(most_work * self._baseline_seconds) for _ in tasks]
        futures = [
            self._pool.submit(work, each, limit) for each, limit in zip(tasks, limits, strict=True)
        ]
        if math.isinf(most_work * self._baseline_seconds):
            wait(futures)
        while wait(futures, POLL_SECONDS).not_done:
            running = [each for f, each in zip(futures, limits, strict=True) if f.running()]
            if running and all(each.is_hopeless() for each in running):
                break  # those that wait for a thread would wait for ever
        return [future.result() if future.done() else None for future in futures]

    def _try_list(self, actions: Sequence[int], limit: _Limit) -> tuple[_Built | None, Tried]:
        began = time.perf_counter()
        limit.start()
        built, changed = self._run_list(self._fresh(self._inlining), actions, limit)
        cost = None if built is None else built.measured.cost
        return built, Tried(cost, changed, time.perf_counter() - began)

    def _run_list(
        self, module: Module, actions: Sequence[int], limit: _Limit
    ) -> tuple[_Built | None, tuple[int, ...]]:
        """What a list makes of a program as it is at the start, and those that changed something.

        It makes nothing where LLVM reports an error, the program grows too large, or it takes too
        long.
        """
        changed: list[int] = []
        with contextlib.suppress(LLVMError):
            for action in actions:
                if self.settings.space.passes[action].run(module):
                    changed.append(action)
                    if module.instruction_count() > self._max_instructions:
                        break
                if limit.is_passed():
                    break
            else:
                module.forget_inlining()
                return self._build(module), tuple(changed)
        return None, tuple(changed)

    def finish_list(self, index: int) -> Made:
        """As `finish`, of what one of the last lists tried has made."""
        return self._hand_over(self._built(index))

    def keep_list(self, index: int) -> None:
        """Have `try_inlining` and `try_tails` go on from what one of the last lists has made."""
        built = self._built(index)
        self._kept = _Kept(self._tried[index][1].passes, built, self._inlining, built)

    def _built(self, index: int) -> _Built:
        built = self._tried[index][0]
        assert built is not None, "it has made nothing"
        return built

    def tells_functions(self) -> bool:
        """Whether the cost of a function can be told, without which nothing is chosen for one."""
        return not self.settings.objective.of_code or self._state.module.tells_function_sizes

    def likely_choices(self) -> Likely | None:
        """How many choices about inlining that are likely to help there can be.

        None where functions call no others, without which nothing can be inlined.
        """
        calls = self._calls_at_start()
        return calls.likely() if calls else None

    def _calls_at_start(self) -> Calls:
        if self._calls is None:
            start = self._at_start()
            self._calls = Calls(
                start.call_edges(),
                start.instruction_counts(),
                start.inlinable_functions(),
                never_is_likely=not (
                    self.settings.objective.of_code or self.settings.space.keeps_speed
                ),
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
        costs = self._costs_by_function(whole.module, whole.measured.code)
        is_chosen = {choice.function for choice in kept.inlining}
        choices = [
            choice
            for choice in calls.choices(whole.module.call_edges(), costs)
            if choice.function not in is_chosen
            and choice not in kept.tried
            and (choice.always or not self.settings.space.keeps_speed)
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
            after = self._costs_by_function(each.built.module, each.built.measured.code)
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
        handed_over = self._hand_over(smallest.built)
        inlining = (*kept.inlining, *smallest.choices)
        built = smallest.built
        self._kept = _Kept(kept.actions, built, inlining, built, tried=tried)
        return Inlined(inlining, handed_over, number, is_running)

    def _try_choices(
        self, kept: _Kept, choices: Sequence[InliningChoice], limit: _Limit
    ) -> list[_Chosen[InliningChoice]]:
        """What the list makes with choices besides those that there are.

        Nothing where none of them may be made, `_run_list` makes nothing, or it does not verify.
        """
        limit.start()
        module = self._fresh(kept.inlining)
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
        costs = self._costs_by_function(built.module, built.measured.code)
        counts = built.module.instruction_counts()
        groups = in_groups(
            {name: counts[name] for name in costs}, max(TAIL_GROUPS // max(len(lists), 1), 1)
        )
        results = self._side_by_side(
            lambda task, limit: self._try_tail(built.module, *task, limit),
            [(names, actions) for actions in lists for names in groups],
            most_work / max(len(groups), 1),
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
            for name in names:
                for action in chosen[name][1]:
                    self.settings.space.passes[action].run_on(module, name)
            return [_Chosen(self._build(module), tuple(names))]

        wanted = sorted(chosen, key=lambda name: -chosen[name][0])
        smaller, _, _ = self._try_together(
            rebuild, halves(wanted), built.measured.cost, is_running=is_running
        )
        if smaller is None:
            return Tailed({}, None, is_running)
        made = self._hand_over(smaller.built)
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
        on.

        Args:
            make: what comes of an attempt, or nothing.
            than: the cost that it has to be less than.
            most_work: see `Session.try_lists`.
            is_running: whether threads still do what was given up.

        Returns that one, how many it took, and whether one was given up in the middle of a pass.
        """
        attempts = list(attempts)
        many = 1 if is_running else self._threads
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
        before = self._costs_by_function(built.module, built.measured.code)
        after, work = [], []
        for actions in lists:
            began = time.thread_time()
            changed = self._try_tail(built.module, list(before), actions, _Limit(math.inf))
            work.append((time.thread_time() - began) / self._baseline_seconds)
            after.append({name: cost for name, (_, cost) in changed.items()})
        began = time.thread_time()
        self._hand_over(self._build(built.module.clone()))
        rebuild = (time.thread_time() - began) / self._baseline_seconds
        return TailCosts(before, after, work, rebuild)

    def _try_tail(
        self, base: Module, names: Sequence[str], actions: Sequence[int], limit: _Limit
    ) -> dict[str, tuple[tuple[int, ...], int]]:
        """The passes of a list that changed something, and the cost then, of functions by name."""
        module, passes = base.clone(), self.settings.space.passes
        limit.start()
        changed: dict[str, tuple[int, ...]] = {}
        with contextlib.suppress(LLVMError):
            for name in names:
                own = tuple(action for action in actions if passes[action].run_on(module, name))
                if own:
                    changed[name] = own
                if limit.is_passed():
                    break
            if not changed or module.instruction_count() > self._max_instructions:
                return {}
            code = None
            if self.settings.objective.of_code:
                assert self._program is not None
                extracted = module.extract(list(changed))
                self._end(extracted)
                code = extracted.object(self._program.options)
            costs = self._costs_by_function(module, code)
            return {name: (own, costs[name]) for name, own in changed.items() if name in costs}
        return {}

    def _costs_by_function(self, module: Module, code: bytes | None) -> dict[str, int]:
        """By name, of those functions that code is generated for.

        Args:
            code: what has been generated, if the objective is one of code. Empty if it could not.
        """
        counts = module.instruction_counts()
        if not self.settings.objective.of_code:
            return counts
        sizes = self._sizes_by_function(code)
        return {name: sizes[name] for name in counts if name in sizes}

    def _sizes_by_function(self, code: bytes | None) -> dict[str, int]:
        """What functions take of what the objective counts; none of no code."""
        if not code:
            return {}
        return function_sizes(code, self.settings.objective is Objective.LOADED)

    def finish(self) -> Made:
        """Do what has to be done before code generation, verify, and hand over the program.

        Raises `VerificationError` if passes broke the program.
        """
        return self._finish(self._state.module)

    def _finish(self, module: Module) -> Made:
        module = module.clone()
        module.forget_inlining()
        changed = module.run(FINISH)
        changed |= self._end(module)
        module.verify()
        self._check_references(module)
        return self._made(changed, module, self._measure(module))

    def _hand_over(self, built: _Built) -> Made:
        """As `_finish`, of what has been built: it is measured again only if it has to be."""
        if not self._finish_matters and built.module.clone().run(FINISH):
            return self._finish(built.module)
        built.ended.verify()
        return self._made(built.end_changed, built.ended, built.measured)

    def _made(self, changed: bool, module: Module, measured: _Measured) -> Made:
        return Made(changed, measured.cost, module.bitcode(), self._object(measured))

    def _object(self, measured: _Measured) -> bytes | None:
        """What was measured, if it is wanted and may be handed over."""
        return measured.code if self._for_objects and not measured.is_clangs else None

    def _build(self, module: Module) -> _Built:
        """Run what every list ends with, and `FINISH` where that matters, and measure it."""
        ended, changed = module, False
        if self._finish_matters or self.settings.objective.ending:
            ended = module.clone()
            changed = bool(self._finish_matters) and ended.run(FINISH)
            changed |= self._end(ended)
        self._check_references(ended)
        return _Built(module, ended, changed, self._measure_or_initial(ended))

    def _check_references(self, module: Module) -> None:
        """Raises `LLVMError` for a program that may not link where the baseline does.

        A function that C has as ``inline`` alone is in no object: a call of it that is not inlined
        is of one in another file, if there is one.
        """
        may_be_missing = self._missing_with_oz()
        if may_be_missing:
            missing = may_be_missing.intersection(module.undefined_functions())
            if missing:
                raise LLVMError(f"a call of {min(missing)} is left, which may be nowhere")

    def _missing_with_oz(self) -> frozenset[str]:
        """Functions of which the baseline leaves no call, and that may be nowhere."""
        if self._may_be_missing is None:
            names = self._at_start().inline_definitions()
            known = self._baseline().undefined_functions() if names else []
            self._may_be_missing = frozenset(names).difference(known)
        return self._may_be_missing

    def _end(self, module: Module) -> bool:
        """Run what every list ends with; whether that changed anything."""
        ending = self.settings.objective.ending
        return bool(ending) and module.run(ending)

    def generate(self, made: Made, ways: Sequence[Codegen], frame_pointers: bool) -> Made:
        """The smallest code for a finished program.

        Nothing is tried of what clang has to generate, of an episode for objects, and nothing stays
        that LLVM warns of, as of a frame that is larger than flags say.

        Args:
            ways: to generate code, that are tried side by side.
            frame_pointers: whether functions get one, after the best of these, that are smaller
                with it: an address in the frame takes a byte less, and the tables to unwind by a
                good deal.
        """
        assert self._program is not None
        if self._for_objects and made.object is None:
            return made
        module = parse_module(replace(self._program, bitcode=made.bitcode))
        tried = options_on(ways, module)
        futures = [self._pool.submit(self._generate, module.clone(), each) for each in tried]
        framed = self._submit_framed(module, made, tried, futures) if frame_pointers else None
        best = made._replace(plain_cost=made.cost)
        for options, future in zip(tried, futures, strict=True):
            measured = future.result()
            if measured is not None and measured.cost < best.cost:
                best = best._replace(
                    cost=measured.cost, object=self._object(measured), codegen=options
                )
        if framed is None:
            return best
        names = self._smaller_with_frame_pointer(*framed)
        for name in names:
            module.keep_frame_pointer(name)
        measured = self._generate(module, best.codegen) if names else None
        if measured is None or measured.cost >= best.cost:
            return best
        return best._replace(
            cost=measured.cost,
            bitcode=module.bitcode(),
            object=self._object(measured),
            frame_pointers=tuple(names),
        )

    def _submit_framed(
        self,
        module: Module,
        made: Made,
        tried: Sequence[tuple[str, ...]],
        futures: Sequence[Future[_Measured | None]],
    ) -> _Framed | None:
        """Have code generated with a frame pointer in all functions, to see which are smaller.

        It is generated in the first of the ways that are tried, which does not wait for the best of
        them. None where what that does to a function cannot be told, or none can have one.
        """
        if not module.tells_function_sizes:
            return None
        framed = module.clone()
        names = [name for name in module.instruction_counts() if framed.keep_frame_pointer(name)]
        if not names:
            return None
        way, without = (tried[0], futures[0]) if tried else ((), made.object)
        if without is None:
            without = self._pool.submit(self._generate, module.clone(), way)
        return _Framed(names, self._pool.submit(self._generate, framed, way), without)

    def _smaller_with_frame_pointer(
        self,
        names: Sequence[str],
        with_all: Future[_Measured | None],
        without: Future[_Measured | None] | bytes,
    ) -> list[str]:
        """Those functions; see `_Framed`."""
        before, after = (
            self._sizes_by_function(_code(each.result()) if isinstance(each, Future) else each)
            for each in (without, with_all)
        )
        return [name for name in names if name in after and after[name] < before.get(name, 0)]

    def baseline_bitcode(self) -> bytes:
        """The program as the baseline makes it."""
        return self._baseline().bitcode()

    def baseline_object(self) -> bytes | None:
        """The code that was generated for that, of an episode that keeps it."""
        return self._baseline_object

    def baseline(self) -> Made:
        """The program as the baseline makes it, with the code, of an episode that keeps that."""
        if self._for_objects and self._baseline_object is None:
            self._measure_baseline()
        return Made(False, self._costs.baseline, self.baseline_bitcode(), self._baseline_object)

    def pass_seconds(self) -> float:
        """Wall time spent inside LLVM's passes in this episode."""
        return self._pass_seconds + self._state.module.pass_seconds

    def _begin(self, state: _State) -> None:
        self._state = state
        self._histogram = state.observation[self._layout["histogram"]]

    def _look(self, module: Module, observation: Observation) -> int:
        """Write a program's features where they belong; how many instructions it has."""
        if "shape" in self._layout:
            module.observe_shape(observation[self._layout["shape"]])
        return module.observe(observation[self._layout["autophase"]])

    def _measure(self, module: Module, codegen: tuple[str, ...] = ()) -> _Measured:
        """The cost.

        Args:
            codegen: options for the code generator.
        """
        objective = self.settings.objective
        if not objective.of_code:
            return _Measured(module.instruction_count(), None, is_clangs=False)
        assert self._program is not None
        code = module.object(self._program.options.with_codegen(codegen))
        # Clang has to generate it where it is to give warnings, or the target is known from flags
        # alone, as no function says for what it is.
        is_clangs = self._for_objects and (module.has_warned or not module.instruction_count())
        return _Measured(objective.measure_object(code), code, is_clangs)

    def _measure_costs(self, module: Module) -> Costs:
        """Of a program at the start, and as the baseline makes it."""
        # The baseline takes longer, and is begun first.
        measured = self._pool.submit(self._measure_baseline)
        initial = None if self._estimate_start else self._pool.submit(self._measure, module)
        if initial is not None:
            wait([initial])
        baseline, optimized = measured.result(), self._baseline()
        with contextlib.suppress(CodegenError):
            if initial is not None:
                return Costs(initial.result().cost, baseline)
        # As many bytes an instruction as there are in what the baseline makes of it.
        growth = module.instruction_count() / max(optimized.instruction_count(), 1)
        return Costs(round(baseline * max(growth, 1.0)), baseline, estimated=True)

    def _measure_baseline(self) -> int:
        began = time.thread_time()
        measured = self._measure(self._baseline())
        self._baseline_seconds = time.thread_time() - began
        self._baseline_object = self._object(measured)
        return measured.cost

    def _measure_or_initial(self, module: Module) -> _Measured:
        """The cost; of a program that no code can be generated for, that of the start."""
        try:
            return self._measure(module)
        except CodegenError:
            if not self._costs.estimated:
                raise
            return _Measured(self._costs.initial, None, is_clangs=True)

    def _generate(self, module: Module, codegen: tuple[str, ...]) -> _Measured | None:
        """The code and its cost; None where LLVM fails, or warns of it."""
        with contextlib.suppress(LLVMError):
            measured = self._measure(module, codegen)
            return None if module.has_warned else measured
        return None

    def _fresh(self, inlining: Inlining = ()) -> Module:
        """The program as it is at the start."""
        assert self._program is not None
        module = parse_module(self._program)
        self.settings.protocol.prepare(module)
        module.choose_inlining(inlining)
        return module

    def _at_start(self) -> Module:
        """The same, to look at."""
        is_at_hand = self._state.is_start and not self._inlining
        return self._state.module if is_at_hand else self._fresh()

    def _baseline(self) -> Module:
        """The program as the baseline makes it, which is kept until another one begins."""
        if self._optimized is None:
            assert self._program is not None
            module = self._fresh()
            self.settings.protocol.run_baseline(module, self._program.options)
            self._optimized = module
        return self._optimized

    def _observe(self) -> Observation:
        state = self._state
        initial, baseline = max(self._costs.initial, 1), max(self._costs.baseline, 1)
        if "sizes" in self._layout:
            state.observation[self._layout["sizes"]] = (
                state.cost / initial,
                state.cost / baseline,
                state.best / baseline,
                math.log(initial),
            )
        if "margins" in self._layout:
            state.observation[self._layout["margins"]] = (
                math.log(max(state.cost, 1) / baseline),
                math.log(max(state.best, 1) / baseline),
            )
        return state.observation.copy()


def _features(module: Module) -> Observation:
    """See `Features`."""
    features = np.zeros(NUM_FEATURES, np.float32)
    instructions = module.observe(features[:NUM_AUTOPHASE])
    module.observe_shape(features[NUM_AUTOPHASE:-1])
    features[-1] = math.log(max(instructions, 1))
    return features


def _code(measured: _Measured | None) -> bytes | None:
    return None if measured is None else measured.code


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

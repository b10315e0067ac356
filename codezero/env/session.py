"""A worker process with a program under optimisation: what searches and environments act on."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from codezero._native import LLVMError
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import Codegen, PassSpace, load_space
from codezero.env import EPISODE
from codezero.env.episode import End, Episode, EpisodeSettings, Function, Replayed, Step
from codezero.env.features import Features, Observation
from codezero.env.inlining import Inlining, Prospects
from codezero.env.reward import Costs, Reward
from codezero.env.subject import Made
from codezero.env.trials import ATTEMPTS, Inlined, TailCosts, Tailed, Tried
from codezero.errors import ProgramError
from codezero.isolation import Worker, WorkerFailure, WorkerTimedOut

STEP_SECONDS = 10.0
"""Default wall time of a step."""
LIST_STEPS = 3
"""Times a pass's wall time that a list may take: hardly one of its passes takes long."""
START_SECONDS = 60.0
"""Wall time of a reset: parsing, and optimising once to measure the baseline."""

Info = dict[str, Any]
T = TypeVar("T")


def make_settings(
    space: PassSpace | str | Path,
    objective: Objective | str,
    protocol: Protocol | str,
    max_steps: int = 45,
    observe: Sequence[str] = (),
    reward: Reward | str = Reward.SAVED,
    restart: bool = False,
    *,
    keep_speed: bool = False,
) -> EpisodeSettings:
    """Settings from what a user may write: names for spaces, objectives and protocols.

    Args:
        keep_speed: leave out the space's passes that make programs slower.
    """
    space = space if isinstance(space, PassSpace) else load_space(space)
    return EpisodeSettings(
        space=space.keeping_speed() if keep_speed else space,
        objective=Objective(objective),
        protocol=Protocol(protocol),
        max_steps=max_steps,
        observe=tuple(observe),
        reward=Reward(reward),
        restart=restart,
    )


def options_of(settings: EpisodeSettings) -> dict[str, Any]:
    """The options of an environment that make these settings: they have the same names."""
    return {field.name: getattr(settings, field.name) for field in fields(settings)}


class _Saved(NamedTuple):
    """What an environment knows of a snapshot."""

    actions: list[int]
    passes: list[int]
    best_passes: tuple[int, ...]


class Session:
    """Episodes on one program after another.

    It needs no Gymnasium, which takes longer to import than LLVM: `PhaseOrderingEnv` is a session
    by Gymnasium's interface, and says what steps do.

    Args:
        known_costs: of programs by their keys, which need not be measured again.
        step_seconds: wall time of a pass; a step that runs a list of them has as many times that.
        isolated: run LLVM in a worker process. Without it a step is quicker by the round trip
            (0.1 to 0.3 ms), no wall time is enforced, and a crash of LLVM is one of this process.
        threads: of the worker, for what can be done side by side: lists of passes and what comes
            after them, ways to generate code, and measuring a program at the start and as the
            baseline makes it. Only how long that takes depends on it.
        for_objects, estimate_start: see `codezero.env.subject.Subject`.
    """

    def __init__(
        self,
        settings: EpisodeSettings,
        known_costs: Mapping[str, Costs] | None = None,
        *,
        step_seconds: float = STEP_SECONDS,
        isolated: bool = True,
        threads: int = 1,
        for_objects: bool = False,
        estimate_start: bool = False,
    ) -> None:
        if not step_seconds > 0:
            raise ValueError(f"step_seconds is {step_seconds}; it is more than 0")
        if threads < 1:
            raise ValueError(f"threads is {threads}; there is at least one")
        self.settings = settings
        self.step_seconds = step_seconds
        self.threads = threads
        self.actions: list[int] = []
        """Actions of the episode so far."""
        self.passes: list[int] = []
        """Those that make the program what it is now: passes that changed something, since the
        start or the last restart."""
        self.best_passes: tuple[int, ...] = ()
        """The same of the first program of the least cost."""
        self.costs = Costs(0, 0)
        self.cost = 0
        self.best = 0
        """The least cost of the episode so far."""
        self.deadline = math.inf
        """Monotonic time at which a step under way is abandoned, as if it had overrun
        ``step_seconds``. For searches that have to end in time."""
        self._observation: Observation | None = None
        self._known_costs = dict(known_costs or {})
        self._suspect: set[str] = set()
        """Keys of those on which a process has ended while their start may have been measured."""
        self._never_measures_start = estimate_start
        self._estimated: set[str] = set()
        """Keys of programs whose cost at the start may be an estimate, as it was not needed."""
        self._num_actions = settings.num_actions
        self._is_busy = False
        """Whether the worker is still at what was given up."""
        self._keeps_list = False
        """Whether the worker keeps one that it can go on from with tails."""
        self._begun = ""
        """The key of the last program to begin with, if the worker still has it."""
        self._inlining: Inlining = ()
        """What it began with."""
        self._saved: dict[int, _Saved] = {}
        self._running = False
        episode: dict[str, Any] = {
            "settings": settings,
            "threads": threads,
            "for_objects": for_objects,
            "estimate_start": estimate_start,
        }
        self._episode = None if isolated else Episode(**episode)
        self._worker = Worker(EPISODE, episode) if isolated else None

    def warm_up(self) -> None:
        """Start the worker, and go on without waiting for it."""
        if self._worker is not None:
            self._worker.start()

    def begin(self, program: Program, inlining: Inlining = ()) -> Observation:
        """Begin an episode.

        Args:
            inlining: which functions inliners are to inline, or not to; see `Episode.start`.

        Raises:
            ProgramError: LLVM fails before the first action.
        """
        known = None if program.key in self._estimated else self._known_costs.get(program.key)
        self._observation, costs = self._begin("start", program, known, inlining)
        self._are_costs(program, costs)
        self._running = True
        return self.observation

    def _begin(
        self,
        method: str,
        program: Program,
        known: Costs | None,
        inlining: Inlining,
        *others: Any,
    ) -> Any:
        """Have the worker begin with a program, by a method that takes what `Episode.start` does.

        Raises as `begin`.
        """
        self._running = False
        self.settle()
        self._saved.clear()
        self.actions, self.passes, self.best_passes = [], [], ()
        self._observation = None
        try:
            answer = self._call(method, program, known, inlining, *others, timeout=START_SECONDS)
        except WorkerFailure as failure:
            raise ProgramError(f"{program.name}: LLVM fails on it ({failure})") from None
        except LLVMError as error:
            raise ProgramError(f"{program.name}: {error}") from None
        self._keeps_list &= self._begun == program.key
        self._begun, self._inlining = program.key, inlining
        return answer

    def _are_costs(self, program: Program, costs: Costs, *, measured: bool = True) -> None:
        self.costs = self._known_costs[program.key] = costs
        self.cost = self.best = costs.initial
        if measured:
            self._estimated.discard(program.key)
        elif costs.estimated and not self._never_measures_start:
            self._estimated.add(program.key)

    def settle(self) -> None:
        """End what was given up in the middle of a pass, with its process: nothing else does."""
        if self._is_busy and self._worker is not None:
            self._worker.kill()
            self._begun, self._keeps_list = "", False
        self._is_busy = False

    def costs_of(self, program: Program) -> Costs:
        """Of a program that this session has begun with, whatever it has begun with since.

        Raises:
            KeyError: it has not.
        """
        return self._known_costs[program.key]

    def measured_costs_of(self, program: Program) -> Costs:
        """The same, that of the start measured, if it was only held and that was not needed yet.

        Raises:
            KeyError: it has not.
            ProgramError, WorkerFailure: LLVM fails on it.
        """
        if program.key in self._estimated:
            self.hold(program)
            costs = self._call("subject.measured_costs", timeout=self._in_time(START_SECONDS))
            self._are_costs(program, costs)
        return self._known_costs[program.key]

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """One action; see `PhaseOrderingEnv`. Also returns its reward, whether the episode is
        terminated or truncated, and what else there is to say.
        """
        action = self._index(action)
        if not self._running:
            raise self._needs_reset()
        self.actions.append(action)
        self._running = False  # until the answer is in
        try:
            step: Step = (
                self._episode.step(action)
                if self._episode is not None
                else self._call("step", action, timeout=self._step_timeout(action))
            )
        except (WorkerFailure, LLVMError) as failure:
            return self.observation, 0.0, False, True, self._failure_info(failure)
        self._running = step.end is None
        self._observation, self.cost = step.observation, step.cost
        if action == self.settings.restart_action:
            self.passes = []
        elif step.changed:
            self.passes.append(action)
        if step.cost < self.best:
            self.best, self.best_passes = step.cost, tuple(self.passes)
        info: Info = {"cost": step.cost, "changed": step.changed}
        if step.end is not None:
            info["end"] = step.end.value
        return step.observation, step.reward, step.terminated, step.truncated, info

    def _needs_reset(self) -> Exception:
        return RuntimeError("the episode is over: begin another first")

    def _index(self, action: Any) -> int:
        # A tenth of the time that action_space.contains takes.
        try:
            index = operator.index(action)
        except TypeError:
            index = -1
        if not 0 <= index < self._num_actions:
            raise ValueError(f"{action!r} is no action: there are {self._num_actions}")
        return index

    def _step_timeout(self, action: int) -> float:
        return self._in_time(self.step_seconds * self.settings.passes_of(action))

    def _in_time(self, seconds: float) -> float:
        return min(seconds, max(self.deadline - time.monotonic(), 0.0))

    def _failure_info(self, failure: Exception) -> Info:
        return {"cost": self.cost, **failure_info(failure, self.actions)}

    @property
    def observation(self) -> Observation:
        """The last observation, of `begin`, `step` or `restore`.

        Raises:
            RuntimeError: there is no episode.
        """
        if self._observation is None:
            raise self._needs_reset()
        return self._observation

    def save(self) -> int:
        """Keep a snapshot of the program; returns a handle for `restore`.

        Handles are good until the next reset, crash or timeout.
        """
        handle: int = self._call("save", timeout=self._in_time(self.step_seconds))
        self._saved[handle] = _Saved(list(self.actions), list(self.passes), self.best_passes)
        return handle

    def restore(self, handle: int) -> Observation:
        """Go back to a snapshot, and go on from there."""
        self._observation, self.cost, self.best = self._call(
            "restore", handle, timeout=self._in_time(self.step_seconds)
        )
        self._running = True
        saved = self._saved[handle]
        self.actions, self.passes = list(saved.actions), list(saved.passes)
        self.best_passes = saved.best_passes
        return self.observation

    def drop(self, handle: int) -> None:
        """Forget a snapshot."""
        self._call("drop", handle, timeout=self.step_seconds)
        del self._saved[handle]

    def replay(
        self, actions: Sequence[int], functions: Mapping[str, Sequence[int]] | None = None
    ) -> Replayed:
        """Run passes on the program as it is, to see with `finish` what they make of it.

        Ends the episode. There are no limits on steps and growth, and nothing is measured.

        Args:
            functions: actions, all by function, that come after ``actions``, each list on the
                function of that name alone.

        Returns both without what changed nothing.

        Raises:
            WorkerFailure, LLVMError: LLVM fails on one of them.
        """
        self._running = False
        functions = dict(functions or {})
        passes = len(actions) + max(map(len, functions.values()), default=0)
        seconds = self._in_time(self.step_seconds * max(passes, 1))
        changed: Replayed = self._call("replay", list(actions), functions, timeout=seconds)
        return changed

    def functions(self) -> dict[str, int]:
        """How many instructions each function has that has a body and a name."""
        functions: dict[str, int] = self._call(
            "functions", timeout=self._in_time(self.step_seconds)
        )
        return functions

    def extract(self, names: Sequence[str], actions: Sequence[int]) -> list[Function]:
        """Functions as programs of their own; see `Episode.extract`."""
        functions: list[Function] = self._call(
            "extract", list(names), list(actions), timeout=self._in_time(START_SECONDS)
        )
        return functions

    def features(self) -> Features:
        """What the program is made of; see `Features`."""
        features: Features = self._call("subject.features", timeout=START_SECONDS)
        return features

    def try_lists(self, lists: Sequence[Sequence[int]], most_work: float = math.inf) -> list[Tried]:
        """What some lists of passes make of the program, each from the start.

        Args:
            most_work: times as long as the baseline that a list may take before it is given up.
                By the processor's time, which depends less than the wall's on what else the
                machine does.

        Ends the episode. They have as much time together as `LIST_STEPS` passes have in `step`, for
        each of them that a thread tries.

        Raises:
            WorkerFailure: LLVM ended its process on one of them, or took too long.
        """
        self._running = False
        tried: list[Tried] = self._call(
            "trials.try_lists",
            [list(each) for each in lists],
            most_work,
            timeout=self._in_time(self._seconds_of(lists)),
        )
        self._is_busy = any(each.is_running for each in tried)
        return tried

    def generate(
        self,
        program: Program,
        made: Made,
        ways: Sequence[Codegen],
        frame_pointers: bool = True,
    ) -> Made:
        """The smallest code for what has been made of a program; see `CodeGenerator.generate`.

        The episode is over, if it was not. The objective is of code.

        Raises:
            ProgramError, WorkerFailure: LLVM ended its process, or took too long.
        """
        self.hold(program)
        smallest: Made = self._call(
            "codegen.generate",
            made,
            list(ways),
            frame_pointers,
            timeout=self._in_time(START_SECONDS),
        )
        return smallest

    def finish_list(self, index: int) -> Made:
        """As `finish`, of what one of the last lists tried has made."""
        made: Made = self._call("trials.finish_list", index, timeout=self._in_time(START_SECONDS))
        return made

    def keep_list(self, index: int) -> None:
        """Have `try_inlining` and `try_tails` go on from what one of the last lists has made."""
        self._call("trials.keep_list", index, timeout=self._in_time(self.step_seconds))
        self._keeps_list = True

    @property
    def keeps_list(self) -> bool:
        """Whether there is a list that inlining and tails can go on from.

        There is none of another program, none once the process that had it has ended, and none
        while what was given up still runs beside it.
        """
        return self._keeps_list and not self._is_busy

    def tells_functions(self) -> bool:
        """Whether the cost of a function can be told, without which nothing is chosen for one."""
        tells: bool = self._call("trials.tells_functions", timeout=self.step_seconds)
        return tells

    def inlining_prospects(self) -> Prospects | None:
        """What may be chosen about inlining.

        None where functions call no others, without which nothing can be inlined.
        """
        found: Prospects | None = self._call(
            "trials.inlining_prospects", timeout=self._in_time(START_SECONDS)
        )
        return found

    def try_inlining(
        self, trials: int, most_work: float = math.inf, *, likely: bool = False
    ) -> Inlined:
        """Choose which functions are inlined, under the list that is kept.

        Args:
            trials: how many, besides those of what was chosen in them.
            most_work: see `try_lists`.
            likely: leave out choices that hardly ever help.

        They have as much time as so many lists. There has to be a list that is kept (`keeps_list`).

        Raises:
            LLVMError: what the choices make of the program does not verify.
            WorkerFailure: as `try_lists`.
        """
        rounds = math.ceil(trials / self.threads) + ATTEMPTS
        inlined: Inlined = self._call(
            "trials.try_inlining",
            trials,
            most_work,
            likely,
            timeout=self._in_time(self.step_seconds * LIST_STEPS * rounds),
        )
        self._is_busy = inlined.is_running
        return inlined

    def try_tails(self, lists: Sequence[Sequence[int]], most_work: float = math.inf) -> Tailed:
        """Let functions of what `keep_list` has kept have passes of their own.

        Args:
            lists: of passes by function, of which each function gets the one that makes it
                smallest, if one does. They come after what it has got already.
            most_work: see `try_lists`.

        They have as much time as there. There has to be a list that is kept (`keeps_list`).

        Raises:
            LLVMError: what they make of the program does not verify.
            WorkerFailure: as `try_lists`.
        """
        tailed: Tailed = self._call(
            "trials.try_tails",
            [list(each) for each in lists],
            most_work,
            timeout=self._in_time(self._seconds_of(lists)),
        )
        self._is_busy = tailed.is_running
        return tailed

    def measure_tails(self, lists: Sequence[Sequence[int]]) -> TailCosts:
        """See `Trials.measure_tails`.

        Raises:
            WorkerFailure: as `try_lists`.
        """
        costs: TailCosts = self._call(
            "trials.measure_tails",
            [list(each) for each in lists],
            timeout=self.step_seconds * LIST_STEPS * len(lists),
        )
        return costs

    def _seconds_of(self, lists: Sequence[Sequence[int]]) -> float:
        return self.step_seconds * LIST_STEPS * math.ceil(len(lists) / self.threads)

    def finish(self) -> Made:
        """The program as it is now, made ready for code generation; the episode can go on.

        See `Episode.finish`.
        """
        made: Made = self._call("finish", timeout=self._in_time(START_SECONDS))
        return made

    def baseline_bitcode(self) -> bytes:
        """The program as the baseline makes it."""
        bitcode: bytes = self._call("subject.baseline_bitcode", timeout=START_SECONDS)
        return bitcode

    def baseline_object(self, program: Program) -> bytes | None:
        """The code that was generated for that of a program; None where none was kept."""
        if program.key != self._begun:
            return None
        made: bytes | None = self._call("subject.baseline_object", timeout=self.step_seconds)
        return made

    def baseline(self, program: Program) -> Made:
        """What the baseline makes of a program. The episode is over, if it was not.

        Raises:
            ProgramError, WorkerFailure, LLVMError: LLVM fails on it.
        """
        self.hold(program)
        made: Made = self._call("subject.baseline", timeout=self._in_time(START_SECONDS))
        return made

    def hold(self, program: Program, inlining: Inlining | None = None) -> None:
        """End the episode, with a program at hand and nothing that still runs.

        It begins with it if it has to: `try_lists` and what takes a program do not count steps.

        Args:
            inlining: as for `begin`; without it, whatever there is.

        Raises:
            ProgramError: as `begin`.
        """
        self.settle()
        if self._begun != program.key or inlining not in (None, self._inlining):
            known = self._known_costs.get(program.key)
            may_measure = program.key not in self._suspect
            costs = self._begin("hold", program, known, inlining or (), may_measure)
            self._are_costs(program, costs, measured=False)
        self._running = False

    def pass_seconds(self) -> float:
        """Wall time spent inside LLVM's passes in this episode."""
        seconds: float = self._call("pass_seconds", timeout=self.step_seconds)
        return seconds

    def interrupt(self) -> None:
        """End the call under way, and the environment with it. May be called from any thread."""
        if self._worker is not None:
            self._worker.interrupt()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *exc_info: Any) -> Any:
        self.close()

    def _call(self, method: str, *args: Any, timeout: float) -> Any:
        if self._worker is not None:
            try:
                return self._worker.call(method, *args, timeout=timeout)
            except WorkerFailure:
                if self._begun in self._estimated:
                    self._suspect.add(self._begun)
                self._running = self._keeps_list = False
                self._begun = ""
                raise
        return operator.attrgetter(method)(self._episode)(*args)


def failure_info(failure: Exception, actions: list[int]) -> Info:
    """What the last step of a failed episode says of the failure."""
    if isinstance(failure, WorkerTimedOut):
        end = End.TIMEOUT
    elif isinstance(failure, WorkerFailure):
        end = End.CRASH
    else:
        end = End.ERROR
    return {"end": end.value, "error": str(failure), "actions": list(actions)}

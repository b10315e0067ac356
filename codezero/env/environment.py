"""Phase ordering as a Gymnasium environment: observe a program, choose its next pass."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, SupportsFloat, cast

import gymnasium
import numpy as np

from codezero._native import LLVMError
from codezero.compiler.objectives import Objective
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import DEFAULT_SPACE, PassSpace, load_space
from codezero.env.episode import (
    End,
    Episode,
    EpisodeSettings,
    Function,
    Observation,
    Replayed,
    Step,
)
from codezero.env.programs import Programs, ProgramSource
from codezero.env.reward import Costs, Reward
from codezero.errors import ProgramError
from codezero.isolation import Worker, WorkerFailure, WorkerTimedOut

STEP_SECONDS = 10.0
"""Default wall time of a step."""
START_SECONDS = 60.0
"""Wall time of a reset: parsing, and optimising once to measure the baseline."""

Info = dict[str, Any]


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


def observation_space(settings: EpisodeSettings) -> gymnasium.Space[Observation]:
    """Ratios and counts, never negative, and the margins; nothing has a bound for any program."""
    low = np.zeros(settings.observation_size, np.float32)
    if "margins" in settings.observe:
        low[settings.layout["margins"]] = -np.inf
    box = gymnasium.spaces.Box(low, np.inf, dtype=np.float32)
    return cast("gymnasium.Space[Observation]", box)


class _Saved(NamedTuple):
    """What an environment knows of a snapshot."""

    actions: list[int]
    passes: list[int]
    best_passes: tuple[int, ...]


class PhaseOrderingEnv(gymnasium.Env[Observation, np.int64]):
    """Choose LLVM passes for a program, one a step.

    **Action**: an index into the pass space, ``Discrete(len(space))``. With ``restart`` there is
    one more, the last: back to the program as it was at the start.

    **Observation**: float32, shape ``(56 + actions,)``. The 56 Autophase features over the
    program's current instruction count, then how often each action was taken over ``max_steps``
    (Appendix B.2 of the paper). Then what ``observe`` names, of
    `codezero.env.episode.EXTRA_PARTS`. `settings.layout` names the slices.

    **Reward**: equation (2), ``(C(s_t) - C(s_t+1)) / max(C(s_0) - C(s_b), 1)``. The return of an
    episode above 1 is a program smaller than the baseline makes it. Or, as a `Reward` says.

    **End**: truncated after ``max_steps``; terminated when the program has grown to more than 4
    times its instructions at the start + 3,000; truncated when LLVM crashes, reports an error or
    overruns ``step_seconds`` (reward 0, the observation is the last one before).

    **Info**: ``cost`` and ``changed`` (whether the pass did anything) on every step; ``program``,
    ``initial`` and ``baseline`` (costs) on reset;
    on the last step ``end`` (an `End`'s value), and after a crash, an error or a timeout also
    ``error`` (the reason) and ``actions`` (those so far, the last one at fault).

    Args:
        programs: a `Program`, a path, or an iterable of these; see `ProgramSource`.
        space: name of a built-in pass space, a TOML file, or a `PassSpace`.
        objective: ``"instructions"`` or ``"text"``.
        protocol: ``"clang"`` or ``"paper"``.
        max_steps: length of an episode (the paper's 45).
        observe: parts to append to the observation: ``"sizes"``, ``"margins"``, ``"shape"``.
        reward: a `Reward`, or its name: ``"saved"`` or ``"best"``.
        restart: whether there is an action that goes back to the start, so that one episode may try
            several short sequences.
        step_seconds: wall time of a pass; a step that runs a list of them has as many times that.
        isolated: run LLVM in a worker process. Without it a step is quicker by the round trip
            (0.1 to 0.3 ms), no wall time is enforced, and a crash of LLVM is one of this process.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own declaration)

    def __init__(
        self,
        programs: Programs,
        *,
        space: PassSpace | str | Path = DEFAULT_SPACE,
        objective: Objective | str = Objective.INSTRUCTIONS,
        protocol: Protocol | str = Protocol.CLANG,
        max_steps: int = 45,
        observe: Sequence[str] = (),
        reward: Reward | str = Reward.SAVED,
        restart: bool = False,
        step_seconds: float = STEP_SECONDS,
        isolated: bool = True,
    ) -> None:
        self.settings = make_settings(
            space, objective, protocol, max_steps, observe, reward, restart
        )
        self.action_space = gymnasium.spaces.Discrete(self.settings.num_actions)
        self.observation_space = observation_space(self.settings)
        if not step_seconds > 0:
            raise ValueError(f"step_seconds is {step_seconds}; it is more than 0")
        self.step_seconds = step_seconds
        self.programs = ProgramSource(programs)
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
        self._observation = np.zeros(self.settings.observation_size, np.float32)
        self._known_costs: dict[str, Costs] = {}
        self._num_actions = self.settings.num_actions
        self._saved: dict[int, _Saved] = {}
        self._running = False
        self._episode = None if isolated else Episode(self.settings)
        self._worker = (
            Worker("codezero.env.episode:Episode", {"settings": self.settings})
            if isolated
            else None
        )

    @classmethod
    def of(
        cls,
        settings: EpisodeSettings,
        known_costs: Mapping[str, Costs] | None = None,
        step_seconds: float = STEP_SECONDS,
    ) -> PhaseOrderingEnv:
        """An environment whose resets name their programs.

        Args:
            known_costs: of programs by their keys, which need not be measured again.
        """
        env = cls(iter(()), **options_of(settings), step_seconds=step_seconds)
        env._known_costs.update(known_costs or {})
        return env

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Begin an episode on the next program, or on ``options["program"]``.

        Raises:
            ProgramError: the program cannot be read, or LLVM fails before the first action.
        """
        super().reset(seed=seed)
        self._running = False
        if options and "program" in options:
            program = self.programs.load(options["program"])
        else:
            program = self.programs.next(self.np_random)
        try:
            known = self._known_costs.get(program.key)
            self._observation, self.costs = self._call(
                "start", program, known, timeout=START_SECONDS
            )
        except WorkerFailure as failure:
            raise ProgramError(f"{program.name}: LLVM fails on it ({failure})") from None
        except LLVMError as error:
            raise ProgramError(f"{program.name}: {error}") from None
        self._known_costs[program.key] = self.costs
        self.actions, self.passes, self.best_passes = [], [], ()
        self._saved.clear()
        self._running = True
        self.cost = self.best = self.costs.initial
        return self._observation, {
            "program": program.name,
            "initial": self.costs.initial,
            "baseline": self.costs.baseline,
            "cost": self.cost,
        }

    def step(self, action: Any) -> tuple[Observation, SupportsFloat, bool, bool, Info]:
        action = self._index(action)
        if not self._running:
            raise gymnasium.error.ResetNeeded("the episode is over: call reset first")
        self.actions.append(action)
        self._running = False  # until the answer is in
        try:
            step: Step = (
                self._episode.step(action)
                if self._episode is not None
                else self._call("step", action, timeout=self._step_timeout(action))
            )
        except (WorkerFailure, LLVMError) as failure:
            return self._observation, 0.0, False, True, self._failure_info(failure)
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
        """The last observation, of `reset`, `step` or `restore`."""
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
        return self._observation

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

    def finish(self) -> tuple[bool, int, bytes]:
        """The program as it is now, made ready for code generation; the episode can go on.

        Returns whether that changed anything, the cost, and the bitcode; see `Episode.finish`.
        """
        finished: tuple[bool, int, bytes] = self._call(
            "finish", timeout=self._in_time(START_SECONDS)
        )
        return finished

    def baseline_bitcode(self) -> bytes:
        """The program as the baseline makes it."""
        bitcode: bytes = self._call("baseline_bitcode", timeout=START_SECONDS)
        return bitcode

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

    def _call(self, method: str, *args: Any, timeout: float) -> Any:
        if self._worker is not None:
            try:
                return self._worker.call(method, *args, timeout=timeout)
            except WorkerFailure:
                self._running = False
                raise
        return getattr(self._episode, method)(*args)


def failure_info(failure: Exception, actions: list[int]) -> Info:
    """What the last step of a failed episode says of the failure."""
    if isinstance(failure, WorkerTimedOut):
        end = End.TIMEOUT
    elif isinstance(failure, WorkerFailure):
        end = End.CRASH
    else:
        end = End.ERROR
    return {"end": end.value, "error": str(failure), "actions": list(actions)}

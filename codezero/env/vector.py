"""Many episodes at once, a process each, observations in shared memory."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from codezero._native import LLVMError
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import DEFAULT_SPACE, PassSpace
from codezero.env.environment import observation_space
from codezero.env.episode import End
from codezero.env.programs import Programs, ProgramSource
from codezero.env.reward import Costs, Reward
from codezero.env.session import (
    START_SECONDS,
    STEP_SECONDS,
    Info,
    failure_info,
    make_settings,
)
from codezero.env.shared import SharedSteps
from codezero.errors import CodeZeroError, ProgramError
from codezero.isolation import Worker, WorkerFailure

MAX_FAILED_STARTS = 16
"""Programs in a row that LLVM may fail on at the start before the environment gives up."""

Observations = npt.NDArray[np.float32]
Batch = tuple[
    Observations,
    npt.NDArray[np.float64],
    npt.NDArray[np.bool_],
    npt.NDArray[np.bool_],
    Info,
]


class PhaseOrderingVectorEnv(VectorEnv[Observations, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """`num_envs` independent `PhaseOrderingEnv` episodes, each in a worker process.

    A worker that crashes or overruns ``step_seconds`` is replaced. Its episode comes back
    truncated, with ``end``, ``error`` and ``actions`` in the infos; the others lose no step.

    `step` waits for all environments, as Gymnasium has it. Steps differ in length by orders of
    magnitude, so a caller that can act on some of them while others still run should use `send`
    and `recv` instead: then no core waits for another.

    Args:
        programs, space, objective, protocol, max_steps, observe, reward, restart, step_seconds: as
            for `PhaseOrderingEnv`.
        num_envs: number of environments; by default the machine's cores.
        autoreset_mode: Gymnasium's; `send` and `recv` always reset on the next step.
        copy: return copies of the shared arrays, rather than the arrays themselves.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        programs: Programs,
        num_envs: int | None = None,
        *,
        space: PassSpace | str | Path = DEFAULT_SPACE,
        objective: Objective | str = Objective.INSTRUCTIONS,
        protocol: Protocol | str = Protocol.CLANG,
        max_steps: int = 45,
        observe: Sequence[str] = (),
        reward: Reward | str = Reward.SAVED,
        restart: bool = False,
        step_seconds: float = STEP_SECONDS,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
    ) -> None:
        self.settings = make_settings(
            space, objective, protocol, max_steps, observe, reward, restart
        )
        self.num_envs = len(os.sched_getaffinity(0)) if num_envs is None else num_envs
        if self.num_envs < 1 or not step_seconds > 0:
            raise ValueError("num_envs is at least 1, and step_seconds more than 0")
        self.single_action_space = gymnasium.spaces.Discrete(self.settings.num_actions)
        self.single_observation_space = observation_space(self.settings)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.step_seconds = step_seconds
        self.programs = ProgramSource(programs)
        self.failed_programs: dict[str, str] = {}
        """Programs that could not be started, with the reason."""

        self._copy = copy
        self._steps = SharedSteps.create(self.num_envs, self.settings.observation_size)
        self._workers = [
            Worker(
                "codezero.env.shared:SharedEpisode",
                {
                    "settings": self.settings,
                    "fd": self._steps.fd,
                    "num_envs": self.num_envs,
                    "index": index,
                },
                pass_fds=(self._steps.fd,),
            )
            for index in range(self.num_envs)
        ]
        for worker in self._workers:
            worker.start()
        self._actions: list[list[int]] = [[] for _ in self._workers]
        self._episode_programs: list[Program | None] = [None] * self.num_envs
        self._known_costs: dict[str, Costs] = {}
        self._ended = np.ones(self.num_envs, np.bool_)
        """Environments whose episode is over and that have not been reset."""
        self._in_flight: dict[int, float] = {}
        """Environments with a step or reset under way, and when its time is up."""
        self._starting: set[int] = set()
        self._failed_starts = 0

    # Gymnasium's interface

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, Info]:
        """Begin an episode in each environment, or in those of ``options["reset_mask"]``.

        Args:
            seed: seeds the one generator that programs are drawn with.
            options: ``reset_mask``, bool, shape ``(num_envs,)``.
        """
        if isinstance(seed, (list, tuple)):
            seed = seed[0] if seed else None
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        self._collect(len(self._in_flight))  # steps under way are waited for and discarded
        infos = self._merge(self._start(np.flatnonzero(mask).tolist()))
        return self._observations(), infos

    def step_async(self, actions: npt.NDArray[np.int64]) -> None:
        """Begin a step in every environment. Ended ones are reset instead (``NEXT_STEP``)."""
        if self._in_flight:
            raise gymnasium.error.AlreadyPendingCallError("step_async: a step is under way", "step")
        if self.autoreset_mode is not AutoresetMode.NEXT_STEP and self._ended.any():
            raise gymnasium.error.ResetNeeded("an episode is over: call reset first")
        self.send(actions)

    def step_wait(self) -> Batch:
        """Wait for the step begun by `step_async`."""
        if not self._in_flight:
            raise gymnasium.error.NoAsyncCallError("step_wait: no step is under way", "step")
        infos = self._collect(self.num_envs)
        rewards, terminated, truncated = self._flags()
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            infos |= self._reset_ended(infos)
        return self._observations(), rewards, terminated, truncated, self._merge(infos)

    def step(self, actions: npt.NDArray[np.int64]) -> Batch:
        """One step of every environment; see `PhaseOrderingEnv.step`."""
        self.step_async(actions)
        return self.step_wait()

    def close_extras(self, **kwargs: Any) -> None:
        for worker in self._workers:
            worker.close()
        os.close(self._steps.fd)

    # Acting on some environments while others run

    def send(self, actions: npt.NDArray[np.int64], indices: Sequence[int] | None = None) -> None:
        """Begin a step in some environments (all by default), with one action each.

        An environment whose episode is over ignores its action and begins a new episode.
        """
        if indices is None:
            indices = range(self.num_envs)
        actions = np.asarray(actions)
        self._check(actions, indices)
        for index, action in zip(indices, actions, strict=True):
            if self._ended[index]:
                self._begin_start(index)
            else:
                self._begin_step(index, int(action))

    def _check(self, actions: npt.NDArray[Any], indices: Sequence[int]) -> None:
        """Raises before any step has begun."""
        if actions.shape != (len(indices),):
            raise ValueError(f"actions of shape {actions.shape} for {len(indices)} environments")
        if actions.size and not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(f"actions are integers, not {actions.dtype}")
        count = self.settings.num_actions
        if ((actions < 0) | (actions >= count)).any():
            raise ValueError(f"{actions} has no such action: there are {count}")
        if len(set(indices)) < len(indices) or not all(0 <= i < self.num_envs for i in indices):
            raise ValueError(f"{list(indices)} are not different environments of {self.num_envs}")
        for index in indices:
            if index in self._in_flight:
                raise CodeZeroError(f"environment {index} has a step under way")

    def recv(self, at_least: int = 1) -> tuple[npt.NDArray[np.int64], Batch]:
        """Wait until ``at_least`` of the environments in flight have answered.

        Returns:
            The indices of those that have, shape (k,), and their step: observations (k, d),
            rewards (k,), terminated (k,), truncated (k,) and infos, whose arrays have all
            ``num_envs`` rows.
        """
        infos = self._collect(at_least)
        indices = np.array(list(infos), np.int64)
        rewards, terminated, truncated = self._flags()
        batch = (
            self._steps.observations[indices],
            rewards[indices],
            terminated[indices],
            truncated[indices],
            self._merge(infos),
        )
        return indices, batch

    # One environment

    def _begin_step(self, index: int, action: int) -> None:
        self._actions[index].append(action)
        seconds = self.step_seconds * self.settings.passes_of(action)
        self._begin(index, "step", action, seconds=seconds)

    def _begin_start(self, index: int) -> None:
        self._ended[index] = True
        try:
            program = self.programs.next(self.np_random)
        except ProgramError as failure:
            self._count_failed_start(str(failure), failure)
            self._begin_start(index)
            return
        self._episode_programs[index] = program
        self._actions[index] = []
        self._starting.add(index)
        known = self._known_costs.get(program.key)
        self._begin(index, "start", program, known, seconds=START_SECONDS)

    def _begin(self, index: int, method: str, *arguments: Any, seconds: float) -> None:
        self._workers[index].send(method, *arguments)
        self._in_flight[index] = time.monotonic() + seconds

    def _finish(self, index: int) -> Info | None:
        """The answer of an environment, or None if it has to be waited for again."""
        deadline = self._in_flight.pop(index)
        worker = self._workers[index]
        starting = index in self._starting
        self._starting.discard(index)
        self._ended[index] = True  # until the answer is in: this may be interrupted
        try:
            answer: Costs | End | None = worker.receive(max(0.0, deadline - time.monotonic()))
        except (WorkerFailure, LLVMError, ProgramError) as failure:
            worker.start()
            if starting:
                self._retry_start(index, failure)
                return None
            return self._fail_step(index, failure)
        if starting:
            assert isinstance(answer, Costs)
            self._ended[index] = False
            self._failed_starts = 0
            return self._start_info(index, answer)
        assert not isinstance(answer, Costs)
        self._ended[index] = answer is not None
        info: Info = {
            "cost": int(self._steps.costs[index]),
            "changed": bool(self._steps.changed[index]),
        }
        if answer is not None:
            info["end"] = answer.value
        return info

    def _start_info(self, index: int, costs: Costs) -> Info:
        program = self._episode_programs[index]
        assert program is not None
        self._known_costs[program.key] = costs
        return {
            "program": program.name,
            "initial": costs.initial,
            "baseline": costs.baseline,
            "cost": costs.initial,
        }

    def _retry_start(self, index: int, failure: Exception) -> None:
        program = self._episode_programs[index]
        assert program is not None
        self._count_failed_start(program.name, failure)
        self._begin_start(index)

    def _count_failed_start(self, name: str, failure: Exception) -> None:
        self.failed_programs[name] = str(failure)
        self._failed_starts += 1
        if self._failed_starts > MAX_FAILED_STARTS:
            raise ProgramError(
                f"{self._failed_starts} programs in a row cannot be started; the last, "
                f"{name}: {failure}"
            )

    def _fail_step(self, index: int, failure: Exception) -> Info:
        # The observation stays the last one before the failure.
        self._steps.rewards[index] = 0.0
        self._steps.terminated[index] = False
        self._steps.truncated[index] = True
        self._ended[index] = True
        cost = int(self._steps.costs[index])
        return {"cost": cost, **failure_info(failure, self._actions[index])}

    # All environments

    def _start(self, indices: list[int]) -> dict[int, Info]:
        for index in indices:
            self._begin_start(index)
        return self._collect(len(indices))

    def _collect(self, at_least: int) -> dict[int, Info]:
        """The infos of ``at_least`` environments (or all in flight), waiting for their answers."""
        infos: dict[int, Info] = {}
        while self._in_flight and len(infos) < at_least:
            for index in self._answered():
                info = self._finish(index)
                if info is not None:
                    infos[index] = info
        return infos

    def _answered(self) -> list[int]:
        """Environments in flight that have answered or run out of time; waits for the first."""
        poll = select.poll()
        index_of = {}
        for index in self._in_flight:
            fd = self._workers[index].fileno()
            index_of[fd] = index
            poll.register(fd, select.POLLIN)
        until = min(self._in_flight.values())
        ready = poll.poll(1_000 * max(0.0, until - time.monotonic()))
        answered = {index_of[fd] for fd, _ in ready}
        now = time.monotonic()
        overdue = {index for index, deadline in self._in_flight.items() if deadline <= now}
        return sorted(answered | overdue)

    def _reset_ended(self, infos: dict[int, Info]) -> dict[int, Info]:
        """Begin new episodes where one has ended; what it ended with goes into their infos."""
        final = {
            index: {"final_obs": self._steps.observations[index].copy(), "final_info": info}
            for index, info in infos.items()
            if self._ended[index]
        }
        started = self._start(list(final))
        return {index: final[index] | started[index] for index in final}

    def _observations(self) -> Observations:
        return self._steps.observations.copy() if self._copy else self._steps.observations

    def _flags(
        self,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        steps = self._steps
        return steps.rewards.copy(), steps.terminated.copy(), steps.truncated.copy()

    def _merge(self, infos: dict[int, Info]) -> Info:
        """One dictionary of arrays with masks, as Gymnasium has it."""
        merged: Info = {}
        for index, info in infos.items():
            merged = self._add_info(merged, info, index)
        return merged

"""Step results in shared memory: where the vector environment's workers write what they see."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from codezero.compiler.program import Program
from codezero.env.episode import End, Episode, EpisodeSettings, Step
from codezero.env.reward import Costs


@dataclass(frozen=True)
class SharedSteps:
    """The last step of each of n environments, as arrays over one block of memory.

    The block is an anonymous file: it goes with its last process, however that one ends.
    """

    fd: int
    observations: npt.NDArray[np.float32]
    """Shape (n, d)."""
    rewards: npt.NDArray[np.float64]
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]
    changed: npt.NDArray[np.bool_]
    costs: npt.NDArray[np.int64]

    @staticmethod
    def create(num_envs: int, observation_size: int) -> SharedSteps:
        fd = os.memfd_create("codezero-steps")
        os.ftruncate(fd, sum(size for _, _, size in _fields(num_envs, observation_size)))
        return SharedSteps.attach(fd, num_envs, observation_size)

    @staticmethod
    def attach(fd: int, num_envs: int, observation_size: int) -> SharedSteps:
        memory = mmap.mmap(fd, 0)
        arrays, offset = [], 0
        for dtype, shape, size in _fields(num_envs, observation_size):
            arrays.append(np.ndarray(shape, dtype, memory, offset))
            offset += size
        return SharedSteps(fd, *arrays)


def _fields(
    num_envs: int, observation_size: int
) -> list[tuple[npt.DTypeLike, tuple[int, ...], int]]:
    """(dtype, shape, bytes) of each array, in order, each on a cache line's boundary."""
    fields: list[tuple[npt.DTypeLike, tuple[int, ...]]] = [
        (np.float32, (num_envs, observation_size)),
        (np.float64, (num_envs,)),
        (np.bool_, (num_envs,)),
        (np.bool_, (num_envs,)),
        (np.bool_, (num_envs,)),
        (np.int64, (num_envs,)),
    ]
    return [
        (dtype, shape, -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // 64) * 64)
        for dtype, shape in fields
    ]


class SharedEpisode:
    """An episode in a worker that writes its results to its row of the shared arrays."""

    def __init__(self, settings: EpisodeSettings, fd: int, num_envs: int, index: int) -> None:
        self._episode = Episode(settings)
        self._steps = SharedSteps.attach(fd, num_envs, settings.observation_size)
        self._index = index

    def start(self, program: Program, costs: Costs | None) -> Costs:
        """Begin an episode; see `Episode.start`."""
        observation, costs = self._episode.start(program, costs)
        self._write(Step(observation, 0.0, False, False, costs.initial, False, None))
        return costs

    def step(self, action: int) -> End | None:
        """Run one pass; see `Episode.step`."""
        step = self._episode.step(action)
        self._write(step)
        return step.end

    def _write(self, step: Step) -> None:
        steps, i = self._steps, self._index
        steps.observations[i] = step.observation
        steps.rewards[i] = step.reward
        steps.terminated[i] = step.terminated
        steps.truncated[i] = step.truncated
        steps.changed[i] = step.changed
        steps.costs[i] = step.cost

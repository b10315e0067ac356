"""Replay: whole episodes, drawn from as sequences."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from codezero.dreamer.config import ReplaySettings

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Transitions:
    """An episode of L actions, as it was seen."""

    observations: Float
    """Shape (L + 1, D)."""
    actions: npt.NDArray[np.int64]
    """Shape (L,)."""
    rewards: npt.NDArray[np.float64]
    """Shape (L,), of equation (2)."""
    terminated: bool
    """Whether it ended for good, rather than at a limit or in a failure."""


class Rows(NamedTuple):
    """Rows of episodes, one an observation: what `codezero.dreamer.world_model.Sequences` has."""

    observation: Float
    action: npt.NDArray[np.int64]
    reward: Float
    goes_on: Float
    is_first: npt.NDArray[np.bool_]


def smooth(rewards: npt.NDArray[np.float64], alpha: float) -> npt.NDArray[np.float64]:
    """Equation (5): r'_1 = r_1, then r'_t = alpha r'_{t-1} + (1 - alpha) r_t."""
    smoothed = np.array(rewards, np.float64)
    for t in range(1, len(smoothed)):
        smoothed[t] = alpha * smoothed[t - 1] + (1 - alpha) * smoothed[t]
    return smoothed


def unsmooth(smoothed: npt.NDArray[np.float64], alpha: float) -> npt.NDArray[np.float64]:
    """The rewards that `smooth` makes ``smoothed`` of."""
    rewards = np.array(smoothed, np.float64)
    rewards[1:] = (smoothed[1:] - alpha * smoothed[:-1]) / (1 - alpha)
    return rewards


class Replay:
    """The last episodes, up to a number of rows; an episode of L actions has L + 1.

    Memory is taken as it is used: a capacity of 2,000,000 comes to 700 bytes a row.

    Args:
        observation_size: D.
    """

    def __init__(self, observation_size: int, settings: ReplaySettings) -> None:
        self._settings = settings
        self._capacity = max(settings.capacity, settings.length)
        # A ring: row k of all rows that there ever were lies at k modulo the capacity.
        self._ring = Rows(
            np.empty((self._capacity, observation_size), np.float32),
            np.empty(self._capacity, np.int64),
            np.empty(self._capacity, np.float32),
            np.empty(self._capacity, np.float32),
            np.empty(self._capacity, np.bool_),
        )
        self._lengths: deque[int] = deque()
        self.begin = 0
        """Number of the oldest row that is kept."""
        self.end = 0
        """Number of the row that comes next: how many there ever were."""

    def __len__(self) -> int:
        """Rows that are kept."""
        return self.end - self.begin

    @property
    def can_draw(self) -> bool:
        """Whether there are enough rows for a sequence."""
        return len(self) >= self._settings.length

    def add(self, episode: Transitions) -> bool:
        """Take in an episode. False for one whose rewards are beyond the limits: it is not kept."""
        settings, rewards = self._settings, episode.rewards
        if (
            np.abs(rewards).max(initial=0) > settings.max_reward
            or abs(rewards.sum()) > settings.max_return
        ):
            return False
        rows = len(rewards) + 1
        goes_on = np.ones(rows, np.float32)
        goes_on[-1] = not episode.terminated
        self.extend(
            Rows(
                episode.observations,
                np.concatenate([[0], episode.actions]),
                np.concatenate([[0.0], smooth(rewards, settings.smoothing)]).astype(np.float32),
                goes_on,
                np.arange(rows) == 0,
            )
        )
        return True

    def extend(self, rows: Rows) -> None:
        """Take in rows of whole episodes, as `rows` gives them."""
        starts = np.flatnonzero(rows.is_first)
        for begin, end in zip(starts, [*starts[1:], len(rows.action)], strict=True):
            self._lengths.append(int(end - begin))
            self.end += int(end - begin)
            while len(self) > self._capacity:
                self.begin += self._lengths.popleft()
            place = np.arange(self.end - (end - begin), self.end) % self._capacity
            for name in Rows._fields:
                getattr(self._ring, name)[place] = getattr(rows, name)[begin:end]

    def rows(self, begin: int, end: int) -> Rows:
        """Rows by number, of those that are kept."""
        place = np.arange(begin, end) % self._capacity
        return _take(self._ring, place)

    def draw(self, rng: np.random.Generator) -> Rows:
        """A batch of sequences that begin at rows drawn uniformly, each with the ones after it.

        A sequence runs over the ends of episodes, into the next that was added. Its first row
        counts as the beginning of an episode, for nothing is known of what came before.

        Returns:
            Arrays of shape (length, batch, ...).
        """
        settings = self._settings
        starts = rng.integers(self.begin, self.end - settings.length + 1, settings.batch)
        place = (starts + np.arange(settings.length)[:, None]) % self._capacity
        drawn = _take(self._ring, place)
        drawn.is_first[0] = True
        return drawn


def _take(rows: Rows, place: npt.NDArray[np.int64]) -> Rows:
    observation, action, reward, goes_on, is_first = rows
    return Rows(observation[place], action[place], reward[place], goes_on[place], is_first[place])

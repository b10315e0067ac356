"""Rollouts: episodes in many environments at once, the policy's decisions batched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from codezero.dreamer.replay import Transitions

FAILURES = ("crash", "timeout", "error")
"""Ends of an episode (`codezero.env.episode.End`) whose last action did nothing but fail."""


class Environments(Protocol):
    """What is asked of a vector environment: `codezero.env.PhaseOrderingVectorEnv` has it."""

    num_envs: int
    np_random: np.random.Generator
    """Draws programs."""

    def send(self, actions: npt.NDArray[np.int64], indices: Sequence[int]) -> None: ...

    def recv(self, at_least: int = 1) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]: ...


@dataclass
class Experience:
    """What rollouts came to since they were last asked."""

    steps: int = 0
    episodes: list[Transitions] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    """Episodes by why they ended."""
    returns: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    """Baseline over the best cost of each episode."""
    workers_lost: int = 0
    """Of a cluster; they are started again."""

    def __iadd__(self, other: Experience) -> Experience:
        for f in fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))
        return self


class Rollouts(Protocol):
    """What is asked of a source of experience: `RolloutWorker` has it, here and now."""

    @property
    def is_idle(self) -> bool: ...

    def begin(self) -> None: ...

    def advance(self, *, random_share: float, going_on: bool = True) -> Experience: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ActorLike(Protocol):
    """What is asked of an actor: `codezero.dreamer.policy.Actor` has it."""

    def act(
        self,
        indices: npt.NDArray[np.int64],
        observations: npt.NDArray[np.float32],
        is_first: npt.NDArray[np.bool_],
        *,
        random_share: float,
        given: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]: ...


class _Recording:
    """An episode under way."""

    def __init__(
        self,
        observation: npt.NDArray[np.float32],
        baseline: int,
        cost: int,
        given: Sequence[int],
    ) -> None:
        self.observations = [observation.copy()]
        self.actions: list[int] = []
        self.rewards: list[float] = []
        self.baseline = baseline
        self.best = cost
        self._given = given

    def next_given(self) -> int:
        """The next action, or -1 where it is for the actor to choose."""
        taken = len(self.actions)
        return self._given[taken] if taken < len(self._given) else -1


class RolloutWorker:
    """Plays episodes. Knows nothing of where it runs: in the trainer's process, or a cluster's.

    Args:
        envs: their episodes begin anew as they end.
        actor: decides, for ``envs.num_envs`` environments.
        limit_is_end: whether the limit on steps counts as an end for good.
        in_order: wait for every environment at each step.
        lists: of actions that some episodes begin with, each with a part of one, from its head on:
            what follows is then learnt from states that are worth going on from, as in "Jump-Start
            Reinforcement Learning" (Uchendu et al., ICML 2023).
        list_share: of episodes that do.
        restart: the action that goes back to the start, if there is one.
        restart_share: of the actions that are random.
    """

    def __init__(
        self,
        envs: Environments,
        actor: ActorLike,
        *,
        limit_is_end: bool,
        in_order: bool,
        lists: Sequence[Sequence[int]] = (),
        list_share: float = 0.0,
        restart: int | None = None,
        restart_share: float = 0.0,
    ) -> None:
        self._envs = envs
        self._actor = actor
        self._limit_is_end = limit_is_end
        self._lists = lists
        self._list_share = list_share
        self._restart = restart
        self._restart_share = restart_share
        # With half of them waited for, the others compute while the policy decides.
        self._at_least = envs.num_envs if in_order else max(envs.num_envs // 2, 1)
        self._recordings: dict[int, _Recording] = {}
        self._running = 0
        """Environments that an answer is awaited of."""
        self._idle = np.arange(envs.num_envs)
        """Those whose episode is over and that have not been told to begin another."""

    def begin(self) -> None:
        """Begin an episode in every environment that has none."""
        if len(self._idle):
            # Programs are drawn in the order of numbers, not of ends, as in a resumed run.
            self._idle.sort()
            self._envs.send(np.zeros(len(self._idle), np.int64), self._idle.tolist())
            self._running += len(self._idle)
            self._idle = np.zeros(0, np.int64)

    def advance(self, *, random_share: float, going_on: bool = True) -> Experience:
        """Take the answers that are there, or wait for some, and act on them.

        Args:
            random_share: of actions that are drawn uniformly.
            going_on: begin new episodes where one ends; otherwise those environments are left idle.
        """
        experience = Experience()
        if not self._running:
            return experience
        indices, (observations, rewards, terminated, truncated, infos) = self._envs.recv(
            min(self._at_least, self._running)
        )
        self._running -= len(indices)
        # In the order of their numbers, not in that of their answers, which no run repeats.
        order = np.argsort(indices)
        indices, observations, rewards = indices[order], observations[order], rewards[order]
        terminated, truncated = terminated[order], truncated[order]
        ended = terminated | truncated
        starts = np.array([index not in self._recordings for index in indices])
        for row, index in enumerate(indices.tolist()):
            if starts[row]:
                self._recordings[index] = _Recording(
                    observations[row],
                    int(infos["baseline"][index]),
                    int(infos["cost"][index]),
                    self._draw_given(random_share),
                )
                continue
            experience.steps += 1
            recording = self._recordings[index]
            recording.observations.append(observations[row].copy())
            recording.rewards.append(float(rewards[row]))
            recording.best = min(recording.best, int(infos["cost"][index]))
            if ended[row]:
                end = str(infos["end"][index])
                self._conclude(experience, index, bool(terminated[row]), end)
        going = np.flatnonzero(~ended | starts)
        actions = np.zeros(len(indices), np.int64)
        if len(going):
            actions[going] = self._actor.act(
                indices[going],
                observations[going],
                starts[going],
                random_share=random_share,
                given=np.array(
                    [self._next_given(index, random_share) for index in indices[going].tolist()]
                ),
            )
        for row in going.tolist():
            self._recordings[int(indices[row])].actions.append(int(actions[row]))
        sent = np.arange(len(indices)) if going_on else going
        if len(sent):
            self._envs.send(actions[sent], indices[sent].tolist())
            self._running += len(sent)
        if not going_on:
            self._idle = np.concatenate([self._idle, np.delete(indices, going)])
        return experience

    def _next_given(self, index: int, random_share: float) -> int:
        """What an environment does next if that is decided already, else -1."""
        given = self._recordings[index].next_given()
        if self._restart is None or given >= 0:
            return given
        # Among a hundred passes drawn uniformly, restarts would be too few to learn from.
        restarts = self._envs.np_random.random() < random_share * self._restart_share
        return self._restart if restarts else given

    def _draw_given(self, random_share: float) -> Sequence[int]:
        """Actions for an episode to begin with; with gaps for the actor, as many as are random."""
        rng = self._envs.np_random
        if not self._lists or rng.random() >= self._list_share:
            return ()
        chosen = self._lists[int(rng.integers(len(self._lists)))]
        head = chosen[: int(rng.integers(len(chosen))) + 1]
        return [-1 if rng.random() < random_share else action for action in head]

    def _conclude(self, experience: Experience, index: int, terminated: bool, end: str) -> None:
        recording = self._recordings.pop(index)
        experience.ends[end] += 1
        experience.returns.append(sum(recording.rewards))
        experience.ratios.append(max(recording.baseline, 1) / max(recording.best, 1))
        steps = len(recording.rewards) - (end in FAILURES)
        if steps:
            experience.episodes.append(
                Transitions(
                    np.stack(recording.observations[: steps + 1]),
                    np.array(recording.actions[:steps], np.int64),
                    np.array(recording.rewards[:steps], np.float64),
                    terminated or (self._limit_is_end and end == "steps"),
                )
            )

    @property
    def is_idle(self) -> bool:
        """Whether no episode is under way."""
        return self._running == 0

    def state_dict(self) -> dict[str, Any]:
        """What decides which programs come next."""
        return {"programs": self._envs.np_random.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._envs.np_random.bit_generator.state = state["programs"]

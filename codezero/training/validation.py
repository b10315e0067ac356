"""Validation: what the greedy policy makes of a fixed set of programs, in one trial each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from codezero.compiler.program import Program
from codezero.corpus.entry import stable_hash
from codezero.dreamer.learner import Learner
from codezero.dreamer.policy import Actor
from codezero.env.vector import PhaseOrderingVectorEnv
from codezero.evaluation.evaluate import geometric_mean


@dataclass(frozen=True)
class Score:
    """Ratios are the baseline's cost over the policy's: above 1 is smaller than the baseline."""

    programs: int
    geomean: float
    """Of the best prefix of each trajectory."""
    with_fallback: float
    """The same with the baseline in its place where that is smaller: what a user gets."""
    final: float
    """Of the whole trajectories."""
    best_share: float
    """Share of programs that became as small as the baseline makes them, or smaller."""


class InTurn:
    """Programs one after the other, without end."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self.programs = programs
        self._next = 0

    def begin_anew(self) -> None:
        """Go on with the first one."""
        self._next = 0

    def __iter__(self) -> Iterator[Program]:
        while True:
            program = self.programs[self._next % len(self.programs)]
            self._next += 1
            yield program


class GreedyPolicy:
    """Takes the likeliest action in the likeliest state, as an exported agent does."""

    def __init__(self, learner: Learner, num_envs: int) -> None:
        self.learner = learner
        self._actor = Actor(learner.world, learner.behaviour, num_envs)

    def act(
        self,
        indices: npt.NDArray[np.int64],
        observations: npt.NDArray[np.float32],
        starts: npt.NDArray[np.bool_],
        names: Sequence[str],
    ) -> npt.NDArray[np.int64]:
        return self._actor.act(indices, observations, starts, greedy=True)


class UniformPolicy:
    """Takes any action, each as likely as the others; the same ones for a program each time."""

    def __init__(self, actions: int, seed: int) -> None:
        self._actions = actions
        self._seed = seed
        self._rngs: dict[str, np.random.Generator] = {}

    def act(
        self,
        indices: npt.NDArray[np.int64],
        observations: npt.NDArray[np.float32],
        starts: npt.NDArray[np.bool_],
        names: Sequence[str],
    ) -> npt.NDArray[np.int64]:
        for name, is_start in zip(names, starts.tolist(), strict=True):
            if is_start:
                seed = [self._seed, *stable_hash(name)]
                self._rngs[name] = np.random.default_rng(seed)
        return np.array([self._rngs[name].integers(self._actions) for name in names])


class Validation:
    """One episode on each of some programs, which does not change the run.

    Args:
        envs: over ``programs``.
        programs: of different names. What LLVM cannot start on is left out.
        actions: size of the action space.
        seed: of the random policy.
    """

    def __init__(
        self, envs: PhaseOrderingVectorEnv, programs: InTurn, actions: int, seed: int
    ) -> None:
        self._envs = envs
        self._programs = programs
        self._actions = actions
        self._seed = seed
        self._greedy: GreedyPolicy | None = None

    def of_random(self, is_stopping: Callable[[], bool] = lambda: False) -> Score | None:
        """Of the policy that draws passes uniformly; None if it was stopped."""
        return self._play(UniformPolicy(self._actions, self._seed), is_stopping)

    def of_greedy(
        self, learner: Learner, is_stopping: Callable[[], bool] = lambda: False
    ) -> Score | None:
        """Of the learner's policy; None if it was stopped."""
        if self._greedy is None or self._greedy.learner is not learner:
            self._greedy = GreedyPolicy(learner, self._envs.num_envs)
        return self._play(self._greedy, is_stopping)

    def _play(
        self, policy: GreedyPolicy | UniformPolicy, is_stopping: Callable[[], bool]
    ) -> Score | None:
        envs, count = self._envs, len(self._programs.programs)
        self._programs.begin_anew()
        waiting = min(count, envs.num_envs)
        to_start = count - waiting
        envs.send(np.zeros(waiting, np.int64), list(range(waiting)))
        playing: dict[int, _Trajectory] = {}
        played: dict[str, _Trajectory] = {}
        while waiting:
            if is_stopping():
                return None
            indices, (observations, _, terminated, truncated, infos) = envs.recv(
                max(waiting // 2, 1)
            )
            waiting -= len(indices)
            starts = np.array([index not in playing for index in indices])
            ended = (terminated | truncated) & ~starts
            for row, index in enumerate(indices.tolist()):
                if starts[row]:
                    name, baseline = str(infos["program"][index]), int(infos["baseline"][index])
                    playing[index] = _Trajectory(name, baseline)
                playing[index].costs.append(int(infos["cost"][index]))
                if ended[row]:
                    # Where one could not be started, the first one comes again: it counts once.
                    played.setdefault(playing[index].name, playing[index])
            going = np.flatnonzero(~ended)
            names = [playing[index].name for index in indices[going].tolist()]
            actions = np.zeros(len(indices), np.int64)
            if len(going):
                actions[going] = policy.act(
                    indices[going], observations[going], starts[going], names
                )
            for index in indices[ended].tolist():
                del playing[index]
            fresh = np.flatnonzero(ended)[:to_start]
            to_start -= len(fresh)
            sent = np.sort(np.concatenate([going, fresh]))
            if len(sent):
                envs.send(actions[sent], indices[sent].tolist())
                waiting += len(sent)
        trajectories = [played[name] for name in sorted(played)]
        return score(
            [min(t.costs) for t in trajectories],
            [t.costs[-1] for t in trajectories],
            [t.baseline for t in trajectories],
        )


@dataclass
class _Trajectory:
    name: str
    baseline: int
    costs: list[int] = field(default_factory=list)


def score(best: Sequence[int], final: Sequence[int], baseline: Sequence[int]) -> Score:
    """The score of some costs; all costs count as at least 1."""
    b, f, z = (np.maximum(np.array(costs, np.float64), 1) for costs in (best, final, baseline))
    return Score(
        len(b),
        geometric_mean((z / b).tolist()),
        geometric_mean((z / np.minimum(b, z)).tolist()),
        geometric_mean((z / f).tolist()),
        float((b <= z).mean()),
    )

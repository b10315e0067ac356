"""Validation: what the greedy policy makes of a fixed set of programs, in one trial each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from codezero.compiler.program import Program
from codezero.corpus.corpus import Corpus
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


def choose(corpus: Corpus, count: int) -> list[int]:
    """The same programs of a corpus each time, as many as there are up to a number."""
    packages = corpus.table.column("package").to_pylist()
    paths = corpus.table.column("path").to_pylist()
    names = [f"{package}/{path}" for package, path in zip(packages, paths, strict=True)]
    return sorted(range(len(names)), key=lambda k: stable_hash(names[k]))[:count]


class InTurn:
    """Programs one after the other, without end."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._programs = programs

    def __iter__(self) -> Iterator[Program]:
        while True:
            yield from self._programs


class UniformActor:
    """Takes any action, each as likely as the others."""

    def __init__(self, actions: int, seed: int) -> None:
        self._actions = actions
        self._rng = np.random.default_rng(seed)

    def act(
        self,
        indices: npt.NDArray[np.int64],
        observations: npt.NDArray[np.float32],
        is_first: npt.NDArray[np.bool_],
        *,
        greedy: bool = False,
    ) -> npt.NDArray[np.int64]:
        return self._rng.integers(self._actions, size=len(indices))


class Validation:
    """One episode on each of some programs.

    Args:
        envs: over `InTurn` of the programs.
        count: how many there are.
        actions: size of the action space.
        seed: random numbers are the same each time, and validating does not change the run.
    """

    def __init__(self, envs: PhaseOrderingVectorEnv, count: int, actions: int, seed: int) -> None:
        self._envs = envs
        self._count = count
        self._actions = actions
        self._seed = seed

    def of_random(self) -> Score:
        """Of the policy that draws passes uniformly."""
        return self._play(UniformActor(self._actions, self._seed))

    def of_greedy(self, learner: Learner) -> Score:
        """Of the learner's policy, taking the likeliest action each time."""
        generator = torch.Generator(learner.device).manual_seed(self._seed)
        envs = self._envs.num_envs
        return self._play(Actor(learner.world, learner.behaviour, envs, generator))

    def _play(self, actor: Actor | UniformActor) -> Score:
        """Play them. Programs that LLVM cannot start on are left out."""
        envs = self._envs
        waiting = min(self._count, envs.num_envs)
        to_start = self._count - waiting
        envs.send(np.zeros(waiting, np.int64), list(range(waiting)))
        costs: dict[int, list[int]] = {}
        baselines: dict[int, int] = {}
        best, final, baseline = [], [], []
        while waiting:
            indices, (observations, _, terminated, truncated, infos) = envs.recv(
                max(waiting // 2, 1)
            )
            waiting -= len(indices)
            starts = np.array([index not in costs for index in indices])
            ended = (terminated | truncated) & ~starts
            for row, index in enumerate(indices.tolist()):
                if starts[row]:
                    costs[index], baselines[index] = [], int(infos["baseline"][index])
                costs[index].append(int(infos["cost"][index]))
                if ended[row]:
                    trajectory = costs.pop(index)
                    best.append(min(trajectory))
                    final.append(trajectory[-1])
                    baseline.append(baselines.pop(index))
            going = np.flatnonzero(~ended)
            actions = np.zeros(len(indices), np.int64)
            if len(going):
                actions[going] = actor.act(
                    indices[going], observations[going], starts[going], greedy=True
                )
            fresh = np.flatnonzero(ended)[:to_start]
            to_start -= len(fresh)
            sent = np.sort(np.concatenate([going, fresh]))
            if len(sent):
                envs.send(actions[sent], indices[sent].tolist())
                waiting += len(sent)
        return score(best, final, baseline)


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

"""A training run on a toy problem of known best return."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from codezero.dreamer.config import (
    BehaviourSettings,
    DreamerConfig,
    ModelSizes,
    OptimizerSettings,
    ReplaySettings,
)
from codezero.dreamer.learner import Learner
from codezero.dreamer.policy import Actor
from codezero.training.config import RolloutSettings, TaskSettings, TrainConfig
from codezero.training.rollouts import RolloutWorker
from codezero.training.trainer import Trainer


class KeyEnvs:
    """Environments in which a key has to be taken first, which costs, to earn more at the end.

    Five steps of three actions. Action 1 in the first step takes the key and loses 0.1; action 2 in
    the last step earns 2 with the key; action 0 earns 0.1, except in the last step. The best return
    is 2.2; what earns most at once comes to 0.4.
    """

    STEPS = 5
    BEST = -0.1 + 3 * 0.1 + 2.0

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.np_random = np.random.default_rng()
        self._states: list[tuple[int, bool] | None] = [None] * num_envs
        self._answers: dict[int, tuple[float, bool]] = {}

    def send(self, actions: npt.NDArray[np.int64], indices: Sequence[int]) -> None:
        for action, index in zip(actions.tolist(), indices, strict=True):
            state = self._states[index]
            if state is None:
                self._states[index] = (0, False)
                self._answers[index] = (0.0, False)
                continue
            step, key = state
            reward = 0.1 if action == 0 and step < self.STEPS - 1 else 0.0
            if step == 0 and action == 1:
                key, reward = True, -0.1
            if step == self.STEPS - 1:
                reward = 2.0 * (key and action == 2)
            self._states[index] = (step + 1, key)
            self._answers[index] = (reward, step + 1 == self.STEPS)

    def recv(self, at_least: int = 1) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]:
        indices = np.array(list(self._answers), np.int64)
        observations = np.zeros((len(indices), self.STEPS + 2), np.float32)
        rewards, ended = zip(*self._answers.values(), strict=True)
        for row, index in enumerate(indices.tolist()):
            state = self._states[index]
            assert state is not None
            observations[row, state[0]] = observations[row, -1] = 1.0
            observations[row, -1] = state[1]
        for index in indices[np.array(ended)].tolist():
            self._states[index] = None
        self._answers.clear()
        count = self.num_envs
        infos = {
            "baseline": np.full(count, 10),
            "cost": np.full(count, 10),
            "end": np.full(count, "steps"),
        }
        truncated = np.array(ended)
        return indices, (
            observations,
            np.array(rewards),
            np.zeros_like(truncated),
            truncated,
            infos,
        )


TOY = TrainConfig(
    task=TaskSettings(limit_is_end=True),
    dreamer=DreamerConfig(
        sizes=ModelSizes(
            recurrent=32,
            latents=4,
            classes=8,
            hidden=32,
            layers=1,
            units=32,
            bins=41,
            bin_limit=2.0,
        ),
        behaviour=BehaviourSettings(horizon=5, entropy=0.1, return_floor=0.3, slow_critic_every=20),
        optimizer=OptimizerSettings(world_rate=2e-3, behaviour_rate=3e-3),
        replay=ReplaySettings(capacity=20_000, batch=16, length=12, smoothing=0.0),
    ),
    rollouts=RolloutSettings(
        random_steps=2_500,
        random_share=0.2,
        first_updates=100,
        steps_per_update=10.0,
        in_order=True,
    ),
    steps=7_000,
    log_every=500,
    checkpoint_every=1_000,
)


def trainer(
    folder: Path, config: TrainConfig = TOY, learner: Learner | None = None, **options: Any
) -> Trainer:
    folder.mkdir(exist_ok=True)
    envs = KeyEnvs(8)
    envs.np_random = np.random.default_rng(config.seed)
    learner = learner or Learner({"autophase": slice(0, KeyEnvs.STEPS + 2)}, 3, config.dreamer)
    rollouts = RolloutWorker(
        envs,
        Actor(learner.world, learner.behaviour, envs.num_envs),
        limit_is_end=config.task.limit_is_end,
        in_order=config.rollouts.in_order,
    )
    return Trainer(config, learner, rollouts, folder, **options)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)

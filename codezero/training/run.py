"""A training run on a corpus: its environments and its trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codezero.corpus.corpus import Corpus
from codezero.dreamer.learner import Learner
from codezero.dreamer.policy import Actor
from codezero.dreamer.replicas import ReplicatedLearner
from codezero.env.episode import EpisodeSettings
from codezero.parallel import available_cores
from codezero.training.config import TrainConfig
from codezero.training.environments import ENVS_PER_CORE, make_envs
from codezero.training.folder import read_run
from codezero.training.rollouts import Rollouts, RolloutWorker
from codezero.training.trainer import Trainer, Values
from codezero.training.validation import InTurn, Validation


@dataclass(frozen=True)
class Cluster:
    """Where rollouts run if not here."""

    address: str
    """Of a Ray cluster, as `ray.init` takes it."""
    workers: int = 0
    """0 is as many as it has cores for."""


@contextmanager
def open_trainer(
    folder: Path,
    *,
    resume: bool,
    devices: Sequence[str],
    cluster: Cluster | None = None,
    on_log: Callable[[int, Values], None] = lambda step, values: None,
) -> Iterator[Trainer]:
    """The trainer of a run, and its environments, which end with the context.

    Args:
        devices: of the networks; of several, each learns from a share of every batch.

    Raises:
        CodeZeroError: see `read_run`, `Corpus`, `Trainer` and `codezero.training.cluster`.
    """
    config, corpus = read_run(folder)
    held_back = Corpus(corpus, "validation")
    settings = config.task.episode_settings()
    num_envs = config.rollouts.envs or ENVS_PER_CORE * available_cores()
    chosen = [held_back[k] for k in held_back.sample(config.validation_programs)]
    with ExitStack() as stack:
        learner = stack.enter_context(_learner(config, settings, devices))
        validation = None
        if chosen:
            count = min(num_envs, len(chosen))
            programs = InTurn(chosen)
            envs = make_envs(programs, settings, config.task.step_seconds, count)
            stack.callback(envs.close)
            validation = Validation(envs, programs, settings.num_actions, config.seed)
        if cluster is None:
            rollouts = stack.enter_context(_rollouts(config, corpus, settings, num_envs, learner))
        else:
            from codezero.training.cluster import ray_rollouts

            rollouts = stack.enter_context(
                ray_rollouts(
                    cluster.address, corpus, settings, config, learner, workers=cluster.workers
                )
            )
        yield Trainer(
            config,
            learner,
            rollouts,
            folder,
            validation=validation,
            # One that was ended before its first checkpoint begins again.
            resume=resume and (folder / "last.pt").exists(),
            on_log=on_log,
        )


@contextmanager
def _learner(
    config: TrainConfig, settings: EpisodeSettings, devices: Sequence[str]
) -> Iterator[Learner]:
    """On one device, or in a process for each."""
    layout, actions = settings.layout, settings.num_actions
    if len(devices) == 1:
        yield Learner(layout, actions, config.dreamer, devices[0], config.seed)
        return
    with ReplicatedLearner(layout, actions, config.dreamer, devices, config.seed) as learner:
        yield learner


@contextmanager
def _rollouts(
    config: TrainConfig, corpus: Path, settings: EpisodeSettings, num_envs: int, learner: Learner
) -> Iterator[Rollouts]:
    """In processes of this machine."""
    envs = make_envs(Corpus(corpus, "train"), settings, config.task.step_seconds, num_envs)
    try:
        envs.np_random = np.random.default_rng(config.seed)
        yield RolloutWorker(
            envs,
            Actor(learner.world, learner.behaviour, num_envs),
            limit_is_end=config.task.limit_is_end,
            in_order=config.rollouts.in_order,
            lists=config.rollouts.read_lists(settings),
            list_share=config.rollouts.list_share,
            restart=settings.restart_action,
            restart_share=config.rollouts.restart_share,
        )
    finally:
        envs.close()

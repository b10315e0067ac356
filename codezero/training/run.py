"""A training run on a corpus: its environments, its trainer, and its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from codezero.compiler.program import Program
from codezero.corpus.corpus import Corpus
from codezero.dreamer.config import from_dict, to_dict
from codezero.dreamer.learner import Learner
from codezero.dreamer.policy import Actor
from codezero.env.episode import EpisodeSettings
from codezero.env.vector import PhaseOrderingVectorEnv
from codezero.errors import CodeZeroError
from codezero.parallel import available_cores
from codezero.training import checkpoints
from codezero.training.config import TrainConfig
from codezero.training.rollouts import RolloutWorker
from codezero.training.trainer import Trainer, Values
from codezero.training.validation import InTurn, Validation, choose

ENVS_PER_CORE = 2
"""One computes while another's answer is looked at."""


def new_run(folder: Path, config: TrainConfig, corpus: Path) -> None:
    """Make a run's folder.

    Raises:
        CodeZeroError: there is a run in it already, or the corpus or the settings are no good.
    """
    if (folder / "config.json").exists():
        raise CodeZeroError(f"{folder} is a training run: go on with --resume, or name another")
    config.task.episode_settings()
    if not len(Corpus(corpus, "train")):
        raise CodeZeroError(f"{corpus} has no program of the split 'train'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CodeZeroError(f"{folder}: {error.strerror}") from None
    stored = {**to_dict(config), "corpus": str(corpus.resolve())}
    checkpoints.write_config(folder, stored)


def read_run(folder: Path) -> tuple[TrainConfig, Path]:
    """The settings of a run and its corpus.

    Raises:
        CodeZeroError: the folder is no run, or of settings that this version does not know.
    """
    values = checkpoints.read_config(folder)
    corpus = Path(values.pop("corpus", ""))
    config: TrainConfig = from_dict(TrainConfig(), values)
    return config, corpus


def make_envs(
    programs: Sequence[Program] | InTurn,
    settings: EpisodeSettings,
    step_seconds: float,
    num_envs: int,
) -> PhaseOrderingVectorEnv:
    return PhaseOrderingVectorEnv(
        programs,
        num_envs,
        space=settings.space,
        objective=settings.objective,
        protocol=settings.protocol,
        max_steps=settings.max_steps,
        observe_sizes=settings.observe_sizes,
        step_seconds=step_seconds,
    )


@contextmanager
def open_trainer(
    folder: Path,
    *,
    resume: bool,
    device: str,
    on_log: Callable[[int, Values], None] = lambda step, values: None,
) -> Iterator[Trainer]:
    """The trainer of a run, and its environments, which end with the context.

    Raises:
        CodeZeroError: see `read_run`, `Corpus` and `Trainer`.
    """
    config, corpus = read_run(folder)
    held_back = Corpus(corpus, "validation")
    settings = config.task.episode_settings()
    num_envs = config.rollouts.envs or ENVS_PER_CORE * available_cores()
    learner = Learner(settings.layout, len(settings.space), config.dreamer, device, config.seed)
    chosen = [held_back[k] for k in choose(held_back, config.validation_programs)]
    step_seconds = config.task.step_seconds
    with ExitStack() as stack:
        validation = None
        if chosen:
            count = min(num_envs, len(chosen))
            envs = make_envs(InTurn(chosen), settings, step_seconds, count)
            stack.callback(envs.close)
            validation = Validation(envs, len(chosen), len(settings.space), config.seed)
        envs = make_envs(Corpus(corpus, "train"), settings, step_seconds, num_envs)
        stack.callback(envs.close)
        envs.np_random = np.random.default_rng(config.seed)
        rollouts = RolloutWorker(
            envs,
            Actor(learner.world, learner.behaviour, num_envs),
            limit_is_end=config.task.limit_is_end,
            in_order=config.rollouts.in_order,
        )
        yield Trainer(
            config,
            learner,
            rollouts,
            folder,
            validation=validation,
            resume=resume,
            on_log=on_log,
        )

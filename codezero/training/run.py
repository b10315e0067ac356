"""A training run on a corpus: its environments, its trainer, and its folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codezero.agents.agent import SPACE_FILE
from codezero.compiler.spaces import BUILT_IN_SPACES
from codezero.corpus.corpus import Corpus
from codezero.dreamer.config import from_dict, to_dict
from codezero.dreamer.learner import Learner
from codezero.dreamer.policy import Actor
from codezero.dreamer.replicas import ReplicatedLearner
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.files import replacing
from codezero.parallel import available_cores
from codezero.training import checkpoints
from codezero.training.config import TrainConfig, in_folder
from codezero.training.environments import ENVS_PER_CORE, make_envs
from codezero.training.rollouts import Rollouts, RolloutWorker
from codezero.training.trainer import Trainer, Values
from codezero.training.validation import InTurn, Validation


def new_run(folder: Path, config: TrainConfig, corpus: Path) -> None:
    """Make a run's folder.

    Raises:
        CodeZeroError: there is a run in it already, or the corpus or the settings are no good.
    """
    if (folder / "config.json").exists():
        raise CodeZeroError(f"{folder} is a training run: go on with --resume, or name another")
    settings = config.task.episode_settings()
    lists = config.rollouts.read_lists(settings)
    if not all(lists):
        raise CodeZeroError("a list of --rollouts.lists has no pass")
    if not len(Corpus(corpus, "train")):
        raise CodeZeroError(f"{corpus} has no program of the split 'train'")
    if config.validation_programs and not len(Corpus(corpus, "validation")):
        raise CodeZeroError(
            f"{corpus} has no program of the split 'validation': --validation-programs 0 goes "
            "without"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CodeZeroError(f"{folder}: {error.strerror}") from None
    if config.task.space not in BUILT_IN_SPACES:
        with replacing(folder / SPACE_FILE) as temporary:
            shutil.copyfile(config.task.space, temporary)
        config = replace(config, task=replace(config.task, space=SPACE_FILE))
    names = tuple(f"list-{k}.txt" for k in range(len(lists)))
    for path, name in zip(config.rollouts.lists, names, strict=True):
        with replacing(folder / name) as temporary:
            shutil.copyfile(path, temporary)
    config = replace(config, rollouts=replace(config.rollouts, lists=names))
    passes = [p.name for p in settings.space.passes]
    stored = {**to_dict(config), "corpus": str(corpus.resolve()), "passes": passes}
    checkpoints.write_config(folder, stored)


def extend_run(folder: Path, steps: int) -> None:
    """Have a run go on to another number of steps when it is resumed. Raises as `read_run`."""
    read_run(folder)
    checkpoints.write_config(folder, {**checkpoints.read_config(folder), "steps": steps})


def withdraw_run(folder: Path) -> None:
    """Undo `new_run`, for a run that could not be begun; other files in the folder stay."""
    (folder / "config.json").unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def read_run(folder: Path) -> tuple[TrainConfig, Path]:
    """The settings of a run and its corpus.

    Raises:
        CodeZeroError: the folder is no run, or of settings or passes that this version does not
            know.
    """
    values = checkpoints.read_config(folder)
    corpus = Path(values.pop("corpus", ""))
    passes = values.pop("passes", None)
    config = in_folder(from_dict(TrainConfig(), values), folder)
    if [p.name for p in config.task.episode_settings().space.passes] != passes:
        raise CodeZeroError(
            f"{folder} is of other passes than the space '{config.task.space}' has now"
        )
    return config, corpus


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
            validation = Validation(envs, programs, len(settings.space), config.seed)
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
    layout, actions = settings.layout, len(settings.space)
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
        )
    finally:
        envs.close()

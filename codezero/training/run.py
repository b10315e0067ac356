"""A training run on a corpus: its environments, its trainer, and its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from codezero.corpus.corpus import Corpus
from codezero.dreamer.config import from_dict, to_dict
from codezero.env.vector import PhaseOrderingVectorEnv
from codezero.errors import CodeZeroError
from codezero.parallel import available_cores
from codezero.training import checkpoints
from codezero.training.config import TaskSettings, TrainConfig
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
    programs: Corpus | InTurn, task: TaskSettings, num_envs: int
) -> PhaseOrderingVectorEnv:
    return PhaseOrderingVectorEnv(
        programs,
        num_envs,
        space=task.episode_settings().space,
        objective=task.objective,
        protocol=task.protocol,
        max_steps=task.max_steps,
        observe_sizes=task.observe_sizes,
        step_seconds=task.step_seconds,
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
    config, path = read_run(folder)
    train, held_back = Corpus(path, "train"), Corpus(path, "validation")
    settings = config.task.episode_settings()
    num_envs = config.rollouts.envs or ENVS_PER_CORE * available_cores()
    chosen = [held_back[k] for k in choose(held_back, config.validation_programs)]
    envs = make_envs(train, config.task, num_envs)
    actions = len(settings.space)
    validation = held_back_envs = None
    if chosen:
        held_back_envs = make_envs(InTurn(chosen), config.task, min(num_envs, len(chosen)))
        validation = Validation(held_back_envs, len(chosen), actions, config.seed)
    try:
        yield Trainer(
            config,
            envs,
            settings.layout,
            actions,
            folder,
            validation=validation,
            device=device,
            resume=resume,
            on_log=on_log,
        )
    finally:
        envs.close()
        if held_back_envs is not None:
            held_back_envs.close()

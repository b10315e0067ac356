"""The folder of a training run: made, changed and read."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from codezero.agents.trained import SPACE_FILE
from codezero.compiler.spaces import BUILT_IN_SPACES
from codezero.corpus.corpus import Corpus
from codezero.dreamer.config import from_dict, to_dict
from codezero.errors import CodeZeroError
from codezero.files import replacing
from codezero.training import checkpoints
from codezero.training.config import START_FILE, TrainConfig, in_folder
from codezero.training.networks import (
    Checkpoint,
    Networks,
    checkpoint_of_agent,
    read_networks,
)


def new_run(folder: Path, config: TrainConfig, corpus: Path) -> None:
    """Make a run's folder.

    Raises:
        CodeZeroError: there is a run in it already, or the corpus, the settings or the networks to
            start from are no good.
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
    start = Path(config.start_from)
    of_agent = None
    if config.start_from and start.is_dir():
        of_agent = checkpoint_of_agent(start, config)
    elif config.start_from:
        read_networks(start, config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CodeZeroError(f"{folder}: {error.strerror}") from None
    if config.start_from:
        if of_agent is not None:
            checkpoints.save(folder / START_FILE, of_agent)
        else:
            _copy(start, folder / START_FILE)
        config = replace(config, start_from=START_FILE)
    if config.task.space not in BUILT_IN_SPACES:
        _copy(Path(config.task.space), folder / SPACE_FILE)
        config = replace(config, task=replace(config.task, space=SPACE_FILE))
    names = tuple(f"list-{k}.txt" for k in range(len(lists)))
    for path, name in zip(config.rollouts.lists, names, strict=True):
        _copy(Path(path), folder / name)
    config = replace(config, rollouts=replace(config.rollouts, lists=names))
    passes = [p.name for p in settings.space.passes]
    stored = {**to_dict(config), "corpus": str(corpus.resolve()), "passes": passes}
    checkpoints.write_config(folder, stored)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


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


def load_networks(run: Path, checkpoint: Checkpoint) -> Networks:
    """Read the networks of a run, onto the CPU.

    Raises:
        CodeZeroError: the folder is no run, or has no such checkpoint, or one that cannot be used.
    """
    config, _ = read_run(run)
    return read_networks(run / f"{checkpoint}.pt", config)

"""The networks of a checkpoint, for whatever comes after training, and to train on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from codezero.dreamer.behaviour import Behaviour
from codezero.dreamer.world_model import WorldModel
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.training import checkpoints
from codezero.training.config import TrainConfig

Checkpoint = Literal["best", "last"]
"""The networks that were best on validation, or the last ones."""


@dataclass(frozen=True)
class Networks:
    """A world model and the behaviour that was learnt in it."""

    config: TrainConfig
    settings: EpisodeSettings
    """The decision process that they were trained for."""
    world: WorldModel
    behaviour: Behaviour
    steps: int
    """Environment steps that they had seen."""
    score: dict[str, Any] | None
    """On validation, as `codezero.training.validation.Score` has it; None for the last ones."""


def read_networks(path: Path, config: TrainConfig) -> Networks:
    """Read the networks of a checkpoint, onto the CPU.

    Args:
        config: the settings that they are of.

    Raises:
        CodeZeroError: the file is no checkpoint, or of other sizes.
    """
    state = checkpoints.load(path)
    settings = config.task.episode_settings()
    world = WorldModel(settings.layout, settings.num_actions, config.dreamer)
    behaviour = Behaviour(settings.num_actions, config.dreamer)
    weights = state.get("learner", state)  # the last one has more of the learner than its networks
    try:
        checkpoints.load_into(world, weights["world"], path)
        checkpoints.load_into(behaviour, weights["behaviour"], path)
        steps = state["steps"]
    except KeyError as error:
        raise CodeZeroError(f"{path}: not a checkpoint of this version: no {error}") from None
    world.eval()
    behaviour.eval()
    return Networks(config, settings, world, behaviour, steps, state.get("score"))

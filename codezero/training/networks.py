"""The networks of a checkpoint, for whatever comes after training, and to train on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from codezero.agents.trained import read_description
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
    """On validation, as `codezero.training.validation.Score` has it; None where it is not known."""
    untrained: frozenset[str]
    """Names of the world model's weights that have learnt nothing yet."""


def read_networks(path: Path, config: TrainConfig) -> Networks:
    """Read the networks of a checkpoint, onto the CPU.

    Args:
        config: the settings that they are of.

    Raises:
        CodeZeroError: the file is no checkpoint, or of other sizes.
    """
    state = checkpoints.load(path)
    settings, world, behaviour = _new_networks(config)
    weights = state.get("learner", state)  # the last one has more of the learner than its networks
    try:
        checkpoints.load_into(world, weights["world"], path)
        checkpoints.load_into(behaviour, weights["behaviour"], path)
        steps = state["steps"]
    except KeyError as error:
        raise CodeZeroError(f"{path}: not a checkpoint of this version: no {error}") from None
    world.eval()
    behaviour.eval()
    untrained = frozenset(state.get("untrained", ()))
    return Networks(config, settings, world, behaviour, steps, state.get("score"), untrained)


def mean_of(networks: Networks, others: Sequence[Path]) -> Networks:
    """The mean of weights of some networks and of those of other checkpoints, of one origin.

    Checkpoints of one run differ by more than they gain in it, and their mean is better than most
    of them: Izmailov et al. (2018), "Averaging weights leads to wider optima and better
    generalization".

    Raises:
        CodeZeroError: a file is no checkpoint, or of other sizes.
    """
    every = [networks, *(read_networks(path, networks.config) for path in others)]
    for modules in ([n.world for n in every], [n.behaviour for n in every]):
        states = [module.state_dict() for module in modules]
        mean = {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}
        modules[0].load_state_dict(mean)
    return replace(networks, score=None) if others else networks


def checkpoint_of_agent(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """A checkpoint of an agent's networks: new weights where the agent has none.

    The space may have lists of passes that the agent does not know. Each begins as what the agent
    makes of the last whole pipeline in it, or else of its last pass.

    Raises:
        CodeZeroError: it is no agent, or of other passes or sizes, or in eight bits.
    """
    from codezero.agents.weights import read_weights, with_actions

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(config.seed)
        settings, world, behaviour = _new_networks(config)
    description = read_description(folder)
    known_world, known_behaviour = with_actions(
        *read_weights(folder),
        _alike(settings, description["task"], folder),
        settings.layout["histogram"].start,
    )
    untrained = world.state_dict().keys() - known_world.keys()
    for module, known in ((world, known_world), (behaviour, known_behaviour)):
        own = module.state_dict()
        its = {name: known.get(name, weights) for name, weights in own.items()}
        checkpoints.load_into(module, its, folder)
    return {
        "world": world.state_dict(),
        "behaviour": behaviour.state_dict(),
        "steps": description.get("trained", {}).get("steps", 0),
        "untrained": sorted(untrained),
    }


def _alike(settings: EpisodeSettings, task: dict[str, Any], folder: Path) -> list[tuple[int, bool]]:
    """For each action the agent's that is most like it, and whether it is the same."""
    known = {name: action for action, name in enumerate(task["passes"])}
    alike = []
    for each in settings.space.passes:
        nearest = each
        if each.parts and each.name not in known:
            nearest = next((part for part in reversed(each.parts) if part.is_whole), each.parts[-1])
        if nearest.name not in known:
            raise CodeZeroError(
                f"{folder} was trained for other passes than '{settings.space.name}': without "
                f"'{nearest.name}'"
            )
        alike.append((known[nearest.name], nearest is each))
    if len(known) > sum(same for _, same in alike) or task["restart"] != settings.restart:
        raise CodeZeroError(f"{folder} was trained for other passes than '{settings.space.name}'")
    return alike + [(len(known), True)] * settings.restart


def _new_networks(config: TrainConfig) -> tuple[EpisodeSettings, WorldModel, Behaviour]:
    settings = config.task.episode_settings()
    world = WorldModel(settings.layout, settings.num_actions, config.dreamer)
    return settings, world, Behaviour(settings.num_actions, config.dreamer)

"""What an agent was trained for, which is what it can be used for: its ``agent.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from codezero.compiler.objectives import Objective
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import Pass, load_space
from codezero.env.episode import EpisodeSettings
from codezero.env.reward import Reward
from codezero.errors import CodeZeroError
from codezero.files import read_json

FORMAT = 3
"""Of ``agent.json``."""
SPACE_FILE = "space.toml"
"""A pass space that is not built in, in the agent's folder."""
TASK_KEYS = {
    "space",
    "passes",
    "objective",
    "protocol",
    "max_steps",
    "observe",
    "reward",
    "restart",
}


class Trained(NamedTuple):
    """What an agent was trained for."""

    settings: EpisodeSettings
    space_source: str
    """The built-in space's name, or the file."""


def read_trained(folder: Path) -> Trained:
    """What the agent in a folder was trained for.

    Raises:
        CodeZeroError: it is no agent, or its passes are not those that this version knows.
    """
    task = read_description(folder)["task"]
    inside = task["space"] == SPACE_FILE
    space_source = str(folder / SPACE_FILE) if inside else task["space"]
    space = load_space(space_source)
    if [p.name for p in space.passes] != task["passes"]:
        raise CodeZeroError(
            f"{folder} was trained for other passes than the space '{task['space']}' has now"
        )
    settings = EpisodeSettings(
        space=space,
        objective=Objective(task["objective"]),
        protocol=Protocol(task["protocol"]),
        max_steps=task["max_steps"],
        observe=tuple(task["observe"]),
        reward=Reward(task["reward"]),
        restart=task["restart"],
    )
    return Trained(settings, space_source)


def agents_actions(trained: EpisodeSettings, shown: EpisodeSettings) -> list[int]:
    """The agent's action for each that an environment and the agent both have, in the
    environment's order.

    Args:
        trained: what the agent was trained for.
        shown: the environment's.

    Raises:
        CodeZeroError: the environment has passes that the agent does not know.
    """
    theirs = {_does(p): action for action, p in enumerate(trained.space.passes)}
    unknown = [p.name for p in shown.space.passes if _does(p) not in theirs]
    if unknown:
        raise CodeZeroError(f"it was trained without the pass {unknown[0]}")
    actions = [theirs[_does(p)] for p in shown.space.passes]
    if shown.restart_action is not None and trained.restart_action is not None:
        actions.append(trained.restart_action)
    return actions


def _does(each: Pass) -> tuple[tuple[str, tuple[str, ...], bool], ...]:
    """What a pass, or a list of them, does, whatever a space calls it."""
    return tuple((p.pipeline, p.requires, p.verify) for p in each.parts or (each,))


def read_description(folder: Path) -> dict[str, Any]:
    """Raises `CodeZeroError` for a folder that is no agent."""
    path = folder / "agent.json"
    description: dict[str, Any] = read_json(path, f"{folder} is no agent: ")
    parts = {"task": TASK_KEYS, "policy": {"precision"}}
    if description.get("format") != FORMAT or any(
        not isinstance(description.get(part), dict) or not description[part].keys() >= keys
        for part, keys in parts.items()
    ):
        raise CodeZeroError(f"{folder}: not an agent of this version of codezero")
    return description

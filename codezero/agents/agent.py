"""An agent: a folder with a policy that ONNX Runtime runs.

The folder has ``policy.onnx`` and ``agent.json``: what the agent was trained for, which is what it
can be used for. `codezero.agents.export` writes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from codezero.agents.runtime import load_session
from codezero.compiler.objectives import Objective
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import load_space
from codezero.env.episode import EpisodeSettings
from codezero.env.reward import Reward
from codezero.errors import CodeZeroError

FORMAT = 3
"""Of ``agent.json``."""

OUTPUTS = ("policy", "next_h", "next_z", "value")
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

Float = npt.NDArray[np.float32]


class Decision(NamedTuple):
    """What an agent thinks of B programs."""

    policy: Float
    """Log-probabilities of the actions, shape (B, actions)."""
    value: Float
    """The critic's: rewards to come, shape (B,)."""


class PolicyRuntime:
    """A policy in an ONNX file, run by ONNX Runtime on one core.

    Args:
        by_row: decide for one program at a time. A product in eight bits has one scale for all
            that is multiplied at once, and programs decided on together would depend on each other.

    Raises:
        CodeZeroError: it cannot be loaded, or is no policy.
    """

    def __init__(self, path: Path, *, by_row: bool) -> None:
        self._by_row = by_row
        self._session = load_session(path)
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        if shapes.keys() != {"observation", "h", "z", "action", "goes_on"}:
            raise CodeZeroError(f"{path} is no policy: its inputs are {', '.join(shapes)}")
        self._sizes = shapes["h"][1], shapes["z"][1]

    def begin(self, batch: int = 1) -> Memory:
        """What it remembers before it has seen anything of some programs."""
        h, z = self._sizes
        return Memory(
            np.zeros((batch, h), np.float32),
            np.zeros((batch, z), np.float32),
            np.zeros(batch, np.int64),
            np.zeros(batch, np.float32),
        )

    def decide(self, memory: Memory, observations: Float) -> Decision:
        """What it thinks of some programs.

        The memory takes in the observations; `Memory.action` is to be set to what was done before
        the next call.

        Args:
            observations: shape (B, D).
        """
        inputs: dict[str, npt.NDArray[Any]] = {
            "observation": observations,
            "h": memory.h,
            "z": memory.z,
            "action": memory.action,
            "goes_on": memory.goes_on,
        }
        if self._by_row:
            parts = [
                self._session.run(OUTPUTS, {name: x[row : row + 1] for name, x in inputs.items()})
                for row in range(len(observations))
            ]
            policy, memory.h, memory.z, value = map(np.concatenate, zip(*parts, strict=True))
        else:
            policy, memory.h, memory.z, value = self._session.run(OUTPUTS, inputs)
        memory.goes_on = np.ones_like(memory.goes_on)
        return Decision(policy, value)


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


class Agent(PolicyRuntime):
    """A policy that was trained for some decision process.

    Args:
        folder: what `codezero export` wrote.

    Raises:
        CodeZeroError: as `read_trained`; or its policy cannot be loaded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.description = read_description(folder)
        self.settings = read_trained(folder).settings
        by_row = self.description["policy"]["precision"] == "int8"
        super().__init__(folder / "policy.onnx", by_row=by_row)


class Memory:
    """What an agent remembers of some programs, B of them.

    Attributes:
        h, z: the world model's state, shapes (B, ...).
        action: the last action of each, shape (B,); not looked at before the first.
        goes_on: 0 before the first observation, then 1, shape (B,).
    """

    def __init__(self, h: Float, z: Float, action: npt.NDArray[np.int64], goes_on: Float) -> None:
        self.h = h
        self.z = z
        self.action = action
        self.goes_on = goes_on

    def copy(self) -> Memory:
        return Memory(self.h.copy(), self.z.copy(), self.action.copy(), self.goes_on.copy())


def read_description(folder: Path) -> dict[str, Any]:
    """Raises `CodeZeroError` for a folder that is no agent."""
    path = folder / "agent.json"
    try:
        description: dict[str, Any] = json.loads(path.read_text())
    except OSError as error:
        raise CodeZeroError(f"{folder} is no agent: {path}: {error.strerror}") from None
    except ValueError as error:
        raise CodeZeroError(f"{path}: not JSON: {error}") from None
    parts = {"task": TASK_KEYS, "policy": {"precision"}}
    if description.get("format") != FORMAT or any(
        not isinstance(description.get(part), dict) or not description[part].keys() >= keys
        for part, keys in parts.items()
    ):
        raise CodeZeroError(f"{folder}: not an agent of this version of codezero")
    return description

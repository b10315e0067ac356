"""An agent: a folder with a policy that ONNX Runtime runs.

The folder has ``policy.onnx`` and ``agent.json``: what the agent was trained for, which is what it
can be used for. `codezero.agents.export` writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from codezero.agents.runtime import load_session
from codezero.agents.trained import read_description, read_trained
from codezero.errors import CodeZeroError

OUTPUTS = ("policy", "next_h", "next_z", "value")
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

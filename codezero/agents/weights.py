"""From an agent back to networks: what its policy's file has of them. Needs torch and onnx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codezero.agents.precision import NARROW
from codezero.agents.trained import read_description
from codezero.errors import CodeZeroError

Weights = dict[str, Tensor]
"""By their names in a module."""


def read_weights(folder: Path) -> tuple[Weights, Weights]:
    """Weights of a world model and of a behaviour, in float32.

    The policy's file lacks what only learning takes: what predicts latents, observations, rewards
    and ends of episodes. The critic is the slow one.

    Raises:
        CodeZeroError: it is no agent, or its weights are in eight bits.
    """
    import onnx
    from onnx import numpy_helper

    precision = read_description(folder)["policy"]["precision"]
    if precision == "int8":
        raise CodeZeroError(f"{folder}: weights in eight bits are too coarse to learn from")
    path = folder / "policy.onnx"
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's own, of no common class
        raise CodeZeroError(f"{path} cannot be read: {error}") from None
    world: Weights = {}
    behaviour: Weights = {}
    for weight in graph.initializer:
        name = weight.name.removesuffix(NARROW)
        values = torch.from_numpy(numpy_helper.to_array(weight).astype(np.float32))
        for prefix, weights in (("_world.", world), ("_behaviour.", behaviour)):
            if name.startswith(prefix):
                weights[name.removeprefix(prefix)] = values
    for name in [name for name in behaviour if name.startswith("slow_critic.")]:
        behaviour[name.removeprefix("slow_")] = behaviour[name]
    return world, behaviour


def with_actions(
    world: Weights, behaviour: Weights, alike: Sequence[tuple[int, bool]], histogram: int
) -> tuple[Weights, Weights]:
    """The weights for other actions, which begin as known ones that are like them.

    Args:
        alike: for each action the known one, and whether it is the same. What is not begins with no
            part in what is seen.
        histogram: where that of actions begins in an observation.
    """
    known, same = (torch.tensor(part) for part in zip(*alike, strict=True))
    world, behaviour = dict(world), dict(behaviour)
    for weights, name in (
        (world, "rssm.action_in.weight"),
        (behaviour, "actor.outputs.weight"),
        (behaviour, "actor.outputs.bias"),
    ):
        weights[name] = weights[name][known]
    name = "encoder.hidden.0.linear.weight"
    end = histogram + int(known.max()) + 1
    before, own, after = world[name].tensor_split([histogram, end], dim=1)
    world[name] = torch.cat([before, own[:, known] * same, after], dim=1)
    return world, behaviour

"""Completing a world model: what it lacks learns by itself, while the rest stays as it is.

An exported agent has what acting takes of a world model. If what is missing began anew and learnt
with the rest, the gradients of its first errors would undo what the rest knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch

from codezero.dreamer.config import OptimizerSettings
from codezero.dreamer.replay import Rows
from codezero.dreamer.world_model import Sequences, WorldModel


def complete(
    world: WorldModel,
    names: Collection[str],
    batches: Iterable[Rows],
    settings: OptimizerSettings,
) -> dict[str, float]:
    """Minimise equation (4) over some of a world model's weights.

    Args:
        world: on any device; computes in float32.
        names: of the weights that learn.
        batches: an update each.

    Returns:
        The last update's losses, by name; none if there was no batch.
    """
    device = world.rssm.z_in.weight.device
    learning = [weights for name, weights in world.named_parameters() if name in names]
    optimizer = torch.optim.AdamW(
        learning, settings.world_rate, eps=settings.epsilon, weight_decay=settings.weight_decay
    )
    metrics = {}
    for rows in batches:
        loss, _, metrics = world(Sequences(*(torch.from_numpy(x).to(device) for x in rows)))
        gradients = torch.autograd.grad(loss, learning)
        for weights, gradient in zip(learning, gradients, strict=True):
            weights.grad = gradient
        torch.nn.utils.clip_grad_norm_(learning, settings.clip)
        optimizer.step()
    return {name: float(value) for name, value in metrics.items()}

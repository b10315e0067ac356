"""Acting: the policy in environments, each with a state of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from codezero.dreamer.behaviour import Behaviour
from codezero.dreamer.distributions import sample_one_hot
from codezero.dreamer.rssm import State
from codezero.dreamer.world_model import WorldModel


def acting(world: WorldModel, behaviour: Behaviour) -> nn.ModuleDict:
    """The networks that acting takes, which are a third of all."""
    return nn.ModuleDict({"encoder": world.encoder, "rssm": world.rssm, "actor": behaviour.actor})


class Actor:
    """Chooses actions in a number of environments.

    Args:
        num_envs: whose states are kept.
    """

    def __init__(
        self,
        world: WorldModel,
        behaviour: Behaviour,
        num_envs: int,
    ) -> None:
        self._world = world
        self._behaviour = behaviour
        self._device = world.rssm.z_in.weight.device
        self._states = world.rssm.initial(num_envs)
        self._actions = torch.zeros(num_envs, dtype=torch.int64, device=self._device)

    @torch.no_grad()
    def act(
        self,
        indices: npt.NDArray[np.int64] | Sequence[int],
        observations: npt.NDArray[np.float32],
        is_first: npt.NDArray[np.bool_],
        *,
        greedy: bool = False,
        random_share: float = 0.0,
    ) -> npt.NDArray[np.int64]:
        """Actions for k of the environments.

        Args:
            indices: which, shape (k,), each once.
            observations: shape (k, D).
            is_first: whether an episode begins with the observation, shape (k,).
            greedy: take the likeliest latents and the likeliest action, rather than drawing them.
            random_share: share of actions that are drawn uniformly.

        Returns:
            Shape (k,).
        """
        where = torch.as_tensor(np.asarray(indices), device=self._device)
        world, rssm = self._world, self._world.rssm
        embedded = world.encode(torch.from_numpy(observations).to(self._device))
        shape = (len(where), *rssm.latent_shape)
        state = rssm.observe_one(
            State(self._states.h[where], self._states.z[where]),
            embedded,
            self._actions[where],
            torch.from_numpy(is_first).to(self._device),
            # All alike they take the likeliest.
            torch.full(shape, 0.5, device=self._device) if greedy else self._uniform(*shape),
        )
        self._states.h[where], self._states.z[where] = state.h, state.z
        policy = self._behaviour.policy(state.features)
        if greedy:
            actions = policy.argmax(-1)
        else:
            actions = sample_one_hot(policy, self._uniform(*policy.shape)).argmax(-1)
            if random_share:
                count = policy.shape[-1]
                anything = (self._uniform(len(where)) * count).long()
                actions = torch.where(self._uniform(len(where)) < random_share, anything, actions)
        self._actions[where] = actions
        result: npt.NDArray[np.int64] = actions.cpu().numpy()
        return result

    def _uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=self._device)

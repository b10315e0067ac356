"""Acting: the policy in environments, each with a state of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

    It computes for all of them, whichever it is asked for: on a GPU each size of a batch is
    compiled anew, which takes seconds, and a row more costs nothing.

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
        self._observations = np.zeros((num_envs, world.observation), np.float32)

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
        num_envs = len(self._observations)
        asked, begins = np.zeros((2, num_envs), np.bool_)
        asked[indices], begins[indices] = True, is_first
        self._observations[indices] = observations
        acting = self._to_device(asked)
        world, rssm = self._world, self._world.rssm
        state = rssm.observe_one(
            self._states,
            world.encode(self._to_device(self._observations)),
            self._actions,
            self._to_device(begins),
            # All alike they take the likeliest.
            torch.full((num_envs, *rssm.latent_shape), 0.5, device=self._device)
            if greedy
            else self._uniform(num_envs, *rssm.latent_shape),
        )
        policy = self._behaviour.policy(state.features)
        if greedy:
            actions = policy.argmax(-1)
        else:
            actions = sample_one_hot(policy, self._uniform(*policy.shape)).argmax(-1)
            if random_share:
                anything = (self._uniform(num_envs) * policy.shape[-1]).long()
                actions = torch.where(self._uniform(num_envs) < random_share, anything, actions)
        self._states = State(
            *(
                torch.where(acting.unsqueeze(-1), after, before)
                for after, before in zip(state, self._states, strict=True)
            )
        )
        self._actions = torch.where(acting, actions, self._actions)
        result: npt.NDArray[np.int64] = actions.cpu().numpy()[indices]
        return result

    def _to_device(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)

    def _uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, device=self._device)

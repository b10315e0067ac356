"""Acting: the policy in environments, each with a state of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from codezero.dreamer.behaviour import Behaviour
from codezero.dreamer.distributions import sample_one_hot
from codezero.dreamer.fusion import Captured
from codezero.dreamer.world_model import WorldModel


def acting(world: WorldModel, behaviour: Behaviour) -> nn.ModuleDict:
    """The networks that acting takes, which are a third of all."""
    return nn.ModuleDict({"encoder": world.encoder, "rssm": world.rssm, "actor": behaviour.actor})


class Actor:
    """Chooses actions in a number of environments.

    It computes for all of them, whichever it is asked for: on a GPU a decision is a CUDA graph of
    one size, and a row more costs nothing.

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
        self._num_envs = num_envs
        device = self._device = world.rssm.z_in.weight.device
        self._states = world.rssm.initial(num_envs)
        self._actions = torch.zeros(num_envs, dtype=torch.int64, device=device)
        # What a decision depends on lies in the same place each time.
        self._observations = torch.zeros(num_envs, world.observation, device=device)
        self._begins, self._asked = torch.zeros(2, num_envs, dtype=torch.bool, device=device)
        self._random_share = torch.zeros((), device=device)
        self._given = torch.full((num_envs,), -1, device=device)
        self._decide: dict[bool, Callable[[], Tensor]] = {}
        for greedy in (False, True):
            self._decide[greedy] = partial(self._decide_for_all, greedy)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                self._decide[greedy] = Captured(self._decide[greedy], stream)

    @torch.no_grad()
    def act(
        self,
        indices: npt.NDArray[np.int64] | Sequence[int],
        observations: npt.NDArray[np.float32],
        is_first: npt.NDArray[np.bool_],
        *,
        greedy: bool = False,
        random_share: float = 0.0,
        given: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Actions for k of the environments.

        Args:
            indices: which, shape (k,), each once.
            observations: shape (k, D).
            is_first: whether an episode begins with the observation, shape (k,).
            greedy: take the likeliest latents and the likeliest action, rather than drawing them.
            random_share: share of actions that are drawn uniformly; of no meaning where ``greedy``.
            given: actions that are decided on already, and -1 where it is for the actor to choose,
                shape (k,).

        Returns:
            Shape (k,).
        """
        rows = np.zeros((self._num_envs, observations.shape[1]), np.float32)
        begins, asked = np.zeros((2, self._num_envs), np.bool_)
        rows[indices], begins[indices], asked[indices] = observations, is_first, True
        self._observations.copy_(torch.from_numpy(rows))
        self._begins.copy_(torch.from_numpy(begins))
        self._asked.copy_(torch.from_numpy(asked))
        self._random_share.fill_(random_share)
        decided = np.full(self._num_envs, -1)
        decided[indices] = -1 if given is None else given
        self._given.copy_(torch.from_numpy(decided))
        actions: npt.NDArray[np.int64] = self._decide[greedy]().cpu().numpy()
        return actions[indices]

    def _decide_for_all(self, greedy: bool) -> Tensor:
        """Actions of all environments, shape (num_envs,); the states of those asked for go on."""
        rssm, envs = self._world.rssm, self._num_envs
        state = rssm.observe_one(
            self._states,
            self._world.encode(self._observations),
            self._actions,
            self._begins,
            # All alike they take the likeliest.
            torch.full((envs, *rssm.latent_shape), 0.5, device=self._device)
            if greedy
            else self._uniform(envs, *rssm.latent_shape),
        )
        policy = self._behaviour.policy(state.features)
        if greedy:
            actions = policy.argmax(-1)
        else:
            actions = sample_one_hot(policy, self._uniform(*policy.shape)).argmax(-1)
            anything = (self._uniform(envs) * policy.shape[-1]).long()
            actions = torch.where(self._uniform(envs) < self._random_share, anything, actions)
        actions = torch.where(self._given < 0, actions, self._given)
        asked = self._asked.unsqueeze(-1)
        for before, after in zip(self._states, state, strict=True):
            before.copy_(torch.where(asked, after, before))
        self._actions.copy_(torch.where(self._asked, actions, self._actions))
        return self._actions

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, device=self._device)

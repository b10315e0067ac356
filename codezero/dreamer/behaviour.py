"""Behaviour, equations (6) to (9): an actor and a critic that learn from imagined trajectories."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from codezero.dreamer.config import BehaviourSettings, DreamerConfig
from codezero.dreamer.distributions import TwoHot, log_unimix, sample_one_hot
from codezero.dreamer.fusion import fused, wide
from codezero.dreamer.networks import MLP
from codezero.dreamer.rssm import State
from codezero.dreamer.world_model import Metrics, Sequences, WorldModel


@fused
def lambda_return(reward: Tensor, discount: Tensor, value: Tensor, return_lambda: float) -> Tensor:
    """Equation (8), by going backwards from the horizon.

    ``V_t = r_{t+1} + d_{t+1} ((1 - lambda) v_{t+1} + lambda V_{t+1})``, and ``V_H = v_H``.

    Args:
        reward: r_1 to r_H, shape (H, ...).
        discount: gamma times the probability of going on, d_1 to d_H, shape (H, ...).
        value: v_0 to v_H, shape (H + 1, ...).

    Returns:
        V_0 to V_{H-1}, shape (H, ...).
    """
    result = value[-1]
    returns = []
    for t in reversed(range(len(reward))):
        mixed = (1 - return_lambda) * value[t + 1] + return_lambda * result
        result = reward[t] + discount[t] * mixed
        returns.append(result)
    return torch.stack(returns[::-1])


def replayed_return(reward: Tensor, discount: Tensor, is_first: Tensor, value: Tensor) -> Tensor:
    """What came of each replayed state but the last of its sequence, to the end of its episode.

    Where a sequence ends before its episode, the value of its last state stands for the rest.

    Args:
        reward, is_first: as `Sequences` has them, shape (T, B).
        discount: gamma, or 0 where an episode ended for good, shape (T, B).
        value: of the states, shape (T, B).

    Returns:
        Shape (T - 1, B); 0 for the last state of an episode.
    """
    goes_on = ~is_first[1:]
    return lambda_return(goes_on * reward[1:], goes_on * discount[1:], value, 1.0)


class ReturnScale(nn.Module):
    """The range of returns: moving averages of their 5th and 95th percentiles, and no less than 1.

    Advantages are divided by it, so that one entropy weight fits large returns and small.
    """

    low: Tensor
    high: Tensor

    def __init__(self, decay: float, floor: float) -> None:
        super().__init__()
        self._decay = decay
        self._floor = floor
        self.group: dist.ProcessGroup | None = None
        """Of processes with returns of their own, all of which count."""
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def update(self, returns: Tensor) -> Tensor:
        """Take in some returns; the range now, a scalar."""
        returns = wide(returns.detach()).flatten()
        if self.group is not None:
            shares = [torch.empty_like(returns) for _ in range(dist.get_world_size(self.group))]
            dist.all_gather(shares, returns, group=self.group)
            returns = torch.cat(shares)
        ordered = returns.sort().values
        for average, share in ((self.low, 0.05), (self.high, 0.95)):
            average.lerp_(percentile(ordered, share), 1 - self._decay)
        return (self.high - self.low).clamp(min=self._floor)


def percentile(ordered: Tensor, share: float) -> Tensor:
    """As `torch.quantile` with linear interpolation, of sorted numbers; captured by CUDA graphs."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], position - below)


class Trajectories(NamedTuple):
    """Imagined trajectories of H actions."""

    features: Tensor
    """Of the states at 0 to H, shape (H + 1, N, F)."""
    action: Tensor
    """Taken in the states at 0 to H - 1, shape (H, N), int64."""


class Replayed(NamedTuple):
    """What really happened, to imitate where it was better than expected."""

    features: Tensor
    """Of the observed states, shape (T, B, F), without a gradient."""
    sequences: Sequences


class Behaviour(nn.Module):
    """The actor, the critic, and the slow copy of the critic."""

    def __init__(self, actions: int, config: DreamerConfig) -> None:
        super().__init__()
        sizes = config.sizes
        self.settings: BehaviourSettings = config.behaviour
        self.unimix = config.losses.unimix
        features = sizes.recurrent + sizes.latents * sizes.classes
        self.actor = MLP(features, sizes.layers, sizes.units, actions)
        self.critic = MLP(features, sizes.layers, sizes.units, sizes.bins, zero_outputs=True)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.two_hot = TwoHot(sizes.bins, sizes.bin_limit)
        self.scale = ReturnScale(self.settings.return_decay, self.settings.return_floor)

    def policy(self, features: Tensor) -> Tensor:
        """Log-probabilities of actions, shape (..., actions)."""
        return log_unimix(self.actor(features), self.unimix)

    def value(self, features: Tensor) -> Tensor:
        """The slow critic's value, shape (...)."""
        return self.two_hot.decode(self.slow_critic(features))

    def update_slow_critic(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_(
                list(self.slow_critic.parameters()), list(self.critic.parameters())
            )

    @torch.no_grad()
    def imagine(self, world: WorldModel, start: State) -> Trajectories:
        """Trajectories of the actor's in the world model.

        No gradient passes through them: REINFORCE needs none, and actions are discrete.

        Args:
            start: N states.
        """
        rssm, horizon = world.rssm, self.settings.horizon
        batch, device = len(start.h), start.h.device
        weights = rssm.weights.to(start.h.dtype)
        state = start
        # Written to in place: they are the largest tensor of all.
        features = start.h.new_empty(horizon + 1, batch, start.h.shape[-1] + start.z.shape[-1])
        torch.cat(state, -1, out=features[0])
        taken = []
        for t in range(horizon):
            policy = self.policy(features[t])
            choice = sample_one_hot(policy, torch.rand_like(policy)).argmax(-1)
            uniform = torch.rand(batch, *rssm.latent_shape, device=device)
            state = rssm.imagine_one(weights, state, choice, uniform)
            torch.cat(state, -1, out=features[t + 1])
            taken.append(choice)
        return Trajectories(features, torch.stack(taken))

    def forward(
        self,
        world: WorldModel,
        trajectories: Trajectories,
        goes_on: Tensor,
        replayed: Replayed | None = None,
    ) -> tuple[Tensor, Metrics]:
        """Equations (7) and (9) on trajectories that `imagine` made; and imitation, if asked for.

        Args:
            goes_on: 1, or 0 where they start from a state in which an episode ended, shape (N,).
            replayed: what to imitate.

        Returns:
            The actor's loss plus the critic's, a scalar; and scalars.
        """
        settings = self.settings
        features = trajectories.features
        with torch.no_grad():
            reward = world.predict_reward(features[1:])
            discount = settings.discount * world.predict_goes_on(features[1:])
            value = self.value(features)
            returns = lambda_return(reward, discount, value, settings.return_lambda)
            scale = self.scale.update(returns)
            # How likely each state is to be reached, ends of episodes considered.
            reached = torch.cat([goes_on.unsqueeze(0), discount[:-1]]).cumprod(0)
            advantage = (returns - value[:-1]) / scale
        policy = self.policy(features[:-1])
        chosen = policy.gather(-1, trajectories.action.unsqueeze(-1)).squeeze(-1)
        entropy = -(policy.exp() * policy).sum(-1)
        bonus = settings.entropy * entropy.clamp(max=settings.entropy_limit)
        actor_loss = -(reached * (chosen * advantage + bonus)).mean()
        critic_loss = (reached * self.two_hot.loss(self.critic(features[:-1]), returns)).mean()
        metrics = {
            "behaviour/actor_loss": actor_loss.detach(),
            "behaviour/critic_loss": critic_loss.detach(),
            "behaviour/entropy": entropy.detach().mean(),
            "behaviour/return": returns.mean(),
            "behaviour/value": value.mean(),
            "behaviour/reward": reward.mean(),
            "behaviour/return_scale": scale,
        }
        loss = actor_loss + critic_loss
        if settings.imitation and replayed is not None:
            imitation_loss = self._imitation_loss(replayed, scale)
            metrics["behaviour/imitation_loss"] = imitation_loss.detach()
            loss = loss + settings.imitation * imitation_loss
        return loss, metrics

    def _imitation_loss(self, replayed: Replayed, scale: Tensor) -> Tensor:
        """-log pi(a | s) max(R - v(s), 0) of the replayed actions: Oh et al. (2018), equation (2).

        Args:
            scale: of returns, a scalar.
        """
        features, sequences = replayed
        with torch.no_grad():
            value = self.value(features)
            returns = replayed_return(
                sequences.reward,
                self.settings.discount * sequences.goes_on,
                sequences.is_first,
                value,
            )
            # The last state of an episode has no action: the next row's belongs to another.
            acted = ~sequences.is_first[1:]
            advantage = acted * ((returns - value[:-1]) / scale).clamp(min=0.0)
        policy = self.policy(features[:-1])
        chosen = policy.gather(-1, sequences.action[1:].unsqueeze(-1)).squeeze(-1)
        return -(chosen * advantage).mean()

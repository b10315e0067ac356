"""The world model, equations (3) and (4): it encodes, remembers, predicts, and learns to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codezero.dreamer.config import DreamerConfig
from codezero.dreamer.distributions import TwoHot, balanced_kl, kl_divergence, symexp, symlog
from codezero.dreamer.fusion import wide
from codezero.dreamer.networks import MLP
from codezero.dreamer.rssm import RSSM, State

Metrics = dict[str, Tensor]
"""Scalars, by name."""


class Sequences(NamedTuple):
    """Observed sequences, shapes (T, B, ...). Row t holds what an action led to."""

    observation: Tensor
    """o_t, shape (T, B, D), float32."""
    action: Tensor
    """a_{t-1}, which led to o_t, int64; of no meaning where an episode begins."""
    reward: Tensor
    """r_t, smoothed, float32; 0 where an episode begins."""
    goes_on: Tensor
    """1, or 0 where the episode ended for good (terminated), float32."""
    is_first: Tensor
    """Where an episode begins, bool."""


class WorldModel(nn.Module):
    """A model of the compiler.

    Args:
        layout: where the parts of a flat observation lie; each has its decoder and a loss scale of
            its name in `WorldLosses`, and a scale in `InputScales`.
        actions: size of the action space.
    """

    _scales: Tensor

    def __init__(self, layout: Mapping[str, slice], actions: int, config: DreamerConfig) -> None:
        super().__init__()
        sizes = config.sizes
        self.layout = dict(layout)
        self.losses = config.losses
        self.observation = max(part.stop for part in layout.values())
        """Numbers in a flat observation."""
        features = sizes.recurrent + sizes.latents * sizes.classes
        mlp = (sizes.layers, sizes.units)
        scales = torch.ones(self.observation)
        for name, part in layout.items():
            scales[part] = getattr(config.scales, name)
        self.register_buffer("_scales", scales, persistent=False)
        self.encoder = MLP(self.observation, *mlp)
        self.rssm = RSSM(actions, sizes.units, sizes, config.losses.unimix)
        self.decoders = nn.ModuleDict(
            {name: MLP(features, *mlp, part.stop - part.start) for name, part in layout.items()}
        )
        self.reward = MLP(features, *mlp, sizes.bins, zero_outputs=True)
        self.goes_on = MLP(features, *mlp, 1)
        self.two_hot = TwoHot(sizes.bins, sizes.bin_limit)

    def encode(self, observation: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(self._scaled(observation))
        return encoded

    def _scaled(self, observation: Tensor) -> Tensor:
        """What networks see and predict of an observation, shape (..., D)."""
        return symlog(observation * self._scales)

    def decode(self, features: Tensor) -> Tensor:
        """The observation that a state predicts, shape (..., D)."""
        parts = sorted(self.layout.items(), key=lambda item: item[1].start)
        scaled = torch.cat([wide(self.decoders[name](features)) for name, _ in parts], -1)
        return symexp(scaled) / self._scales

    def predict_reward(self, features: Tensor) -> Tensor:
        """The smoothed reward on arriving in a state, shape (...)."""
        return self.two_hot.decode(self.reward(features))

    def predict_goes_on(self, features: Tensor) -> Tensor:
        """The probability that the episode does not end for good in a state, shape (...)."""
        return torch.sigmoid(wide(self.goes_on(features).squeeze(-1)))

    def forward(self, sequences: Sequences) -> tuple[Tensor, State, Metrics]:
        """Equation (4): the loss, the posterior states that it was computed on, and its parts.

        Returns:
            A scalar; states of shapes (T, B, ...); scalars.
        """
        states, posterior, prior = self.rssm.observe(
            self.encode(sequences.observation), sequences.action, sequences.is_first
        )
        features = states.features
        target = self._scaled(sequences.observation)
        losses = {}
        for name, part in self.layout.items():
            # A normal distribution of variance 1 on the symlog scale, without its constant.
            error = wide(self.decoders[name](features)) - target[..., part]
            losses[name] = 0.5 * error.square().sum(-1).mean()
        losses["reward"] = self.two_hot.loss(self.reward(features), sequences.reward).mean()
        losses["discount"] = F.binary_cross_entropy_with_logits(
            wide(self.goes_on(features).squeeze(-1)), sequences.goes_on
        )
        losses["kl"] = balanced_kl(posterior, prior, self.losses.kl_balance, self.losses.free_nats)
        total = torch.stack([getattr(self.losses, name) * x for name, x in losses.items()]).sum()
        metrics = {f"world/{name}": loss.detach() for name, loss in losses.items()}
        with torch.no_grad():
            metrics["world/loss"] = total.detach()
            metrics["world/kl_nats"] = kl_divergence(posterior, prior).mean()
            metrics["world/prior_entropy"] = -(prior.exp() * prior).sum((-2, -1)).mean()
        return total, states, metrics

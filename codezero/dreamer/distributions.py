"""Distributions of DreamerV3: two-hot regression on a symlog scale, categoricals with unimix."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codezero.dreamer.fusion import fused, wide


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(|x| + 1)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """The inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


class TwoHot(nn.Module):
    """Regression as classification into bins that are evenly spaced on a symlog scale.

    A number is encoded as weights of the two bins around it whose mean it is, and decoded as the
    mean of all bins under the predicted weights.

    Args:
        bins: an odd number, so that one stands for zero.
        limit: what the outermost bins stand for, on the symlog scale. Numbers beyond are clipped.
    """

    centres: Tensor

    def __init__(self, bins: int, limit: float) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(-limit, limit, bins), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Weights of the bins, shape ``(*x.shape, bins)``."""
        return _two_hot(x, self.centres)

    def decode(self, logits: Tensor) -> Tensor:
        """The number that logits ``(..., bins)`` predict; shape ``(...)``, at least float32."""
        return _mean_of_bins(logits, self.centres)

    def loss(self, logits: Tensor, x: Tensor) -> Tensor:
        """Cross entropy of the prediction with ``x``, of x's shape."""
        return _cross_entropy(logits, x, self.centres)


def _position(x: Tensor, centres: Tensor) -> Tensor:
    """Where numbers lie among the bins: 1.25 is a quarter of the way from bin 1 to bin 2."""
    bins, limit = len(centres), centres[-1]
    return ((symlog(x) + limit) * ((bins - 1) / (2 * limit))).clamp(0, bins - 1)


def _two_hot(x: Tensor, centres: Tensor) -> Tensor:
    position = _position(x, centres)
    # Each bin's weight falls from 1 at its centre to 0 at its neighbours'.
    index = torch.arange(len(centres), device=x.device, dtype=position.dtype)
    return (1 - (position.unsqueeze(-1) - index).abs()).clamp(min=0)


@fused
def _mean_of_bins(logits: Tensor, centres: Tensor) -> Tensor:
    return symexp((wide(logits).softmax(-1) * centres).sum(-1))


@fused
def _cross_entropy(logits: Tensor, x: Tensor, centres: Tensor) -> Tensor:
    log_probabilities = wide(logits).log_softmax(-1)
    if x.is_cuda:  # all in one kernel
        return -(_two_hot(x, centres) * log_probabilities).sum(-1)
    position = _position(x, centres)
    lower = position.floor().clamp(max=len(centres) - 2)
    share = position - lower
    index = lower.nan_to_num().long().unsqueeze(-1)  # the share is NaN then, and so is the loss
    at_lower = log_probabilities.gather(-1, index).squeeze(-1)
    at_upper = log_probabilities.gather(-1, index + 1).squeeze(-1)
    return -torch.lerp(at_lower, at_upper, share)


@fused
def log_unimix(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities of categoricals, mixed with some of the uniform one; at least float32.

    Args:
        logits: shape (..., classes).
        unimix: the uniform distribution's share.
    """
    return _log_unimix(logits, unimix)


def _log_unimix(logits: Tensor, unimix: float) -> Tensor:
    if unimix == 0:
        return wide(logits).log_softmax(-1)
    probabilities = wide(logits).softmax(-1)
    return torch.log((1 - unimix) * probabilities + unimix / logits.shape[-1])


@fused
def sample_one_hot(log_probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Samples of categoricals as one-hot vectors, by the Gumbel-max trick.

    Args:
        uniform: random numbers in [0, 1) of the same shape.
    """
    return _sample(log_probabilities, uniform)


@fused
def sample_unimix(logits: Tensor, unimix: float, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """`log_unimix` of logits, and samples as `sample_one_hot` draws them, in the logits' type."""
    log_probabilities = _log_unimix(logits, unimix)
    return log_probabilities, _sample(log_probabilities, uniform).to(logits.dtype)


def _sample(log_probabilities: Tensor, uniform: Tensor) -> Tensor:
    # -log of the exponential is Gumbel noise.
    exponential = (-uniform.clamp(min=1e-20).log()).clamp(min=1e-20)
    index = (log_probabilities.detach() - exponential.log()).argmax(-1)
    return F.one_hot(index, log_probabilities.shape[-1]).to(log_probabilities.dtype)


@fused
def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL[p || q] of independent categoricals, summed over them.

    Args:
        p, q: log-probabilities, shape (..., latents, classes).

    Returns:
        Shape (...), in nats.
    """
    return (p.exp() * (p - q)).sum((-2, -1))


def balanced_kl(posterior: Tensor, prior: Tensor, balance: float, free_nats: float) -> Tensor:
    """KL[posterior || prior] that trains the prior more than the posterior.

    ``balance`` of the gradient goes to the prior and the rest to the posterior (KL balancing,
    DreamerV2, https://arxiv.org/abs/2010.02193, Algorithm 2). The mean over all states is taken
    first and then not pushed below ``free_nats``.

    Args:
        posterior, prior: log-probabilities, shape (..., latents, classes).

    Returns:
        A scalar, in nats.
    """
    for_prior = kl_divergence(posterior.detach(), prior).mean().clamp(min=free_nats)
    for_posterior = kl_divergence(posterior, prior.detach()).mean().clamp(min=free_nats)
    return balance * for_prior + (1 - balance) * for_posterior

"""Layers that the networks are made of."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codezero.dreamer.fusion import fused, wide

NORM_EPSILON = 1e-3
"""Added to the variance that LayerNorm divides by, as DreamerV3 has it."""


class MLP(nn.Module):
    """Linear layers with LayerNorm and SiLU, and a linear one to end with if ``outputs`` is given.

    Args:
        zero_outputs: begin with the last layer's weights at zero (DreamerV3 does so for reward and
            value, whose first predictions would otherwise mislead the actor).
    """

    def __init__(
        self,
        inputs: int,
        layers: int,
        units: int,
        outputs: int | None = None,
        *,
        zero_outputs: bool = False,
    ) -> None:
        super().__init__()
        sizes = [inputs, *[units] * layers]
        self.hidden = nn.ModuleList(HiddenLayer(*pair) for pair in pairwise(sizes))
        self.outputs = None if outputs is None else nn.Linear(units, outputs)
        self.apply(initialise)
        if self.outputs is not None and zero_outputs:
            nn.init.zeros_(self.outputs.weight)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = layer(x)
        if self.outputs is None:
            return x
        weight: Tensor = self.outputs.weight
        bias: Tensor = self.outputs.bias
        count = self.outputs.out_features
        if x.is_cuda and count % 8:
            # A matrix product is several times slower where rows do not begin at 16 bytes.
            weight, bias = F.pad(weight, (0, 0, 0, -count % 8)), F.pad(bias, (0, -count % 8))
        return F.linear(x, weight, bias)[..., :count]


def initialise(module: nn.Module) -> None:
    """DreamerV3's: a truncated normal of variance 2 / (inputs + outputs), and no bias."""
    if isinstance(module, nn.Linear):
        deviation = (2 / (module.in_features + module.out_features)) ** 0.5 / 0.87962566
        nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class HiddenLayer(nn.Module):
    """A linear layer, LayerNorm and SiLU."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units, bias=False)
        self.norm = nn.LayerNorm(units)

    def forward(self, x: Tensor) -> Tensor:
        return norm_silu(self.linear(x), self.norm.weight, self.norm.bias)


@fused
def norm_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """LayerNorm over the last dimension, then SiLU; in x's own type."""
    return F.silu(_layer_norm(wide(x), weight, bias)).to(x.dtype)


@fused
def norm_silu_sum(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`norm_silu` of a sum, in x's type."""
    return F.silu(_layer_norm(wide(x) + wide(y), weight, bias)).to(x.dtype)


@fused
def norm_silu_beside(h: Tensor, x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`norm_silu_sum` of x and y, with h beside it in one row."""
    return torch.cat([F.silu(_layer_norm(wide(x) + wide(y), weight, bias)).to(x.dtype), h], -1)


@fused
def gru_gates(gates: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The next state of a gated recurrent unit that normalises what reaches its gates.

    The bias of -1 at the update gate makes it begin by remembering.

    Args:
        gates: what input and state send to the gates, shape (..., 3 units).
        h: the state, shape (..., units).
    """
    gates = _layer_norm(wide(gates), weight, bias)
    reset, candidate, update = gates.chunk(3, -1)
    candidate = torch.tanh(torch.sigmoid(reset) * candidate)
    update = torch.sigmoid(update - 1)
    return (update * candidate + (1 - update) * wide(h)).to(h.dtype)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if not x.is_cuda:
        return F.layer_norm(x, x.shape[-1:], weight, bias, NORM_EPSILON)
    # Spelt out, for torch.compile makes better kernels of this than of F.layer_norm.
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * torch.rsqrt(variance + NORM_EPSILON) * weight + bias

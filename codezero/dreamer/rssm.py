"""The recurrent state-space model: the world model's memory and its dynamics."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codezero.dreamer.config import ModelSizes
from codezero.dreamer.distributions import log_unimix, sample_unimix
from codezero.dreamer.fusion import compute_type, fused, wide
from codezero.dreamer.networks import MLP, gru_gates, initialise, norm_silu_beside, norm_silu_sum


class State(NamedTuple):
    """The model's state: deterministic part h and stochastic part z, one-hot."""

    h: Tensor
    """Shape (..., recurrent)."""
    z: Tensor
    """Shape (..., latents * classes)."""

    @property
    def features(self) -> Tensor:
        """What heads, actor and critic see, shape (..., recurrent + latents * classes)."""
        return torch.cat([self.h, self.z], -1)


class StepWeights(NamedTuple):
    """All parameters that one step of the recurrence uses."""

    z_in: Tensor
    in_norm: Tensor
    in_bias: Tensor
    gates: Tensor
    gates_norm: Tensor
    gates_bias: Tensor
    h_posterior: Tensor
    posterior_norm: Tensor
    posterior_bias: Tensor
    out: Tensor
    out_bias: Tensor

    def to(self, dtype: torch.dtype) -> StepWeights:
        """The matrices in another type; what LayerNorm computes with stays float32."""
        return StepWeights(*(w.to(dtype) if w.dim() == 2 else w for w in self))


def next_h(weights: StepWeights, h: Tensor, z: Tensor, action_in: Tensor) -> Tensor:
    """h_t = GRU(h_{t-1}, z_{t-1}, a_{t-1}).

    A GRU with LayerNorm before its gates and a bias towards remembering, as in DreamerV2 and V3.

    Args:
        action_in: what the action adds to the hidden layer, shape (..., hidden).
    """
    xh = norm_silu_beside(h, F.linear(z, weights.z_in), action_in, weights.in_norm, weights.in_bias)
    return gru_gates(F.linear(xh, weights.gates), h, weights.gates_norm, weights.gates_bias)


def posterior_logits(weights: StepWeights, h: Tensor, observed: Tensor) -> Tensor:
    """Logits of q(z_t | h_t, o_t), flat.

    Args:
        observed: what the observation adds to the hidden layer, shape (..., hidden).
    """
    hidden = norm_silu_sum(
        F.linear(h, weights.h_posterior), observed, weights.posterior_norm, weights.posterior_bias
    )
    return F.linear(hidden, weights.out, weights.out_bias.to(hidden.dtype))


class RSSM(nn.Module):
    """h_t = GRU(h_{t-1}, z_{t-1}, a_{t-1});  prior p(z_t | h_t);  posterior q(z_t | h_t, o_t).

    The representation and transition models of equation (3), z being 32 categorical variables of
    32 classes in the paper. Gradients pass through samples straight, as if
    they were the probabilities that they are drawn by.

    Args:
        actions: size of the action space.
        embedding: size of an encoded observation.
    """

    def __init__(self, actions: int, embedding: int, sizes: ModelSizes, unimix: float) -> None:
        super().__init__()
        self.sizes = sizes
        self.unimix = unimix
        flat = sizes.latents * sizes.classes
        self.z_in = nn.Linear(flat, sizes.hidden, bias=False)
        self.action_in = nn.Embedding(actions, sizes.hidden)  # a linear layer of one-hot actions
        self.in_norm = nn.LayerNorm(sizes.hidden)
        self.gates = nn.Linear(sizes.hidden + sizes.recurrent, 3 * sizes.recurrent, bias=False)
        self.gates_norm = nn.LayerNorm(3 * sizes.recurrent)
        self.posterior_h = nn.Linear(sizes.recurrent, sizes.hidden, bias=False)
        self.posterior_o = nn.Linear(embedding, sizes.hidden, bias=False)
        self.posterior_norm = nn.LayerNorm(sizes.hidden)
        self.posterior_out = nn.Linear(sizes.hidden, flat)
        self.prior = MLP(sizes.recurrent, 1, sizes.hidden, flat)
        self.apply(initialise)
        nn.init.normal_(self.action_in.weight, std=(2 / (actions + sizes.hidden)) ** 0.5)

    @property
    def weights(self) -> StepWeights:
        return StepWeights(
            *(self.z_in.weight, self.in_norm.weight, self.in_norm.bias),
            *(self.gates.weight, self.gates_norm.weight, self.gates_norm.bias),
            self.posterior_h.weight,
            *(self.posterior_norm.weight, self.posterior_norm.bias),
            *(self.posterior_out.weight, self.posterior_out.bias),
        )

    def initial(self, batch: int) -> State:
        """The state before anything was seen: zeros."""
        weight = self.z_in.weight
        options: Any = {"device": weight.device, "dtype": compute_type(weight)}
        return State(
            torch.zeros(batch, self.sizes.recurrent, **options),
            torch.zeros(batch, self.sizes.latents * self.sizes.classes, **options),
        )

    def observe(
        self, embedded: Tensor, action: Tensor, is_first: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        """The states along observed sequences.

        Args:
            embedded: encoded observations, shape (T, B, embedding).
            action: that led to each observation, shape (T, B), int64; ignored where ``is_first``.
            is_first: where an episode begins, shape (T, B), bool: the state is reset there.

        Returns:
            States, shapes (T, B, ...), and the log-probabilities of posterior and prior, shapes
            (T, B, latents, classes), float32.
        """
        dtype = compute_type(self.z_in.weight)
        goes_on = (~is_first).unsqueeze(-1).to(dtype)
        h, z, posterior = _Scan.apply(  # type: ignore[no-untyped-call]
            self,
            self.action_in(action).to(dtype) * goes_on,
            self.posterior_o(embedded),
            goes_on,
            torch.rand(*is_first.shape, *self.latent_shape, device=embedded.device),
            *self.initial(is_first.shape[1]),
            *self.weights,
        )
        return State(h, z), posterior, self.prior_of(h)

    def observe_one(
        self, state: State, embedded: Tensor, action: Tensor, is_first: Tensor, uniform: Tensor
    ) -> State:
        """The state after one more observation; shapes as for `observe`, without T.

        Args:
            uniform: random numbers in [0, 1) that z is drawn with, (B, latents, classes).
        """
        goes_on = (~is_first).unsqueeze(-1).to(state.h.dtype)
        weights = self.weights.to(state.h.dtype)
        action_in = self.action_in(action).to(state.h.dtype) * goes_on
        h = next_h(weights, state.h * goes_on, state.z * goes_on, action_in)
        logits = posterior_logits(weights, h, self.posterior_o(embedded))
        return State(h, self.draw(logits, uniform)[1])

    def imagine_one(
        self, weights: StepWeights, state: State, action: Tensor, uniform: Tensor
    ) -> State:
        """A next state, by the prior alone.

        Args:
            weights: `weights`, in the state's type.
            action: shape (B,), int64.
            uniform: random numbers in [0, 1) that z is drawn with, (B, latents, classes).
        """
        h = next_h(weights, state.h, state.z, self.action_in(action).to(state.h.dtype))
        return State(h, self.draw(self.prior(h), uniform)[1])

    def prior_of(self, h: Tensor) -> Tensor:
        """Log-probabilities of p(z | h), shape (..., latents, classes)."""
        return self.log_probabilities(self.prior(h))

    @property
    def latent_shape(self) -> tuple[int, int]:
        return self.sizes.latents, self.sizes.classes

    def draw(self, logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of z, (..., latents, classes), and a sample, flat.

        Args:
            logits: flat.
            uniform: random numbers in [0, 1), shape (..., latents, classes).
        """
        log_probabilities, z = sample_unimix(self._by_latent(logits), self.unimix, uniform)
        return log_probabilities, z.flatten(-2)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Log-probabilities of z by flat logits, shape (..., latents, classes)."""
        return log_unimix(self._by_latent(logits), self.unimix)

    def _by_latent(self, logits: Tensor) -> Tensor:
        return logits.reshape(*logits.shape[:-1], *self.latent_shape)


class _Scan(torch.autograd.Function):
    """The recurrence over observed sequences, with fewer and larger kernels in its gradient.

    Backwards, only the gradient of the states goes step by step. Then one batched step over all T
    gives the gradients of parameters and inputs, instead of T small products for each matrix that
    are added up.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rssm: RSSM,
        action_in: Tensor,
        observed: Tensor,
        goes_on: Tensor,
        uniform: Tensor,
        h: Tensor,
        z: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = h.dtype
        action_in, observed = action_in.detach().to(dtype), observed.detach().to(dtype)
        weights = StepWeights(*(p.detach() for p in parameters)).to(dtype)
        before, after, samples = [], [], []
        with torch.autocast(h.device.type, enabled=False):
            for t in range(len(goes_on)):
                state = State(*(part.requires_grad_() for part in _both(h, z, goes_on[t])))
                with torch.enable_grad():
                    h = next_h(weights, *state, action_in[t])
                    logits = posterior_logits(weights, h, observed[t])
                    posterior, z = rssm.draw(logits, uniform[t])
                before.append(state)
                after.append((h, posterior))
                h, z = h.detach(), z.detach()
                samples.append(z)
        ctx.rssm, ctx.before, ctx.after = rssm, before, after
        ctx.save_for_backward(action_in, observed, goes_on, *parameters)
        hs = torch.stack([h.detach() for h, _ in after])
        return hs, torch.stack(samples), torch.stack([p.detach() for _, p in after])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        of_h, of_z, of_posterior = gradients
        action_in, observed, goes_on, *parameters = ctx.saved_tensors
        h_total, posterior_total = [], []
        through_h, through_z = torch.zeros_like(of_h[0]), torch.zeros_like(of_z[0])
        passes = torch.zeros_like(goes_on[0])  # nothing comes from beyond the end
        with torch.autocast(of_h.device.type, enabled=False):
            for t in reversed(range(len(goes_on))):
                h, posterior = ctx.after[t]
                of_h_t, of_posterior_t = _arriving(
                    posterior.detach(),
                    *(of_h[t], through_h, of_z[t], through_z, passes, of_posterior[t]),
                )
                h_total.append(of_h_t)
                posterior_total.append(of_posterior_t)
                if t:
                    through_h, through_z = torch.autograd.grad(
                        (h, posterior), ctx.before[t], (of_h_t, of_posterior_t)
                    )
                    passes = goes_on[t]
            with torch.enable_grad():
                inputs = [x.detach().requires_grad_() for x in (action_in, observed, *parameters)]
                weights = StepWeights(*inputs[2:]).to(of_h.dtype)
                states = State(
                    torch.stack([h for h, _ in ctx.before]).detach(),
                    torch.stack([z for _, z in ctx.before]).detach(),
                )
                h = next_h(weights, *states, inputs[0])
                posterior = ctx.rssm.log_probabilities(posterior_logits(weights, h, inputs[1]))
            of_action, of_observed, *of_parameters = torch.autograd.grad(
                (h, posterior),
                inputs,
                (torch.stack(h_total[::-1]), torch.stack(posterior_total[::-1])),
            )
        ctx.before = ctx.after = None
        return None, of_action, of_observed, None, None, None, None, *of_parameters


@fused
def _both(h: Tensor, z: Tensor, goes_on: Tensor) -> tuple[Tensor, Tensor]:
    """h and z, or zeros where an episode begins."""
    return h * goes_on, z * goes_on


@fused
def _arriving(
    posterior: Tensor,
    of_h: Tensor,
    through_h: Tensor,
    of_z: Tensor,
    through_z: Tensor,
    passes: Tensor,
    of_posterior: Tensor,
) -> tuple[Tensor, Tensor]:
    """What arrives at h_t and at the posterior's log-probabilities, from all that comes after.

    A sample passes its gradient on to the probabilities that it was drawn by, straight.
    """
    of_sample = wide((of_z + passes * through_z).reshape(posterior.shape))
    return of_h + passes * through_h, of_posterior + of_sample * posterior.exp()

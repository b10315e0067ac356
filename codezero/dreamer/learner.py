"""Learning: one update of the world model, then of the actor and critic in its imagination."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from codezero.dreamer.behaviour import Behaviour, Replayed
from codezero.dreamer.config import DreamerConfig
from codezero.dreamer.fusion import Captured
from codezero.dreamer.replay import Rows
from codezero.dreamer.rssm import State
from codezero.dreamer.world_model import Sequences, WorldModel

EAGER_UPDATES = 3
"""Updates on a GPU before the rest is captured as a CUDA graph."""
EAGER_UPDATES_OF_MANY = 11
"""The same where several processes learn: DistributedDataParallel needs as many
(https://docs.pytorch.org/docs/stable/notes/cuda.html#usage-with-distributeddataparallel)."""


class Learner:
    """The networks, their optimisers, and the update.

    On a GPU the update computes in bfloat16 with float32 weights, and is captured as one CUDA graph
    after a few eager ones. On a CPU it is eager, in float32.

    Args:
        layout, actions: see `WorldModel`.
        seed: of initial weights and all sampling.
        group: of processes that learn in step, each from its own share of every batch, with the
            mean of their gradients; see `codezero.dreamer.replicas`.
    """

    def __init__(
        self,
        layout: Mapping[str, slice],
        actions: int,
        config: DreamerConfig,
        device: torch.device | str = "cpu",
        seed: int = 0,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.device = torch.device(device)
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)  # streams and graphs are the current device's
        self._group = group
        self._stream: torch.cuda.Stream | None = None
        """Of updates on a GPU, captured or not: DistributedDataParallel has to be made in it, too
        (https://docs.pytorch.org/docs/stable/notes/cuda.html#usage-with-distributeddataparallel).
        """
        if self.device.type == "cuda":
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
        self.config = config
        self.world = WorldModel(layout, actions, config).to(self.device)
        self.behaviour = Behaviour(actions, config).to(self.device)
        self._world_loss: nn.Module = self.world
        self._behaviour_loss: nn.Module = self.behaviour
        if group is not None:
            self._world_loss = self._of_all(self.world)
            self._behaviour_loss = self._of_all(self.behaviour)
            self.behaviour.scale.group = group
            # The same weights, but other random numbers.
            torch.manual_seed(seed + dist.get_rank(group))
        settings = config.optimizer
        on_gpu = self.device.type == "cuda"

        def adam(module: nn.Module, rate: float) -> torch.optim.Optimizer:
            return torch.optim.AdamW(
                [p for p in module.parameters() if p.requires_grad],
                lr=rate,
                eps=settings.epsilon,
                weight_decay=settings.weight_decay,
                fused=True,
                capturable=on_gpu,
            )

        self._world_optimizer = adam(self.world, settings.world_rate)
        self._behaviour_optimizer = adam(self.behaviour, settings.behaviour_rate)
        self.updates = 0
        self._inputs: Sequences | None = None
        self._captured: Captured[Tensor] | None = None
        """The update of ``_inputs``, on a GPU."""
        self._metrics: list[str] = []
        """Names of the numbers that describe an update."""
        self._sum: Tensor | float = 0.0
        self._summed = 0

    def _of_all(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are the mean over the group's processes."""
        if self._stream is None:
            return DistributedDataParallel(module, process_group=self._group)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            replicated = DistributedDataParallel(module, process_group=self._group)
        torch.cuda.current_stream().wait_stream(self._stream)
        return replicated

    def update(self, rows: Rows) -> None:
        """Learn from one batch, which `Replay.draw` gives."""
        if self._stream is not None:
            latest = self._update_on_gpu(rows, self._stream)
        else:
            latest = self._update(Sequences(*map(torch.from_numpy, rows)))
        self.updates += 1
        if self.updates % self.config.behaviour.slow_critic_every == 0:
            self.behaviour.update_slow_critic()
        self._sum = latest + self._sum
        self._summed += 1

    def metrics(self) -> dict[str, float]:
        """Means of the losses and what else describes an update, since the last call."""
        if not self._summed:
            return {}
        assert isinstance(self._sum, Tensor)
        means = (self._sum / self._summed).tolist()
        self._sum, self._summed = 0.0, 0
        return dict(zip(self._metrics, means, strict=True))

    def _update(self, sequences: Sequences) -> Tensor:
        """One update; the numbers that describe it."""
        with self._autocast():
            loss, states, world_metrics = self._world_loss(sequences)
        norm = self._step(self._world_optimizer, self.world, loss)
        every = self.config.behaviour.start_every
        start = State(*(part[::every].detach().flatten(0, 1) for part in states))
        # In a context of its own: autocast keeps the weights that it has cast until it is left,
        # and those that are cast here have no gradient.
        with self._autocast():
            trajectories = self.behaviour.imagine(self.world, start)
        with self._autocast():
            goes_on = sequences.goes_on[::every].flatten()
            replayed = Replayed(states.features.detach(), sequences)
            loss, behaviour_metrics = self._behaviour_loss(
                self.world, trajectories, goes_on, replayed
            )
        behaviour_norm = self._step(self._behaviour_optimizer, self.behaviour, loss)
        metrics = {
            **world_metrics,
            "world/gradient_norm": norm,
            **behaviour_metrics,
            "behaviour/gradient_norm": behaviour_norm,
        }
        self._metrics = list(metrics)
        return torch.stack([value.float() for value in metrics.values()])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _step(self, optimizer: torch.optim.Optimizer, module: nn.Module, loss: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(module.parameters(), self.config.optimizer.clip)
        optimizer.step()
        return norm.detach()

    def _update_on_gpu(self, rows: Rows, stream: torch.cuda.Stream) -> Tensor:
        arrays = [torch.from_numpy(column).pin_memory() for column in rows]
        if self._inputs is None:
            self._inputs = Sequences(*(array.to(self.device) for array in arrays))
        for place, array in zip(self._inputs, arrays, strict=True):
            place.copy_(array, non_blocking=True)
        if self._captured is None:
            eager = EAGER_UPDATES if self._group is None else EAGER_UPDATES_OF_MANY
            self._captured = Captured(partial(self._update, self._inputs), stream, eager)
        return self._captured()

    def state_dict(self) -> dict[str, Any]:
        """All that learning goes on from, torch's random numbers included."""
        return {
            "world": self.world.state_dict(),
            "behaviour": self.behaviour.state_dict(),
            "world_optimizer": self._world_optimizer.state_dict(),
            "behaviour_optimizer": self._behaviour_optimizer.state_dict(),
            "updates": self.updates,
            "random": self.random_state(),
        }

    def random_state(self) -> dict[str, Tensor]:
        """Of torch's generators."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return random

    def norms(self) -> tuple[float, float]:
        """Of the world model's weights and of the behaviour's."""
        world, behaviour = (
            float(torch.stack([w.detach().double().square().sum() for w in m.parameters()]).sum())
            for m in (self.world, self.behaviour)
        )
        return world**0.5, behaviour**0.5

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.world.load_state_dict(state["world"])
        self.behaviour.load_state_dict(state["behaviour"])
        for optimizer, name in (
            (self._world_optimizer, "world_optimizer"),
            (self._behaviour_optimizer, "behaviour_optimizer"),
        ):
            # Rates are of the settings, and whether it can be captured is of the device.
            settings = [
                {key: value for key, value in group.items() if key != "params"}
                for group in optimizer.param_groups
            ]
            optimizer.load_state_dict(state[name])
            for group, own in zip(optimizer.param_groups, settings, strict=True):
                group.update(own)
        self.updates = state["updates"]
        torch.set_rng_state(state["random"]["cpu"].cpu())
        if self.device.type == "cuda" and "cuda" in state["random"]:
            torch.cuda.set_rng_state(state["random"]["cuda"].cpu(), self.device)
        self._captured = None

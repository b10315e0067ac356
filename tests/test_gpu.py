"""What only a GPU can show. Skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from codezero.dreamer import learner as learning
from codezero.dreamer.config import PRESETS
from codezero.dreamer.learner import Learner
from codezero.dreamer.networks import initialise
from codezero.dreamer.policy import Actor
from codezero.dreamer.replay import Replay, Rows, Transitions
from codezero.dreamer.rssm import State
from codezero.dreamer.world_model import Sequences

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LAYOUT = {"autophase": slice(0, 56), "histogram": slice(56, 66)}
ACTIONS = 10
DEVICES = ("cpu", "cuda")


def batches(count: int) -> list[Rows]:
    rng = np.random.default_rng(0)
    replay = Replay(66, PRESETS["debug"].replay)
    for _ in range(20):
        rewards, actions = rng.normal(0, 0.05, 45), rng.integers(0, ACTIONS, 45)
        replay.add(Transitions(rng.random((46, 66), np.float32), actions, rewards, False))
    return [replay.draw(rng) for _ in range(count)]


def losses(rows: list[Rows]) -> list[dict[str, float]]:
    """Of a new learner's updates, one after the other."""
    learner = Learner(LAYOUT, ACTIONS, PRESETS["debug"], "cuda", seed=1)
    result = []
    for batch in rows:
        learner.update(batch)
        result.append(learner.metrics())
    return result


def test_a_captured_update_does_what_an_eager_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = batches(learning.EAGER_UPDATES + 6)
    captured = losses(rows)
    monkeypatch.setattr(learning, "EAGER_UPDATES", len(rows))
    eager = losses(rows)
    for one, other in zip(captured, eager, strict=True):
        assert one == pytest.approx(other, rel=2e-2, abs=1e-3)
    assert all(a != b for a, b in pairwise(captured)), "a graph that repeats its first losses"


def test_the_kernels_of_a_gpu_compute_what_a_cpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and gradients in float32, from the same weights and the same random numbers."""
    debug = PRESETS["debug"]
    config = replace(
        debug,
        sizes=replace(debug.sizes, bin_limit=3.0),
        behaviour=replace(debug.behaviour, entropy_limit=10.0),
    )

    def gradients(where: str) -> tuple[list[float], dict[str, torch.Tensor]]:
        # Nothing is drawn: all alike they take the likeliest.
        monkeypatch.setattr(torch, "rand", lambda *s, device: torch.full(s, 0.5, device=device))
        monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))
        learner = Learner(LAYOUT, ACTIONS, config, "cpu", seed=1)
        for head in (learner.world.reward, learner.behaviour.critic, learner.behaviour.slow_critic):
            head.apply(
                initialise
            )  # they begin at zero, and what the actor would learn with rounding
        world, behaviour = learner.world.to(where), learner.behaviour.to(where)
        rows = Sequences(*(torch.from_numpy(column).to(where) for column in batches(1)[0]))
        world_loss, states, _ = world(rows)
        start = State(*(part.detach().flatten(0, 1) for part in states))
        trajectories = behaviour.imagine(world, start)
        behaviour_loss, _ = behaviour(world, trajectories, rows.goes_on.flatten())
        torch.autograd.backward([world_loss, behaviour_loss])
        modules = {"world": world, "behaviour": behaviour}
        return [float(world_loss.detach()), float(behaviour_loss.detach())], {
            f"{name}.{path}": weight.grad.cpu()
            for name, module in modules.items()
            for path, weight in module.named_parameters()
            if weight.grad is not None
        }

    (losses_of_cpu, of_cpu), (losses_of_gpu, of_gpu) = gradients("cpu"), gradients("cuda")
    assert losses_of_gpu == pytest.approx(losses_of_cpu, rel=1e-4)
    assert of_gpu.keys() == of_cpu.keys() and len(of_cpu) > 40
    for name, gradient in of_cpu.items():
        scale = float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(of_gpu[name], gradient, rtol=1e-3, atol=1e-3 * scale, msg=name)


def test_a_captured_decision_is_the_one_of_a_cpu() -> None:
    learners = [Learner(LAYOUT, ACTIONS, PRESETS["debug"], where, seed=1) for where in DEVICES]
    learners[1].load_state_dict(learners[0].state_dict())
    on_cpu, on_gpu = (Actor(each.world, each.behaviour, 4) for each in learners)
    rng = np.random.default_rng(0)
    for t in range(8):
        asked = rng.permutation(4)[: 1 + t % 4]
        seen, first = rng.random((len(asked), 66), np.float32), np.full(len(asked), t == 0)
        actions = on_cpu.act(asked, seen, first, greedy=True)
        assert (on_gpu.act(asked, seen, first, greedy=True) == actions).all()
        for ours, theirs in zip(on_cpu._states, on_gpu._states, strict=True):
            torch.testing.assert_close(theirs.cpu(), ours, rtol=1e-3, atol=1e-4)


def test_captured_decisions_are_drawn_anew_and_by_the_share_of_random_ones() -> None:
    learner = Learner(LAYOUT, ACTIONS, PRESETS["debug"], "cuda", seed=1)
    with torch.no_grad():
        assert learner.behaviour.actor.outputs is not None
        learner.behaviour.actor.outputs.bias[3] = 30.0  # whatever it sees
    actor = Actor(learner.world, learner.behaviour, 64)
    seen, first = np.zeros((64, 66), np.float32), np.ones(64, np.bool_)
    for share, least, most in ((0.0, 0.95, 1.0), (1.0, 0.02, 0.3)):
        drawn = [actor.act(range(64), seen, first, random_share=share) for _ in range(6)]
        assert least <= np.mean(np.stack(drawn) == 3) <= most
    assert any((a != b).any() for a, b in pairwise(drawn)), "the same numbers each time"

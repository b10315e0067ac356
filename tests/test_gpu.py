"""What only a GPU can show. Skipped where there is none."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from codezero.dreamer import learner as learning
from codezero.dreamer.config import PRESETS
from codezero.dreamer.learner import Learner
from codezero.dreamer.replay import Replay, Rows, Transitions

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

LAYOUT = {"autophase": slice(0, 56), "histogram": slice(56, 66)}
ACTIONS = 10


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

"""Guided search: with agents whose mind is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from conftest import NEVER_ENDS

from codezero.agents.agent import Agent, Decision, Memory
from codezero.agents.view import View
from codezero.compiler.program import Program
from codezero.env import PhaseOrderingEnv
from codezero.env.episode import EpisodeSettings
from codezero.search.budget import Budget
from codezero.search.guided import GuidedSearch
from codezero.search.policy import Found

RNG = np.random.default_rng


class Mind:
    """An agent that likes one action best and the others alike.

    Args:
        value: of a state, by its observation.
    """

    def __init__(
        self,
        settings: EpisodeSettings,
        favourite: int = 0,
        value: Callable[[npt.NDArray[np.float32]], float] = lambda observation: 0.0,
    ) -> None:
        self.settings = settings
        self.decided = 0
        self._policy = np.zeros((1, len(settings.space)), np.float32)
        self._policy[0, favourite] = 0.1
        self._value = value

    def begin(self) -> Memory:
        nothing = np.zeros((1, 1), np.float32)
        return Memory(nothing, nothing, np.zeros(1, np.int64), np.zeros(1, np.float32))

    def decide(self, memory: Memory, observations: npt.NDArray[np.float32]) -> Decision:
        self.decided += 1
        return Decision(self._policy, np.array([self._value(observations[0])], np.float32))


def search(env: PhaseOrderingEnv, program: Program, mind: Mind, budget: Budget) -> Found:
    view = View(env.settings, env.settings)
    return GuidedSearch(env, program, cast(Agent, mind), view, RNG(0)).run(budget)


def test_one_trial_is_greedy(sha256: Program, space_file: Callable[..., Path]) -> None:
    env = PhaseOrderingEnv(sha256, space=space_file("dce", "sroa", "instcombine"), max_steps=7)
    found = search(env, sha256, Mind(env.settings, favourite=1), Budget(trials=1))
    assert found.actions == (1,) and found.trials == 1
    assert found.cost < env.costs.initial
    env.close()


def test_more_trials_find_more_and_what_is_found_is_real(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    space = space_file("dce", "sroa", "instcombine", "simplifycfg", "gvn", "adce")
    env = PhaseOrderingEnv(sha256, space=space, max_steps=12)
    costs = []
    for trials in (1, 2, 30):
        found = search(env, sha256, Mind(env.settings), Budget(trials=trials))
        costs.append(found.cost)
        assert found.trials == trials
        env.reset(options={"program": sha256})
        for action in found.actions:
            assert env.step(action)[4]["changed"]
        assert env.cost == found.cost
    assert costs[0] > costs[2] and costs[0] >= costs[1] >= costs[2]
    again = search(env, sha256, Mind(env.settings), Budget(trials=30))
    assert again == found, "the same seed, the same search"
    env.close()


LISTS = """
[[pass]]
name = "sroa"
[[pass]]
name = "dce"
[[pass]]
name = "simplifycfg"
[[pass]]
name = "long"
passes = ["sroa", "simplifycfg", "sroa", "simplifycfg"]
[[pass]]
name = "short"
passes = ["dce", "sroa"]
[[pass]]
name = "left"
passes = ["dce", "dce"]
"""


def test_a_trial_tries_lists_as_long_as_itself(sha256: Program, tmp_path: Path) -> None:
    """In the space's order those that fit; what is left is tried first with a budget."""
    (tmp_path / "space.toml").write_text(LISTS)
    env = PhaseOrderingEnv(sha256, space=tmp_path / "space.toml", max_steps=3)
    mind = Mind(env.settings, favourite=1)
    found = search(env, sha256, mind, Budget(trials=1))
    assert found.actions == (4,) and found.trials == 2 and mind.decided == 3
    more = search(env, sha256, mind, Budget(trials=3))
    assert more.actions == (3,) and more.cost < found.cost and more.trials == 3
    allowed = View(env.settings, env.settings, only={0, 1, 2, 5})
    without = GuidedSearch(env, sha256, cast(Agent, mind), allowed, RNG(0)).begin()
    assert without.trials == 2 and without.actions == (1,)
    env.close()


def test_trajectories_that_promise_nothing_are_given_up(
    sha256: Program, space_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codezero.search.guided.UNIFORM_SHARE", 0.0)
    space = space_file("sroa", "dce", "loop-simplify", "lcssa")
    env = PhaseOrderingEnv(sha256, space=space, max_steps=20)
    hopeful = Mind(env.settings, value=lambda observation: 1.0)
    search(env, sha256, hopeful, Budget(trials=5))
    desperate = Mind(env.settings, value=lambda observation: -1.0)
    search(env, sha256, desperate, Budget(trials=5))
    greedy, walk = 20, 21
    assert desperate.decided <= greedy + walk + 4 < hopeful.decided
    env.close()


def test_what_the_policy_would_not_do_is_found_too(
    sha256: Program, space_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It favours what does nothing; passes drawn uniformly ask it for nothing."""
    env = PhaseOrderingEnv(sha256, space=space_file("no-op-module", "sroa", "gvn"), max_steps=10)
    found = {}
    for share in (0.0, 1.0):
        monkeypatch.setattr("codezero.search.guided.UNIFORM_SHARE", share)
        mind = Mind(env.settings, favourite=0)
        mind._policy[0, 0] = 100.0
        found[share] = search(env, sha256, mind, Budget(trials=8)).cost
        assert share == 0.0 or mind.decided <= 10 + 8 * 11
    assert found[1.0] < found[0.0] == env.costs.initial
    env.close()


def test_it_goes_on_from_where_more_is_foreseen(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    """Half of what the baseline saves is foreseen after the first pass, nothing at the start."""
    space = space_file("sroa", "dce")
    env = PhaseOrderingEnv(sha256, space=space, max_steps=5)
    restored: list[list[int]] = []
    restore = env.restore

    def recording(handle: int) -> npt.NDArray[np.float32]:
        observation = restore(handle)
        restored.append(list(env.actions))
        return observation

    env.restore = recording  # type: ignore[method-assign]
    histogram = env.settings.layout["histogram"]
    mind = Mind(env.settings, value=lambda seen: 0.5 * (seen[histogram].sum() > 0.1))
    search(env, sha256, mind, Budget(trials=6))
    assert len(restored) == 5
    assert all(restored), "never from the start, from where nothing is foreseen"
    env.close()


def test_it_survives_passes_that_kill_llvm(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    space = space_file("sroa", "trigger-crash-module", "instcombine")
    env = PhaseOrderingEnv(sha256, space=space, max_steps=6)
    found = search(env, sha256, Mind(env.settings), Budget(trials=12))
    assert found.trials == 12
    assert {0, 2} == set(found.actions)
    env.close()


@pytest.mark.parametrize("favourite", ["sroa", "never-ends"])
def test_time_is_kept(favourite: str, sha256: Program, space_file: Callable[..., Path]) -> None:
    env = PhaseOrderingEnv(sha256, space=space_file("sroa", NEVER_ENDS, "dce"), step_seconds=1.5)
    env.reset(options={"program": sha256})  # not of the search's time
    mind = Mind(env.settings, favourite=env.settings.space.action(favourite))
    began = time.monotonic()
    found = search(env, sha256, mind, Budget(seconds=1.0))
    assert 1.0 <= time.monotonic() - began < 3.0
    assert found.cost <= env.costs.initial
    env.close()


def test_the_first_trial_is_played_to_its_end(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    """So that a budget, however small, is never worse than none."""
    env = PhaseOrderingEnv(sha256, space=space_file("dce", "sroa", "gvn"), max_steps=4)
    mind = Mind(env.settings, favourite=1)
    in_time = search(env, sha256, mind, Budget(seconds=1e-9))
    assert mind.decided == 4 and in_time == search(env, sha256, mind, Budget(trials=1))
    env.close()

"""The Gymnasium environment: its contract, equation (2), and its limits."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import NEVER_ENDS
from gymnasium.utils.env_checker import check_env

from codezero.compiler.program import Program
from codezero.env import PhaseOrderingEnv
from codezero.env.reward import REACH, Costs, Reward
from codezero.errors import CodeZeroError, ProgramError


@pytest.fixture
def env(sha256: Program) -> Iterator[PhaseOrderingEnv]:
    env = PhaseOrderingEnv(sha256)
    yield env
    env.close()


def action(env: PhaseOrderingEnv, name: str) -> int:
    return env.settings.space.action(name)


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("objective", ["instructions", "text"])
def test_check_env(sha256: Program, isolated: bool, objective: str) -> None:
    env = PhaseOrderingEnv(
        sha256, space="autophase", objective=objective, isolated=isolated, observe=["sizes"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Counts and ratios have no upper bound, of which the checker warns.
        warnings.filterwarnings("ignore", message=".*infinity.*")
        check_env(env, skip_render_check=True)
    env.close()


def test_it_is_registered(sha256: Program) -> None:
    env = gymnasium.make("codezero/PhaseOrdering-v0", programs=sha256, space="autophase")
    observation, info = env.reset(seed=0)
    assert observation.shape == (56 + 42,)
    assert info["initial"] > info["baseline"] > 0
    env.close()


@pytest.mark.parametrize("imports", ["codezero, gymnasium", "gymnasium, codezero"])
def test_registration_needs_the_import_alone(imports: str) -> None:
    program = f"import {imports}; gymnasium.spec('codezero/PhaseOrdering-v0')"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_rewards_follow_equation_2(env: PhaseOrderingEnv) -> None:
    _, info = env.reset(seed=0)
    cost, total = info["initial"], 0.0
    for name in ("sroa", "default<Oz>"):
        _, reward, _, _, step = env.step(action(env, name))
        expected = (cost - step["cost"]) / (info["initial"] - info["baseline"])
        assert reward == pytest.approx(expected)
        cost, total = step["cost"], total + float(reward)
    assert total == pytest.approx((info["initial"] - cost) / (info["initial"] - info["baseline"]))


@pytest.mark.parametrize("baseline", [100, 120])
def test_reward_is_finite_where_the_baseline_gains_nothing(baseline: int) -> None:
    costs = Costs(initial=100, baseline=baseline)
    assert Reward.SAVED.between(costs, 100, 97, best=100) == 3.0


def test_the_reward_of_the_best_counts_what_is_kept(sha256: Program) -> None:
    """Rewards sum to ln(baseline / best prefix), from 1.25 times the baseline on."""
    env = PhaseOrderingEnv(sha256, reward="best", observe=["sizes"])
    _, info = env.reset(seed=0)
    assert info["initial"] > REACH * info["baseline"]
    best, total, rewards = info["initial"], 0.0, {}
    for name in ("sroa", "default<Oz>", "default<O2>", "iroutliner", "loop-unroll"):
        observation, reward, _, _, step = env.step(action(env, name))
        best, total = min(best, step["cost"]), total + float(reward)
        rewards[name] = float(reward)
        assert total == pytest.approx(max(np.log(REACH * info["baseline"] / best), 0))
        assert observation[-2] == pytest.approx(best / info["baseline"])
    assert step["cost"] > best, "it has become larger on the way, which costs nothing"
    assert rewards["sroa"] == 0.0 < total
    env.close()


def test_the_best_so_far_comes_back_with_a_snapshot(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, reward="best", observe=["sizes"])
    env.reset(seed=0)
    handle = env.save()
    first = env.step(action(env, "default<Oz>"))
    env.restore(handle)
    second = env.step(action(env, "default<Oz>"))
    assert first[1] == second[1] > 0
    assert (first[0] == second[0]).all()
    env.close()


def test_a_restart_goes_back_to_the_start_and_counts_on(sha256: Program) -> None:
    env = PhaseOrderingEnv(
        sha256, objective="text", restart=True, reward="best", observe=["sizes", "shape"]
    )
    layout, restart = env.settings.layout, len(env.settings.space)
    assert env.settings.restart_action == env.settings.action("restart") == restart
    assert env.action_space == gymnasium.spaces.Discrete(restart + 1)
    assert env.settings.action_names([0, restart]) == [env.settings.space.passes[0].name, "restart"]
    start = env.reset(seed=0)[0].copy()
    assert not env.step(restart)[4]["changed"], "there is nothing to go back from"
    first, oz = action(env, "sroa"), action(env, "default<Oz>")
    env.step(first)
    assert env.step(oz)[1] > 0
    optimised, best = env.cost, env.best
    assert env.passes == [first, oz] == list(env.best_passes)
    observation, reward, terminated, truncated, info = env.step(restart)
    assert info["changed"] and reward == 0 and not (terminated or truncated)
    assert env.cost == env.costs.initial and env.best == best and env.passes == []
    assert env.best_passes == (first, oz)
    for part in ("autophase", "shape"):
        assert (observation[layout[part]] == start[layout[part]]).all(), part
    histogram = observation[layout["histogram"]]
    assert histogram.sum() == pytest.approx(4 / 45) and histogram[restart] == pytest.approx(2 / 45)
    assert observation[layout["sizes"]][2] == pytest.approx(best / env.costs.baseline)
    for again in (first, oz):
        env.step(again)
    assert env.cost == optimised, "the program is as it was"
    assert env.actions == [restart, first, oz, restart, first, oz]
    env.close()


def test_restarts_are_kept_apart_by_snapshots(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, restart=True, max_steps=9)
    restart = len(env.settings.space)
    env.reset(seed=0)
    first, oz = action(env, "sroa"), action(env, "default<Oz>")
    env.step(first)
    handle = env.save()
    env.step(restart)
    env.step(oz)
    best = env.best
    assert env.best_passes == (oz,)
    env.restore(handle)
    assert env.passes == [first] == list(env.best_passes) and env.actions == [first]
    assert env.best > best
    for _ in range(8):
        truncated = env.step(restart)[3]
    assert truncated, "restarts are steps"
    env.close()


def test_without_restarts_there_is_no_such_action(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256)
    assert env.action_space == gymnasium.spaces.Discrete(len(env.settings.space))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="no action"):
        env.step(len(env.settings.space))
    with pytest.raises(CodeZeroError, match="restart"):
        env.settings.action("restart")
    env.close()


def test_the_reward_of_the_best_takes_sizes() -> None:
    with pytest.raises(CodeZeroError, match="observe sizes or margins as well"):
        PhaseOrderingEnv(iter(()), reward="best")


def test_optimising_as_the_baseline_returns_one(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, protocol="paper", space="sound")
    env.reset(seed=0)
    assert env.step(action(env, "default<Oz>"))[1] == pytest.approx(1.0)
    env.close()


def test_observation_is_autophase_and_histogram(env: PhaseOrderingEnv) -> None:
    from codezero.compiler import Module

    observation, _ = env.reset(seed=0)
    layout = env.settings.layout
    module = Module.parse(env.programs.load(env.programs._programs[0]).bitcode)  # type: ignore
    features = module.autophase()
    np.testing.assert_allclose(observation[layout["autophase"]], features / features[51], 1e-6)
    assert not observation[layout["histogram"]].any()
    sroa = action(env, "sroa")
    env.step(sroa)
    observation = env.step(sroa)[0]
    histogram = observation[layout["histogram"]]
    assert histogram[sroa] == pytest.approx(2 / 45)
    assert histogram.sum() == pytest.approx(2 / 45)


def test_sizes_are_observed_on_request(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, observe=["sizes"])
    observation, info = env.reset(seed=0)
    sizes = observation[env.settings.layout["sizes"]]
    over_baseline = info["initial"] / info["baseline"]
    assert sizes == pytest.approx([1.0, over_baseline, over_baseline, np.log(info["initial"])])
    env.close()


def test_margins_tell_apart_what_is_near_the_baseline(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, observe=["margins"], reward="best")
    observation, info = env.reset(seed=0)
    margins = env.settings.layout["margins"]
    over_baseline = np.log(info["initial"] / info["baseline"])
    assert observation[margins] == pytest.approx([over_baseline, over_baseline])
    env.step(env.settings.action("default-oz"))
    observation, *_ = env.step(env.settings.action("loop-unroll"))
    cost, best = env.cost / env.costs.baseline, env.best / env.costs.baseline
    assert observation[margins] == pytest.approx(np.log([cost, best]))
    assert best <= min(cost, 1.0)
    env.close()


def test_episode_is_truncated_after_its_steps(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, max_steps=3)
    env.reset(seed=0)
    steps = [env.step(action(env, "dce")) for _ in range(3)]
    assert [(s[2], s[3]) for s in steps] == [(False, False), (False, False), (False, True)]
    assert steps[-1][4]["end"] == "steps"
    env.close()


def test_growth_ends_the_episode(space_file: Callable[..., Path], tmp_path: Path) -> None:
    # A function that calls another twice, forty times over: inlining doubles it every time.
    lines = ["define internal i32 @f0(i32 %x) {\n  %y = mul i32 %x, %x\n  ret i32 %y\n}"]
    for i in range(1, 20):
        lines.append(
            f"define internal i32 @f{i}(i32 %x) alwaysinline {{\n"
            f"  %a = call i32 @f{i - 1}(i32 %x)\n  %b = call i32 @f{i - 1}(i32 %a)\n"
            "  ret i32 %b\n}"
        )
    lines.append("define i32 @g(i32 %x) {\n  %a = call i32 @f19(i32 %x)\n  ret i32 %a\n}")
    path = tmp_path / "grows.ll"
    # The baseline inlines, too: only at the thirteenth doubling is the limit reached.
    path.write_text("\n".join(lines[:14]) + lines[-1].replace("f19", "f13"))
    env = PhaseOrderingEnv(path, space=space_file("always-inline"))
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(0)
    assert (terminated, truncated, info["end"]) == (True, False, "growth")
    assert float(reward) < 0
    env.close()


@pytest.mark.parametrize(
    ("pipeline", "end"),
    [
        ("trigger-crash-module", "crash"),
        (NEVER_ENDS, "timeout"),
        ("trigger-verifier-error", None),
    ],
)
def test_failure_costs_its_episode_only(
    pipeline: str, end: str | None, sha256: Program, space_file: Callable[..., Path]
) -> None:
    env = PhaseOrderingEnv(sha256, space=space_file("sroa", pipeline), step_seconds=1.0)
    env.reset(seed=0)
    before = env.step(0)[0]
    start = time.monotonic()
    observation, reward, terminated, truncated, info = env.step(1)
    if end is not None:
        assert (reward, terminated, truncated, info["end"]) == (0.0, False, True, end)
        assert info["actions"] == [0, 1]
        assert info["error"]
        np.testing.assert_array_equal(observation, before)
    assert time.monotonic() - start < 5
    env.reset(seed=0)
    assert env.step(0)[3] is False
    env.close()


def test_snapshots_restore_the_program(env: PhaseOrderingEnv) -> None:
    env.reset(seed=0)
    env.step(action(env, "sroa"))
    handle, cost = env.save(), env.cost
    env.step(action(env, "default<Oz>"))
    optimised = env.cost
    assert optimised < cost
    env.restore(handle)
    assert env.cost == cost
    env.step(action(env, "default<Oz>"))
    assert env.cost == optimised


NEEDS_CONSTANT = b"""
target triple = "x86_64-pc-linux-gnu"
define void @f() {
  %x = alloca i32
  store i32 7, ptr %x
  %v = load i32, ptr %x
  call void asm sideeffect "nop # $0", "i"(i32 %v)
  ret void
}
"""


def test_a_program_may_need_passes_before_there_is_code_for_it() -> None:
    """Linux counts on it: what its asm wants to be constant is one after the first passes."""
    program = Program("asm", NEEDS_CONSTANT)
    env = PhaseOrderingEnv(program, objective="text")
    env.reset()
    assert env.costs.estimated and env.costs.initial > env.costs.baseline == 2
    *_, info = env.step(env.settings.space.action("simplifycfg"))
    assert not info["changed"]
    *_, info = env.step(env.settings.space.action("default-oz"))
    assert info == {"cost": env.costs.baseline, "changed": True}
    env.close()


def test_same_actions_same_program(env: PhaseOrderingEnv) -> None:
    rng = np.random.default_rng(0)
    actions = rng.integers(len(env.settings.space), size=20)
    results = []
    for _ in range(2):
        env.reset(seed=0)
        for a in actions:
            env.step(a)
        results.append(env.finish())
    assert results[0] == results[1]


def test_programs_are_drawn_by_seed(load: Callable[..., Program]) -> None:
    programs = [load(name) for name in ("sha256.c", "lzss.c", "json.c")]
    env = PhaseOrderingEnv(programs)

    def names(seed: int) -> list[str]:
        first = env.reset(seed=seed)[1]["program"]
        return [first, *(env.reset()[1]["program"] for _ in range(5))]

    assert names(1) == names(1)
    assert len(set(names(1))) > 1
    env.close()


def test_an_iterable_is_followed_in_order_and_begun_again(load: Callable[..., Program]) -> None:
    programs = {name: load(name) for name in ("sha256.c", "json.c")}
    env = PhaseOrderingEnv(programs.values())
    seen = [env.reset()[1]["program"] for _ in range(4)]
    assert [Path(name).name for name in seen] == ["sha256.c", "json.c", "sha256.c", "json.c"]
    env.close()


def test_bad_programs_are_refused() -> None:
    with pytest.raises(CodeZeroError, match="no programs"):
        PhaseOrderingEnv([])
    env = PhaseOrderingEnv(Program("broken.bc", b"BC\xc0\xde and nothing else"))
    with pytest.raises(ProgramError, match=r"broken\.bc"):
        env.reset(seed=0)
    env.close()


def test_acting_after_the_end_or_out_of_range_is_refused(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    env = PhaseOrderingEnv(sha256, space=space_file("sroa", "trigger-crash-module"))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    for bad in (-1, 2):
        with pytest.raises(ValueError, match="no action"):
            env.step(bad)
    env.step(1)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.close()


def test_an_episode_that_ended_takes_no_step(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, max_steps=1, space="autophase")
    env.reset(seed=0)
    snapshot = env.save()
    assert env.step(0)[3]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.restore(snapshot)
    assert env.step(0)[3]
    env.close()


def test_a_reset_that_fails_leaves_no_episode(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, space="autophase")
    env.reset(seed=0)
    with pytest.raises(ProgramError):
        env.reset(options={"program": Program("broken", b"BC\xc0\xde")})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.close()


def test_settings_that_cannot_be(sha256: Program) -> None:
    with pytest.raises(ValueError, match="max_steps"):
        PhaseOrderingEnv(sha256, max_steps=0)
    with pytest.raises(ValueError, match="step_seconds"):
        PhaseOrderingEnv(sha256, step_seconds=0)

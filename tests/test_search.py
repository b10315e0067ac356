"""Search: what it finds is real, reproducible, and never worse than the baseline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import NEVER_ENDS

from codezero.compiler import Module
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import load_space
from codezero.env import PhaseOrderingEnv
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.optimize import optimize
from codezero.search.budget import Budget, Meter
from codezero.search.fixed import FixedList, ListSearch
from codezero.search.greedy import GreedySearch
from codezero.search.policy import parse_policy
from codezero.search.sequences import FixedSequence, RandomSearch

REPETITIVE = ("break-crit-edges", "early-cse", "simplification-o2")
"""Passes, the last of which does what those before it do, and more."""


@pytest.mark.parametrize("objective", ["instructions", "text"])
@pytest.mark.parametrize("protocol", ["paper", "clang"])
@pytest.mark.parametrize("policy", ["random-search:3", "greedy:120"])
def test_result_is_real_and_never_worse(
    objective: str, protocol: str, policy: str, sha256: Program
) -> None:
    env = PhaseOrderingEnv(sha256, objective=objective, protocol=protocol)
    result = optimize(sha256, parse_policy(policy), env, 0)
    assert result.cost <= result.costs.baseline
    assert result.ratio >= 1
    # What is promised of the bitcode is measured again, here.
    module = Module.parse(result.bitcode)
    measured = module.instruction_count() if objective == "instructions" else module.text_size()
    assert measured == result.cost
    env.close()


def test_the_pass_list_makes_the_result(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, objective="instructions")
    result = optimize(sha256, GreedySearch(Budget(trials=300)), env, 0)
    assert not result.fell_back
    module = Module.parse(sha256.bitcode)
    module.run(result.pipeline)
    assert module.instruction_count() == result.cost
    env.close()


def test_a_streamlined_list_has_no_pass_too_many(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, objective="instructions")
    long = FixedSequence("long", REPETITIVE)
    whole = optimize(sha256, long, env, 0)
    result = optimize(sha256, long, env, 0, streamlined=True)
    assert not result.fell_back and len(result.passes) < len(whole.passes)
    assert result.cost <= whole.cost and result.found == whole.found
    module = Module.parse(sha256.bitcode)
    module.run(result.pipeline)
    assert module.bitcode() == result.bitcode, "the list and the program belong together"
    for left_out in range(len(result.passes)):
        passes = result.passes[:left_out] + result.passes[left_out + 1 :]
        shorter = optimize(sha256, FixedSequence("shorter", passes), env, 0)
        assert shorter.cost > result.cost, result.passes[left_out]
    env.close()


def test_streamlining_ends_in_time(sha256: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codezero.optimize.STREAMLINE_SECONDS", 0.0)
    env = PhaseOrderingEnv(sha256, objective="instructions")
    long = FixedSequence("long", REPETITIVE)
    whole, result = (
        optimize(sha256, long, env, 0, streamlined=streamlined) for streamlined in (False, True)
    )
    assert not result.fell_back and result.passes == whole.passes
    env.close()


def test_greedy_takes_the_best_single_pass_first(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256, space="autophase")
    costs = []
    for action in range(len(env.settings.space)):
        env.reset(seed=0)
        env.step(action)
        costs.append(env.cost)
    found = GreedySearch(Budget(trials=42)).run(env, sha256, 0)
    assert found.actions == (int(np.argmin(costs)),)
    assert found.cost == min(costs)
    env.close()


def test_greedy_stops_when_nothing_helps(sha256: Program, space_file: Callable[..., Path]) -> None:
    env = PhaseOrderingEnv(sha256, space=space_file("sroa", "dce", "strip-dead-prototypes"))
    found = GreedySearch(Budget()).run(env, sha256, 0)
    assert 1 <= len(found.actions) <= 3
    env.close()


def test_greedy_survives_passes_that_kill_llvm(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    env = PhaseOrderingEnv(
        sha256,
        space=space_file("trigger-crash-module", "sroa", NEVER_ENDS, "dce"),
        step_seconds=1.0,
    )
    found = GreedySearch(Budget()).run(env, sha256, 0)
    assert env.settings.space.names(found.actions)[0] == "sroa"
    env.close()


def test_random_search_survives_passes_that_kill_llvm(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    env = PhaseOrderingEnv(
        sha256, space=space_file("trigger-crash-module", "sroa", "dce", "simplifycfg")
    )
    result = optimize(sha256, RandomSearch(Budget(trials=10)), env, 0)
    assert result.costs.initial > result.found
    env.close()


def test_same_seed_same_result(sha256: Program) -> None:
    env = PhaseOrderingEnv(sha256)
    results = [RandomSearch(Budget(trials=3)).run(env, sha256, 7) for _ in range(2)]
    assert results[0] == results[1]
    env.close()


@pytest.mark.parametrize("policy", ["greedy:1s", "random-search:1s"])
def test_time_is_kept_in_the_middle_of_a_pass(
    policy: str, sha256: Program, space_file: Callable[..., Path]
) -> None:
    env = PhaseOrderingEnv(sha256, space=space_file("sroa", "sroa,dce", NEVER_ENDS))
    env.reset(seed=0)
    start = time.monotonic()
    found = parse_policy(policy).run(env, sha256, 0)
    assert time.monotonic() - start < 4  # less than a step may take
    assert found.cost <= env.costs.initial
    assert env.deadline == math.inf
    env.close()


def test_fallback_is_the_baseline(sha256: Program, space_file: Callable[..., Path]) -> None:
    env = PhaseOrderingEnv(sha256, space=space_file("strip-dead-prototypes"))
    result = optimize(sha256, GreedySearch(Budget()), env, 0)
    assert result.fell_back
    assert (result.cost, result.ratio) == (result.costs.baseline, 1.0)
    assert Module.parse(result.bitcode).instruction_count() == result.costs.baseline
    env.close()


def test_a_fixed_list_is_read_by_name_and_by_pipeline(tmp_path: Path, sha256: Program) -> None:
    path = tmp_path / "list.txt"
    path.write_text("sroa\ndefault<Oz>\n\n")
    env = PhaseOrderingEnv(sha256)
    found = FixedSequence.read(path).run(env, sha256, 0)
    assert len(found.actions) == 2
    env.close()


def test_a_list_may_have_parts_that_begin_anew(sha256: Program) -> None:
    both = FixedSequence("both", ("sroa", "mem2reg", "restart", "simplification-o2"))
    settings = both.adapt(EpisodeSettings(load_space("sound")))
    assert settings.restart
    env = PhaseOrderingEnv.of(settings)
    result = optimize(sha256, both, env, 0)
    assert result.passes == ("simplification-o2",) and not result.fell_back
    env.close()
    plain = FixedSequence("plain", ("sroa",))
    assert not plain.adapt(EpisodeSettings(load_space("sound"))).restart


@pytest.mark.parametrize(
    ("text", "budget"),
    [("1s", Budget(1.0)), ("500ms", Budget(0.5)), ("2m", Budget(120.0)), ("7", Budget(None, 7))],
)
def test_budgets(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "1x", "-1s", "0", "1.5"])
def test_bad_budgets(text: str) -> None:
    with pytest.raises(CodeZeroError, match="budget"):
        Budget.parse(text)


@pytest.mark.parametrize("text", ["agant", "greedy:soon", "random:3", "fixed:", "fixed:none.txt"])
def test_bad_policies(text: str) -> None:
    with pytest.raises(CodeZeroError):
        parse_policy(text)


# One list for many programs


def test_a_list_is_climbed_to_and_is_worth_what_it_says(load: Callable[..., Program]) -> None:
    programs = [load("sha256.c"), load("lzss.c")]
    settings = EpisodeSettings(
        load_space("sound"), Objective.INSTRUCTIONS, Protocol.PAPER, max_steps=12
    )
    ratios = []

    def climb() -> FixedList:
        search = ListSearch(programs, settings, seed=1, jobs=1)
        return search.run(Budget(trials=25), lambda: ratios.append(search.best.ratio))

    found = climb()
    assert found.ratio > 1 and len(ratios) == 25 and ratios == sorted(ratios)
    assert climb().actions == found.actions, "the same seed, another list"
    env = PhaseOrderingEnv.of(settings)
    gains = []
    for program in programs:
        passes = tuple(settings.space.names(found.actions))
        result = optimize(program, FixedSequence("found", passes), env, 0)
        gains.append(math.log(result.ratio))
    env.close()
    assert found.ratio == pytest.approx(math.exp(np.mean(gains)))


def test_a_list_that_is_behind_on_the_first_programs_is_given_up(sha256: Program) -> None:
    settings = EpisodeSettings(load_space("sound"), Objective.INSTRUCTIONS, max_steps=5)
    oz = settings.space.action("default<Oz>")
    search = ListSearch([sha256] * 25, settings, start=[oz], jobs=1)
    search.best = replace(search.best, gains=search.best.gains + 0.1)  # out of reach
    env = PhaseOrderingEnv.of(settings)
    assert search._race(env, (oz,), Meter(Budget())) is None
    assert search._race(env, (oz,), Meter(Budget(seconds=1e-9))) is None
    search.best = replace(search.best, gains=search.best.gains - 0.2)
    assert search._race(env, (oz,), Meter(Budget())) is not None
    env.close()


def test_programs_that_llvm_fails_on_are_no_part_of_a_list_search(sha256: Program) -> None:
    settings = EpisodeSettings(load_space("sound"))
    broken = Program("broken.bc", b"BC\xc0\xde nothing")
    assert ListSearch([broken, sha256], settings, jobs=1).programs == [sha256]
    with pytest.raises(CodeZeroError, match="on every program"):
        ListSearch([broken], settings, jobs=1)

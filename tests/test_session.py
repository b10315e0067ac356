"""Programs at hand without an episode: what they cost at the start, and when that is measured."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import EXAMPLES

from codezero.agents.shipped import shipped_agents
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.env.session import Session, make_settings
from codezero.errors import ProgramError
from codezero.optimize import ESTIMATED, Optimizer
from codezero.search.agent import AgentPolicy
from codezero.search.budget import TrialLimit
from codezero.search.policy import Found, parse_policy

TEXT = make_settings("sound", "text", "clang")

NO_CODE_AT_THE_START = b"""
target triple = "x86_64-pc-linux-gnu"
declare <4 x i32> @llvm.x86.sha1msg1(<4 x i32>, <4 x i32>)
define i32 @f(i32 %n) minsize optsize {
  %never = alloca i1
  store i1 false, ptr %never
  %dead = load i1, ptr %never
  br i1 %dead, label %a, label %b
a:
  %v = call <4 x i32> @llvm.x86.sha1msg1(<4 x i32> zeroinitializer, <4 x i32> zeroinitializer)
  %x = extractelement <4 x i32> %v, i32 0
  ret i32 %x
b:
  %y = mul i32 %n, 3
  ret i32 %y
}
"""
"""LLVM ends the process over this target's lack of the instruction, unless a pass removes it."""


def test_the_cost_at_the_start_is_measured_when_it_is_asked_for(sha256: Program) -> None:
    with Session(TEXT) as session:
        session.begin(sha256)
        exact = session.costs
    with Session(TEXT) as session:
        session.hold(sha256)
        held = session.costs
        assert held.estimated and held.baseline == exact.baseline
        assert held.initial != exact.initial and session.cost == held.initial
        assert session.costs_of(sha256) == held
        assert session.measured_costs_of(sha256) == exact == session.costs_of(sha256)
        session.hold(sha256)
        assert session.costs == exact
    with Session(TEXT) as session:
        session.hold(sha256)
        session.begin(sha256)
        assert session.costs == exact, "steps are compared with what was measured"
    with Session(TEXT, estimate_start=True) as session:
        session.hold(sha256)
        assert session.measured_costs_of(sha256).estimated, "not even then"


def test_instructions_are_counted_at_once(sha256: Program) -> None:
    with Session(make_settings("sound", "instructions", "clang")) as session:
        session.hold(sha256)
        assert not session.costs.estimated and session.costs.initial > session.costs.baseline


def test_a_program_that_is_held_has_no_episode(
    sha256: Program, load: Callable[..., Program]
) -> None:
    with Session(TEXT) as session:
        with pytest.raises(RuntimeError, match="begin"):
            _ = session.observation
        session.begin(load(EXAMPLES / "vm.c"))
        session.step(0)
        session.hold(sha256)
        assert not session.actions and session.cost == session.costs.initial
        for ask in (session.functions, session.finish, lambda: session.replay([0])):
            with pytest.raises(RuntimeError, match="no episode"):
                ask()
        with pytest.raises(RuntimeError, match="begin"):
            session.step(0)


@pytest.mark.parametrize("threads", [1, 2])
def test_code_that_no_one_needs_costs_nothing(threads: int) -> None:
    """LLVM ends the process over it, which no list is to blame for."""
    program = Program("needs-passes", NO_CODE_AT_THE_START)
    with closing(Optimizer(TEXT, threads=threads, for_objects=True)) as optimizer:
        for _ in range(2):
            result = optimizer.run(program, parse_policy("agent", TEXT))
            assert result.costs.estimated and result.costs.initial >= result.costs.baseline
            assert 0 < result.cost <= result.costs.baseline and result.bitcode
            assert result.remark == ESTIMATED


def test_what_is_found_does_not_depend_on_what_was_measured_before(
    sha256: Program, tmp_path: Path
) -> None:
    policy = AgentPolicy(shipped_agents()["size"], limit=TrialLimit(0.2))
    with closing(Optimizer(TEXT)) as optimizer:
        first, again = (optimizer.run(sha256, policy) for _ in range(2))
    assert first.found == again.found and first.costs == again.costs


def test_equal_lists_are_told_apart_by_rank_whatever_the_threads(sha256: Program) -> None:
    """Also where they are tried in rounds of as many as there are threads."""
    settings = make_settings("sound", "loaded", "clang")
    limit, found = TrialLimit(6.0, 300.0), []
    policy = AgentPolicy(shipped_agents()["size"], limit=limit, objective=Objective.LOADED)
    for threads in (1, 3, 5):
        with Session(settings, threads=threads, for_objects=True) as session:
            found.append(policy.run(session, sha256, 0))
    assert found[0].actions == found[1].actions == found[2].actions
    assert found[0].cost == found[1].cost == found[2].cost


def test_what_was_interrupted_has_no_result(sha256: Program) -> None:
    optimizer = Optimizer(TEXT)

    class Interrupted(AgentPolicy):
        def run(self, env: Session, program: Program, seed: int) -> Found:
            found = super().run(env, program, seed)
            optimizer.interrupt()
            return found

    with closing(optimizer), pytest.raises(ProgramError, match="interrupted"):
        optimizer.run(sha256, Interrupted(shipped_agents()["size"]))

"""Every function by itself: with agents whose mind is known, and with one that comes with us."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from conftest import EXAMPLES, NEVER_ENDS_BY_FUNCTION

from codezero.agents.agent import Agent, Decision, Memory
from codezero.compiler import LLVMError
from codezero.compiler.program import Program
from codezero.compiler.spaces import load_space
from codezero.env import PhaseOrderingEnv
from codezero.env.episode import EpisodeSettings
from codezero.env.session import Session, make_settings
from codezero.optimize import Optimizer
from codezero.search.agent import AgentPolicy
from codezero.search.budget import Budget
from codezero.search.functions import FunctionSearch
from codezero.search.policy import Found, parse_policy

RNG = np.random.default_rng

# By rotating and unrolling, the first loop becomes a constant, and the second grows.
LOOPS = b"""
define i32 @shrinks() {
  br label %loop
loop:
  %s = phi i32 [ 0, %0 ], [ %t, %body ]
  %i = phi i32 [ 0, %0 ], [ %j, %body ]
  %more = icmp slt i32 %i, 4
  br i1 %more, label %body, label %end
body:
  %m = mul nsw i32 %i, %i
  %c = mul nsw i32 %m, %i
  %d = sub nsw i32 %c, %m
  %t = add nsw i32 %s, %d
  %j = add nsw i32 %i, 1
  br label %loop
end:
  ret i32 %s
}
define i32 @grows(ptr %p, i32 %n) {
  br label %loop
loop:
  %s = phi i32 [ 0, %0 ], [ %t, %body ]
  %i = phi i32 [ 0, %0 ], [ %j, %body ]
  %more = icmp slt i32 %i, %n
  br i1 %more, label %body, label %end
body:
  %w = sext i32 %i to i64
  %a = getelementptr inbounds i32, ptr %p, i64 %w
  %v = load i32, ptr %a
  %m = mul nsw i32 %v, %v
  %t = add nsw i32 %s, %m
  %j = add nsw i32 %i, 1
  br label %loop
end:
  ret i32 %s
}
define i32 @is-small() {
  ret i32 3
}
"""
UNROLLING = (
    "function(loop(loop-rotate<header-duplication>))",
    "function(loop(loop-unroll-full))",
    "function(simplifycfg)",
)
SHRINKS, GROWS = 12, 13
"""Instructions at the start."""


class Script:
    """An agent that takes one action after the other.

    Args:
        lists: by the cost of the program at the start.
        otherwise: for any other program.
    """

    def __init__(
        self, settings: EpisodeSettings, lists: dict[int, list[int]], otherwise: list[int]
    ) -> None:
        self.settings = settings
        self.seen: list[int] = []
        """Costs at the start of each trial."""
        self._lists = lists
        self._otherwise = otherwise

    def begin(self) -> Memory:
        nothing = np.zeros((1, 1), np.float32)
        return Memory(nothing, nothing, np.zeros(1, np.int64), np.zeros(1, np.float32))

    def decide(self, memory: Memory, observations: npt.NDArray[np.float32]) -> Decision:
        (observation,) = observations
        layout = self.settings.layout
        steps = round(float(observation[layout["histogram"]].sum()) * self.settings.max_steps)
        initial = round(math.exp(observation[layout["sizes"]][3]))
        if steps == 0:
            self.seen.append(initial)
        chosen = self._lists.get(initial, self._otherwise)
        policy = np.zeros((1, self.settings.num_actions), np.float32)
        policy[0, chosen[min(steps, len(chosen) - 1)]] = 1.0
        return Decision(policy, np.zeros(1, np.float32))


def loops() -> Program:
    return Program("loops", LOOPS)


def policy_of(agent: Script, budget: Budget, *, by_function: bool = True) -> AgentPolicy:
    policy = AgentPolicy(Path("script"), budget, by_function=by_function)
    policy.__dict__["_agent"] = cast(Agent, agent)
    return policy


ONE = Budget(trials=1)


@pytest.fixture(autouse=True)
def _even_small_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codezero.search.functions.LEAST_INSTRUCTIONS", 2)


def search(env: PhaseOrderingEnv, agent: Script, budget: Budget = ONE) -> Found:
    return policy_of(agent, budget).run(env, loops(), 0)


def search_whole(env: PhaseOrderingEnv, agent: Script, budget: Budget = ONE) -> Found:
    return policy_of(agent, budget, by_function=False).run(env, loops(), 0)


@pytest.fixture
def make_env(space_file: Callable[..., Path]) -> Iterator[Callable[..., PhaseOrderingEnv]]:
    envs = []

    def make(*pipelines: str, step_seconds: float = 10.0) -> PhaseOrderingEnv:
        space = space_file(*UNROLLING, *pipelines)
        task = {"space": space, "observe": ["sizes"], "max_steps": 5}
        envs.append(PhaseOrderingEnv(loops(), **task, step_seconds=step_seconds))
        return envs[-1]

    yield make
    for env in envs:
        env.close()


def test_a_space_knows_its_passes_by_function() -> None:
    space = load_space("sound")
    by_function = {space.passes[action].name for action in space.by_function}
    assert {"instcombine", "licm", "simplification-oz", "loop-unroll-full"} <= by_function
    assert not {"inline", "globaldce", "default-oz", "mergefunc", "function-attrs"} & by_function
    a, inline, b, c = (space.action(name) for name in ("dce", "inline", "adce", "gvn"))
    assert space.split([a, inline, b, c]) == ((a, inline), (b, c))
    assert space.split([b, c]) == ((), (b, c))
    assert space.split([inline]) == ((inline,), ())


def test_functions_are_programs_of_their_own(make_env: Callable[..., PhaseOrderingEnv]) -> None:
    env = make_env()
    env.reset()
    assert env.functions() == {"shrinks": SHRINKS, "grows": GROWS, "is-small": 1}
    shrinks, grows = env.extract(["shrinks", "nowhere", "grows"], [0, 1, 2])
    assert (shrinks.name, grows.name) == ("shrinks", "grows"), "what is not there is left out"
    for function, initial in ((shrinks, SHRINKS), (grows, GROWS)):
        env.reset(options={"program": Program(function.name, function.bitcode)})
        assert env.costs.initial == initial
        for action in range(3):
            env.step(action)
        assert env.cost == function.cost, "after the passes that it is compared with"


def test_passes_are_replayed_on_single_functions(
    make_env: Callable[..., PhaseOrderingEnv],
) -> None:
    env = make_env()
    env.reset()
    start = env.cost
    changed = env.replay((), {"shrinks": (0, 1, 2, 2), "is-small": (0,)})
    assert changed == ((), {"shrinks": (0, 1, 2)}), "what changed nothing is left out"
    cost = env.finish().cost
    (shrinks,) = env.extract(["shrinks"], ())
    assert cost == start - SHRINKS + shrinks.cost
    env.reset()
    with pytest.raises(LLVMError, match="'nowhere'"):
        env.replay((), {"nowhere": (0,)})


def test_a_budget_of_time_is_kept(make_env: Callable[..., PhaseOrderingEnv]) -> None:
    env = make_env(NEVER_ENDS_BY_FUNCTION)
    env.reset(options={"program": loops()})
    whole = Found((), env.cost, 1)
    agent = cast(Agent, Script(env.settings, {}, [3]))
    began = time.monotonic()
    functions = FunctionSearch(env, loops(), whole, agent, RNG(0))
    found = functions.begin(Budget(seconds=0.7))
    assert (found.actions, found.cost, found.functions) == (whole.actions, whole.cost, {})
    assert time.monotonic() - began < 2.5


def test_a_budget_begins_after_the_trial(make_env: Callable[..., PhaseOrderingEnv]) -> None:
    """However small, it is never worse than none, and what is left of it makes things smaller."""
    env = make_env("function(dce)")
    agent = Script(env.settings, {GROWS: [3], SHRINKS: [0, 1, 2]}, [0, 1, 2])
    trial = search(env, agent)
    assert trial.functions and search(env, agent, Budget(seconds=1e-9)) == trial
    agent = Script(env.settings, {}, [3])
    nothing, more = (search(env, agent, budget) for budget in (ONE, Budget(seconds=1.5)))
    assert nothing.cost == env.costs.initial > more.cost


def test_each_function_gets_what_suits_it(make_env: Callable[..., PhaseOrderingEnv]) -> None:
    env = make_env()
    agent = Script(env.settings, {}, [0, 1, 2])
    whole = search_whole(env, agent)
    assert whole.actions == (0, 1, 2) and whole.functions == {}
    agent.seen.clear()
    found = search(env, agent)
    assert agent.seen[1:] == [GROWS, SHRINKS], "the largest first, and the small one not at all"
    assert found.actions == () and found.functions == {"shrinks": (0, 1, 2)}
    assert found.cost == whole.cost - 1 and found.trials == 3
    env.reset(options={"program": loops()})
    assert env.replay(found.actions, found.functions) == (found.actions, found.functions)
    assert env.finish().cost == found.cost


def test_the_others_get_what_the_program_would_have_got(
    make_env: Callable[..., PhaseOrderingEnv], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make_env()
    monkeypatch.setattr("codezero.search.functions.MOST_FUNCTIONS", 1)
    found = search(env, Script(env.settings, {}, [0, 1, 2]))
    assert found.functions == {"shrinks": (0, 1, 2)}, "of which only the other was looked at"


def test_a_function_whose_choice_is_no_smaller_costs_nothing(
    make_env: Callable[..., PhaseOrderingEnv],
) -> None:
    env = make_env("function(dce)")
    agent = Script(env.settings, {GROWS: [3], SHRINKS: [3]}, [2])
    whole = search_whole(env, agent)
    assert search(env, agent).functions == {} and search(env, agent).actions == whole.actions
    all_alike = make_env("globaldce")
    agent = Script(all_alike.settings, {}, [3])
    assert search(all_alike, agent).functions == {}


@pytest.mark.parametrize("pipeline", ["function(trigger-crash-function)", NEVER_ENDS_BY_FUNCTION])
def test_a_failure_costs_its_function_only(
    pipeline: str, make_env: Callable[..., PhaseOrderingEnv]
) -> None:
    env = make_env(pipeline, step_seconds=1.0)
    agent = Script(env.settings, {GROWS: [3], SHRINKS: [0, 1, 2]}, [0, 1, 2])
    assert search(env, agent).functions == {"shrinks": (0, 1, 2)}
    agent = Script(env.settings, {GROWS: [0], SHRINKS: [3]}, [0, 1, 2])
    assert search(env, agent).functions == {"shrinks": (0, 1, 2)}, "as the program would have had"
    agent = Script(env.settings, {GROWS: [3], SHRINKS: [3]}, [2])
    assert search(env, agent).actions == search_whole(env, agent).actions


def test_what_does_not_come_true_is_not_taken(
    make_env: Callable[..., PhaseOrderingEnv], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program with the functions' own passes is run and measured, and may fail."""
    env = make_env()
    agent = Script(env.settings, {}, [0, 1, 2])
    whole, replay = search_whole(env, agent), env.replay

    def failing(actions: list[int], functions: object = None) -> object:
        if functions:
            raise LLVMError("no")
        return replay(actions)

    monkeypatch.setattr(env, "replay", failing)
    assert search(env, agent) == whole
    monkeypatch.setattr(env, "replay", lambda actions, functions=None: replay([], {}))
    assert search(env, agent).functions == {}


def test_more_trials_are_shared(make_env: Callable[..., PhaseOrderingEnv]) -> None:
    env = make_env()
    agent = Script(env.settings, {}, [0, 1, 2])
    found = [search(env, agent, Budget(trials=20)) for _ in range(2)]
    assert found[0] == found[1] and 20 <= found[0].trials <= 22
    assert found[0].cost <= search(env, agent).cost


def test_the_agent_that_comes_with_us_is_smaller_by_function(
    load: Callable[..., Program],
) -> None:
    settings = make_settings("sound", "instructions", "paper")
    optimizer = Optimizer(settings)
    program = load(EXAMPLES / "json.c")
    trials = 24  # some of its lists, and tails
    by_function = optimizer.run(program, parse_policy(f"agent:{trials}", settings))
    whole = optimizer.run(program, parse_policy(f"agent-whole:{trials}", settings))
    assert by_function.policy == f"agent:instructions:{trials}"
    assert whole.policy == f"agent-whole:instructions:{trials}" and not whole.functions
    assert by_function.functions and by_function.cost < whole.cost
    assert set(by_function.function_pipelines) == set(by_function.functions)
    assert all("function(" in text for text in by_function.function_pipelines.values())
    with Session(settings) as env:
        env.begin(program)
        assert by_function.costs == whole.costs == env.costs, "not those of a function"
    again = optimizer.run(program, parse_policy(f"agent:{trials}", settings))
    assert again.bitcode == by_function.bitcode and again.functions == by_function.functions
    optimizer.close()

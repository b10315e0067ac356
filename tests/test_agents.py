"""The agents that come with CodeZero, and how they are chosen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codezero.agents.agent import Agent
from codezero.agents.shipped import DEFAULT_AGENT, agent_for, shipped_agents
from codezero.agents.view import View
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import load_space
from codezero.env import PhaseOrderingEnv
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.optimize import optimize
from codezero.search.policy import parse_policy

SOURCE = Path(__file__).parents[1] / "examples" / "lzss.c"
MOST_BYTES = 16_000_000


def codezero(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "codezero", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def settings_of(objective: Objective, protocol: Protocol, space: str = "sound") -> EpisodeSettings:
    return EpisodeSettings(load_space(space), objective, protocol)


def test_there_is_an_agent_for_each_task() -> None:
    chosen = {
        (objective, protocol): agent_for(settings_of(objective, protocol)).name
        for objective in Objective
        for protocol in Protocol
    }
    assert chosen == {
        (Objective.TEXT, Protocol.CLANG): "size",
        (Objective.TEXT, Protocol.PAPER): "size",
        (Objective.LOADED, Protocol.CLANG): "size",
        (Objective.LOADED, Protocol.PAPER): "size",
        (Objective.INSTRUCTIONS, Protocol.PAPER): "instructions",
        (Objective.INSTRUCTIONS, Protocol.CLANG): "instructions",
    }
    assert DEFAULT_AGENT in shipped_agents()
    autophase = settings_of(Objective.TEXT, Protocol.CLANG, "autophase")
    assert agent_for(autophase).name == "paper"


@pytest.mark.parametrize("name", sorted(shipped_agents()))
def test_an_agent_is_small_told_of_and_better_than_nothing(name: str, sha256: Program) -> None:
    folder = shipped_agents()[name]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST_BYTES
    assert (folder / "README.md").read_text().startswith(f"# {name}")
    agent = Agent(folder)
    env = PhaseOrderingEnv.of(agent.settings)
    policy = parse_policy(f"agent:{name}", agent.settings)
    results = [optimize(sha256, policy, env, seed) for seed in range(2)]
    assert results[0].passes == results[1].passes, "it does not draw"
    assert results[0].policy == f"agent:{name}" and results[0].ratio >= 1.0
    assert results[0].found < results[0].costs.initial
    env.close()


def test_an_agent_acts_among_fewer_passes_in_any_order(
    sha256: Program, space_file: Callable[..., Path]
) -> None:
    agent = Agent(shipped_agents()["instructions"])
    trained = agent.settings
    passes = tuple(
        p for p in reversed(trained.space.passes) if p.name not in ("gvn", "iroutliner", "inline")
    )
    shown = EpisodeSettings(
        replace(trained.space, passes=passes), trained.objective, trained.protocol,
        observe=("shape", "margins", "sizes"), restart=True,
    )  # fmt: skip
    view = View(trained, shown)
    observation = np.arange(1, shown.observation_size + 1, dtype=np.float32)
    seen = dict(zip(range(trained.observation_size), view.observation(observation)[0], strict=True))
    for part in ("autophase", "shape", "sizes", "margins"):
        ours = [seen[k] for k in range(*trained.layout[part].indices(trained.observation_size))]
        assert ours == observation[shown.layout[part]].tolist()
    begin, theirs = trained.layout["histogram"].start, shown.layout["histogram"].start
    for action, each in enumerate(trained.space.passes):
        if each in passes:
            place = passes.index(each)
            assert view.action(action) == place and view.agents_action(place) == action
            assert not view.forbidden[action]
            assert seen[begin + action] == observation[theirs + place]
        else:
            assert view.forbidden[action] and seen[begin + action] == 0
    policy = parse_policy("agent:instructions:3")
    policy.check(shown)
    env = PhaseOrderingEnv.of(shown)
    result = optimize(sha256, policy, env, 0)
    taken = {*result.passes, *(name for own in result.functions.values() for name in own)}
    assert not result.fell_back and {"gvn", "iroutliner", "inline"}.isdisjoint(taken)
    env.close()


def test_speed_is_kept_where_that_is_asked_for() -> None:
    assert "iroutliner" not in [p.name for p in load_space("sound").keeping_speed().passes]
    sources = sorted(SOURCE.parent.glob("*.f90"))
    task = ("--objective", "instructions", "--protocol", "paper", "--json")
    outlined = []
    for options in ((), ("--keep-speed",)):
        done = codezero("evaluate", *sources, "--policy", "agent-whole", *task, *options)
        assert done.returncode == 0, done.stderr
        programs = json.loads(done.stdout)["programs"]
        assert any(program["passes"] for program in programs)
        outlined.append([p["program"] for p in programs if "iroutliner" in p["passes"]])
    assert outlined[0], "the agent outlines some of these"
    assert not outlined[1]
    done = codezero("optimize", *sources, "--keep-speed", *task)
    assert done.returncode == 0 and "iroutliner" not in done.stdout


def test_no_agent_comes_for_other_passes(space_file: Callable[..., Path]) -> None:
    space = space_file("function(gvn)", "function(no-op-function)")
    with pytest.raises(CodeZeroError, match="no agent comes with codezero"):
        agent_for(settings_of(Objective.TEXT, Protocol.CLANG, str(space)))
    done = codezero("optimize", SOURCE, "--space", space)
    assert done.returncode == 2 and "no agent comes with codezero" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = codezero("optimize", SOURCE, "--space", space, "--search", "random", "--budget", "2")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("agent", "agent:size"),
        ("agent:size", "agent:size"),
        ("agent:1s", "agent:size:1s"),
        ("agent:7", "agent:size:7"),
        ("agent:10x", "agent:size:10x"),
        ("agent:2.5x:1s", "agent:size:2.5x:1s"),
        ("agent:1s:2.5x", "agent:size:2.5x:1s"),
        ("agent:instructions:4x", "agent:instructions:4x"),
        ("agent:some/folder:4x:7", "agent:folder:4x:7"),
        ("agent:instructions:500ms", "agent:instructions:0.5s"),
        ("agent:some/folder", "agent:folder"),
        ("agent:some/folder:2m", "agent:folder:120s"),
        ("agent-whole", "agent-whole:size"),
        ("agent-whole:instructions:7", "agent-whole:instructions:7"),
    ],
)
def test_agents_by_name(text: str, name: str) -> None:
    assert parse_policy(text).name == name


@pytest.mark.parametrize(
    "text",
    [
        "agent:size:soon",
        "agent:size:",
        "agent:0s",
        "agent-whole:0s",
        "agent:0x",
        "agent:1s:2s",
        "agent:2x:4x",
    ],
)
def test_bad_names_of_agents(text: str) -> None:
    with pytest.raises(CodeZeroError, match="budget"):
        parse_policy(text)


@pytest.mark.parametrize("objective", ["text", "instructions"])
def test_optimize_takes_the_agent_for_the_objective(objective: str) -> None:
    done = codezero("optimize", SOURCE, "--json", "--objective", objective)
    (result,) = json.loads(done.stdout)
    agent = {"text": "size", "instructions": "instructions"}[objective]
    assert result["policy"] == f"agent:{agent}" and result["ratio"] >= 1.0
    done = codezero("optimize", SOURCE, "--json", "--objective", objective, "--budget", "8")
    (more,) = json.loads(done.stdout)
    assert more["policy"] == f"agent:{agent}:8" and more["optimized"] <= result["optimized"]

"""The vector environment: Gymnasium's interface, and workers that die unnoticed by the others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import NEVER_ENDS, children_of
from gymnasium.vector import AutoresetMode

from codezero.compiler.program import Program
from codezero.env import PhaseOrderingEnv, PhaseOrderingVectorEnv
from codezero.errors import CodeZeroError

SROA, OZ, CRASH, HANG = range(4)


@pytest.fixture
def space(space_file: Callable[..., Path]) -> Path:
    return space_file("sroa", "default<Oz>", "trigger-crash-module", NEVER_ENDS)


def test_it_is_registered(sha256: Program) -> None:
    envs = gymnasium.make_vec("codezero/PhaseOrdering-v0", num_envs=2, programs=sha256)
    observations, infos = envs.reset(seed=0)
    assert envs.observation_space.contains(observations)
    assert infos["initial"].tolist() == [infos["initial"][0]] * 2
    envs.close()


def test_it_agrees_with_single_environments(load: Callable[..., Program]) -> None:
    programs = [load("sha256.c")]
    envs = PhaseOrderingVectorEnv(programs, 2, objective="text")
    env = PhaseOrderingEnv(programs, objective="text")
    rng = np.random.default_rng(0)
    actions = rng.integers(len(env.settings.space), size=(8, 2))
    envs.reset(seed=0)
    results = [envs.step(a) for a in actions]
    for column in range(2):
        env.reset(seed=0)
        for row, (observations, rewards, terminated, truncated, infos) in enumerate(results):
            observation, reward, end, cut, info = env.step(actions[row, column])
            np.testing.assert_array_equal(observations[column], observation)
            assert rewards[column] == reward
            assert (terminated[column], truncated[column]) == (end, cut)
            assert infos["cost"][column] == info["cost"]
            assert infos["changed"][column] == info["changed"]
    envs.close()
    env.close()


def test_autoreset_on_the_next_step(sha256: Program, space: Path) -> None:
    envs = PhaseOrderingVectorEnv(sha256, 2, space=space, max_steps=2)
    first, _ = envs.reset(seed=0)
    envs.step(np.array([SROA, SROA]))
    _, _, _, truncated, infos = envs.step(np.array([SROA, OZ]))
    assert truncated.tolist() == [True, True]
    assert infos["end"].tolist() == ["steps", "steps"]
    observations, rewards, _, truncated, infos = envs.step(np.array([OZ, OZ]))
    np.testing.assert_array_equal(observations, first)
    assert rewards.tolist() == [0.0, 0.0]
    assert not truncated.any()
    assert infos["_program"].all()
    envs.close()


def test_autoreset_in_the_same_step(sha256: Program, space: Path) -> None:
    envs = PhaseOrderingVectorEnv(
        sha256, 2, space=space, max_steps=1, autoreset_mode=AutoresetMode.SAME_STEP
    )
    first, _ = envs.reset(seed=0)
    observations, rewards, _, truncated, infos = envs.step(np.array([OZ, SROA]))
    assert truncated.all()
    assert rewards[0] > 0
    np.testing.assert_array_equal(observations, first)
    assert not np.array_equal(infos["final_obs"][0], first[0])
    assert infos["final_info"]["end"].tolist() == ["steps", "steps"]
    envs.close()


def test_no_autoreset(sha256: Program, space: Path) -> None:
    envs = PhaseOrderingVectorEnv(
        sha256, 2, space=space, max_steps=1, autoreset_mode=AutoresetMode.DISABLED
    )
    envs.reset(seed=0)
    envs.step(np.array([OZ, SROA]))
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.step(np.array([OZ, SROA]))
    _, infos = envs.reset(options={"reset_mask": np.array([True, False])})
    assert infos["_program"].tolist() == [True, False]
    envs.reset(options={"reset_mask": np.array([False, True])})
    envs.step(np.array([OZ, SROA]))
    envs.close()


@pytest.mark.parametrize(("bad", "end"), [(CRASH, "crash"), (HANG, "timeout")])
def test_the_others_lose_no_step(sha256: Program, space: Path, bad: int, end: str) -> None:
    envs = PhaseOrderingVectorEnv(sha256, 3, space=space, step_seconds=1.0)
    envs.reset(seed=0)
    before = envs.step(np.array([SROA, SROA, SROA]))[0]
    observations, rewards, terminated, truncated, infos = envs.step(np.array([OZ, bad, SROA]))
    assert truncated.tolist() == [False, True, False]
    assert not terminated.any()
    assert infos["end"][1] == end
    assert infos["actions"][1] == [SROA, bad]
    assert rewards[0] > 0 and rewards[1] == 0
    np.testing.assert_array_equal(observations[1], before[1])
    # The second begins anew in a new process; the others go on where they were.
    _, _, _, truncated, infos = envs.step(np.array([SROA, SROA, OZ]))
    assert not truncated.any()
    assert infos["_program"].tolist() == [False, True, False]
    assert infos["cost"][0] == infos["cost"][2]
    envs.close()


def test_a_killed_worker_is_replaced(sha256: Program, space: Path) -> None:
    others = set(children_of(os.getpid()))
    envs = PhaseOrderingVectorEnv(sha256, 2, space=space)
    envs.reset(seed=0)
    workers = set(children_of(os.getpid())) - others
    victim = workers.pop()
    os.kill(victim, signal.SIGKILL)
    results = [envs.step(np.array([SROA, SROA])) for _ in range(2)]
    assert results[0][3].sum() == 1
    assert not results[1][3].any()
    now = set(children_of(os.getpid())) - others
    assert len(now) == 2 and victim not in now and workers < now
    envs.close()


def test_steps_are_taken_as_they_come(sha256: Program, space: Path) -> None:
    envs = PhaseOrderingVectorEnv(sha256, 3, space=space, step_seconds=2.0)
    envs.reset(seed=0)
    envs.send(np.array([SROA, HANG, SROA]))
    start = time.monotonic()
    seen: list[int] = []
    while len(seen) < 10:
        indices, (observations, rewards, *_, infos) = envs.recv(at_least=1)
        assert len(observations) == len(rewards) == len(indices)
        seen += indices.tolist()
        envs.send(np.full(len(indices), SROA), indices)
    assert 1 not in seen
    assert time.monotonic() - start < 2.0
    indices, (*_, infos) = envs.recv(at_least=3)
    assert sorted(indices.tolist()) == [0, 1, 2]
    assert infos["end"][1] == "timeout"
    envs.close()


def test_programs_that_cannot_start_are_passed_over_and_counted(
    sha256: Program, space: Path
) -> None:
    broken = Program("broken", b"BC\xc0\xde nothing")
    envs = PhaseOrderingVectorEnv([sha256, broken], 4, space=space)
    _, infos = envs.reset(seed=0)
    assert set(infos["program"]) == {sha256.name}
    for _ in range(6):
        envs.reset()
    assert list(envs.failed_programs) == ["broken"]
    envs.close()


def test_closing_leaves_no_process(sha256: Program) -> None:
    before = children_of(os.getpid())
    envs = PhaseOrderingVectorEnv(sha256, 3)
    envs.reset(seed=0)
    assert len(children_of(os.getpid())) == len(before) + 3
    envs.close()
    assert children_of(os.getpid()) == before


def test_bad_calls_begin_nothing(sha256: Program, space: Path) -> None:
    envs = PhaseOrderingVectorEnv(sha256, 2, space=space)
    envs.reset(seed=0)
    for actions, indices in (([0], [-1]), ([0, 0], [1, 1]), ([0], [2]), ([0.5], [0]), ([9], [0])):
        with pytest.raises(ValueError):
            envs.send(np.array(actions), indices)
    envs.send(np.array([SROA]), [0])
    with pytest.raises(CodeZeroError, match="under way"):
        envs.send(np.array([SROA, SROA]), [1, 0])
    indices, _ = envs.recv(2)
    assert indices.tolist() == [0]
    envs.close()
    with pytest.raises(ValueError, match="num_envs"):
        PhaseOrderingVectorEnv(sha256, 0)

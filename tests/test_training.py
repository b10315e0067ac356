"""Training runs: the loop on a toy problem, saving and going on, and real runs on real programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
from toy_run import TOY, KeyEnvs, same, trainer
from train_command import QUICK, begin, execute, go_on, wait_until

from codezero.agents.export import export
from codezero.cli import train as cli
from codezero.compiler import CompileOptions
from codezero.compiler.program import Program
from codezero.compiler.spaces import load_space
from codezero.dreamer.behaviour import Behaviour
from codezero.dreamer.completion import complete
from codezero.dreamer.config import from_dict, to_dict
from codezero.dreamer.learner import Learner
from codezero.dreamer.networks import MLP
from codezero.dreamer.policy import Actor
from codezero.dreamer.replay import Rows
from codezero.dreamer.world_model import WorldModel
from codezero.env.episode import EpisodeSettings
from codezero.env.reward import Costs
from codezero.errors import CodeZeroError
from codezero.evaluation.world_report import imagine
from codezero.search.agent import AgentPolicy
from codezero.training import checkpoints
from codezero.training.config import PRESETS, TaskSettings, TrainConfig
from codezero.training.environments import make_envs
from codezero.training.folder import load_networks, read_run
from codezero.training.networks import Checkpoint, checkpoint_of_agent
from codezero.training.rollouts import RolloutWorker
from codezero.training.trainer import Trainer
from codezero.training.validation import InTurn, Validation, score


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Greedy:
    """An actor that takes the likeliest action."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    def act(self, *where: Any, **options: Any) -> npt.NDArray[np.int64]:
        return self._actor.act(*where, greedy=True)


@pytest.mark.long
def test_the_loop_finds_the_best_return_of_a_toy_problem(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    began = time.process_time()
    run.run()
    assert time.process_time() - began < 60
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    returns = [line["episodes/return"] for line in lines if "episodes/return" in line]
    assert returns[0] < 0.4 and np.median(returns[-4:]) > 1.0, returns
    learner = run._learner
    actor = Actor(learner.world, learner.behaviour, 8)
    worker = RolloutWorker(KeyEnvs(8), Greedy(actor), limit_is_end=True, in_order=True)
    worker.begin()
    played = [worker.advance(random_share=0.0) for _ in range(KeyEnvs.STEPS + 1)]
    # Without the key 0.4 is the most there is.
    assert min(r for e in played for r in e.returns) > 0.85 * KeyEnvs.BEST


# Checkpoints


def comparable(folder: Path) -> dict[str, Any]:
    state = checkpoints.load(folder / "last.pt")
    return {key: value for key, value in state.items() if key not in ("seconds", "replay")}


def test_a_run_that_was_ended_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    short = replace(TOY, steps=2_000, rollouts=replace(TOY.rollouts, random_steps=300))
    trainer(tmp_path / "whole", short).run()

    class Killed(Exception):
        pass

    def kill_later(step: int, values: Any) -> None:
        if step >= 1_500:
            raise Killed

    with pytest.raises(Killed):
        trainer(tmp_path / "parts", short, on_log=kill_later).run()
    state = checkpoints.load(tmp_path / "parts" / "last.pt")
    assert 1_000 <= state["steps"] < 1_500
    again = trainer(tmp_path / "parts", short, resume=True)
    assert again.steps == state["steps"]
    again.run()
    assert same(comparable(tmp_path / "whole"), comparable(tmp_path / "parts"))
    whole, parts = (
        [
            {k: v for k, v in json.loads(line).items() if k != "seconds" and "rate" not in k}
            for line in (tmp_path / name / "log.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "parts")
    )
    assert whole == parts, "what was logged after the checkpoint is logged once"


class UnequalEnvs(KeyEnvs):
    """Where the key is taken and then left alone, the episode is over: the problem is no other."""

    def recv(self, at_least: int = 1) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]:
        indices, (observations, rewards, terminated, truncated, infos) = super().recv(at_least)
        for row, index in enumerate(indices.tolist()):
            state = self._states[index]
            if state is not None and state[0] == 2 and self.np_random.random() < 0.5:
                terminated[row], self._states[index] = True, None
        return indices, (observations, rewards, terminated, truncated, infos)


def test_environments_begin_in_order_however_their_episodes_ended() -> None:
    class Recorder(UnequalEnvs):
        sent: list[list[int]] = []  # noqa: RUF012

        def send(self, actions: npt.NDArray[np.int64], indices: Sequence[int]) -> None:
            self.sent.append(list(indices))
            super().send(actions, indices)

    class Still:
        def act(self, indices: Any, *rest: Any, **options: Any) -> npt.NDArray[np.int64]:
            return np.zeros(len(indices), np.int64)

    envs = Recorder(8)
    envs.np_random = np.random.default_rng(0)
    worker = RolloutWorker(envs, Still(), limit_is_end=True, in_order=True)
    worker.begin()
    while not worker.is_idle:
        worker.advance(random_share=0.0, going_on=False)
    assert worker._idle.tolist() != list(range(8)), "they ended one after the other"
    worker.begin()
    assert envs.sent[-1] == list(range(8))


def test_replay_files_of_no_checkpoint_are_not_taken(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(TOY, steps=1_500, checkpoint_every=500))
    run.run()
    rows = run._replay.rows(run._replay.begin, run._replay.end)
    # As a kill between a checkpoint's replay and the checkpoint leaves it, and one while it writes.
    np.savez(tmp_path / "replay" / f"{run._replay.end}-{run._replay.end + 6}.npz", **rows._asdict())
    (tmp_path / "replay" / ".100-200.npz.tmp-x.npz").write_bytes(b"")
    again = trainer(tmp_path, replace(TOY, steps=2_000, checkpoint_every=500), resume=True)
    assert again._replay.end == run._replay.end
    again.run()
    third = trainer(tmp_path, replace(TOY, steps=2_000), resume=True)
    assert (third._replay.begin, third._replay.end) == (again._replay.begin, again._replay.end)


def test_a_run_takes_rates_from_its_settings_when_it_goes_on(tmp_path: Path) -> None:
    trainer(tmp_path, replace(TOY, steps=10)).run()
    faster = replace(TOY.dreamer, optimizer=replace(TOY.dreamer.optimizer, world_rate=0.5))
    again = trainer(tmp_path, replace(TOY, dreamer=faster), resume=True)
    assert [group["lr"] for group in again._learner._world_optimizer.param_groups] == [0.5]


def test_a_run_whose_losses_are_no_numbers_any_more_ends_in_a_line(tmp_path: Path) -> None:
    absurd = replace(TOY.dreamer, optimizer=replace(TOY.dreamer.optimizer, world_rate=1e30))
    with pytest.raises(CodeZeroError, match="is not a number any more; the last checkpoint"):
        trainer(tmp_path, replace(TOY, dreamer=absurd)).run()


def test_the_replay_comes_back_with_its_oldest_episodes_gone(tmp_path: Path) -> None:
    small = replace(
        TOY,
        dreamer=replace(TOY.dreamer, replay=replace(TOY.dreamer.replay, capacity=700)),
        steps=2_000,
    )
    run = trainer(tmp_path, small)
    run.run()
    files = sorted((tmp_path / "replay").iterdir())
    assert len(files) < 3, "files that hold nothing any more are deleted"
    again = trainer(tmp_path, small, resume=True)
    ours, theirs = run._replay, again._replay
    assert (ours.begin, ours.end) == (theirs.begin, theirs.end)
    for a, b in zip(
        ours.rows(ours.begin, ours.end), theirs.rows(ours.begin, ours.end), strict=True
    ):
        assert np.array_equal(a, b)


def test_checkpoints_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, replace(TOY, steps=10))
    run.run()
    sizes = replace(TOY.dreamer, sizes=replace(TOY.dreamer.sizes, units=48))
    with pytest.raises(CodeZeroError, match=r"last\.pt has other sizes"):
        trainer(tmp_path, replace(TOY, dreamer=sizes), resume=True)
    contents = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(contents[: len(contents) // 2])
    with pytest.raises(CodeZeroError, match="not a checkpoint"):
        trainer(tmp_path, resume=True)
    (tmp_path / "last.pt").unlink()
    with pytest.raises(CodeZeroError, match="no such file"):
        trainer(tmp_path, resume=True)


def test_settings_survive_a_file_and_bad_ones_are_refused() -> None:
    paper = PRESETS["paper"]
    config = replace(paper, steps=7, rollouts=replace(paper.rollouts, lists=("a", "b")))
    stored = json.loads(json.dumps(to_dict(config)))
    assert from_dict(TrainConfig(), stored) == config
    for path, value, message in (
        (("dreamer", "sizes", "units"), "many", r"dreamer\.sizes\.units is 'many'"),
        (("dreamer", "sizes", "units"), 0, "units is 0; it is at least 1"),
        (("dreamer", "sizes", "widgets"), 3, r"no setting 'dreamer\.sizes\.widgets'"),
        (("task", "objective"), "speed", "choose from: instructions, text"),
        (("dreamer", "replay", "smoothing"), 1.0, "below 1"),
        (("dreamer", "replay", "capacity"), 20, "too small for episodes of 46"),
        (("dreamer", "sizes", "bin_limit"), 0.0, "bin_limit is 0.0"),
        (("dreamer", "optimizer", "clip"), 0.0, "clip is 0.0"),
        (("dreamer",), None, "dreamer is None"),
        (("task", "max_steps"), 0, "max_steps is 0"),
        (("task", "step_seconds"), 0.0, "step_seconds is 0.0"),
        (("seed",), -1, "not negative"),
        (("rollouts", "lists"), "a", "is a list of texts"),
    ):
        broken = json.loads(json.dumps(stored))
        inner = broken
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        with pytest.raises(CodeZeroError, match=message):
            from_dict(TrainConfig(), broken)


class FailingEnvs(KeyEnvs):
    """Every third step fails, as a crash of LLVM does."""

    def recv(self, at_least: int = 1) -> tuple[npt.NDArray[np.int64], tuple[Any, ...]]:
        indices, (observations, rewards, terminated, truncated, infos) = super().recv(at_least)
        for row, index in enumerate(indices.tolist()):
            if observations[row, 3]:
                truncated[row], infos["end"][index] = True, "crash"
                self._states[index] = None
        return indices, (observations, rewards, terminated, truncated, infos)


def test_episodes_begin_with_lists() -> None:
    """A share of them, each with a head of one; the actor does the rest, and what is random."""

    class Recorder(KeyEnvs):
        def send(self, actions: npt.NDArray[np.int64], indices: Sequence[int]) -> None:
            sent.append(actions.copy())
            super().send(actions, indices)

    class Obedient:
        def act(
            self, indices: Any, *rest: Any, given: npt.NDArray[np.int64], **options: Any
        ) -> npt.NDArray[np.int64]:
            return np.where(given < 0, 0, given)

    def play(list_share: float, random_share: float) -> npt.NDArray[np.int64]:
        """What was done in 64 episodes, shape (steps, 64)."""
        sent.clear()
        envs = Recorder(64)
        envs.np_random = np.random.default_rng(0)
        worker = RolloutWorker(
            envs,
            Obedient(),
            limit_is_end=True,
            in_order=True,
            lists=[[1, 1, 1], [2, 2]],
            list_share=list_share,
        )
        worker.begin()
        while not worker.is_idle:
            worker.advance(random_share=random_share, going_on=False)
        return np.stack(sent[1 : 1 + KeyEnvs.STEPS])

    sent: list[npt.NDArray[np.int64]] = []
    assert not play(0.0, 0.0).any()
    always = play(1.0, 0.0)
    assert always[0].all(), "each begins with an action of a list"
    heads = {tuple(column) for column in always.T.tolist()}
    rest = KeyEnvs.STEPS
    wanted = [(1,), (1, 1), (1, 1, 1), (2,), (2, 2)]
    assert heads == {head + (0,) * (rest - len(head)) for head in wanted}
    assert 0.3 < (play(0.5, 0.0)[0] > 0).mean() < 0.7
    assert 0.3 < (play(1.0, 0.5)[0] > 0).mean() < 0.7


def test_a_step_that_failed_is_not_learnt_from() -> None:
    class Still:
        def act(self, indices: Any, *rest: Any, **options: Any) -> npt.NDArray[np.int64]:
            return np.zeros(len(indices), np.int64)

    worker = RolloutWorker(FailingEnvs(2), Still(), limit_is_end=True, in_order=True)
    worker.begin()
    experiences = [worker.advance(random_share=0.0) for _ in range(5)]
    episodes = [episode for e in experiences for episode in e.episodes]
    assert sum(e.steps for e in experiences) == 6
    assert sum((e.ends for e in experiences), start=type(experiences[0].ends)()) == {"crash": 2}
    assert [len(episode.actions) for episode in episodes] == [2, 2]
    assert [len(episode.observations) for episode in episodes] == [3, 3]
    assert not any(episode.terminated for episode in episodes)


def test_scores_compare_with_the_baseline() -> None:
    result = score(best=[50, 200, 100], final=[60, 200, 100], baseline=[100, 100, 100])
    assert result.programs == 3
    assert result.geomean == pytest.approx((2 * 0.5 * 1) ** (1 / 3))
    assert result.with_fallback == pytest.approx(2 ** (1 / 3))
    assert result.final == pytest.approx((100 / 60 * 0.5) ** (1 / 3))
    assert result.best_share == pytest.approx(2 / 3)


def test_validation_is_of_the_same_programs_each_time(load: Callable[..., Program]) -> None:
    broken = Program("broken", b"no bitcode", CompileOptions())
    programs = InTurn([load("sha256.c"), broken, load("lzss.c")])
    settings = TaskSettings(max_steps=6).episode_settings()
    with closing(make_envs(programs, settings, 10.0, 2)) as envs:
        validation = Validation(envs, programs, settings.num_actions, seed=0)
        first, second = validation.of_random(), validation.of_random()
        assert first == second and first is not None and first.programs == 2
        learner = Learner(settings.layout, settings.num_actions, PRESETS["debug"].dreamer)
        first, second = validation.of_greedy(learner), validation.of_greedy(learner)
        assert first == second and first is not None and first.programs == 2
        assert validation.of_random(lambda: True) is None


# The command, on real programs


def test_the_command_trains_validates_and_saves(training_corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = execute("--corpus", training_corpus, "--logdir", folder, *QUICK)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] >= 400 and lines[-1]["updates"] >= 10
    validations = [line for line in lines if "validation/geomean" in line]
    assert validations and all(line["validation/programs"] == 2 for line in validations)
    assert lines[0]["step"] == 0 and lines[0]["validation/random_programs"] == 2
    best = checkpoints.load(folder / "best.pt")
    assert best["score"]["geomean"] == max(v["validation/geomean"] for v in validations)
    assert list(folder.glob("events.out.tfevents.*"))
    assert "environment steps a second" in done.stdout


def test_the_command_goes_on_after_it_was_killed(training_corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    endless = [*QUICK, "--steps", "1000000"]
    process = begin("--corpus", training_corpus, "--logdir", folder, *endless)
    wait_until((folder / "last.pt").exists, process)
    process.kill()
    process.wait()
    assert 60 <= go_on(folder, 60) < 500


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_saves_where_it_was_asked_to_end(
    how: signal.Signals, training_corpus: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "run", tmp_path / "run" / "log.jsonl"
    endless = [*QUICK, "--steps", "1000000", "--checkpoint-every", "1000000"]
    process = begin("--corpus", training_corpus, "--logdir", folder, *endless)
    wait_until(lambda: log.exists() and '"step": 2' in log.read_text(), process)
    os.killpg(process.pid, how)  # to its environments as well, as a terminal and timeout(1) do
    assert process.wait(60) == 130
    last = json.loads(log.read_text().splitlines()[-1])
    assert checkpoints.load(folder / "last.pt")["steps"] == last["step"] >= 200
    assert "episodes/end_crash" not in last and "episodes/end_error" not in last
    assert 60 <= go_on(folder, 60) < 500


def test_a_signal_that_comes_twice_is_one_and_a_later_one_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stoppable:
        stopped = 0

        def stop(self) -> None:
            self.stopped += 1

    run = Stoppable()
    with cli._stopping_on_signals(cast(Trainer, run)) as received:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert received and run.stopped
        monkeypatch.setattr(cli, "SAME_SIGNAL_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_what_cannot_be_trained_is_refused_in_a_line(
    training_corpus: Path, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    nothing = tmp_path / "nothing.parquet"
    for arguments, message in (
        (("--corpus", nothing, "--logdir", run), "nothing.parquet"),
        (("--corpus", training_corpus), "give --corpus and --logdir, or --resume"),
        (("--corpus", training_corpus, "--logdir", run, "--preset", "huge"), "no preset 'huge'"),
        (("--corpus", training_corpus, "--logdir", run, "--dreamer.sizes.units", 0), "units is 0"),
        (("--corpus", training_corpus, "--logdir", run, "--task.space", "nosuch"), "nosuch"),
        (("--corpus", training_corpus, "--logdir", run, "--device", "cuda:7"), "--device cuda:7"),
        (("--corpus", training_corpus, "--logdir", run, "--task.reward", "BEST"), "observe sizes"),
        (
            ("--corpus", training_corpus, "--logdir", run, "--rollouts.lists", nothing),
            "cannot read",
        ),
        (("--resume", tmp_path), "is no training run"),
        (("--corpus", training_corpus, "--logdir", run, "--sed", 3), "Unrecognized options: --sed"),
        (("--corpus", training_corpus, "--logdir", run, "--steps", "many"), "'many'"),
    ):
        done = execute(*arguments)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert not run.exists()
    start = ("--start-from", trained / "best.pt", "--dreamer.sizes.units", 24)
    done = execute("--corpus", training_corpus, "--logdir", run, *QUICK, *start)
    assert done.returncode == 2 and "best.pt has other sizes" in done.stderr and not run.exists()
    lonely = tmp_path / "lonely.parquet"
    pq.write_table(pq.read_table(training_corpus, filters=[("split", "=", "train")]), lonely)
    done = execute("--corpus", lonely, "--logdir", run)
    assert done.returncode == 2 and "--validation-programs 0" in done.stderr and not run.exists()
    done = execute("--corpus", training_corpus, "--logdir", run, "--dreamer.sizes.widgets", "3")
    assert done.returncode == 2 and "widgets" in done.stderr and not run.exists()


# Agents


@pytest.fixture(scope="module")
def trained(training_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert execute("--corpus", training_corpus, "--logdir", folder, *QUICK).returncode == 0
    return folder


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_starts_from_the_networks_of_another(
    training_corpus: Path, trained: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    folder = tmp_path / "run"
    start = ("--start-from", trained / f"{checkpoint}.pt")
    only_random = ("--steps", 50, "--rollouts.random-steps", 1000)
    done = execute("--corpus", training_corpus, "--logdir", folder, *QUICK, *start, *only_random)
    assert done.returncode == 0, done.stderr
    ours, theirs = load_networks(folder, "last"), load_networks(trained, checkpoint)
    for one, other in ((ours.world, theirs.world), (ours.behaviour, theirs.behaviour)):
        for name, weights in one.state_dict().items():
            assert torch.equal(weights, other.state_dict()[name]), name
    assert ours.steps < theirs.steps, "all but the networks begins anew"


def codezero(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "codezero", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_an_exported_policy_decides_as_the_trained_one(trained: Path, tmp_path: Path) -> None:
    from codezero.agents.agent import Agent
    from codezero.agents.export import PolicyStep

    description = export(trained, tmp_path / "agent", "last", "float32")
    agent = Agent(tmp_path / "agent")
    config, _ = read_run(trained)
    settings = agent.settings
    state = checkpoints.load(trained / "last.pt")["learner"]
    world = WorldModel(settings.layout, settings.num_actions, config.dreamer)
    behaviour = Behaviour(settings.num_actions, config.dreamer)
    world.load_state_dict(state["world"])
    behaviour.load_state_dict(state["behaviour"])
    step = PolicyStep(world, behaviour)
    rng = np.random.default_rng(0)
    memory = agent.begin(5)
    h, z = world.rssm.initial(5)
    action = torch.zeros(5, dtype=torch.int64)
    for t in range(10):
        observation = rng.random((5, settings.observation_size), np.float32)
        policy = agent.decide(memory, observation).policy
        goes_on = torch.full((5,), float(t > 0))
        theirs, h, z, _ = step(torch.from_numpy(observation), h, z, action, goes_on)
        np.testing.assert_allclose(policy, theirs.detach().numpy(), atol=1e-4)
        memory.action = policy.argmax(-1)
        assert np.array_equal(memory.action, theirs.argmax(-1).numpy())
        action = torch.from_numpy(memory.action)
    assert description["task"]["passes"] == [p.name for p in settings.space.passes]


@pytest.mark.long
def test_a_run_starts_from_an_agent(training_corpus: Path, trained: Path, tmp_path: Path) -> None:
    """Its policy goes on as it was; what the policy's file lacks learns before the first update."""
    agent, run = tmp_path / "agent", tmp_path / "run"
    export(trained, agent, "last", "float16")
    begins = ("--corpus", training_corpus, "--logdir", run, *QUICK, "--start-from", agent)
    assert execute(*begins, "--steps", 50, "--rollouts.random-steps", 1000).returncode == 0
    ours, theirs = load_networks(run, "last"), load_networks(trained, "last")
    alike = ours.world.encoder.state_dict(), theirs.world.encoder.state_dict()
    for name, weights in alike[0].items():
        torch.testing.assert_close(weights, alike[1][name], rtol=1e-3, atol=1e-4)
    untrained = {name.split(".")[0] for name in checkpoints.load(run / "start.pt")["untrained"]}
    assert untrained == {"decoders", "reward", "goes_on", "rssm"}, "of the rssm the prior"
    critics = ours.behaviour.critic, theirs.behaviour.slow_critic
    for weights, its in zip(critics[0].parameters(), critics[1].parameters(), strict=True):
        torch.testing.assert_close(weights, its, rtol=1e-3, atol=1e-4)

    done = execute("--resume", run, "--steps", 1200)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    completed = [line["step"] for line in lines if "completion/loss" in line]
    learnt = [line["step"] for line in lines if line.get("updates")]
    assert len(completed) == 1 and completed[0] <= min(learnt)
    shutil.rmtree(run)

    for wrong, message in (
        (("--task.space", "autophase"), "was trained for other passes"),
        (("--dreamer.sizes.units", 24), "has other sizes"),
    ):
        done = execute(*begins, *wrong)
        assert done.returncode == 2 and message in done.stderr and not run.exists(), done.stderr
    export(trained, agent, "last", "int8")
    done = execute(*begins)
    assert done.returncode == 2 and "eight bits" in done.stderr and not run.exists()
    done = execute(*begins[:-1], tmp_path)
    assert done.returncode == 2 and "is no agent" in done.stderr and not run.exists()


def test_lists_that_an_agent_does_not_know_begin_as_passes_that_it_does(
    trained: Path, tmp_path: Path
) -> None:
    agent, path = tmp_path / "agent", tmp_path / "space.toml"
    export(trained, agent, "last", "float32")
    passes = load_space("sound").passes
    entries = [
        f"[[pass]]\nname = {p.name!r}\npipeline = {p.pipeline!r}\n" for p in reversed(passes)
    ]
    entries.append("[[pass]]\nname = 'a'\npasses = ['default-os', 'default-oz', 'dce']\n")
    entries.append("[[pass]]\nname = 'b'\npasses = ['dce', 'gvn']\n")
    path.write_text("".join(entries))
    config = load_networks(trained, "last").config
    config = replace(config, task=replace(config.task, space=str(path)))
    state = checkpoint_of_agent(agent, config)
    theirs = load_networks(trained, "last")
    actions = [p.name for p in passes]
    like = [*actions[::-1], "default-oz", "gvn"]
    known = torch.tensor([actions.index(name) for name in like])
    for its, own, name in (
        (theirs.world.state_dict(), state["world"], "rssm.action_in.weight"),
        (theirs.behaviour.state_dict(), state["behaviour"], "actor.outputs.weight"),
        (theirs.behaviour.state_dict(), state["behaviour"], "actor.outputs.bias"),
    ):
        torch.testing.assert_close(own[name], its[name][known])
    name, count = "encoder.hidden.0.linear.weight", len(passes)
    own, its = state["world"][name], theirs.world.state_dict()[name]
    torch.testing.assert_close(own[:, :56], its[:, :56])
    torch.testing.assert_close(own[:, 56 : 56 + count], its[:, 56:].flip(1))
    assert own.shape[1] == 56 + count + 2 and not own[:, -2:].any(), "not seen to be taken"
    path.write_text("".join(entries[1:-2]))
    with pytest.raises(CodeZeroError, match="other passes than"):
        checkpoint_of_agent(agent, config)


def test_only_what_is_missing_of_a_world_model_learns() -> None:
    torch.manual_seed(0)
    config = PRESETS["debug"].dreamer
    config = replace(config, losses=replace(config.losses, free_nats=0.0))
    layout = {"sizes": slice(0, 3)}
    world = WorldModel(layout, 4, config)
    rng = np.random.default_rng(0)
    length, batch = config.replay.length, config.replay.batch
    observation = np.broadcast_to(rng.random((1, batch, 3)), (length, batch, 3))
    rows = Rows(
        observation.astype(np.float32),
        rng.integers(4, size=(length, batch)),
        np.ones((length, batch), np.float32),
        np.ones((length, batch), np.float32),
        np.arange(length)[:, None] == np.zeros(batch),
    )
    before = {name: weights.clone() for name, weights in world.state_dict().items()}
    names = {name for name in before if name.startswith(("decoders.", "rssm.prior."))}
    losses = [complete(world, names, [rows] * n, config.optimizer) for n in (1, 100)]
    assert losses[1]["world/sizes"] < 0.8 * losses[0]["world/sizes"]
    for name, weights in world.state_dict().items():
        assert torch.equal(weights, before[name]) != (name in names), name
    assert complete(world, names, [], config.optimizer) == {}


def test_an_agent_may_be_the_mean_of_checkpoints(trained: Path, tmp_path: Path) -> None:
    from codezero.agents.weights import read_weights

    agent, other = tmp_path / "agent", tmp_path / "other.pt"
    state = checkpoints.load(trained / "best.pt")
    for part in ("world", "behaviour"):
        state[part] = {name: weights + 1.0 for name, weights in state[part].items()}
    checkpoints.save(other, state)
    done = codezero("export", trained, agent, "--precision", "float32", "--mean-with", other, other)
    assert done.returncode == 0, done.stderr
    description = json.loads((agent / "agent.json").read_text())
    assert description["trained"]["checkpoints"] == 3
    best = load_networks(trained, "best")
    for weights, module in zip(read_weights(agent), (best.world, best.behaviour), strict=True):
        own = module.state_dict()
        shared = {name for name in weights if name in own and "critic" not in name}
        assert len(shared) >= 5
        for name in shared - {"two_hot.centres"}:
            torch.testing.assert_close(weights[name], own[name] + 2 / 3)
    done = codezero("export", trained, agent, "--mean-with", tmp_path / "none.pt")
    assert done.returncode == 2 and "no such file" in done.stderr


def test_an_agent_is_a_policy_like_others(trained: Path, tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    done = codezero("export", trained, agent)
    assert done.returncode == 0, done.stderr
    source = Path(__file__).parents[1] / "examples" / "lzss.c"
    evaluate = ("evaluate", source, "--json", "--policy", f"agent:{agent}")
    reports = [json.loads(codezero(*evaluate).stdout) for _ in range(2)]
    results = [report["programs"][0] for report in reports]
    assert results[0]["ratio"] >= 1.0 and results[0]["policy"] == "agent:agent"
    assert results[0]["passes"] == results[1]["passes"], "the same program, the same decisions"
    done = codezero(*evaluate, "--max-steps", "9")
    assert done.returncode == 2 and "trained for other steps" in done.stderr
    (agent / "policy.onnx").write_bytes(b"nothing")
    done = codezero(*evaluate)
    assert done.returncode == 2 and "policy.onnx cannot be loaded" in done.stderr
    done = codezero("evaluate", source, "--policy", f"agent:{tmp_path}")
    assert done.returncode == 2 and "is no agent" in done.stderr
    done = codezero("export", tmp_path, agent)
    assert done.returncode == 2 and "is no training run" in done.stderr


@pytest.mark.long
def test_an_agent_that_was_trained_to_see_more_is_shown_it(
    training_corpus: Path, tmp_path: Path
) -> None:
    run, agent = tmp_path / "run", tmp_path / "agent"
    options = (
        *QUICK,
        "--steps",
        "200",
        "--task.observe",
        "shape",
        "sizes",
        "--task.reward",
        "BEST",
    )
    assert execute("--corpus", training_corpus, "--logdir", run, *options).returncode == 0
    networks = load_networks(run, "last")
    sizes = cast(MLP, networks.world.decoders["sizes"]).outputs
    assert sizes is not None
    with torch.no_grad():
        sizes.weight.zero_()
        sizes.bias[:] = np.log1p(2.0)  # symlog
    seen = np.ones(networks.world.observation, np.float32)
    imagined = imagine(networks, seen, [0, 1], Costs(50, 30), torch.Generator())
    assert imagined.costs == pytest.approx(np.full(3, 2 * 30.0)), "told by sizes, not by rewards"
    export(run, agent, "last", "float32")
    policy = AgentPolicy(agent)
    task = EpisodeSettings(networks.settings.space)
    assert policy.adapt(task) == replace(task, observe=("shape", "sizes"))
    source = Path("examples", "sha256.c")
    done = codezero("evaluate", source, "--json", "--policy", f"agent:{agent}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["programs"][0]["ratio"] >= 1.0


@pytest.mark.long
def test_a_finished_run_goes_on_to_more_steps_and_under_its_own_settings(
    trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    assert go_on(run, 40) >= 40
    process = begin("--resume", run, "--threads", "1", "--steps", TrainConfig.steps)
    wait_until(lambda: checkpoints.read_config(run)["steps"] == TrainConfig.steps, process)
    process.kill()
    process.wait()
    for options, message in (
        (("--seed", "0"), "not with --seed"),
        (("--task.no-limit-is-end",), "not with --task.no-limit-is-end"),
        (("--preset", "paper"), "not with --preset"),
        (("--logdir", tmp_path), "or --resume"),
    ):
        done = execute("--resume", run, *options)
        assert done.returncode == 2 and message in done.stderr, done.stderr


def test_a_run_that_was_ended_before_its_first_checkpoint_begins_anew(
    trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "last.pt").unlink()
    done = execute("--resume", run, "--threads", "1", "--steps", "200")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines].count(0) == 1 and lines[-1]["step"] < 400


@pytest.mark.long
def test_lists_go_with_the_run(training_corpus: Path, tmp_path: Path) -> None:
    passes, run = tmp_path / "passes.txt", tmp_path / "run"
    passes.write_text("mem2reg\ninstcombine\n")
    options = ("--rollouts.lists", passes, "--rollouts.list-share", "1", "--rollouts.random-share")
    done = execute("--corpus", training_corpus, "--logdir", run, *QUICK, *options, "0")
    assert done.returncode == 0, done.stderr
    passes.unlink()
    run = run.rename(tmp_path / "moved")
    assert go_on(run, 100) >= 100
    space = load_space("sound")
    rows = checkpoints.newest_rows(run / "replay", 100)
    assert rows is not None
    begins = np.flatnonzero(rows.is_first)
    taken = rows.action[begins[begins + 1 < len(rows.action)] + 1]
    assert len(taken) and (taken == space.action("mem2reg")).all()


@pytest.mark.long
def test_an_agent_may_learn_to_restart(training_corpus: Path, tmp_path: Path) -> None:
    run, agent = tmp_path / "run", tmp_path / "agent"
    shares = ("--rollouts.random-share", "1", "--rollouts.restart-share", "0.5")
    done = execute(
        "--corpus", training_corpus, "--logdir", run, *QUICK, "--task.restart", *shares
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    restart = len(load_space("sound"))
    rows = checkpoints.newest_rows(run / "replay", 1000)
    assert rows is not None
    taken = rows.action[~rows.is_first]
    assert 0.3 < (taken == restart).mean() < 0.7 and taken.max() == restart
    description = export(run, agent, "last", "float32")
    assert description["task"]["restart"]
    for options in (("--json",), ("--json", "--space", "sound")):
        done = codezero("evaluate", "examples/sha256.c", "--policy", f"agent:{agent}", *options)
        (program,) = json.loads(done.stdout)["programs"]
        assert program["ratio"] >= 1.0 and "restart" not in program["passes"]


def test_a_users_pass_space_goes_with_the_run_and_the_agent(
    training_corpus: Path, tmp_path: Path, space_file: Callable[..., Path]
) -> None:
    space = space_file("mem2reg", "instcombine", "simplifycfg")
    run, agent = tmp_path / "run", tmp_path / "agent"
    done = execute("--corpus", training_corpus, "--logdir", run, *QUICK, "--task.space", space)
    assert done.returncode == 0, done.stderr
    space.unlink()
    run = run.rename(tmp_path / "moved")
    assert codezero("export", run, agent).returncode == 0
    shutil.rmtree(run)
    source = Path(__file__).parents[1] / "examples" / "lzss.c"
    evaluate = ("evaluate", source, "--policy", f"agent:{agent}")
    done = codezero(*evaluate)
    assert done.returncode == 2 and f"--space {agent / 'space.toml'}" in done.stderr
    done = codezero(*evaluate, "--space", agent / "space.toml")
    assert done.returncode == 0, done.stderr


def test_the_curve_of_a_run_is_drawn(trained: Path, tmp_path: Path) -> None:
    figure = tmp_path / "curve.png"
    done = codezero("curve", trained, "-o", figure)
    assert done.returncode == 0, done.stderr
    assert figure.read_bytes().startswith(b"\x89PNG")
    best = checkpoints.load(trained / "best.pt")["score"]["geomean"]
    assert f"best {best:.3f}" in done.stdout and "random passes" in done.stdout
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    for folder, message in ((tmp_path, "validated yet"), (tmp_path / "x", "no training run")):
        done = codezero("curve", folder, "-o", figure)
        assert done.returncode == 2 and message in done.stderr


@pytest.mark.long
def test_an_agent_has_the_precision_that_is_asked_for(trained: Path, tmp_path: Path) -> None:
    from codezero.agents.agent import Agent

    sizes = {}
    for precision in ("float32", "float16", "int8"):
        folder = tmp_path / precision
        done = codezero("export", trained, folder, "--precision", precision)
        assert done.returncode == 0, done.stderr
        assert Agent(folder).description["policy"] == {"precision": precision}
        sizes[precision] = (folder / "policy.onnx").stat().st_size
    assert sizes["float16"] <= sizes["float32"]


@pytest.mark.parametrize(
    ("is_decided", "expected"), [(False, ["int8", "float16", "float32"]), (True, ["int8"])]
)
def test_the_smallest_policy_that_decides_the_same_is_taken(
    is_decided: bool, expected: list[str], tmp_path: Path
) -> None:
    from codezero.agents.export import PolicyStep, write_onnx
    from codezero.agents.precision import Episodes, convert, decisions, smallest

    torch.manual_seed(0)
    config = PRESETS["small"].dreamer
    world, behaviour = WorldModel({"autophase": slice(0, 56)}, 9, config), Behaviour(9, config)
    outputs = behaviour.actor.outputs
    assert outputs is not None
    if is_decided:  # what nothing has trained decides by a hair
        outputs.weight.data[:] *= 0.01
        outputs.bias.data[3] = 5.0
    original, target = tmp_path / "original.onnx", tmp_path / "smallest.onnx"
    write_onnx(PolicyStep(world, behaviour), 56, original)
    rng = np.random.default_rng(0)
    episodes = Episodes(rng.random((20, 30, 56), np.float32), rng.integers(0, 9, (20, 30)))
    precision, measured = smallest(original, target, episodes)
    assert precision == expected[-1] and list(measured) == expected
    shares = [m["same"] / m["decisions"] for m in measured.values()]
    assert shares[-1] >= 0.999 and all(share < 0.999 for share in shares[:-1])
    assert [m["decisions"] for m in measured.values()] == [600] * len(expected)
    size = original.stat().st_size
    for precision, most in (("float16", 0.6), ("int8", 0.4)):
        convert(original, target, precision)
        assert target.stat().st_size < most * size
    # Programs that are decided on together do not depend on each other.
    one = Episodes(episodes.observations[:, :1], episodes.actions[:, :1])
    together = decisions(target, "int8", episodes)[:, :1]
    assert np.array_equal(decisions(target, "int8", one), together)


# The world model's report


def test_the_report_compares_what_is_imagined_with_what_happens(
    trained: Path, tmp_path: Path
) -> None:
    examples = Path(__file__).parents[1] / "examples"
    passes = tmp_path / "passes.txt"
    passes.write_text("sroa\ninstcombine\nsimplifycfg\n")
    plot = tmp_path / "figure.png"
    arguments = ("world", trained, examples / "lzss.c", "--passes", passes, "--plot", plot)
    reports = [codezero(*arguments, "--json", "--checkpoint", "last") for _ in range(2)]
    assert reports[0].returncode == 0, reports[0].stderr
    assert reports[0].stdout == reports[1].stdout, "the same seed imagines the same"
    assert plot.read_bytes().startswith(b"\x89PNG")
    report = json.loads(reports[0].stdout)
    (program,) = report["programs"]
    real, imagined = program["real"], program["imagined"]
    assert program["passes"] == ["sroa", "instcombine", "simplifycfg"]
    for trajectory in (real, imagined):
        assert len(trajectory["costs"]) == len(trajectory["blocks_per_instruction"]) == 4
        assert len(trajectory["rewards"]) == 3
    # What the compiler does, by the compiler itself.
    module = real_module(examples / "lzss.c")
    costs = [module.instruction_count()]
    for text in ("sroa", "instcombine<no-verify-fixpoint>", "simplifycfg"):
        module.run(text)
        costs.append(module.instruction_count())
    assert real["costs"][:2] == costs[:2] and real["costs"][0] == imagined["costs"][0]
    unit = costs[0] - program["baseline"]
    raw = [(a - b) / unit for a, b in zip(real["costs"], real["costs"][1:], strict=False)]
    alpha = PRESETS["debug"].dreamer.replay.smoothing
    assert real["rewards"][0] == pytest.approx(raw[0])
    assert real["rewards"][1] == pytest.approx(alpha * raw[0] + (1 - alpha) * raw[1])
    horizons = report["errors"]
    assert [error["horizon"] for error in horizons] == [1, 2, 3]
    assert horizons[1]["total_reward_no_change"] == pytest.approx(abs(sum(real["rewards"][:2])))
    wrong = abs(sum(real["rewards"][:2]) - sum(imagined["rewards"][:2]))
    assert horizons[1]["total_reward"] == pytest.approx(wrong)


def real_module(source: Path) -> Any:
    from codezero.compiler.protocols import Protocol
    from codezero.programs.load import ProgramLoader, parse_module

    loader = ProgramLoader()
    try:
        program, _ = loader.load([source])
    finally:
        loader.close()
    module = parse_module(program)
    Protocol.CLANG.prepare(module)
    return module


def test_the_report_of_a_suite_has_the_errors_by_horizon(trained: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    for name in ("lzss.c", "vm.c"):
        source = Path(__file__).parents[1] / "examples" / name
        (suite / name).write_bytes(source.read_bytes())
    (suite / "broken.c").write_text("int f(void) { return")
    plot = tmp_path / "errors.png"
    done = codezero("world", trained, suite, "--plot", plot, "--checkpoint", "last")
    assert done.returncode == 1 and "broken.c" in done.stderr
    assert "no change" in done.stdout and plot.exists()
    rows = [line.split() for line in done.stdout.splitlines() if line.split()[1:2] == ["2"]]
    assert rows[0][0] == "1" and all(float(number) >= 0 for row in rows for number in row)


def test_what_no_report_can_be_made_of_is_said(trained: Path, tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "examples" / "lzss.c"
    passes = tmp_path / "passes.txt"
    passes.write_text("nosuchpass\n")
    for arguments, message in (
        ((tmp_path, source), "is no training run"),
        ((trained, tmp_path / "nothing.c"), "no such file or folder"),
        ((trained, source, "--passes", passes), "no pass 'nosuchpass'"),
    ):
        done = codezero("world", *arguments, "--checkpoint", "last")
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert "Traceback" not in done.stderr

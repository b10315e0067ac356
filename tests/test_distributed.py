"""Training in several processes: learning on several devices, and episodes on a Ray cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_run import TOY, KeyEnvs, same, trainer
from train_command import QUICK, begin, execute, go_on, wait_until

from codezero.dreamer.replicas import ReplicatedLearner
from codezero.errors import CodeZeroError
from codezero.training import checkpoints
from codezero.training.config import TrainConfig
from codezero.training.trainer import Trainer


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# Learning


REPLICATED = replace(
    TOY,
    steps=600,
    checkpoint_every=300,
    rollouts=replace(TOY.rollouts, random_steps=200, first_updates=10),
)


@contextmanager
def replicated(folder: Path, config: TrainConfig = REPLICATED, **options: Any) -> Iterator[Trainer]:
    """A trainer whose learner is two processes."""
    layout = {"autophase": slice(0, KeyEnvs.STEPS + 2)}
    with ReplicatedLearner(layout, 3, config.dreamer, ["cpu", "cpu"]) as learner:
        yield trainer(folder, config, learner, **options)


def test_two_processes_learn_in_step_and_go_on_where_they_were(tmp_path: Path) -> None:
    with replicated(tmp_path / "parts", replace(REPLICATED, steps=300)) as run:
        run.run()
    with replicated(tmp_path / "whole") as run:
        run.run()  # saving compares their weights
        losses = [
            json.loads(line).get("world/loss")
            for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
        ]
    assert losses[-1] < losses[0]
    with replicated(tmp_path / "parts", resume=True) as again:
        assert 300 <= again.steps < 400
        again.run()
    whole, parts = (checkpoints.load(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert whole["steps"] == parts["steps"] and len(whole["learner"]["replicas"]) == 1
    assert same(whole["learner"], parts["learner"])


def test_a_learning_process_that_is_killed_ends_the_run_in_a_line(tmp_path: Path) -> None:
    with replicated(tmp_path) as run:
        learner = run._learner
        assert isinstance(learner, ReplicatedLearner)
        learner._processes[0].kill()
        with pytest.raises(CodeZeroError, match="the learning process 1 has ended"):
            run.run()


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(CodeZeroError, match="16 sequences cannot be shared among 3"):
        ReplicatedLearner({"autophase": slice(0, 7)}, 3, TOY.dreamer, ["cpu"] * 3)


def processes_of(session: int) -> list[str]:
    """Command lines of a session's processes, of what they started included."""
    listed = subprocess.run(
        ["ps", "-s", str(session), "-o", "args="], capture_output=True, text=True, check=False
    )
    return listed.stdout.splitlines()


def lines_of(run: Path) -> list[dict[str, Any]]:
    log = run / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.long
def test_nothing_stays_of_a_run_on_two_devices_that_is_killed(
    training_corpus: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = [*QUICK, "--steps", "1000000", "--device", "cpu", "cpu"]
    process = begin("--corpus", training_corpus, "--logdir", run, *options)
    wait_until((run / "last.pt").exists, process)
    process.kill()
    process.wait()
    wait_until(lambda: not processes_of(process.pid), seconds=20)
    assert go_on(run, 60) >= 60


def test_a_run_on_two_devices_saves_where_all_of_it_is_asked_to_end(
    training_corpus: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = [*QUICK, "--steps", "1000000", "--checkpoint-every", "1000000"]
    options += ["--device", "cpu", "cpu"]
    process = begin("--corpus", training_corpus, "--logdir", run, *options)
    wait_until(lambda: any(line.get("updates") for line in lines_of(run)))
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 130
    state = checkpoints.load(run / "last.pt")
    assert state["steps"] == lines_of(run)[-1]["step"] and state["learner"]["replicas"]


# Rollouts


@pytest.mark.parametrize(
    "first_updates",
    [2, pytest.param(400, marks=pytest.mark.long)],
    ids=["playing", "waiting"],
)
def test_a_run_on_a_cluster_outlives_its_workers(
    first_updates: int, training_corpus: Path, tmp_path: Path
) -> None:
    """A worker is killed while it plays, or while it waits for the learner's first updates."""
    run = tmp_path / "run"
    options = [*QUICK, "--steps", "1000000", "--checkpoint-every", "1000000"]
    options += ["--rollouts.first-updates", str(first_updates), "--log-every", "50"]
    options += ["--ray", "local", "--ray-workers", "1"]
    process = begin("--corpus", training_corpus, "--logdir", run, *options, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: any(line["step"] >= 50 for line in lines_of(run)))
        (worker,) = workers()
        if first_updates > 2:
            wait_until(lambda: lines_of(run)[-1]["step"] >= 100)
            time.sleep(2.0)
            assert lines_of(run)[-1]["updates"] == 0
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: any(line.get("episodes/workers_lost") for line in lines_of(run)))
        lost = lines_of(run)[-1]["step"]
        wait_until(lambda: lines_of(run)[-1]["step"] > lost + 200)
        assert workers() != [worker]
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(60) == 130
    finally:
        process.kill()
    state = checkpoints.load(run / "last.pt")
    assert state["steps"] > lost and state["learner"]["updates"] > 0
    wait_until(lambda: not workers(), seconds=20)


def workers() -> list[int]:
    found = subprocess.run(
        ["pgrep", "-f", "ray::RemoteWorker"], capture_output=True, text=True, check=False
    )
    return [int(number) for number in found.stdout.split()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ray", "127.0.0.1:1"), "no Ray cluster at '127.0.0.1:1'"),
        (("--ray", "host:port"), "no Ray cluster at 'host:port'"),
        (("--ray-workers", "2"), "give --ray as well"),
        (("--ray", "local", "--rollouts.in-order"), "--rollouts.in-order waits for one process"),
        (("--ray", "local", "--rollouts.envs", "5000"), "lower --rollouts.envs"),
        (("--device", "cpu", "cpu", "cpu"), "4 sequences cannot be shared among 3"),
        (("--device", "all"), "there is no GPU"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_in_a_line(
    options: tuple[str, ...], message: str, training_corpus: Path, tmp_path: Path
) -> None:
    if options[-1] == "all" and torch.cuda.is_available():
        pytest.skip("there are GPUs")
    run = tmp_path / "run"
    done = execute("--corpus", training_corpus, "--logdir", run, *QUICK, *options)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not run.exists()

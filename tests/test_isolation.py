"""Worker processes: what kills them, and that nothing survives whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import NEVER_ENDS, children_of, is_alive

from codezero.cli import main
from codezero.compiler.program import Program
from codezero.env.episode import EpisodeSettings
from codezero.errors import ProgramError
from codezero.isolation import (
    CommandRunner,
    CommandStopped,
    Worker,
    WorkerCrashed,
    WorkerFailure,
    WorkerTimedOut,
    started_ahead,
)


class Target:
    """What the tests call in a child."""

    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    def fail(self) -> None:
        raise ProgramError("said by the child")

    def abort(self) -> None:
        os.write(2, b"LLVM ERROR: of its own\n")
        os.abort()

    def exhaust(self) -> int:
        return len(bytearray(1 << 34))

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.fixture
def worker() -> Worker:
    return Worker("test_isolation:Target", {"start": 5})


def test_state_lives_in_the_child(worker: Worker) -> None:
    assert worker.call("add", 1) == 6
    assert worker.call("add", 1) == 7
    worker.close()


def test_a_process_that_was_started_ahead_is_the_first_workers() -> None:
    before = children_of(os.getpid())
    with started_ahead("test_isolation:Target"), started_ahead("test_isolation:Target"):
        (ahead,) = set(children_of(os.getpid())) - set(before)
        with Worker("test_isolation:Target", {"start": 5}) as first:
            assert first.call("add", 1) == 6
            assert set(children_of(os.getpid())) - set(before) == {ahead}
            with Worker("test_isolation:Target", environment={"SOME": "1"}) as second:
                assert second.call("add", 1) == 1
                assert len(set(children_of(os.getpid())) - set(before)) == 2
        assert not is_alive(ahead)


def test_a_process_that_nobody_takes_ends() -> None:
    before = children_of(os.getpid())
    with started_ahead("test_isolation:Target"):
        assert len(children_of(os.getpid())) == len(before) + 1
    assert children_of(os.getpid()) == before


FORKS = """
import os, signal, sys
from codezero.isolation import Worker, started_ahead
print("before", end=" ")
with started_ahead("pathlib:PurePosixPath"):
    (child,) = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    is_copy = open("/proc/self/cmdline").read() == open(f"/proc/{child}/cmdline").read()
    print(is_copy, child, flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    worker = Worker("pathlib:PurePosixPath")
    print(worker.call("as_posix"), flush=True)
    if sys.argv[1] == "exits":
        os._exit(0)
    os.kill(int(child), signal.SIGTERM)  # which is the parent's to handle
    os.kill(int(child), signal.SIGINT)
    print(worker.call("as_posix"), flush=True)
"""


@pytest.mark.parametrize("how", ["killed", "exits", "ends"])
def test_a_process_without_threads_forks_and_what_it_forks_ends_with_it(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORKS, how], capture_output=True, text=True)
    before, is_copy, child, *answers = done.stdout.split()
    assert (before, is_copy) == ("before", "True"), "it prints what it has to print once"
    assert answers == {"killed": [], "exits": ["."], "ends": [".", "."]}[how]
    assert done.returncode == (-signal.SIGKILL if how == "killed" else 0), done.stderr
    deadline = time.monotonic() + 20
    while is_alive(int(child)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(int(child))


def test_a_process_that_was_started_ahead_may_have_gone() -> None:
    before = children_of(os.getpid())
    with started_ahead("test_isolation:Target"):
        (ahead,) = set(children_of(os.getpid())) - set(before)
        os.kill(ahead, signal.SIGKILL)
        os.waitid(os.P_PID, ahead, os.WEXITED | os.WNOWAIT)
        with Worker("test_isolation:Target", {"start": 5}) as worker:
            assert worker.call("add", 1) == 6


UNREAPED = """
import signal
from codezero.isolation import Worker, started_ahead
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as some that start us have it
with started_ahead("pathlib:PurePosixPath"), Worker("pathlib:PurePosixPath") as worker:
    print(worker.call("as_posix"))
"""


def test_no_one_may_be_told_how_a_child_has_ended() -> None:
    done = subprocess.run([sys.executable, "-c", UNREAPED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, ".\n", "")


CRASHES = """
import os
from codezero.isolation import Worker, WorkerCrashed, started_ahead

class Target:
    def abort(self): os.write(2, b"LLVM ERROR: of its own\\n"); os.abort()
    def fine(self): return "fine"

with started_ahead("__main__:Target"):
    worker = Worker("__main__:Target")
    print(worker.call("fine"))
    try:
        worker.call("abort")
    except WorkerCrashed as crash:
        print(crash)
"""


def test_what_a_forked_process_says_before_it_crashes_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True)
    assert done.stdout.split("\n") == ["fine", "SIGABRT: LLVM ERROR: of its own", ""], done.stderr


def test_a_command_that_does_not_begin_leaves_no_child(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = children_of(os.getpid())
    for arguments in (["--help"], ["--bad"], [str(tmp_path / "none.c")]):
        with pytest.raises(SystemExit):
            main(["optimize", *arguments])
        assert children_of(os.getpid()) == before, arguments


def test_a_module_that_cannot_be_imported_is_said_when_it_is_needed() -> None:
    with (
        started_ahead("no_such_module:Class"),
        Worker("no_such_module:Class") as worker,
        pytest.raises(ModuleNotFoundError),
    ):
        worker.call("anything")


def test_exceptions_come_back(worker: Worker) -> None:
    with pytest.raises(ProgramError, match="said by the child"):
        worker.call("fail")
    assert worker.call("add", 1) == 6
    worker.close()


def test_a_crash_says_how_and_the_next_call_starts_anew(worker: Worker) -> None:
    with pytest.raises(WorkerCrashed, match="SIGABRT: LLVM ERROR: of its own"):
        worker.call("abort")
    assert worker.call("add", 1) == 6
    worker.close()


def test_a_call_that_overruns_is_killed(worker: Worker) -> None:
    worker.call("add", 1)
    start = time.monotonic()
    with pytest.raises(WorkerTimedOut):
        worker.call("sleep", 60, timeout=0.3)
    assert time.monotonic() - start < 2
    assert worker.call("add", 1) == 6
    worker.close()


def test_memory_is_limited(worker: Worker) -> None:
    with pytest.raises(WorkerCrashed, match="out of memory"):
        worker.call("exhaust")
    assert worker.call("add", 1) == 6
    worker.close()


@pytest.mark.parametrize("how", ["interrupt", "timeout"])
def test_a_command_is_killed_with_all_that_it_started(how: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! >> {pids}; sleep 60 & echo $! >> {pids}; wait"
    runner = CommandRunner(timeout=1.0 if how == "timeout" else 60.0)
    if how == "interrupt":
        threading.Timer(1.0, runner.interrupt).start()
    expected = subprocess.TimeoutExpired if how == "timeout" else CommandStopped
    start = time.monotonic()
    with pytest.raises(expected):
        runner.run(["sh", "-c", script])
    assert time.monotonic() - start < 10
    # A killed process takes a moment to be gone.
    while alive := [pid for pid in pids.read_text().split() if is_alive(int(pid))]:
        assert time.monotonic() - start < 10, alive
        time.sleep(0.05)
    if how == "interrupt":
        with pytest.raises(CommandStopped):
            runner.run(["true"])


def test_what_a_command_leaves_behind_ends_with_it() -> None:
    script = "sleep 60 >/dev/null 2>&1 & echo $!"
    done = CommandRunner(60).run(["sh", "-c", script])
    start = time.monotonic()
    while is_alive(int(done.stdout)):
        assert time.monotonic() - start < 10
        time.sleep(0.05)


def test_a_worker_is_interrupted_from_another_thread(worker: Worker) -> None:
    worker.call("add", 1)
    threading.Timer(0.5, worker.interrupt).start()
    start = time.monotonic()
    with pytest.raises(WorkerFailure):
        worker.call("sleep", 60)
    assert time.monotonic() - start < 10
    with pytest.raises(WorkerFailure, match="closed"):
        worker.call("add", 1)
    worker.close()


def test_a_closed_worker_stays_closed(worker: Worker) -> None:
    worker.close()
    with pytest.raises(WorkerFailure):
        worker.call("add", 1)


def test_a_target_that_cannot_be_made_is_an_error() -> None:
    worker = Worker("codezero.env.episode:Episode", {"no_such_argument": 1})
    with pytest.raises(TypeError, match="no_such_argument"):
        worker.call("step", 0)
    worker.close()


# A pass that never ends, in a worker of a process that is then killed.
ORPHAN = """
import sys
from pathlib import Path
from codezero.env import PhaseOrderingEnv
env = PhaseOrderingEnv(Path(sys.argv[1]), space=sys.argv[2], step_seconds=1000)
env.reset(seed=0)
print("ready", flush=True)
env.step(0)
"""


@pytest.mark.parametrize("kill_with", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_child_outlives_its_parent(
    kill_with: signal.Signals, tmp_path: Path, space_file: object
) -> None:
    source = tmp_path / "f.ll"
    source.write_text("define i32 @f() {\n  ret i32 0\n}\n")
    space = space_file(NEVER_ENDS)  # type: ignore[operator]
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(source), str(space)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    time.sleep(0.2)
    (child,) = children_of(parent.pid)
    parent.send_signal(kill_with)
    parent.wait(timeout=10)
    deadline = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_settings_travel_to_a_worker(sha256: Program) -> None:
    from codezero.compiler import load_space

    worker = Worker(
        "codezero.env.episode:Episode", {"settings": EpisodeSettings(load_space("sound"))}
    )
    observation, costs = worker.call("start", sha256)
    assert len(observation) == 56 + len(load_space("sound"))
    assert costs.initial > costs.baseline
    worker.close()

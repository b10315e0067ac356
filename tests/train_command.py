"""``codezero train`` as its tests call it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codezero.training import checkpoints

QUICK = (
    *("--preset", "debug", "--threads", "1", "--rollouts.envs", "2", "--steps", "400"),
    *("--rollouts.random-steps", "100", "--rollouts.first-updates", "2"),
    *("--rollouts.steps-per-update", "20", "--validate-every", "200", "--log-every", "100"),
    *("--checkpoint-every", "100"),
)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "codezero", "train", *map(str, arguments)]


def execute(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def begin(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A run in the background, in a process group and session of its own."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        **options,
    )


def wait_until(
    condition: Callable[[], bool],
    process: subprocess.Popen[str] | None = None,
    seconds: float = 120.0,
) -> None:
    """Fails when the time is over, or the process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline and (process is None or process.poll() is None)
        time.sleep(0.1)


def go_on(folder: Path, steps: int) -> int:
    """Resume a run on one device for some more steps; how many it made."""
    saved = checkpoints.load(folder / "last.pt")["steps"]
    done = execute("--resume", folder, "--threads", "1", "--steps", saved + steps)
    assert done.returncode == 0, done.stderr
    return int(checkpoints.load(folder / "last.pt")["steps"]) - saved

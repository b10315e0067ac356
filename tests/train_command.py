"""``codezero train`` as its tests call it."""

from __future__ import annotations

import subprocess
import sys

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

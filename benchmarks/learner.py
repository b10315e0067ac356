"""How long an update of the agent takes: ``python benchmarks/learner.py [PRESET] [UPDATES]``.

Data are random; drawing them from the replay is not timed, copying them to the GPU is.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
import torch

from codezero.dreamer.config import PRESETS
from codezero.dreamer.learner import Learner
from codezero.dreamer.replay import Replay, Transitions
from codezero.parallel import available_cores

ACTIONS = 42
"""Of the space ``autophase``, the paper's."""


def main(preset: str = "paper", updates: str = "50") -> None:
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        torch.set_num_threads(max(available_cores() // 2, 1))  # as codezero train does
    device = "cuda" if on_gpu else "cpu"
    name = torch.cuda.get_device_name() if on_gpu else f"{torch.get_num_threads()} CPU threads"
    config = PRESETS[preset]
    size = 56 + ACTIONS
    layout = {"autophase": slice(0, 56), "histogram": slice(56, size)}
    rng = np.random.default_rng(0)
    replay = Replay(size, config.replay)
    for _ in range(200):
        replay.add(
            Transitions(
                rng.random((46, size), np.float32),
                rng.integers(0, ACTIONS, 45),
                rng.normal(0, 0.05, 45),
                False,
            )
        )
    learner = Learner(layout, ACTIONS, config, device)
    batches = [replay.draw(rng) for _ in range(4)]
    start = time.perf_counter()
    for k in range(6):
        learner.update(batches[k % 4])
    wait(device)
    seconds = time.perf_counter() - start
    print(f"{name}, torch {torch.__version__}; the first 6 updates: {seconds:.1f} s")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for k in range(int(updates) // 5):
            learner.update(batches[k % 4])
        wait(device)
        times.append(1_000 * (time.perf_counter() - start) / (int(updates) // 5))
    middle, fastest, slowest = statistics.median(times), min(times), max(times)
    print(f"{preset}: {middle:.2f} ms an update ({fastest:.2f} to {slowest:.2f})")
    print({name: round(value, 4) for name, value in learner.metrics().items()})


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main(*sys.argv[1:])

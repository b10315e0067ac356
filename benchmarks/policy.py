"""One decision of an exported policy, and loading it: ``python benchmarks/policy.py [PRESET...]``.

Weights are as they are before training: times do not depend on them. Needs torch.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from codezero.agents.agent import PolicyRuntime
from codezero.agents.export import PolicyStep, write_onnx
from codezero.agents.precision import convert
from codezero.dreamer.behaviour import Behaviour
from codezero.dreamer.world_model import WorldModel
from codezero.training.config import PRESETS, TaskSettings

LOADS, DECISIONS = 7, 500


def main(*presets: str) -> None:
    settings = TaskSettings().episode_settings()
    actions = settings.num_actions
    for preset in presets or ("small", "paper"):
        config = PRESETS[preset].dreamer
        step = PolicyStep(WorldModel(settings.layout, actions, config), Behaviour(actions, config))
        with tempfile.TemporaryDirectory() as folder:
            original, policy = Path(folder, "original.onnx"), Path(folder, "policy.onnx")
            write_onnx(step, settings.observation_size, original)
            for precision in ("float32", "float16", "int8"):
                convert(original, policy, precision)
                loads, runtime = [], None
                for _ in range(LOADS):
                    start = time.perf_counter()
                    runtime = PolicyRuntime(policy, by_row=precision == "int8")
                    loads.append(time.perf_counter() - start)
                assert runtime is not None
                memory = runtime.begin()
                observation = np.random.default_rng(0).random(
                    (1, settings.observation_size), np.float32
                )
                decisions = []
                for _ in range(DECISIONS):
                    start = time.perf_counter()
                    runtime.decide(memory, observation)
                    decisions.append(time.perf_counter() - start)
                print(
                    f"{preset} {precision}: {policy.stat().st_size / 1e6:.1f} MB, "
                    f"load {1e3 * statistics.median(loads):.0f} ms, "
                    f"decision {1e3 * statistics.median(decisions):.2f} ms"
                )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""``codezero export``: from a training run to an agent that needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codezero.cli.extras import require
from codezero.cli.options import parse


@dataclass
class Options:
    """Write a run's policy as an agent, for "codezero evaluate --policy agent:FOLDER".

    Needs PyTorch and ONNX: pip install 'codezero[train]'.
    """

    run: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RUN")]]
    """The run's folder."""
    agent: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER")]]
    """The agent's folder."""
    checkpoint: Literal["best", "last"] = "best"
    """The networks that were best on validation, or the last ones."""
    precision: Literal["smallest", "float32", "float16", "int8"] = "smallest"
    """Of the policy's weights; smallest is the smallest file that decides as float32 does, measured
    on episodes of the run."""
    mean_with: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="CHECKPOINT...")] = ()
    """More checkpoints, such as best.pt of a run that went on from this one with --start-from: the
    agent's weights are the mean of all, which is often better than any."""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    options = parse(Options, "export", arguments)
    require("export", "train", "torch", "onnx", "onnxscript")
    from codezero.agents.export import export

    description = export(
        options.run, options.agent, options.checkpoint, options.precision, options.mean_with
    )
    policy = description["policy"]
    for name, measured in policy.get("measured", {}).items():
        size, same, all_ = measured["bytes"] / 1e6, measured["same"], measured["decisions"]
        print(f"{name}: {size:.1f} MB, {same:,} of {all_:,} decisions as in float32")
    size = sum(file.stat().st_size for file in options.agent.iterdir())
    print(f"{options.agent}: {policy['precision']}, {size / 1e6:.1f} MB")
    return 0

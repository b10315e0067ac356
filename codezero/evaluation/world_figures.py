"""Figures of what a world model foresees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from codezero.evaluation.world_report import (
    BLOCKS,
    BRANCHES,
    Float,
    Foresight,
    HorizonError,
    Trajectory,
)
from codezero.plots import empty_figure, save


def draw_trajectories(foresight: Foresight, unit: str, path: Path) -> None:
    """Real and imagined branches, blocks, costs and rewards by step: Figure 4 of the paper.

    Args:
        unit: of the costs.
    """
    figure = empty_figure(10, 2.6)
    steps = np.arange(len(foresight.passes) + 1)
    plots: tuple[tuple[str, Callable[[Trajectory], Float]], ...] = (
        ("branches per instruction", lambda t: t.autophase[:, BRANCHES]),
        ("blocks per instruction", lambda t: t.autophase[:, BLOCKS]),
        (unit, lambda t: t.costs),
        ("reward", lambda t: t.rewards),
    )
    for place, (title, of) in enumerate(plots, 1):
        axes = figure.add_subplot(1, 4, place)
        for trajectory, label, style in (
            (foresight.real, "compiler", "-"),
            (foresight.imagined, "world model", "--"),
        ):
            values = of(trajectory)
            axes.plot(steps[-len(values) :], values, style, label=label)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("step")
        if unit == title:
            axes.axhline(foresight.baseline, color="grey", linewidth=0.8, label="-Oz")
            axes.legend(fontsize="small")
    save(figure, path)


def draw_errors(errors: Sequence[HorizonError], path: Path) -> None:
    """The errors of the model and of predicting no change, by horizon."""
    figure = empty_figure(8, 3)
    horizons = [error.horizon for error in errors]
    for place, (title, name) in enumerate(
        (("Autophase features", "features"), ("sum of rewards", "total_reward")), 1
    ):
        axes = figure.add_subplot(1, 2, place)
        for suffix, label in (("", "world model"), ("_no_change", "no change")):
            axes.plot(horizons, [getattr(e, name + suffix) for e in errors], label=label)
        axes.set_title(title, fontsize="medium")
        axes.set_xlabel("passes ahead")
        axes.set_ylabel("mean absolute error")
        axes.set_ylim(bottom=0)
        axes.legend()
    save(figure, path)

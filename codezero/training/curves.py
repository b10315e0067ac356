"""The course of training runs, from their logs, as a figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codezero.errors import CodeZeroError
from codezero.plots import new_figure, save


@dataclass
class Curve:
    """What a run reached on validation, over time."""

    name: str
    minutes: list[float]
    """Wall time of each validation, from the run's start, pauses left out."""
    geomean: list[float]
    """-Oz over the greedy policy's best prefix, geometric mean."""
    random: float | None
    """The same of passes drawn uniformly."""


def read_curve(run: Path) -> Curve:
    """The curve of a run's folder.

    Raises:
        CodeZeroError: it is no run's, or nothing has been validated yet.
    """
    path = run / "log.jsonl"
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    except OSError as error:
        raise CodeZeroError(f"{run} is no training run: {path}: {error.strerror}") from None
    except ValueError as error:
        raise CodeZeroError(f"{path}: not JSON: {error}") from None
    curve, elapsed = Curve(run.resolve().name, [], [], None), 0.0
    for line in lines:
        elapsed = line.get("seconds", elapsed)
        if "validation/geomean" in line:
            curve.minutes.append(elapsed / 60)
            curve.geomean.append(line["validation/geomean"])
        curve.random = line.get("validation/random_geomean", curve.random)
    if not curve.geomean:
        raise CodeZeroError(f"{run}: nothing has been validated yet")
    return curve


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Validation over time, with random passes for comparison."""
    figure, axes = new_figure(7, 3.2)
    for curve in curves:
        (line,) = axes.plot(curve.minutes, curve.geomean, marker=".", label=curve.name)
        if curve.random is not None:
            label = f"{curve.name}: random passes"
            axes.axhline(curve.random, color=line.get_color(), linestyle=":", label=label)
    axes.axhline(1.0, color="grey", linewidth=0.8, label="-Oz")
    axes.set_xlabel("minutes")
    axes.set_ylabel("-Oz over the best prefix,\ngeometric mean on validation")
    axes.legend(fontsize="small")
    save(figure, path)

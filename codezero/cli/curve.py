"""``codezero curve``: how training runs got on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codezero.cli.options import parse


@dataclass
class Options:
    """Draw what training runs reached on validation, over time, as a PNG file.

    Needs matplotlib: pip install 'codezero[plots]'.
    """

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN...")]]
    """The runs' folders."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE.png")]
    """The figure."""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    options = parse(Options, "curve", arguments)
    from codezero.training.curves import draw_curves, read_curve

    curves = [read_curve(folder) for folder in options.runs]
    draw_curves(curves, options.out)
    for curve in curves:
        random = "" if curve.random is None else f", random passes {curve.random:.3f}"
        print(
            f"{curve.name}: best {max(curve.geomean):.3f}, last {curve.geomean[-1]:.3f}{random}, "
            f"{curve.minutes[-1]:.0f} min"
        )
    return 0

"""Figures as PNG files, without a display. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from codezero.errors import CodeZeroError
from codezero.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MISSING = "figures are drawn with matplotlib and scikit-learn: pip install 'codezero[plots]'"

DOTS_PER_INCH = 110


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one plot, in inches. Raises `CodeZeroError` without matplotlib."""
    figure = empty_figure(width, height)
    return figure, figure.add_subplot()


def empty_figure(width: float, height: float) -> Figure:
    """A figure for several plots; see `new_figure`."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CodeZeroError(MISSING) from None
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG. Raises `CodeZeroError` if it cannot be written."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)

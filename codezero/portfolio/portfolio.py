"""A portfolio: short lists of passes, of which a few are tried on each program.

Which ones is chosen by what the program is made of, as algorithms are from a portfolio by the
features of an instance (Rice, "The algorithm selection problem", 1976; Xu et al., "SATzilla",
JAIR 2008). A network foresees what the lists would gain, in some scenarios of different weight: in
each, lists gain what they do together on programs of one kind. Lists are then taken one by one,
each time the one that adds most to the best of those before it for the time it takes.

It is in an agent's folder: ``portfolio.json`` and ``portfolio.onnx``.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codezero.agents.runtime import load_session
from codezero.env.episode import Features
from codezero.errors import CodeZeroError

FORMAT = 1
"""Of ``portfolio.json``."""
DESCRIPTION, NETWORK = "portfolio.json", "portfolio.onnx"
KEYS = {"lists", "work", "price", "most_work"}

Float = npt.NDArray[np.float32]


class Portfolio:
    """Lists of passes, and what chooses among them.

    Args:
        folder: an agent's.

    Raises:
        CodeZeroError: it has no portfolio of this version.
    """

    def __init__(self, folder: Path) -> None:
        description = _read(folder / DESCRIPTION)
        self.lists: tuple[tuple[str, ...], ...] = tuple(map(tuple, description["lists"]))
        """Names of passes."""
        self.work = np.array(description["work"], np.float32)
        """The time that each takes, its code generation included, over that of the baseline: the
        mean over programs, shape (L,)."""
        self.price: float = description["price"]
        """What a list has to gain, as a logarithm, for as much time as the baseline takes."""
        self.most_work: float = description["most_work"]
        """That all lists of a trial may take together."""
        self._session = load_session(folder / NETWORK)

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether an agent has one."""
        return (folder / DESCRIPTION).exists()

    def order(self, features: Features, among: Collection[int]) -> list[int]:
        """Indices of lists, those first that are to be tried first.

        Args:
            among: those that may be taken.
        """
        return self.order_of(np.concatenate(features), among)

    def order_of(self, features: Float, among: Collection[int] | None = None) -> list[int]:
        """The same, of features as a `ListTable` has them."""
        inputs = {"features": features[np.newaxis]}
        weights, gains = self._session.run(("weights", "gains"), inputs)
        among = range(len(self.lists)) if among is None else among
        return order(weights[0], gains[0], self.price * self.work, among)

    def trial(self, order: list[int]) -> int:
        """How many of the first lists are a trial: as many as that time is for, at least one."""
        return max(int((np.cumsum(self.work[order]) <= self.most_work).sum()), 1)


def order(weights: Float, gains: Float, prices: Float, among: Collection[int]) -> list[int]:
    """Take lists greedily by what each adds to the best so far, less its price.

    Args:
        weights: of scenarios, shape (S,).
        gains: ln(baseline / cost) of each list in each scenario, shape (S, L).
        prices: of lists, shape (L,).
        among: those that may be taken.
    """
    best, left, taken = np.zeros(len(weights), np.float32), sorted(among), []
    while left:
        better = np.maximum(gains[:, left], best[:, np.newaxis])
        value = weights @ (better - best[:, np.newaxis]) - prices[left]
        k = int(value.argmax())
        best = better[:, k]
        taken.append(left.pop(k))
    return taken


def _read(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text())
    except OSError as error:
        raise CodeZeroError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise CodeZeroError(f"{path}: not JSON: {error}") from None
    if (
        not isinstance(description, dict)
        or description.get("format") != FORMAT
        or not description.keys() >= KEYS
    ):
        raise CodeZeroError(f"{path}: not a portfolio of this version of codezero")
    return description

"""A portfolio: short lists of passes, of which a few are tried on each program.

Which ones is chosen by what the program is made of, as algorithms are from a portfolio by the
features of an instance (Rice, "The algorithm selection problem", 1976; Xu et al., "SATzilla",
JAIR 2008). A network foresees what the lists would gain, in some scenarios of different weight: in
each, lists gain what they do together on programs of one kind. Lists are then taken one by one,
each time the one that adds most to the best of those before it for the time it takes.

What the best of them has made is then gone through function by function: a few lists more, the
tails, have passes that work on one function at a time, and each function gets the one that makes it
smallest. They are the same for all programs.

It is in an agent's folder: ``portfolio.json`` and ``portfolio.onnx``; and in a folder there of an
objective's name, where it is for another one than the agent's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codezero.agents.runtime import load_session
from codezero.compiler.objectives import Objective
from codezero.env.features import Features
from codezero.errors import CodeZeroError
from codezero.files import read_json

if TYPE_CHECKING:  # imported by what evaluates the network, while the baseline is measured
    import numpy as np
    import numpy.typing as npt

    Float = npt.NDArray[np.float32]

FORMAT = 2
"""Of ``portfolio.json``."""
DESCRIPTION, NETWORK = "portfolio.json", "portfolio.onnx"
UNLIKELY = 1e-3
"""Times the most likely scenario's weight: those of less are left out, which are most."""
KEYS = {"objective", "protocol", "lists", "work", "most_work", "tails", "tail_work", "rebuild_work"}
TAILS_SHARE = 0.3
"""Of a trial's time, that tails may take at most."""


class Portfolio:
    """Lists of passes, and what chooses among them.

    Args:
        folder: an agent's.

    Raises:
        CodeZeroError: it has no portfolio of this version; or, when that is used first, a network
            that cannot be loaded or is of another portfolio.
    """

    def __init__(self, folder: Path) -> None:
        description = self.read(folder)
        self.task: tuple[str, str] = description["objective"], description["protocol"]
        """What it is for."""
        self.lists: tuple[tuple[str, ...], ...] = tuple(map(tuple, description["lists"]))
        """Names of passes."""
        self.work: list[float] = description["work"]
        """The time that each takes, its code generation included, over that of the baseline: the
        mean over programs."""
        self.most_work: float = description["most_work"]
        """That all lists and tails of a trial may take together."""
        self.tails: tuple[tuple[str, ...], ...] = tuple(map(tuple, description["tails"]))
        """Names of passes by function, the most useful first."""
        self._tail_work: list[float] = description["tail_work"]
        """That each takes, over the baseline's time."""
        self._rebuild_work: float = description["rebuild_work"]
        """That it takes to make a program of functions with their tails."""
        self._folder = folder

    @cached_property
    def _session(self) -> Any:
        return load_session(self._folder / NETWORK)

    def warm_up(self) -> None:
        """Load the network, and what evaluates it. Raises `CodeZeroError` as `order` would."""
        _ = self._session

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether an agent has one."""
        return (folder / DESCRIPTION).exists()

    @staticmethod
    def folder_of(agent: Path, objective: Objective | None) -> Path:
        """Where an agent's portfolio for an objective is, or the one that it has for its own."""
        own = agent if objective is None else agent / objective.value
        return own if Portfolio.is_in(own) else agent

    @staticmethod
    def read(folder: Path) -> dict[str, Any]:
        """What is written in an agent's ``portfolio.json``.

        Raises:
            CodeZeroError: it cannot be read, or is of another version.
        """
        path = folder / DESCRIPTION
        description = read_json(path)
        if (
            not isinstance(description, dict)
            or description.get("format") != FORMAT
            or not description.keys() >= KEYS
        ):
            raise CodeZeroError(f"{path}: not a portfolio of this version of codezero")
        return description

    def order(
        self,
        features: Features,
        among: Collection[int],
        most_work: float | None = None,
        tails: Sequence[int] | None = None,
    ) -> Order:
        """Which lists to try first.

        Args:
            among: those that may be taken, by their indices.
            most_work: where a trial is to take another time than the portfolio's own does.
            tails: those that may be taken after them; all without it.

        Raises:
            CodeZeroError: the network is of another portfolio, or cannot be loaded.
        """
        import numpy as np

        return self.order_of(np.concatenate(features), among, most_work, tails)

    def order_of(
        self,
        features: Float,
        among: Collection[int] | None = None,
        most_work: float | None = None,
        tails: Sequence[int] | None = None,
    ) -> Order:
        """The same, of features as a `ListTable` has them."""
        import numpy as np

        inputs = {"features": features[np.newaxis]}
        weights, gains = self._session.run(("weights", "gains"), inputs)
        if gains.shape[-1] != len(self.lists) or len(self.work) != len(self.lists):
            raise CodeZeroError(
                f"{self._folder}: {NETWORK} and {DESCRIPTION} are of two portfolios"
            )
        among = range(len(self.lists)) if among is None else among
        most_work = self.most_work if most_work is None else most_work
        for_tails = self.tails_of(most_work, tails).work
        work = np.array(self.work, np.float32)
        return order(weights[0], gains[0], work, among, most_work - for_tails)

    def tails_of(self, most_work: float | None = None, among: Sequence[int] | None = None) -> Tails:
        """Those of a trial that may take so much time in all.

        Args:
            among: those that may be taken, by their indices, the most useful first.
        """
        most = TAILS_SHARE * (self.most_work if most_work is None else most_work)
        chosen: list[int] = []
        work = self._rebuild_work
        for k in range(len(self.tails)) if among is None else among:
            if work + self._tail_work[k] > most:
                break
            work += self._tail_work[k]
            chosen.append(k)
        return Tails(chosen, work if chosen else 0.0)


class Tails(NamedTuple):
    """Some of them, by their indices, and the time they take over the baseline's in all."""

    chosen: list[int]
    work: float


class Order(NamedTuple):
    """Lists by their indices."""

    trial: list[int]
    """Those that are a trial together."""
    others: Iterator[int]
    """Those to go on with, each looked for when it is asked for."""


def order(
    weights: Float, gains: Float, work: Float, among: Collection[int], most_work: float
) -> Order:
    """Take lists by what each adds to the best so far, for the time it takes.

    That is what is done where sets are worth less the more there is in them already, and cost
    something (Khuller, Moss and Naor, "The budgeted maximum coverage problem", 1999).

    Args:
        weights: of scenarios, shape (S,).
        gains: ln(baseline / cost) of each list in each scenario, shape (S, L).
        work: the time that each list takes, shape (L,).
        among: those that may be taken.
        most_work: of a trial. The first list is one whatever it takes.
    """
    likely = weights > UNLIKELY * weights.max()
    taken = _taken(weights[likely], gains[likely], work, among, most_work)
    trial: list[int] = []
    for k, fits in taken:
        if trial and not fits:
            return Order(trial, chain([k], (other for other, _ in taken)))
        trial.append(k)
    return Order(trial, iter(()))


def _taken(
    weights: Float, gains: Float, work: Float, among: Collection[int], most_work: float
) -> Iterator[tuple[int, bool]]:
    """All lists in the order of `order`, each with whether there is time for it in the trial."""
    import numpy as np

    best, left, done = np.zeros(len(weights), np.float32), sorted(among), 0.0
    while left:
        fitting = [k for k in left if done + work[k] <= most_work]
        choice = fitting or left
        better = np.maximum(gains[:, choice], best[:, np.newaxis])
        k = choice[int((weights @ (better - best[:, np.newaxis]) / work[choice]).argmax())]
        best = np.maximum(gains[:, k], best)
        done += work[k]
        left.remove(k)
        yield k, bool(fitting)

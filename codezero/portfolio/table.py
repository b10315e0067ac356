"""Tables of what lists of passes make of programs: what a portfolio is made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from codezero._native import LLVMError
from codezero.compiler.program import Program
from codezero.env.episode import EpisodeSettings
from codezero.env.reward import Costs
from codezero.env.session import STEP_SECONDS, Session
from codezero.env.trials import Tried
from codezero.errors import CodeZeroError, ProgramError
from codezero.files import replacing
from codezero.isolation import WorkerFailure
from codezero.parallel import run_all

FORMAT = 1
BASELINE = "default<Oz>"
"""The list by whose time the time of the others is measured: about what the baseline takes."""
AT_A_TIME = 16
"""Lists that have to be tried once more, each by itself, when one of them ends LLVM's process."""

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ListTable:
    """P programs under L lists."""

    objective: str
    protocol: str
    programs: tuple[str, ...]
    """Names."""
    lists: tuple[tuple[str, ...], ...]
    """Names of passes."""
    features: Float
    """Of the program at the start, then as the baseline makes it, shape (P, 2 * NUM_FEATURES)."""
    gains: Float
    """ln(baseline / cost), NaN where LLVM fails or the program grows past the limit, (P, L)."""
    work: Float
    """Wall time over that of `BASELINE`, code generation included in both, NaN as there, (P, L)."""

    @property
    def saved(self) -> Float:
        """Gains, and 0 where there is none: the fallback, (P, L)."""
        return np.maximum(np.nan_to_num(self.gains, nan=0.0), 0.0)

    def with_lists(self, chosen: Sequence[int]) -> ListTable:
        chosen = list(chosen)
        return replace(
            self,
            lists=tuple(self.lists[k] for k in chosen),
            gains=self.gains[:, chosen],
            work=self.work[:, chosen],
        )

    def write(self, path: Path) -> None:
        """As a ``.npz``."""
        names = {
            "format": FORMAT,
            "objective": self.objective,
            "protocol": self.protocol,
            "programs": self.programs,
            "lists": self.lists,
        }
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                names=np.array(json.dumps(names)),
                features=self.features,
                gains=self.gains,
                work=self.work,
            )

    @staticmethod
    def read(path: Path) -> ListTable:
        """Raises `CodeZeroError` for a file that `write` has not written."""
        try:
            with np.load(path, allow_pickle=False) as file:
                names = json.loads(str(file["names"]))
                if names["format"] != FORMAT:
                    raise ValueError(f"format {names['format']}")
                return ListTable(
                    names["objective"],
                    names["protocol"],
                    tuple(names["programs"]),
                    tuple(map(tuple, names["lists"])),
                    file["features"],
                    file["gains"],
                    file["work"],
                )
        except OSError as error:
            raise CodeZeroError(f"{path}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise CodeZeroError(
                f"{path} is no table of this version of codezero: {error}"
            ) from None


def measure(
    programs: Sequence[Program],
    lists: Sequence[Sequence[int]],
    settings: EpisodeSettings,
    *,
    jobs: int = 0,
    step_seconds: float = STEP_SECONDS,
    on_done: Callable[[], None] = lambda: None,
) -> ListTable:
    """Try every list on every program; programs on which LLVM fails at the start are left out.

    Args:
        lists: actions; `BASELINE` is tried as well.
        jobs: programs at a time; 0 is one a core.
        step_seconds: see `Session`.

    Raises:
        CodeZeroError: the space has no `BASELINE`, or LLVM fails on all programs.
    """
    baseline = [settings.action(BASELINE)]
    lists = [baseline, *(list(each) for each in lists if list(each) != baseline)]
    rows = run_all(
        lambda env, program: _row(env, program, lists),
        programs,
        partial(Session, settings, step_seconds=step_seconds),
        jobs=jobs,
        on_done=lambda program, row: on_done(),
    )
    done = [(program, row) for program, row in zip(programs, rows, strict=True) if row is not None]
    if not done:
        raise CodeZeroError("LLVM fails on every program before the first pass")
    return ListTable(
        settings.objective.value,
        settings.protocol.value,
        tuple(program.name for program, _ in done),
        tuple(tuple(settings.space.names(each)) for each in lists),
        np.stack([features for _, (features, _, _) in done]),
        np.stack([gains for _, (_, gains, _) in done]),
        np.stack([work for _, (_, _, work) in done]),
    )


def _row(
    env: Session, program: Program, lists: Sequence[Sequence[int]]
) -> tuple[Float, Float, Float] | None:
    """Features, gains and work; None where LLVM fails at the start, or on the baseline."""
    try:
        env.begin(program)
        features = np.concatenate(env.features())
        tried = [
            each
            for begin in range(0, len(lists), AT_A_TIME)
            for each in _try(env, program, lists[begin : begin + AT_A_TIME])
        ]
    except (ProgramError, LLVMError, WorkerFailure):
        return None
    if tried[0] is None or tried[0].cost is None:
        return None
    seconds = np.array(
        [np.nan if each is None or each.cost is None else each.seconds for each in tried],
        np.float32,
    )
    gains = np.array([_gain(env.costs, each) for each in tried], np.float32)
    return features, gains, seconds / seconds[0]


def _try(env: Session, program: Program, lists: Sequence[Sequence[int]]) -> list[Tried | None]:
    env.begin(program)
    try:
        return [*env.try_lists(lists)]
    except WorkerFailure:
        if len(lists) == 1:
            return [None]
        return [each for one in lists for each in _try(env, program, [one])]


def _gain(costs: Costs, tried: Tried | None) -> float:
    if tried is None or tried.cost is None:
        return np.nan
    return float(np.log(max(costs.baseline, 1) / max(tried.cost, 1)))

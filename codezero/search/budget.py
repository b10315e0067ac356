"""Budgets: how long a search may go on."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from codezero.env.session import Session
from codezero.errors import CodeZeroError

_SECONDS_PER = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
GRACE = 0.1
"""Seconds that a step has which is under way at the end of the time. Most are over by then; to give
one up costs another worker, which takes longer to start."""


@dataclass(frozen=True)
class Budget:
    """A limit on wall time, in seconds, or on trials; None is no limit."""

    seconds: float | None = None
    trials: int | None = None

    @staticmethod
    def parse(text: str) -> Budget:
        """``"500ms"``, ``"1s"``, ``"2m"``, ``"1h"``, or a number of trials, ``"200"``.

        Raises:
            CodeZeroError: any other text.
        """
        match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)?", text.strip())
        if match and match[2] and float(match[1]) > 0:
            return Budget(seconds=float(match[1]) * _SECONDS_PER[match[2]])
        if match and match[1].isdecimal() and int(match[1]) > 0:
            return Budget(trials=int(match[1]))
        raise CodeZeroError(
            f"budget '{text[:40]}' is neither a time (500ms, 1s, 2m) nor a number of trials (200)"
        )

    def __str__(self) -> str:
        """The text that `parse` reads; empty for no limit."""
        if self.seconds is not None:
            return f"{self.seconds:g}s"
        return "" if self.trials is None else str(self.trials)

    def part(self, share: float) -> Budget:
        """A share of it, and of trials at least one."""
        return Budget(
            seconds=None if self.seconds is None else self.seconds * share,
            trials=None if self.trials is None else max(round(self.trials * share), 1),
        )

    @contextmanager
    def spend(self, env: Session, meter: Meter | None = None) -> Iterator[Meter]:
        """Count, from now or by a meter that runs. What ``env`` does ends with the time.

        One budget may be spent within another: neither's time is overrun.
        """
        meter = meter or Meter(self)
        outer = env.deadline
        env.deadline = min(outer, meter.deadline + GRACE)
        try:
            yield meter
        finally:
            env.deadline = outer


UNLIMITED = Budget()
ONE_TRIAL = Budget(trials=1)


class TrialLimit(NamedTuple):
    """What a trial may take at most."""

    work: float | None = None
    """Of a processor, over the time of the baseline; None is what its portfolio says."""
    seconds: float = math.inf
    """Wall time, after which it is what it has come to: for the largest programs."""


NO_LIMIT = TrialLimit()


class Meter:
    """A budget being spent."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        seconds = math.inf if budget.seconds is None else budget.seconds
        self.deadline = time.monotonic() + seconds
        self.trials = 0

    def out_of_time(self) -> bool:
        return self.seconds_left() <= 0

    def seconds_left(self) -> float:
        """Infinite without a limit on time."""
        return self.deadline - time.monotonic()

    def left(self, reserve: float = 0.0) -> Budget:
        """What there is left of the budget, but for some seconds."""
        seconds, trials = self._budget.seconds, self._budget.trials
        return Budget(
            seconds=None if seconds is None else max(self.seconds_left() - reserve, 0.0),
            trials=None if trials is None else max(trials - self.trials, 0),
        )

    def spent(self) -> bool:
        trials = self._budget.trials
        return self.out_of_time() or (trials is not None and self.trials >= trials)

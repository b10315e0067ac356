"""Rewards: what a step is worth, by the costs before and after it."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

REACH = 1.25
"""`Reward.BEST` begins to pay at this multiple of the baseline's cost. Any sensible sequence comes
that far: what is to be learnt is what comes after."""


@dataclass(frozen=True)
class Costs:
    """C(s_0) and C(s_b): of a program at the start, and as the baseline makes it."""

    initial: int
    baseline: int
    estimated: bool = False
    """Whether ``initial`` is an estimate: it has not been measured, as no one needs it, or LLVM
    generates no code for the program as it is at the start, where some asm, for one, wants operands
    that only become constants."""

    @property
    def unit(self) -> int:
        """The denominator of equation (2).

        Where the baseline gains nothing, or loses, it is 1: a reward is then the cost saved in the
        objective's own unit.
        """
        return max(self.initial - self.baseline, 1)

    def gain(self, cost: int) -> float:
        """ln(`REACH` C(s_b) / cost), and no less than 0."""
        return max(math.log(REACH * max(self.baseline, 1) / max(cost, 1)), 0.0)


class Reward(str, enum.Enum):
    """What the rewards of an episode add up to."""

    SAVED = "saved"
    """The share of the baseline's saving that the program has at the end: equation (2)."""

    BEST = "best"
    """How far the best program on the way is ahead of the baseline, as a logarithm: what
    `codezero optimize` keeps, and what geometric means are of. Becoming larger costs nothing."""

    def between(self, costs: Costs, before: int, after: int, best: int) -> float:
        """The reward of a step.

        Args:
            costs: of the program.
            before, after: C(s_t) and C(s_t+1).
            best: the least of C(s_0) to C(s_t).
        """
        if self is Reward.SAVED:
            return (before - after) / costs.unit
        return costs.gain(min(best, after)) - costs.gain(best)

    def foresee(self, costs: Costs, cost: int, best: int, value: float) -> float:
        """ln of the cost to come, as a critic's value has it.

        Args:
            cost, best: C(s_t), and the least of C(s_0) to C(s_t).
            value: of s_t: rewards to come.
        """
        if self is Reward.SAVED:
            return math.log(max(cost - value * costs.unit, 1.0))
        reach = REACH * max(costs.baseline, 1)
        return math.log(max(min(best, reach), 1.0)) - value

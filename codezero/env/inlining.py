"""Which functions to inline: what there is to choose, and which choices made a program smaller.

Inliners decide by an estimate of what each call costs. Whether it was right shows when code has
been generated, and what one function's inlining changes is nearly all in the function itself and
in those that call it. So one trial tells of many functions, as long as no two of them share a
caller.

That such choices are worth a search of their own is from Theodoridis, Grosser and Su,
"Understanding and Exploiting Optimal Function Inlining" (ASPLOS 2022).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

MOST_TOUCHED = 64
"""Functions that a choice may touch."""

Edges = Sequence[tuple[str, str, int]]
"""Direct calls: caller, callee, how many. See `codezero._native.Module.call_edges`."""


class InliningChoice(NamedTuple):
    """What inliners are to do with the calls of a function, whatever they cost."""

    function: str
    always: bool
    """Inline all that can be; if not, none."""


Inlining: TypeAlias = tuple[InliningChoice, ...]


def in_words(inlining: Inlining) -> dict[str, str]:
    """``"always"`` or ``"never"``, by the functions' names."""
    return {choice.function: "always" if choice.always else "never" for choice in inlining}


class Calls:
    """Who calls whom in a program, before any pass.

    Args:
        edges: direct calls among its functions.
        instructions: that each function has.
        inlinable: the functions that can be inlined always, and whether nothing is left of one
            then; see `codezero._native.Module.inlinable_functions`.
    """

    def __init__(
        self, edges: Edges, instructions: Mapping[str, int], inlinable: Mapping[str, bool]
    ) -> None:
        self._instructions = instructions
        self._inlinable = inlinable
        self._callers: defaultdict[str, set[str]] = defaultdict(set)
        self._calls: defaultdict[str, int] = defaultdict(int)
        for caller, callee, calls in edges:
            if caller != callee:
                self._callers[callee].add(caller)
            self._calls[callee] += calls

    def __bool__(self) -> bool:
        """Whether a function calls another."""
        return bool(self._callers)

    def is_likely(self, choice: InliningChoice) -> bool:
        """Whether such a choice makes a program smaller often enough to be part of any trial.

        To inline the calls that are left of a function does in two of five cases where nothing is
        left of it then, and in one of twenty where it has to stay. Not to inline does in one of
        twenty (docs/training-log.md, entries 13 and 14).
        """
        return choice.always and self._inlinable[choice.function]

    def most_likely(self) -> int:
        """How many likely choices there can be."""
        return sum(self._inlinable.get(callee, False) for callee in self._callers)

    def choices(self, left: Edges, sizes: Mapping[str, int]) -> list[InliningChoice]:
        """What can be chosen otherwise than inliners did, the likeliest to be of use first.

        Args:
            left: direct calls after the passes.
            sizes: costs of the functions that there are then.
        """
        now: defaultdict[str, int] = defaultdict(int)
        for _, callee, calls in left:
            now[callee] += calls
        always, never = [], []
        for callee in self._callers:
            inlined = self._calls[callee] - now[callee]
            if now[callee] and callee in self._inlinable:
                stays = not self._inlinable[callee]
                always.append((stays, now[callee], -sizes.get(callee, 0), callee))
            if inlined > 0:
                never.append((inlined == 1, -self._instructions.get(callee, 0), callee))
        return [
            *(InliningChoice(callee, always=True) for *_, callee in sorted(always)),
            *(InliningChoice(callee, always=False) for *_, callee in sorted(never)),
        ]

    def touched(self, function: str, sizes: Mapping[str, int]) -> set[str]:
        """The functions whose code depends on whether calls of one are inlined.

        Those are the function itself and those that call it; and where one of these is not there
        any more, as it has been inlined, those that call that. None where they are more than
        `MOST_TOUCHED`: what one choice does to them could not be told.

        Args:
            sizes: of the functions that there are.
        """
        touched, open_ = {function}, [function]
        while open_:
            for caller in self._callers.get(open_.pop(), ()):
                if caller in touched:
                    continue
                touched.add(caller)
                if len(touched) > MOST_TOUCHED:
                    return set()
                if caller not in sizes:
                    open_.append(caller)
        return touched


def batches(
    choices: Iterable[InliningChoice], calls: Calls, sizes: Mapping[str, int], number: int
) -> list[list[InliningChoice]]:
    """Put choices that touch no function in common into so many batches, each for one trial.

    Choices that fit into none are left out, and so are batches that are empty.
    """
    chosen: list[list[InliningChoice]] = [[] for _ in range(number)]
    taken: list[set[str]] = [set() for _ in range(number)]
    for choice in choices:
        touched = calls.touched(choice.function, sizes)
        if not touched:
            continue
        for batch, already in zip(chosen, taken, strict=True):
            if not touched & already:
                batch.append(choice)
                already |= touched
                break
    return [batch for batch in chosen if batch]


def saved(
    choice: InliningChoice, calls: Calls, before: Mapping[str, int], after: Mapping[str, int]
) -> int:
    """What a choice of a batch has saved; negative where it cost.

    Args:
        before, after: sizes of functions without and with the batch.
    """
    touched = calls.touched(choice.function, before)
    return sum(before.get(name, 0) - after.get(name, 0) for name in touched)

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
MOST_INLINED = 32
"""Instructions of the baseline's that all calls of a function would become, up to which it is
inlined before any list if other objects may have a copy of it; docs/training-log.md, entry 17."""

Edges = Sequence[tuple[str, str, int]]
"""Direct calls: caller, callee, how many. See `codezero._native.Module.call_edges`."""


class InliningChoice(NamedTuple):
    """What inliners are to do with the calls of a function, whatever they cost."""

    function: str
    always: bool
    """Inline all that can be; if not, none."""


Inlining: TypeAlias = tuple[InliningChoice, ...]


class Inlinable(NamedTuple):
    """What may be chosen about a function."""

    may_always: bool
    may_never: bool
    disappears: bool
    """Whether nothing is left of it where all its calls are inlined."""
    is_shared: bool
    """Whether other objects may have a copy of it, as of C++'s inline functions."""


class Prospects(NamedTuple):
    """What may come of choices about inlining."""

    beforehand: Inlining
    """Those that are made before any list; see `Calls.small_and_shared`."""
    likely: int
    """How many others there can be that are likely to make the program smaller."""


NOT_INLINABLE = Inlinable(may_always=False, may_never=False, disappears=False, is_shared=False)


def in_words(inlining: Inlining) -> dict[str, str]:
    """``"always"`` or ``"never"``, by the functions' names."""
    return {choice.function: "always" if choice.always else "never" for choice in inlining}


class Calls:
    """Who calls whom in a program, before any pass.

    Args:
        edges: direct calls among its functions.
        instructions: that each function has.
        inlinable: the functions that something may be chosen about, as
            `codezero._native.Module.inlinable_functions` has them.
        never_is_likely: whether not to inline what has been, more than once, is likely to help.
    """

    def __init__(
        self,
        edges: Edges,
        instructions: Mapping[str, int],
        inlinable: Mapping[str, tuple[bool, bool, bool, bool]],
        *,
        never_is_likely: bool = False,
    ) -> None:
        self._instructions = instructions
        self._inlinable = {name: Inlinable(*may) for name, may in inlinable.items()}
        self._never_is_likely = never_is_likely
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

        To inline the calls that are left of a function does in one of two cases if it is shared, in
        one of five if nothing is left of it otherwise, and in one of twenty if it has to stay. Not
        to inline does in one of twenty, and where a function was inlined more than once and its
        instructions are what counts, in one of eight (docs/training-log.md, entries 13 and 14).
        """
        if choice.always:
            return self._inlinable[choice.function].disappears
        return self._never_is_likely and self._calls[choice.function] > 1

    def number_of_likely(self, made: Inlining = ()) -> int:
        """How many likely choices there can be, but for functions that have been chosen for."""
        chosen = {choice.function for choice in made}
        return sum(
            self._may(callee, choice.always) and self.is_likely(choice)
            for callee in self._callers
            if callee not in chosen
            for choice in (InliningChoice(callee, always=True), InliningChoice(callee, False))
        )

    def small_and_shared(self, left: Edges, instructions: Mapping[str, int]) -> Inlining:
        """Choices that help nearly always, so that no trial has to tell.

        An inliner hardly counts what a function saves that disappears, above all its tables to
        unwind by, unless no other object can have a copy of it. If others may, as of C++'s inline
        functions, that is saved once for the whole program, and each of them copies its body: it
        has to be small, with what is inlined into it.

        Args:
            left: direct calls after the passes of the baseline.
            instructions: that functions have then.
        """
        callees: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        calls: defaultdict[str, int] = defaultdict(int)
        for caller, callee, number in left:
            callees[caller].append((callee, number))
            calls[callee] += number
        sizes: dict[str, int] = {}
        """With what is inlined into them, of functions all of whose callees have been looked at."""
        chosen: set[str] = set()
        open_, seen = [(name, False) for name in sorted(callees, reverse=True)], set[str]()
        while open_:
            name, is_ready = open_.pop()
            if not is_ready:
                if name not in seen:
                    seen.add(name)
                    open_.append((name, True))
                    open_ += [(callee, False) for callee, _ in callees[name]]
                continue
            comes_back = any(callee not in sizes for callee, _ in callees[name])
            inlined = sum(n * (sizes[c] - 1) for c, n in callees[name] if c in chosen)
            sizes[name] = instructions.get(name, MOST_INLINED + 1) + inlined
            inlinable = self._inlinable.get(name, NOT_INLINABLE)
            if (
                inlinable.may_always
                and inlinable.disappears
                and inlinable.is_shared
                and 0 < calls[name] * sizes[name] <= MOST_INLINED
                and not comes_back
            ):
                chosen.add(name)
        return tuple(InliningChoice(name, always=True) for name in sorted(chosen))

    def _may(self, function: str, always: bool) -> bool:
        inlinable = self._inlinable.get(function, NOT_INLINABLE)
        return inlinable.may_always if always else inlinable.may_never

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
            if now[callee] and self._may(callee, always=True):
                stays = not self._inlinable[callee].disappears
                always.append((stays, now[callee], -sizes.get(callee, 0), callee))
            if inlined > 0 and self._may(callee, always=False):
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

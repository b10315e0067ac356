"""Delta debugging: the part of a list that does what the whole does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def reduce_list(items: Sequence[Item], holds: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """A sublist that holds, of which no single item can be left out.

    The algorithm ddmin of Zeller and Hildebrandt (IEEE TSE 28(2), 2002).

    Args:
        items: a list that holds.
        holds: whether a list does.
    """
    items = list(items)
    parts = 2
    while len(items) >= 2:
        size = -(-len(items) // parts)
        chunks = [items[start : start + size] for start in range(0, len(items), size)]
        for index, chunk in enumerate(chunks):
            rest = [item for other in (*chunks[:index], *chunks[index + 1 :]) for item in other]
            if len(chunk) < len(items) and holds(chunk):
                items, parts = chunk, 2
                break
            if rest and holds(rest):
                items, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(items))
    return items

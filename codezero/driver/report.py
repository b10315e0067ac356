"""What a build has saved, from the records that the drivers left."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from codezero.driver import records
from codezero.driver.records import Record
from codezero.evaluation.evaluate import geometric_mean


@dataclass(frozen=True)
class Report:
    """The objects of a build, each as it was made last."""

    folder: Path
    records: tuple[Record, ...]

    @staticmethod
    def read(path: str, folder: Path) -> Report:
        """What was made in a folder, or of sources in it; not what a configure step has tried.

        Args:
            path: the file of records.
        """
        folder = folder.resolve()
        last = {
            (record.object, record.source): record
            for record in records.read(path)
            if (_is_in(record.object, folder) or _is_in(record.source, folder))
            and (os.path.exists(record.object) or os.path.exists(record.source))
        }
        # An object that one call has made and linked was in a temporary folder: its source tells.
        named = {
            record.object if _is_in(record.object, folder) else record.source: record
            for record in sorted(last.values(), key=lambda record: record.time)
        }
        return Report(folder, tuple(named.values()))

    @cached_property
    def measured(self) -> list[Record]:
        """Objects that an agent has looked at, what saved most first."""
        return self._sorted(linked=False)

    @cached_property
    def linked(self) -> list[Record]:
        """Programs that were linked as a whole, of objects that may be among those, in bitcode."""
        return self._sorted(linked=True)

    def _sorted(self, linked: bool) -> list[Record]:
        chosen = (each for each in self.records if each.looked_at and each.linked == linked)
        return sorted(chosen, key=lambda record: (record.size - record.baseline, record.object))

    @cached_property
    def left_alone(self) -> Counter[str]:
        """Why others were clang's from the start, and how many."""
        return Counter(record.reason for record in self.records if not record.looked_at)

    @property
    def size(self) -> int:
        """Bytes that are loaded of all that were measured."""
        return sum(record.size for record in self.measured)

    @property
    def baseline(self) -> int:
        """What clang -Oz makes of them."""
        return sum(record.baseline for record in self.measured)

    @property
    def geometric_mean(self) -> float:
        """Of -Oz over ours, over objects; 1 of none."""
        return geometric_mean([ratio(record) for record in self.measured] or [1.0])

    @property
    def seconds(self) -> float:
        """That choosing passes took, of what did not come from the cache."""
        return sum(record.seconds for record in self.measured if not record.cached)

    @cached_property
    def passes(self) -> list[tuple[str, int, int]]:
        """Passes, in how many lists they are, and the bytes those saved: the most bytes first."""
        lists: Counter[str] = Counter()
        saved: Counter[str] = Counter()
        for record in self.measured:
            for name in set(record.passes):
                lists[name] += 1
                saved[name] += record.baseline - record.size
        return [(name, lists[name], saved[name]) for name, _ in saved.most_common()]

    def name(self, record: Record) -> str:
        """An object as a user would call it."""
        path = record.object if _is_in(record.object, self.folder) else record.source
        return os.path.relpath(path, self.folder)


def ratio(record: Record) -> float:
    """-Oz over ours: above 1 is smaller."""
    return max(record.baseline, 1) / max(record.size, 1)


def histogram(ratios: Iterable[float], edges: Sequence[float]) -> list[int]:
    """How many are below the first edge, between each two, and from the last one on."""
    counts = [0] * (len(edges) + 1)
    for each in ratios:
        counts[sum(each >= edge for edge in edges)] += 1
    return counts


def _is_in(path: str, folder: Path) -> bool:
    return path.startswith(f"{str(folder).rstrip('/')}/")

"""Which of the programs that meet the limits a corpus keeps: no duplicates, nothing held out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from codezero.compiler.frontends import front_end_of
from codezero.corpus.entry import Entry
from codezero.corpus.journal import Candidate
from codezero.isolation import Worker
from codezero.programs.load import LOAD_SECONDS, ProgramLoader
from codezero.programs.suites import find_suite

DISTINCTIVE_READER = "codezero.corpus.examine:DistinctiveReader"

SHARE_IN_COMMON = 0.8
"""A program is a near-duplicate if this share of its distinctive functions, by instructions, is in
one other that is kept."""


@dataclass(frozen=True)
class Selection:
    kept: list[Candidate]
    rejected: Counter[str]


def select(candidates: Iterable[Candidate], held_out: Set[int]) -> Selection:
    """Keep a candidate if none before it is the same, or nearly, and no suite has its functions.

    Args:
        candidates: the largest first, so that of two programs the one that contains the other
            stays.
        held_out: structural hashes of the distinctive functions of held-out suites.
    """
    kept: list[Candidate] = []
    rejected: Counter[str] = Counter()
    seen: set[bytes] = set()
    having: dict[int, list[int]] = defaultdict(list)
    for candidate in candidates:
        reason = None
        if any(function[0] in held_out for function in candidate.functions):
            reason = "in a held-out suite"
        elif candidate.structural_hash in seen:
            reason = "duplicate"
        elif _largest_share(candidate, having) >= SHARE_IN_COMMON:
            reason = "near-duplicate"
        if reason is not None:
            rejected[reason] += 1
            continue
        seen.add(candidate.structural_hash)
        for structural_hash in {function[0] for function in candidate.functions}:
            having[structural_hash].append(len(kept))
        kept.append(candidate)
    return Selection(kept, rejected)


def _largest_share(candidate: Candidate, having: dict[int, list[int]]) -> float:
    """The share of a candidate's functions that one of the kept programs has, at most."""
    common: Counter[int] = Counter()
    total = 0
    for structural_hash, instructions in candidate.functions:
        total += instructions
        for index in having.get(structural_hash, ()):
            common[index] += instructions
    return max(common.values()) / total if common else 0.0


def select_entries(
    entries: Sequence[Entry], held_out: Set[int]
) -> tuple[list[Entry], Counter[str]]:
    """`select` for entries; those that are kept, ordered by package and path."""
    largest_first = sorted(
        range(len(entries)), key=lambda i: (-entries[i].instructions, entries[i].name, i)
    )
    candidates = [
        Candidate(
            index,
            entries[index].structural_hash.to_bytes(8, "big"),
            tuple(zip(entries[index].function_hashes, entries[index].function_sizes, strict=True)),
        )
        for index in largest_first
    ]
    selection = select(candidates, held_out)
    kept = [entries[candidate.row] for candidate in selection.kept]
    return sorted(kept, key=lambda entry: (entry.package, entry.path)), selection.rejected


def held_out_functions(suites: Sequence[Path], flags: Sequence[str] = ()) -> frozenset[int]:
    """Structural hashes of the distinctive functions of held-out suites.

    Args:
        flags: compiler flags for source files; IR in the same suites needs none.

    Raises:
        CodeZeroError: a suite cannot be found, or one of its programs cannot be loaded: what
            cannot be read cannot be held out.
    """
    hashes: set[int] = set()
    with ProgramLoader() as loader, closing(Worker(DISTINCTIVE_READER)) as reader:
        for suite in suites:
            for suite_program in find_suite(suite).programs:
                compiled = any(map(front_end_of, suite_program.files))
                program, _ = loader.load(suite_program.files, flags if compiled else ())
                functions = reader.call("read", program, timeout=LOAD_SECONDS)
                hashes.update(structural_hash for structural_hash, _ in functions)
    return frozenset(hashes)

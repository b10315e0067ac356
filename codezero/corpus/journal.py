"""What a build has done so far, on disk: a build that is killed goes on where it was.

An SQLite database beside the corpus. It stays there afterwards, so that a build with one more
source examines that source alone.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from codezero.corpus.entry import Entry
from codezero.corpus.examine import Examination
from codezero.corpus.unit import Unit
from codezero.errors import CodeZeroError

FORMAT = "5"
"""Of the tables below, and of what is distinctive in them."""

_TABLES = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS source (
  key TEXT PRIMARY KEY, selection TEXT NOT NULL, setup TEXT NOT NULL, error TEXT
);
CREATE TABLE IF NOT EXISTS unit (
  source TEXT NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL, path TEXT NOT NULL,
  language TEXT NOT NULL, licence TEXT NOT NULL, split TEXT NOT NULL, stamp TEXT NOT NULL,
  reason TEXT, detail TEXT,
  instructions INTEGER, instructions_oz INTEGER, structural_hash BLOB, functions BLOB,
  size INTEGER, bitcode BLOB,
  PRIMARY KEY (source, package, path)
);
"""


NO_COMPILER = "its compiler is not installed"
OUR_FAULT = "codezero fails on it"
TRIED_AGAIN = (NO_COMPILER, OUR_FAULT)
"""The reasons that another run looks into again. What else may be better then, such as a header
that has been installed since, is examined anew without the journal."""


@dataclass(frozen=True)
class Rejection:
    """A unit that is left out, and why: ``reason`` is what reports count."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Candidate:
    """A unit that met the limits: what tells it from others."""

    row: int
    structural_hash: bytes
    functions: tuple[tuple[int, ...], ...]
    """(structural hash, instructions) of its distinctive functions."""


class Journal:
    """The record of one build.

    Args:
        settings: what results depend on besides the sources. A journal made under others cannot
            be gone on with.

    Raises:
        CodeZeroError: the file cannot be opened, is not a journal, or has other settings.
    """

    def __init__(self, path: Path, settings: dict[str, str]) -> None:
        self.path = path
        try:
            self._database = sqlite3.connect(path)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.executescript(_TABLES)
            found = dict(self._database.execute("SELECT name, value FROM setting"))
            if not found:
                with self._database:
                    self._database.executemany(
                        "INSERT INTO setting VALUES (?, ?)", settings.items()
                    )
        except sqlite3.Error as error:
            raise CodeZeroError(f"cannot write the journal {path}: {error}") from None
        different = [name for name in settings if found and found.get(name) != settings[name]]
        if different:
            raise CodeZeroError(
                f"{path} was begun with other settings ({', '.join(different)}): "
                "delete it to begin anew, or name another --out"
            )

    def is_done(self, source: str, selection: str) -> bool:
        """Whether all selected units of a source are in, and no others."""
        query = "SELECT 1 FROM source WHERE key = ? AND selection = ? AND error IS NULL"
        return self._database.execute(query, (source, selection)).fetchone() is not None

    def reopen(self, source: str) -> None:
        """Record that units of a source may be missing, or be there that are not selected."""
        self._execute("DELETE FROM source WHERE key = ?", (source,))
        self.commit()

    def units_of(self, source: str) -> dict[tuple[str, str, str], bool]:
        """(package, path, stamp) of the units that are in, and whether to try them again."""
        query = (
            "SELECT package, path, stamp, reason IS NOT NULL AND "
            f"reason IN ({_marks(TRIED_AGAIN)}) FROM unit WHERE source = ?"
        )
        rows = self._database.execute(query, (*TRIED_AGAIN, source))
        return {(package, path, stamp): bool(again) for package, path, stamp, again in rows}

    def forget(self, source: str, units: Iterable[tuple[str, str, str]]) -> None:
        """Take units out again: their source has them no more."""
        statement = "DELETE FROM unit WHERE source = ? AND package = ? AND path = ? AND stamp = ?"
        for unit in units:
            self._execute(statement, (source, *unit))

    def add(self, source: str, unit: Unit, outcome: Examination | Rejection) -> None:
        """Record a unit. It counts once `commit` has been called."""
        values: tuple[object, ...]
        if isinstance(outcome, Rejection):
            values = (outcome.reason, outcome.detail, *[None] * 6)
        else:
            values = (
                *(None, None),
                outcome.instructions,
                outcome.instructions_oz,
                outcome.structural_hash.to_bytes(8, "big"),
                np.array(outcome.functions, np.uint64).tobytes(),
                len(outcome.bitcode),
                pa.compress(outcome.bitcode, "zstd", asbytes=True),
            )
        self._execute(
            f"INSERT OR REPLACE INTO unit VALUES ({', '.join('?' * 16)})",
            (
                source,
                unit.package,
                unit.version,
                unit.path,
                unit.language,
                unit.licence,
                unit.split,
                unit.stamp,
                *values,
            ),
        )

    def finish(self, source: str, selection: str, setup: str, error: str | None = None) -> None:
        """Record that a source is done, or why it could not be."""
        self._execute(
            "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)", (source, selection, setup, error)
        )
        self.commit()

    def commit(self) -> None:
        """Raises `CodeZeroError` if the disk is full."""
        try:
            self._database.commit()
        except sqlite3.Error as error:
            raise CodeZeroError(f"cannot write the journal {self.path}: {error}") from None

    def candidates(self, sources: list[str]) -> Iterator[Candidate]:
        """The units of some sources that met the limits, the largest first."""
        query = (
            "SELECT rowid, structural_hash, functions FROM unit WHERE reason IS NULL "
            f"AND source IN ({_marks(sources)}) ORDER BY instructions DESC, package, path, source"
        )
        for row, structural_hash, functions in self._database.execute(query, sources):
            yield Candidate(row, structural_hash, tuple(map(tuple, _functions(functions))))

    def entries(self, candidates: Sequence[Candidate]) -> Iterator[Entry]:
        """The entries of some candidates, ordered by package and path."""
        rows = {candidate.row for candidate in candidates}
        order = "SELECT rowid FROM unit WHERE reason IS NULL ORDER BY package, path, source"
        query = (
            "SELECT package, version, path, language, licence, split, instructions, "
            "instructions_oz, structural_hash, functions, size, bitcode FROM unit WHERE rowid = ?"
        )
        for (row,) in self._database.execute(order).fetchall():
            if row not in rows:
                continue
            *values, structural_hash, functions, size, bitcode = self._database.execute(
                query, (row,)
            ).fetchone()
            pairs = _functions(functions)
            package, version, path, language, licence, split, instructions, instructions_oz = values
            yield Entry(
                package=package,
                version=version,
                path=path,
                language=language,
                licence=licence,
                split=split,
                instructions=instructions,
                instructions_oz=instructions_oz,
                structural_hash=int.from_bytes(structural_hash, "big"),
                function_hashes=tuple(pair[0] for pair in pairs),
                function_sizes=tuple(pair[1] for pair in pairs),
                bitcode=pa.decompress(bitcode, size, "zstd", asbytes=True),
            )

    def rejections(self, sources: list[str]) -> Counter[str]:
        """How many units of some sources were left out, by reason."""
        query = (
            "SELECT reason, count(*) FROM unit WHERE reason IS NOT NULL "
            f"AND source IN ({_marks(sources)}) GROUP BY reason"
        )
        return Counter(dict(self._database.execute(query, sources)))

    def details(self, sources: list[str], reason: str) -> Counter[str]:
        """The details of the units that were left out for a reason, and how many have each."""
        query = (
            "SELECT detail, count(*) FROM unit WHERE reason = ? "
            f"AND source IN ({_marks(sources)}) GROUP BY detail"
        )
        return Counter(dict(self._database.execute(query, (reason, *sources))))

    def setups(self, sources: list[str]) -> dict[str, str]:
        """How the sources were set up of which that is worth telling."""
        query = f"SELECT key, setup FROM source WHERE setup != '' AND key IN ({_marks(sources)})"
        return dict(self._database.execute(query, sources))

    def unit_counts(self, sources: list[str]) -> Counter[str]:
        """How many units some sources have, by package."""
        query = (
            f"SELECT package, count(*) FROM unit WHERE source IN ({_marks(sources)}) "
            "GROUP BY package"
        )
        return Counter(dict(self._database.execute(query, sources)))

    def packages(self, rows: Iterable[int]) -> Counter[str]:
        """How many of some units are of each package."""
        package = dict(self._database.execute("SELECT rowid, package FROM unit"))
        return Counter(package[row] for row in rows)

    def errors(self, sources: list[str]) -> dict[str, str]:
        """The sources that could not be read to their end, and why."""
        query = (
            f"SELECT key, error FROM source WHERE error IS NOT NULL AND key IN ({_marks(sources)})"
        )
        return dict(self._database.execute(query, sources))

    def close(self) -> None:
        self._database.close()

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise CodeZeroError(f"cannot write the journal {self.path}: {error}") from None


def _functions(stored: bytes) -> list[list[int]]:
    pairs: list[list[int]] = np.frombuffer(stored, np.uint64).reshape(-1, 2).tolist()
    return pairs


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))

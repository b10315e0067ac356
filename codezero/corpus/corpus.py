"""A corpus as a sequence of programs, read by row from its Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codezero.compiler.program import Program
from codezero.corpus.entry import SCHEMA, SPLITS, Entry, entry_of, stable_hash
from codezero.errors import CodeZeroError
from codezero.files import replacing

ROWS_IN_A_GROUP = 128
"""Rows that are read together: few enough that the first program of many comes quickly."""


class Corpus(Sequence[Program]):
    """The programs of a corpus, or of one of its splits.

    Bitcode is read when it is first asked for, a row group at a time, and stays in memory.

    Args:
        source: the Parquet file, or its bytes.
        split: ``"train"``, ``"validation"`` or ``"test"``; None for all.

    Raises:
        CodeZeroError: no such file, not a corpus, or no such split.
    """

    def __init__(self, source: str | Path | pa.Buffer, split: str | None = None) -> None:
        if split is not None and split not in SPLITS:
            raise CodeZeroError(f"no split '{split}': choose from {', '.join(SPLITS)}")
        path = source if isinstance(source, (str, Path)) else "the bytes of a corpus"
        self.path = Path(path)
        file = self.path if path is source else pa.BufferReader(source)
        try:
            self._file = pq.ParquetFile(file, memory_map=True)
        except (OSError, pa.ArrowInvalid) as error:
            raise CodeZeroError(f"{path}: not a corpus: {error}") from None
        missing = [name for name in SCHEMA.names if name not in self._file.schema_arrow.names]
        if missing:
            raise CodeZeroError(f"{path}: not a corpus: it has no column {', '.join(missing)}")
        columns = [name for name in SCHEMA.names if name != "bitcode"]
        self.table = self._file.read(columns)
        """All columns but the bitcode, of the whole file."""
        groups = [
            self._file.metadata.row_group(g).num_rows for g in range(self._file.num_row_groups)
        ]
        self._group_ends = np.cumsum(groups)
        self._groups: dict[int, pa.ChunkedArray] = {}
        self.rows = np.arange(len(self.table))
        """Numbers of the rows of this split in the file."""
        if split is not None:
            self.rows = np.flatnonzero(pc.equal(self.table.column("split"), split).to_numpy())
            self.table = self.table.take(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Program: ...
    @overload
    def __getitem__(self, index: slice) -> list[Program]: ...
    def __getitem__(self, index: int | slice) -> Program | list[Program]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(f"the corpus has {len(self)} programs")
        package = self.table.column("package")[index].as_py()
        path = self.table.column("path")[index].as_py()
        return Program(f"{package}/{path}", self._bitcode(index))

    def sample(self, count: int, max_instructions: int | None = None) -> list[int]:
        """Indices of so many programs, or of all there are: the same each time, in any order.

        Args:
            max_instructions: of programs to choose from, before optimisation.
        """
        columns = ("package", "path", "instructions")
        rows = zip(*(self.table.column(name).to_pylist() for name in columns), strict=True)
        order = {
            index: stable_hash(f"{package}/{path}")
            for index, (package, path, instructions) in enumerate(rows)
            if max_instructions is None or instructions <= max_instructions
        }
        return sorted(order, key=order.__getitem__)[:count]

    def entry(self, index: int) -> Entry:
        """A program with all that is known of it."""
        (row,) = self.table.slice(index, 1).to_pylist()
        return entry_of({**row, "bitcode": self._bitcode(index)})

    def entries(self) -> Iterator[Entry]:
        return (self.entry(index) for index in range(len(self)))

    def _bitcode(self, index: int) -> bytes:
        row = int(self.rows[index])
        group = int(np.searchsorted(self._group_ends, row, side="right"))
        if group not in self._groups:
            self._groups[group] = self._file.read_row_group(group, ["bitcode"]).column(0)
        start = int(self._group_ends[group - 1]) if group else 0
        bitcode: bytes = self._groups[group][row - start].as_py()
        return bitcode


def write_corpus(path: Path, entries: Iterable[Entry]) -> int:
    """Write a corpus, whole or not at all; returns how many programs it has.

    Raises:
        CodeZeroError: it cannot be written, or the disk is full; an older file stays as it was.
    """
    count, rest = 0, iter(entries)
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary,
            SCHEMA,
            compression="zstd",
            use_dictionary=["package", "version", "language", "licence", "split"],
            write_statistics=["package", "split", "instructions"],
        ) as writer,
    ):
        while group := [entry.row() for entry in islice(rest, ROWS_IN_A_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
            count += len(group)
    return count

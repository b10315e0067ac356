"""Parquet files of programs: corpora of this project, and any with a column of bitcode."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codezero.compiler.program import Program
from codezero.corpus.entry import SPLITS
from codezero.corpus.unit import Unit
from codezero.errors import CodeZeroError

_TEXT_COLUMNS = ("package", "version", "path", "language", "licence", "split")


class ParquetSource:
    """A Parquet file with a binary column ``bitcode``.

    The text columns ``package``, ``version``, ``path``, ``language``, ``licence`` and ``split`` are
    taken where it has them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size: int | None = None

    @cached_property
    def key(self) -> str:
        status = self._path.stat()
        return f"parquet:{self._path.resolve()}:{status.st_size}-{status.st_mtime_ns}"

    @property
    def selection(self) -> str:
        return ""

    @property
    def is_fixed(self) -> bool:
        return True

    @property
    def setup(self) -> str:
        return ""

    def prepare(self) -> None:
        pass

    def units(self) -> Iterator[Unit]:
        try:
            file = pq.ParquetFile(self._path)
            columns_of = {field.name: field.type for field in file.schema_arrow}
            if not _is_binary(columns_of.get("bitcode")):
                raise CodeZeroError(f"{self._path}: it has no column bitcode of bytes")
            for name in columns_of.keys() & set(_TEXT_COLUMNS):
                if not _is_text(columns_of[name]):
                    raise CodeZeroError(f"{self._path}: its column {name} is not text")
            self.size = file.metadata.num_rows
            seen: set[tuple[str, str]] = set()
            columns = [*(c for c in _TEXT_COLUMNS if c in file.schema_arrow.names), "bitcode"]
            row = 0
            for batch in file.iter_batches(64, columns=columns):
                for values in batch.to_pylist():
                    yield self._unit(values, row, seen)
                    row += 1
        except (OSError, pa.ArrowInvalid) as error:
            raise CodeZeroError(f"{self._path}: {error}") from None

    def close(self) -> None:
        pass

    def _unit(self, values: dict[str, Any], row: int, seen: set[tuple[str, str]]) -> Unit:
        """The unit of a row; one whose package and path are in ``seen`` is told by its row."""
        text = {column: values.get(column) or "" for column in _TEXT_COLUMNS}
        text["package"] = text["package"] or self._path.stem
        text["path"] = text["path"] or f"{row}.bc"
        if (text["package"], text["path"]) in seen:
            text["path"] += f"#{row}"
        seen.add((text["package"], text["path"]))
        split = text.pop("split")
        program = Program(f"{text['package']}/{text['path']}", values["bitcode"] or b"")
        return Unit(
            **text,
            load=lambda loader: program,
            published_split=split if split in SPLITS else "",
        )


def _is_binary(kind: pa.DataType | None) -> bool:
    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values))

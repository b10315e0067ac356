"""One program of a corpus, and the Parquet schema it is stored by (docs/corpus.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

SPLITS = ("train", "validation", "test")
SPLIT_PERCENT = (80, 10, 10)

SCHEMA = pa.schema(
    [
        pa.field("package", pa.string(), False),
        pa.field("version", pa.string(), False),
        pa.field("path", pa.string(), False),
        pa.field("language", pa.string(), False),
        pa.field("licence", pa.string(), False),
        pa.field("split", pa.string(), False),
        pa.field("instructions", pa.int32(), False),
        pa.field("instructions_oz", pa.int32(), False),
        pa.field("structural_hash", pa.uint64(), False),
        pa.field("function_hashes", pa.list_(pa.uint64()), False),
        pa.field("function_sizes", pa.list_(pa.int32()), False),
        pa.field("bitcode", pa.binary(), False),
    ]
)


@dataclass(frozen=True)
class Entry:
    """A program that passed the filters."""

    package: str
    version: str
    path: str
    """Of the source file in its package."""
    language: str
    licence: str
    """As the source states it; empty where it states none that could be read."""
    split: str
    instructions: int
    """Before optimisation."""
    instructions_oz: int
    """After clang -Oz's passes."""
    structural_hash: int
    function_hashes: tuple[int, ...]
    """Of the functions that tell programs apart; see `codezero.corpus.examine.distinctive`."""
    function_sizes: tuple[int, ...]
    """Their instructions."""
    bitcode: bytes = field(repr=False)
    """Unoptimised, with size attributes: protocol ``clang``'s."""

    @property
    def name(self) -> str:
        return f"{self.package}/{self.path}"

    def row(self) -> dict[str, Any]:
        """The values of `SCHEMA`'s columns."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def stable_hash(text: str) -> bytes:
    """Eight bytes that are the same in every run: what samples and splits are chosen by."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()


def split_of(package: str) -> str:
    """The split that all of a package's programs are in, unless their source says another.

    By a hash of the name alone, so that it stays as the corpus grows, and no package is in two.
    """
    point = int.from_bytes(stable_hash(package), "big") % 100
    for split, percent in zip(SPLITS, SPLIT_PERCENT, strict=True):
        if point < percent:
            return split
        point -= percent
    raise AssertionError("the percentages make 100")


def entry_of(row: dict[str, Any]) -> Entry:
    """The entry that a row was made of."""
    values = {f.name: row[f.name] for f in fields(Entry)}
    values["function_hashes"] = tuple(values["function_hashes"])
    values["function_sizes"] = tuple(values["function_sizes"])
    return Entry(**values)

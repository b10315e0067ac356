"""Units: what a source offers a corpus, one program each, before anything is known of them."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from codezero.compiler.program import Program
from codezero.corpus.entry import split_of
from codezero.errors import CodeZeroError, DiskFull
from codezero.programs.load import ProgramLoader


@dataclass(frozen=True)
class Unit:
    """A translation unit, or a program that is one already."""

    package: str
    version: str
    path: str
    """In the package; with the package's name it names the unit in its source."""
    language: str
    licence: str
    load: Callable[[ProgramLoader], Program]
    """Raises `ProgramError`, with the compiler's message, or `ToolchainError`."""
    stamp: str = ""
    """Changes when the unit does, where its source does not tell."""
    published_split: str = ""
    """Where its source is published in splits; otherwise its package decides."""

    @property
    def split(self) -> str:
        return self.published_split or split_of(self.package)

    @property
    def name(self) -> str:
        return f"{self.package}/{self.path}"


class UnitSource(Protocol):
    """Where units come from: an archive, a package, a folder."""

    @property
    def key(self) -> str:
        """Identifies the source and its version: a unit done for a key is not done again."""
        ...

    @property
    def selection(self) -> str:
        """Says which of the source's units are taken; empty for all."""
        ...

    @property
    def is_fixed(self) -> bool:
        """Whether the units of a key and selection never change: once done, it is not opened."""
        ...

    @property
    def size(self) -> int | None:
        """How many units it has, once `units` has begun; None if they are not counted."""
        ...

    @property
    def setup(self) -> str:
        """How `prepare` went about it, for the report; empty where there is only one way."""
        ...

    def prepare(self) -> None:
        """Fetch and set up what `units` reads. Called once, before it, from any thread.

        Raises:
            CodeZeroError: the source cannot be had.
        """

    def units(self) -> Iterator[Unit]:
        """The units, in an order that does not change.

        Raises:
            CodeZeroError: the source breaks off.
        """
        ...

    def close(self) -> None:
        """End `prepare` if it is under way, and free what it set up: no unit is needed any more."""


def printable(path: Path) -> str:
    """A path as text that every file and stream takes: file names may be any bytes."""
    return str(path).encode(errors="backslashreplace").decode()


LEAST_ROOM = 1 << 20
"""Bytes on a disk that is not full."""


def require_room(folder: Path, what: str) -> None:
    """Raises `DiskFull`: what was just written to a folder may have been cut short."""
    if shutil.disk_usage(folder).free < LEAST_ROOM:
        raise DiskFull(f"{what}: no space left on device ({folder})")


def unpacking_failed(what: str, error: Exception) -> CodeZeroError:
    """What to raise for an error of unpacking: a full disk is no fault of what is unpacked."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{what}: cannot unpack it: {error.strerror}")
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0].rstrip(":")
    return CodeZeroError(f"{what}: cannot unpack it: {reason}")


def compiled(file: Path, flags: tuple[str, ...] = ()) -> Callable[[ProgramLoader], Program]:
    """Loads a unit by compiling a source file, or reading a file of IR."""
    return lambda loader: loader.load([file], flags)[0]

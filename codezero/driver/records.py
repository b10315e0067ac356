"""Records: a JSON line for every object that a driver has made, for ``codezero report``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

LARGEST = 64 << 20
"""Bytes of the file, after which a new one is begun; the last is kept beside it."""


class Record(NamedTuple):
    """What became of one object."""

    object: str
    """The file, absolute."""
    source: str
    size: int
    """Bytes that are loaded: machine code, constants, first values of variables and the like."""
    baseline: int
    """Of what clang -Oz makes."""
    passes: tuple[str, ...] = ()
    """That made it; none where clang did, or where it is other code for what -Oz makes."""
    seconds: float = 0.0
    """Wall time that choosing them took."""
    cached: bool = False
    reason: str = ""
    """Why clang made it, if it did, or why there are no passes."""
    looked_at: bool = True
    """Whether an agent was asked; if not, there are no sizes."""
    linked: bool = False
    """Whether it is a program that was linked as a whole; then lld's passes are the baseline."""
    time: float = 0.0
    """Of the compilation, in seconds since 1970."""
    codegen: tuple[str, ...] = ()
    """LLVM's options that its code was generated with, after the passes."""
    frame_pointers: int = 0
    """How many functions have been given one."""
    inlining: int = 0
    """Of how many functions it was chosen whether they are inlined."""


def to_line(output: str, source: str, said: Mapping[str, Any]) -> bytes:
    """The record of an object that has just been made, as a line.

    Args:
        output: the object's path, absolute.
        source: likewise.
        said: the fields of the record that are known besides.
    """
    fields = {"size": 0, "baseline": 0, "looked_at": "size" in said, **said}
    record = Record(
        object=as_text(output),
        source=as_text(source),
        time=time.time(),
        **fields,
    )
    return json.dumps(record._asdict(), separators=(",", ":")).encode() + b"\n"


def append(path: str, line: bytes) -> None:
    """Add a line; of no consequence where that cannot be done.

    Many processes do so at once: it is written whole, at the end as it is then. What
    `native/driver/outputs.cpp` does is the same.
    """
    with contextlib.suppress(OSError):  # a build does not fail for want of its report
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(file, line)
            if os.fstat(file).st_size > LARGEST:
                fcntl.flock(file, fcntl.LOCK_EX)  # of many, one moves it
                if os.path.samestat(os.fstat(file), os.stat(path)):
                    os.replace(path, f"{path}.1")
        finally:
            os.close(file)


def as_text(path: str) -> str:
    """A path as text that any stream takes: file names may be any bytes."""
    return os.fsencode(path).decode(errors="replace")


def read(path: str) -> Iterator[Record]:
    """The records of a file and the one before it, the oldest first; none if there are none."""
    for name in (f"{path}.1", path):
        if not os.path.exists(name):
            continue
        with open(name, encoding="utf-8", errors="replace") as file:
            yield from filter(None, map(_parse, file))


def _parse(line: str) -> Record | None:
    """A record; None for a line that was cut short, as by a full disk."""
    try:
        fields: dict[str, Any] = json.loads(line)
        record = Record(**fields)
        return record._replace(passes=tuple(record.passes), codegen=tuple(record.codegen))
    except (ValueError, TypeError):
        return None

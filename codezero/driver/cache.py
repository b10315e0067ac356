"""Objects that have been made before, by what they were made of."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import diskcache

Json = dict[str, Any]
"""What is kept with an object."""
BUSY_SECONDS = 5.0
"""That another process may hold the cache's index."""
FOLDER = "objects-3"
"""Of the cache, in the user's: ours to delete. The number is of the format."""


class ObjectCache:
    """A cache in a folder, which other processes may use meanwhile.

    What is wrong with it costs time, never an object: where it cannot be read or written there is
    nothing in it, an index that is broken or gone is begun anew, and what does not have the
    checksum that it was kept with is not there.

    Args:
        size: bytes that it may hold; the objects longest not asked for go first.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder / FOLDER
        self._size = size
        self._opened = 0
        self._cache = self._open()

    def get(self, key: str) -> tuple[Json, bytes] | None:
        """A message and an object."""
        value = self._ask("get", key)
        if not isinstance(value, bytes):
            return None
        checksum, _, rest = value.partition(b"\n")
        if checksum != _checksum(rest):
            return None
        text, _, data = rest.partition(b"\n")
        return json.loads(text), data

    def put(self, key: str, message: Json, data: bytes) -> None:
        rest = json.dumps(message).encode() + b"\n" + data
        self._ask("set", key, _checksum(rest) + b"\n" + rest)

    def _ask(self, method: str, *args: Any) -> Any:
        """Call the cache. What else may go wrong in it (SQLite, the disk) is of no consequence."""
        try:
            if self._index() != self._opened:  # someone has cleaned up
                self._cache = self._open()
            return None if self._cache is None else getattr(self._cache, method)(*args)
        except sqlite3.DatabaseError as error:
            if _is_broken(error):
                self._delete()
            return None
        except Exception:
            return None

    def _open(self) -> Any:
        try:
            return self._make()
        except sqlite3.DatabaseError as error:
            return self._delete() if _is_broken(error) else None
        except Exception:
            return None

    def _make(self) -> Any:
        try:
            return diskcache.Cache(
                str(self._folder),
                timeout=BUSY_SECONDS,
                disk=_BytesOnly,
                size_limit=self._size,
                eviction_policy="least-recently-used",
            )
        finally:
            self._opened = self._index()

    def _index(self) -> int:
        """Tells one index from another."""
        try:
            return os.stat(self._folder / diskcache.core.DBNAME).st_ino
        except OSError:
            return 0

    def _delete(self) -> Any:
        """Begin anew."""
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            self._cache = self._make()
        except Exception:
            self._cache = None
        return self._cache


class _BytesOnly(diskcache.Disk):  # type: ignore[misc]
    """Reads no pickles: a cache that others may write to would run what they want."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        if mode == diskcache.core.MODE_PICKLE:
            raise ValueError("nothing of ours is pickled")
        return super().fetch(mode, filename, value, read)


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether it is the file, rather than that it is busy or must not be written."""
    return not isinstance(error, sqlite3.OperationalError)


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).hexdigest().encode()

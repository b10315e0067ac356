"""Compilations that were made before, known by their command line and the files that they read.

As ccache's direct mode does: what a compilation has read is remembered with it, and where that is
still the same, so is what comes of it, and clang need not even be started. A header that would now
be found earlier on the include path is not noticed, as it is not by make.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Sequence
from typing import NamedTuple

from codezero.driver.cache import Json, ObjectCache
from codezero.driver.messages import Question
from codezero.driver.settings import DriverSettings

# A line may go on after a backslash, in the middle of a word.
_GOES_ON = re.compile(rb"\\[ \t]*\r?\n")
_DEPENDS_ON_MORE = re.compile(rb"__(DATE|TIME|TIMESTAMP)__|#\s*embed|__has_embed")
"""In a file that is read: what comes of it depends on the time, or on files that are not listed."""
_DEPENDS_ON_ABSENCE = b"__has_include"
"""In a file that is not of the system: what comes of it depends on files that there are not."""
SYSTEM = ("/usr/include/", "/usr/lib/", "/usr/local/include/")
_READS_MORE_LATER = re.compile(rb"\.inc(bin|lude)\b", re.IGNORECASE)
"""In a file that is read: an assembler directive, by which code generation reads another."""


class _Facts(NamedTuple):
    """What is known of a file."""

    status: tuple[int, ...]
    digest: str
    tells_all: bool
    reads_more_later: bool


class Results(NamedTuple):
    """What comes of a compilation besides the object."""

    output: str
    source: str
    dependency_file: tuple[str, str] | None
    """Its path and its text, each byte a character."""
    messages: str
    """Each byte a character."""


class Found(NamedTuple):
    """What is known of a compilation."""

    results: Results | None = None
    """Where all is known: what there is to write besides the object."""
    object: bytes = b""
    record: Json | None = None
    """Of the object; where all is known."""


class Seen:
    """Thread-safe."""

    def __init__(self) -> None:
        self._known: dict[str, _Facts] = {}
        self._lock = threading.Lock()

    def find(self, cache: ObjectCache, key: str) -> Found:
        """What is known of a compilation."""
        kept = cache.get(key)
        if kept is None or self.digests(list(kept[0]["files"])) != kept[0]["files"]:
            return Found()
        answer, _ = kept
        made = cache.get(answer["key"])
        if made is None:
            return Found()
        message, data = made
        return Found(Results(**answer["results"]), data, message["record"])

    def remember(
        self, cache: ObjectCache, key: str, files: Json, made: str, results: Results
    ) -> None:
        """Keep what came of a compilation.

        Args:
            files: the digests of all that it has read.
            made: the key of the object.
            results: what else there is to write.
        """
        cache.put(key, {"files": files, "key": made, "results": results._asdict()}, b"")

    def digests(self, paths: Sequence[str], before: float = float("inf")) -> Json | None:
        """Of some files' contents; None where one is gone, or they do not tell what comes of them.

        Args:
            before: none may have changed since, in seconds since 1970.
        """
        digests: Json = {}
        for path in paths:
            facts = self._facts(path)
            if facts is None or not facts.tells_all or facts.reads_more_later:
                return None
            # Clocks of file systems are coarser than the time.
            if max(facts.status[-2:]) * 1e-9 > before - 0.1:
                return None
            digests[path] = facts.digest
        return digests

    def bitcode_tells_all(self, paths: Sequence[str]) -> bool:
        """Whether equal bitcode makes equal objects, of a compilation that reads these files."""
        return not any(facts and facts.reads_more_later for facts in map(self._facts, paths))

    def _facts(self, path: str) -> _Facts | None:
        try:
            found = os.stat(path)
            status = _status(found)
            with self._lock:
                known = self._known.get(path)
            if known is not None and known.status == status:
                return known
            if not stat.S_ISREG(found.st_mode):
                return None
            with open(path, "rb") as file:
                contents = file.read()
                if _status(os.fstat(file.fileno())) != status:
                    return None  # it is being written
        except OSError:
            return None
        contents_in_lines = _GOES_ON.sub(b"", contents)
        facts = _Facts(
            status,
            hashlib.blake2b(contents, digest_size=16).hexdigest(),
            not _DEPENDS_ON_MORE.search(contents_in_lines)
            and (
                os.path.realpath(path).startswith(SYSTEM)
                or _DEPENDS_ON_ABSENCE not in contents_in_lines
            ),
            _READS_MORE_LATER.search(contents_in_lines) is not None,
        )
        with self._lock:
            self._known[path] = facts
        return facts


def _status(of: os.stat_result) -> tuple[int, ...]:
    return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns


def tell_all(arguments: Sequence[str]) -> bool:
    """Whether a compilation's words, and the files that it reads, tell what comes of it."""
    return not any(
        word.startswith("@")
        or word.endswith("=native")
        or _DEPENDS_ON_MORE.search(os.fsencode(word))
        or _DEPENDS_ON_ABSENCE in os.fsencode(word)
        for word in arguments
    )


_SAYS_WHERE = ("CODEZERO_", "XDG_", "TMP", "TEMP")
"""What variables begin with that are settings of ours, or say where things are kept."""


def key_of(question: Question, settings: DriverSettings, version: str) -> str:
    """What a compilation is known by: all that it depends on but the contents of files.

    Args:
        version: of what decides what is made of a program.
    """
    environment = question.environment.items()
    text = json.dumps(
        [
            *(version, question.directory, question.compiler, question.identity),
            *(question.terminal, question.arguments),
            sorted(item for item in environment if not item[0].startswith(_SAYS_WHERE)),
            settings._replace(records=""),  # which makes no difference
        ]
    ).encode()
    return hashlib.blake2b(text, digest_size=20).hexdigest()

"""Include folders for a file of which nothing is known but the tree that it stands in.

Each ``#include`` that neither the including file's folder nor the system answers is looked up in
the tree by its name. The header nearest to the including file is taken, and what that one includes
is looked up as well. So a file gets the folders it needs and no others: a list of all folders with
headers would let a project's ``compat/string.h`` hide the system's.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path, PurePath
from typing import NamedTuple

_INCLUDE = re.compile(
    rb"""^[ \t]*(?:\#[ \t]*)?(?:include|include_next|import)[ \t]*"""
    rb"""(?:<([^>\n]+)>|["']([^"'\n]+)["'])""",
    re.MULTILINE | re.IGNORECASE,
)


class _Include(NamedTuple):
    name: str
    header: Path | None
    """The file of the tree that is meant; None if there is none."""
    folder: Path | None
    """The include folder that is needed to find it."""


class IncludeScanner:
    """Finds the headers of one source tree.

    Args:
        root: the tree; read once.
        system: folders that the compiler looks into by itself.
    """

    def __init__(self, root: Path, system: Sequence[Path]) -> None:
        self._root = root
        self._system = tuple(system)
        self._by_name: dict[str, list[PurePath]] = defaultdict(list)
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(f for f in folders if f[0] != ".")
            for name in names:
                self._by_name[name].append(PurePath(folder, name))
        self._includes: dict[Path, tuple[_Include, ...]] = {}
        self._in_system: dict[str, bool] = {}

    def folders(self, source: Path) -> tuple[Path, ...]:
        """The folders of the tree that a file's includes are found in, in the order of need."""
        headers = (found for found in self._reached(source) if found.header is not None)
        return tuple(dict.fromkeys(h.folder for h in headers if h.folder is not None))

    def missing(self, source: Path) -> set[str]:
        """What a file includes, itself or by headers of the tree, and nobody has."""
        return {include.name for include in self._reached(source) if include.header is None}

    def _reached(self, source: Path) -> Iterator[_Include]:
        """The includes of a file and of the tree's headers that it includes."""
        seen = {source}
        waiting = deque([source])
        while waiting:
            for include in self._includes_of(waiting.popleft()):
                yield include
                if include.header is not None and include.header not in seen:
                    seen.add(include.header)
                    waiting.append(include.header)

    def _includes_of(self, file: Path) -> tuple[_Include, ...]:
        found = self._includes.get(file)
        if found is None:
            found = self._includes[file] = tuple(self._look_up(file))
        return found

    def _look_up(self, file: Path) -> Iterator[_Include]:
        """The includes of a file, without those that the system answers."""
        try:
            text = file.read_bytes()
        except OSError:  # a broken link
            return
        for match in _INCLUDE.finditer(text):
            is_quoted = match[2] is not None
            name = os.fsdecode((match[2] if is_quoted else match[1]).strip())
            # Normalised: headers that include each other by "../" have no end of names otherwise.
            beside = Path(os.path.normpath(file.parent / name))
            if is_quoted and _is_file(beside):
                yield _Include(name, beside, None)
            elif not self._is_in_system(name):
                header = self._nearest(name, file)
                folder = header and Path(*header.parts[: -len(PurePath(name).parts)])
                yield _Include(name, header, folder)

    def _is_in_system(self, name: str) -> bool:
        if name not in self._in_system:
            self._in_system[name] = any(_is_file(folder / name) for folder in self._system)
        return self._in_system[name]

    def _nearest(self, name: str, includer: Path) -> Path | None:
        parts = PurePath(name).parts
        if not parts or ".." in parts:
            return None
        headers = [h for h in self._by_name.get(parts[-1], ()) if h.parts[-len(parts) :] == parts]
        if not headers:
            return None

        def distance(header: PurePath) -> tuple[int, int, str]:
            pairs = zip(header.parts, includer.parts, strict=False)
            return (
                -sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)),
                len(header.parts),
                str(header),
            )

        return Path(min(headers, key=distance))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


@functools.cache
def system_include_folders(compiler: str, language: str) -> tuple[Path, ...]:
    """Folders that a clang looks into by itself for a language by clang's name (``c``, ``c++``)."""
    done = subprocess.run(
        [compiler, "-E", "-v", "-x", language, os.devnull],
        capture_output=True, text=True, errors="replace", timeout=20, check=False,
    )  # fmt: skip
    listed = done.stderr.partition("#include <...> search starts here:\n")[2]
    return tuple(Path(line.strip()) for line in listed.partition("End of search")[0].splitlines())

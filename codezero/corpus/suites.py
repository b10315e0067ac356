"""Suites made of Debian source packages: the built-in ones, and writing one as a folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from codezero.corpus.corpus import Corpus
from codezero.corpus.projects.source_tree import Recipe
from codezero.corpus.sources.debian import Request
from codezero.errors import CodeZeroError
from codezero.files import replacing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


WRITTEN = "programs.txt"
"""Names the files of a suite that `write_suite` wrote."""


@dataclass(frozen=True)
class BuiltinSuite:
    title: str
    sample: int
    """Files of each package, at most."""
    requests: tuple[Request, ...]


@cache
def builtin_suites() -> dict[str, BuiltinSuite]:
    """The suites of ``suites.toml``, by name."""
    described = tomllib.loads(files("codezero.corpus").joinpath("suites.toml").read_text())
    return {
        name: BuiltinSuite(suite["title"], suite["sample"], tuple(map(_request, suite["packages"])))
        for name, suite in described.items()
    }


def builtin_suite(name: str) -> BuiltinSuite:
    """Raises `CodeZeroError` for a name that there is not."""
    suites = builtin_suites()
    if name not in suites:
        raise CodeZeroError(f"no suite '{name}'; choose from: {', '.join(suites)}")
    return suites[name]


def _request(package: dict[str, Any]) -> Request:
    steps = {key: tuple(package[key]) for key in ("commands", "make", "flags") if key in package}
    return Request(
        package["name"], only=tuple(package["only"]), recipe=Recipe(**steps) if steps else None
    )


def suite_files(corpus: Corpus) -> list[str]:
    """Names of the files that a suite's programs are written to."""
    names = [f"{program.name.replace('/', '-')}.bc" for program in corpus]
    seen: set[str] = set()
    for index, name in enumerate(names):
        names[index] = f"{index}-{name}" if name in seen else name
        seen.add(name)
    return names


def write_suite(corpus: Corpus, folder: Path) -> None:
    """Write each program as a file of bitcode in a folder: a suite as `find_suite` reads it.

    Files that were written there before and are no program of the corpus are deleted, even those
    of a call that was killed: a list of all is written first, and cut short last.

    Raises:
        CodeZeroError: the folder cannot be written to.
    """
    written = folder / WRITTEN
    names = suite_files(corpus)
    before = written.read_text().splitlines() if written.exists() else []
    _write_lines(written, sorted({*before, *names}))
    for name in set(before) - set(names):
        (folder / name).unlink(missing_ok=True)
    for name, program in zip(names, corpus, strict=True):
        with replacing(folder / name) as temporary:
            temporary.write_bytes(program.bitcode)
    _write_lines(written, names)


def _write_lines(path: Path, lines: list[str]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines))

"""Suites: folders of programs, the unit that results are reported by.

A program of a suite is a ``.bc`` or ``.ll`` file, a source file, or a folder of them, linked into
one. Files in the suite's own folder are a program each; each of its subfolders is one program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codezero.compiler.frontends import IR_SUFFIXES, SOURCE_SUFFIXES
from codezero.errors import ProgramError

_SUFFIXES = frozenset((*IR_SUFFIXES, *SOURCE_SUFFIXES))


@dataclass(frozen=True)
class SuiteProgram:
    name: str
    """Of its file, or of the suite's subfolder that has its files."""
    files: tuple[Path, ...]
    """Several are linked into one program."""


@dataclass(frozen=True)
class Suite:
    name: str
    programs: tuple[SuiteProgram, ...]


def find_suite(path: Path) -> Suite:
    """The suite at a path: a folder of programs, or a file, which is a suite of one.

    Raises:
        ProgramError: no such path, or no program in it.
    """
    if not path.exists():
        raise ProgramError(f"{path}: no such file or folder")
    if path.is_file():
        return Suite(path.name, (SuiteProgram(path.name, (path,)),))
    suite = _suite(path)
    if suite is None:
        raise ProgramError(f"{path}: no program in this folder (looked for {_looked_for()})")
    return suite


def find_suites(paths: Sequence[Path]) -> list[Suite]:
    """The suites at several paths; those that would have one name are named by their paths."""
    suites = [find_suite(path) for path in paths]
    names = Counter(suite.name for suite in suites)
    return [
        replace(suite, name=str(path)) if names[suite.name] > 1 else suite
        for path, suite in zip(paths, suites, strict=True)
    ]


def _suite(folder: Path) -> Suite | None:
    programs: list[SuiteProgram] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            files = tuple(sorted(f for f in entry.rglob("*") if _is_program_file(f)))
            if files:
                programs.append(SuiteProgram(entry.name, files))
        elif _is_program_file(entry):
            programs.append(SuiteProgram(entry.name, (entry,)))
    return Suite(folder.resolve().name, tuple(programs)) if programs else None


def _is_program_file(path: Path) -> bool:
    return path.suffix in _SUFFIXES and path.is_file()


def _looked_for() -> str:
    return " ".join(sorted(_SUFFIXES))

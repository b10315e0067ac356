"""The compilers on this machine: which are there, where, and what installs the others."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from codezero.errors import ToolchainError

LLVM_MAJOR = 22


class Tool(NamedTuple):
    name: str
    """What it is called in messages."""
    purpose: str
    variable: str
    """Environment variable that overrides the search."""
    commands: tuple[str, ...]
    """Names looked for on PATH, best first."""
    install: str
    of_llvm: bool = True
    """Whether it is one of LLVM's own, of the version that is built in here: another version's
    -Oz is another baseline, and a later one's bitcode cannot be read."""

    def find(self) -> str | None:
        """Path of the executable, or None."""
        return next((path for path in self._candidates() if self._fits(path)), None)

    def require(self) -> str:
        """Path of the executable. Raises `ToolchainError` that says how to install it."""
        path = self.find()
        if path is None:
            other = next(iter(self._candidates()), None)
            what = f"{self.name} {LLVM_MAJOR}" if other else self.name
            instead = f" ({other} is {version_line(other)})" if other else ""
            raise ToolchainError(
                f"{what} is not installed{instead}: {self.purpose}. {self.install}"
            )
        return path

    def _candidates(self) -> Iterator[str]:
        override = os.environ.get(self.variable)
        for command in (override,) if override else self.commands:
            if path := shutil.which(command):
                yield path

    def _fits(self, path: str) -> bool:
        if not self.of_llvm or path.endswith(f"-{LLVM_MAJOR}"):
            return True
        return re.search(rf"version {LLVM_MAJOR}\.", version_line(path)) is not None


@functools.cache
def version_line(path: str) -> str:
    """The first line of an executable's ``--version`` with a version in it."""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not run: {error}"
    for line in done.stdout.splitlines():
        if any(character.isdigit() for character in line):
            return line.strip()
    return "of no known version"


def _debian(package: str) -> str:
    return f"Install it with: apt-get install {package}"


CLANG = Tool(
    "clang",
    "it compiles C and Objective-C",
    "CODEZERO_CLANG",
    (f"clang-{LLVM_MAJOR}", "clang"),
    _debian(f"clang-{LLVM_MAJOR}"),
)
CLANGXX = Tool(
    "clang++",
    "it compiles C++",
    "CODEZERO_CLANGXX",
    (f"clang++-{LLVM_MAJOR}", "clang++"),
    _debian(f"clang-{LLVM_MAJOR}"),
)
FLANG = Tool(
    "flang",
    "it compiles Fortran",
    "CODEZERO_FLANG",
    (f"flang-{LLVM_MAJOR}", "flang", "flang-new"),
    _debian(f"flang-{LLVM_MAJOR}"),
)
RUSTC = Tool(
    "rustc",
    "it compiles Rust",
    "CODEZERO_RUSTC",
    ("rustc",),
    _debian("rustc"),
    of_llvm=False,
)
OPT = Tool(
    "opt",
    "benchmarks compare with it",
    "CODEZERO_OPT",
    (f"opt-{LLVM_MAJOR}", "opt"),
    _debian(f"llvm-{LLVM_MAJOR}"),
)

ALL_TOOLS = (CLANG, CLANGXX, FLANG, RUSTC, OPT)

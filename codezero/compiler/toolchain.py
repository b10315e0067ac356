"""The compilers on this machine: which are there, where, and what installs the others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from codezero.errors import ToolchainError

LLVM_MAJOR = 22


class Tool:
    """A compiler, or another tool.

    Args:
        name: what it is called in messages.
        variable: environment variable that overrides the search.
        commands: names looked for on PATH, best first.
        of_llvm: whether it is one of LLVM's own, of the version that is built in here: another
            version's -Oz is another baseline, and a later one's bitcode cannot be read.
        size_level: what it takes in place of -Oz.
    """

    def __init__(
        self,
        name: str,
        purpose: str,
        variable: str,
        commands: tuple[str, ...],
        install: str,
        of_llvm: bool = True,
        size_level: str = "-Oz",
    ) -> None:
        self.name = name
        self.purpose = purpose
        self.variable = variable
        self.commands = commands
        self.install = install
        self.of_llvm = of_llvm
        self.size_level = size_level

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
        return f"version {LLVM_MAJOR}." in version_line(path)


_versions: dict[str, str] = {}


def version_line(path: str) -> str:
    """The first line of an executable's ``--version`` with a version in it."""
    if path not in _versions:
        _versions[path] = _ask_version(path)
    return _versions[path]


def _ask_version(path: str) -> str:
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
    size_level="-O2",  # which its own middle end (FIR) goes by; it rejects -Oz
)
RUSTC = Tool(
    "rustc",
    "it compiles Rust",
    "CODEZERO_RUSTC",
    ("rustc",),
    _debian("rustc"),
    of_llvm=False,
)
LLD = Tool(
    "lld",
    "`codezero link` links whole programs by it",
    "CODEZERO_LLD",
    (f"ld.lld-{LLVM_MAJOR}", "ld.lld"),
    _debian(f"lld-{LLVM_MAJOR}"),
)
OPT = Tool(
    "opt",
    "benchmarks compare with it",
    "CODEZERO_OPT",
    (f"opt-{LLVM_MAJOR}", "opt"),
    _debian(f"llvm-{LLVM_MAJOR}"),
)

SIZE_LEVELS = ("-Oz", "-Os")


def as_taken(arguments: Sequence[str], tool: Tool) -> list[str]:
    """A command line with levels for size as a compiler takes them."""
    if tool.size_level in SIZE_LEVELS:
        return list(arguments)
    return [tool.size_level if word in SIZE_LEVELS else word for word in arguments]


ALL_TOOLS = (CLANG, CLANGXX, FLANG, RUSTC, LLD, OPT)

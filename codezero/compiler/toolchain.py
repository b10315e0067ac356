"""The compilers on this machine: which are there, where, and what installs the others."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from codezero.errors import ToolchainError

LLVM_MAJOR = 22


@dataclass(frozen=True)
class Tool:
    name: str
    """What it is called in messages."""
    purpose: str
    variable: str
    """Environment variable that overrides the search."""
    commands: tuple[str, ...]
    """Names looked for on PATH, best first."""
    install: str

    def find(self) -> str | None:
        """Path of the executable, or None."""
        override = os.environ.get(self.variable)
        for command in (override,) if override else self.commands:
            if path := shutil.which(command):
                return path
        return None

    def require(self) -> str:
        """Path of the executable. Raises `ToolchainError` that says how to install it."""
        path = self.find()
        if path is None:
            raise ToolchainError(f"{self.name} is not installed: {self.purpose}. {self.install}")
        return path


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
)
OPT = Tool(
    "opt",
    "benchmarks compare with it",
    "CODEZERO_OPT",
    (f"opt-{LLVM_MAJOR}", "opt"),
    _debian(f"llvm-{LLVM_MAJOR}"),
)

ALL_TOOLS = (CLANG, CLANGXX, FLANG, RUSTC, OPT)

"""``codezero doctor``: what is installed, what is missing, and what installs it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import tyro

import codezero
from codezero._native import LLVM_VERSION, TARGETS
from codezero.cli.options import parse
from codezero.cli.output import print_table
from codezero.compiler.toolchain import ALL_TOOLS, CLANG, Tool, version_line


@dataclass
class Options:
    """Say what is installed, what is missing and how to install it."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print an object."""


@dataclass(frozen=True)
class Finding:
    tool: str
    path: str | None
    version: str | None
    remark: str


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits 1 if clang, without which C and C++ cannot be compiled, is missing."""
    options = parse(Options, "doctor", arguments)
    findings = [_examine(tool) for tool in ALL_TOOLS]
    if options.json:
        report = {
            "codezero": codezero.__version__,
            "llvm": LLVM_VERSION,
            "targets": list(TARGETS),
            "tools": [asdict(finding) for finding in findings],
        }
        json.dump(report, sys.stdout, indent=2)
        print()
    else:
        print(f"codezero {codezero.__version__}, LLVM {LLVM_VERSION} built in")
        print(f"generates code for {', '.join(TARGETS)}\n")
        headers = ["tool", "version", "path", "remark"]
        rows = [[f.tool, f.version or "missing", f.path or "", f.remark] for f in findings]
        print_table(headers, rows, numeric_from=len(headers))
    return 0 if CLANG.find() else 1


def _examine(tool: Tool) -> Finding:
    path = tool.find()
    if path is None:
        return Finding(tool.name, None, None, f"{tool.purpose}; {tool.install}")
    return Finding(tool.name, path, version_line(path), tool.purpose)

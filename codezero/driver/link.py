"""Links of whole programs: where lld optimises what is in bitcode, its passes are chosen by us.

lld does all that a linker does: it resolves symbols, pulls members out of archives, hides what
nothing outside refers to, and generates code. It is only told which passes to run on the module
that it has linked, in words of its own (``--lto-newpm-passes``).

Drivers start with this file, so that it imports little.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from codezero.compiler.clang_driver import value_of

NO_PASSES = "no-op-module"


def is_link_time(command: Sequence[str]) -> bool:
    """Whether a job is a link by lld that optimises whole programs, and can be told how."""
    return (
        os.path.basename(command[0]).startswith("ld.lld")
        and any(word.startswith("-plugin-opt=") for word in command)
        and not any(map(_IS_TOLD_OTHERWISE.match, command))
        and "-o" in command
    )


_IS_TOLD_OTHERWISE = re.compile(
    r"--?(plugin-opt=)?(lto-(?!O\d|CGO\d)|thinlto|emit-|obj-path|save-temps|stats-file|opt-remarks|"
    r"(cs|sample)-profile|pass-plugin|load-pass-plugin|dtlto|new-pass-manager|debug-pass-manager|"
    r"reproduce|plugin$)"
)
"""Words under which lld writes something else, is told of its passes by others, or does one module
at a time (thinlto)."""


def merging(command: Sequence[str], output: str) -> list[str]:
    """The same, but that the module is written before the first pass, if there is one."""
    return [*_to(command, output), "--lto-emit-llvm", f"--lto-newpm-passes={NO_PASSES}"]


def linking(command: Sequence[str], pipeline: str, output: str | None = None) -> list[str]:
    """A link with other passes.

    Args:
        pipeline: as for ``opt -passes=``; empty for lld's own.
        output: where to, if not as it was.
    """
    told = _to(command, output) if output is not None else list(command)
    return [*told, f"--lto-newpm-passes={pipeline}"] if pipeline else told


def output_of(command: Sequence[str]) -> str:
    """What is linked: a file, absolute."""
    return os.path.abspath(value_of(command, "-o"))


def without_output(command: Sequence[str]) -> list[str]:
    """The words that decide what is linked."""
    return _to(command, "")


def _to(command: Sequence[str], output: str) -> list[str]:
    kept = list(command)
    kept[kept.index("-o") + 1] = output
    return kept

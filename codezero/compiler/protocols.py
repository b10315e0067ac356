"""Protocols: from which IR optimisation starts, and which baseline it has to beat.

The two differ in one thing that matters: ``clang -Oz`` marks every function ``minsize`` and
``optsize``, and the paper's IR (made with ``clang -O0``) does not, which makes its ``-Oz`` a
weaker one. bzip2: 15,976 instructions without the attributes, 13,916 with.
"""

from __future__ import annotations

import enum

from codezero._native import CompileOptions, Module


class Protocol(str, enum.Enum):
    PAPER = "paper"
    """IR without size attributes; the baseline is ``opt -passes='default<Oz>'``."""

    CLANG = "clang"
    """IR as ``clang -Oz`` hands it to its optimiser; the baseline is what clang makes of it."""

    def prepare(self, module: Module) -> None:
        """Turn stored IR, which is protocol ``clang``'s, into this protocol's."""
        if self is Protocol.PAPER:
            module.strip_size_attributes()

    def run_baseline(self, module: Module, options: CompileOptions) -> None:
        """Optimise ``module`` as the baseline does."""
        if self is Protocol.PAPER:
            module.run("default<Oz>")
        else:
            module.run_clang_oz(options)

    @property
    def baseline(self) -> str:
        return "opt -Oz" if self is Protocol.PAPER else "clang -Oz"

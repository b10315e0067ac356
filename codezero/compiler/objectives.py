"""Objectives: what is to become small, and how it is measured."""

from __future__ import annotations

import enum

from codezero._native import CompileOptions, Module


class Objective(str, enum.Enum):
    """A cost C(s) of a module in state s; lower is better."""

    INSTRUCTIONS = "instructions"
    """Number of IR instructions, the paper's measure. Independent of the target."""

    TEXT = "text"
    """Bytes of executable sections after code generation for the module's own target."""

    def measure(self, module: Module, options: CompileOptions) -> int:
        """The cost of ``module``; code is generated as ``options`` says.

        Raises:
            CodegenError: ``TEXT``, for a target without a code generator.
        """
        if self is Objective.INSTRUCTIONS:
            return module.instruction_count()
        return module.text_size(options)

    @property
    def unit(self) -> str:
        return "instructions" if self is Objective.INSTRUCTIONS else "bytes"

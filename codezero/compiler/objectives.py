"""Objectives: what is to become small, and how it is measured."""

from __future__ import annotations

import enum

from codezero._native import executable_size, loaded_size


class Objective(str, enum.Enum):
    """A cost C(s) of a module in state s; lower is better."""

    INSTRUCTIONS = "instructions"
    """Number of IR instructions, the paper's measure. Independent of the target."""

    TEXT = "text"
    """Bytes of executable sections after code generation for the module's own target."""

    LOADED = "loaded"
    """The same of all sections that are loaded and have contents, so that constants (with the
    relocations that a loader reads for them), first values of variables and tables to unwind by
    count as well: what a program takes in flash, or of a disk without its symbols."""

    @property
    def ending(self) -> str:
        """Passes that every list ends with, as for ``opt -passes=``; empty for none.

        Of -Oz's, those that make what is loaded smaller and are not worth their code where that
        alone counts: equal constants are one, and tables of addresses are of differences.
        """
        return "constmerge,rel-lookup-table-converter" if self is Objective.LOADED else ""

    @property
    def of_code(self) -> bool:
        """Whether code has to be generated to measure it."""
        return self is not Objective.INSTRUCTIONS

    def measure_object(self, made: bytes) -> int:
        """The cost of an object, if it is one of code.

        Raises:
            CodegenError: this is no object.
        """
        assert self.of_code
        return executable_size(made) if self is Objective.TEXT else loaded_size(made)

    @property
    def unit(self) -> str:
        return "bytes" if self.of_code else "instructions"

"""What has to be known of a program before it may join a corpus. Runs, and may die, in a worker."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from codezero._native import LLVMError, Module
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.errors import ProgramError
from codezero.programs.load import parse_module

DISTINCTIVE_INSTRUCTIONS = 15
"""Smaller functions (accessors, wrappers) are alike in programs that are not."""

_OF_NO_PROGRAM = re.compile(
    r"""
    _ZN?[VK]*(?:S[abdiost]|9__gnu_cxx)   # namespace std, internal if over a type of one file
    | __cxx_global_var_init | _GLOBAL__sub_
    | (?:_ZL\d+)?__bswap_\d | .*\.inline$   # glibc's headers; the latter of _FORTIFY_SOURCE
    """,
    re.VERBOSE,
)
"""Names of functions that compilers and system headers put into files of many programs."""


@dataclass(frozen=True)
class Limits:
    """What a program must be like by itself.

    Attributes:
        min_instructions, max_instructions: before optimisation.
        oz_seconds: of a core that the passes of -Oz may take.
    """

    min_instructions: int = 50
    max_instructions: int = 20_000
    oz_seconds: float = 2.0


class Rejected(Exception):
    """A program that does not meet the limits.

    Attributes:
        reason: what reports count it under.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Examination:
    """A program that meets the limits."""

    bitcode: bytes
    """Written by this LLVM, order of uses kept."""
    instructions: int
    instructions_oz: int
    structural_hash: int
    functions: tuple[tuple[int, int], ...]
    """(structural hash, instructions) of its distinctive functions."""


class Examiner:
    """The worker's object."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def examine(self, program: Program, name: str) -> Examination:
        """Examine a program, which the corpus will know by ``name``. Raises `Rejected`."""
        limits = self._limits
        try:
            module = parse_module(program)
        except ProgramError as error:
            raise Rejected("not valid IR", str(error)) from None
        # Compiled from a folder that is gone tomorrow; the same source must make the same bytes.
        module.set_source_name(name)
        instructions = module.instruction_count()
        if instructions < limits.min_instructions:
            raise Rejected("too few instructions", str(instructions))
        if instructions > limits.max_instructions:
            raise Rejected("too many instructions", str(instructions))
        structural_hash = module.structural_hash()
        bitcode = module.bitcode()
        functions = distinctive(module)
        start = time.process_time()  # not of how busy the machine is
        try:
            Protocol.CLANG.run_baseline(module, program.options)
            module.verify()
        except LLVMError as error:
            raise Rejected("-Oz fails", str(error).splitlines()[0]) from None
        seconds = time.process_time() - start
        if seconds > limits.oz_seconds:
            raise Rejected("-Oz takes too long", f"{seconds:.1f} s")
        if module.structural_hash() == structural_hash:
            raise Rejected("-Oz changes nothing")
        return Examination(
            bitcode, instructions, module.instruction_count(), structural_hash, functions
        )


def distinctive(module: Module) -> tuple[tuple[int, int], ...]:
    """(structural hash, instructions) of the functions that tell programs apart.

    These are not tiny, and not those that every program of a language has a copy of: C++ templates
    and inline functions, the standard library's own that compilers see through to, such as
    std::string's, and what system headers define. By them a fifth of all programs would overlap
    with each suite of C++.
    """
    return tuple(
        (function.structural_hash, function.instructions)
        for function in module.functions()
        if function.instructions >= DISTINCTIVE_INSTRUCTIONS
        and not function.is_shared
        and not _OF_NO_PROGRAM.match(function.name)
    )


class DistinctiveReader:
    """The worker's object that reads held-out programs."""

    def read(self, program: Program) -> tuple[tuple[int, int], ...]:
        return distinctive(parse_module(program))

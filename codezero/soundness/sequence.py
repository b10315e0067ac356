"""One pass sequence on one program, checked after every pass. Runs, and may die, in a worker."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from codezero._native import LLVMError, Module, VerificationError
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import Pass
from codezero.env.episode import growth_limit
from codezero.programs.load import FINISH, parse_module


class Verdict(str, enum.Enum):
    """How a sequence ended. All but the first two are failures."""

    PASSED = "passed"
    GREW = "grew"
    """Past the environment's limit, where an episode would end: not a failure."""
    CRASH = "crash"
    """LLVM ended the process."""
    HANG = "hang"
    """It did not end in time."""
    BROKEN_IR = "broken-ir"
    """The verifier rejects what a pass left."""
    UNREPORTED_CHANGE = "unreported-change"
    """A pass changed the program and reported that it had not."""
    MISCOMPILED = "miscompiled"
    """The program does something else than before."""
    NONDETERMINISTIC = "nondeterministic"
    """A second run on the same program made something else of it."""
    ERROR = "error"
    """LLVM reported an error."""

    @property
    def failed(self) -> bool:
        return self not in (Verdict.PASSED, Verdict.GREW)


@dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    message: str = ""
    steps: int = 0
    """Passes that ran to their end."""
    object_file: bytes = b""
    """Code for the program afterwards, if the sequence passed."""


class SequenceRunner:
    """Runs sequences; the worker's object."""

    def run(self, program: Program, protocol: Protocol, passes: Sequence[Pass]) -> Outcome:
        """Run passes one by one, generate code for what they leave, and run them once more."""
        module = _start(program, protocol)
        limit = growth_limit(module.instruction_count())
        for step, each in enumerate(passes):
            before = module.structural_hash()
            try:
                changed = each.run(module)
                module.verify()
            except VerificationError as error:
                return Outcome(Verdict.BROKEN_IR, f"after {each.name}: {error}", step)
            except LLVMError as error:
                return Outcome(Verdict.ERROR, f"{each.name}: {error}", step)
            if not changed and module.structural_hash() != before:
                return Outcome(Verdict.UNREPORTED_CHANGE, each.name, step)
            if module.instruction_count() > limit:
                return Outcome(Verdict.GREW, each.name, step + 1)
        # The first module still stands in memory, so addresses are others this time. The order of
        # uses, which bitcode has and text has not, may follow addresses even after cgscc(inline).
        again = _start(program, protocol)
        try:
            for each in passes:
                each.run(again)
        except LLVMError as error:
            return Outcome(Verdict.NONDETERMINISTIC, f"the second time: {error}", len(passes))
        if again.ir() != module.ir():
            return Outcome(Verdict.NONDETERMINISTIC, "two runs differ", len(passes))
        try:
            module.run(FINISH)
            object_file = module.object(program.options)
        except LLVMError as error:
            return Outcome(Verdict.ERROR, f"code generation: {error}", len(passes))
        return Outcome(Verdict.PASSED, "", len(passes), object_file)


def _start(program: Program, protocol: Protocol) -> Module:
    module = parse_module(program)
    protocol.prepare(module)
    return module

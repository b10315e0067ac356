"""One pass sequence on one program, checked after every pass. Runs, and may die, in a worker."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from codezero._native import LLVMError, Module, VerificationError
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import Codegen, Pass, options_on
from codezero.env.subject import growth_limit
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


class Step(NamedTuple):
    """A pass on a program, or on one of its functions."""

    each: Pass
    function: str | None = None
    """Its name; None is the whole program."""

    def run(self, module: Module) -> bool:
        """Returns whether the module changed."""
        if self.function is None:
            return self.each.run(module)
        return self.each.run_on(module, self.function)

    def __str__(self) -> str:
        return self.each.name + ("" if self.function is None else f" on {self.function}")


class InliningStep(NamedTuple):
    """A choice about inlining, for the passes after it."""

    function: str | float
    """Its name; or which it is of those that there are, sorted by name, from 0 to 1."""
    always: bool

    def run(self, module: Module) -> bool:
        """Marks are no change: they go before code is generated."""
        name = self.function
        if not isinstance(name, str):
            names = sorted(module.instruction_counts())
            if not names:
                return False
            name = names[int(name * len(names))]
        module.choose_inlining([(name, self.always)])
        return False

    def __str__(self) -> str:
        which = self.function if isinstance(self.function, str) else f"no. {self.function:.6f}"
        return f"{'always' if self.always else 'never'} inline {which}"


AnyStep: TypeAlias = Step | InliningStep


class Generation(NamedTuple):
    """How code is generated after the passes; see `CodeGenerator.generate`."""

    codegen: Codegen = ()
    """Options are left out that are not sound on what the passes make."""
    frame_pointers: bool = False
    """Whether all functions have frame pointers that may have one."""

    def run(self, module: Module, program: Program) -> bytes:
        """An object. Changes the module."""
        (options,) = options_on([self.codegen], module) or [()]
        if self.frame_pointers:
            for name in module.instruction_counts():
                module.keep_frame_pointer(name)
        return module.object(program.options.with_codegen(options))

    def __str__(self) -> str:
        what = [each.name for each in self.codegen] + ["frame-pointers"] * self.frame_pointers
        return ", ".join(what) or "clang's"


PLAIN = Generation()


class SequenceRunner:
    """Runs sequences; the worker's object."""

    def run(
        self,
        program: Program,
        protocol: Protocol,
        steps: Sequence[AnyStep],
        generation: Generation = PLAIN,
    ) -> Outcome:
        """Run passes one by one, generate code for what they leave, and run them once more."""
        module = _start(program, protocol)
        limit = growth_limit(module.instruction_count())
        for index, step in enumerate(steps):
            before = module.structural_hash()
            try:
                changed = step.run(module)
                module.verify()
            except VerificationError as error:
                return Outcome(Verdict.BROKEN_IR, f"after {step}: {error}", index)
            except LLVMError as error:
                return Outcome(Verdict.ERROR, f"{step}: {error}", index)
            if not changed and module.structural_hash() != before:
                return Outcome(Verdict.UNREPORTED_CHANGE, str(step), index)
            if module.instruction_count() > limit:
                return Outcome(Verdict.GREW, str(step), index + 1)
        # The first module still stands in memory, so addresses are others this time. The order of
        # uses, which bitcode has and text has not, may follow addresses even after cgscc(inline).
        again = _start(program, protocol)
        try:
            for step in steps:
                step.run(again)
        except LLVMError as error:
            return Outcome(Verdict.NONDETERMINISTIC, f"the second time: {error}", len(steps))
        if again.ir() != module.ir():
            return Outcome(Verdict.NONDETERMINISTIC, "two runs differ", len(steps))
        module.forget_inlining()
        try:
            module.run(FINISH)
            object_file = generation.run(module, program)
        except LLVMError as error:
            return Outcome(Verdict.ERROR, f"code generation: {error}", len(steps))
        return Outcome(Verdict.PASSED, "", len(steps), object_file)


def _start(program: Program, protocol: Protocol) -> Module:
    module = parse_module(program)
    protocol.prepare(module)
    return module

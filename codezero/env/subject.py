"""The program that an episode is about: at the start, as the baseline makes it, and what it costs.

Methods run LLVM and may end the process.
"""

from __future__ import annotations

import contextlib
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

from codezero._native import CodegenError, LLVMError, Module, function_sizes
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.env.features import Features, features_of
from codezero.env.inlining import Inlining
from codezero.env.reward import Costs
from codezero.programs.load import FINISH, parse_module

GROWTH_FACTOR, GROWTH_ALLOWANCE = 4, 3_000
"""An episode ends when instructions exceed factor x start + allowance: nested unrolling and
inlining can otherwise grow a program without bound."""


def growth_limit(instructions: int) -> int:
    """The most instructions that a program of ``instructions`` at the start may come to have."""
    return GROWTH_FACTOR * instructions + GROWTH_ALLOWANCE


class Made(NamedTuple):
    """A program that passes have made, ready for code generation."""

    finish_changed: bool
    """Whether `FINISH` or the ending of the objective changed it."""
    cost: int
    bitcode: bytes
    object: bytes | None = None
    """The code that is generated for it, of an episode that keeps that."""
    codegen: tuple[str, ...] = ()
    """The options for the code generator that ``cost`` takes; see `CompileOptions.codegen`."""
    frame_pointers: tuple[str, ...] = ()
    """Names of the functions that have been given one to be smaller."""
    plain_cost: int | None = None
    """The cost without both; None where none of that was tried."""


class Measured(NamedTuple):
    """What a program costs."""

    cost: int
    code: bytes | None
    """An object, if the objective is one of code."""
    is_clangs: bool
    """Whether clang has to generate what is handed over, for all that."""


class Built(NamedTuple):
    """What passes have made of a program, before and after the ending of the objective."""

    module: Module
    ended: Module
    end_changed: bool
    measured: Measured


class Subject:
    """A program under optimisation, and what has been made of it.

    Args:
        pool: of threads, for what can be measured side by side.
        for_objects: whether objects are what is wanted: those that are generated to measure the
            cost are kept, then. The objective is of code.
        estimate_start: whether the cost at the start is never measured where the objective is of
            code, since code generation for what no pass has seen takes longer than for anything
            after it.
    """

    program: Program
    """Once there is one; so are those below."""
    costs: Costs
    max_instructions: int
    """That it may come to have."""

    def __init__(
        self,
        objective: Objective,
        protocol: Protocol,
        pool: ThreadPoolExecutor,
        *,
        for_objects: bool = False,
        estimate_start: bool = False,
    ) -> None:
        if for_objects and not objective.of_code:
            raise ValueError("no objects are generated for an objective that is not of code")
        self.objective = objective
        self.protocol = protocol
        self.inlining: Inlining = ()
        """What it begins with."""
        self.for_objects = for_objects
        self._estimate_start = estimate_start and objective.of_code
        self._pool = pool
        self._key = ""
        self.may_measure_start = True
        """Whether the cost at the start may be measured beside something else: LLVM may end the
        process over that."""
        self._forget()

    def _forget(self) -> None:
        """Begin with what is known of a program."""
        self.baseline_seconds = math.inf
        """Of a processor, for the baseline's passes and code generation; infinite if unknown."""
        self._start: Module | None = None
        self._optimized: Module | None = None
        self._initial: Future[Measured] | None = None
        """At the start, if that has been asked for."""
        self._may_lack_code = False
        """Whether no code can be generated for the program at the start, or that is never tried."""
        self._baseline_cost: int | None = None
        self._baseline_object: bytes | None = None
        self._may_be_missing: frozenset[str] | None = None
        """Functions that the result must not refer to, if they have been looked for."""
        self._finish_matters: bool | None = None
        """Whether `FINISH` changes the program as it is at the start, if that is known."""

    def begin(self, program: Program, inlining: Inlining) -> bool:
        """Have a program; whether it is another one than before. What it costs comes next.

        Args: see `codezero.env.episode.Episode.start`.
        """
        is_new = program.key != self._key
        if is_new:
            self._forget()
        self.program, self._key, self.inlining = program, program.key, inlining
        return is_new

    def find_costs(self, known: Costs | None, start: Module | None = None) -> None:
        """Find out what the program costs.

        Args:
            known: its costs, if they are.
            start: the program as it is at the start, if what it costs there is needed. If not, that
                may be an estimate until `measured_costs` is called.

        Raises: see `codezero.env.episode.Episode.start`.
        """
        self.costs = known or self._measure_costs(start)
        is_final = start is not None or self._estimate_start
        self._may_lack_code = is_final and self.costs.estimated
        self.max_instructions = growth_limit((start or self.at_start()).instruction_count())

    def prepare(self) -> None:
        """Find out what threads would ask for at the same time."""
        self._missing_with_oz()
        self._look_at_finish()

    def _look_at_finish(self) -> None:
        if self._finish_matters is None:
            self._finish_matters = self.fresh().run(FINISH)

    def features(self) -> Features:
        """Of the program at the start, and as the baseline makes it."""
        return Features(features_of(self.at_start()), features_of(self.optimized()))

    def at_start(self) -> Module:
        """The program as it is at the start, to look at."""
        if self._start is None:
            self._start = self.fresh()
        return self._start

    def fresh(self, inlining: Inlining = ()) -> Module:
        """The program as it is at the start."""
        module = parse_module(self.program)
        self.protocol.prepare(module)
        module.choose_inlining(inlining)
        return module

    def optimized(self) -> Module:
        """The program as the baseline makes it, which is kept until another one begins."""
        if self._optimized is None:
            module = self.fresh()
            self.protocol.run_baseline(module, self.program.options)
            self._optimized = module
        return self._optimized

    def baseline_bitcode(self) -> bytes:
        """The program as the baseline makes it."""
        return self.optimized().bitcode()

    def baseline_object(self) -> bytes | None:
        """The code that was generated for that, of an episode that keeps it."""
        return self._baseline_object

    def baseline(self) -> Made:
        """The program as the baseline makes it, with the code, of an episode that keeps that."""
        if self.for_objects and self._baseline_object is None:
            self._measure_baseline()
        return Made(False, self.costs.baseline, self.baseline_bitcode(), self._baseline_object)

    def measure(self, module: Module, codegen: tuple[str, ...] = ()) -> Measured:
        """The cost.

        Args:
            codegen: options for the code generator.
        """
        objective = self.objective
        if not objective.of_code:
            return Measured(module.instruction_count(), None, is_clangs=False)
        code = module.object(self.program.options.with_codegen(codegen))
        # Clang has to generate it where it is to give warnings, or the target is known from flags
        # alone, as no function says for what it is.
        is_clangs = self.for_objects and (module.has_warned or not module.instruction_count())
        return Measured(objective.measure_object(code), code, is_clangs)

    def measure_or_initial(self, module: Module) -> Measured:
        """The cost; of a program that no code can be generated for, that of the start."""
        try:
            return self.measure(module)
        except CodegenError:
            if not self._may_lack_code:
                raise
            return Measured(self.costs.initial, None, is_clangs=True)

    def _measure_costs(self, start: Module | None) -> Costs:
        """Of a program at the start, and as the baseline makes it.

        Args:
            start: the program, if the cost at the start is to be measured where that takes time.
        """
        # The baseline takes longer, and is begun first.
        measured = self._pool.submit(self._measure_baseline)
        if start is not None or not self.objective.of_code:
            self._measure_start(start)
        if start is None:  # what is asked for next
            self.at_start()
            self._look_at_finish()
        if self._initial is not None:
            wait([self._initial])
        return self._costs(measured.result())

    def _costs(self, baseline: int) -> Costs:
        with contextlib.suppress(CodegenError):
            if self._initial is not None:
                return Costs(self._initial.result().cost, baseline)
        # As many bytes an instruction as there are in what the baseline makes of it.
        instructions = self.at_start().instruction_count()
        growth = instructions / max(self.optimized().instruction_count(), 1)
        return Costs(round(baseline * max(growth, 1.0)), baseline, estimated=True)

    def _measure_start(self, module: Module | None = None) -> None:
        """Begin to, unless that has been done.

        Args:
            module: the program, if it is at hand.
        """
        if self._initial is None and not self._estimate_start:
            self._initial = self._pool.submit(lambda: self.measure(module or self.fresh()))

    def measure_start_meanwhile(self) -> None:
        """Measure the cost at the start after all that threads have been given to do, unless that
        is done, or need not be. For when one of them is about to have nothing to do."""
        if self.costs.estimated and self.may_measure_start:
            self._measure_start()

    def measured_costs(self) -> Costs:
        """The costs, that of the start measured unless it is never to be."""
        if self.costs.estimated:
            self._measure_start()
            self.costs = self._costs(self.costs.baseline)
        return self.costs

    def _measure_baseline(self) -> int:
        if self._baseline_cost is None:
            began = time.thread_time()
            measured = self.measure(self.optimized())
            self.baseline_seconds = time.thread_time() - began
            self._baseline_object = self.object_of(measured)
            self._baseline_cost = measured.cost
        return self._baseline_cost

    def build(self, module: Module) -> Built:
        """Run what every list ends with, and `FINISH` where that matters, and measure it."""
        ended, changed = module, False
        if self._finish_matters or self.objective.ending:
            ended = module.clone()
            changed = bool(self._finish_matters) and ended.run(FINISH)
            changed |= self.end(ended)
        self._check(ended)
        return Built(module, ended, changed, self.measure_or_initial(ended))

    def _check(self, module: Module) -> None:
        """Raises `LLVMError` for a program that might fail where the baseline does not."""
        self._check_references(module)
        self._check_stacks(module)

    def _check_stacks(self, module: Module) -> None:
        """Raises `LLVMError` where what calls itself takes more of the stack than it has to.

        Inliners see to that but for what they have to inline always, whose own stack they may
        have made larger before.
        """
        stacks = module.recursive_stacks()
        if stacks:
            as_baseline = self.optimized().recursive_stacks()
            for name, size in stacks.items():
                if size > as_baseline.get(name, 0):
                    raise LLVMError(f"{name} calls itself, with {size} bytes on the stack")

    def _check_references(self, module: Module) -> None:
        """Raises `LLVMError` for a program that may not link where the baseline does.

        A function that C has as ``inline`` alone is in no object: a call of it that is not inlined
        is of one in another file, if there is one.
        """
        may_be_missing = self._missing_with_oz()
        if may_be_missing:
            missing = may_be_missing.intersection(module.undefined_functions())
            if missing:
                raise LLVMError(f"a call of {min(missing)} is left, which may be nowhere")

    def _missing_with_oz(self) -> frozenset[str]:
        """Functions of which the baseline leaves no call, and that may be nowhere."""
        if self._may_be_missing is None:
            names = self.at_start().inline_definitions()
            known = self.optimized().undefined_functions() if names else []
            self._may_be_missing = frozenset(names).difference(known)
        return self._may_be_missing

    def end(self, module: Module) -> bool:
        """Run what every list ends with; whether that changed anything."""
        ending = self.objective.ending
        return bool(ending) and module.run(ending)

    def finish(self, module: Module) -> Made:
        """Do what has to be done before code generation, verify, measure, and hand over a copy.

        Raises `VerificationError` if passes broke the program.
        """
        module = module.clone()
        module.forget_inlining()
        changed = module.run(FINISH)
        changed |= self.end(module)
        module.verify()
        self._check(module)
        return self._made(changed, module, self.measure(module))

    def hand_over(self, built: Built) -> Made:
        """As `finish`, of what has been built: it is measured again only if it has to be."""
        if not self._finish_matters and built.module.clone().run(FINISH):
            return self.finish(built.module)
        built.ended.verify()
        return self._made(built.end_changed, built.ended, built.measured)

    def _made(self, changed: bool, module: Module, measured: Measured) -> Made:
        return Made(changed, measured.cost, module.bitcode(), self.object_of(measured))

    def object_of(self, measured: Measured) -> bytes | None:
        """What was measured, if it is wanted and may be handed over."""
        return measured.code if self.for_objects and not measured.is_clangs else None

    def costs_by_function(self, module: Module, code: bytes | None) -> dict[str, int]:
        """By name, of those functions that code is generated for.

        Args:
            code: what has been generated, if the objective is one of code. Empty if it could not.
        """
        counts = module.instruction_counts()
        if not self.objective.of_code:
            return counts
        sizes = self.sizes_by_function(code)
        return {name: sizes[name] for name in counts if name in sizes}

    def sizes_by_function(self, code: bytes | None) -> dict[str, int]:
        """What functions take of what the objective counts; none of no code."""
        if not code:
            return {}
        return function_sizes(code, self.objective is Objective.LOADED)

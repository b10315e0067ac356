"""Sequences over real programs, random ones or a policy's, and what goes wrong, made small.

A failure is reduced to the shortest list of passes that still shows it by delta debugging, every
trial in a process of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import PassSpace
from codezero.env.episode import EpisodeSettings
from codezero.env.session import Session
from codezero.isolation import CommandRunner, Worker, WorkerCrashed, WorkerTimedOut
from codezero.parallel import run_all
from codezero.reduction import reduce_list
from codezero.search.policy import Found, Policy
from codezero.soundness.execution import command_runner
from codezero.soundness.sequence import (
    PLAIN,
    AnyStep,
    Generation,
    InliningStep,
    Outcome,
    Step,
    Verdict,
)

FREED_MEMORY_BYTE = "165"
"""Freed and fresh memory is filled with this byte in the workers (glibc's MALLOC_PERTURB_), so
that a use after free fails at once and every time, and not some passes later and now and then."""

REPEATS = 3
"""Runs that must agree before a shorter list is taken as not failing: corruption is fickle."""


MOST_INLINING = 8
"""Functions of which it is chosen at random whether they are inlined."""


@dataclass(frozen=True)
class Case:
    """A program, the passes to run on it, and how code is to be generated then."""

    program: Program
    steps: tuple[AnyStep, ...]
    generation: Generation = PLAIN


@dataclass(frozen=True)
class CaseResult:
    case: Case
    outcome: Outcome
    reduced: tuple[AnyStep, ...] = ()
    """The shortest list found that fails the same way; empty if the case passed."""


def random_cases(
    programs: Sequence[Program], space: PassSpace, count: int, max_length: int, seed: int
) -> list[Case]:
    """Cases that depend on ``seed`` alone; the i-th is the same however many there are."""
    cases = []
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        program = programs[int(rng.integers(len(programs)))]
        length = int(rng.integers(1, max_length + 1))
        actions = rng.integers(len(space), size=length)
        steps = (Step(space.passes[action]) for action in space.expand(actions.tolist()))
        codegen = ((), *space.codegen)[int(rng.integers(1 + len(space.codegen)))]
        generation = Generation(codegen, frame_pointers=bool(rng.integers(2)))
        inlining = (
            InliningStep(float(rng.random()), bool(rng.integers(2)))
            for _ in range(int(rng.integers(MOST_INLINING + 1)))
        )
        cases.append(Case(program, (*inlining, *steps), generation))
    return cases


def policy_cases(
    programs: Sequence[Program],
    policy: Policy,
    settings: EpisodeSettings,
    *,
    seed: int = 0,
    jobs: int = 0,
    on_done: Callable[[Program, Case], None] = lambda program, case: None,
) -> list[Case]:
    """What a policy chooses for each program, with no regard to whether it is worth it.

    Raises:
        CodeZeroError: the policy cannot act under the settings, or LLVM fails on a program.
    """
    policy.check(settings)

    def choose(env: Session, program: Program) -> Case:
        found = policy.run(env, program, seed)
        space, passes = settings.space, settings.space.passes
        steps: list[AnyStep] = [InliningStep(*choice) for choice in found.inlining]
        steps += [Step(passes[action]) for action in space.expand(found.actions)]
        for name, own in found.functions.items():
            steps += [Step(passes[action], name) for action in space.expand(own)]
        return Case(program, tuple(steps), _generation(found, space))

    adapted = policy.adapt(settings)
    return run_all(choose, programs, lambda: Session(adapted), jobs=jobs, on_done=on_done)


def _generation(found: Found, space: PassSpace) -> Generation:
    """What a policy chose; frame pointers in more functions, if it chose any at all."""
    if found.made is None or found.made.plain_cost is None:
        return PLAIN
    options = {each.option: each for each in space.codegen_options.values()}
    codegen = tuple(options[option] for option in found.made.codegen)
    return Generation(codegen, frame_pointers=True)


class Fuzzer:
    """Runs cases in a worker and reduces those that fail."""

    def __init__(self, protocol: Protocol, seconds: float, judge: Judge | None = None) -> None:
        self._protocol = protocol
        self._seconds = seconds
        self._judge = judge
        self._worker = Worker(
            "codezero.soundness.sequence:SequenceRunner",
            environment={"MALLOC_PERTURB_": FREED_MEMORY_BYTE},
        )
        self._runner = command_runner()

    def run(self, case: Case) -> CaseResult:
        """Run a case; if it fails, reduce it."""
        outcome = self._run(case, case.steps)
        if not outcome.verdict.failed:
            return CaseResult(case, outcome)

        def fails(steps: Sequence[AnyStep]) -> bool:
            return any(self._run(case, steps).verdict is outcome.verdict for _ in range(REPEATS))

        return CaseResult(case, outcome, tuple(reduce_list(case.steps, fails)))

    def _run(self, case: Case, steps: Sequence[AnyStep]) -> Outcome:
        program = case.program
        try:
            outcome: Outcome = self._worker.call(
                "run",
                program,
                self._protocol,
                list(steps),
                case.generation,
                timeout=self._seconds,
            )
        except WorkerTimedOut:
            return Outcome(Verdict.HANG, f"no end within {self._seconds:g} s")
        except WorkerCrashed as crash:
            return Outcome(Verdict.CRASH, str(crash))
        if self._judge is not None and outcome.verdict is Verdict.PASSED:
            return self._judge(program, outcome, self._runner)
        return outcome

    def interrupt(self) -> None:
        """End the case under way. May be called from any thread."""
        self._worker.interrupt()
        self._runner.interrupt()

    def close(self) -> None:
        self._worker.close()


Judge = Callable[[Program, Outcome, CommandRunner], Outcome]
"""A further check of a sequence that passed, such as running the program it made."""


def fuzz(
    cases: Sequence[Case],
    make_fuzzer: Callable[[], Fuzzer],
    *,
    jobs: int = 0,
    on_done: Callable[[Case, CaseResult], None] = lambda case, result: None,
) -> list[CaseResult]:
    """Run all cases, on all cores."""
    return run_all(
        lambda fuzzer, case: fuzzer.run(case), cases, make_fuzzer, jobs=jobs, on_done=on_done
    )


def save_failure(result: CaseResult, folder: Path) -> Path:
    """Write what reproduces a failure: the program, the passes and how it failed."""
    passes = _listing(result.reduced)
    digest = hashlib.blake2b((result.case.program.key + passes).encode(), digest_size=4).hexdigest()
    target = folder / f"{result.outcome.verdict.value}-{digest}"
    target.mkdir(parents=True, exist_ok=True)
    (target / "program.bc").write_bytes(result.case.program.bitcode)
    (target / "passes.txt").write_text(passes + "\n")
    (target / "all-passes.txt").write_text(_listing(result.case.steps) + "\n")
    report = (
        f"{result.outcome.verdict.value}: {result.outcome.message}\n"
        f"program: {result.case.program.name}\n"
        f"passes: {', '.join(map(str, result.reduced))}\n"
        f"code generation: {result.case.generation}\n"
    )
    if all(isinstance(step, Step) and step.function is None for step in result.reduced):
        checks = "-verify-each -disable-output"
        report += f'reproduce: opt-22 -passes="$(cat passes.txt)" {checks} program.bc\n'
    (target / "report.txt").write_text(report)
    return target


def _listing(steps: Sequence[AnyStep]) -> str:
    """Text for ``opt -passes=``, and then a line for each pass on a single function.

    Choices about inlining come before that, a line each.
    """
    inlining = [str(step) for step in steps if isinstance(step, InliningStep)]
    passes = [step for step in steps if isinstance(step, Step)]
    whole = ",".join(step.each.pipeline for step in passes if step.function is None)
    alone = [f"{step.function}: {step.each.pipeline}" for step in passes if step.function]
    return "\n".join([*inlining, whole, *alone])

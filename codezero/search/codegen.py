"""The smallest code for what a search has found: the last choice, when the passes are chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from codezero._native import LLVMError
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.env.episode import EpisodeSettings
from codezero.env.session import Session
from codezero.env.subject import Made
from codezero.errors import ProgramError
from codezero.isolation import WorkerFailure
from codezero.search.policy import CodegenPlan, Found

WAY_WORK = 0.45
"""Time that it takes to generate code in one way, over the baseline's; docs/training-log.md."""
FRAMES_WORK = 1.0
"""The same for frame pointers."""
CODEGEN_SHARE = 0.35
"""Of a trial's work, for ways to generate code and frame pointers."""
LEAST_FOR_A_WAY = 2.0
"""Work of a trial, in all, from which on one way is tried in any case."""
LEAST_FOR_FRAMES = 6.0
"""The same for frame pointers, where only machine code counts: they save more of the tables to
unwind by. Below that, another list is worth more."""
CLOSE = 1.03
"""Times the baseline, up to which passes may come to less with other code."""


def work_of(plan: CodegenPlan | None) -> float:
    """Time that a plan takes, over the baseline's."""
    if plan is None:
        return 0.0
    return WAY_WORK * len(plan.ways) + FRAMES_WORK * plan.frame_pointers


def plan_codegen(
    settings: EpisodeSettings, most_work: float = math.inf, *, ways: bool = True
) -> CodegenPlan | None:
    """What there is time for in a trial; None where no code is generated.

    Args:
        most_work: times as long as the baseline that the trial may take in all.
        ways: whether code may be generated in another way than clang does.
    """
    if not settings.objective.of_code:
        return None
    if not ways:
        return CodegenPlan(())
    if math.isinf(most_work):
        return CodegenPlan(settings.space.codegen)
    one = int(most_work >= LEAST_FOR_A_WAY)
    if settings.objective is Objective.TEXT and most_work < LEAST_FOR_FRAMES:
        return CodegenPlan(settings.space.codegen[:one], frame_pointers=False)
    fitting = int((CODEGEN_SHARE * most_work - FRAMES_WORK) // WAY_WORK)
    return CodegenPlan(settings.space.codegen[: max(fitting, one)])


def with_codegen(env: Session, program: Program, found: Found, plan: CodegenPlan) -> Found:
    """What was found, or the baseline if that is smaller, with the smallest code for it.

    Nothing changes if that is not smaller than both. See `CodeGenerator.generate`. Where passes
    come close to the baseline, other code may suit what they make better: it is tried for both.
    """
    baseline = env.costs_of(program).baseline
    smallest = found
    if (found.actions or found.functions) and found.cost < CLOSE * baseline:
        made = _generate(env, program, lambda: found.made or _make(env, program, found), plan)
        if made is not None and made.cost < found.cost:
            smallest = replace(found, cost=made.cost, made=made, plan=plan)
    if found.cost < baseline:
        return smallest
    made = _generate(env, program, lambda: env.baseline(program), plan)
    if made is None or made.cost >= min(smallest.cost, baseline):
        return smallest
    nothing = replace(found, actions=(), functions={}, inlining=())
    return replace(nothing, cost=made.cost, of_passes=smallest.cost, made=made, plan=plan)


def _generate(
    env: Session, program: Program, make: Callable[[], Made], plan: CodegenPlan
) -> Made | None:
    """The smallest code for what is made of a program; None where LLVM fails, after whatever."""
    try:
        return env.generate(program, make(), plan.ways, plan.frame_pointers)
    except (ProgramError, LLVMError, WorkerFailure):
        return None


def _make(env: Session, program: Program, found: Found) -> Made:
    env.begin(program, found.inlining)
    env.replay(found.actions, found.functions)
    return env.finish()

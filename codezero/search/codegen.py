"""The smallest code for what a search has found: the last choice, when the passes are chosen."""

from __future__ import annotations

import math
from dataclasses import replace

from codezero._native import LLVMError
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
    fitting = int((CODEGEN_SHARE * most_work - FRAMES_WORK) // WAY_WORK)
    return CodegenPlan(settings.space.codegen[: max(fitting, most_work >= LEAST_FOR_A_WAY)])


def with_codegen(env: Session, program: Program, found: Found, plan: CodegenPlan) -> Found:
    """What was found, or the baseline if that is smaller, with the smallest code for it.

    Nothing changes if that is not smaller than both. See `CodeGenerator.generate`.
    """
    baseline = env.costs_of(program).baseline
    chosen = found
    try:
        if found.cost < baseline and (found.actions or found.functions):
            made = found.made or _make(env, program, found)
        else:
            chosen = replace(found, actions=(), functions={}, inlining=(), of_passes=found.cost)
            made = env.baseline(program)
        made = env.generate(program, made, plan.ways, plan.frame_pointers)
    except (ProgramError, LLVMError, WorkerFailure):
        return found  # whatever comes after it
    if made.cost >= min(found.cost, baseline):
        return found
    return replace(chosen, cost=made.cost, made=made, plan=plan)


def _make(env: Session, program: Program, found: Found) -> Made:
    env.begin(program, found.inlining)
    env.replay(found.actions, found.functions)
    return env.finish()

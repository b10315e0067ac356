"""Evaluate policies over suites: a row a program, and a geometric mean a suite, as in Table D6."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.optimize import Optimizer
from codezero.parallel import run_all
from codezero.programs.suites import Suite, program_name
from codezero.search.policy import Policy


@dataclass(frozen=True)
class Task:
    """One program under one policy."""

    suite: str
    files: tuple[Path, ...]
    policy: Policy


@dataclass(frozen=True)
class ProgramResult:
    """Ratios are baseline over optimised: above 1 is smaller than the baseline."""

    suite: str
    program: str
    policy: str
    o0: int
    baseline: int
    optimized: int
    """Cost of the result, which falls back to the baseline."""
    found: int
    """Cost of what the policy itself came to, before the fallback."""
    seconds: float
    passes: tuple[str, ...]

    @property
    def ratio(self) -> float:
        return max(self.baseline, 1) / max(self.optimized, 1)

    @property
    def found_ratio(self) -> float:
        return max(self.baseline, 1) / max(self.found, 1)


@dataclass(frozen=True)
class Failure:
    """A program that could not be evaluated, and why."""

    suite: str
    program: str
    policy: str
    error: str


@dataclass(frozen=True)
class SuiteResult:
    """A suite under one policy: the ratio's geometric mean, minimum and maximum.

    What a user gets falls back to the baseline, so its minimum is 1 or more.
    """

    suite: str
    policy: str
    programs: int
    failed: int
    geomean: float
    min: float
    max: float
    found_geomean: float
    """Of the ratios before the fallback: of the policy by itself, as Table D6 has them."""
    found_min: float
    found_max: float
    seconds: float
    """Mean wall time a program."""


def evaluate(
    suites: Sequence[Suite],
    policies: Sequence[Policy],
    settings: EpisodeSettings,
    *,
    flags: Sequence[str] = (),
    seed: int = 0,
    jobs: int = 0,
    on_done: Callable[[Task, ProgramResult | Failure], None] = lambda task, result: None,
) -> tuple[list[ProgramResult], list[Failure]]:
    """Run every policy on every program. Programs that fail are returned, never dropped."""
    tasks = [
        Task(suite.name, files, policy)
        for suite in suites
        for files in suite.programs
        for policy in policies
    ]

    def work(optimizer: Optimizer, task: Task) -> ProgramResult | Failure:
        name = program_name(task.files)
        try:
            result, _ = optimizer.run(task.files, flags, task.policy)
        except CodeZeroError as error:
            return Failure(task.suite, name, task.policy.name, str(error))
        return ProgramResult(
            task.suite,
            name,
            task.policy.name,
            result.costs.initial,
            result.costs.baseline,
            result.cost,
            result.found,
            result.seconds,
            result.passes,
        )

    results = run_all(work, tasks, lambda: Optimizer(settings, seed), jobs=jobs, on_done=on_done)
    return (
        [result for result in results if isinstance(result, ProgramResult)],
        [result for result in results if isinstance(result, Failure)],
    )


def summarize(
    programs: Sequence[ProgramResult], failures: Sequence[Failure] = ()
) -> list[SuiteResult]:
    """One row for each suite and policy, in the order they first appear."""
    groups: dict[tuple[str, str], list[ProgramResult]] = {}
    for program in programs:
        groups.setdefault((program.suite, program.policy), []).append(program)
    return [
        SuiteResult(
            suite=suite,
            policy=policy,
            programs=len(group),
            failed=sum(f.suite == suite and f.policy == policy for f in failures),
            geomean=geometric_mean([p.ratio for p in group]),
            min=min(p.ratio for p in group),
            max=max(p.ratio for p in group),
            found_geomean=geometric_mean([p.found_ratio for p in group]),
            found_min=min(p.found_ratio for p in group),
            found_max=max(p.found_ratio for p in group),
            seconds=sum(p.seconds for p in group) / len(group),
        )
        for (suite, policy), group in groups.items()
    ]


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values. Raises `ValueError` for none."""
    if not values:
        raise ValueError("the geometric mean of no values")
    return math.exp(sum(map(math.log, values)) / len(values))

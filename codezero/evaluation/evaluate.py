"""Evaluate policies over suites: a row a program, and a geometric mean a suite, as in Table D6."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codezero.compiler.program import Program
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.optimize import Optimizer
from codezero.parallel import run_all
from codezero.programs.load import LoadFailure, load_all
from codezero.programs.suites import Suite
from codezero.search.policy import Policy


@dataclass(frozen=True)
class Task:
    """One program under one policy."""

    suite: str
    name: str
    program: Program
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

    What a user gets falls back to the baseline, so its minimum is 1 or more. All figures are None
    where every program failed.
    """

    suite: str
    policy: str
    programs: int
    failed: int
    geomean: float | None
    min: float | None
    max: float | None
    found_geomean: float | None
    """Of the ratios before the fallback: of the policy by itself, as Table D6 has them."""
    found_min: float | None
    found_max: float | None
    seconds: float | None
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
    """Run every policy on every program. Programs that fail are returned, never dropped.

    Raises:
        CodeZeroError: a policy cannot act under these settings.
    """
    for policy in policies:
        policy.check(settings)
    places = [(suite.name, program) for suite in suites for program in suite.programs]
    loaded = load_all([program.files for _, program in places], flags, jobs)
    tasks: list[Task] = []
    failures: list[Failure] = []
    for (suite_name, program), each in zip(places, loaded, strict=True):
        for policy in policies:
            if isinstance(each, LoadFailure):
                failures.append(Failure(suite_name, program.name, policy.name, each.reason))
            else:
                tasks.append(Task(suite_name, program.name, each[0], policy))

    def work(optimizer: Optimizer, task: Task) -> ProgramResult | Failure:
        try:
            result = optimizer.run(task.program, task.policy)
        except CodeZeroError as error:
            return Failure(task.suite, task.name, task.policy.name, str(error))
        return ProgramResult(
            task.suite,
            task.name,
            task.policy.name,
            result.costs.initial,
            result.costs.baseline,
            result.cost,
            result.found,
            result.seconds,
            result.passes,
        )

    results = run_all(work, tasks, lambda: Optimizer(settings, seed), jobs=jobs, on_done=on_done)
    failures += (result for result in results if isinstance(result, Failure))
    return [result for result in results if isinstance(result, ProgramResult)], failures


def summarize(
    programs: Sequence[ProgramResult], failures: Sequence[Failure] = ()
) -> list[SuiteResult]:
    """One row for each suite and policy, in the order they first appear."""
    results: list[ProgramResult | Failure] = [*programs, *failures]
    keys = dict.fromkeys((result.suite, result.policy) for result in results)
    return [
        _summary(
            *key,
            [p for p in programs if (p.suite, p.policy) == key],
            sum((f.suite, f.policy) == key for f in failures),
        )
        for key in keys
    ]


def _summary(
    suite: str, policy: str, programs: Sequence[ProgramResult], failed: int
) -> SuiteResult:
    ratios = [p.ratio for p in programs]
    found = [p.found_ratio for p in programs]
    return SuiteResult(
        suite=suite,
        policy=policy,
        programs=len(programs),
        failed=failed,
        geomean=geometric_mean(ratios) if ratios else None,
        min=min(ratios, default=None),
        max=max(ratios, default=None),
        found_geomean=geometric_mean(found) if found else None,
        found_min=min(found, default=None),
        found_max=max(found, default=None),
        seconds=sum(p.seconds for p in programs) / len(programs) if programs else None,
    )


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values. Raises `ValueError` for none."""
    if not values:
        raise ValueError("the geometric mean of no values")
    return math.exp(sum(map(math.log, values)) / len(values))

"""Evaluate policies over suites: a row a program, and a geometric mean a suite, as in Table D6."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codezero.compiler.program import Program
from codezero.corpus.corpus import Corpus
from codezero.env.episode import EpisodeSettings
from codezero.env.inlining import in_words
from codezero.errors import CodeZeroError
from codezero.optimize import Optimizer
from codezero.parallel import run_all, threads_of_each
from codezero.programs.load import LoadFailure, load_all
from codezero.programs.suites import find_suites
from codezero.search.policy import Policy

CORPUS_SUFFIX = ".parquet"
CORPUS_SPLIT = "test"
"""The split of a corpus that is evaluated on where none is named."""


@dataclass(frozen=True)
class LoadedSuite:
    """Programs by name, or why they could not be loaded, and what they are reported as."""

    name: str
    programs: tuple[tuple[str, Program | LoadFailure], ...]


def load_suites(
    paths: Sequence[Path], flags: Sequence[str] = (), *, sample: int | None = None, jobs: int = 0
) -> list[LoadedSuite]:
    """The suites and corpora at some paths, in their order.

    Args:
        paths: files, suites (see `codezero.programs.suites`), and corpora: ``FILE.parquet``, of
            which it is the test split, or ``FILE.parquet:SPLIT``.
        flags: of the compilers of source files.
        sample: programs of a corpus, chosen by a hash of their names; None is all.

    Raises:
        CodeZeroError: no such file, or no program in one.
    """
    suites = {path: _load_corpus(path, sample) for path in paths if _is_corpus(path)}
    others = [path for path in paths if path not in suites]
    found = find_suites(others)
    programs = [program.files for suite in found for program in suite.programs]
    loaded = iter(load_all(programs, flags, jobs))
    for path, suite in zip(others, found, strict=True):
        results = [(program.name, next(loaded)) for program in suite.programs]
        suites[path] = LoadedSuite(
            suite.name,
            tuple((name, r if isinstance(r, LoadFailure) else r[0]) for name, r in results),
        )
    return [suites[path] for path in paths]


def _is_corpus(path: Path) -> bool:
    return path.name.partition(":")[0].endswith(CORPUS_SUFFIX)


def _load_corpus(path: Path, sample: int | None) -> LoadedSuite:
    name, _, split = path.name.partition(":")
    split = split or CORPUS_SPLIT
    corpus = Corpus(path.with_name(name), split)
    if not len(corpus):
        raise CodeZeroError(f"{path.with_name(name)} has no program of the split '{split}'")
    chosen = [corpus[k] for k in corpus.sample(len(corpus) if sample is None else sample)]
    return LoadedSuite(f"{Path(name).stem}:{split}", tuple((p.name, p) for p in chosen))


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
    functions: Mapping[str, tuple[str, ...]]
    """Passes of single functions after those, by the functions' names."""
    inlining: Mapping[str, str]
    """Functions that are inlined ``always`` or ``never``, whatever that costs."""
    codegen: tuple[str, ...]
    """LLVM's options that the code is generated with."""
    frame_pointers: tuple[str, ...]
    """Names of functions that have been given one."""

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
    as_small: float | None
    """Share of the programs that the policy by itself makes as small as the baseline does, or
    smaller."""
    seconds: float | None
    """Mean wall time a program."""


def evaluate(
    suites: Sequence[LoadedSuite],
    policies: Sequence[Policy],
    settings: EpisodeSettings,
    *,
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
    tasks: list[Task] = []
    failures: list[Failure] = []
    for suite in suites:
        for name, program in suite.programs:
            for policy in policies:
                if isinstance(program, LoadFailure):
                    failures.append(Failure(suite.name, name, policy.name, program.reason))
                else:
                    tasks.append(Task(suite.name, name, program, policy))

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
            result.functions,
            in_words(result.inlining),
            result.codegen,
            result.frame_pointers,
        )

    threads = threads_of_each(len(tasks), jobs)
    results = run_all(
        work, tasks, lambda: Optimizer(settings, seed, threads), jobs=jobs, on_done=on_done
    )
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
        as_small=sum(ratio >= 1 for ratio in found) / len(found) if found else None,
        seconds=sum(p.seconds for p in programs) / len(programs) if programs else None,
    )


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values. Raises `ValueError` for none."""
    if not values:
        raise ValueError("the geometric mean of no values")
    return math.exp(sum(map(math.log, values)) / len(values))

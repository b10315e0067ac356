"""``codezero evaluate``: policies over suites of programs, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from codezero.cli.options import ObjectiveName, ProtocolName, parse
from codezero.cli.output import print_table, progress_bar
from codezero.compiler.spaces import DEFAULT_SPACE
from codezero.env.session import make_settings
from codezero.errors import CodeZeroError
from codezero.evaluation.evaluate import (
    Failure,
    ProgramResult,
    SuiteResult,
    evaluate,
    load_suites,
    summarize,
)
from codezero.search.policy import parse_policy

DEFAULT_POLICIES = ("none", "random", "random-search:1s", "agent", "agent:1s")


@dataclass
class Options:
    """Compare ways to choose passes over suites of programs.

    A PATH is a file; or a suite: a folder whose files are a program each, and whose subfolders are
    a program each, their files linked; or a corpus, FILE.parquet, whose test split is taken, or
    FILE.parquet:SPLIT. Ratios are baseline over ours: above 1 is smaller than -Oz.
    """

    paths: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH...")]]
    """Files, suites and corpora."""
    policy: tuple[str, ...] = DEFAULT_POLICIES
    """Any of none, random, random-search:BUDGET, greedy[:BUDGET], fixed:FILE, agent,
    agent:BUDGET, agent:FOLDER, agent:FOLDER:BUDGET, and the same with agent-whole, which chooses
    one list for the whole program."""
    objective: ObjectiveName = "text"
    """What is to become small: bytes of machine code, of all that is loaded, or IR instructions."""
    protocol: ProtocolName = "clang"
    """What to compare with: clang -Oz, or opt -Oz on IR without size attributes."""
    space: str = DEFAULT_SPACE
    """Passes to choose from: sound, autophase, or a TOML file."""
    keep_speed: tyro.conf.FlagCreatePairsOff[bool] = False
    """Do without passes that make a program smaller by making it slower, such as outlining."""
    max_steps: int = 45
    """Passes that a policy may take."""
    sample: int | None = None
    """Take only so many programs of each corpus, chosen by a hash of their names."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print an object with programs, suites and failures."""
    csv: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a line a program."""
    seed: int = 0
    """Of random policies."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Programs at a time; 0 is one a core."""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits 1 if a program could not be evaluated, 2 if none could."""
    options = parse(Options, "evaluate", arguments)
    if options.jobs < 0 or options.seed < 0:
        raise CodeZeroError("evaluate: --jobs and --seed are not negative")
    if not options.paths:
        raise CodeZeroError("evaluate: give at least one file or folder")
    if not options.policy:
        raise CodeZeroError("evaluate: give at least one policy")
    if options.max_steps < 1 or (options.sample is not None and options.sample < 1):
        raise CodeZeroError("evaluate: --max-steps and --sample are at least 1")
    settings = make_settings(
        options.space,
        options.objective,
        options.protocol,
        options.max_steps,
        keep_speed=options.keep_speed,
    )
    policies = [parse_policy(text, settings) for text in options.policy]
    suites = load_suites(options.paths, flags, sample=options.sample, jobs=options.jobs)
    with progress_bar() as progress:
        total = sum(len(suite.programs) for suite in suites) * len(policies)
        bar = progress.add_task("evaluating", total=total)
        programs, failures = evaluate(
            suites,
            policies,
            settings,
            seed=options.seed,
            jobs=options.jobs,
            on_done=lambda task, result: progress.advance(bar),
        )
    reasons = dict.fromkeys(failure.error for failure in failures)
    if not programs:
        raise CodeZeroError("\n".join(reasons))
    summary = summarize(programs, failures)
    if options.json:
        _print_json(programs, summary, failures)
    elif options.csv:
        _print_csv(programs)
    else:
        _print_tables(programs, summary)
    for reason in reasons:
        print(f"codezero: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _object(program: ProgramResult) -> dict[str, Any]:
    return {**asdict(program), "ratio": program.ratio, "found_ratio": program.found_ratio}


def _print_json(
    programs: Sequence[ProgramResult], suites: Sequence[SuiteResult], failures: Sequence[Failure]
) -> None:
    report = {
        "programs": [_object(program) for program in programs],
        "suites": [asdict(suite) for suite in suites],
        "failures": [asdict(failure) for failure in failures],
    }
    json.dump(report, sys.stdout, indent=2)
    print()


def _print_csv(programs: Sequence[ProgramResult]) -> None:
    if not programs:
        return
    rows = [
        {
            **_object(p),
            "passes": " ".join(p.passes),
            "functions": "; ".join(f"{name}: {' '.join(own)}" for name, own in p.functions.items()),
            "inlining": "; ".join(f"{name}: {what}" for name, what in p.inlining.items()),
            "codegen": " ".join(p.codegen),
            "frame_pointers": " ".join(p.frame_pointers),
        }
        for p in programs
    ]
    writer = csv.DictWriter(sys.stdout, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _print_tables(programs: Sequence[ProgramResult], suites: Sequence[SuiteResult]) -> None:
    headers = ["suite", "program", "policy", "-O0", "-Oz", "ours", "ratio", "seconds"]
    rows = [
        [
            p.suite,
            p.program,
            p.policy,
            *(f"{size:,}" for size in (p.o0, p.baseline, p.optimized)),
            f"{p.ratio:.3f}",
            f"{p.seconds:.1f}",
        ]
        for p in programs
    ]
    print_table(headers, rows, numeric_from=3)
    print()
    headers = ["suite", "policy", "programs", "geomean", "min", "max"]
    headers += ["without fallback", "min", "max", "as small", "seconds"]
    rows = [
        [
            s.suite,
            s.policy,
            f"{s.programs}" + (f" ({s.failed} failed)" if s.failed else ""),
            *(_number(ratio, 3) for ratio in (s.geomean, s.min, s.max)),
            *(_number(ratio, 3) for ratio in (s.found_geomean, s.found_min, s.found_max)),
            "-" if s.as_small is None else f"{s.as_small:.0%}",
            _number(s.seconds, 1),
        ]
        for s in suites
    ]
    print_table(headers, rows, numeric_from=2)

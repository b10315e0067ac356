"""The tables of docs/results.md: every way to choose passes, on held-out suites and a corpus.

    python benchmarks/results.py build/held-out/blas ... build/reference.parquet -o docs/results.md

A PATH is one that ``codezero evaluate`` takes. Suites that are large are sampled.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from codezero._native import Module
from codezero.compiler.program import Program
from codezero.corpus.entry import stable_hash
from codezero.env.session import make_settings
from codezero.evaluation.evaluate import (
    LoadedSuite,
    ProgramResult,
    SuiteResult,
    evaluate,
    load_suites,
    summarize,
)
from codezero.files import replacing
from codezero.parallel import available_cores
from codezero.programs.load import LoadFailure
from codezero.search.policy import parse_policy

LISTS = Path(__file__).parent / "lists"
POLICIES = (
    *("none", "random", "random-search:1s", "greedy:5s", "fixed", "fixed-codegen"),
    *("agent", "agent:10x", "agent:1s", "agent:5s"),
)
"""``fixed`` is the list of an objective, ``fixed-codegen`` the same with one way to generate code
for all programs, for objectives of code."""
OF_CODE = {"fixed-codegen", "agent:10x"}
"""Those for objectives of code alone: the agent for instructions takes ten times in any case."""
TASKS = (("instructions", "paper", "opt -Oz"), ("text", "clang", "clang -Oz"))
ALL = "all"
MOST_INSTRUCTIONS = 20_000
"""Of a program before optimisation, as in a corpus."""


def sampled(suite: LoadedSuite, most: int) -> LoadedSuite:
    """So many programs of a suite, chosen by a hash of their names: the same each time."""
    chosen = []
    for name, program in sorted(suite.programs, key=lambda program: stable_hash(program[0])):
        if isinstance(program, LoadFailure) or _is_small(program):
            chosen.append((name, program))
        if len(chosen) == most:
            break
    return replace(suite, programs=tuple(chosen))


def _is_small(program: Program) -> bool:
    return Module.parse(program.bitcode).instruction_count() <= MOST_INSTRUCTIONS


def measure(
    suites: Sequence[LoadedSuite],
    objective: str,
    protocol: str,
    policies: Sequence[str],
    jobs: int,
) -> tuple[list[ProgramResult], list[SuiteResult]]:
    settings = make_settings("sound", objective, protocol)
    lists = {
        "fixed": LISTS / f"{objective}.txt",
        "fixed-codegen": LISTS / f"{objective}-codegen.txt",
    }
    names = [
        f"fixed:{lists[name]}" if name in lists else name
        for name in policies
        if settings.objective.of_code or name not in OF_CODE
    ]
    chosen = [parse_policy(name, settings) for name in names]
    results, failures = evaluate(suites, chosen, settings, jobs=jobs)
    everywhere = [replace(result, suite=ALL) for result in results]
    return results, [*summarize(everywhere), *summarize(results, failures)]


def table(results: Sequence[SuiteResult]) -> str:
    lines = [
        "| suite | policy | programs | geomean | min | max | by itself | min | max "
        "| as small | s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in results:
        programs = f"{r.programs}" + (f" ({r.failed} failed)" if r.failed else "")
        if r.geomean is None:
            lines.append(f"| {r.suite} | {r.policy} | {programs} |" + " - |" * 8)
            continue
        numbers = (r.geomean, r.min, r.max, r.found_geomean, r.found_min, r.found_max)
        lines.append(
            f"| {r.suite} | {r.policy} | {programs} | "
            + " | ".join(f"{number:.3f}" for number in numbers if number is not None)
            + f" | {r.as_small:.0%} | {r.seconds:.2f} |"
        )
    return "\n".join(lines)


def losses(results: Sequence[ProgramResult], policy: str) -> str:
    """Where a policy by itself is furthest behind the baseline."""
    ours = sorted((r for r in results if r.policy == policy), key=lambda r: r.found_ratio)
    lines = ["| program | -O0 | -Oz | by itself |", "| --- | ---: | ---: | ---: |"]
    lines += (
        f"| {r.suite}: {r.program} | {r.o0:,} | {r.baseline:,} | {r.found_ratio:.3f} |"
        for r in ours[:8]
    )
    return "\n".join(lines)


def programs_at_a_time(jobs: int) -> str:
    if not jobs:
        return "as many programs"
    return "1 program" if jobs == 1 else f"{jobs} programs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--most", type=int, default=30, help="programs of each suite")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), metavar="POLICY")
    parser.add_argument(
        "--jobs", type=int, default=0, help="programs at a time, on all cores together; 0: one each"
    )
    parser.add_argument("--json", type=Path, help="also every program's result")
    objectives = [objective for objective, _, _ in TASKS]
    parser.add_argument("--objective", choices=objectives, help="only this one's table")
    arguments = parser.parse_args()
    loaded = load_suites(arguments.paths, sample=arguments.most)
    suites = [sampled(suite, arguments.most) for suite in loaded]
    cores = available_cores()
    parts = [
        HEADER.format(
            most=arguments.most,
            limit=MOST_INSTRUCTIONS,
            cores="1 core" if cores == 1 else f"{cores} cores",
            programs=programs_at_a_time(arguments.jobs),
        )
    ]
    details = {}
    for objective, protocol, baseline in TASKS:
        if arguments.objective not in (None, objective):
            continue
        results, summary = measure(suites, objective, protocol, arguments.policies, arguments.jobs)
        details[objective] = [asdict(result) for result in results]
        agent = next(r.policy for r in results if r.policy.startswith("agent:"))
        slowest = statistics.quantiles(
            [r.seconds for r in results if r.policy == agent], n=10, method="inclusive"
        )[-1]
        parts += [
            f"## `{objective}`, protocol `{protocol}`, over `{baseline}`\n",
            table(summary),
            f"\nOne trial of the agent takes {slowest:.1f} s or less on nine of ten programs.\n",
            f"Where the agent by itself is furthest behind `{baseline}`:\n",
            losses(results, agent) + "\n",
        ]
    with replacing(arguments.out) as temporary:
        temporary.write_text("\n".join(parts))
    if arguments.json:
        arguments.json.write_text(json.dumps(details, indent=1))


HEADER = """\
# Results

Written by `python benchmarks/results.py` from the agents of this checkout (`make results`).
Ratios are -Oz over ours: above 1 is smaller. *geomean*, *min*, *max*: of what a user gets, which
falls back to -Oz; *by itself*: before that, as Table D6 of the paper has it; *as small*: programs
on which the policy by itself ties or beats -Oz; *s*: seconds a program, measuring included, on
{cores} with {programs} at a time. At most {most} programs of each suite, chosen by a
hash of their names among those of up to {limit:,} instructions before optimisation. No suite was
trained on, nor chose a checkpoint or a list; of a corpus it is the test split. *none* is -O0;
*fixed* is the best list that `codezero search fixed` found on training programs
(`benchmarks/lists`), and `text-codegen.txt` the same with one way to generate code for all
programs; *agent* is one trial: a few lists of its portfolio, with small functions inlined that
objects may share, with *10x* and for instructions choices about inlining under the best of them,
and for machine code a few ways to generate it and, with *10x*, frame pointers. For machine code it
takes some four times as long as -Oz, and with *10x* ten times, as for instructions. What it does
about the code of -Oz's own result, where no list is smaller, is not *by itself*. A time that is
given limits the search for one program, but not the trial that it begins with. The lists that the
space has as actions are in reach of *random* and *greedy*, too.
"""

if __name__ == "__main__":
    main()

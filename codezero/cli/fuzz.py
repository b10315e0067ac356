"""``codezero fuzz``: is every sequence of passes, random or a policy's, safe on some programs?"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codezero.cli.options import ObjectiveName, ProtocolName, parse
from codezero.cli.output import progress_bar
from codezero.compiler.frontends import IR_SUFFIXES
from codezero.compiler.program import Program
from codezero.compiler.spaces import DEFAULT_SPACE
from codezero.env.episode import EpisodeSettings
from codezero.env.session import make_settings
from codezero.errors import CodeZeroError, ProgramError
from codezero.isolation import CommandRunner
from codezero.programs.load import ProgramLoader
from codezero.programs.suites import find_suite
from codezero.search.policy import Policy, parse_policy
from codezero.soundness.execution import Behaviour, behaviour_of, command_runner, compile_flags
from codezero.soundness.fuzz import (
    Case,
    CaseResult,
    Fuzzer,
    fuzz,
    policy_cases,
    random_cases,
    save_failure,
)
from codezero.soundness.sequence import Outcome, Verdict


@dataclass
class Options:
    """Run pass sequences over programs, in worker processes; reduce and save what fails.

    The sequences are random, or with --policy what that chooses for each program.

    A crash, a hang, IR that does not verify and a change that a pass did not report are failures;
    with --execute, so is a program that no longer does what it did. A PATH is a file or a folder,
    as for evaluate.
    """

    paths: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH...")]]
    """Files and folders of programs."""
    space: str = DEFAULT_SPACE
    """Passes to choose from: sound, autophase, or a TOML file."""
    policy: str | None = None
    """Any that evaluate takes, such as agent."""
    objective: ObjectiveName = "text"
    """What the policy is to make small."""
    protocol: ProtocolName = "clang"
    """With or without size attributes."""
    sequences: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 10_000
    """How many random sequences to run."""
    max_length: int = 45
    """Passes in a random sequence, at most."""
    seconds: float = 60.0
    """Wall time after which a sequence counts as a hang."""
    execute: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also link and run each program made from source, and compare what it prints."""
    seed: int = 0
    """The same seed and programs give the same sequences."""
    out: Path = Path("fuzz-failures")
    """Folder for failures, one each: the program, the passes, the report."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Sequences at a time; 0 is one a core."""


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits 1 if a sequence failed."""
    options = parse(Options, "fuzz", arguments)
    if not options.paths:
        raise CodeZeroError("fuzz: give at least one file or folder")
    if options.max_length < 1 or options.sequences < 1 or options.seed < 0 or options.jobs < 0:
        raise CodeZeroError(
            "fuzz: --sequences and --max-length are at least 1, --seed and --jobs 0"
        )
    if not options.seconds > 0:
        raise CodeZeroError("fuzz: --seconds is more than 0")
    settings = make_settings(options.space, options.objective, options.protocol)
    space = settings.space
    policy = None if options.policy is None else parse_policy(options.policy, settings)
    sources = _load(options.paths, flags)
    programs = [program for _, program in sources]
    judge = ExecutionJudge(sources) if options.execute else None
    if policy is None:
        cases = random_cases(programs, space, options.sequences, options.max_length, options.seed)
    else:
        cases = _choose(programs, policy, settings, options)
    verdicts: Counter[str] = Counter()

    def on_done(case: Case, result: CaseResult) -> None:
        verdicts[result.outcome.verdict.value] += 1
        progress.advance(bar)
        if result.outcome.verdict.failed:
            saved = save_failure(result, options.out)
            names = ", ".join(map(str, result.reduced))
            progress.print(f"{result.outcome.verdict.value}: {names}  [{saved}]", markup=False)

    with progress_bar() as progress:
        bar = progress.add_task("fuzzing", total=len(cases))
        results = fuzz(
            cases,
            lambda: Fuzzer(settings.protocol, options.seconds, judge),
            jobs=options.jobs,
            on_done=on_done,
        )
    json.dump(
        {
            "space": space.name,
            "programs": len(programs),
            "sequences": len(results),
            "passes_run": sum(result.outcome.steps for result in results),
            "verdicts": dict(verdicts),
        },
        sys.stdout,
        indent=2,
    )
    print()
    return 1 if any(result.outcome.verdict.failed for result in results) else 0


def _choose(
    programs: Sequence[Program], policy: Policy, settings: EpisodeSettings, options: Options
) -> list[Case]:
    with progress_bar() as progress:
        bar = progress.add_task("choosing", total=len(programs))
        return policy_cases(
            programs,
            policy,
            settings,
            seed=options.seed,
            jobs=options.jobs,
            on_done=lambda program, case: progress.advance(bar),
        )


def _load(paths: Sequence[Path], flags: Sequence[str]) -> list[tuple[Path, Program]]:
    """Each program with its (first) file."""
    loaded = []
    with ProgramLoader() as loader:
        for path in paths:
            for program in find_suite(path).programs:
                first = program.files[0]
                all_flags = (*flags, *compile_flags(first))
                loaded.append((first, loader.load(program.files, all_flags)[0]))
    return loaded


class ExecutionJudge:
    """Runs what a sequence made of a program, and compares it with the unoptimised program."""

    def __init__(self, sources: Sequence[tuple[Path, Program]]) -> None:
        self._expected: dict[str, tuple[Path, Behaviour]] = {}
        runner = command_runner()
        with ProgramLoader() as loader:
            for source, program in sources:
                if source.suffix not in IR_SUFFIXES:
                    original = loader.emit(program, ".o")
                    self._expected[program.key] = (source, behaviour_of(source, original, runner))

    def __call__(self, program: Program, outcome: Outcome, runner: CommandRunner) -> Outcome:
        if program.key not in self._expected:
            return outcome
        source, expected = self._expected[program.key]
        try:
            actual = behaviour_of(source, outcome.object_file, runner)
        except ProgramError as error:  # it does not link any more, or does not end
            return Outcome(Verdict.MISCOMPILED, str(error), outcome.steps)
        if actual == expected:
            return outcome
        return Outcome(
            Verdict.MISCOMPILED,
            f"exit code {actual.exit_code}, expected {expected.exit_code}; "
            f"output {'differs' if actual.stdout != expected.stdout else 'agrees'}",
            outcome.steps,
        )

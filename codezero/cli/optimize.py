"""``codezero optimize``: make programs smaller, and say by how much."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from codezero.cli.options import LineParser, ObjectiveName, ProtocolName
from codezero.cli.output import print_table, progress_bar
from codezero.compiler.frontends import IR_SUFFIXES, exists
from codezero.emit import LIST_SUFFIX, SUFFIXES, Writer
from codezero.errors import CodeZeroError
from codezero.parallel import run_all, threads_of_each
from codezero.programs.load import LoadFailure, ProgramLoader, load_all

if TYPE_CHECKING:  # what takes long to import is imported while the front end is at work
    from codezero.compiler.frontends import Source
    from codezero.compiler.program import Program
    from codezero.env.episode import EpisodeSettings
    from codezero.optimize import Optimized, Optimizer
    from codezero.search.policy import CodegenChoice, Policy

T = TypeVar("T")
SEARCHES = {"agent": "agent", "greedy": "greedy", "random": "random-search"}
"""Names of policies."""
MOST_EFFORT = 1e6
"""Times -Oz's time: more would be hours for a small file."""
SEARCH_BUDGET = "5s"
"""Of a search that has no agent."""

DESCRIPTION = """\
Make programs smaller than clang -Oz makes them.

Each FILE is source code (C, C++, Objective-C, Fortran, Rust) or LLVM IR (.bc, .ll). Compiler flags
go after "--". The result is never larger than what -Oz makes.
"""


def _parser() -> argparse.ArgumentParser:
    parser = LineParser(
        "codezero optimize",
        usage="codezero optimize FILE... [OPTIONS] [-- COMPILER FLAGS]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="programs to make smaller")
    add(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="where to write the result: .o, .s, .bc, .ll, or .txt for the pass list; for several "
        "files a folder, which is given objects",
    )
    add(
        "--objective",
        choices=get_args(ObjectiveName),
        default="text",
        help="what is to become small: bytes of machine code, of all that is loaded, or IR "
        "instructions (default: text)",
    )
    add(
        "--protocol",
        choices=get_args(ProtocolName),
        default="clang",
        help="what to compare with: clang -Oz, or opt -Oz on IR without size attributes "
        "(default: clang)",
    )
    add(
        "--search",
        choices=(*SEARCHES,),
        default="agent",
        help="how to choose the passes: as a trained agent does, or without one (default: agent)",
    )
    add(
        "--budget",
        help="time (500ms, 1s, 2m) or trials (200) a file; an agent has one trial, and with more "
        "goes on from there; the others have 5s",
    )
    add(
        "--effort",
        type=_effort,
        metavar="TIMES",
        help="how many times as long as -Oz's optimiser and code generator an agent's trial may "
        "take; more finds more (default: 4 for machine code, 10 for instructions)",
    )
    add(
        "--space",
        help="passes to choose from: sound, autophase, or a TOML file (default: sound)",
    )
    add(
        "--keep-speed",
        action="store_true",
        help="do without passes that make a program smaller by making it slower, such as outlining",
    )
    add(
        "--passes",
        action="store_true",
        help="print only the pass list, ready for opt -passes='...': the passes that it takes",
    )
    add("--json", action="store_true", help="print a list with an object a file")
    add("--seed", type=int, default=0, help="of random search (default: 0)")
    add(
        "-j",
        "--jobs",
        type=int,
        default=0,
        help="files at a time; 0 is one a core (default: 0)",
    )
    return parser


def _effort(text: str) -> float:
    effort = float(text)
    if not 0 < effort < MOST_EFFORT:
        raise ValueError
    return effort


_effort.__name__ = "effort"  # what argparse calls a value that is none


@dataclass(frozen=True)
class Job:
    file: Path
    output: Path | None

    @property
    def writes_list(self) -> bool:
        return self.output is not None and self.output.suffix == LIST_SUFFIX

    @property
    def writes_object(self) -> bool:
        return self.output is not None and self.output.suffix == ".o"

    @property
    def writes_ir(self) -> bool:
        return self.output is not None and self.output.suffix in IR_SUFFIXES


@dataclass(frozen=True)
class Done:
    job: Job
    result: Optimized


@dataclass(frozen=True)
class Failed:
    reason: str


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    """Exits 2, and writes nothing, if a file cannot be read or compiled; 1 if LLVM fails on one."""
    options = _parser().parse_intermixed_args(list(map(_with_dashes, arguments)))
    if options.jobs < 0 or options.seed < 0:
        raise CodeZeroError("optimize: --jobs and --seed are not negative")
    jobs = _jobs(options.files, options.output)
    # What opt is to repeat is one list for the whole program.
    one_list = options.passes or any(job.writes_list for job in jobs)
    prepare = partial(_prepare, options, jobs, one_list)
    if len(jobs) == 1:
        sources, (settings, policy, optimizers) = _load_meanwhile(jobs[0], flags, prepare)
    else:
        settings, policy, optimizers = prepare()
        sources = _load(jobs, flags, options.jobs)
    if settings.space.unsound and (options.output or options.passes):
        print(
            f"codezero: warning: space '{settings.space.name}' may change what a program does "
            f"({', '.join(settings.space.unsound)})",
            file=sys.stderr,
        )
    writer = Writer(settings, flags)

    def work(optimizer: Optimizer, task: tuple[Job, Program, Source]) -> Done | Failed:
        job, program, source = task
        try:
            result = optimizer.run(program, policy, streamlined=one_list or options.json)
            if job.output is not None:
                result = writer.write(job.output, result, source, optimizer.loader)
        except CodeZeroError as error:
            return Failed(str(error))
        return Done(job, result)

    with progress_bar() as progress:
        bar = progress.add_task("optimizing", total=len(jobs))
        results = run_all(
            work,
            [(job, *source) for job, source in zip(jobs, sources, strict=True)],
            optimizers.take,
            jobs=options.jobs,
            on_done=lambda task, result: progress.advance(bar),
        )
    failures = [result.reason for result in results if isinstance(result, Failed)]
    if len(failures) == len(results):
        raise CodeZeroError("\n".join(failures))
    _report([result for result in results if isinstance(result, Done)], options)
    for reason in failures:
        print(f"codezero: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _prepare(
    options: argparse.Namespace, jobs: Sequence[Job], one_list: bool
) -> tuple[EpisodeSettings, Policy, Optimizers]:
    """What options say of the task and of how to choose passes, and what is to do that.

    It takes long to import.
    """
    from codezero.compiler.spaces import DEFAULT_SPACE
    from codezero.env.session import make_settings
    from codezero.search.policy import CodegenChoice

    settings = make_settings(
        DEFAULT_SPACE if options.space is None else options.space,
        options.objective,
        options.protocol,
        keep_speed=options.keep_speed,
    )
    if one_list:
        codegen = CodegenChoice.NONE
    elif any(job.writes_ir for job in jobs):
        codegen = CodegenChoice.IR
    else:
        codegen = CodegenChoice.ALL
    policy = _policy(options, settings, one_list, codegen=codegen)
    threads = threads_of_each(len(jobs), options.jobs)
    for_objects = settings.objective.of_code and any(job.writes_object for job in jobs)
    optimizers = Optimizers(settings, options.seed, threads, for_objects)
    optimizers.warm_up(policy)
    return settings, policy, optimizers


def _with_dashes(argument: str) -> str:
    """An option's name with dashes for underscores, which the other commands take as well."""
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else argument


class Optimizers:
    """What each thread works with. The first is warmed up before it is taken.

    Args:
        threads: that one program may use.
        for_objects: whether there are objects to write.
    """

    def __init__(
        self, settings: EpisodeSettings, seed: int, threads: int, for_objects: bool
    ) -> None:
        from codezero.optimize import Optimizer

        self._make = partial(Optimizer, settings, seed, threads, for_objects=for_objects)
        self._warm: list[Optimizer] = []

    def warm_up(self, policy: Policy) -> None:
        """Start the first one's process, and begin to load the policy."""
        first = self._make()
        first.warm_up(policy)
        threading.Thread(target=_warm_up, args=(policy,)).start()
        self._warm.append(first)

    def take(self) -> Optimizer:
        try:
            return self._warm.pop()
        except IndexError:
            return self._make()


def _warm_up(policy: Policy) -> None:
    with suppress(CodeZeroError):  # which `run` raises again
        policy.warm_up()


def _policy(
    options: argparse.Namespace,
    settings: EpisodeSettings,
    one_list: bool,
    *,
    codegen: CodegenChoice,
) -> Policy:
    from codezero.search.budget import Budget
    from codezero.search.policy import AGENT, AGENT_WHOLE, parse_policy

    budget = options.budget
    if budget is None and options.search != "agent":
        budget = SEARCH_BUDGET
    if options.effort is not None and options.search != "agent":
        raise CodeZeroError("optimize: --effort is that of an agent: others have a --budget")
    name = SEARCHES[options.search]
    if name == AGENT and one_list:
        name = AGENT_WHOLE
    text = name if budget is None else f"{name}:{Budget.parse(budget)}"
    policy = parse_policy(text, settings, codegen=codegen, effort=options.effort)
    policy.check(settings)
    return policy


def _load_meanwhile(
    job: Job, flags: Sequence[str], work: Callable[[], T]
) -> tuple[list[tuple[Program, Source]], T]:
    """`_load` of one file, while this thread does something else, whose error comes first."""
    with ProgramLoader() as loader, ThreadPoolExecutor(1) as pool:
        loading = pool.submit(loader.load, [job.file], flags)
        try:
            result = work()
            return [loading.result()], result
        except BaseException:
            loader.interrupt()
            raise


def _load(jobs: Sequence[Job], flags: Sequence[str], parallel: int) -> list[tuple[Program, Source]]:
    """Compile all files before the first is optimised: what is wrong with them shows at once.

    Raises:
        CodeZeroError: with the message of each file that does not load.
    """

    loaded = load_all([[job.file] for job in jobs], flags, parallel)
    failures = [each.reason for each in loaded if isinstance(each, LoadFailure)]
    if failures:
        raise CodeZeroError("\n".join(failures))
    return [each for each in loaded if not isinstance(each, LoadFailure)]


def _jobs(files: Sequence[Path], output: Path | None) -> list[Job]:
    """Each file with its output. Raises `CodeZeroError` for outputs that cannot be."""
    if not files:
        raise CodeZeroError("optimize: give at least one file")
    for file in files:
        if not exists(file):
            raise CodeZeroError(f"{file}: no such file")
    if output is None:
        return [Job(file, None) for file in files]
    if output.is_dir():
        jobs = [Job(file, output / f"{file.stem}.o") for file in files]
        if len({job.output for job in jobs}) < len(jobs):
            raise CodeZeroError(f"two of the files would both be written to one in {output}")
        return jobs
    if len(files) > 1:
        raise CodeZeroError(f"{output} is not a folder, and several files were given")
    if output.suffix not in SUFFIXES:
        raise CodeZeroError(
            f"{output}: cannot tell what to write; end it in one of {' '.join(SUFFIXES)}"
        )
    try:
        output.resolve()
    except (OSError, RuntimeError):
        raise CodeZeroError(f"cannot write {output}: the link leads to itself") from None
    if not (output.parent.is_dir() and os.access(output.parent, os.W_OK)):
        raise CodeZeroError(f"cannot write {output}: {output.parent} is no folder to write to")
    return [Job(files[0], output)]


def _report(done: Sequence[Done], options: argparse.Namespace) -> None:
    for each in done:
        if each.result.remark:
            print(f"codezero: {each.job.file}: {each.result.remark}", file=sys.stderr)
    if options.json:
        objects = [_json_object(each.job, each.result, options) for each in done]
        json.dump(objects, sys.stdout, indent=2)
        print()
    elif options.passes:
        for each in done:
            print(each.result.pipeline)
            if each.result.fell_back:
                print(
                    f"codezero: {each.job.file}: found nothing smaller than -Oz of protocol "
                    f"{options.protocol}; default<Oz> comes closest",
                    file=sys.stderr,
                )
    else:
        headers = ["program", "-O0", "-Oz", "ours", "ratio", "seconds"]
        rows = [_row(each.job, each.result) for each in done]
        print_table(headers, rows, numeric_from=1)


def _row(job: Job, result: Optimized) -> list[str]:
    sizes = (result.costs.initial, result.costs.baseline, result.cost)
    return [
        str(job.file),
        *(f"{size:,}" for size in sizes),
        f"{result.ratio:.3f}",
        f"{result.seconds:.1f}",
    ]


def _json_object(job: Job, result: Optimized, options: argparse.Namespace) -> dict[str, Any]:
    from codezero.env.inlining import in_words

    return {
        "input": str(job.file),
        "output": str(job.output) if job.output else None,
        "objective": options.objective,
        "protocol": options.protocol,
        "policy": result.policy,
        "o0": result.costs.initial,
        "baseline": result.costs.baseline,
        "optimized": result.cost,
        "ratio": result.ratio,
        "seconds": result.seconds,
        "passes": list(result.passes),
        "pipeline": result.pipeline,
        "functions": dict(result.function_pipelines),
        "inlining": in_words(result.inlining),
        "ending": result.ending,
        "codegen": [f"-{option}" for option in result.codegen],
        "frame_pointers": list(result.frame_pointers),
        "fell_back": result.fell_back,
    }

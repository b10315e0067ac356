"""``codezero optimize``: make programs smaller, and say by how much."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from codezero.cli.output import print_table, progress_bar, replacing
from codezero.compiler.frontends import Source, compile_bitcode, exists
from codezero.compiler.objectives import Objective
from codezero.compiler.program import Program
from codezero.compiler.protocols import Protocol
from codezero.compiler.spaces import DEFAULT_SPACE, load_space
from codezero.compiler.toolchain import CLANG, CLANGXX
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.optimize import Optimized, Optimizer
from codezero.parallel import run_all
from codezero.search.policy import parse_policy

OUTPUT_SUFFIXES = (".o", ".s", ".bc", ".ll", ".txt")
POLICY_OF_SEARCH = {"greedy": "greedy", "random": "random-search"}


@dataclass
class Options:
    """Make programs smaller than clang -Oz makes them.

    Each FILE is source code (C, C++, Objective-C, Fortran, Rust) or LLVM IR (.bc, .ll). Compiler
    flags go after "--". The result is never larger than what -Oz makes.
    """

    files: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")]]
    """Programs to make smaller."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="OUT")] = None
    """Where to write the result: .o, .s, .bc, .ll, or .txt for the pass list; for several files a
    folder, which is given objects."""
    objective: Literal["text", "instructions"] = "text"
    """What is to become small: bytes of machine code, or IR instructions."""
    protocol: Literal["clang", "paper"] = "clang"
    """What to compare with: clang -Oz, or opt -Oz on IR without size attributes."""
    search: Literal["random", "greedy"] = "random"
    """How to choose the passes."""
    budget: str = "5s"
    """Time (500ms, 1s, 2m) or trials (200) a file."""
    space: str = DEFAULT_SPACE
    """Passes to choose from: sound, autophase, or a TOML file."""
    passes: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print only the pass list, ready for opt -passes='...'."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a list with an object a file."""
    seed: int = 0
    """Of random search."""
    jobs: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 0
    """Files at a time; 0 is one a core."""


@dataclass(frozen=True)
class Job:
    file: Path
    output: Path | None


def run(arguments: Sequence[str], flags: Sequence[str]) -> int:
    options = tyro.cli(Options, prog="codezero optimize", args=list(arguments))
    if options.jobs < 0 or options.seed < 0:
        raise CodeZeroError("optimize: --jobs and --seed are not negative")
    jobs = _jobs(options.files, options.output)
    policy = parse_policy(f"{POLICY_OF_SEARCH[options.search]}:{options.budget}")
    settings = EpisodeSettings(
        load_space(options.space), Objective(options.objective), Protocol(options.protocol)
    )

    def work(optimizer: Optimizer, job: Job) -> Optimized:
        result, source = optimizer.run([job.file], flags, policy)
        if job.output is not None:
            _write(job.output, result, source, flags, optimizer)
        return result

    if settings.space.unsound and (options.output or options.passes):
        print(
            f"codezero: warning: space '{settings.space.name}' may change what a program does "
            f"({', '.join(settings.space.unsound)})",
            file=sys.stderr,
        )
    with progress_bar() as progress:
        bar = progress.add_task("optimizing", total=len(jobs))
        results = run_all(
            work,
            jobs,
            lambda: Optimizer(settings, options.seed),
            jobs=options.jobs,
            on_done=lambda job, result: progress.advance(bar),
        )
    _report(list(zip(jobs, results, strict=True)), options)
    return 0


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
    if output.suffix not in OUTPUT_SUFFIXES:
        raise CodeZeroError(
            f"{output}: cannot tell what to write; end it in one of {' '.join(OUTPUT_SUFFIXES)}"
        )
    if not (output.parent.is_dir() and os.access(output.parent, os.W_OK)):
        raise CodeZeroError(f"cannot write {output}: {output.parent} is no folder to write to")
    return [Job(files[0], output)]


def _write(
    output: Path, result: Optimized, source: Source, flags: Sequence[str], optimizer: Optimizer
) -> None:
    with replacing(output) as temporary:
        if output.suffix == ".txt":
            temporary.write_text(result.pipeline + "\n")
        elif (
            source.front_end
            and source.front_end.tool in (CLANG, CLANGXX)
            and (output.suffix in (".o", ".s"))
        ):
            compile_bitcode(
                result.bitcode, Path(result.program.name), source.front_end, flags, temporary
            )
        else:
            program = Program(result.program.name, result.bitcode, result.program.codegen)
            temporary.write_bytes(optimizer.loader.emit(program, output.suffix))


def _report(results: Sequence[tuple[Job, Optimized]], options: Options) -> None:
    if options.json:
        objects = [_json_object(job, result, options) for job, result in results]
        json.dump(objects, sys.stdout, indent=2)
        print()
    elif options.passes:
        for job, result in results:
            print(result.pipeline)
            if result.fell_back:
                print(
                    f"codezero: {job.file}: found nothing smaller than {options.protocol} -Oz; "
                    "default<Oz> comes closest",
                    file=sys.stderr,
                )
    else:
        headers = ["program", "-O0", "-Oz", "ours", "ratio", "seconds"]
        rows = [_row(job, result) for job, result in results]
        print_table(headers, rows, numeric_from=1)


def _row(job: Job, result: Optimized) -> list[str]:
    sizes = (result.costs.initial, result.costs.baseline, result.cost)
    return [
        str(job.file),
        *(f"{size:,}" for size in sizes),
        f"{result.ratio:.3f}",
        f"{result.seconds:.1f}",
    ]


def _json_object(job: Job, result: Optimized, options: Options) -> dict[str, Any]:
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
        "fell_back": result.fell_back,
    }

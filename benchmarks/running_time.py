"""The tables of docs/running-time.md: what smaller programs cost in time, for programs that run.

    python benchmarks/running_time.py SOURCE... -o docs/running-time.md -- FLAGS

A SOURCE is a C or C++ program that needs no input, or a folder of such; what does not build, or
runs for too short or too long a time, is left out and counted. FLAGS are the compiler's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from codezero._native import executable_size
from codezero.compiler.frontends import Source
from codezero.compiler.program import Program
from codezero.emit import Writer
from codezero.env.episode import EpisodeSettings
from codezero.env.session import make_settings
from codezero.errors import ProgramError
from codezero.evaluation.evaluate import geometric_mean
from codezero.files import replacing
from codezero.optimize import Optimizer
from codezero.parallel import run_all
from codezero.programs.load import ProgramLoader
from codezero.search.policy import parse_policy
from codezero.soundness.execution import command_runner, link, run

SUFFIXES = (".c", ".cpp", ".cc")
SHORTEST = 0.05
"""Seconds of what -Oz makes of a program: its clock ticks in milliseconds."""
BASELINE = "clang -Oz"
VARIANTS = {
    "size": make_settings("sound", "text", "clang"),
    "size --keep-speed": make_settings("sound", "text", "clang", keep_speed=True),
    "instructions": make_settings("sound", "instructions", "paper"),
}
"""Ways to make a program small, by what the table calls them; each by its default agent."""


@dataclass(frozen=True)
class Built:
    """A program as -Oz makes it and as the variants do: executables and bytes of machine code."""

    source: Path
    executables: dict[str, Path]
    sizes: dict[str, int]


@dataclass(frozen=True)
class Timed:
    """What became of a program, over what -Oz makes of it, by variant."""

    name: str
    sizes: dict[str, float]
    """-Oz over ours, as everywhere."""
    seconds: dict[str, float]
    """Ours over -Oz's."""
    baseline_seconds: float


class Builder:
    """Builds programs; one of several, each in its own processes.

    Args:
        folder: for executables.
    """

    def __init__(self, folder: Path, flags: Sequence[str]) -> None:
        self._folder = folder
        self._flags = tuple(flags)
        self._optimizers = {name: Optimizer(settings) for name, settings in VARIANTS.items()}
        self._loader = ProgramLoader()
        self._runner = command_runner()

    def build(self, path: Path) -> Built | str:
        """The executables, or why there are none."""
        try:
            return self._build(path)
        except ProgramError:
            return "does not build"

    def _build(self, path: Path) -> Built:
        program, source = self._loader.load([path], self._flags)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        objects = {BASELINE: folder / "baseline.o"}
        self._loader.write_baseline(source, self._flags, objects[BASELINE])
        for name, settings in VARIANTS.items():
            objects[name] = folder / f"{len(objects)}.o"
            self._write(name, settings, program, source, objects[name])
        executables, sizes = {}, {}
        for name, file in objects.items():
            executables[name] = file.with_suffix("")
            contents = file.read_bytes()
            link(path, contents, executables[name], self._runner)
            sizes[name] = executable_size(contents)
        return Built(path, executables, sizes)

    def _write(
        self, name: str, settings: EpisodeSettings, program: Program, source: Source, output: Path
    ) -> None:
        policy = parse_policy("agent", settings)
        optimized = self._optimizers[name].run(program, policy)
        Writer(settings, self._flags).write(output, optimized, source, self._loader)

    def interrupt(self) -> None:
        """End the build under way. May be called from any thread."""
        for optimizer in self._optimizers.values():
            optimizer.interrupt()
        self._loader.interrupt()

    def close(self) -> None:
        for optimizer in self._optimizers.values():
            optimizer.close()
        self._loader.close()


def seconds(executable: Path) -> float:
    """CPU time of a run, in seconds; of one that is known to end."""
    with subprocess.Popen(
        [executable], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def time(built: Built, rounds: int, longest: float) -> Timed | str:
    """Run everything in turn, several times, and take the quickest run of each; or why not.

    Args:
        longest: seconds that what -Oz makes may take, since rounds add up.
    """
    try:
        expected = run(built.executables[BASELINE], command_runner())
        first = seconds(built.executables[BASELINE])
        if not SHORTEST <= first <= longest:
            return f"runs for less than {SHORTEST:g} s or more than {longest:g} s"
        for name, executable in built.executables.items():
            if run(executable, command_runner()) != expected:
                sys.exit(f"{built.source}: '{name}' does something else than {BASELINE}")
    except ProgramError:
        return "does not end"
    runs = [[seconds(file) for file in built.executables.values()] for _ in range(rounds)]
    quickest = dict(zip(built.executables, map(min, *runs), strict=True))
    return Timed(
        built.source.stem,
        {name: built.sizes[BASELINE] / built.sizes[name] for name in VARIANTS},
        {name: quickest[name] / quickest[BASELINE] for name in VARIANTS},
        quickest[BASELINE],
    )


def tables(timed: Sequence[Timed]) -> str:
    lines = [
        "| agent | size, geomean | time, geomean | median | quartiles | 10% slower, or more |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in VARIANTS:
        times = [each.seconds[name] for each in timed]
        quartiles = statistics.quantiles(times, n=4, method="inclusive")
        lines.append(
            f"| {name} | {geometric_mean([each.sizes[name] for each in timed]):.3f} "
            f"| {geometric_mean(times):.3f} | {quartiles[1]:.3f} "
            f"| {quartiles[0]:.3f} to {quartiles[2]:.3f} "
            f"| {sum(each >= 1.1 for each in times) / len(times):.0%} |"
        )
    lines += ["", "| program | -Oz, s |" + "".join(f" {n}: size | time |" for n in VARIANTS)]
    lines.append("| --- | ---: |" + " ---: | ---: |" * len(VARIANTS))
    for each in sorted(timed, key=lambda each: each.name):
        numbers = "".join(f" {each.sizes[n]:.3f} | {each.seconds[n]:.3f} |" for n in VARIANTS)
        lines.append(f"| {each.name} | {each.baseline_seconds:.2f} |{numbers}")
    return "\n".join(lines)


def sources(paths: Sequence[Path]) -> list[Path]:
    files = (
        sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        if path.is_dir()
        else [path]
        for path in paths
    )
    return [file for some in files for file in some]


def main() -> None:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each executable")
    parser.add_argument("--longest", type=float, default=3.0, help="seconds of a run, by -Oz")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="programs timed at a time")
    options, flags = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    files = sources(options.paths)
    with tempfile.TemporaryDirectory(prefix="codezero-") as directory:
        built = run_all(
            lambda builder, file: builder.build(file),
            files,
            lambda: Builder(Path(directory), flags),
            on_done=lambda file, _: print(file.name, flush=True),
        )
        # One at a time unless the machine is large: what runs beside a program takes its caches.
        with ThreadPoolExecutor(options.jobs) as pool:
            results = list(
                pool.map(
                    lambda each: (
                        time(each, options.rounds, options.longest)
                        if isinstance(each, Built)
                        else each
                    ),
                    built,
                )
            )
    with replacing(options.out) as temporary:
        temporary.write_text(report(results, options, flags))


def report(
    results: Sequence[Timed | str], options: argparse.Namespace, flags: Sequence[str]
) -> str:
    timed = [each for each in results if isinstance(each, Timed)]
    if len(timed) < 2:
        sys.exit("fewer than two programs build and run for long enough")
    left_out = Counter(each for each in results if isinstance(each, str))
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.most_common())
    text = HEADER.format(
        sources=" ".join("/".join(path.parts[-2:]) for path in options.paths),
        options=f"--rounds {options.rounds} --longest {options.longest:g} -j {options.jobs}",
        flags=" ".join(flags),
        programs=len(timed),
        left_out=reasons or "none",
        rounds=options.rounds,
        jobs=options.jobs,
    )
    return text + "\n" + tables(timed) + "\n"


HEADER = """\
# Running time

Written by this command from the agents of the checkout:

```sh
python benchmarks/running_time.py {sources} -o docs/running-time.md {options} -- {flags}
```

What an agent's programs take to run, over what `clang -Oz` makes of them: below 1 is quicker.
*size* is the other way round, as everywhere: -Oz over ours, in bytes of machine code. {programs}
programs, {jobs} at a time; CPU time, the quickest of {rounds} runs of each in turn. Every one
prints the same as `clang -Oz`'s. Left out: {left_out}.
"""

if __name__ == "__main__":
    main()

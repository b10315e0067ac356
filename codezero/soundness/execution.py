"""Does an optimised program still do what the original does? Link both, run both, compare.

Only for programs that need no input and print what they compute, such as those of examples/.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from codezero.compiler.frontends import FrontEnd, front_end_of, run_compiler
from codezero.compiler.toolchain import RUSTC
from codezero.errors import ProgramError
from codezero.isolation import CommandRunner

COMMAND_SECONDS = 60.0
"""Default time limit for linking a program, and for running it."""

_OBJECTIVE_C_FLAGS = ("-fobjc-runtime=gcc",)

# rustc alone knows how to link the standard library of its version. It is made to link the
# optimised object in place of the one it compiled itself.
_RUST_LINKER = """\
#!/bin/sh
for argument do
  shift
  case $argument in *-cgu.0.rcgu.o) argument='{object}' ;; esac
  set -- "$@" "$argument"
done
exec cc "$@"
"""


@dataclass(frozen=True)
class Behaviour:
    """What a program did: all that a user of it sees."""

    exit_code: int
    stdout: bytes


def compile_flags(source: Path) -> tuple[str, ...]:
    """Flags that a self-contained program of this language needs here."""
    front_end = front_end_of(source)
    if front_end is not None and front_end.language == "Objective-C":
        return (*_OBJECTIVE_C_FLAGS, *_objective_c_headers())
    return ()


def link(source: Path, object_file: bytes, output: Path, runner: CommandRunner) -> None:
    """Link the object compiled from ``source`` to an executable.

    Raises:
        ProgramError: it does not link.
        ToolchainError: the compiler is not installed.
    """
    front_end = front_end_of(source)
    assert front_end is not None, f"{source} is not source code"
    with tempfile.TemporaryDirectory(prefix="codezero-") as directory:
        compiled = Path(directory) / "program.o"
        compiled.write_bytes(object_file)
        command = _link_command(front_end, source, compiled, Path(directory))
        run_compiler([*command, "-o", str(output)], source, runner)


def _link_command(front_end: FrontEnd, source: Path, compiled: Path, directory: Path) -> list[str]:
    compiler = front_end.tool.require()
    if front_end.tool is RUSTC:
        linker = directory / "linker"
        linker.write_text(_RUST_LINKER.format(object=compiled))
        linker.chmod(0o755)
        options = ("--edition=2021", "-Copt-level=z", "-Ccodegen-units=1", f"-Clinker={linker}")
        return [compiler, *options, str(source)]
    libraries = {"Objective-C": ["-lobjc", "-lm"], "C": ["-lm"], "C++": ["-lpthread"]}
    return [compiler, str(compiled), *libraries.get(front_end.language, [])]


def command_runner() -> CommandRunner:
    """A runner for `link` and `run`."""
    return CommandRunner(COMMAND_SECONDS)


def run(executable: Path, runner: CommandRunner) -> Behaviour:
    """Run a program. Raises `ProgramError` if it does not end in time."""
    try:
        done = runner.run([str(executable)])
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{executable.name}: runs for over {runner.timeout:g} s") from None
    return Behaviour(done.returncode, done.stdout)


def behaviour_of(source: Path, object_file: bytes, runner: CommandRunner) -> Behaviour:
    """Link and run."""
    with tempfile.TemporaryDirectory(prefix="codezero-") as directory:
        executable = Path(directory) / source.stem
        link(source, object_file, executable, runner)
        return run(executable, runner)


def _objective_c_headers() -> list[str]:
    """Where gcc keeps the Objective-C runtime's headers, which clang does not look in."""
    for folder in sorted(Path("/usr/lib/gcc").glob("*/*/include"), reverse=True):
        if (folder / "objc").is_dir():
            return ["-isystem", str(folder)]
    return []

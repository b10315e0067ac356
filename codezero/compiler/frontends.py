"""Front ends: from source code to the IR that ``clang -Oz`` would hand to its optimiser.

Each language is one `FrontEnd`: the suffixes it answers to and the command that compiles one file
to unoptimised bitcode. Flags are the user's own and go to that command as they are.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from codezero._native import CompileOptions
from codezero.compiler.clang_driver import (
    FLANG_RUNS_NO_PASSES,
    back_end_command,
    compilation_of,
    not_followed,
    objection,
    parse_jobs,
    value_of,
)
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG, CLANGXX, FLANG, RUSTC, Tool
from codezero.errors import ProgramError, ToolchainError
from codezero.isolation import CommandRunner


@dataclass(frozen=True)
class FrontEnd:
    language: str
    suffixes: tuple[str, ...]
    tool: Tool
    bitcode_command: Callable[[str, Path, Sequence[str]], list[str]]
    """(compiler, source, user's flags) -> a command that lacks only ``-o FILE``."""
    marks_size: bool
    """Whether it puts minsize on functions by itself, as clang -Oz does."""
    by_product_flag: str | None = None
    """Says where to put files that are made besides the output; they are thrown away."""

    @property
    def is_clang(self) -> bool:
        """Whether it also generates code for what it is given as IR."""
        return self.tool in (CLANG, CLANGXX)


def _clang(compiler: str, source: Path, flags: Sequence[str]) -> list[str]:
    # Disabled passes leave exactly what -Oz's optimiser would have been given. Ours is the last
    # -O, whatever the user's build system says. Use-list order decides what some passes do.
    return [
        compiler,
        *flags,
        "-Oz",
        "-fno-crash-diagnostics",  # a crash would leave files in /tmp
        *("-Xclang", "-disable-llvm-passes", "-Xclang", "-emit-llvm-uselists"),
        *("-emit-llvm", "-c", str(source)),
    ]


def _flang(compiler: str, source: Path, flags: Sequence[str]) -> list[str]:
    without_passes = FLANG.size_level, *FLANG_RUNS_NO_PASSES
    return [compiler, *flags, *without_passes, "-emit-llvm", "-c", str(source)]


def _rustc(compiler: str, source: Path, flags: Sequence[str]) -> list[str]:
    has_main = re.search(r"^\s*(pub\s+)?fn\s+main\s*\(", source.read_text(errors="replace"), re.M)
    return [
        compiler,
        *("--edition=2021", f"--crate-type={'bin' if has_main else 'lib'}"),
        *flags,
        *("-Copt-level=z", "-Ccodegen-units=1", "-Cno-prepopulate-passes"),
        *("--emit=llvm-bc", str(source)),
    ]


FRONT_ENDS = (
    FrontEnd("C", (".c",), CLANG, _clang, marks_size=True),
    FrontEnd(
        "C++",
        (".cpp", ".cc", ".cxx", ".cp", ".C", ".CPP", ".c++"),
        CLANGXX,
        _clang,
        marks_size=True,
    ),
    FrontEnd("Objective-C", (".m",), CLANG, _clang, marks_size=True),
    FrontEnd("Objective-C++", (".mm",), CLANGXX, _clang, marks_size=True),
    FrontEnd(
        "Fortran",
        (
            *(".f90", ".f95", ".f03", ".f08", ".f", ".for"),
            *(".F90", ".F95", ".F03", ".F08", ".F", ".FOR", ".fpp", ".FPP"),
        ),
        FLANG,
        _flang,
        marks_size=False,
        by_product_flag="-J",
    ),
    FrontEnd("Rust", (".rs",), RUSTC, _rustc, marks_size=True),
)
IR_SUFFIXES = (".bc", ".ll")

_BY_SUFFIX = {suffix: front_end for front_end in FRONT_ENDS for suffix in front_end.suffixes}
SOURCE_SUFFIXES = tuple(_BY_SUFFIX)


def front_end_of(path: Path) -> FrontEnd | None:
    """The front end of a source file, or None for a file that needs none (.bc, .ll)."""
    return _BY_SUFFIX.get(path.suffix)


def exists(path: Path) -> bool:
    """Whether there is such a file; not, rather than an error, for a name no file can have."""
    try:
        return path.exists()
    except OSError:
        return False


@dataclass(frozen=True)
class Source:
    """Output of a front end, before anything of it runs in this process."""

    path: Path
    program: Program
    front_end: FrontEnd | None
    needs_clang: bool = False
    """Whether clang alone makes the object of the program that the flags ask for."""


def read_program(path: Path, flags: Sequence[str], runner: CommandRunner) -> Source:
    """Read or compile one file.

    Raises:
        ProgramError: no such file, an empty file, an unknown suffix, flags that cannot be used,
            or a compile error (with the compiler's own message).
        ToolchainError: the compiler is not installed.
    """
    if not exists(path):
        raise ProgramError(f"{path}: no such file")
    if not path.is_file():
        raise ProgramError(f"{path}: not a file")
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise ProgramError(f"{path}: {error.strerror}") from None
    if not contents.strip():
        raise ProgramError(f"{path}: the file is empty")
    if path.suffix in IR_SUFFIXES:
        if flags:
            raise ProgramError(f"{path}: compiler flags have no meaning for LLVM IR")
        return Source(path, Program(_printable(path), contents), None)
    front_end = front_end_of(path)
    if front_end is None:
        known = " ".join((*IR_SUFFIXES, *SOURCE_SUFFIXES))
        raise ProgramError(f"{path}: unknown kind of file; expected one of {known}")
    return _compile(path, front_end, flags, runner)


_BITCODE_MAGIC = (b"BC\xc0\xde", b"\xde\xc0\x17\x0b")


def _printable(path: Path) -> str:
    """The path as text that any stream and LLVM take: file names may be any bytes."""
    return os.fsencode(path).decode(errors="replace")


class _Meaning(NamedTuple):
    """What clang's flags say of a program."""

    options: CompileOptions
    needs_clang: bool
    """See `Source`."""


def _compile(
    path: Path, front_end: FrontEnd, flags: Sequence[str], runner: CommandRunner
) -> Source:
    compiler = front_end.tool.require()
    meaning: _Meaning | None = _Meaning(CompileOptions(), needs_clang=False)
    if front_end.is_clang:
        meaning = _known_meaning(compiler, path, flags, runner)
    with tempfile.TemporaryDirectory(prefix="codezero-") as directory:
        output = Path(directory) / "out.bc"
        command = [*front_end.bitcode_command(compiler, path, flags), "-o", str(output)]
        if front_end.by_product_flag:
            command += [front_end.by_product_flag, directory]
        if meaning is None:
            meaning = _compile_and_ask(command, path, flags, runner)
        else:
            run_compiler(command, path, runner)
        if not (output.exists() and output.read_bytes()[:4] in _BITCODE_MAGIC):
            raise ProgramError(
                f"{path}: with these flags the compiler writes no bitcode: {shlex.join(flags)}"
            )
        program = Program(_printable(path), output.read_bytes(), meaning.options)
        return Source(path, program, front_end, meaning.needs_clang)


def run_compiler(
    command: Sequence[str], path: Path, runner: CommandRunner, stdin: bytes = b""
) -> str:
    """Run a compiler; return what it printed. Raises `ProgramError` with its message."""
    done = _finished(command, path, runner, stdin)
    messages = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise ProgramError(f"{path}: does not compile\n{messages.strip()}")
    return messages


def _finished(
    command: Sequence[str], path: Path, runner: CommandRunner, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """A compiler's run, however it ended by itself."""
    try:
        return runner.run(command, stdin)
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{path}: the compiler took over {runner.timeout:g} s") from None
    except OSError as error:
        raise ToolchainError(f"{command[0]} does not run: {error.strerror}") from None


def _known_meaning(
    compiler: str, path: Path, flags: Sequence[str], runner: CommandRunner
) -> _Meaning | None:
    """What the flags mean for optimisation and code generation, in the words of clang's driver.

    The driver is asked once for flags that differ only in where headers are and what macros mean:
    it takes nearly as long as compiling a small file. Where there are no others, None the first
    time: it can say so while it compiles.

    Raises:
        ProgramError: flags that change what clang does while it optimises in a way that cannot be
            repeated here (of those that instrument the program, it would lose the instruments), or
            that write files besides the object.
    """
    question = (compiler, path.suffix, *(f for f in flags if not _ONLY_PREPROCESSES.match(f)))
    meaning = _answered.get(question)
    if meaning is None and (len(question) > 2 or ADDS_FLAGS in os.environ):
        meaning = _ask_driver(compiler, path, flags, runner)
        _remember(question, meaning)
    return meaning


def _remember(question: tuple[str, ...], meaning: _Meaning) -> None:
    if len(_answered) < MAX_ANSWERS:
        _answered[question] = meaning


ADDS_FLAGS = "CCC_OVERRIDE_OPTIONS"
"""A variable by which clang's driver takes flags, which may have files written."""
MAX_ANSWERS = 10_000
_answered: dict[tuple[str, ...], _Meaning] = {}
_ONLY_PREPROCESSES = re.compile(r"-(I|D|U|isystem|iquote|idirafter|fmacro-prefix-map=).")
"""Flags that only the preprocessor reads, joined with their values. An option whose value is the
next argument is not among them: that argument would be taken for a flag."""


def _ask_driver(compiler: str, path: Path, flags: Sequence[str], runner: CommandRunner) -> _Meaning:
    command = [compiler, *flags, "-Oz", "-###", "-c", str(path)]
    jobs = parse_jobs(os.fsencode(run_compiler(command, path, runner))).commands
    arguments = next((job for job in jobs if "-cc1" in job), ())
    return _checked_meaning(path, flags, arguments)


def _compile_and_ask(
    command: Sequence[str], path: Path, flags: Sequence[str], runner: CommandRunner
) -> _Meaning:
    """Compile, and have the driver say meanwhile what `_known_meaning` does not know yet."""
    done = _finished([*command, "-v"], path, runner)
    if done.returncode != 0:
        run_compiler(command, path, runner)  # for its message without all that -v says
    arguments = compilation_of(done.stderr)
    if done.returncode == 0 and arguments:
        meaning = _checked_meaning(path, flags, arguments)
    else:
        meaning = _ask_driver(command[0], path, flags, runner)
    _remember((command[0], path.suffix), meaning)
    return meaning


def _checked_meaning(path: Path, flags: Sequence[str], arguments: Sequence[str]) -> _Meaning:
    for argument in (*flags, *arguments):
        reason = objection(argument, only_object=True)
        if reason is not None:
            raise ProgramError(
                f"{path}: {argument} {reason}; compile this file without it, or with clang alone"
            )
    return _Meaning(compile_options(arguments), _needs_clang(arguments))


def _needs_clang(arguments: Sequence[str]) -> bool:
    """Whether clang alone makes the object that it is to make, or that is not known.

    Args:
        arguments: of its own compiler, that is to write an object or bitcode.
    """
    as_object = {"-emit-llvm-bc": "-emit-obj"}
    command = [as_object.get(each, each) for each in arguments if each not in _OF_BITCODE_ALONE]
    return "-o" not in command or not_followed(back_end_command(command)) is not None


_OF_BITCODE_ALONE = frozenset(("-v", "-emit-llvm-uselists"))


def compile_options(arguments: Sequence[str]) -> CompileOptions:
    """What the flags of clang's own compiler, which are its driver's words, mean for a program."""
    float_abi = value_of(arguments, "-mfloat-abi") if "-mfloat-abi" in arguments else ""
    return CompileOptions(
        slp_vectorize="-vectorize-slp" in arguments,
        vectorize_loops="-vectorize-loops" in arguments,
        unroll_loops="-fno-unroll-loops" not in arguments,
        merge_functions="-fmerge-functions" in arguments,
        function_sections="-ffunction-sections" in arguments,
        data_sections="-fdata-sections" in arguments,
        address_significance="-faddrsig" in arguments,
        float_abi=float_abi if float_abi == "hard" else "soft" if float_abi else "",
    )


def generate_code(
    program: Program,
    path: Path,
    front_end: FrontEnd,
    flags: Sequence[str],
    output: Path,
    runner: CommandRunner,
) -> None:
    """Have clang generate code for an optimised program, under the user's own flags.

    Only clang knows what each of them means for the object file, from ``-ffunction-sections`` to
    ``-gz``. ``output`` is an object or, by its suffix, assembly.
    """
    command = [
        front_end.tool.require(),
        *flags,
        "-Oz",
        "-fno-crash-diagnostics",  # a crash would leave files in /tmp
        *("-Xclang", "-disable-llvm-passes", "-Qunused-arguments"),
        *(word for option in program.options.codegen for word in ("-mllvm", f"-{option}")),
        *("-x", "ir", "-", _output_kind(output), "-o", str(output)),
    ]
    run_compiler(command, path, runner, stdin=program.bitcode)


def compile_source(
    path: Path, front_end: FrontEnd, flags: Sequence[str], output: Path, runner: CommandRunner
) -> None:
    """Have clang make the object or assembly by itself: the baseline."""
    command = [front_end.tool.require(), *flags, "-Oz"]
    run_compiler([*command, _output_kind(output), str(path), "-o", str(output)], path, runner)


def _output_kind(output: Path) -> str:
    return "-S" if output.suffix == ".s" else "-c"

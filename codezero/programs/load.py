"""Loading: from a program's files to one `Program`, compiled, linked and marked as clang would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from codezero._native import CompileOptions, LLVMError, Module, ParseError
from codezero.compiler.frontends import (
    Source,
    compile_source,
    generate_code,
    read_program,
)
from codezero.compiler.program import Program
from codezero.errors import CodeZeroError, ProgramError
from codezero.isolation import CommandRunner, Worker, WorkerFailure
from codezero.parallel import run_all

COMPILE_SECONDS = 600.0
"""Default time limit of one compiler run."""
LOAD_SECONDS = 120.0
"""Time limit of what LLVM does in the child process."""

FINISH = "default<O0>"
"""What clang runs at every level, and code generation counts on: calls marked always_inline are
inlined (no library has those functions) and coroutines are split."""


class ProgramLoader:
    """Loads and writes programs. LLVM reads bitcode in a child process: it may be broken.

    Args:
        compile_seconds: time limit of one compiler run.
        load_seconds: time limit of what LLVM does in the child process.
    """

    def __init__(
        self, compile_seconds: float = COMPILE_SECONDS, load_seconds: float = LOAD_SECONDS
    ) -> None:
        self._load_seconds = load_seconds
        self._worker = Worker("codezero.programs.load:BitcodeTool")
        self._runner = CommandRunner(compile_seconds)

    def load(self, files: Sequence[Path], flags: Sequence[str] = ()) -> tuple[Program, Source]:
        """One program from its files, and the front end's output for the first of them.

        Raises:
            ProgramError, ToolchainError: see `codezero.compiler.frontends.read_program`; also
                for IR that LLVM rejects, and files that do not link.
        """
        sources = [read_program(path, flags, self._runner) for path in files]
        first = sources[0]
        if len(sources) == 1 and first.front_end and first.front_end.marks_size:
            return first.program, first
        name = files[0].parent.name if len(files) > 1 else first.program.name
        parts = [(s.program.name, s.program.bitcode, _lacks_size_attributes(s)) for s in sources]
        bitcode = self._call(name, "link", parts)
        return Program(name, bitcode, first.program.options), first

    def mark_for_size(self, program: Program) -> Program:
        """The same with minsize on its functions, as clang -Oz puts there and flang does not."""
        bitcode = self._call(program.name, "link", [(program.name, program.bitcode, True)])
        return replace(program, bitcode=bitcode)

    def emit(self, program: Program, suffix: str) -> bytes:
        """A program as a file's contents: ``.o``, ``.s``, ``.ll`` or ``.bc``."""
        contents: bytes = self._call(program.name, "emit", program, suffix)
        return contents

    def write_code(
        self, program: Program, source: Source, flags: Sequence[str], output: Path
    ) -> None:
        """Write an object (or assembly, by ``output``'s suffix) of an optimised program.

        If clang compiled its source, clang generates the code, too, for the flags' sake.
        """
        if source.front_end and source.front_end.is_clang:
            generate_code(program, source.path, source.front_end, flags, output, self._runner)
        else:
            output.write_bytes(self.emit(program, output.suffix))

    def write_baseline(self, source: Source, flags: Sequence[str], output: Path) -> None:
        """Write what ``clang -Oz`` makes of a source that clang compiled."""
        assert source.front_end is not None and source.front_end.is_clang
        compile_source(source.path, source.front_end, flags, output, self._runner)

    def _call(self, name: str, method: str, *args: Any) -> Any:
        try:
            return self._worker.call(method, *args, timeout=self._load_seconds)
        except (WorkerFailure, LLVMError) as failure:
            raise ProgramError(f"{name}: LLVM fails on it ({failure})") from None

    def interrupt(self) -> None:
        """End the call under way. May be called from any thread."""
        self._worker.interrupt()
        self._runner.interrupt()

    def close(self) -> None:
        self._worker.close()

    def __enter__(self) -> ProgramLoader:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


@dataclass(frozen=True)
class LoadFailure:
    """Why a program could not be loaded, in words for the user."""

    reason: str


Loaded: TypeAlias = "tuple[Program, Source] | LoadFailure"


def load_all(
    programs: Sequence[Sequence[Path]], flags: Sequence[str] = (), jobs: int = 0
) -> list[Loaded]:
    """Load programs, each from its files, on all cores."""

    def load(loader: ProgramLoader, files: Sequence[Path]) -> Loaded:
        try:
            return loader.load(files, flags)
        except CodeZeroError as error:
            return LoadFailure(str(error))

    return run_all(load, programs, ProgramLoader, jobs=jobs)


def _lacks_size_attributes(source: Source) -> bool:
    return source.front_end is not None and not source.front_end.marks_size


class BitcodeTool:
    """What is done to bitcode in the child: it may be broken, and LLVM's reader trusts it."""

    def link(self, parts: list[tuple[str, bytes, bool]]) -> bytes:
        """Link (name, bitcode, whether to mark functions for size) into one module's bitcode."""
        modules = []
        for name, bitcode, add_size_attributes in parts:
            module = parse_module(Program(name, bitcode, CompileOptions()))
            if add_size_attributes:
                module.add_size_attributes()
            modules.append(module)
        if len(modules) == 1:
            return modules[0].bitcode()
        try:
            return Module.link(modules).bitcode()
        except LLVMError as error:
            raise ProgramError(f"the files do not link: {error}") from None

    def emit(self, program: Program, suffix: str) -> bytes:
        module = parse_module(program)
        if suffix in (".o", ".s"):
            module.run(FINISH)
        if suffix == ".o":
            return module.object(program.options)
        if suffix == ".s":
            return module.assembly(program.options).encode()
        return module.ir().encode() if suffix == ".ll" else module.bitcode()


def parse_module(program: Program) -> Module:
    """Parse and verify a program's bitcode. Raises `ProgramError` that names the program."""
    try:
        return Module.parse(program.bitcode, program.name)
    except ParseError as error:
        place = f":{error.line}:{error.column}" if error.line else ""
        raise ProgramError(f"{program.name}{place}: not valid LLVM IR: {error}") from None
    except LLVMError as error:
        first_line = str(error).splitlines()[0]
        raise ProgramError(f"{program.name}: the IR does not verify: {first_line}") from None

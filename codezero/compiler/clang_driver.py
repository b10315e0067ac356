"""What clang's driver makes of a command line: the jobs it would run, and what their flags mean.

Nothing else here reads clang's options: there are thousands, and only clang knows them all. The
driver is asked with ``-###``, and what it then says is plain: one job a line, one flag a word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from codezero.compiler.toolchain import FLANG, as_taken


class Jobs(NamedTuple):
    """What the driver would do."""

    commands: tuple[tuple[str, ...], ...]
    """The command lines it would run, one after another."""
    messages: bytes
    """What it has to say itself, such as of flags that are not used."""
    configuration: tuple[str, ...]
    """Files that it has read more flags from."""


# Patterns are text where not every call needs them: `re` compiles them when they are first used.
_ARGUMENT = re.compile(rb' "((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD = re.compile(rb' (?:"((?:[^"\\]|\\.)*)"|(\S+))', re.DOTALL)
"""With quotes only where there is something to be quoted."""
_HEADER = re.compile(
    rb"^(.*(clang|flang) version .*|Target: .*|Thread model: .*|InstalledDir: .*|"
    rb"Build config: .*|Configuration file: (.*)|Found candidate .*|Selected .*|"
    rb"Candidate multilib.*|Found (CUDA|HIP) .*| \(in-process\))$"
)


def parse_jobs(output: bytes) -> Jobs:
    """What ``-###`` printed on standard error."""
    commands, messages, configuration = [], [], []
    for line in output.split(b"\n"):
        arguments = _ARGUMENT.findall(line)
        if arguments and sum(len(a) + 3 for a in arguments) == len(line):
            commands.append(tuple(map(_unescaped, arguments)))
        elif header := _HEADER.match(line):
            configuration += [os.fsdecode(header[3])] if header[3] else []
        elif line:
            messages.append(line + b"\n")
    return Jobs(tuple(commands), b"".join(messages), tuple(configuration))


def compilation_of(output: bytes) -> tuple[str, ...]:
    """The command line of a compilation, which ``-v`` printed on standard error, if any."""
    for line in output.split(b"\n"):
        if line.startswith(b' "') and b" -cc1 " in line:
            words = (quoted or plain for quoted, plain in _WORD.findall(line))
            return tuple(map(_unescaped, words))
    return ()


def _unescaped(word: bytes) -> str:
    return os.fsdecode(re.sub(rb"\\(.)", rb"\1", word))


C_LANGUAGES = frozenset(
    f"{language}{suffix}"
    for language in ("c", "c++", "objective-c", "objective-c++")
    for suffix in ("", "-cpp-output")
) | {"cpp-output"}
FORTRAN = frozenset(("f95", "f95-cpp-input"))
"""Of sources, after ``-x``."""
_LANGUAGES = {"-cc1": C_LANGUAGES, "-fc1": FORTRAN}
"""By what tells a compiler proper from its driver: clang's, and flang's."""


def is_compiler(command: Sequence[str]) -> bool:
    """Whether a job is a compiler's, whatever of."""
    return _first(command) in _LANGUAGES


def is_assembler(command: Sequence[str]) -> bool:
    return _first(command) == "-cc1as"


def _first(command: Sequence[str]) -> str:
    """What tells which of its jobs a program is called for."""
    return command[1] if len(command) > 1 else ""


def is_compilation(command: Sequence[str]) -> bool:
    """Whether a job makes an object of one source."""
    return (
        is_compiler(command)
        and "-emit-obj" in command
        and not any(re.fullmatch(_OTHER_ACTIONS, word) for word in command)
        and command[-3:-2] == ("-x",)
        and command[-2] in _LANGUAGES[_first(command)]
        and "-o" in command
    )


def is_fortran(command: Sequence[str]) -> bool:
    """Whether a job is flang's. It generates no code for IR without optimising it as well."""
    return _first(command) == "-fc1"


_OTHER_ACTIONS = r"-ast-.*|-emit-(?!obj$).*|-f?dump-.*|-fsyntax-only|-E|-S|-print-.*"
"""Words that make of a compilation something else, whatever stands before."""


def value_of(command: Sequence[str], flag: str) -> str:
    """What follows a flag."""
    return command[command.index(flag) + 1]


def to_stdout(command: Sequence[str]) -> list[str]:
    """The same job, with its output on standard output."""
    kept = list(command)
    kept[kept.index("-o") + 1] = "-"
    return kept


_WORKS_DURING_OPTIMISATION = (
    r"-fsanitize-coverage|-fprofile-(instrument|sample|generate|use)|-finstrument-function|-fxray|"
    r"-fobjc-arc|-flto|-pg$|-coverage-|-fpass-plugin|-mllvm$|-fveclib=(?!none)|-fmemory-profile|"
    r"-fexperimental-sanitize-metadata|-fpseudo-probe|-Rpass|-load$|-plugin|-add-plugin|"
    r"-fembed-bitcode|-fembed-offload|-ffat-lto|-fbasic-block-sections=list"
)
_FRONT_END_WRITES = r"-dependency-file$|-serialize-diagnostic-file$|-header-include-file$"
_BACK_END_WRITES = (
    r"-split-dwarf-(file|output)$|-ftime-trace|-opt-record-file$|-stack-usage-file|"
    r"-stats-file|--?save-temps"
)
_FRONT_ENDS_SANITIZERS = (
    r"undefined|integer|nullability|bounds|alignment|array-bounds|bool|builtin|enum|"
    r"float-cast-overflow|float-divide-by-zero|function|"
    r"implicit-.*|integer-divide-by-zero|nonnull-attribute|null|nullability-.*|object-size|"
    r"pointer-overflow|return|returns-nonnull-attribute|shift|shift-base|shift-exponent|"
    r"signed-integer-overflow|unreachable|unsigned-.*|vla-bound|vptr|shadow-call-stack"
)
"""The checks that are there before the first pass runs; all others are passes."""


def objection(argument: str, *, only_object: bool) -> str | None:
    """Why what clang does under a flag cannot be repeated here; None if it can.

    Args:
        argument: a user's flag, or what the driver has made of it.
        only_object: whether what the front end writes beside the object would be lost, too.
    """
    instrumented = argument.startswith("-fsanitize=") and not all(
        re.fullmatch(_FRONT_ENDS_SANITIZERS, check)
        for check in argument.removeprefix("-fsanitize=").split(",")
    )
    if instrumented or re.match(_WORKS_DURING_OPTIMISATION, argument):
        return "works during optimisation, which codezero replaces"
    if re.match(_BACK_END_WRITES, argument) or (
        only_object and re.match(_FRONT_END_WRITES, argument)
    ):
        return "writes a file beside the object, which codezero does not keep"
    return None


def front_end_command(command: Sequence[str], headers: str | None = None) -> list[str]:
    """A compilation that stops before the first pass, and writes bitcode to standard output.

    It leaves exactly what -Oz's optimiser would be given. Use-list order decides what some passes
    do.

    Args:
        headers: a file to list the headers in that are read, one a line: all of them if
            `reads_listed_files`. flang lists none.
    """
    kept = ["-emit-llvm-bc" if word == "-emit-obj" else word for word in to_stdout(command)]
    if is_fortran(command):
        return as_taken([*kept[:2], *FLANG_RUNS_NO_PASSES, *kept[2:]], FLANG)
    kept[2:2] = ["-disable-llvm-passes", "-emit-llvm-uselists"]
    if headers is not None and "-header-include-file" not in kept:
        kept[2:2] = ["-header-include-file", headers]
        if "-dependency-file" not in kept:
            kept[2:2] = ["-sys-header-deps"]  # which dependency files depend on, too
    return kept


FLANG_RUNS_NO_PASSES = ("-mllvm", "-opt-bisect-limit=0", "-mllvm", "-opt-bisect-verbose=0")
"""flang has no -disable-llvm-passes; a bisection limit of zero skips every optional pass."""


def reads_listed_files(command: Sequence[str]) -> bool:
    """Whether a compilation reads its source and headers only, and clang can list those."""
    if is_fortran(command) or ("-dependency-file" in command and "-sys-header-deps" not in command):
        return False
    return not any(re.match(_READS_MORE, word) for word in command)


_READS_MORE = (
    r"-include-pch$|-fmodule|-ivfsoverlay$|-fsanitize-ignorelist|"
    r"-fsanitize-system-ignorelist|-header-include-file$|-serialize-diagnostic-file$|-frandomize|"
    r"-fdepfile-entry|-fapinotes|-fprebuilt-|--warning-suppression-mappings|-fms-hotpatch"
)


def back_end_command(command: Sequence[str]) -> list[str]:
    """A compilation from optimised bitcode on standard input to the object on standard output.

    Only clang knows what each flag means for the object, so that all of them stay but those that
    the front end alone reads. Equal ones make equal objects of equal bitcode.
    """
    kept = to_stdout(list(_without(command[:-3], _FRONT_END_READS, _FRONT_END_OPTIONS)))
    kept[2:2] = ["-disable-llvm-passes"]
    return [*kept, "-x", "ir", "-"]


_FRONT_END_READS = frozenset(
    (
        *("-D", "-U", "-I", "-F", "-iquote", "-idirafter", "-include", "-imacros"),
        *("-isystem", "-cxx-isystem", "-c-isystem", "-iframework", "-include-pch", "-iwithprefix"),
        *("-internal-isystem", "-internal-externc-isystem", "-internal-iframework"),
        *("-dependency-file", "-MT", "-header-include-file", "-serialize-diagnostic-file"),
        "-ivfsoverlay",
    )
)
"""Flags with a word after them that are of no use for IR, or would have a file written again."""
_FRONT_END_OPTIONS = frozenset(("-MP", "-MV", "-MG", "-sys-header-deps", "-module-file-deps"))


def _without(
    command: Sequence[str], with_value: frozenset[str], alone: frozenset[str]
) -> Iterator[str]:
    words = iter(command)
    for word in words:
        if word in with_value:
            next(words, None)
        elif word not in alone:
            yield word


def not_followed(command: Sequence[str]) -> str | None:
    """A flag under which a compiler may make another object of bitcode than we do; None if none is.

    `codezero.compiler.Module.object` makes the same as clang, to the byte, under flags that are
    known not to matter for code generation, or to do so by what they leave in the IR or in
    `CompileOptions`. For any other, clang has to be asked.
    """
    known = _FOLLOWED_OF_FLANG if is_fortran(command) else _FOLLOWED
    words = iter(command[1:])
    for word in words:
        if word in _FOLLOWED_WITH_VALUE:
            next(words, None)
        elif not re.fullmatch(known, word):
            return word
    return None


_FOLLOWED_WITH_VALUE = frozenset(
    (
        *("-triple", "-main-file-name", "-dumpdir", "-resource-dir", "-ferror-limit", "-o", "-x"),
        *("-mrelocation-model", "-pic-level", "-target-cpu", "-tune-cpu", "-target-feature"),
        *("-target-abi", "-mfloat-abi", "-stack-protector", "-stack-protector-buffer-size"),
        *("-fmessage-length", "-target-linker-version"),
        *("-module-dir", "-J", "-fintrinsic-modules-path"),  # flang's
    )
)
_FOLLOWED = (
    r"-|-[cf]c1|-O[sz]|-emit-obj|-disable-(free|llvm-verifier|llvm-passes|red-zone)|-w|-W.*|-pedantic|"
    r"-pedantic-errors|-clear-ast-before-backend|-discard-value-names|-pic-is-pie|-std=.*|"
    r"-mframe-pointer=.*|-debugger-tuning=.*|-vectorize-slp|-faddrsig|-pthread|-mconstructor-aliases|"
    r"-f(cxx-exceptions|exceptions|deprecated-macro|math-errno|gnuc-version=.*|wrapv|short-enums|"
    r"dwarf2-cfi-asm|skip-odr-check-in-gmf|fp-contract=on|unwind-tables=.*|"
    r"function-sections|data-sections|visibility=.*|visibility-inlines-hidden.*|cf-protection=.*|"
    r"stack-clash-protection|debug-compilation-dir=.*|coverage-compilation-dir=.*|macro-prefix-map=.*|common|"
    r"color-diagnostics|caret-diagnostics.*|diagnostics-.*|freestanding|gnu89-inline|"
    r"sized-deallocation|message-length=.*|half-no-semantic-interposition|ms-extensions|const-strings|"
    r"trivial-auto-var-init=.*)|-msoft-float|-Qn|"
    r"-fno-(rounding-math|plt|rtti|builtin.*|signed-char|threadsafe-statics|use-cxa-atexit|"
    r"operator-names|strict-return|delete-null-pointer-checks|diagnostics-.*|caret-diagnostics)|"
    r"-fsigned-char|-relaxed-aliasing|-nobuiltininc|-nostdsysteminc|-nostdinc\+\+"
)
_FOLLOWED_OF_FLANG = (
    rf"{_FOLLOWED}|-debug-info-kind=.*|-complex-range=.*|-cpp|-nocpp|-f(openmp.*|openacc|"
    r"complex-arithmetic=.*|fast-math|stack-arrays|default-(real|integer|double)-\d+|backslash|"
    r"(fixed|free)-form|fixed-line-length=.*|implicit-none|logical-abbreviations|xor-operator|"
    r"no-automatic|large-sizes|unsigned|convert=.*|(no-)?realloc-lhs|hermetic-module-files|"
    r"(no-)?underscoring|no-signed-zeros|init-global-zero|version-loops-for-stride)|-P"
)
"""With what flang does before there is any IR, or leaves in it as flags of instructions."""

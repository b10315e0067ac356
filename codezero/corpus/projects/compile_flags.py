"""The flags that a project's own build compiles each file with.

They are read from what the build says it would do: a ``compile_commands.json``, or the commands
that ``make -n`` prints. Of a command's arguments those are kept that decide what the program is:
definitions, include folders, the language's standard and some dialects of it. Warnings, levels of
optimisation, debug information and outputs are not.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from codezero.compiler.frontends import SOURCE_SUFFIXES

CompileFlags = dict[Path, tuple[str, ...]]
"""By source file, absolute."""

_WITH_VALUE = ("-I", "-isystem", "-iquote", "-idirafter", "-D", "-U")
"""Options whose value is joined or the next argument."""
_OTHER_OPTIONS = re.compile(
    r"-std=.+|-ansi|-pthread|-m(sse|avx|fma|pclmul|aes|sha|popcnt|bmi|lzcnt|f16c).*|-f(PIC|pic|PIE|"
    r"pie)|-f(no-)?(exceptions|rtti|wrapv|short-enums|unsigned-char|signed-char|short-wchar|"
    r"strict-aliasing|math-errno|ms-extensions|plan9-extensions|builtin|freestanding|common|"
    r"delete-null-pointer-checks|threadsafe-statics|use-cxa-atexit|trapping-math|blocks|"
    r"char8_t|coroutines)|-ffreestanding|-ffast-math|-fvisibility(-inlines-hidden|=.+)|-nostdinc"
)


def read_compile_commands(path: Path) -> CompileFlags:
    """The flags that a ``compile_commands.json`` records; none if it is no such file.

    The format: https://clang.llvm.org/docs/JSONCompilationDatabase.html
    """
    flags: CompileFlags = {}
    try:
        for entry in json.loads(path.read_text(errors="replace")):
            folder = (path.parent / entry["directory"]).resolve()
            arguments = entry.get("arguments") or shlex.split(entry["command"])
            file = (folder / entry["file"]).resolve()
            flags.setdefault(file, tuple(_kept(arguments[1:], folder)))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # RuntimeError: links that lead to themselves
    return flags


def read_make_output(output: str, folder: Path) -> CompileFlags:
    """The flags in what ``make -n -w`` prints.

    Args:
        folder: where make was run.
    """
    flags: CompileFlags = {}
    for here, arguments in _commands(output, folder.resolve()):
        if "-c" not in arguments or not any(map(_COMPILER.fullmatch, arguments[:6])):
            continue
        for argument in arguments:
            if argument.endswith(SOURCE_SUFFIXES) and not argument.startswith("-"):
                try:
                    file = (here / argument).resolve()
                    is_new = file not in flags and file.is_file()
                except (OSError, RuntimeError, ValueError):  # a name that no file can have
                    continue
                if is_new:
                    flags[file] = tuple(_kept(arguments, here))
    return flags


_COMPILER = re.compile(
    r"(.*[/-])?(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|gfortran|f77|flang|CC|libtool)(-[\d.]+)?"
)
"""Words that show that a command compiles, and does not, say, install files with -c."""

_ENTERS = re.compile(r"make(?:\[\d+\])?: Entering directory '(.*)'")
_LEAVES = re.compile(r"make(?:\[\d+\])?: Leaving directory '")


def _commands(output: str, folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, words) of each simple command."""
    folders = [folder]
    for line in output.replace("\\\n", " ").splitlines():
        if entered := _ENTERS.match(line):
            folders.append(Path(entered[1]))
        elif _LEAVES.match(line):
            if len(folders) > 1:
                folders.pop()
        else:
            here = folders[-1]
            for words in _simple_commands(line):
                if words[0] == "cd" and len(words) > 1:
                    here = here / words[1]
                else:
                    yield here, words


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        for word in lexer:
            if word and word[0] in ";&|()":
                if words:
                    yield words
                words = []
            else:
                words.append(word)
    except ValueError:  # quotes that do not close: no command that we can read
        return
    if words:
        yield words


def _kept(arguments: Sequence[str], folder: Path) -> Iterator[str]:
    """The arguments that decide what the program is, with absolute paths."""
    rest = iter(arguments)
    for argument in rest:
        option = next((o for o in _WITH_VALUE if argument.startswith(o)), None)
        if option is not None:
            value = argument.removeprefix(option) or next(rest, "")
            yield option + (value if option in ("-D", "-U") else str(folder / value))
        elif argument in ("-include", "-imacros"):
            # Looked for in this folder first, then as any other header.
            value = next(rest, "")
            yield argument
            yield str(folder / value) if (folder / value).exists() else value
        elif _OTHER_OPTIONS.fullmatch(argument):
            yield argument

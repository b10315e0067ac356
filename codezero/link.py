"""Links of whole programs: what is in bitcode is optimised as one, by passes chosen for it.

lld does all that a linker does. It resolves symbols, pulls members out of archives and hides what
nothing outside refers to; what it has merged by that is optimised here, and linked in place of the
bitcode that it comes of. The result is never larger than what lld makes by its own passes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from codezero._native import (
    CodegenError,
    CompileOptions,
    bitcode_members,
    is_thin_lto,
    loaded_size,
)
from codezero.compiler.clang_driver import parse_jobs, value_of
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG, LLD
from codezero.driver import records
from codezero.driver.compilations import OBJECTIVE, PROTOCOL, SPACE, policy_of
from codezero.driver.settings import OFF, DriverSettings
from codezero.env.session import make_settings
from codezero.errors import CodeZeroError
from codezero.files import is_special, replacing
from codezero.optimize import BASELINE_PIPELINE, Optimized, Optimizer
from codezero.parallel import MOST_THREADS, available_cores

FLAGS = ("-Oz", "-flto", "-fuse-ld=lld")
LLD_OPTIONS = CompileOptions(slp_vectorize=True, function_sections=True, data_sections=True)
"""How lld generates code."""


class _Stays(Exception):
    """What lld has linked by its own passes stays, for the reason that is given."""


class _Failed(Exception):
    """The same, for a fault of ours."""


class Linked(NamedTuple):
    """What came of a link, in bytes that are loaded."""

    size: int
    by_lld: int
    """By lld's own passes."""
    passes: tuple[str, ...]
    """None where those stay."""
    seconds: float
    """Wall time that choosing passes took."""


def link(arguments: Sequence[str], settings: DriverSettings) -> int:
    """Link as clang and lld do, and then once more if that comes out smaller.

    Args:
        arguments: clang's, for a link of bitcode.

    Returns:
        clang's exit code.

    Raises:
        CodeZeroError: there is no lld; or our part has failed, and ``strict`` is set.
    """
    LLD.require()
    command = [CLANG.require(), *FLAGS, *arguments]
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        return done.returncode
    try:
        job = _job(command)
        linked = _link_again(job, settings)
    except _Stays as reason:
        _tell(str(reason))
        return 0
    except (_Failed, CodeZeroError, OSError, CodegenError) as failure:
        if settings.strict:
            raise CodeZeroError(f"link: {failure} (CODEZERO_STRICT is set)") from None
        _tell(f"{failure}; what lld makes by its own passes stays")
        return 0
    output = value_of(job, "-o")
    if settings.records != OFF:
        path = str(Path(output).absolute())
        record = {
            "size": linked.size,
            "baseline": linked.by_lld,
            "passes": linked.passes,
            "seconds": round(linked.seconds, 3),
            "reason": "" if linked.passes else "lld's own passes make it as small",
            "linked": True,
        }
        records.append(settings.records, records.to_line(path, path, record))
    saved = linked.by_lld - linked.size
    _tell(f"{output}: {linked.size:,} bytes, {saved:,} less than by lld's passes")
    return 0


def _tell(words: str) -> None:
    print(f"codezero link: {words}", file=sys.stderr)


def _job(command: Sequence[str]) -> list[str]:
    """What clang has called lld for. Raises `_Stays`."""
    asked = [command[0], "-###", *command[1:]]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    jobs = parse_jobs(done.stderr).commands
    if len(jobs) > 1:
        raise _Stays("sources are to be compiled first (-c -flto): this is as clang links them")
    if not jobs or not Path(jobs[0][0]).name.startswith("ld.lld") or "-o" not in jobs[0]:
        raise _Stays("this is no link by lld")
    (job,) = jobs
    told = next(filter(_IS_TOLD_OTHERWISE.match, job), None)
    if told is not None:
        raise _Stays(f"{told} stays lld's")
    if job.count("-o") > 1 or is_special(value_of(job, "-o")):
        raise _Stays("its output is lld's to write")
    return list(job)


_IS_TOLD_OTHERWISE = re.compile(
    r"--?(plugin-opt=)?(lto-(?!O[123s]|CGO)|thinlto|emit-(llvm|asm)|obj-path|save-temps|stats-file|"
    r"opt-remarks|cs-profile|sample-profile|pass-plugin|load-pass-plugin|dtlto|debug-pass-manager|"
    r"new-pass-manager|reproduce|plugin$|mllvm|O0$)|"
    r"-plugin-opt=-(?!(function|data)-sections=|debugger-tune=)|"
    r"--?(start-lib|exclude-libs|out-implib)|"
    r"-r$|--relocatable$|-o.|--output|--oformat"
)
"""Words under which lld writes something else, is told by others how to optimise, or treats bitcode
as it would not an object in its place."""
_WRITES_OR_PRINTS = re.compile(
    r"--?(Map(=|$)|dependency-file(=|$)|cref$|trace|t$|verbose$|v$|why-|print-|time-trace|stats$)"
)
"""Words of files beside the output and of standard output: those are the first link's."""
_WITH_VALUE = frozenset(("-Map", "--Map", "-dependency-file", "--dependency-file"))


def _quietly(job: Sequence[str], output: Path | str, with_map: bool = False) -> list[str]:
    """The same link to another file, and nothing but that, and its map if wanted."""
    kept: list[str] = []
    words = iter(job)
    for word in words:
        is_written = with_map and word.lstrip("-").startswith("Map")
        if word == "-o":
            next(words)
            kept += ["-o", str(output)]
        elif word in _WITH_VALUE:
            value = next(words)
            kept += [word, value] if is_written else []
        elif is_written or not _WRITES_OR_PRINTS.match(word):
            kept.append(word)
    return kept


def _link_again(job: Sequence[str], settings: DriverSettings) -> Linked:
    """Link the program by our passes, if that is smaller. Raises `_Stays` and `_Failed`."""
    output = value_of(job, "-o")
    by_lld = loaded_size(Path(output).read_bytes())
    with tempfile.TemporaryDirectory(prefix="codezero-") as name:
        folder = Path(name)
        merged, used = _merge(job, folder)
        began = time.monotonic()
        result = _optimize(output, merged, settings)
        seconds = time.monotonic() - began
        if result.object is None:
            return Linked(by_lld, by_lld, (), seconds)
        made, trial = folder / "program.o", folder / "program"
        made.write_bytes(result.object)
        again = _with_object(job, str(made), used)
        _check(again, folder, used)
        _run(_quietly(again, trial), DOES_NOT_LINK)
        size = loaded_size(trial.read_bytes())
        if size >= by_lld:
            return Linked(by_lld, by_lld, (), seconds)
        with replacing(Path(output), mode=0o777) as temporary:
            try:
                _run(_quietly(again, temporary, with_map=True), DOES_NOT_LINK)
            except _Failed:  # the map is what it was, then
                _run(_quietly(job, temporary, with_map=True), "lld does not link it twice")
                raise
    return Linked(size, by_lld, result.passes or (BASELINE_PIPELINE,), seconds)


DOES_NOT_LINK = "lld does not link what passes have made"
NOT_NAMED = "some of its bitcode is not named in the link by itself"
STAYS_IF = {
    "recompile with -fPIC": "it was compiled for a fixed address (-fno-pic)",
    "duplicate symbol": NOT_NAMED,
}
"""What lld says of a link that it does by its own passes, and why ours is none then."""


def _run(command: Sequence[str], failure: str) -> str:
    """What a linker prints.

    Raises:
        _Stays: it fails for one of the reasons in `STAYS_IF`.
        _Failed: it fails for another.
    """
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        said = os.fsdecode(done.stderr)
        for words, reason in STAYS_IF.items():
            if words in said:
                raise _Stays(reason)
        raise _Failed(f"{failure} ({_error_in(said)})")
    return os.fsdecode(done.stdout)


def _error_in(said: str) -> str:
    """The first error that a linker has printed."""
    lines = said.splitlines() or [""]
    return next((line for line in lines if "error:" in line), lines[0])


def _check(job: Sequence[str], folder: Path, used: Sequence[str]) -> None:
    """See that a link without its bitcode takes in all the rest of what the first one did.

    Raises:
        _Stays: there is bitcode in it by other ways than its name, as whole archives and response
            files, which would be in it twice; or members of archives are not in it that only dead
            code refers to, and that do something by being there.
    """
    left = folder / "left.bc"
    now = set(_merge_bitcode(job, left, DOES_NOT_LINK))
    if left.exists():
        raise _Stays(NOT_NAMED)
    missing = [name for name in used if name not in now and not _is_bitcode(name)]
    if missing:
        raise _Stays(f"{missing[0]} would not be in it any more")


def _merge_bitcode(job: Sequence[str], output: Path, failure: str) -> list[str]:
    """Have lld write what of a link is bitcode, if anything, as one; all files that it takes in.

    Raises as `_run`.
    """
    told = ("--lto-emit-llvm", "--lto-newpm-passes=no-op-module", "--trace")
    return _run([*_quietly(job, output), *told], failure).splitlines()


def _merge(job: Sequence[str], folder: Path) -> tuple[bytes, list[str]]:
    """The program in bitcode, before the first pass, and the files that it comes of.

    Raises:
        _Stays: there is none, or more than one.
    """
    merged = folder / "merged.bc"
    used = _merge_bitcode(job, merged, "lld does not merge it")
    if not merged.exists():
        raise _Stays("nothing of it is bitcode (-flto)")
    for path in map(Path, dict.fromkeys(_MEMBER.sub(r"\g<archive>", name) for name in used)):
        if path.exists() and is_thin_lto(path.read_bytes()):
            raise _Stays(f"{path} is for ThinLTO, a module at a time")
    bitcode = merged.read_bytes()
    if _NEEDS_LINK_TIME_PASSES.search(bitcode):
        raise _Stays("it checks types as only lld's own passes do")
    return bitcode, used


_NEEDS_LINK_TIME_PASSES = re.compile(rb"llvm\.(public\.)?type\.(test|checked)")
"""In a module: -fsanitize=cfi, -fwhole-program-vtables."""
BITCODE_MAGIC = b"BC\xc0\xde"


def _with_object(job: Sequence[str], made: str, used: Sequence[str]) -> list[str]:
    """The link with an object in place of all bitcode that is named in it."""
    bitcode = set(filter(_is_bitcode_file, used))
    again: list[str] = []
    for word in job:
        if word not in bitcode:
            again.append(word)
        elif made not in again:
            again.append(made)
    if made not in again:  # all of it is in archives
        again.insert(again.index("-o"), made)
    return again


def _is_bitcode_file(name: str) -> bool:
    path = Path(name)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == BITCODE_MAGIC


_MEMBER = re.compile(r"(?P<archive>.*)\((?P<member>[^()]*)\)")
"""How lld names a member of an archive."""


def _is_bitcode(name: str) -> bool:
    """Of what lld names: a file, or a member of an archive."""
    member = _MEMBER.fullmatch(name)
    if member is None or Path(name).exists():
        return _is_bitcode_file(name)
    return member["member"] in bitcode_members(member["archive"])


def _optimize(name: str, bitcode: bytes, settings: DriverSettings) -> Optimized:
    """Raises `CodeZeroError` where LLVM fails on it."""
    of_program = make_settings(SPACE, OBJECTIVE, PROTOCOL, keep_speed=settings.keep_speed)
    policy = policy_of(settings)
    threads = min(available_cores(), MOST_THREADS)
    with closing(
        Optimizer(of_program, threads=threads, for_objects=True, estimate_start=True)
    ) as optimizer:
        program = Program(records.as_text(name), bitcode, LLD_OPTIONS)
        # What -Oz makes of a whole program may be smaller than what lld does.
        return optimizer.run(program, policy, bitcode=False)

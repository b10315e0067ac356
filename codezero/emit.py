"""From an optimised program to a file: objects, assembly, IR and pass lists, written whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from codezero._native import executable_size
from codezero.compiler.frontends import Source
from codezero.compiler.objectives import Objective
from codezero.compiler.protocols import Protocol
from codezero.env.episode import EpisodeSettings
from codezero.errors import CodeZeroError
from codezero.optimize import Optimized
from codezero.programs.load import ProgramLoader

SUFFIXES = (".o", ".s", ".bc", ".ll", ".txt")

_UMASK = os.umask(0)
os.umask(_UMASK)


@dataclass(frozen=True)
class Writer:
    """Writes results as files."""

    settings: EpisodeSettings
    flags: Sequence[str]

    def write(
        self, output: Path, result: Optimized, source: Source, loader: ProgramLoader
    ) -> Optimized:
        """Write a result; returns it, corrected where the object proves what was measured wrong."""
        optimized = replace(result.program, bitcode=result.bitcode)
        by_clang = source.front_end is not None and source.front_end.is_clang
        with replacing(output) as temporary:
            if output.suffix == ".txt":
                temporary.write_text(result.pipeline + "\n")
            elif output.suffix in (".bc", ".ll"):
                temporary.write_bytes(loader.emit(optimized, output.suffix))
            elif by_clang and result.fell_back and self.settings.protocol is Protocol.CLANG:
                loader.write_baseline(source, self.flags, temporary)
            else:
                loader.write_code(optimized, source, self.flags, temporary)
                if by_clang and output.suffix == ".o":
                    return self._settle(temporary, result, source, loader)
        return result

    def _settle(
        self, written: Path, result: Optimized, source: Source, loader: ProgramLoader
    ) -> Optimized:
        """Compare an object with what was measured here.

        A flag may change clang's code generation in a way that the measurements did not see. Then
        clang's own object decides, and the smaller one stays.
        """
        if self.settings.objective is not Objective.TEXT:
            return result
        size = executable_size(written.read_bytes())
        if size == result.cost:
            return result
        with tempfile.TemporaryDirectory(prefix="codezero-") as directory:
            clangs = Path(directory) / "baseline.o"
            loader.write_baseline(source, self.flags, clangs)
            baseline = executable_size(clangs.read_bytes())
            if baseline <= size:
                written.write_bytes(clangs.read_bytes())
        return replace(
            result,
            costs=replace(result.costs, baseline=baseline),
            cost=min(size, baseline),
            fell_back=baseline <= size,
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, moved over it at the end, unless an error comes first.

    Raises:
        CodeZeroError: the folder cannot be written to, or the disk is full; ``path`` is as it was.
    """
    path = path.resolve()  # a link stays a link
    try:
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
    except OSError as error:
        raise CodeZeroError(f"cannot write {path}: {error.strerror}") from None
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
    except OSError as error:
        raise CodeZeroError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)

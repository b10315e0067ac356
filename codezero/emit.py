"""From an optimised program to a file: objects, assembly, IR and pass lists, written whole."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from codezero.compiler.frontends import IR_SUFFIXES, Source
from codezero.compiler.protocols import Protocol
from codezero.files import replacing

if TYPE_CHECKING:  # what takes long to import
    from codezero.env.episode import EpisodeSettings
    from codezero.optimize import Optimized
    from codezero.programs.load import ProgramLoader

LIST_SUFFIX = ".txt"
SUFFIXES = (".o", ".s", *IR_SUFFIXES, LIST_SUFFIX)


@dataclass(frozen=True)
class Writer:
    """Writes results as files."""

    settings: EpisodeSettings
    flags: Sequence[str]

    def write(
        self, output: Path, result: Optimized, source: Source, loader: ProgramLoader
    ) -> Optimized:
        """Write a result; returns it, corrected where the object proves what was measured wrong."""
        by_clang = source.front_end is not None and source.front_end.is_clang
        with replacing(output) as temporary:
            if output.suffix == LIST_SUFFIX:
                temporary.write_text(result.pipeline + "\n")
            elif output.suffix in IR_SUFFIXES:
                temporary.write_bytes(loader.emit(result.optimized, output.suffix))
            elif output.suffix == ".o" and result.object is not None and not source.needs_clang:
                temporary.write_bytes(result.object)
            elif by_clang:
                return self._write_by_clang(temporary, result, source, loader)
            else:
                loader.write_code(result.optimized, source, self.flags, temporary)
        return result

    def _write_by_clang(
        self, output: Path, result: Optimized, source: Source, loader: ProgramLoader
    ) -> Optimized:
        """Have clang make the object, by itself where the result is its own."""
        against_clang = self.settings.protocol is Protocol.CLANG
        if result.fell_back and against_clang:
            loader.write_baseline(source, self.flags, output)
        else:
            loader.write_code(result.optimized, source, self.flags, output)
        objective = self.settings.objective
        measured = objective.of_code and output.suffix == ".o"
        if not (measured and against_clang):
            return result
        size = objective.measure_object(output.read_bytes())
        if size == result.cost:
            return result
        # A flag changes clang's code generation in a way that the measurements here did not see.
        # Then clang's own object decides, and the smaller one stays.
        with tempfile.TemporaryDirectory(prefix="codezero-") as directory:
            clangs = Path(directory) / "baseline.o"
            loader.write_baseline(source, self.flags, clangs)
            baseline = objective.measure_object(clangs.read_bytes())
            if baseline <= size:
                output.write_bytes(clangs.read_bytes())
        result = replace(result, costs=replace(result.costs, baseline=baseline))
        if baseline <= size:
            return replace(
                result,
                cost=baseline,
                fell_back=True,
                inlining=(),
                codegen=(),
                frame_pointers=(),
                object=None,
            )
        return replace(result, cost=size, fell_back=False, object=None)

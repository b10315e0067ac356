"""Where episodes get their programs from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from codezero.compiler.program import Program
from codezero.errors import CodeZeroError
from codezero.programs.load import ProgramLoader

ProgramLike: TypeAlias = Program | str | Path
Programs: TypeAlias = ProgramLike | Iterable[ProgramLike]


class ProgramSource:
    """Hands out one program after another.

    A single program is handed out again and again. Of a sequence, each is drawn uniformly at
    random. Any other iterable is followed in order and begun again at its end. Paths are compiled
    when they are first drawn.
    """

    def __init__(self, programs: Programs) -> None:
        if isinstance(programs, (Program, str, Path)):
            programs = (programs,)
        self._programs = programs
        self._iterator: Iterator[ProgramLike] | None = None
        self._loaded: dict[Path, Program] = {}
        if isinstance(programs, Sequence) and not programs:
            raise CodeZeroError("no programs: the environment needs at least one")

    def next(self, rng: np.random.Generator) -> Program:
        """The next program. Raises `ProgramError` for a path that does not load."""
        if isinstance(self._programs, Sequence):
            return self.load(self._programs[int(rng.integers(len(self._programs)))])
        for _ in range(2):
            if self._iterator is None:
                self._iterator = iter(self._programs)
            for program in self._iterator:
                return self.load(program)
            self._iterator = None
        raise CodeZeroError("no programs: the iterable is exhausted and cannot be begun again")

    def load(self, program: ProgramLike) -> Program:
        if isinstance(program, Program):
            return program
        path = Path(program)
        if path not in self._loaded:
            with ProgramLoader() as loader:
                self._loaded[path] = loader.load([path])[0]
        return self._loaded[path]

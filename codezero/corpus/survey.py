"""A look at the programs of a corpus: how much a search takes from them, and how they behave.

What is measured of each is the headroom, -Oz's size over the best of some random trials, and its
Autophase features along random sequences that are the same for all programs (Figure D2 of the
paper), by which programs that react alike to passes lie close together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codezero.compiler.program import Program
from codezero.corpus.corpus import Corpus
from codezero.env.session import Session, make_settings
from codezero.errors import CodeZeroError, ProgramError
from codezero.files import replacing
from codezero.parallel import run_all
from codezero.search.budget import Budget
from codezero.search.sequences import RandomSearch

SEQUENCES = 20
"""Random sequences of 45 passes each; the paper takes 1,000."""
EVERY = 5
"""Steps between observations; the paper takes all."""

SCHEMA = pa.schema(
    [
        pa.field("corpus", pa.string(), False),
        pa.field("package", pa.string(), False),
        pa.field("path", pa.string(), False),
        pa.field("language", pa.string(), False),
        pa.field("instructions", pa.int32(), False),
        pa.field("baseline", pa.int32(), False),
        pa.field("best", pa.int32(), False),
        pa.field("features", pa.list_(pa.float32()), False),
    ]
)


@dataclass(frozen=True)
class Surveyed:
    """A program and what was measured of it."""

    corpus: str
    package: str
    path: str
    language: str
    instructions: int
    """Before optimisation."""
    baseline: int
    """Instructions after -Oz."""
    best: int
    """The fewest instructions of any random trial."""
    features: tuple[float, ...] = field(repr=False)
    """Autophase over instructions along the sequences: `SEQUENCES` * 45 / `EVERY` times 56."""


@dataclass(frozen=True)
class Task:
    corpus: str
    package: str
    path: str
    language: str
    program: Program


class Surveyor:
    """Measures one program after another, in environments of its own.

    Args:
        trials: random sequences of the space `sound` that the best is taken of.
        seed: of all random sequences.
    """

    def __init__(self, trials: int, seed: int) -> None:
        self._trials = trials
        self._seed = seed
        self._search = Session(make_settings("sound", "instructions", "clang"))
        # The paper's passes and protocol: the figure is to be compared with its Figure D2.
        self._walk = Session(make_settings("autophase", "instructions", "paper"))
        rng = np.random.default_rng(seed)
        steps = self._walk.settings.max_steps
        self._sequences = rng.integers(len(self._walk.settings.space), size=(SEQUENCES, steps))

    def run(self, task: Task) -> Surveyed | None:
        """None for a program that LLVM fails on before the first pass."""
        policy = RandomSearch(Budget(trials=self._trials))
        try:
            found = policy.run(self._search, task.program, self._seed)
            features = self._features(task.program)
        except ProgramError:
            return None
        return Surveyed(
            corpus=task.corpus,
            package=task.package,
            path=task.path,
            language=task.language,
            instructions=self._search.costs.initial,
            baseline=self._search.costs.baseline,
            best=found.cost,
            features=tuple(features.ravel().tolist()),
        )

    def _features(self, program: Program) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
        """Shape (SEQUENCES, 45 / EVERY, 56). An episode that ends early stays where it ended."""
        autophase = self._walk.settings.layout["autophase"]
        rows = []
        for sequence in self._sequences.tolist():
            observation = self._walk.begin(program)
            row, is_over = [], False
            for step, action in enumerate(sequence, 1):
                if not is_over:
                    observation, _, terminated, truncated, _ = self._walk.step(action)
                    is_over = terminated or truncated
                if step % EVERY == 0:
                    row.append(observation[autophase].copy())
            rows.append(row)
        return np.array(rows, np.float32)

    def interrupt(self) -> None:
        self._search.interrupt()
        self._walk.interrupt()

    def close(self) -> None:
        self._search.close()
        self._walk.close()


def sample(path: Path, programs: int, max_instructions: int) -> list[Task]:
    """So many programs of a corpus, chosen by a hash of their names.

    Args:
        max_instructions: of programs to choose from, before optimisation.
    """
    corpus = Corpus(path)
    columns = (corpus.table.column(name).to_pylist() for name in ("package", "path", "language"))
    described = list(zip(*columns, strict=True))
    tasks = []
    for index in corpus.sample(programs, max_instructions):
        package, file, language = described[index]
        tasks.append(Task(path.stem, package, file, language, corpus[index]))
    return tasks


def survey(
    tasks: Sequence[Task],
    *,
    trials: int,
    seed: int = 0,
    jobs: int = 0,
    on_done: Callable[[Task, Surveyed | None], None] = lambda task, result: None,
) -> list[Surveyed]:
    """Measure programs on all cores. Those that LLVM fails on are left out."""
    results = run_all(
        lambda surveyor, task: surveyor.run(task),
        tasks,
        lambda: Surveyor(trials, seed),
        jobs=jobs,
        on_done=on_done,
    )
    return [result for result in results if result is not None]


def write_survey(path: Path, rows: Sequence[Surveyed]) -> None:
    """Raises `CodeZeroError` if it cannot be written."""
    columns = [pa.array([getattr(row, f.name) for row in rows], f.type) for f in SCHEMA]
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns, SCHEMA), temporary, compression="zstd")


def read_surveys(paths: Sequence[Path]) -> pa.Table:
    """The table of `SCHEMA` of several files, each program once.

    Raises:
        CodeZeroError: one is no survey.
    """
    table = pa.concat_tables([_read_survey(path) for path in paths])
    columns = (table.column(name).to_pylist() for name in ("corpus", "package", "path"))
    first: dict[tuple[str, ...], int] = {}
    for row, key in enumerate(zip(*columns, strict=True)):
        first.setdefault(key, row)
    return table.take(pa.array(first.values(), pa.int64()))


def _read_survey(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CodeZeroError(f"{path}: not a survey: {error}") from None
    if not table.schema.equals(SCHEMA):
        raise CodeZeroError(f"{path}: not a survey: it has other columns")
    return table

"""CodeContests: solutions to competitive programming problems.

https://huggingface.co/datasets/deepmind/code_contests, as the paper takes it (section 5.2): up to
ten C++ solutions of each training problem to train on, and one for each of 100 test problems to
validate with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codezero.compiler.program import Program
from codezero.corpus.entry import stable_hash
from codezero.corpus.projects.dialects import LENIENT_CXX
from codezero.corpus.unit import Unit
from codezero.errors import CodeZeroError
from codezero.programs.load import ProgramLoader

HUB_NAME = "deepmind/code_contests"
CXX = 2
"""Of the languages: UNKNOWN_LANGUAGE, PYTHON, CPP, PYTHON3, JAVA."""
SOLUTIONS = 10
"""Of each training problem."""
VALIDATION_PROBLEMS = 100

FLAGS = ("-std=gnu++17", *LENIENT_CXX)


class CodeContestsSource:
    """The published Parquet files, from a folder or from the hub.

    Args:
        folder: with ``train-*.parquet`` and ``test-*.parquet`` in it or below; None fetches rows
            from the hub as they are needed, with the package ``datasets``.

    Which solutions of a problem are taken is decided by a hash of their text.
    """

    is_fixed = True
    selection = ""
    size: int | None = None  # how many a problem has shows as it is read

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @cached_property
    def key(self) -> str:
        if self._folder is None:
            return f"code_contests:{HUB_NAME}"
        files = sorted(self._folder.rglob("*.parquet"))
        sizes = "".join(f"{file.name}:{file.stat().st_size}\n" for file in files)
        return f"code_contests:{self._folder.resolve()}:{stable_hash(sizes).hex()}"

    @property
    def setup(self) -> str:
        return ""

    def prepare(self) -> None:
        pass

    def units(self) -> Iterator[Unit]:
        for problem in self._rows("train"):
            yield from self._units(problem, "train", SOLUTIONS)
        tests = (
            unit for problem in self._rows("test") for unit in self._units(problem, "validation", 1)
        )
        yield from islice(tests, VALIDATION_PROBLEMS)

    def close(self) -> None:
        pass

    def _rows(self, split: str) -> Iterator[dict[str, Any]]:
        return self._from_hub(split) if self._folder is None else self._from_files(split)

    def _from_files(self, split: str) -> Iterator[dict[str, Any]]:
        assert self._folder is not None
        files = sorted(self._folder.rglob(f"{split}-*.parquet"))
        if not files:
            raise CodeZeroError(f"{self._folder}: no {split}-*.parquet, as CodeContests has them")
        for path in files:
            try:
                file = pq.ParquetFile(path)
                if not {"name", "solutions"} <= set(file.schema_arrow.names):
                    raise CodeZeroError(f"{path}: not of CodeContests: no column name or solutions")
                for batch in file.iter_batches(16, columns=["name", "solutions"]):
                    yield from batch.to_pylist()
            except (OSError, pa.ArrowInvalid) as error:
                raise CodeZeroError(f"{path}: {error}") from None

    def _from_hub(self, split: str) -> Iterator[dict[str, Any]]:
        try:
            import datasets
        except ImportError:
            raise CodeZeroError(
                f"{HUB_NAME} is read with the package datasets: pip install datasets; "
                "or download its Parquet files and name their folder"
            ) from None
        try:
            rows = datasets.load_dataset(HUB_NAME, split=split, streaming=True)
            yield from rows.select_columns(["name", "solutions"])
        except Exception as error:  # of whatever the network library raises
            raise CodeZeroError(f"{HUB_NAME}: {error}") from None

    def _units(self, problem: dict[str, Any], split: str, limit: int) -> Iterator[Unit]:
        try:
            solutions = problem["solutions"]
            pairs = list(zip(solutions["language"], solutions["solution"], strict=True))
            problem_name = problem["name"].replace("/", "_")
        except (TypeError, KeyError, AttributeError, ValueError):
            raise CodeZeroError(
                "not of CodeContests: a problem whose solutions are no lists of languages and texts"
            ) from None
        texts = dict.fromkeys(text for language, text in pairs if language == CXX and text)
        for text in sorted(texts, key=stable_hash)[:limit]:
            yield Unit(
                package="code_contests",
                version="",
                path=f"{problem_name}/{stable_hash(text).hex()}.cpp",
                language="C++",
                licence="CC-BY-4.0",
                load=partial(_compile, text),
                published_split=split,
            )


def _compile(text: str, loader: ProgramLoader) -> Program:
    with tempfile.TemporaryDirectory(prefix="codezero-") as folder:
        file = Path(folder) / "solution.cpp"
        file.write_bytes(text.encode(errors="replace"))
        return loader.load([file], FLAGS)[0]

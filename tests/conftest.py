"""Fixtures: real programs, compiled once a session by the real front ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from building import Builder, kill_servers

from codezero.compiler.program import Program
from codezero.corpus.build import build
from codezero.corpus.entry import split_of
from codezero.corpus.examine import Limits
from codezero.corpus.sources.files import FilesSource
from codezero.programs.load import ProgramLoader

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"

NEVER_ENDS = ",".join(["default<O3>"] * 3_000)
"""A pass that takes minutes on any real program: none of LLVM's own is sure never to end."""
NEVER_ENDS_BY_FUNCTION = f"function({','.join(['function-simplification<O3>'] * 5_000)})"
"""The same by function, on functions however small."""


def example_sources() -> list[Path]:
    suffixes = {".c", ".cpp", ".m", ".f90", ".rs"}
    return sorted(path for path in EXAMPLES.iterdir() if path.suffix in suffixes)


@pytest.fixture(scope="session")
def load() -> Callable[..., Program]:
    """Load an example by file name, or any path; remembers what it has loaded."""
    loader = ProgramLoader()
    loaded: dict[tuple[Path, tuple[str, ...]], Program] = {}

    def load(path: Path | str, *flags: str) -> Program:
        path = EXAMPLES / path
        if (path, flags) not in loaded:
            loaded[path, flags] = loader.load([path], flags)[0]
        return loaded[path, flags]

    return load


@pytest.fixture(scope="session")
def training_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of five C examples, three for training and two for validation."""
    folder = tmp_path_factory.mktemp("corpus")
    sources = sorted(EXAMPLES.glob("*.c"))
    # Packages are split by a hash of their names.
    held_back = next(name for name in map(str, range(1_000)) if split_of(name) == "validation")
    for package, files in (("train-package", sources[:3]), (held_back, sources[3:5])):
        (folder / package).mkdir()
        for file in files:
            (folder / package / file.name).write_bytes(file.read_bytes())
    output = folder / "corpus.parquet"
    report = build([FilesSource(folder, by_folder=True)], output, limits=Limits())
    assert report.programs == 5, report
    return output


@pytest.fixture
def sha256(load: Callable[..., Program]) -> Program:
    return load("sha256.c")


@pytest.fixture
def space_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a user's pass space of the given pipelines, named by themselves."""

    def write(*pipelines: str) -> Path:
        path = tmp_path / "space.toml"
        endless = (NEVER_ENDS, NEVER_ENDS_BY_FUNCTION)
        names = ["never-ends" if p in endless else p for p in pipelines]
        entries = [
            f"[[pass]]\nname = '{name}'\npipeline = '{pipeline}'\n"
            for name, pipeline in zip(names, pipelines, strict=True)
        ]
        path.write_text("name = 'test'\n" + "\n".join(entries))
        return path

    return write


def children_of(pid: int) -> list[int]:
    """Living child processes, zombies left out."""
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (status := _status(int(entry.name))):
            state, parent = status
            if parent == pid and state != "Z":
                children.append(int(entry.name))
    return sorted(children)


def is_alive(pid: int) -> bool:
    status = _status(pid)
    return status is not None and status[0] != "Z"


def _status(pid: int) -> tuple[str, int] | None:
    """A process's state and parent, or None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1])


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the drivers' server of these tests listens."""
    folder = tmp_path_factory.mktemp("runtime")
    yield folder
    kill_servers(folder)


@pytest.fixture
def builder(tmp_path: Path, runtime: Path) -> Builder:
    """Runs drivers in a folder."""
    return Builder(tmp_path, runtime)

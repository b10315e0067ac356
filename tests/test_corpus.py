"""Corpora: what is kept, what is left out and why, and builds that are killed."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codezero.compiler import CompileOptions, Module
from codezero.compiler.program import Program
from codezero.compiler.toolchain import CLANG
from codezero.corpus import Corpus
from codezero.corpus import build as building
from codezero.corpus.build import Report, build
from codezero.corpus.entry import SCHEMA, split_of
from codezero.corpus.examine import DISTINCTIVE_INSTRUCTIONS, Limits, distinctive
from codezero.corpus.projects.includes import IncludeScanner
from codezero.corpus.select import held_out_functions
from codezero.corpus.sources.code_contests import CodeContestsSource
from codezero.corpus.sources.files import FilesSource
from codezero.corpus.sources.parquet import ParquetSource
from codezero.corpus.suites import WRITTEN, suite_files, write_suite
from codezero.corpus.unit import Unit, UnitSource, unpacking_failed
from codezero.env import PhaseOrderingEnv
from codezero.errors import CodeZeroError, DiskFull
from codezero.programs.load import ProgramLoader, parse_module


def function(name: str, seed: int, loops: int = 3) -> str:
    """C of about 25 instructions a loop, different for each seed."""
    body = "".join(
        f"  for (int i = 0; i < n; i++) s = s * {seed + 3 + k} + (a[i] ^ {seed * 7 + k});\n"
        for k in range(loops)
    )
    return f"int {name}(const int *a, int n) {{\n  int s = {seed};\n{body}  return s;\n}}\n"


def write(folder: Path, **sources: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in sources.items():
        (folder / f"{name}.c").write_text(text)
    return folder


def run(output: Path, *sources: UnitSource, limits: Limits | None = None) -> Report:
    return build(sources, output, limits=limits or Limits())


def codezero(*arguments: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codezero", *map(str, arguments)],
        capture_output=True, text=True, check=False, **kwargs,  # type: ignore[call-overload]
    )  # fmt: skip


def paths(source: UnitSource) -> list[str]:
    source.prepare()
    return [unit.path for unit in source.units()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve programs of six packages."""
    folder = tmp_path_factory.mktemp("packages")
    for package in range(6):
        write(
            folder / f"package{package}",
            one=function("f", 100 * package),
            two=function("g", 100 * package + 50, loops=5),
        )
    output = folder / "corpus.parquet"
    report = run(output, FilesSource(folder, by_folder=True))
    assert report == Report(12, 12, {}, {})
    return output


# What a corpus is


def test_a_corpus_is_a_sequence_of_programs(corpus: Path) -> None:
    programs = Corpus(corpus)
    assert len(programs) == 12
    assert [p.name for p in programs[:3]] == [
        "package0/one.c", "package0/two.c", "package1/one.c",
    ]  # fmt: skip
    assert programs[-1].name == "package5/two.c"
    with pytest.raises(IndexError):
        programs[12]
    env = PhaseOrderingEnv(programs)
    names = {env.reset(seed=seed)[1]["program"] for seed in range(8)}
    assert len(names) > 3
    env.close()


def test_any_parquet_reader_reads_it(corpus: Path) -> None:
    table = pq.read_table(corpus)
    assert table.schema.equals(SCHEMA)
    for row in table.to_pylist():
        module = Module.parse(row["bitcode"])
        assert module.instruction_count() == row["instructions"] >= 50
        assert module.structural_hash() == row["structural_hash"]
        assert "minsize" in module.ir()
        module.run_clang_oz()
        assert module.instruction_count() == row["instructions_oz"]
        assert row["function_sizes"] == [row["instructions"]]


def test_a_package_is_in_one_split_for_ever(corpus: Path) -> None:
    packages = ("zlib", "lua5.4", "sqlite3", "opencv", "fftw3")
    splits = ["validation", "train", "train", "train", "test"]
    assert [split_of(package) for package in packages] == splits
    by_package: dict[str, set[str]] = {}
    for row in pq.read_table(corpus).to_pylist():
        by_package.setdefault(row["package"], set()).add(row["split"])
    assert all(splits == {split_of(package)} for package, splits in by_package.items())
    assert sum(len(Corpus(corpus, split)) for split in ("train", "validation", "test")) == 12
    for split in ("train", "validation", "test"):
        programs = Corpus(corpus, split)
        assert all(split_of(program.name.split("/")[0]) == split for program in programs)


@pytest.mark.parametrize("contents", [b"", b"PAR1 not really", None])
def test_what_is_no_corpus(contents: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(CodeZeroError, match=r"c\.parquet"):
        Corpus(path)
    done = codezero("corpus", "info", path)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_a_table_of_something_else_is_no_corpus(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(CodeZeroError, match="no column package"):
        Corpus(path)


# What is kept


def test_each_reason_is_counted(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        good=function("f", 1),
        same=function("f", 1),
        small="int g(void) { return 1; }\n",
        large="".join(function(f"f{i}", i) for i in range(12)),
        header='#include "no-such-header.h"\n' + function("h", 2),
        syntax=function("k", 3) + "int broken(\n",
        empty="",
    )
    (folder / "latin.c").write_bytes(b"/* caf\xe9 */\n" + function("latin", 4).encode())
    (folder / "broken.bc").write_bytes(b"BC\xc0\xde" + bytes(100))
    (folder / "good.ll").write_text("define i32 @f(i32 %x) {\n  ret i32 %x\n}\n")
    report = run(tmp_path / "c.parquet", FilesSource(folder), limits=Limits(max_instructions=600))
    assert report.rejected == {
        "duplicate": 1, "too few instructions": 2, "too many instructions": 1,
        "a header is missing": 1, "does not compile": 1, "empty": 1, "not valid IR": 1,
    }  # fmt: skip
    assert report.units == 10
    names = [program.name for program in Corpus(tmp_path / "c.parquet")]
    assert names == ["p/good.c", "p/latin.c"]


def test_what_oz_cannot_better_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", f=function("f", 1, loops=6))
    output = tmp_path / "o.bc"
    subprocess.run(
        [CLANG.require(), "-Oz", "-emit-llvm", "-c", folder / "f.c", "-o", output], check=True
    )
    module = Module.parse(output.read_bytes())
    module.run_clang_oz()
    bitcode = tmp_path / "bitcode"
    bitcode.mkdir()
    (bitcode / "f.bc").write_bytes(module.bitcode())
    limits = Limits(min_instructions=10)
    report = run(tmp_path / "c.parquet", FilesSource(bitcode), limits=limits)
    assert report.rejected == {"-Oz changes nothing": 1}


def test_slow_programs_are_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", f=function("f", 1))
    report = run(tmp_path / "c.parquet", FilesSource(folder), limits=Limits(oz_seconds=0))
    assert report.rejected == {"-Oz takes too long": 1}


def test_of_near_duplicates_the_larger_stays(tmp_path: Path) -> None:
    shared = [function(f"f{i}", i) for i in range(5)]
    folder = write(
        tmp_path / "p",
        most="".join(shared) + function("own", 77),
        less="".join(shared[:4]) + "int tiny(int x) { return x + 1; }\n",
        other="".join(shared[:2]) + "".join(function(f"g{i}", 50 + i) for i in range(3)),
    )
    report = run(tmp_path / "c.parquet", FilesSource(folder))
    assert report.rejected == {"near-duplicate": 1}
    names = [program.name for program in Corpus(tmp_path / "c.parquet")]
    assert names == ["p/most.c", "p/other.c"]


def test_nothing_of_a_held_out_suite_is_taken(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        leak=function("copied", 1) + function("f", 2),
        clean=function("g", 3),
    )
    suite = write(tmp_path / "suite", benchmark=function("copied", 1) + function("other", 9))
    held_out = held_out_functions([suite])
    output = tmp_path / "c.parquet"
    report = build([FilesSource(folder)], output, limits=Limits(), held_out=held_out)
    assert report.rejected == {"in a held-out suite": 1}
    # The same by command, on what has been examined already.
    done = codezero("corpus", "build", folder, "-o", output, "--exclude", suite)
    assert "in a held-out suite" in done.stdout


CONTAINERS = """
#include <algorithm>
#include <arpa/inet.h>
#include <map>
#include <vector>
namespace {
struct Own { int key, value; bool operator<(const Own &other) const { return key < other.key; } };
std::map<int, Own> table;
}
int own(int n) {
  std::vector<Own> all;
  for (int i = 0; i < n; i++) { Own one{i * 7 % n, i}; all.push_back(one); table[i] = one; }
  std::sort(all.begin(), all.end());
  int sum = 0;
  for (const Own &one : all) sum = sum * 31 + one.key - int(htonl(one.value));
  return sum;
}
"""


def test_what_headers_put_into_every_program_tells_none_apart(tmp_path: Path) -> None:
    source = tmp_path / "containers.cpp"
    source.write_text(CONTAINERS)
    program, _ = ProgramLoader().load([source])
    module = parse_module(program)
    instantiated = [
        function
        for function in module.functions()
        if function.instructions >= DISTINCTIVE_INSTRUCTIONS and not function.is_shared
    ]
    assert len(instantiated) > 10  # of std::vector<Own> and others, internal as Own is
    (one,) = distinctive(module)
    (own,) = (function for function in instantiated if function.name == "_Z3owni")
    assert one == (own.structural_hash, own.instructions)


# Sources


def test_archives_are_sources(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a=function("f", 1, loops=5), b=function("g", 2))
    shutil.make_archive(str(tmp_path / "one"), "zip", folder)
    shutil.make_archive(str(tmp_path / "two"), "gztar", folder)
    for name in ("one.zip", "two.tar.gz"):
        report = run(tmp_path / f"{name}.parquet", FilesSource(tmp_path / name))
        assert report.programs == 2
    largest = FilesSource(tmp_path / "one.zip", largest=1)
    assert paths(largest) == ["a.c"]
    largest.close()


def test_archives_write_nothing_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        for name in ("../escaped.c", "/tmp/escaped-codezero.c", "inside.c"):
            member = tarfile.TarInfo(name)
            member.size = len(function("f", 1))
            archive.addfile(member, io.BytesIO(function("f", 1).encode()))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as zipped:
        zipped.writestr("../escaped.c", function("f", 1))
    source = FilesSource(tmp_path / "evil.tar")
    assert paths(source) == ["inside.c"]
    source.close()
    source = FilesSource(tmp_path / "evil.zip")
    assert paths(source) == ["escaped.c"]
    source.close()
    assert not list(tmp_path.parent.glob("escaped*"))
    assert not Path("/tmp/escaped-codezero.c").exists()


def test_an_archive_that_is_cut_off_does_not_stop_the_rest(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a=function("f", 1))
    shutil.make_archive(str(tmp_path / "whole"), "gztar", folder)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:60])
    output = tmp_path / "c.parquet"
    done = codezero("corpus", "build", cut, folder, "-o", output)
    assert done.returncode == 1
    assert "cut.tar.gz: cannot unpack it" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(Corpus(output)) == 1


@pytest.mark.parametrize("damage", ["in a header", "between files", "a header's checksum"])
def test_a_tar_that_is_cut_off_where_its_reader_sees_an_end(damage: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", **{f"f{k}": function("f", k) for k in range(4)})
    archive = tmp_path / "cut.tar"
    with tarfile.open(archive, "w") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    contents = bytearray(archive.read_bytes())
    with tarfile.open(archive) as tar:
        third = tar.getmembers()[2].offset
    if damage == "a header's checksum":
        contents[third + 150] ^= 1
    else:
        del contents[third + (100 if damage == "in a header" else 0) :]
    archive.write_bytes(contents)
    with pytest.raises(CodeZeroError, match="none of the sources"):
        run(tmp_path / "c.parquet", FilesSource(archive))
    done = codezero("corpus", "build", archive, "-o", tmp_path / "d.parquet")
    assert done.returncode == 2 and "breaks off, or is damaged" in done.stderr


def test_what_is_no_archive_is_said_in_a_line(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", f=function("f", 1))
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4" + bytes(100))
    for file in (folder / "f.c", tmp_path / "cut.zip"):
        done = codezero("corpus", "build", file, "-o", tmp_path / "c.parquet")
        first, second = done.stderr.strip().splitlines()
        assert "cannot unpack it" in first and "none of the sources" in second


def test_tables_of_bitcode_are_sources(corpus: Path, tmp_path: Path) -> None:
    rows = pq.read_table(corpus).select(["package", "version", "path", "language", "bitcode"])
    table = tmp_path / "raw.parquet"
    pq.write_table(rows, table)
    report = run(tmp_path / "c.parquet", ParquetSource(table))
    assert report.programs == 12
    assert list(Corpus(tmp_path / "c.parquet").entries()) == list(Corpus(corpus).entries())


SOLUTION = """\
#include <bits/stdc++.h>
using namespace std;
int main() {{
  int n; cin >> n;
  vector<long long> a(n);
  for (auto &x : a) cin >> x;
  sort(a.begin(), a.end(), [](auto x, auto y) {{ return x % {seed} < y % {seed}; }});
  register long long best = {seed};  // not C++17
{body}  cout << best << endl;
}}
"""


def code_contests(folder: Path, train: int, test: int, solutions: int) -> Path:
    """Files of the published format, of problems with so many solutions in each language."""

    def solution(seed: int) -> str:
        body = "".join(
            f"  for (int i = {k}; i < n; i++) best = max(best * {seed + k}, a[i] ^ {seed * k});\n"
            for k in range(1, 3 + seed % 5)
        )
        return SOLUTION.format(seed=seed, body=body)

    fields = [("language", pa.list_(pa.int64())), ("solution", pa.list_(pa.string()))]
    (folder / "data").mkdir(parents=True)
    for split, problems in (("train", train), ("valid", 1), ("test", test)):
        rows = [
            {
                "language": [2, 3] * solutions,
                "solution": [
                    text
                    for k in range(solutions)
                    for text in (solution(7 + 1000 * len(split) + 50 * p + k), "print(1)")
                ],
            }
            for p in range(problems)
        ]
        table = {
            "name": [f"{p}_A/B. {split}" for p in range(problems)],
            "description": ["text"] * problems,
            "solutions": pa.array(rows, pa.struct(fields)),
        }
        pq.write_table(pa.table(table), folder / "data" / f"{split}-00000-of-00001-abc.parquet")
    return folder


def test_code_contests_is_taken_as_the_paper_takes_it(tmp_path: Path) -> None:
    folder = code_contests(tmp_path / "cc", train=2, test=102, solutions=12)
    source = CodeContestsSource(folder)
    units = list(source.units())
    by_problem = Counter((unit.path.split("/")[0], unit.split) for unit in units)
    assert by_problem["0_A_B. train", "train"] == by_problem["1_A_B. train", "train"] == 10
    assert sum(by_problem.values()) == 20 + 100
    assert {key: n for key, n in by_problem.items() if n != 10} == {
        (f"{p}_A_B. test", "validation"): 1 for p in range(100)
    }
    again = [unit.path for unit in CodeContestsSource(folder).units()]
    assert [unit.path for unit in units] == again


def test_solutions_compile_with_the_headers_they_take_for_granted(tmp_path: Path) -> None:
    folder = code_contests(tmp_path / "cc", train=1, test=2, solutions=2)
    output = tmp_path / "c.parquet"
    done = codezero("corpus", "build", "--code-contests", folder, "-o", output)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(output).to_pylist()
    assert sorted(row["split"] for row in rows) == ["train", "train", "validation", "validation"]
    again = tmp_path / "again.parquet"
    run(again, ParquetSource(output))
    assert pq.read_table(again).column("split").to_pylist() == [row["split"] for row in rows]


def test_what_is_not_code_contests_is_said(tmp_path: Path) -> None:
    output = tmp_path / "c.parquet"
    done = codezero("corpus", "build", "--code-contests", tmp_path / "none", "-o", output)
    assert done.returncode == 2 and "no such folder" in done.stderr
    done = codezero("corpus", "build", "--code-contests", tmp_path, "-o", output)
    assert done.returncode == 2 and "no train-*.parquet" in done.stderr
    pq.write_table(pa.table({"x": [1]}), tmp_path / "train-0.parquet")
    done = codezero("corpus", "build", "--code-contests", tmp_path, "-o", output)
    assert done.returncode == 2 and "no column name or solutions" in done.stderr


def test_a_compiler_that_hangs_or_crashes_costs_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "p", hang="", crash="", good=function("f", 1))
    (folder / "hang.c").write_text("/* hang */\n")
    (folder / "crash.c").write_text("#pragma clang __debug crash\n")
    clang = tmp_path / "clang"
    clang.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo version 22.1 && exit\n"
        'case "$*" in *-###*) ;; *hang.c*) exec sleep 60 ;; esac\n'
        f'exec {CLANG.require()} "$@"\n'
    )
    clang.chmod(0o755)
    monkeypatch.setenv("CODEZERO_CLANG", str(clang))
    monkeypatch.setattr(building, "COMPILE_SECONDS", 2.0)
    report = run(tmp_path / "c.parquet", FilesSource(folder))
    assert report.programs == 1
    assert report.rejected == {"compiling takes too long": 1, "the compiler crashes": 1}


def test_clangs_driver_is_asked_once_for_flags_that_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, clang = tmp_path / "log", tmp_path / "clang"
    clang.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo version 22.1 && exit\n"
        f'case " $* " in *-###*) echo asked >> {log} ;; *" -v "*) echo told >> {log} ;; esac\n'
        f'exec {CLANG.require()} "$@"\n'
    )
    clang.chmod(0o755)
    monkeypatch.setenv("CODEZERO_CLANG", str(clang))
    folder = write(tmp_path / "p", a=function("f", 1), b=function("g", 2))
    sections = []
    with ProgramLoader() as loader:
        for name, flags in (
            ("a", ["-DX=1"]),
            ("b", ["-DX=2", "-I/include", "-DY"]),
            ("a", ["-ffunction-sections"]),
            ("b", ["-DX=1", "-ffunction-sections", "-DZ"]),
        ):
            program, _ = loader.load([folder / f"{name}.c"], flags)
            sections.append(program.options.function_sections)
    assert sections == [False, False, True, True]
    assert log.read_text().split() == ["told", "asked"], "while it compiled, or before"


# Builds that are interrupted


def counting_clang(folder: Path) -> tuple[Path, Path]:
    """A clang that is a little slow, and the file where it leaves a line a compilation."""
    clang, log = folder / "clang", folder / "log"
    clang.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo version 22.1 && exit\n"
        f'case "$*" in *-###*) ;; *) echo x >> {log}; sleep 0.2 ;; esac\n'
        f'exec {CLANG.require()} "$@"\n'
    )
    clang.chmod(0o755)
    return clang, log


@pytest.mark.parametrize(
    "kill_with", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_build_that_is_ended_goes_on_where_it_was(
    kill_with: signal.Signals, tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", **{f"f{i}": function("f", i) for i in range(120)})
    clang, log = counting_clang(tmp_path)
    output, journal = tmp_path / "c.parquet", tmp_path / "c.parquet.journal"
    environment = {**os.environ, "CODEZERO_CLANG": str(clang)}
    command = [sys.executable, "-m", "codezero", "corpus", "build", folder, "-o", output]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (done := recorded(journal)) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(kill_with)
    process.wait(timeout=10)
    assert not output.exists()
    done = recorded(journal)
    assert 0 < done < 120
    time.sleep(1)  # a compiler that has just been started still writes its line
    log.unlink()
    finished = subprocess.run(
        [*command, "--json"], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(finished.stdout)["programs"] == 120
    assert len(log.read_text().splitlines()) == 120 - done
    log.unlink()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert not log.exists()


def recorded(journal: Path) -> int:
    if not journal.exists():
        return 0
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as database:
        try:
            return int(database.execute("SELECT count(*) FROM unit").fetchone()[0])
        except sqlite3.OperationalError:  # no table yet
            return 0


def test_one_more_source_is_all_that_is_examined(corpus: Path, tmp_path: Path) -> None:
    first = write(tmp_path / "first", f=function("f", 1))
    second = write(tmp_path / "second", g=function("g", 2))
    seen: list[str] = []
    output = tmp_path / "c.parquet"
    for sources in ([first], [first, second]):
        seen.clear()
        report = build(
            [FilesSource(path) for path in sources],
            output,
            limits=Limits(),
            on_unit=lambda source, unit: seen.append(unit.name),
        )
    assert seen == ["second/g.c"]
    assert report.programs == 2


def test_a_folder_that_changed_is_examined_where_it_did(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", a=function("f", 1), b=function("g", 2), c=function("h", 3))
    output = tmp_path / "c.parquet"
    run(output, FilesSource(folder))
    (folder / "a.c").unlink()
    (folder / "b.c").write_text(function("g", 2, loops=6))
    seen: list[str] = []
    build(
        [FilesSource(folder)],
        output,
        limits=Limits(),
        on_unit=lambda source, unit: seen.append(unit.path),
    )
    assert seen == ["b.c"]
    assert [program.name for program in Corpus(output)] == ["p/b.c", "p/c.c"]


def test_another_selection_that_is_interrupted_leaves_no_trace(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", **{f"f{i}": function("f", i, 3 + i % 3) for i in range(8)})
    shutil.make_archive(str(tmp_path / "p"), "zip", folder)
    output = tmp_path / "c.parquet"
    few = FilesSource(tmp_path / "p.zip", largest=3)
    assert run(output, few).programs == 3

    class Stop(Exception):
        pass

    def stop(source: UnitSource, unit: Unit) -> None:
        raise Stop

    more = FilesSource(tmp_path / "p.zip", largest=8)
    with pytest.raises(Stop):
        build([more], output, limits=Limits(), on_unit=stop)
    assert run(output, FilesSource(tmp_path / "p.zip", largest=3)).programs == 3


def test_a_unit_without_a_compiler_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "p", good=function("f", 1))
    for name in ("a.f90", "b.f90"):
        (folder / name).write_text("subroutine s()\nend subroutine\n")
    output = tmp_path / "c.parquet"
    monkeypatch.setenv("CODEZERO_FLANG", "/nonexistent")
    assert run(output, FilesSource(folder)).rejected == {"its compiler is not installed": 2}
    (folder / "b.f90").unlink()
    assert run(output, FilesSource(folder)).rejected == {"its compiler is not installed": 1}
    monkeypatch.delenv("CODEZERO_FLANG")
    assert run(output, FilesSource(folder)).rejected == {"too few instructions": 1}


def test_files_of_names_that_are_no_text_are_told_apart(tmp_path: Path) -> None:
    for byte, seed in ((b"\xe9", 1), (b"\xe8", 50)):
        path = tmp_path / "p" / os.fsdecode(byte + b".c")
        path.parent.mkdir(exist_ok=True)
        path.write_text(function("f", seed))
    assert run(tmp_path / "c.parquet", FilesSource(tmp_path / "p")).programs == 2


def test_folders_of_names_that_are_no_text_are_packages(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"p\xe9")
    write(folder, f=function("f", 1))
    write(folder / os.fsdecode(b"q\xff"), g=function("g", 2))
    for by_folder in (False, True):
        output = tmp_path / f"{by_folder}.parquet"
        assert run(output, FilesSource(folder, by_folder=by_folder)).programs == 2
        packages = set(Corpus(output).table.column("package").to_pylist())
        assert packages == ({"p\\udce9", "q\\udcff"} if by_folder else {"p\\udce9"})


def test_every_suffix_that_compilers_know_is_taken(tmp_path: Path) -> None:
    for index, suffix in enumerate((".cp", ".CPP", ".c++", ".C", ".F95", ".FOR", ".fpp", ".f03")):
        (tmp_path / f"f{index}{suffix}").write_text("x")
    assert len(paths(FilesSource(tmp_path))) == 8


def test_rows_of_one_name_are_told_apart(corpus: Path, tmp_path: Path) -> None:
    rows = pq.read_table(corpus).slice(0, 3)
    table = pa.table({"path": ["same.c"] * 3, "bitcode": rows.column("bitcode")})
    pq.write_table(table, tmp_path / "t.parquet")
    report = run(tmp_path / "c.parquet", ParquetSource(tmp_path / "t.parquet"))
    assert report.programs == report.units == 3


@pytest.mark.parametrize(
    "columns", [{"bitcode": ["text"]}, {"bitcode": [b"x"], "package": [7]}, {"code": [b"x"]}]
)
def test_tables_of_other_types_are_refused(
    columns: dict[str, list[object]], tmp_path: Path
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(CodeZeroError, match="none of the sources"):
        run(tmp_path / "c.parquet", ParquetSource(tmp_path / "t.parquet"))


def test_a_full_temporary_folder_stops_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clang = tmp_path / "clang"
    message = "fatal error: error in backend: IO failure on output stream: No space left on device"
    clang.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo version 22.1 && exit\n"
        f"case \"$*\" in *-###*) ;; *) echo '{message}' >&2; exit 1 ;; esac\n"
        f'exec {CLANG.require()} "$@"\n'
    )
    clang.chmod(0o755)
    monkeypatch.setenv("CODEZERO_CLANG", str(clang))
    folder = write(tmp_path / "p", good=function("f", 1))
    with pytest.raises(CodeZeroError, match="no space left on device"):
        run(tmp_path / "c.parquet", FilesSource(folder))
    monkeypatch.delenv("CODEZERO_CLANG")
    assert run(tmp_path / "c.parquet", FilesSource(folder)).programs == 1


class FullDisk:
    """A source of one unit, for which there is no room at first."""

    is_fixed, selection, setup, key, size = True, "", "", "full", 1

    def __init__(self, bitcode: bytes, is_full: bool, place: str) -> None:
        self._bitcode, self._is_full, self._place = bitcode, is_full, place

    def _write(self, place: str) -> None:
        if self._is_full and place == self._place:
            raise OSError(errno.ENOSPC, "No space left on device")

    def prepare(self) -> None:
        try:
            self._write("prepare")
        except OSError as error:
            raise unpacking_failed("full", error) from None

    def units(self) -> Iterator[Unit]:
        def load(loader: ProgramLoader) -> Program:
            self._write("load")
            return Program("f", self._bitcode, CompileOptions())

        yield Unit("p", "", "f.c", "C", "", load)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("place", ["prepare", "load"])
def test_a_full_disk_is_no_reason_to_leave_a_unit_out(
    place: str, corpus: Path, tmp_path: Path
) -> None:
    bitcode = Corpus(corpus)[0].bitcode
    with pytest.raises(DiskFull):
        run(tmp_path / "c.parquet", FullDisk(bitcode, True, place))
    assert run(tmp_path / "c.parquet", FullDisk(bitcode, False, place)).programs == 1


def test_a_journal_of_other_limits_is_not_gone_on_with(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", f=function("f", 1))
    run(tmp_path / "c.parquet", FilesSource(folder))
    with pytest.raises(CodeZeroError, match="max_instructions"):
        run(tmp_path / "c.parquet", FilesSource(folder), limits=Limits(max_instructions=100))


def test_a_full_disk_leaves_the_old_corpus_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", f=function("f", 1))
    output = tmp_path / "out" / "c.parquet"
    output.parent.mkdir()
    run(output, FilesSource(folder))
    before = output.read_bytes()
    write(folder, **{f"g{i}": function("g", 10 + i, loops=20) for i in range(30)})
    # A limit on the size of files stands in for a full disk.
    command = f"ulimit -f 30; exec {sys.executable} -m codezero corpus build {folder} -o {output}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot write" in done.stderr and "Traceback" not in done.stderr
    assert output.read_bytes() == before
    run(output, FilesSource(folder))
    assert len(Corpus(output)) == 31


# Commands


def test_the_same_command_again_reads_its_sources_and_not_its_output(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", f=function("f", 1))
    command = ("corpus", "build", folder, "-o", folder / "c.parquet")
    assert codezero(*command).returncode == 0
    write(folder, g=function("g", 2, loops=5))
    (folder / ".c.parquet.x1.parquet").write_bytes(b"left by one that was killed")
    assert "2 programs of 2 units" in codezero(*command).stdout
    done = codezero("corpus", "build", folder, "-o", tmp_path / "d.parquet")
    assert done.returncode == 2 and "name those that are meant" in done.stderr


def test_a_corpus_that_cannot_be_written_is_said_first(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", f=function("f", 1))
    for output, message in ((tmp_path, "is a folder"), (tmp_path / "a" / "b", "no such folder")):
        done = codezero("corpus", "build", folder, "-o", output)
        assert done.returncode == 2 and message in done.stderr
        assert not list(tmp_path.glob("*.journal"))


def test_suites_are_held_out_that_need_flags(tmp_path: Path) -> None:
    text = f"#ifndef NEEDED\n#error NEEDED\n#endif\n{function('f', 1)}"
    suite = write(tmp_path / "suite", f=text)
    folder = write(tmp_path / "p", f=function("f", 1), g=function("g", 2, loops=5))
    command = ("corpus", "build", folder, "-o", tmp_path / "c.parquet", "--exclude", suite)
    assert codezero(*command).returncode == 2
    done = codezero(*command, "--", "-DNEEDED")
    assert "1 programs of 2 units" in done.stdout and "in a held-out suite" in done.stdout


def test_a_suite_has_no_file_of_a_call_before(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "mine.bc").write_bytes(b"a user's")
    programs = Corpus(corpus)
    write_suite(programs, folder)
    # As a call leaves it that was killed before it deleted anything.
    (folder / WRITTEN).write_text((folder / WRITTEN).read_text() + "stale.bc\n")
    (folder / "stale.bc").write_bytes(b"of another version")
    write_suite(programs, folder)
    assert {f.name for f in folder.glob("*.bc")} == {*suite_files(programs), "mine.bc"}


def test_headers_are_looked_for_in_time_that_lines_of_blanks_do_not_square(
    tmp_path: Path,
) -> None:
    (tmp_path / "h.h").write_text("")
    source = tmp_path / "f.c"
    source.write_text(" " * 200_000 + "\n  #  include <sub.h>\n")
    start = time.monotonic()
    assert IncludeScanner(tmp_path, ()).missing(source) == {"sub.h"}
    assert time.monotonic() - start < 5


def test_a_crash_of_the_compiler_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "p", bad="#pragma clang __debug crash\n", good=function("f", 1))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    done = codezero("corpus", "build", folder, "-o", tmp_path / "c.parquet")
    assert "the compiler crashes" in done.stdout, done.stderr
    assert not list(temporary.iterdir())


def test_commands_look_into_a_corpus(corpus: Path, tmp_path: Path) -> None:
    info = json.loads(codezero("corpus", "info", corpus, "--json").stdout)
    assert (info["programs"], info["packages"], info["languages"]) == (12, 6, {"C": 12})
    assert info["o0_over_oz"] > 1
    assert "12 programs of 6 packages" in codezero("corpus", "info", corpus).stdout
    shown = codezero("corpus", "show", corpus, "package1/two.c").stdout
    assert "; language: C" in shown and "define dso_local i32 @g" in shown
    assert codezero("corpus", "show", corpus, "3").stdout == shown
    for missing in ("99", "package1/three.c"):
        done = codezero("corpus", "show", corpus, missing)
        assert done.returncode == 2 and "corpus.parquet has" in done.stderr
    done = codezero(
        "corpus", "extract", corpus, "-o", tmp_path / "x", "--program", "package1/one.c"
    )
    assert done.returncode == 0, done.stderr
    assert Module.parse((tmp_path / "x" / "package1" / "one.c.bc").read_bytes())


def test_what_is_split_can_be_merged_again(corpus: Path, tmp_path: Path) -> None:
    assert codezero("corpus", "split", corpus, "-o", tmp_path).returncode == 0
    parts = [tmp_path / f"{split}.parquet" for split in ("train", "validation", "test")]
    merged = tmp_path / "merged.parquet"
    done = codezero("corpus", "merge", *parts, corpus, "-o", merged)
    assert "left out, duplicate: 12" in done.stdout
    assert list(Corpus(merged).entries()) == list(Corpus(corpus).entries())


def test_programs_of_a_held_out_suite_are_left_out_of_a_merge(corpus: Path, tmp_path: Path) -> None:
    suite = write(tmp_path / "suite", copied=function("renamed", 100))  # of package1
    merged = tmp_path / "merged.parquet"
    done = codezero("corpus", "merge", corpus, "-o", merged, "--exclude", suite)
    assert done.returncode == 0, done.stderr
    assert "left out, in a held-out suite: 1" in done.stdout
    left = {program.name for program in Corpus(corpus)} - {p.name for p in Corpus(merged)}
    assert left == {"package1/one.c"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_is_extracted(split: str, corpus: Path, tmp_path: Path) -> None:
    done = codezero("corpus", "extract", corpus, "-o", tmp_path, "--split", split)
    assert done.returncode == 0, done.stderr
    files = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.bc")}
    assert files == {f"{program.name}.bc" for program in Corpus(corpus, split)}
